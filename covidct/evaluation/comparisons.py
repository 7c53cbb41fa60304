"""Two arms on the same random splits: how far apart they are, and how sure that is.

Random splits of the same patients share most of them, so their differences are not independent and a plain paired t
test finds a "significant" difference in one of six comparisons of equally good learners. Here each difference has the
correlation rho = n_test / (n_train + n_test) with every other (Nadeau and Bengio, Machine Learning 2003;52:239), and
the test and the posterior follow from that. Everything is a pure function of the differences.

Differences are oriented: positive means that the first arm is better, whether the metric is to be high or low.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtr, stdtrit

from covidct.errors import UsageError
from covidct.evaluation.intervals import clopper_pearson

SURE = 0.95
"""Posterior probability from which a region counts as established."""

LEAST_REPEATS = 10
"""Paired repeats below which nothing is called superior."""

MOST_RUNS = 1000
MOST_PATIENTS = 100
"""How far ahead `outlook` looks: paired runs, and multiples of the patients."""

ENOUGH_SPLITS = 30
"""Splits at which more of them hardly narrow an interval: the half-width is within 7 % of its floor."""


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences with its corrected t interval.

    Args:
        runs: Paired repeats, J.
        mean: Mean difference, in units of the metric; positive favours the first arm.
        sd: Standard deviation of the differences; None with fewer than two.
        se: Standard error of the mean, corrected for shared patients.
        t: mean / se; None if undefined (one repeat) and infinite if the differences do not vary.
        p: Two-sided P value, or None.
        low: Lower end of the interval, or None.
        high: Upper end, or None.
        level: Coverage of the interval.
    """

    runs: int
    mean: float
    sd: float | None
    se: float | None
    t: float | None
    p: float | None
    low: float | None
    high: float | None
    level: float

    def as_dict(self) -> dict[str, object]:
        """Plain values, for JSON; an infinite t is None, for JSON has no infinity."""
        return {**vars(self), "t": self.t if self.t is None or math.isfinite(self.t) else None}


@dataclass(frozen=True)
class Posterior:
    """Probabilities that the true difference lies below, inside and above the region of practical equivalence."""

    worse: float
    equal: float
    better: float

    def as_dict(self) -> dict[str, float]:
        """Plain values, for JSON."""
        return dict(vars(self))


@dataclass(frozen=True)
class Superiority:
    """P(A > B): the share of repeats in which the first arm is better, ties counted half, with its interval."""

    value: float
    low: float
    high: float
    method: str

    def as_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        return dict(vars(self))


@dataclass(frozen=True)
class Outlook:
    """What it would take to reach a firm verdict if mean and spread stayed as they are.

    Args:
        more_runs: Further paired repeats; 0 if they are enough already, None if no number of splits of these patients
            is enough.
        patients_factor: How many times the patients it would take with many splits; None when more runs are enough, or
            when even `MOST_PATIENTS` times would not do.
        floor: Half-width of the interval that endless splits of these patients would leave.
    """

    more_runs: int | None
    patients_factor: float | None
    floor: float

    def as_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        return dict(vars(self))


def rho_of(test_over_train: float) -> float:
    """Correlation of the differences of two random splits, n_test / (n_train + n_test)."""
    return test_over_train / (1 + test_over_train)


def mean_difference(differences: np.ndarray, test_over_train: float, *, alpha: float = 0.05) -> Difference:
    """Nadeau and Bengio's corrected resampled t: the variance factor is 1/J + n_test/n_train instead of 1/J.

    Args:
        differences: float [J], paired and oriented, J >= 1, all finite.
        test_over_train: Patients scored over patients trained on in each repeat; 0 gives the plain paired t.
        alpha: One minus the coverage of the interval.

    Raises:
        UsageError: A parameter is out of range.
    """
    runs = _checked(differences, test_over_train, alpha)
    mean = float(differences.mean())
    if runs < 2:
        return Difference(runs, mean, None, None, None, None, None, None, 1 - alpha)
    sd = float(differences.std(ddof=1))
    se = sd * math.sqrt(1 / runs + test_over_train)
    # equal differences up to the last digit: a spread made of rounding must not become a tiny P
    if sd <= 1e-12 * max(1.0, abs(mean)):
        sign = math.copysign(math.inf, mean) if mean else 0.0
        return Difference(runs, mean, 0.0, 0.0, sign, None, mean, mean, 1 - alpha)
    half = float(stdtrit(runs - 1, 1 - alpha / 2)) * se
    p = float(2 * stdtr(runs - 1, -abs(mean) / se))
    return Difference(runs, mean, sd, se, mean / se, p, mean - half, mean + half, 1 - alpha)


