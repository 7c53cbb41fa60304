"""Sets of classes with a promised coverage: split conformal prediction with validation patients as the calibration set.

The score of a case is one minus the probability of its true class, the set holds every class whose score is at most the
quantile of the validation scores (LAC, "least ambiguous sets": Sadinle, Lei and Wasserman, JASA 2019;114:223). LAC
gives the smallest sets on average; a set may be empty, which says that the case is like none that was seen.

Patients are exchangeable, slices are not. Each patient's slices therefore share one weight (hierarchical conformal
prediction: Lee, Barber and Willett, arXiv:2306.06342): the promise is about a slice drawn from a new patient, and with
one case per patient it is ordinary split conformal prediction. It holds for patients like those of validation; whether
it holds at another hospital is what the coverage on test shows.

Marginal sets use one quantile; class-wise (Mondrian) sets use one for each true class, so that the promise holds for
each, which needs enough validation patients of each.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from covidct.evaluation.calibration.cases import Cases
from covidct.evaluation.intervals import proportion

METHOD = "LAC"
ALPHA = 0.1
ROUNDING = 1e-12
Values = dict[str, Any]


def patients_needed(alpha: float) -> int:
    """The fewest calibration patients with which a coverage of 1 - alpha can be promised without including all."""
    return math.ceil(round(1 / alpha, 9)) - 1


def conformal_quantile(scores: np.ndarray, patient: np.ndarray, alpha: float = ALPHA) -> float | None:
    """The score up to which classes enter a set.

    Args:
        scores: float [n], one minus the probability of the true class.
        patient: int [n], any numbering; each patient weighs the same.
        alpha: Share of new patients' cases that may be missed, in 0..1.

    Returns:
        None with fewer than `patients_needed` patients: the new patient alone is more than alpha of all.
    """
    patients, row, counts = np.unique(patient, return_inverse=True, return_counts=True)
    if len(patients) < patients_needed(alpha):
        return None
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(1 / ((len(patients) + 1) * counts[row[order]]))
    return float(scores[order][np.searchsorted(reached, 1 - alpha - ROUNDING, side="left")])


def choose_quantiles(validation: Cases | None, alpha: float = ALPHA) -> Values:
    """Everything that validation decides.

    Returns:
        {"method", "alpha", "n_patients", "marginal": {"quantiles": {class: q}} or {"refused": why}, "by_class": the
        same}. Refused where validation has too few patients, in all or of a class.
    """
    needed = patients_needed(alpha)
    chosen: Values = {"method": METHOD, "alpha": alpha, "n_patients": 0, "patients_needed": needed}
    if validation is None:
        refused = {"refused": "there are no validation patients"}
        return {**chosen, "marginal": refused, "by_class": refused}
    names = validation.scheme.names
    chosen["n_patients"] = validation.n_patients
    scores = 1 - validation.probabilities[np.arange(len(validation)), validation.truth]
    one = conformal_quantile(scores, validation.patient, alpha)
    promise = f"a promise of {100 * (1 - alpha):g} % needs {needed} validation patients"
    marginal = (
        {"refused": f"{promise}, there are {validation.n_patients}"}
        if one is None
        else {"quantiles": dict.fromkeys(names, one)}
    )
    each, short = {}, {}
    for k, name in enumerate(names):
        inside = validation.truth == k
        found = conformal_quantile(scores[inside], validation.patient[inside], alpha)
        if found is None:
            short[name] = int((validation.patient_truth == k).sum())
        else:
            each[name] = found
    listed = ", ".join(f"{validation.scheme.display(name)} has {count}" for name, count in short.items())
    by_class = {"refused": f"{promise} of every class; {listed}"} if short else {"quantiles": each}
    return {**chosen, "marginal": marginal, "by_class": by_class}


def class_sets(probabilities: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """bool [n, K]: which classes are in each case's set, for quantiles [K]."""
    return np.asarray(1 - probabilities <= quantiles)


def coverage(cases: Cases, chosen: Values) -> Values:
    """What became of the promise at one site.

    Args:
        cases: Test cases.
        chosen: As from `choose_quantiles`.

    Returns:
        {"marginal", "by_class"}, each None where refused, else {"coverage" (interval; each patient weighs the same, as
        in the promise), "per_class": {true class: interval}, "mean_size", "sizes": share of cases with 0..K classes,
        "single_right": interval of the share of one-class sets that are right}.
    """
    results: Values = {}
    for kind in ("marginal", "by_class"):
        quantiles = chosen[kind].get("quantiles")
        results[kind] = None
        if quantiles is not None:
            limits = np.array([quantiles[name] for name in cases.scheme.names])
            results[kind] = _coverage(cases, class_sets(cases.probabilities, limits))
    return results


def _coverage(cases: Cases, sets: np.ndarray) -> Values:
    covered, sizes = sets[np.arange(len(cases)), cases.truth], sets.sum(axis=1)
    single = sizes == 1
    return {
        "coverage": _patient_share(cases, covered, np.ones(len(cases), dtype=bool)),
        "per_class": {
            name: _patient_share(cases, covered, cases.truth == k) for k, name in enumerate(cases.scheme.names)
        },
        "mean_size": float(sizes.mean()),
        "sizes": [float(np.mean(sizes == size)) for size in range(len(cases.scheme) + 1)],
        "single_right": proportion(
            cases.patient_sums(single & covered).astype(np.int64), cases.patient_sums(single).astype(np.int64)
        ).as_dict(),
    }


def _patient_share(cases: Cases, hit: np.ndarray, inside: np.ndarray) -> dict[str, object]:
    """Mean over patients of the share of their cases that hit: as if all patients had the mean number of cases."""
    totals, hits = cases.patient_sums(inside), cases.patient_sums(hit & inside)
    some = totals > 0
    each = totals[some].mean() if some.any() else 1.0
    shares = np.divide(hits, totals, out=np.zeros(len(totals)), where=some)
    return proportion(shares * each, np.where(some, each, 0.0)).as_dict()
