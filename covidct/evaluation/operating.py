"""Choosing the operating point of a run: which patient rule, which thresholds. From validation patients only."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from sklearn.metrics import roc_curve

from covidct.errors import DataRefused
from covidct.evaluation import metrics
from covidct.evaluation.intervals import LEAST_PATIENTS
from covidct.evaluation.operating_point import BinaryPoint, Criterion, OperatingPoint, validation_digest
from covidct.evaluation.patient_slices import PatientSlices, slices_by
from covidct.evaluation.predictions import Predictions
from covidct.evaluation.rule_spec import COUNTING, MEAN, PAPER, RuleSpec
from covidct.labels import ClassScheme

SLICE_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
RUNS = (2, 3, 5)
COUNTS = (2, 3, 5)
SHARES = (0.05, 0.1, 0.2, 0.3, 0.5)
TOP = (3, 5, 10)
NOISY_OR_THRESHOLDS = (0.9, 0.99, 0.999)


def rules_to_try(scheme: ClassScheme) -> tuple[RuleSpec, ...]:
    """The rules an operating point is chosen from, the simplest first: it wins where figures are equal.

    The list is short on purpose: with fifty patients the best of many rules is the luckiest.
    """
    found = [PAPER, MEAN]
    found += [RuleSpec("any_slice", {"slice_threshold": threshold}) for threshold in SLICE_THRESHOLDS]
    found += [RuleSpec("top_k", {"k": k}) for k in TOP]
    found += [RuleSpec("any_slice", {"min_run": run}) for run in RUNS]
    found += [RuleSpec("k_of_n", {"count": count}) for count in COUNTS]
    found += [RuleSpec("k_of_n", {"share": share}) for share in SHARES]
    found += [RuleSpec("noisy_or"), *(RuleSpec("noisy_or", {"threshold": t}) for t in NOISY_OR_THRESHOLDS)]
    found += [
        RuleSpec("any_slice", {"slice_threshold": threshold, "min_run": run})
        for threshold, run in product((0.7, 0.9), (2, 3))
    ]
    found += [
        RuleSpec(rule.name, {**rule.parameters, "tie": "most_slices"})
        for rule in found
        if rule.name in COUNTING and len(scheme) > 2
    ]
    if scheme.normal is None:
        found = [rule for rule in found if rule.name not in COUNTING and "threshold" not in rule.parameters]
    return tuple(found)


def choose_operating_point(
    predictions: Predictions, criterion: Criterion | None = None, *, after_test: bool = False
) -> OperatingPoint:
    """Choose rule and thresholds on the validation rows of a table; no other row is looked at.

    With fewer than ten validation patients of any class nothing is chosen: the rule is then the paper's (or, without a
    normal class, the mean probability), and `fallback` says so. Thresholds of the positive class need ten patients
    with it and ten without.

    Args:
        predictions: The slices. Rows of other partitions are dropped before anything else is done.
        criterion: What the best is; None is the default.
        after_test: Written into the point.

    Raises:
        DataRefused: There is no validation row, or the criterion needs a positive class that the task lacks.
    """
    criterion = criterion or Criterion()
    scheme, validation = predictions.scheme, predictions.frame["split"] == "val"
    predictions = replace(predictions, frame=predictions.frame[validation].reset_index(drop=True))
    if predictions.frame.empty:
        raise DataRefused(
            "there is no validation slice to choose an operating point on", remedy="evaluate the run on its own index"
        )
    if scheme.positive is None and criterion.name != "macro_sensitivity":
        raise DataRefused(
            f"the criterion {criterion.name} is about the positive class, and the task has none",
            remedy="use operating.criterion=macro_sensitivity",
        )
    slices, frame = slices_by(predictions, ["site", "patient_key"])
    truth = np.array([scheme.index(label) for label in frame["label"].iloc[slices.first]], dtype=np.int64)
    tried = [_figures(rule, slices, truth, scheme) for rule in rules_to_try(scheme)]
    counts = np.bincount(truth, minlength=len(scheme))
    rule, fallback, reached = PAPER if scheme.normal is not None else MEAN, None, None
    if few := [
        f"{scheme.display(name)} ({counts[k]})" for k, name in enumerate(scheme.names) if counts[k] < LEAST_PATIENTS
    ]:
        fallback = f"fewer than {LEAST_PATIENTS} validation patients with {', '.join(few)}"
    else:
        best = max(range(len(tried)), key=lambda row: (*merit(tried[row], criterion), -row))
        rule = RuleSpec.from_dict(tried[best]["rule"])
        if criterion.name == "sensitivity":
            reached = bool(tried[best]["sensitivity"] >= criterion.sensitivity)
    return OperatingPoint(
        scheme=scheme,
        rule=rule,
        criterion=criterion,
        fallback=fallback,
        reached=reached,
        binary=_binary(rule, slices, truth, scheme, criterion),
        tried=tuple(tried),
        after_test=after_test,
        validation={
            "digest": validation_digest(predictions),
            "patients": slices.n_patients,
            "slices": len(frame),
            "patients_per_class": {name: int(counts[k]) for k, name in enumerate(scheme.names)},
        },
    )


def _figures(rule: RuleSpec, slices: PatientSlices, truth: np.ndarray, scheme: ClassScheme) -> dict[str, Any]:
    """A rule with its figures on the patients; None where undefined."""
    calls = rule(slices, scheme)
    present = np.unique(truth)
    right = [float(np.mean(calls.outcome[truth == k] == k)) for k in present]
    found: dict[str, Any] = {
        "rule": rule.as_dict(),
        "macro_sensitivity": round(float(np.mean(right)), 12),  # equal counts shall be equal figures
        "sensitivity": None,
        "specificity": None,
        "conflicts": int((calls.outcome == len(scheme)).sum()),
    }
    if scheme.positive is not None:
        cell = metrics.cells(
            truth,
            calls.outcome,
            scheme.index(scheme.positive),
            conflict=len(scheme),
            no_result=len(scheme) + 1,
            called=calls.seen > 0,
        )
        counts = metrics.counts(cell)
        found |= {"sensitivity": counts.sensitivity, "specificity": counts.specificity}
    return found


def merit(row: dict[str, Any], criterion: Criterion) -> tuple[float, ...]:
    """What the best rule has most of, the most important first."""
    sensitivity, specificity = row["sensitivity"] or 0.0, row["specificity"] or 0.0
    macro = row["macro_sensitivity"]
    if criterion.name == "youden":
        return round(sensitivity + specificity, 12), macro
    if criterion.name == "sensitivity":
        if sensitivity >= criterion.sensitivity:
            return 1.0, specificity, macro
        return 0.0, sensitivity, specificity, macro
    return macro, specificity


def _binary(
    rule: RuleSpec, slices: PatientSlices, truth: np.ndarray, scheme: ClassScheme, criterion: Criterion
) -> tuple[BinaryPoint, ...]:
    if scheme.positive is None:
        return ()
    column = scheme.index(scheme.positive)
    positive, name = truth == column, scheme.display(scheme.positive)
    reason = next(
        (
            f"fewer than {LEAST_PATIENTS} validation patients {words} {name} ({count})"
            for count, words in ((int(positive.sum()), "with"), (int((~positive).sum()), "without"))
            if count < LEAST_PATIENTS
        ),
        None,
    )
    scores = {
        "slice": (positive[slices.patient], slices.probabilities[:, column]),
        "patient": (positive, rule(slices, scheme).scores[:, column]),
    }
    points = []
    for (level, (ill, score)), kind in product(scores.items(), ("youden", "sensitivity")):
        if reason is not None:
            points.append(BinaryPoint(level, kind, None, None, None, reason))
            continue
        threshold = choose_threshold(ill, score, criterion.sensitivity if kind == "sensitivity" else None)
        called = score >= threshold
        points.append(
            BinaryPoint(level, kind, threshold, float(called[ill].mean()), float((~called[~ill]).mean()), None)
        )
    return tuple(points)


def choose_threshold(positive: np.ndarray, scores: np.ndarray, sensitivity: float | None = None) -> float:
    """The threshold for "positive from this score on".

    Args:
        positive: bool [n], some of each.
        scores: float64 [n].
        sensitivity: The highest threshold whose sensitivity is at least this; None: the highest sensitivity +
            specificity (Youden 1950), of equal ones the most sensitive.

    Returns:
        One of the scores.
    """
    fpr, tpr, thresholds = roc_curve(positive, scores, drop_intermediate=False)
    fpr, tpr, thresholds = fpr[1:], tpr[1:], thresholds[1:]  # the first calls nobody
    if sensitivity is not None:
        return float(thresholds[np.argmax(tpr >= sensitivity - 1e-12)])
    gain = np.round(tpr - fpr, 12)
    return float(thresholds[np.flatnonzero(gain == gain.max())[-1]])