def posterior(differences: np.ndarray, test_over_train: float, rope: float) -> Posterior:
    """Posterior of the true difference by the correlated Bayesian t test (Corani and Benavoli 2015), flat prior.

    Student's t with J - 1 degrees of freedom around the mean, its scale that of the corrected t test. With
    rho = 1/k, that is test_over_train = 1/(k - 1), it is the test for k-fold cross-validation.

    Args:
        differences: float [J], paired and oriented, J >= 2.
        test_over_train: As in `mean_difference`.
        rope: Half-width of the region of practical equivalence, >= 0, in units of the metric.
    """
    if rope < 0:
        raise UsageError(f"the region of practical equivalence has a half-width of 0 or more, not {rope:g}")
    found = mean_difference(differences, test_over_train)
    if found.se is None:
        raise UsageError("a posterior needs two or more paired repeats")
    return _posterior(found.mean, found.se, found.runs, rope)


def _posterior(mean: float, se: float, runs: int, rope: float) -> Posterior:
    if se == 0:  # no spread: all mass where the mean is
        return Posterior(float(mean < -rope), float(abs(mean) <= rope), float(mean > rope))
    below = float(stdtr(runs - 1, (-rope - mean) / se))
    above = float(stdtr(runs - 1, (mean - rope) / se))
    return Posterior(below, max(0.0, 1 - below - above), above)


def superiority(differences: np.ndarray, *, replicates: int = 2000, seed: int = 0) -> Superiority:
    """P(A > B) with a percentile bootstrap interval over the paired repeats (Bouthillier et al., MLSys 2021).

    Where every repeat points the same way all replicates are equal and say nothing about uncertainty;
    Clopper-Pearson's interval of J out of J takes their place.

    Args:
        differences: float [J], paired and oriented.
        replicates: Bootstrap replicates.
        seed: Of the bootstrap.
    """
    wins = (differences > 0) + 0.5 * (differences == 0)
    value, runs = float(wins.mean()), len(wins)
    if np.ptp(wins) == 0:
        return Superiority(value, *clopper_pearson(value * runs, runs), "clopper_pearson")
    drawn = np.random.default_rng(seed).integers(0, runs, (replicates, runs))
    low, high = np.quantile(wins[drawn].mean(axis=1), [0.025, 0.975])
    return Superiority(value, float(low), float(high), "bootstrap_percentile")


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """P values adjusted for all of them together (Holm 1979). An undefined one stays undefined and counts in full."""
    total = len(p_values)
    order = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * total
    largest = 0.0
    for rank, (p, place) in enumerate(order):
        largest = max(largest, min(1.0, (total - rank) * p))
        adjusted[place] = largest
    return adjusted


def half_width(runs: float, test_over_train: float, *, alpha: float = 0.05) -> float:
    """Half-width of the corrected interval in standard deviations of the differences; `runs` may be infinite."""
    student = ndtri(1 - alpha / 2) if math.isinf(runs) else stdtrit(runs - 1, 1 - alpha / 2)
    return float(student * math.sqrt((0 if math.isinf(runs) else 1 / runs) + test_over_train))


def outlook(
    difference: Difference, test_over_train: float, rope: float, *, alpha: float = 0.05, contrasts: int = 1
) -> Outlook | None:
    """How many more runs, or patients, a firm verdict would take if mean and spread stayed as they are.

    Firm is: practically equivalent, or the first two conditions of "superior" with the least number of repeats. The P
    value is asked to pass the strictest step of Holm. More splits of the same patients have a floor,
    sd * sqrt(n_test/n_train): where that is still too wide, only patients help, whose number divides the variance.

    Returns:
        None with fewer than two repeats or no spread, which say nothing about what is to come.
    """
    if not difference.sd:
        return None
    mean, sd, runs = difference.mean, difference.sd, difference.runs

    def firm(number: int, factor: float = 1.0) -> bool:
        se = sd * math.sqrt((1 / number + test_over_train) / factor)
        found = _posterior(mean, se, number, rope)
        p = 2 * stdtr(number - 1, -abs(mean) / se)
        superior = max(found.better, found.worse) >= SURE and p * contrasts < alpha and number >= LEAST_REPEATS
        return bool(superior or found.equal >= SURE)

    floor = sd * half_width(math.inf, test_over_train, alpha=alpha)
    if firm(runs):
        return Outlook(0, None, floor)
    if firm(MOST_RUNS):
        low, high = runs, MOST_RUNS  # firm(n) stays true once it is true: the standard error only falls
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if firm(middle) else (middle, high)
        return Outlook(high - runs, None, floor)
    number = max(runs, ENOUGH_SPLITS)
    if not firm(number, MOST_PATIENTS):
        return Outlook(None, None, floor)
    few, many = 0.0, math.log(MOST_PATIENTS)
    while many - few > 0.005:
        half = (few + many) / 2
        few, many = (few, half) if firm(number, math.exp(half)) else (half, many)
    return Outlook(None, math.exp(many), floor)


def _checked(differences: np.ndarray, test_over_train: float, alpha: float) -> int:
    if len(differences) == 0 or not np.all(np.isfinite(differences)):
        raise UsageError("a comparison needs paired differences, all of them numbers")
    if not (math.isfinite(test_over_train) and test_over_train >= 0):
        raise UsageError(f"test_over_train is patients scored per patient trained on, not {test_over_train}")
    if not 0 < alpha < 1:
        raise UsageError(f"alpha lies between 0 and 1, not {alpha}")
    return len(differences)
