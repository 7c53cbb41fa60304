"""What grows with the number of slices: time per slice and memory of reading, and of an index with its split.

    python -m experiments.throughput.growth [--subject table ...] [--quick] [--output growth.json]

Rows and pixels are generated, so a million slices need no scanner. Each point runs in a process of its own, in a
temporary folder (`TMPDIR` says where; at most a few GiB) that is removed. Subjects:

table     index and split: make, write, read, split, verify, for up to a million rows
batches   random batches of the data module with `data.cache=disk`: first pass (decodes) and later ones
features  epochs of a training with `features.use=on`: the first, with what is built for it, and later ones
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from unittest import mock

import covidct  # noqa: F401  (first: it lets torchvision import beside a CPU torch)

# isort: split
import numpy as np

from covidct.ct.read import Slice
from covidct.data.splits import Split, make_split, verify_split
from covidct.data.table import SliceTable, make_table, read_table, write_table
from covidct.labels import FU2020, ClassScheme
from experiments.throughput.generated import generated_rows, nowhere
from experiments.throughput.memory import Cost, measured

SIZES = {
    "table": (10_000, 100_000, 1_000_000),
    "batches": (1_000, 4_000, 16_000, 60_000),
    "features": (1_000, 4_000, 16_000, 60_000),
}
QUICK = {"table": (1_000, 4_000), "batches": (500, 1_000), "features": (500, 1_000)}
SIDE = 64
"""Pixels a side of a generated slice: reading must not depend on how long decoding takes."""

Points = dict[str, Cost]


def table_point(count: int, folder: Path) -> Points:
    """Every step from rows to a verified split."""
    costs: Points = {}
    rows = [_costing(costs, "generate rows", lambda: generated_rows(count))]
    table = _costing(costs, "make_table", lambda: _table(rows.pop()))
    _costing(costs, "write_table", lambda: write_table(table, folder))
    del table
    table = _costing(costs, "read_table", lambda: read_table(folder))
    _costing(costs, "sort accepted", lambda: len(table.accepted))
    for kind in ("patient", "paper_image_level"):
        made = _costing(costs, f"make_split {kind}", lambda kind=kind: make_split(table, kind=kind))
        _costing(costs, f"verify_split {kind}", lambda made=made: verify_split(made, table))
        file = folder / f"{kind}.json"
        _costing(
            costs, f"write and read split {kind}", lambda made=made, file=file: (made.write(file), Split.read(file))
        )
    return costs


def batches_point(count: int, folder: Path) -> Points:
    """Passes of the training loader over a slice store."""
    from covidct.training.datamodule import SliceDataModule

    table = _written(count, folder)
    costs: Points = {}
    with _generated_pixels():
        data = SliceDataModule(
            table, make_split(table), classes=FU2020, size=SIDE, batch_size=32, cache="disk", store=folder / "store"
        )
        data.setup()
        loader = data.train_dataloader()
        for name in ("first pass (fills the store)", "second pass", "third pass"):
            _costing(costs, name, lambda: sum(len(batch["label"]) for batch in loader))
    share = len(data.partition("train")) / count
    return {
        name: replace(cost, seconds=cost.seconds / share, cpu_seconds=cost.cpu_seconds / share)
        for name, cost in costs.items()
    }


def features_point(count: int, folder: Path) -> Points:
    """A training of three epochs through the front door; memory is that of the whole command."""
    from covidct.commands.cli import main as covidct_main

    _written(count, folder)
    words = [
        "train", "experiment=demo", "logger=csv", "model.name=test_resnet", "model.weights=none",
        "model.trainable=last3conv", "data.augment=null", f"data.size={SIDE}", "data.batch_size=32", "data.cache=none",
        "features.use=on", f"data.index={folder}", f"runs={folder}/runs", "split.external_sites=[]",
        "recipe.phases=[{optimizer: adam, lr: 0.001, epochs: 3}]",
        "recipe.stop={min_epochs: 3, max_epochs: 3}",
    ]  # fmt: skip
    with _generated_pixels(), measured() as whole:
        if code := covidct_main(words):
            sys.exit(f"covidct train ended with {code}")
    [metrics] = (folder / "runs").glob("*/metrics.csv")
    with metrics.open(newline="", encoding="utf-8") as stream:
        seconds = [float(row["seconds"]) for row in csv.DictReader(stream)]
    return {
        "first epoch": replace(whole, seconds=seconds[0], cpu_seconds=float("nan")),
        "later epochs, mean": replace(whole, seconds=float(np.mean(seconds[1:])), cpu_seconds=float("nan")),
        "whole command, trunk included": whole,
    }


SUBJECTS: dict[str, Callable[[int, Path], Points]] = {
    "table": table_point,
    "batches": batches_point,
    "features": features_point,
}


def _table(rows: list[dict[str, Any]]) -> SliceTable:
    return make_table(rows, root=nowhere(), source="generated", classes=ClassScheme(FU2020, "normal", "covid19"))


def _written(count: int, folder: Path) -> SliceTable:
    write_table(_table(generated_rows(count)), folder)
    return read_table(folder)


@contextmanager
def _generated_pixels() -> Iterator[None]:
    """Reading a slice gives noise that its path decides; nothing else is changed."""

    def read(path: Path | str, frame: int = 0) -> Slice:
        seed = int.from_bytes(hashlib.sha256(Path(path).as_posix().encode()).digest()[:8], "big") + frame
        pixels = np.random.default_rng(seed).integers(-1000, 400, (SIDE, SIDE), dtype=np.int16)
        return Slice(pixels=pixels, units="HU", row_mm=0.7, col_mm=0.7)

    with (
        mock.patch("covidct.data.transforms.read_slice", read),
        mock.patch("covidct.training.scoring.read_slice", read),  # example pictures of the report
    ):
        yield


def _costing(costs: Points, name: str, work: Callable[[], Any]) -> Any:
    with measured() as cost:
        result = work()
    costs[name] = cost
    return result


def point(subject: str, count: int) -> list[dict[str, Any]]:
    """Rows of the result for one subject and size, measured in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["--point", subject, str(count), "--output", f"{folder}/point.json"]
        ended = subprocess.run(
            [sys.executable, "-m", "experiments.throughput.growth", *words],
            env=os.environ | {"TMPDIR": folder},
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode:
            sys.exit(f"{subject} at {count}: {ended.stdout[-2000:]}{ended.stderr[-2000:]}")
        rows: list[dict[str, Any]] = json.loads(Path(folder, "point.json").read_text(encoding="utf-8"))
    return rows


def _rows(subject: str, count: int, costs: Points) -> list[dict[str, Any]]:
    return [
        {"subject": subject, "slices": count, "step": step, "microseconds_per_slice": 1e6 * cost.seconds / count}
        | asdict(cost)
        for step, cost in costs.items()
    ]


def show(row: dict[str, Any]) -> str:
    """A row for people."""
    return (
        f"{row['subject']:<9}{row['slices']:>9,}  {row['step']:<38}{row['seconds']:9.2f} s "
        f"{row['cpu_seconds']:9.2f} processor s {row['microseconds_per_slice']:10.1f} us/slice "
        f"{row['private_mib']:7.0f} MiB own {row['mapped_mib']:6.0f} mapped"
    )


def main() -> None:
    """Measure all points."""
    parser = argparse.ArgumentParser(description="Time and memory as the number of slices grows.")
    parser.add_argument("--subject", nargs="+", choices=sorted(SUBJECTS), default=list(SUBJECTS))
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it works")
    parser.add_argument("--output", type=Path, help="json: one row for each step of each point")
    parser.add_argument("--point", nargs=2, metavar=("SUBJECT", "SLICES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if options.point:
        subject, count = options.point[0], int(options.point[1])
        with tempfile.TemporaryDirectory() as folder:
            rows = _rows(subject, count, SUBJECTS[subject](count, Path(folder)))
    else:
        for subject in options.subject:
            for count in (QUICK if options.quick else SIZES)[subject]:
                found = point(subject, count)
                print("\n".join(map(show, found)), flush=True)
                rows += found
    if options.output:
        options.output.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
