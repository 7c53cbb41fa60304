"""What a result means to a patient where the disease is rarer: PPV and NPV at stated prevalences, by Bayes.

Sensitivity and specificity are carried over to another prevalence (Altman and Bland, BMJ 1994;309:102); that they stay
the same there is an assumption, and with another mix of mild and severe cases it fails.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from covidct.evaluation.calibration.cases import Cases
from covidct.evaluation.intervals import UNDEFINED, Interval, proportion

BAYES = "bayes, both ends of sensitivity and specificity"
Values = dict[str, Any]


def predictive_values(sensitivity: float, specificity: float, prevalence: float) -> tuple[float | None, float | None]:
    """PPV and NPV; None where nobody would be called positive, or nobody negative.

    Args:
        sensitivity: In 0..1.
        specificity: In 0..1.
        prevalence: In 0..1.
    """
    found, false_alarms = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    cleared, missed = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
    called, not_called = found + false_alarms, cleared + missed
    return found / called if called > 0 else None, cleared / not_called if not_called > 0 else None


def at_prevalences(
    sensitivity: Mapping[str, Any], specificity: Mapping[str, Any], prevalences: Sequence[float]
) -> list[Values]:
    """PPV and NPV at each prevalence, with intervals.

    Both grow with sensitivity and with specificity, so the lower end takes both lower ends and the upper end both upper
    ones. The interval is a little too wide rather than too narrow.

    Args:
        sensitivity: `Interval.as_dict`.
        specificity: The same.
        prevalences: In 0..1.

    Returns:
        [{"prevalence", "ppv", "npv"}] with `Interval.as_dict`.
    """
    few = bool(sensitivity["few_patients"] or specificity["few_patients"])
    n = int(sensitivity["n_patients"]) + int(specificity["n_patients"])

    def both(end: str, prevalence: float) -> tuple[float | None, float | None]:
        if sensitivity[end] is None or specificity[end] is None:
            return None, None
        return predictive_values(sensitivity[end], specificity[end], prevalence)

    rows = []
    for prevalence in prevalences:
        ends = [both(end, prevalence) for end in ("value", "low", "high")]
        row: Values = {"prevalence": float(prevalence)}
        for name, (value, low, high) in zip(("ppv", "npv"), zip(*ends, strict=True), strict=True):
            if value is None:
                low = high = None
            method = UNDEFINED if value is None else sensitivity["method"] if low is None else BAYES
            row[name] = Interval(value, low, high, method, n, few).as_dict()
        rows.append(row)
    return rows


def prevalence_table(cases: Cases, prevalences: Sequence[float]) -> Values | None:
    """Sensitivity and specificity for the positive class at one site, and what they mean at each prevalence.

    Cases are called by their highest probability.

    Returns:
        None if the task has no positive class, else {"sensitivity", "specificity" (intervals), "rows"}.
    """
    positive = cases.scheme.positive
    if positive is None:
        return None
    k = cases.scheme.index(positive)
    ill, called = cases.truth == k, cases.called == k

    def share(hit: np.ndarray, inside: np.ndarray) -> Values:
        hits, totals = (cases.patient_sums(values).astype(np.int64) for values in (hit & inside, inside))
        return proportion(hits, totals).as_dict()

    sensitivity, specificity = share(called, ill), share(~called, ~ill)
    return {
        "sensitivity": sensitivity,
        "specificity": specificity,
        "rows": at_prevalences(sensitivity, specificity, prevalences),
    }
