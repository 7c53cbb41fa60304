"""Where the outcomes of a comparison come from: run folders, or a table made elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from covidct.errors import DataRefused, UsageError
from covidct.evaluation.catalogue import FAILED, FINISHED, CataloguedRun
from covidct.evaluation.comparison_table import (
    COUNTED,
    MISSING,
    NOTED_CONDITIONS,
    SAME_CONDITIONS,
    SAME_PATIENTS,
    UNDEFINED,
    UNFINISHED,
    Outcome,
)
from covidct.files import read_json


def outcomes_of_runs(
    runs: Sequence[CataloguedRun],
    metric: str,
    *,
    by: str,
    pair: Sequence[str],
    measure: Callable[[CataloguedRun, str], Any] = lambda run, metric: run.value(metric),
) -> list[Outcome]:
    """One outcome for each run folder.

    Args:
        runs: The runs.
        metric: A dotted word.
        by: What tells arms apart.
        pair: What runs of a pair have in common, such as ["repeat", "seed"].
        measure: Gives the metric of a run.

    Raises:
        UsageError: A run does not say which arm or repeat it is.
        DataRefused: A file of a run cannot be read.
    """
    seen = {key: {str(run.value(key)) for run in runs} - {"None"} for key in pair}
    varying = [key for key in pair if len(seen[key]) > 1] or list(pair[:1])
    return [_outcome(run, metric, by, varying, measure) for run in runs]


def _outcome(
    run: CataloguedRun,
    metric: str,
    by: str,
    pair: Sequence[str],
    measure: Callable[[CataloguedRun, str], Any],
) -> Outcome:
    arm = run.value(by)
    places = [run.value(key) for key in pair]
    for key, value in ((by, arm), *zip(pair, places, strict=True)):
        if value is None:
            raise UsageError(
                f"the run does not say its {key}",
                where=str(run.path),
                remedy="leave it out, or name a key that every run has: by=KEY pair=[KEY,...]",
            )
    words = {"seed": "seed ", "repeat": ""}
    repeat = ", ".join(f"{words.get(key, key + ' ')}{value}" for key, value in zip(pair, places, strict=True))
    seconds = run.value("seconds")
    common: dict[str, Any] = {
        "arm": str(arm) if by == "arm" else named_value(by, arm),
        "repeat": repeat,
        "run": run.path.name,
        "seconds": float(seconds) if isinstance(seconds, int | float) else None,
        "path": run.path,
    }
    if run.state == FAILED:
        return Outcome(**common, state=FAILED, reason=run.reason)
    if run.state not in FINISHED:
        return Outcome(**common, state=UNFINISHED, reason=f"state {run.state}")
    value = measure(run, metric)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise UsageError(f"{metric} is no number but {value!r}", where=str(run.path))
    ratio, patients = _ratio(run.path)
    common |= {"test_over_train": ratio, "patients": patients}
    common["facts"] = {key: run.value(key) for key in (*SAME_PATIENTS, *SAME_CONDITIONS, *NOTED_CONDITIONS)}
    if value is None or not math.isfinite(value):
        why = "not evaluated" if metric.startswith("test.") and run.state != "evaluated" else f"{metric} is undefined"
        return Outcome(**common, state=UNDEFINED, reason=why)
    return Outcome(**common, state=COUNTED, value=float(value))


def named_value(by: str, value: Any) -> str:
    """The name of an arm that a config key tells apart: "lr 0.001"."""
    return f"{by.rpartition('.')[2]} {value}"


def _ratio(path: Path) -> tuple[float | None, int | None]:
    """Validation over training patients of the run's own split (or images), and the number of patients."""
    file = path / "split.json"
    if not file.is_file():
        return None, None
    split = read_json(file)
    train, val = len(split.get("train") or ()), len(split.get("val") or ())
    if not (train and val):
        return None, None
    return val / train, train + val if split.get("unit") == "patient" else None


def outcomes_of_table(path: Path, metric: str) -> list[Outcome]:
    """Outcomes from a CSV table with the columns `arm`, `repeat` and the metric; optionally `state`, `reason`, `run`
    and `seconds`. An empty metric is an undefined outcome, not a dropped one.

    Raises:
        DataRefused: The file is missing or is not such a table.
    """
    import pandas as pd

    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise DataRefused("the table does not exist", where=str(path)) from None
    except (ValueError, OSError) as error:
        raise DataRefused(f"not a CSV table: {error}", where=str(path)) from None
    missing = [name for name in ("arm", "repeat", metric) if name not in frame.columns]
    if missing:
        raise DataRefused(
            f"the table lacks the column {missing[0]!r}",
            where=str(path),
            remedy=f"it has {', '.join(map(str, frame.columns))}; metric=... names the column to compare",
        )
    outcomes = []
    for number, row in enumerate(frame.to_dict("records"), start=2):
        where = f"{path}, line {number}"
        if not row["arm"].strip() or not row["repeat"].strip():
            raise DataRefused("arm or repeat is empty", where=where)
        state, reason = row.get("state", ""), row.get("reason") or None
        value = _number(row[metric], metric, where)
        if value is not None and not math.isfinite(value):
            value, reason = None, reason or f"{metric} is {row[metric]}"
        if state in (FAILED, UNFINISHED, MISSING):
            value = None
        else:
            state = UNDEFINED if value is None else COUNTED
        if value is None and reason is None:
            reason = f"{metric} is empty"
        seconds = _number(row.get("seconds", ""), "seconds", where)
        name = row.get("run") or f"line {number}"
        outcomes.append(Outcome(row["arm"].strip(), row["repeat"].strip(), state, value, reason, name, seconds))
    return outcomes


def _number(text: str, name: str, where: str) -> float | None:
    if not text.strip():
        return None
    try:
        return float(text)
    except ValueError:
        raise DataRefused(f"{name} is no number: {text!r}", where=where) from None
