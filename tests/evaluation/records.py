"""Run records written by hand: one fact at a time, no run behind them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from covidct.evaluation.record import RunRecord
from covidct.files import write_json
from covidct.labels import ClassScheme

SCHEME = ClassScheme(("normal", "covid19"), normal="normal", positive="covid19")


def figure(value: float | None = 0.5, low: float | None = 0.4, high: float | None = 0.6) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "method": "korn_graubard", "n_patients": 10}


def block(split: str, site: str, patients: tuple[int, int] = (40, 35), **changed: Any) -> dict[str, Any]:
    """A block of metrics.json by the paper's rule, with all that sentences are made from."""
    per_class = {
        name: {"n_positive_patients": n, "sensitivity": figure(), "specificity": figure()}
        for name, n in zip(SCHEME.names, patients, strict=True)
    }
    return {
        "split": split, "site": site, "level": "patient", "aggregation": "any_slice", "n_patients": sum(patients),
        "n_slices": 10 * sum(patients), "n_conflict": 1, "n_no_result": 2, "accuracy": figure(), "macro_auc": figure(),
        "per_class": per_class, **changed,
    }  # fmt: skip


def record(folder: Path, *, files: dict[str, Any] | None = None, **facts: Any) -> RunRecord:
    """An empty record with some facts; `files`: name -> content of `<name>.json` in the folder."""
    for name, content in (files or {}).items():
        write_json(folder / f"{name}.json", content)
    empty: dict[str, Any] = {
        "scheme": SCHEME, "summary": {"blocks": []}, "run": {}, "config": {}, "split": {}, "participants": None,
        "provenance": {}, "history": None, "mistakes": None, "predictions": {},
    }  # fmt: skip
    return RunRecord(folder=folder, **(empty | facts))
