"""Temperature scaling: one number, chosen on validation, that makes probabilities bolder or more modest.

Logits divided by a temperature T before the softmax (Guo et al., ICML 2017, arXiv:1706.04599). T > 1 says that the
probabilities were too confident, T < 1 that they were too modest. A probability table holds no logits, but log p
differs from them only by a constant of each row, which softmax does not see. The order of the classes within a case
never changes; so no call and, with two classes, no AUC does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp, softmax

from covidct.evaluation.calibration.cases import SMALLEST, Cases
from covidct.evaluation.intervals import LEAST_PATIENTS, LEVEL, PatientBootstrap

LOWEST, HIGHEST = 0.05, 100.0
"""Where a temperature is looked for. One that ends there is none: the likelihood has no optimum."""

GRID = 153
"""Temperatures at which a replicate's likelihood is known; 5 % apart, with a parabola between them."""

NO_VALIDATION = "there are no validation patients to choose a temperature on"
SEPARATED = "every validation case is called right: the bolder the likelier, so no temperature can be chosen"
UNINFORMED = "the validation likelihood has no optimum: the probabilities do not follow the classes there"


@dataclass(frozen=True)
class Temperature:
    """The temperature of one level, chosen on validation.

    Args:
        value: T > 0, or None if none could be chosen.
        low: Lower end of its 95 % interval over validation patients, or None.
        high: Upper end, or None.
        reason: Why there is no value; None if there is one.
        nll_before: Mean negative log-likelihood on validation, in nats, as the model says it; None without validation.
        nll_after: The same after scaling; never more. None without a value.
        n_cases: Validation cases.
        n_patients: Validation patients.
    """

    value: float | None
    low: float | None
    high: float | None
    reason: str | None
    nll_before: float | None
    nll_after: float | None
    n_cases: int
    n_patients: int

    def as_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        return dict(vars(self))


def logits(probabilities: np.ndarray) -> np.ndarray:
    """log p [n, K]: logits but for a constant of each row."""
    return np.log(np.maximum(probabilities, SMALLEST))


def scaled(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities [n, K] after division of the logits by a temperature > 0."""
    return np.asarray(softmax(logits(probabilities) / temperature, axis=1))


def losses(log_probabilities: np.ndarray, truth: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Negative log-likelihood of each case [n], in nats, at a temperature.

    Args:
        log_probabilities: [n, K], as from `logits`.
        truth: int [n], class columns.
        temperature: > 0.
    """
    cooled = log_probabilities / temperature
    return np.asarray(logsumexp(cooled, axis=1) - cooled[np.arange(len(truth)), truth])


def fit_temperature(validation: Cases | None, *, replicates: int = 500, seed: int = 0) -> Temperature:
    """Choose the temperature that makes the validation labels most likely.

    Args:
        validation: Validation cases of one level; nothing else is ever looked at.
        replicates: Bootstrap replicates of validation patients for the interval.
        seed: Of the bootstrap.

    Returns:
        A temperature without value where validation is missing, or its likelihood has no optimum between 0.05 and 100
        (perfect separation: the bolder the likelier).
    """
    if validation is None:
        return Temperature(None, None, None, NO_VALIDATION, None, None, 0, 0)
    logs, truth = logits(validation.probabilities), validation.truth

    def mean_loss(log_temperature: float) -> float:
        return float(losses(logs, truth, np.exp(log_temperature)).mean())

    before = mean_loss(0.0)
    counts = {"n_cases": len(validation), "n_patients": validation.n_patients}
    others = logs.copy()
    others[np.arange(len(truth)), truth] = -np.inf
    if (logs[np.arange(len(truth)), truth] > others.max(axis=1)).all():
        return Temperature(None, None, None, SEPARATED, before, None, **counts)
    ends = np.log([LOWEST, HIGHEST])
    found = minimize_scalar(mean_loss, bounds=tuple(ends), method="bounded", options={"xatol": 1e-6})
    if found.x - ends[0] < 1e-3 or ends[1] - found.x < 1e-3:
        return Temperature(None, None, None, SEPARATED if found.x < 0 else UNINFORMED, before, None, **counts)
    value, after = (float(np.exp(found.x)), float(found.fun)) if found.fun < before else (1.0, before)
    low, high = _interval(validation, logs, replicates, seed)
    return Temperature(value, low, high, None, before, after, **counts)


def _interval(
    validation: Cases, logs: np.ndarray, replicates: int, seed: int
) -> tuple[float, float] | tuple[None, None]:
    """Percentile interval over resampled patients: their summed losses on a grid make a replicate a matrix product."""
    if validation.n_patients < LEAST_PATIENTS:
        return None, None
    grid = np.linspace(np.log(LOWEST), np.log(HIGHEST), GRID)
    sums = np.column_stack(
        [validation.patient_sums(losses(logs, validation.truth, float(np.exp(point)))) for point in grid]
    )
    drawn = PatientBootstrap.draw(validation.strata, replicates, np.random.default_rng(seed))
    totals = drawn.weights @ sums
    least = np.clip(totals.argmin(axis=1), 1, GRID - 2)
    rows = np.arange(replicates)
    left, middle, right = (totals[rows, least + step] for step in (-1, 0, 1))
    curvature = left - 2 * middle + right
    shift = np.divide(left - right, 2 * curvature, out=np.zeros(replicates), where=curvature > 0)
    best = np.exp(grid[least] + np.clip(shift, -1, 1) * (grid[1] - grid[0]))
    low, high = np.quantile(best, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
