"""AUC of each class against the rest, and the means over classes, with intervals by patient.

Two ways to make the interval. "logit_t", the default: the variance that the patients' parts have within site and class,
Student's t on the logit scale (`influence`). "bootstrap": whole patients drawn again within site and class, BCa. The
second is what most papers print; `experiments/intervals` has the coverage of both, and why it is not the default.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from covidct.errors import UsageError
from covidct.evaluation import metrics
from covidct.evaluation.influence import auc_influence, logit_t, share_influence
from covidct.evaluation.intervals import (
    FEW_PATIENTS,
    LEAST_PATIENTS,
    LOGIT_T,
    NO_SPREAD,
    PATIENT_BOOTSTRAP,
    TOO_FEW,
    UNDEFINED,
    Interval,
    PatientBootstrap,
    WeightedAUC,
)

WAYS = {"logit_t": LOGIT_T, "bootstrap": PATIENT_BOOTSTRAP}


@dataclass(frozen=True)
class Way:
    """How the intervals of AUCs and means are made.

    Args:
        name: "logit_t" or "bootstrap".
        replicates: Of the bootstrap, two or more.
        seed: Of the bootstrap.
    """

    name: str
    replicates: int
    seed: list[int]

    def __post_init__(self) -> None:
        if self.name not in WAYS:
            raise UsageError(f"intervals of AUCs and means are one of {', '.join(WAYS)}, not {self.name!r}")
        if self.replicates < 2:
            raise UsageError(f"a bootstrap needs two or more replicates, not {self.replicates}")

    def draw(self, strata: np.ndarray) -> PatientBootstrap:
        """The resampled patients: the same for the same strata."""
        return PatientBootstrap.draw(strata, self.replicates, np.random.default_rng(self.seed))

    def interval(self, value: float | None, ends: tuple[float, float] | None, patients: int, group: int) -> Interval:
        """A value with its interval, if it may have one.

        Args:
            value: The estimate, or None.
            ends: Of the interval, or None if the patients do not differ.
            patients: Patients the value was computed from.
            group: Patients of the smallest group that it needs.
        """
        few = group < FEW_PATIENTS
        if value is None:
            return Interval(None, None, None, UNDEFINED, patients, few)
        if group < LEAST_PATIENTS:
            return Interval(value, None, None, TOO_FEW, patients, few)
        if ends is None:
            return Interval(value, None, None, NO_SPREAD, patients, few)
        return Interval(value, *ends, WAYS[self.name], patients, few)


def class_areas(
    truth: np.ndarray, scores: np.ndarray, patient: np.ndarray, strata: np.ndarray, way: Way
) -> tuple[list[Interval], Interval, int]:
    """AUC of each class against the rest, and their mean over the classes in which it is defined.

    Cases without a score (no result) cannot be ranked: the AUC is that of the others, and its n_patients counts them.

    Args:
        truth: int [n], class columns.
        scores: float [n, K]; NaN without a result.
        patient: int [n], rows of `strata`.
        strata: int [patients], site and class.
        way: How the intervals are made.

    Returns:
        The AUC of each class, their mean, and the number of classes in it.
    """
    ranked = ~np.isnan(scores).any(axis=1)
    truth, scores = truth[ranked], scores[ranked]
    inside, row = np.unique(patient[ranked], return_inverse=True)
    strata, classes = strata[inside], range(scores.shape[1])
    positives = [len(np.unique(row[truth == k])) for k in classes]
    groups = [min(number, len(inside) - number) for number in positives]
    defined = [k for k in classes if (truth == k).any() and (truth != k).any()]
    found = {k: auc_influence(truth == k, scores[:, k], row, len(inside)) for k in defined}
    values = [found[k][0] if k in found else None for k in classes]
    mean, counted = metrics.macro(values)
    ends: list[tuple[float, float] | None]
    if way.name == "bootstrap":
        weighted = [WeightedAUC(truth == k, scores[:, k], row) for k in defined]

        def statistics(weights: np.ndarray) -> np.ndarray:
            areas = np.column_stack([area(weights) for area in weighted])
            return np.column_stack([areas, areas.mean(axis=1)])

        estimates = [value for value in (*values, mean) if value is not None]
        ends = way.draw(strata).intervals(estimates, statistics) or [None]
    else:
        # An AUC is as uncertain as its smaller group; a mean over classes pools their patients.
        ends = [logit_t(*found[k], strata, max(groups[k] - 1, 1)) for k in defined]
        parts = np.array([part for _, part in found.values()])
        ends.append(None if mean is None else logit_t(mean, parts.mean(axis=0), strata))
    ends_of = dict(zip(defined, ends, strict=False))
    intervals = [way.interval(values[k], ends_of.get(k), len(inside), groups[k]) for k in classes]
    smallest = min((groups[k] for k in defined), default=0)
    return intervals, way.interval(mean, ends[-1], len(inside), smallest), counted


def mean_sensitivity(
    truth: np.ndarray, right: np.ndarray, patient: np.ndarray, strata: np.ndarray, way: Way
) -> tuple[Interval, int]:
    """Mean of the sensitivities of the classes that occur (balanced accuracy).

    Args:
        truth: int [n], class columns.
        right: bool [n].
        patient: int [n], rows of `strata`.
        strata: int [patients], site and class.
        way: How the interval is made.

    Returns:
        The mean and the number of classes in it.
    """
    present = np.unique(truth)
    inside, row = np.unique(patient, return_inverse=True)
    smallest = min(len(np.unique(row[truth == k])) for k in present)
    successes = np.array([np.bincount(row[right & (truth == k)], minlength=len(inside)) for k in present])
    totals = np.array([np.bincount(row[truth == k], minlength=len(inside)) for k in present])

    def statistic(weights: np.ndarray) -> np.ndarray:
        return np.asarray(((weights @ successes.T) / (weights @ totals.T)).mean(axis=1, keepdims=True))

    value = float(statistic(np.ones((1, len(inside))))[0, 0])
    if way.name == "bootstrap":
        (ends,) = way.draw(strata[inside]).intervals([value], statistic)
    else:
        parts = [share_influence(above, below) for above, below in zip(successes, totals, strict=True)]
        ends = logit_t(value, np.mean(parts, axis=0), strata[inside])
    return way.interval(value, ends, len(inside), smallest), len(present)
