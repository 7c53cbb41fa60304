"""From the predictions table to `metrics.json`: every figure of a report, in one plain dictionary.

Per partition, each site first and all sites pooled last (a pooled figure depends on the mix of sites and classes, which
is why the mix is written beside it); per site the slices, then the patients by the paper's rule and by the mean
probability. Undefined is None.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from covidct.errors import IntegrityError, UsageError
from covidct.evaluation import metrics
from covidct.evaluation.intervals import (
    FEW_PATIENTS,
    LEAST_PATIENTS,
    LEVEL,
    NO_SPREAD,
    PATIENT_BOOTSTRAP,
    TOO_FEW,
    UNDEFINED,
    Interval,
    PatientBootstrap,
    WeightedAUC,
    proportion,
)
from covidct.evaluation.patient import CONFLICT, NO_RESULT, called_class, patient_table
from covidct.evaluation.predictions import Predictions, verify
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
    replicates: int = 500,
    seed: int = 0,
    patients: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """Compute everything that a report shows.

    Args:
        predictions: The slices; partitions "val" and "test" are summarised.
        slice_threshold: Of the rule any_slice; None is the plain most probable class.
        threshold_source: "fixed" (written in the config) or "validation" (chosen there); never chosen on test.
        replicates: Bootstrap replicates for AUC and means over classes.
        seed: Of the bootstrap. The result does not depend on the order of the rows.
        patients: See `patient_table`: names the patients without a usable slice, who have "no result".

    Returns:
        {"schema", "classes", "rule": {"name", "slice_threshold", "source", "omitted"}, "interval": {"level",
        "replicates", "seed"}, "blocks": [...]}. A block has `split`, `site` (or "(pooled)", only with two or more
        sites), `level`, `aggregation`, `n_patients`, `n_slices`, `n_no_result`, `n_conflict`, `class_mix`,
        `confusion` (rows = truth in scheme order, columns = `confusion_columns`), `conflict_calls` (see
        `metrics.counts_from_confusion`; None unless any_slice), `accuracy` (top-1), `macro_auc`,
        `macro_sensitivity`, `per_class` and `roc`. Intervals are `Interval.as_dict`. Without a normal class there is
        no any_slice block, and `rule.omitted` says why.

    Raises:
        IntegrityError: The predictions fail `verify`, have no val or test slice, or the result fails `self_audit`.
        UsageError: A parameter is out of range.
    """
    if threshold_source not in ("fixed", "validation"):
        raise UsageError(f"the slice threshold is 'fixed' or from 'validation', not {threshold_source!r}")
    if replicates < 2:
        raise UsageError(f"a bootstrap needs two or more replicates, not {replicates}")
    scheme = predictions.scheme
    if scheme.normal is None and slice_threshold is not None:
        raise UsageError("slice_threshold belongs to the rule any_slice, which needs a class that means normal")
    verify(predictions)
    frame = predictions.frame[predictions.frame["split"].isin(SPLITS)]
    if frame.empty:
        raise IntegrityError("the predictions table has no slice of val or test", remedy="evaluate the run again")
    frame = frame.sort_values(["site", "patient_key", "slice_key"], kind="stable", ignore_index=True)
    table = patient_table(Predictions(frame, scheme), slice_threshold=slice_threshold, patients=patients)

    blocks = []
    for split in SPLITS:
        inside = table[table["split"] == split]
        sites = sorted(inside["site"].unique())
        for site in sites if len(sites) < 2 else [*sites, POOLED]:
            chosen = inside if site == POOLED else inside[inside["site"] == site]
            slices = frame[frame["split"] == split]
            slices = slices if site == POOLED else slices[slices["site"] == site]
            place = {"split": split, "site": site}
            bootstrap_seed = [seed, zlib.crc32(f"{split}/{site}".encode())]
            if len(slices):
                cases = _slice_cases(slices, chosen, scheme)
                blocks.append({**place, **_block(cases, scheme, replicates, bootstrap_seed)})
            for rule in ("any_slice", "mean_probability") if scheme.normal is not None else ("mean_probability",):
                cases = _patient_cases(chosen, scheme, rule)
                blocks.append({**place, **_block(cases, scheme, replicates, bootstrap_seed)})
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
        "interval": {"level": LEVEL, "replicates": replicates, "seed": seed},
        "blocks": blocks,
    }
    self_audit(summary)
    return summary


@dataclass(frozen=True)
class _Cases:
    """What is counted in one block: slices, or patients.

    Args:
        level: "slice" or "patient".
        aggregation: "argmax", "any_slice" or "mean_probability".
        truth: int [n], class columns.
        outcome: int [n], positions in `columns`.
        columns: Outcomes: the classes, then those that decide nothing.
        scores: float [n, K]; NaN without a result.
        called: bool [n, K], diseases seen; None unless any_slice.
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


