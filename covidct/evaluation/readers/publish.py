"""From a run folder and a table of reads to readers.json, its figures and tables, and the report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covidct.errors import DataRefused, UsageError
from covidct.evaluation.operating_point import read_operating_point
from covidct.evaluation.predictions import Predictions, read_predictions
from covidct.evaluation.readers.cases import Cases, all_cases, chosen
from covidct.evaluation.readers.figures import save_reader_figures
from covidct.evaluation.readers.reading_time import model_seconds
from covidct.evaluation.readers.simulator import simulate
from covidct.evaluation.readers.study import analyse
from covidct.evaluation.readers.words import sentences
from covidct.evaluation.report import write_report
from covidct.evaluation.rule_spec import RuleSpec
from covidct.files import read_json, replacing, write_json

FILE = "readers.json"
VALIDATION, PAPER = RULES = ("validation", "paper")
"""Which patient rule the model calls by."""


def publish_readers(
    run_folder: Path,
    reads: Path,
    *,
    split: str = "test",
    rule: str = VALIDATION,
    positive: str | None = None,
    model: Mapping[str, Any] | None = None,
    replicates: int = 2000,
    seed: int = 0,
) -> tuple[Path, list[str], list[str]]:
    """Analyse a table of reads, write `readers.json`, figures and tables into the run folder, and the report again.

    Args:
        run_folder: An evaluated run.
        reads: CSV file; see `reads`.
        split: Partition that was read.
        rule: "validation", the frozen operating point's (the paper's where none was frozen), or "paper".
        positive: Class of ROC curves and paired tests; None for the run's.
        model: `io` and `inference` in seconds a slice, `hardware`, `batch_size`.
        replicates: Of the bootstrap.
        seed: Of every random number.

    Returns:
        The report, its sentences about the readers, and the study's warnings.

    Raises:
        DataRefused: The run was not evaluated, or the table cannot be used.
        UsageError: A parameter is out of range.
    """
    predictions, threshold, frozen = _opened(run_folder, rule)
    found = analyse(
        predictions,
        reads,
        split=split,
        slice_threshold=threshold,
        frozen=frozen,
        positive=positive,
        model=model_seconds(model or {}) or _measured(run_folder),
        replicates=replicates,
        seed=seed,
    )
    write_json(run_folder / FILE, found)
    save_reader_figures(found, run_folder)
    for name, numbers in tables_of(found).items():
        with replacing(run_folder / "tables" / f"{name}.csv") as temporary:
            numbers.to_csv(temporary, index=False, lineterminator="\n")
    return write_report(run_folder), sentences(found), found["warnings"]


def _measured(run_folder: Path) -> dict[str, Any] | None:
    """The model's seconds a slice as `covidct evaluate` measured them, or None."""
    file = run_folder / "speed.json"
    return model_seconds(read_json(file)) if file.is_file() else None


def write_simulated(
    run_folder: Path,
    output: Path,
    *,
    readers: int,
    split: str = "test",
    rule: str = VALIDATION,
    unit: str = "patient",
    cases: int | None = None,
    seed: int = 0,
) -> Path:
    """Write the reads of simulated readers on the cases of a run.

    Args:
        run_folder: An evaluated run.
        output: The CSV file; one that exists is only replaced if it holds simulated reads too.
        readers: How many.
        split: Partition that is read.
        rule: As for `publish_readers`: what the readers with AI are shown.
        unit: "patient" or "slice".
        cases: How many cases, drawn with the class mix kept; None for all.
        seed: Of every random number.

    Raises:
        DataRefused: The run was not evaluated.
        UsageError: A parameter is out of range, or `output` holds something that nobody simulated.
    """
    if output.exists() and not _is_simulated(output):
        raise UsageError(
            "the file exists and is no table of simulated reads; it is not replaced",
            where=str(output),
            remedy="give another output",
        )
    predictions, threshold, frozen = _opened(run_folder, rule)
    everything = all_cases(predictions, split=split, unit=unit, slice_threshold=threshold, frozen=frozen)
    table = simulate(_drawn(everything, cases, seed), readers, seed=seed)
    with replacing(output) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
    return output


def _is_simulated(path: Path) -> bool:
    try:
        column = pd.read_csv(path, dtype=str, usecols=["simulated"])["simulated"]
    except (ValueError, OSError):
        return False
    return bool((column == "yes").all())


def _drawn(cases: Cases, number: int | None, seed: int) -> Cases:
    """So many cases with the class mix kept as far as whole numbers allow."""
    if number is None or number >= len(cases):
        return cases
    order = np.random.default_rng(seed).permutation(len(cases))
    truth = pd.Series(cases.truth[order])
    place = (truth.groupby(truth).cumcount() + 0.5) / truth.groupby(truth).transform("size")
    return chosen(cases, np.sort(order[np.argsort(place.to_numpy(), kind="stable")[:number]]))


def _opened(run_folder: Path, rule: str) -> tuple[Predictions, float | None, RuleSpec | None]:
    """The predictions of an evaluated run, the slice threshold of the paper's rule, and the rule that was frozen."""
    if rule not in RULES:
        raise UsageError(f"rule is {rule!r}, not one of {', '.join(RULES)}")
    path = run_folder / "metrics.json"
    if not path.is_file():
        raise DataRefused(
            "the run was not evaluated", where=str(run_folder), remedy=f"covidct evaluate run={run_folder}"
        )
    threshold = (read_json(path).get("rule") or {}).get("slice_threshold")
    point = read_operating_point(run_folder) if rule == VALIDATION else None
    predictions = read_predictions(run_folder / "predictions.parquet")
    if point is not None:
        point.check(predictions)
    frozen = None if point is None or point.fallback else point.rule
    return predictions, None if threshold is None else float(threshold), frozen


def tables_of(found: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """The numbers of the section as long tables: accuracy, tests against the model, tests of the group, agreement."""
    simulated = found["source"]["simulated"]
    accuracy = [
        {
            "rater": rater["name"],
            "with_ai": rater["with_ai"],
            "class": entry["class"],
            "metric": metric,
            **entry[metric],
        }
        for rater in found["raters"]
        for entry in (
            {"class": "(all)", "accuracy": rater["accuracy"]},
            *rater["per_class"],
            *([{"class": f"({found['target']['name']})", "auc": rater["target"]["auc"]}] if rater["target"] else []),
        )
        for metric in entry
        if metric != "class"
    ]
    paired = [{"merit": entry["merit"], **row} for entry in found["against_model"] for row in entry["rows"]]
    groups = [
        {key: value for key, value in entry.items() if key not in ("tests", "jackknife")} | {"covariance": name} | test
        for entry in found["groups"]
        for name in ("tests", "jackknife")
        for test in entry.get(name) or [{}]
        if test or name == "tests"
    ]
    agreement = [{"kappa": kind, **row} for kind, rows in found["agreement"].items() for row in rows]
    named = {"accuracy": accuracy, "paired": paired, "groups": groups, "agreement": agreement}
    return {f"readers_{name}": pd.DataFrame(rows).assign(simulated=simulated) for name, rows in named.items()}
