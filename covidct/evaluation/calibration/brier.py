"""The Brier score: how far probabilities are from what came true, and the parts it falls into.

Brier (Mon Weather Rev 1950;78:1) sums the squared distance over all classes, so it lies in 0..2; of one class against
the rest it is the squared distance of one probability, in 0..1. Its parts are Murphy's (J Appl Meteorol 1973;12:595)
with the two within-bin terms of Stephenson, Coelho and Jolliffe (Weather Forecast 2008;23:752), without which the sum
is only exact if all probabilities of a bin are equal:

    Brier = reliability - resolution + uncertainty + within-bin variance - within-bin covariance
"""

from __future__ import annotations

import numpy as np

from covidct.evaluation.calibration.cases import Cases


def squared_distances(cases: Cases) -> np.ndarray:
    """Squared distance of each probability from the truth, float [n, K]; the sum of a row is its Brier score, 0..2."""
    truth = np.zeros_like(cases.probabilities)
    truth[np.arange(len(cases)), cases.truth] = 1
    return np.asarray((cases.probabilities - truth) ** 2)


def brier_parts(confidence: np.ndarray, hit: np.ndarray, place: np.ndarray) -> dict[str, float]:
    """The parts of one class's Brier score.

    Args:
        confidence: float [n] in 0..1.
        hit: bool [n], whether it came true.
        place: int [n], the bin of each case.

    Returns:
        brier, reliability (0 is best), resolution (larger is better), uncertainty (of the data, not of the model),
        within_variance, within_covariance.
    """
    n, outcome = len(confidence), hit.astype(float)
    _, row = np.unique(place, return_inverse=True)
    counts = np.bincount(row)
    stated, came = (np.bincount(row, weights=values) / counts for values in (confidence, outcome))
    base = outcome.mean()
    inner = confidence - stated[row]
    return {
        "brier": float(np.mean((confidence - outcome) ** 2)),
        "reliability": float((counts * (stated - came) ** 2).sum() / n),
        "resolution": float((counts * (came - base) ** 2).sum() / n),
        "uncertainty": float(base * (1 - base)),
        "within_variance": float(np.mean(inner**2)),
        "within_covariance": float(2 * np.mean(inner * (outcome - came[row]))),
    }
