"""From the predictions table to `metrics.json`: every figure of a report, in one plain dictionary.

Per partition, each site first and all sites pooled last (a pooled figure depends on the mix of sites and classes, which
is why the mix is written beside it); per site the slices, then the patients by the paper's rule, by the mean
probability and, where an operating point was frozen, by the rule that validation chose. Undefined is None.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from covidct.errors import IntegrityError, UsageError
from covidct.evaluation import metrics
from covidct.evaluation.class_means import Way, class_areas, mean_sensitivity
from covidct.evaluation.intervals import LEVEL, Interval, proportion
from covidct.evaluation.operating_point import OperatingPoint
from covidct.evaluation.operating_results import binary_results
from covidct.evaluation.patient import CONFLICT, NO_RESULT, called_class, patient_table
from covidct.evaluation.predictions import Predictions, verify
from covidct.evaluation.self_audit import self_audit
from covidct.labels import ClassScheme

SCHEMA_VERSION = 1
POOLED = "(pooled)"
SPLITS = ("val", "test")
"""Partitions that are summarised. Figures on "train" would only flatter."""

ROC_POINTS = 200


def summarize(
    predictions: Predictions,
    *,
    slice_threshold: float | None = None,
    threshold_source: str = "fixed",
    mean_intervals: str = "logit_t",
    replicates: int = 2000,
    seed: int = 0,
    patients: pd.DataFrame | None = None,
    operating: OperatingPoint | None = None,
) -> dict[str, Any]:
    """Compute everything that a report shows.

    Args:
        predictions: The slices; partitions "val" and "test" are summarised.
        slice_threshold: Of the rule any_slice; None is the plain most probable class.
        threshold_source: "fixed" (written in the config) or "validation" (chosen there); never chosen on test.
        mean_intervals: How AUCs and means over classes get their intervals: "logit_t" or "bootstrap" (`class_means`).
        replicates: Of the bootstrap of patients.
        seed: Of the bootstrap. The result does not depend on the order of the rows.
        patients: See `patient_table`: names the patients without a usable slice, who have "no result".
        operating: The frozen operating point of the run; with it comes a further block per site, with the aggregation
            "validation_rule", and `binary`.

    Returns:
        {"schema", "classes", "rule": {"name", "slice_threshold", "source", "omitted"}, "interval": {"level",
        "mean_intervals", "replicates", "seed"}, "blocks": [...]}. A block has `split`, `site` (or "(pooled)", only
        with two or more sites), `level`, `aggregation`, `n_patients`, `n_slices`, `n_no_result`, `n_conflict`,
        `class_mix`, `confusion` (rows = truth in scheme order, columns = `confusion_columns`), `conflict_calls` (see
        `metrics.counts_from_confusion`; None unless any_slice), `accuracy` (top-1), `macro_auc`,
        `macro_sensitivity`, `per_class` and `roc`. Intervals are `Interval.as_dict`. Without a normal class there is
        no any_slice block, and `rule.omitted` says why. With `operating`: blocks of "validation_rule" carry
        `optimistic` (true on val, which chose the rule), `operating_point` has its rule, criterion, fallback and
        digest, and `binary` the figures at its thresholds (`binary_results`); both are None without it.

    Raises:
        IntegrityError: The predictions fail `verify`, have no val or test slice, or the result fails `self_audit`.
        UsageError: A parameter is out of range.
    """
    if threshold_source not in ("fixed", "validation"):
        raise UsageError(f"the slice threshold is 'fixed' or from 'validation', not {threshold_source!r}")
    scheme = predictions.scheme
    if scheme.normal is None and slice_threshold is not None:
        raise UsageError("slice_threshold belongs to the rule any_slice, which needs a class that means normal")
    verify(predictions)
    frame = predictions.frame[predictions.frame["split"].isin(SPLITS)]
    if frame.empty:
        raise IntegrityError("the predictions table has no slice of val or test", remedy="evaluate the run again")
    frame = frame.sort_values(["site", "patient_key", "slice_key"], kind="stable", ignore_index=True)
    chosen_rule = operating.rule if operating is not None else None
    table = patient_table(
        Predictions(frame, scheme), slice_threshold=slice_threshold, patients=patients, validation_rule=chosen_rule
    )
    rules = ["any_slice"] if scheme.normal is not None else []
    rules += ["mean_probability"] + (["validation_rule"] if chosen_rule is not None else [])

    blocks = []
    for split in SPLITS:
        inside = table[table["split"] == split]
        sites = sorted(inside["site"].unique())
        for site in sites if len(sites) < 2 else [*sites, POOLED]:
            chosen = inside if site == POOLED else inside[inside["site"] == site]
            slices = frame[frame["split"] == split]
            slices = slices if site == POOLED else slices[slices["site"] == site]
            place = {"split": split, "site": site}
            way = Way(mean_intervals, replicates, [seed, zlib.crc32(f"{split}/{site}".encode())])
            if len(slices):
                cases = _slice_cases(slices, chosen, scheme)
                blocks.append({**place, **_block(cases, scheme, way)})
            for rule in rules:
                by_validation = rule == "validation_rule"
                may_conflict = rule == "any_slice" or (
                    by_validation and chosen_rule is not None and chosen_rule.may_conflict
                )
                cases = _patient_cases(chosen, scheme, rule, may_conflict)
                marks = {"optimistic": split == "val"} if by_validation else {}
                blocks.append({**place, **_block(cases, scheme, way), **marks})
    omitted = None if scheme.normal is not None else "the rule any_slice needs a class that means normal"
    summary = {
        "schema": SCHEMA_VERSION,
        "classes": scheme.as_dict(),
        "rule": {
            "name": "any_slice",
            "slice_threshold": slice_threshold,
            "source": threshold_source,
            "omitted": omitted,
        },
        "interval": {"level": LEVEL, "mean_intervals": mean_intervals, "replicates": replicates, "seed": seed},
        "blocks": blocks,
        "operating_point": None if operating is None else operating.summary(),
        "binary": None if operating is None else binary_results(Predictions(frame, scheme), table, operating),
    }
    self_audit(summary)
    return summary


@dataclass(frozen=True)
class _Cases:
    """What is counted in one block: slices, or patients.

    Args:
        level: "slice" or "patient".
        aggregation: "argmax", "any_slice", "mean_probability" or "validation_rule".
        truth: int [n], class columns.
        outcome: int [n], positions in `columns`.
        columns: Outcomes: the classes, then those that decide nothing.
        scores: float [n, K]; NaN without a result.
        called: bool [n, K], diseases seen; None unless the rule may conflict.
        patient: int [n], row of `patients`.
        patients: Rows of `patient_table` of this split and site; at slice level those with a slice.
    """

    level: str
    aggregation: str
    truth: np.ndarray
    outcome: np.ndarray
    columns: list[str]
    scores: np.ndarray
    called: np.ndarray | None
    patient: np.ndarray
    patients: pd.DataFrame

    @property
    def undecided(self) -> dict[str, int | None]:
        """Columns of the outcomes that decide nothing, as `metrics.cells` wants them."""
        place = {name: column for column, name in enumerate(self.columns)}
        return {"conflict": place.get(CONFLICT), "no_result": place.get(NO_RESULT)}


def _slice_cases(slices: pd.DataFrame, patients: pd.DataFrame, scheme: ClassScheme) -> _Cases:
    probabilities = Predictions(slices, scheme).probabilities
    patients = patients[patients["n_slices"] > 0]
    rows = pd.MultiIndex.from_frame(patients[["site", "patient_key"]])
    return _Cases(
        "slice",
        "argmax",
        _codes(slices["label"], scheme.names),
        called_class(probabilities, scheme),
        list(scheme.names),
        probabilities,
        None,
        rows.get_indexer(pd.MultiIndex.from_frame(slices[["site", "patient_key"]])),
        patients,
    )


def _patient_cases(patients: pd.DataFrame, scheme: ClassScheme, rule: str, may_conflict: bool) -> _Cases:
    columns = [*scheme.names, *([CONFLICT] if may_conflict else []), NO_RESULT]
    counts = [f"{'n_called' if rule == 'any_slice' else 'n_seen'}_{name}" for name in scheme.names]
    called = patients[counts].to_numpy() > 0 if may_conflict else None
    return _Cases(
        "patient",
        rule,
        _codes(patients["label"], scheme.names),
        _codes(patients[rule], columns),
        columns,
        patients[[f"{rule}_{name}" for name in scheme.names]].to_numpy(dtype=np.float64),
        called,
        np.arange(len(patients)),
        patients,
    )


def _codes(values: pd.Series, names: list[str] | tuple[str, ...]) -> np.ndarray:
    return np.asarray(pd.Categorical(values, categories=list(names)).codes, dtype=np.int64)


def _block(cases: _Cases, scheme: ClassScheme, way: Way) -> dict[str, Any]:
    n_classes, undecided = len(scheme), cases.undecided
    matrix = metrics.confusion(cases.truth, cases.outcome, n_classes, len(cases.columns))
    conflict_calls = None
    if cases.called is not None:
        torn = cases.outcome == undecided["conflict"]
        conflict_calls = np.array(
            [cases.called[torn & (cases.truth == k)].sum(axis=0) for k in range(n_classes)], dtype=np.int64
        )
    patient_truth = _codes(cases.patients["label"], scheme.names)
    strata = cases.patients.groupby(["site", "label"]).ngroup().to_numpy()
    n_slices = cases.patients["n_slices"].to_numpy()
    areas, macro_auc, ranked = class_areas(cases.truth, cases.scores, cases.patient, strata, way)
    balanced, present = mean_sensitivity(cases.truth, cases.truth == cases.outcome, cases.patient, strata, way)
    per_class: dict[str, dict[str, Any]] = {}
    roc: dict[str, dict[str, Any] | None] = {}
    for k, name in enumerate(scheme.names):
        cell = metrics.cells(cases.truth, cases.outcome, k, called=cases.called, **undecided)
        per_class[name] = {
            "auc": areas[k].as_dict(),
            **{metric: _proportion(cases, cell, metric).as_dict() for metric in metrics.COUNTING},
            "n_positive_slices": int(n_slices[patient_truth == k].sum()),
            "n_positive_patients": int((patient_truth == k).sum()),
        }
        roc[name] = _roc(cases.truth == k, cases.scores[:, k], metrics.counts(cell))

    return {
        "level": cases.level,
        "aggregation": cases.aggregation,
        "n_patients": len(cases.patients),
        "n_slices": int(n_slices.sum()),
        "n_no_result": int((cases.outcome == undecided["no_result"]).sum()),
        "n_conflict": int((cases.outcome == undecided["conflict"]).sum()),
        "class_mix": {
            name: {"patients": figures["n_positive_patients"], "slices": figures["n_positive_slices"]}
            for name, figures in per_class.items()
        },
        "confusion": matrix.tolist(),
        "confusion_columns": cases.columns,
        "conflict_calls": None if conflict_calls is None else conflict_calls.tolist(),
        "accuracy": _share(cases, cases.truth == cases.outcome, np.ones(len(cases.truth), dtype=bool)).as_dict(),
        "macro_auc": {**macro_auc.as_dict(), "classes_counted": ranked},
        "macro_sensitivity": {**balanced.as_dict(), "classes_counted": present},
        "per_class": per_class,
        "roc": roc,
    }


def _share(cases: _Cases, numerator: np.ndarray, denominator: np.ndarray) -> Interval:
    """Proportion of the cases in `denominator` that are in `numerator`, counted patient by patient."""
    patients = len(cases.patients)
    return proportion(
        np.bincount(cases.patient[numerator & denominator], minlength=patients),
        np.bincount(cases.patient[denominator], minlength=patients),
    )


def _proportion(cases: _Cases, cell: np.ndarray, metric: str) -> Interval:
    return _share(cases, np.isin(cell, metrics.NUMERATOR[metric]), np.isin(cell, metrics.DENOMINATOR[metric]))


def _roc(positive: np.ndarray, scores: np.ndarray, counts: metrics.Counts) -> dict[str, Any] | None:
    curve = metrics.roc(positive, scores)
    if curve is None or counts.sensitivity is None or counts.specificity is None:
        return None
    fpr, tpr = curve
    point = (1 - counts.specificity, counts.sensitivity)
    kept = metrics.thin(fpr, tpr, keep=point, points=ROC_POINTS)
    return {
        "fpr": fpr[kept].tolist(),
        "tpr": tpr[kept].tolist(),
        "operating_point": {"fpr": point[0], "tpr": point[1]},
    }
