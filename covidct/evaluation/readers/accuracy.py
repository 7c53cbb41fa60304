"""What readers and model get right: for each rater and class, and each reader against the model on the same cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from covidct.errors import UsageError
from covidct.evaluation import metrics
from covidct.evaluation.comparisons import holm
from covidct.evaluation.intervals import FEW_PATIENTS, NO_SPREAD, TOO_FEW, UNDEFINED, Interval, proportion
from covidct.evaluation.patient import CONFLICT, NO_RESULT
from covidct.evaluation.readers.cases import Cases, Target
from covidct.evaluation.readers.raters import Rater
from covidct.evaluation.significance.clustered import compare
from covidct.evaluation.significance.delong import areas, ends
from covidct.evaluation.significance.paired import cochran

DELONG = "delong_by_patient"
LEAST_EACH = 2
"""Patients that each group of an AUC must have."""


def share(cases: Cases, right: np.ndarray, among: np.ndarray) -> Interval:
    """Share of the cases in `among` that are in `right`, with the interval that its patients allow."""
    patients = int(cases.patient.max()) + 1
    return proportion(
        np.bincount(cases.patient[right & among], minlength=patients),
        np.bincount(cases.patient[among], minlength=patients),
    )


def area(cases: Cases, rater: Rater, target: Target) -> Interval:
    """The AUC of a rater with DeLong's interval by patient; cases without a rating are left out."""
    score, truth = cases.score(rater, target), cases.positive(target)
    known = rater.read & ~np.isnan(score)
    patients = len(np.unique(cases.patient[known]))
    groups = [len(np.unique(cases.patient[known & group])) for group in (truth, ~truth)]
    few = min(groups) < FEW_PATIENTS
    if min(groups) < LEAST_EACH:
        value = metrics.auc(truth[known], score[known])
        return Interval(value, None, None, UNDEFINED if value is None else TOO_FEW, patients, few)
    found = areas(score[known], truth[known], cases.patient[known])
    low, high = ends(float(found.values[0]), float(found.covariance[0, 0])) or (None, None)
    method = NO_SPREAD if low is None else DELONG
    return Interval(float(found.values[0]), low, high, method, patients, few)


def row_of(cases: Cases, rater: Rater, target: Target | None) -> dict[str, Any]:
    """Everything that one rater got right, positive class first.

    Returns:
        `name`, `with_ai`, `n_cases`, `n_no_result`, `n_conflict`, `accuracy` (right class), `per_class` (a list of
        class, sensitivity, specificity), `target` (sensitivity, specificity, auc) or None. Intervals are dicts.
    """
    names = list(cases.scheme.names)
    first = target.classes[0] if target and len(target.classes) == 1 else None
    read = rater.read
    per_class = []
    for name in sorted(names, key=lambda name: name != first):
        cell = cases.cell(rater, name)
        entry: dict[str, Any] = {"class": name}
        for metric in ("sensitivity", "specificity"):
            among = read & np.isin(cell, metrics.DENOMINATOR[metric])
            entry[metric] = share(cases, np.isin(cell, metrics.NUMERATOR[metric]), among).as_dict()
        per_class.append(entry)
    found: dict[str, Any] = {
        "name": rater.name,
        "with_ai": rater.with_ai,
        "n_cases": int(read.sum()),
        "n_no_result": int((rater.call == cases.outcomes.index(NO_RESULT)).sum()),
        "n_conflict": int((rater.call == cases.outcomes.index(CONFLICT)).sum()),
        "accuracy": share(cases, rater.call == cases.truth, read).as_dict(),
        "per_class": per_class,
        "target": None,
    }
    if target is not None:
        right, positive = cases.correct(rater, target), cases.positive(target)
        found["target"] = {
            "sensitivity": share(cases, right, read & positive).as_dict(),
            "specificity": share(cases, right, read & ~positive).as_dict(),
            "auc": area(cases, rater, target).as_dict(),
        }
    return found


def groups_of(cases: Cases, target: Target | None) -> dict[str, np.ndarray]:
    """The cases that each paired test is about: ill and not ill apart, or all where there is no target."""
    if target is None:
        return {"accuracy": np.ones(len(cases), dtype=bool)}
    positive = cases.positive(target)
    return {"sensitivity": positive, "specificity": ~positive}


def against_model(
    cases: Cases, readers: Sequence[Rater], target: Target | None, *, seed: int = 0
) -> list[dict[str, Any]]:
    """Each reader against the model on the cases that the reader read: difference, test, P adjusted over readers.

    Returns:
        One entry for each of sensitivity and specificity (or accuracy): `merit`, `rows` (reader, n_cases, n_patients,
        model, value, difference = model minus reader, low, high, model_only, reader_only, test, p, p_holm) and
        `cochran`: whether the readers differ among each other, on cases that all read.
    """
    found = []
    for merit, group in groups_of(cases, target).items():
        model = cases.correct(cases.model, target)
        rows: list[dict[str, Any]] = []
        for rater in readers:
            among, right = group & rater.read, cases.correct(rater, target)
            interval, test = compare(model[among], right[among], cases.patient[among], seed=seed)
            rows.append(
                {
                    "reader": rater.name,
                    "with_ai": rater.with_ai,
                    "n_cases": int(among.sum()),
                    "n_patients": interval.n_patients,
                    "model": _mean(model[among]),
                    "value": _mean(right[among]),
                    "difference": interval.value,
                    "low": interval.low,
                    "high": interval.high,
                    "model_only": int((model & ~right)[among].sum()),
                    "reader_only": int((right & ~model)[among].sum()),
                    "test": test.name,
                    "p": test.p,
                }
            )
        for row, adjusted in zip(rows, holm([row["p"] for row in rows]), strict=True):
            row["p_holm"] = adjusted
        found.append({"merit": merit, "rows": rows, "cochran": _cochran(cases, readers, target, group)})
    return found


def _cochran(cases: Cases, readers: Sequence[Rater], target: Target | None, group: np.ndarray) -> dict[str, Any]:
    among = np.logical_and.reduce([group, *(rater.read for rater in readers)])
    if len(readers) < 2 or not among.any():
        return {"omitted": "it needs two readers and cases that all of them read"}
    if len(np.unique(cases.patient[among])) < among.sum():
        return {"omitted": "it counts cases as independent, and several slices of a patient are not"}
    try:
        test = cochran(np.stack([cases.correct(rater, target)[among] for rater in readers]))
    except UsageError as error:
        return {"omitted": error.what}
    return {**test.as_dict(), "n_cases": int(among.sum()), "readers": len(readers)}


def _mean(right: np.ndarray) -> float | None:
    return float(right.mean()) if len(right) else None
