"""How long the whole evaluation of one predictions table takes, and how much memory.

    python -m experiments.throughput.evaluation
    python -m experiments.throughput.evaluation --slices 30000 --patients 300 --replicates 2000 --json evaluation.json

Each part runs in a process of its own, start-up and reading of the table included in its peak memory and not in its
seconds. The table has two sites and five classes; half of the patients of each are validation patients.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covidct.evaluation.patient import patient_table
from covidct.evaluation.predictions import (
    Predictions,
    probability_columns,
    read_predictions,
    write_predictions,
)
from covidct.evaluation.summary import summarize
from covidct.labels import FU2020, ClassScheme

SCHEME = ClassScheme(FU2020, normal="normal", positive="covid19")
PARTS = ("read", "patient table", "summary, logit t", "summary, bootstrap")


def fabricated(slices: int, patients: int, *, validation: bool, seed: int = 0) -> Predictions:
    """A table in which the slices of a patient resemble each other.

    Args:
        slices: Rows of the test sets, about.
        patients: Patients of the test sets, over two sites and five classes.
        validation: Whether as many validation patients are added.
        seed: Of everything.
    """
    generator = np.random.default_rng(seed)
    parts = []
    for split in ("test", "val") if validation else ("test",):
        label = np.arange(patients) % len(SCHEME)
        site = np.where(np.arange(patients) // len(SCHEME) % 2 == 0, "north", "south")
        count = np.maximum(generator.poisson(slices / patients, patients), 1)
        row = np.repeat(np.arange(patients), count)
        logits = generator.normal(size=(patients, len(SCHEME)))[row] + generator.normal(size=(len(row), len(SCHEME)))
        logits[np.arange(len(row)), label[row]] += 2.0
        frame = pd.DataFrame(
            {
                "slice_key": [f"{split}-{number:07d}" for number in range(len(row))],
                "patient_key": [f"{split}-patient{number:05d}" for number in row],
                "series_key": [f"{split}-series{number:05d}" for number in row],
                "site": site[row],
                "split": split,
                "slice_number": (np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)).astype(np.int32),
                "label": np.array(SCHEME.names)[label[row]],
                "slice_label": pd.array([None] * len(row), dtype="Int8"),
            }
        )
        frame[probability_columns(SCHEME)] = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        parts.append(frame)
    meta = {"run": "evaluation-000000000000", "index_digest": "i", "split_digest": "s", "weights_digest": "w"}
    return Predictions(pd.concat(parts, ignore_index=True), SCHEME, meta)


def measure(part: str, table: Path, replicates: int) -> dict[str, Any]:
    """Run one part in this process.

    Returns:
        {"part", "seconds", "cpu_seconds", "peak_mib"}.
    """
    predictions = read_predictions(table)
    ways: Mapping[str, Callable[[], object]] = {
        "read": lambda: read_predictions(table),
        "patient table": lambda: patient_table(predictions),
        "summary, logit t": lambda: summarize(predictions),
        "summary, bootstrap": lambda: summarize(predictions, mean_intervals="bootstrap", replicates=replicates),
    }
    wall, cpu = time.perf_counter(), time.process_time()
    ways[part]()
    return {
        "part": part,
        "seconds": round(time.perf_counter() - wall, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main() -> None:
    """Measure every part and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--slices", type=int, default=30_000)
    parser.add_argument("--patients", type=int, default=300)
    parser.add_argument("--replicates", type=int, default=2000)
    parser.add_argument("--no-validation", action="store_true", help="test sets only")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--table", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        print(json.dumps(measure(given.part, given.table, given.replicates)))
        return
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "predictions.parquet"
        predictions = fabricated(given.slices, given.patients, validation=not given.no_validation)
        write_predictions(table, predictions)
        rows = predictions.frame["split"].value_counts().to_dict()
        load = os.getloadavg()[0]
        print(f"{rows} slices, {given.patients} patients each, {given.replicates} replicates; load before: {load:.1f}")
        found = []
        for part in PARTS:
            command = [sys.executable, "-m", "experiments.throughput.evaluation", "--part", part, "--table", str(table)]
            done = subprocess.run(
                [*command, "--replicates", str(given.replicates)], check=True, capture_output=True, text=True
            )
            found.append(json.loads(done.stdout))
            print(
                "{part:<20} {seconds:7.2f} s {cpu_seconds:7.2f} s of CPU {peak_mib:6d} MiB".format(**found[-1]),
                flush=True,
            )
    if given.json:
        given.json.write_text(json.dumps({"slices": rows, "load": round(load, 1), "parts": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