def _patient_cases(patients: pd.DataFrame, scheme: ClassScheme, rule: str) -> _Cases:
    conflicting = rule == "any_slice"
    columns = [*scheme.names, *([CONFLICT] if conflicting else []), NO_RESULT]
    called = patients[[f"n_called_{name}" for name in scheme.names]].to_numpy() > 0 if conflicting else None
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


def _block(cases: _Cases, scheme: ClassScheme, replicates: int, seed: list[int]) -> dict[str, Any]:
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
    # Cases without a score cannot be ranked; the AUC is that of the others and its n_patients says how many.
    ranked = ~np.isnan(cases.scores).any(axis=1)
    ranked_patients, ranked_row = np.unique(cases.patient[ranked], return_inverse=True)
    ranked_bootstrap = PatientBootstrap.draw(strata[ranked_patients], replicates, np.random.default_rng(seed))

    per_class: dict[str, dict[str, Any]] = {}
    roc: dict[str, dict[str, Any] | None] = {}
    areas: dict[int, WeightedAUC] = {}
    smallest = len(cases.patients)
    for k, name in enumerate(scheme.names):
        cell = metrics.cells(cases.truth, cases.outcome, k, called=cases.called, **undecided)
        counts = metrics.counts(cell)
        positive, scores = cases.truth == k, cases.scores[:, k]
        area = metrics.auc(positive, scores)
        positives = int((patient_truth[ranked_patients] == k).sum())
        group = min(positives, len(ranked_patients) - positives)
        if area is not None:
            areas[k] = WeightedAUC(positive[ranked], scores[ranked], ranked_row)
            smallest = min(smallest, group)
        per_class[name] = {
            "auc": _bootstrapped(area, areas.get(k), ranked_bootstrap, group).as_dict(),
            **{metric: _proportion(cases, cell, metric).as_dict() for metric in metrics.COUNTING},
            "n_positive_slices": int(n_slices[patient_truth == k].sum()),
            "n_positive_patients": int((patient_truth == k).sum()),
        }
        roc[name] = _roc(positive, scores, counts)

    mean_area, n_areas = metrics.macro([per_class[name]["auc"]["value"] for name in scheme.names])
    macro_auc = _bootstrapped(
        mean_area,
        lambda weights: np.mean([area(weights) for area in areas.values()], axis=0),
        ranked_bootstrap,
        smallest,
    )
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
        "macro_auc": {**macro_auc.as_dict(), "classes_counted": n_areas},
        "macro_sensitivity": _macro_sensitivity(cases, n_classes, strata, replicates, seed),
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


def _bootstrapped(
    value: float | None,
    statistic: Callable[[np.ndarray], np.ndarray] | None,
    bootstrap: PatientBootstrap,
    group: int,
) -> Interval:
    """A value with its bootstrap interval; `group` is the number of patients of the smallest group that it needs."""
    patients, few = len(bootstrap.strata), group < FEW_PATIENTS
    if value is None or statistic is None:
        return Interval(None, None, None, UNDEFINED, patients, few)
    if group < LEAST_PATIENTS:
        return Interval(value, None, None, TOO_FEW, patients, few)
    ends = bootstrap.interval(value, statistic)
    if ends is None:
        return Interval(value, None, None, NO_SPREAD, patients, few)
    return Interval(value, *ends, PATIENT_BOOTSTRAP, patients, few)


def _macro_sensitivity(
    cases: _Cases, n_classes: int, strata: np.ndarray, replicates: int, seed: list[int]
) -> dict[str, Any]:
    """Mean of the sensitivities of the classes that occur (balanced accuracy), with a patient bootstrap."""
    present = [k for k in range(n_classes) if (cases.truth == k).any()]
    members = [np.unique(cases.patient[cases.truth == k]) for k in present]
    inside, row = np.unique(cases.patient, return_inverse=True)
    right = cases.truth == cases.outcome
    numerators = np.array([np.bincount(row[right & (cases.truth == k)], minlength=len(inside)) for k in present])
    denominators = np.array([np.bincount(row[cases.truth == k], minlength=len(inside)) for k in present])

    def statistic(weights: np.ndarray) -> np.ndarray:
        return np.asarray(((weights @ numerators.T) / (weights @ denominators.T)).mean(axis=1))

    value = float(statistic(np.ones((1, len(inside))))[0])
    bootstrap = PatientBootstrap.draw(strata[inside], replicates, np.random.default_rng(seed))
    interval = _bootstrapped(value, statistic, bootstrap, min(len(found) for found in members))
    return {**interval.as_dict(), "classes_counted": len(present)}


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


