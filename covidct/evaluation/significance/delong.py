"""AUCs with their variances: DeLong, and DeLong by patient.

The AUC is the mean over all pairs of a positive and a negative case of "the positive one scores higher", ties counted
half. Its variance follows from the share of the other group that each case is on the right side of, its placement
(DeLong, DeLong and Clarke-Pearson, Biometrics 1988;44:837). Where a patient has several cases, placements are summed
within the patient first (Obuchowski, Biometrics 1997;53:567): copying every case inside its patient then changes
nothing, where the plain variance would fall by the number of copies.

Several scores of the same cases give one covariance matrix, from which any comparison of them follows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from covidct.errors import UsageError

LEVEL = 0.95
SCALES = ("logit", "plain")


@dataclass(frozen=True)
class Areas:
    """AUCs of several scores on the same cases.

    Args:
        values: float [m], in 0..1.
        covariance: float [m, m] of the values.
        positives: Independent units among the positives: cases, or patients.
        negatives: Among the negatives.
    """

    values: np.ndarray
    covariance: np.ndarray
    positives: int
    negatives: int


@dataclass(frozen=True)
class AreaContrast:
    """Two AUCs on the same cases.

    Args:
        difference: First minus second.
        se: Its standard error.
        low: Lower end of the 95 % interval of the difference.
        high: Upper end.
        z: difference / se; None if the difference does not vary.
        p: Two-sided; None where z is.
    """

    difference: float
    se: float
    low: float
    high: float
    z: float | None
    p: float | None


def placements(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The share of the other group that each case is on the right side of, ties counted half.

    The mean over the positives, and over the negatives, is the AUC.

    Args:
        scores: float [n], higher means more positive.
        truth: bool [n], at least one of each.

    Returns:
        float [n], in 0..1.
    """
    high, low = np.sort(scores[truth]), np.sort(scores[~truth])
    found = np.empty(len(scores))
    found[truth] = _share_below(low, scores[truth])
    found[~truth] = 1 - _share_below(high, scores[~truth])
    return found


def areas(scores: np.ndarray, truth: np.ndarray, patient: np.ndarray | None = None) -> Areas:
    """AUCs of m scores of the same n cases, and their covariance matrix.

    Args:
        scores: float [m, n] (or [n] for one score), higher means more positive.
        truth: bool [n].
        patient: Whose case it is, any hashable numbers [n]; None if every case is a patient of its own. A patient
            may have positive and negative cases.

    Raises:
        UsageError: The shapes differ, a score is not a number, or one of the groups has fewer than two patients.
    """
    scores, truth = np.atleast_2d(np.asarray(scores, dtype=np.float64)), np.asarray(truth, dtype=bool)
    if scores.ndim != 2 or scores.shape[1:] != truth.shape:
        raise UsageError(f"an AUC needs scores [m, n] and truth [n], not {scores.shape} and {truth.shape}")
    if np.isnan(scores).any():
        raise UsageError("a score that is not a number cannot be ranked", remedy="leave these cases out and count them")
    unit = np.arange(len(truth)) if patient is None else np.unique(patient, return_inverse=True)[1]
    units = int(unit.max()) + 1 if len(unit) else 0
    sizes = [np.bincount(unit[group], minlength=units) for group in (truth, ~truth)]
    counts = [int((size > 0).sum()) for size in sizes]
    if min(counts) < 2:
        raise UsageError(f"the variance of an AUC needs two patients in each group, not {counts[0]} and {counts[1]}")
    parts = [np.zeros((len(scores), units)), np.zeros((len(scores), units))]
    values = np.empty(len(scores))
    for row, score in enumerate(scores):
        placed = placements(score, truth)
        values[row] = placed[truth].mean()
        for part, group, size in zip(parts, (truth, ~truth), sizes, strict=True):
            inside = np.bincount(unit[group], weights=placed[group], minlength=units)
            part[row] = (inside - size * values[row]) / group.sum()
    above, below = parts
    # Obuchowski 1997: S10, S01 and the cross term of patients with cases of both kinds.
    covariance = sum(count / (count - 1) * part @ part.T for count, part in zip(counts, parts, strict=True))
    cross = units / (units - 1) * (above @ below.T)
    return Areas(values, covariance + cross + cross.T, *counts)


def ends(value: float, variance: float, *, scale: str = "logit") -> tuple[float, float] | None:
    """The 95 % interval of an AUC from its variance.

    Args:
        value: In 0..1.
        variance: Of the value.
        scale: "logit" keeps inside 0..1 and is asymmetric near the ends; "plain" is value +- z se, cut at 0 and 1.

    Returns:
        (low, high), or None if the AUC is 0 or 1 or does not vary: complete separation of these cases does not say
        how far from complete the truth may be.
    """
    if scale not in SCALES:
        raise UsageError(f"the scale of an AUC's interval is one of {', '.join(SCALES)}, not {scale!r}")
    if not 0 < value < 1 or variance <= 0:
        return None
    half = float(stats.norm.ppf((1 + LEVEL) / 2)) * math.sqrt(variance)
    if scale == "plain":
        return max(0.0, value - half), min(1.0, value + half)
    middle, half = math.log(value / (1 - value)), half / (value * (1 - value))
    return 1 / (1 + math.exp(half - middle)), 1 / (1 + math.exp(-half - middle))


def contrast(found: Areas, first: int = 0, second: int = 1) -> AreaContrast:
    """Two of the AUCs compared, on the same cases: DeLong's z."""
    cov = found.covariance
    variance = float(cov[first, first] + cov[second, second] - 2 * cov[first, second])
    difference = float(found.values[first] - found.values[second])
    se = math.sqrt(max(variance, 0.0))
    half = float(stats.norm.ppf((1 + LEVEL) / 2)) * se
    z = difference / se if se > 1e-12 else None
    p = None if z is None else float(2 * stats.norm.sf(abs(z)))
    return AreaContrast(difference, se, difference - half, difference + half, z, p)


def _share_below(group: np.ndarray, values: np.ndarray) -> np.ndarray:
    """For each value the share of the sorted group below it, ties counted half."""
    left, right = np.searchsorted(group, values, side="left"), np.searchsorted(group, values, side="right")
    return np.asarray((left + right) / (2 * len(group)))
