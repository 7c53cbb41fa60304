"""Calibration slope and intercept: the two numbers of a logistic recalibration, at patient level.

The outcome is regressed on the logit of its probability (Cox, Biometrika 1958;45:562; Van Calster et al., BMC Med
2019;17:230). Slope 1 and intercept 0 are ideal; a slope below 1 means probabilities too extreme, above 1 too modest.
The intercept is the one with the slope held at 1 ("calibration in the large"): above 0, the class is commoner than the
probabilities say. Patients are independent, so the intervals are the model's own (Wald).
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from covidct.evaluation.calibration.cases import Cases
from covidct.evaluation.intervals import FEW_PATIENTS, LEAST_PATIENTS, TOO_FEW, UNDEFINED, Interval

WALD = "wald"
SEPARATED = "perfect separation"
CLIP = 1e-6
LARGEST_SE = 10.0
"""Beyond it the likelihood has run away: the probabilities separate the patients, and no slope is the best one."""


def recalibration(cases: Cases, k: int) -> dict[str, dict[str, object]]:
    """Slope and intercept of one class's probability.

    Args:
        cases: Patients (at slice level the regression's intervals would be wrong).
        k: The class, a column.

    Returns:
        {"slope", "intercept"}, each an `Interval.as_dict`. Undefined if only one outcome occurs or the probabilities
        separate the outcomes; without interval if either outcome has fewer than ten patients.
    """
    hit = cases.truth == k
    probability = np.clip(cases.probabilities[:, k], CLIP, 1 - CLIP)
    logit = np.log(probability / (1 - probability))
    smaller = int(min(hit.sum(), len(hit) - hit.sum()))
    if smaller == 0 or np.ptp(logit) == 0:
        nothing = Interval(None, None, None, UNDEFINED, len(hit), smaller < FEW_PATIENTS).as_dict()
        return {"slope": nothing, "intercept": nothing}
    both = np.column_stack([np.ones(len(logit)), logit])
    return {
        "slope": _estimate(hit, both, None, column=1, smaller=smaller),
        "intercept": _estimate(hit, both[:, :1], logit, column=0, smaller=smaller),
    }


def _estimate(
    hit: np.ndarray, design: np.ndarray, offset: np.ndarray | None, *, column: int, smaller: int
) -> dict[str, object]:
    from statsmodels.genmod.families import Binomial
    from statsmodels.genmod.generalized_linear_model import GLM
    from statsmodels.tools.sm_exceptions import PerfectSeparationError

    few = smaller < FEW_PATIENTS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it warns of (separation, overflow) is tested for below
            fitted: Any = GLM(hit.astype(float), design, family=Binomial(), offset=offset).fit()
        value, se = float(fitted.params[column]), float(fitted.bse[column])
    except (PerfectSeparationError, np.linalg.LinAlgError):
        value = se = np.nan
    if not (np.isfinite(value) and np.isfinite(se) and fitted.converged) or se > LARGEST_SE:
        return Interval(None, None, None, SEPARATED, len(hit), few).as_dict()
    if smaller < LEAST_PATIENTS:
        return Interval(value, None, None, TOO_FEW, len(hit), few).as_dict()
    low, high = (float(end) for end in fitted.conf_int()[column])
    return Interval(value, low, high, WALD, len(hit), few).as_dict()