def self_audit(summary: dict[str, Any]) -> None:
    """Check a summary against itself: what a sceptical reader would recompute from the printed matrices (fault 55).

    Raises:
        IntegrityError: A count or a metric does not follow from its confusion matrix, a fraction is outside 0..1, or
            a mean over classes is not their mean. The message names the block and the figure.
    """
    names = list(summary["classes"]["names"])
    for block in summary["blocks"]:
        where = "/".join(str(block[key]) for key in ("split", "site", "level", "aggregation"))
        columns = list(block["confusion_columns"])
        matrix = np.array(block["confusion"], dtype=np.int64)
        if matrix.shape != (len(names), len(columns)) or columns[: len(names)] != names or (matrix < 0).any():
            raise IntegrityError("the confusion matrix does not fit the classes", where=where)
        place = {name: column for column, name in enumerate(columns)}
        conflict, no_result = place.get(CONFLICT), place.get(NO_RESULT)
        calls = None if block["conflict_calls"] is None else np.array(block["conflict_calls"], dtype=np.int64)
        unit = "n_slices" if block["level"] == "slice" else "n_patients"
        expected: list[tuple[str, Any, Any]] = [
            (unit, block[unit], int(matrix.sum())),
            ("n_conflict", block["n_conflict"], 0 if conflict is None else int(matrix[:, conflict].sum())),
            ("n_no_result", block["n_no_result"], 0 if no_result is None else int(matrix[:, no_result].sum())),
            ("accuracy", block["accuracy"]["value"], metrics.top1(matrix)),
        ]
        if calls is not None and conflict is not None:
            torn = matrix[:, conflict]
            if (calls < 0).any() or (calls > torn[:, None]).any() or (calls.sum(axis=1) < 2 * torn).any():
                raise IntegrityError("conflict_calls do not fit the conflicts of the confusion matrix", where=where)
        for k, name in enumerate(names):
            figures = block["per_class"][name]
            counts = metrics.counts_from_confusion(
                matrix, k, conflict=conflict, no_result=no_result, conflict_calls=calls
            )
            positives = figures["n_positive_slices" if block["level"] == "slice" else "n_positive_patients"]
            expected.append((f"{name} cases", positives, int(matrix[k].sum())))
            expected += [
                (f"{name} {metric}", figures[metric]["value"], getattr(counts, metric)) for metric in metrics.COUNTING
            ]
            curve = block["roc"][name]
            if curve is not None:
                point = curve["operating_point"]
                expected.append((f"{name} operating point tpr", point["tpr"], counts.sensitivity))
                expected.append((f"{name} operating point fpr", 1 - point["fpr"], counts.specificity))
        for metric in ("auc", "sensitivity"):
            mean, counted = metrics.macro([block["per_class"][name][metric]["value"] for name in names])
            expected.append((f"macro_{metric}", block[f"macro_{metric}"]["value"], mean))
            expected.append((f"macro_{metric} classes", block[f"macro_{metric}"]["classes_counted"], counted))
        for figure, given, computed in expected:
            same = given is computed if given is None or computed is None else abs(given - computed) <= 1e-9
            if not same:
                raise IntegrityError(
                    f"{figure} is {given}, but {computed} follows from the confusion matrix",
                    where=where,
                    remedy="do not edit metrics.json; evaluate the run again",
                )
        _audit_ranges(block, where)


def _audit_ranges(block: dict[str, Any], where: str) -> None:
    intervals = {"accuracy": block["accuracy"], "macro_auc": block["macro_auc"]}
    intervals["macro_sensitivity"] = block["macro_sensitivity"]
    for name, figures in block["per_class"].items():
        intervals |= {f"{name} {metric}": figures[metric] for metric in ("auc", *metrics.COUNTING)}
    for figure, interval in intervals.items():
        numbers = [interval[key] for key in ("low", "value", "high") if interval[key] is not None]
        if any(not 0 <= number <= 1 for number in numbers) or (
            interval["low"] is not None and interval["low"] > interval["high"]
        ):
            raise IntegrityError(f"{figure} is not a fraction with its interval: {numbers}", where=where)
