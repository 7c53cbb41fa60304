"""What if the least certain cases went to a radiologist: risk against coverage, and fixed shares of referral.

A case is certain by its highest probability. The risk-coverage curve (El-Yaniv and Wiener, JMLR 2010;11:1605) shows the
error among the cases that the model keeps; its mean over all cases is the AURC (Geifman and El-Yaniv, NIPS 2017). A
threshold below which cases are referred is chosen on validation; test shows how many are then referred and how many of
the kept are wrong.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from covidct.evaluation.calibration.cases import Cases
from covidct.evaluation.intervals import (
    FEW_PATIENTS,
    LEAST_PATIENTS,
    NO_SPREAD,
    PATIENT_BOOTSTRAP,
    TOO_FEW,
    Interval,
    PatientBootstrap,
    proportion,
)

SHARES = (0.05, 0.1, 0.2, 0.3)
CURVE_POINTS = 200
Values = dict[str, Any]


def referral_thresholds(validation: Cases | None, shares: tuple[float, ...] = SHARES) -> list[Values]:
    """For each share, the confidence below which that share of validation cases (at most) lies.

    Labels are not looked at. `threshold` is None with fewer than ten validation patients.
    """
    usable = validation is not None and validation.n_patients >= LEAST_PATIENTS
    return [
        {
            "share": share,
            "threshold": float(np.quantile(validation.confidence, share, method="higher"))
            if usable and validation is not None
            else None,
        }
        for share in shares
    ]


class RiskCoverage:
    """The error among the most certain cases, as a function of how many are kept; sorted once.

    Cases of equal confidence are kept or referred together.

    Args:
        confidence: float [n].
        wrong: bool [n].
        patient: int [n], column of the weights that each case belongs to.
    """

    def __init__(self, confidence: np.ndarray, wrong: np.ndarray, patient: np.ndarray) -> None:
        order = np.argsort(-confidence, kind="stable")
        ranked = confidence[order]
        self._wrong, self._patient = wrong[order].astype(float), patient[order]
        self._last = np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], True])

    def curve(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coverage and risk [groups of equal confidence] under patient weights [patients]; NaN where nothing counts."""
        mine = weight[self._patient]
        kept, errors = np.cumsum(mine)[self._last], np.cumsum(mine * self._wrong)[self._last]
        return kept / kept[-1], np.divide(errors, kept, out=np.full(len(kept), np.nan), where=kept > 0)

    def area(self, weights: np.ndarray) -> np.ndarray:
        """AURC [r] for weights [r, patients]: the mean over cases of the error among those at least as certain."""
        areas = np.empty(len(weights))
        for row, weight in enumerate(weights):
            coverage, risk = self.curve(weight)
            areas[row] = np.nansum(np.diff(coverage, prepend=0.0) * risk)
        return areas


def best_area(error: float, n: int) -> float:
    """The AURC of n cases if every wrong one were less certain than every right one."""
    right = n - round(error * n)
    kept = np.arange(1, n + 1)
    return float(np.mean(np.maximum(kept - right, 0) / kept))


def referral(cases: Cases, thresholds: list[Values], bootstrap: PatientBootstrap) -> Values:
    """What referral would do at one site.

    Args:
        cases: Test cases.
        thresholds: As from `referral_thresholds`.
        bootstrap: Resampled patients.

    Returns:
        {"error": interval of the share called wrong, "aurc": interval, "aurc_best" (all wrong cases least certain),
        "aurc_blind" (certainty says nothing; the error itself), "curve": {"coverage", "risk"}, "choices": [{"share",
        "threshold", "referred", "error_kept", "error_referred" (intervals, None without a threshold), "missed": cases
        of the positive class kept and called otherwise, "positives": cases of the positive class}]}.
    """
    wrong, everyone = ~cases.right, np.ones(len(cases), dtype=bool)
    ranking = RiskCoverage(cases.confidence, wrong, cases.patient)
    whole = np.ones(cases.n_patients)
    coverage, risk = ranking.curve(whole)
    shown = np.minimum(np.searchsorted(coverage, np.linspace(0, 1, CURVE_POINTS)), len(coverage) - 1)
    kept = np.unique(shown)
    error = _share(cases, wrong, everyone)
    return {
        "error": error,
        "aurc": _area(ranking, bootstrap, cases.n_patients),
        "aurc_best": best_area(float(wrong.mean()), len(cases)),
        "aurc_blind": float(wrong.mean()),
        "curve": {"coverage": coverage[kept].tolist(), "risk": risk[kept].tolist()},
        "choices": [_choice(cases, wrong, choice) for choice in thresholds],
    }


def _area(ranking: RiskCoverage, bootstrap: PatientBootstrap, n: int) -> dict[str, object]:
    value, few = float(ranking.area(np.ones((1, n)))[0]), n < FEW_PATIENTS
    if n < LEAST_PATIENTS:
        return Interval(value, None, None, TOO_FEW, n, few).as_dict()
    (ends,) = bootstrap.intervals([value], lambda weights: ranking.area(weights)[:, None])
    if ends is None:
        return Interval(value, None, None, NO_SPREAD, n, few).as_dict()
    return Interval(value, *ends, PATIENT_BOOTSTRAP, n, few).as_dict()


def _choice(cases: Cases, wrong: np.ndarray, choice: Values) -> Values:
    threshold, positive = choice["threshold"], cases.scheme.positive
    if threshold is None:
        nothing = dict.fromkeys(("referred", "error_kept", "error_referred", "missed", "positives"))
        return {**choice, **nothing}
    kept = cases.confidence >= threshold
    ill = cases.truth == cases.scheme.index(positive) if positive else np.zeros(len(cases), dtype=bool)
    return {
        **choice,
        "referred": _share(cases, ~kept, np.ones(len(cases), dtype=bool)),
        "error_kept": _share(cases, wrong, kept),
        "error_referred": _share(cases, wrong, ~kept),
        "missed": int((ill & kept & wrong).sum()) if positive else None,
        "positives": int(ill.sum()) if positive else None,
    }


def _share(cases: Cases, numerator: np.ndarray, denominator: np.ndarray) -> dict[str, object]:
    return proportion(
        cases.patient_sums(numerator & denominator).astype(np.int64),
        cases.patient_sums(denominator).astype(np.int64),
    ).as_dict()
