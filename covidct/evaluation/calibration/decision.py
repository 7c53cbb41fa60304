"""Decision curves: would acting on the model do more good than treating everybody, or nobody?

Net benefit counts true positives, less false positives at the exchange rate that a threshold probability implies:
who acts from 10 % on accepts nine false alarms for one case found (Vickers and Elkin, Med Decis Making 2006;26:565).
It holds at the class mix of the data, which for a selected collection is not that of a clinic.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from covidct.evaluation.calibration.cases import Cases
from covidct.evaluation.calibration.reliability import TAILS
from covidct.evaluation.intervals import LEAST_PATIENTS, PatientBootstrap

THRESHOLDS = np.arange(1, 100) / 100
Values = dict[str, Any]


def net_benefit(tp: Any, fp: Any, n: Any, threshold: Any) -> Any:
    """TP/n - FP/n * pt/(1 - pt), per case; numbers or arrays.

    Args:
        tp: True positives.
        fp: False positives.
        n: All cases.
        threshold: Threshold probability pt, 0 < pt < 1.
    """
    return tp / n - fp / n * threshold / (1 - threshold)


def decision_curve(cases: Cases, bootstrap: PatientBootstrap) -> Values | None:
    """Net benefit of the positive class's probability at thresholds from 1 to 99 %.

    Args:
        cases: The cases.
        bootstrap: Resampled patients.

    Returns:
        None if the task has no positive class, or no case or nothing but cases of it. Else {"prevalence", "threshold",
        "model", "treat_all" (lists), "gain_low", "gain_high": pointwise 95 % interval of the model's net benefit over
        the better of treating all and none (None with fewer than ten patients of either kind), "useful": {"from", "to"}
        the widest run of thresholds where the model does better than both, and "sure": the same by the lower end}.
        Treating none is 0.
    """
    positive = cases.scheme.positive
    if positive is None:
        return None
    k = cases.scheme.index(positive)
    ill = cases.truth == k
    if not ill.any() or ill.all():
        return None
    reached = np.searchsorted(THRESHOLDS, cases.probabilities[:, k], side="right")
    hits, alarms = (_called(cases, reached, group) for group in (ill, ~ill))
    sick, healthy = cases.patient_sums(ill), cases.patient_sums(~ill)

    def curves(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        some, others = (weights @ sick)[:, None], (weights @ healthy)[:, None]
        n = some + others
        model = net_benefit(weights @ hits, weights @ alarms, n, THRESHOLDS)
        return model, net_benefit(some, others, n, THRESHOLDS)

    model, everyone = (curve[0] for curve in curves(np.ones((1, cases.n_patients))))
    group = int(min((cases.patient_truth == k).sum(), (cases.patient_truth != k).sum()))
    low = high = None
    if group >= LEAST_PATIENTS:
        drawn, all_drawn = curves(bootstrap.weights)
        low, high = np.quantile(drawn - np.maximum(all_drawn, 0), TAILS, axis=0)
    gain = model - np.maximum(everyone, 0)
    return {
        "prevalence": float(ill.mean()),
        "threshold": THRESHOLDS.tolist(),
        "model": model.tolist(),
        "treat_all": everyone.tolist(),
        "gain_low": None if low is None else low.tolist(),
        "gain_high": None if high is None else high.tolist(),
        "useful": _widest(gain > 0),
        "sure": None if low is None else _widest(low > 0),
    }


def _called(cases: Cases, reached: np.ndarray, group: np.ndarray) -> np.ndarray:
    """float [patients, thresholds]: cases of a group whose probability reaches each threshold."""
    width = len(THRESHOLDS) + 1
    cell = cases.patient[group] * width + reached[group]
    table = np.bincount(cell, minlength=cases.n_patients * width).reshape(-1, width)
    return table[:, ::-1].cumsum(axis=1)[:, -2::-1].astype(float)


def _widest(better: np.ndarray) -> Values | None:
    """The ends of the longest run of thresholds, or None if there is none."""
    edges = np.flatnonzero(np.diff(np.r_[False, better, False].astype(int)))
    if len(edges) == 0:
        return None
    starts, ends = edges[::2], edges[1::2]
    best = int(np.argmax(ends - starts))
    return {"from": float(THRESHOLDS[starts[best]]), "to": float(THRESHOLDS[ends[best] - 1])}
