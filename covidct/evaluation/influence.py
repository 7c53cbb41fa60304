"""What each patient adds to a statistic, and the interval that follows from how much these parts differ.

An AUC, a mean of AUCs and a mean of sensitivities are, near enough, sums over patients. The spread of the patients'
parts within their strata (site and class: the numbers of each are as given) is the variance of the statistic, and
Student's t on the logit scale makes the interval. For an AUC this is DeLong's variance by patient (Obuchowski,
Biometrics 1997;53:567).

It takes the place of the BCa bootstrap, which `experiments/intervals` finds too narrow where one class has ten
patients: the bootstrap's variance is too small by (n - 1) / n in each stratum, it has no t, and near an AUC of 1 a
quantile of replicates cannot reach what no replicate shows.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from covidct.evaluation.intervals import LEVEL
from covidct.evaluation.significance.delong import placements

LEAST_VARIANCE = 1e-24


def auc_influence(
    positive: np.ndarray, scores: np.ndarray, patient: np.ndarray, patients: int
) -> tuple[float, np.ndarray]:
    """An AUC, ties counted half, and what each patient adds to it.

    Args:
        positive: bool [n], at least one of each.
        scores: float [n], without NaN.
        patient: int [n], in 0..patients - 1.
        patients: Number of patients.

    Returns:
        The AUC, and float [patients] whose sum is 0.
    """
    placed = placements(scores, positive)
    area = float(placed[positive].mean())
    size = np.where(positive, positive.sum(), (~positive).sum())
    return area, np.bincount(patient, weights=(placed - area) / size, minlength=patients)


def share_influence(successes: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """What each patient adds to a share of slices (ratio estimator): float [patients], sum 0.

    Args:
        successes: [patients], slices that count.
        totals: [patients], slices in the denominator; at least one in all.
    """
    whole = totals.sum()
    return np.asarray((successes - successes.sum() / whole * totals) / whole, dtype=np.float64)


def clustered_variance(influence: np.ndarray, strata: np.ndarray) -> float:
    """Variance of a statistic from what each patient adds to it, with the numbers of each stratum as given.

    With one case a patient and two classes it is DeLong's variance of an AUC; copying every case inside its patient
    leaves it unchanged. A patient alone in a stratum does not vary.

    Args:
        influence: float [patients].
        strata: int [patients].
    """
    return float(_variances(influence, strata)[0].sum())


def degrees_of_freedom(influence: np.ndarray, strata: np.ndarray) -> float:
    """Satterthwaite's degrees of freedom of `clustered_variance`; infinite if nothing varies."""
    variances, sizes = _variances(influence, strata)
    below = float((variances**2 / (sizes - 1)).sum())
    return float(variances.sum()) ** 2 / below if below > LEAST_VARIANCE**2 else math.inf


def logit_t(
    value: float, influence: np.ndarray, strata: np.ndarray, df: float | None = None
) -> tuple[float, float] | None:
    """The 95 % interval of a fraction from what each patient adds to it.

    Args:
        value: In 0..1.
        influence: float [patients].
        strata: int [patients].
        df: Degrees of freedom of Student's t; by default Satterthwaite's.

    Returns:
        (low, high), or None if the value is 0 or 1 or its patients do not differ: complete separation in the sample
        does not say how far from complete the truth may be.
    """
    variance = clustered_variance(influence, strata)
    if not 0 < value < 1 or variance < LEAST_VARIANCE:
        return None
    student = float(stats.t.ppf((1 + LEVEL) / 2, degrees_of_freedom(influence, strata) if df is None else df))
    middle, half = math.log(value / (1 - value)), student * math.sqrt(variance) / (value * (1 - value))
    return float(1 / (1 + np.exp(half - middle))), float(1 / (1 + np.exp(-half - middle)))


def _variances(influence: np.ndarray, strata: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variance that each stratum of two or more patients contributes, and its patients."""
    variances, sizes = [], []
    for stratum in np.unique(strata):
        part = influence[strata == stratum]
        if len(part) > 1:
            variances.append(len(part) / (len(part) - 1) * float(((part - part.mean()) ** 2).sum()))
            sizes.append(len(part))
    return np.array(variances), np.array(sizes, dtype=np.float64)
