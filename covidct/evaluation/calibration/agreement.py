"""One hospital's probabilities against what came true: errors, Brier scores, slopes, and the reliability diagram."""

from __future__ import annotations

from typing import Any

import numpy as np

from covidct.evaluation.calibration.brier import brier_parts, squared_distances
from covidct.evaluation.calibration.cases import Cases
from covidct.evaluation.calibration.recalibration import recalibration
from covidct.evaluation.calibration.reliability import TAILS, Bins, error_interval, ideal_hits
from covidct.evaluation.calibration.temperature import logits, losses
from covidct.evaluation.intervals import (
    FEW_PATIENTS,
    LEAST_PATIENTS,
    NO_SPREAD,
    PATIENT_BOOTSTRAP,
    TOO_FEW,
    UNDEFINED,
    Interval,
    PatientBootstrap,
)

CENTRED_BOOTSTRAP = "patient_bootstrap_centred"
SIMULATIONS = 200
HISTOGRAM_BINS = 20
Values = dict[str, Any]


def agreement(cases: Cases, bootstrap: PatientBootstrap, generator: np.random.Generator) -> Values:
    """How well the probabilities of one site and level agree with the truth.

    Args:
        cases: The cases.
        bootstrap: Resampled patients.
        generator: Of the simulated ideal model.

    Returns:
        `nll` (nats) and `brier` (0..2) with intervals; `accuracy` and `mean_confidence` (their difference is what
        overconfidence means); `top_label` and `per_class`: {"ece" (interval), "ece_l2", "largest_gap", "ideal":
        {"mean", "low", "high"}, "bins": [...], "histogram": cases in 20 bins of equal width}; classes also have "parts"
        of their Brier score, "brier" and, at patient level, "slope" and "intercept".
    """
    scheme = cases.scheme
    top = Bins.of(cases.confidence, cases.right, cases.patient)
    by_class = [Bins.of(cases.probabilities[:, k], cases.truth == k, cases.patient) for k in range(len(scheme))]
    ideal = ideal_hits(cases, by_class, top, SIMULATIONS, generator)
    distances = squared_distances(cases)
    means = _means(
        cases,
        {
            "nll": losses(logits(cases.probabilities), cases.truth),
            "brier": distances.sum(axis=1),
            **{name: distances[:, k] for k, name in enumerate(scheme.names)},
        },
        bootstrap,
    )
    per_class: dict[str, Values] = {}
    for k, name in enumerate(scheme.names):
        ill = int((cases.patient_truth == k).sum())
        hit = cases.truth == k
        values = _errors(cases.probabilities[:, k], by_class[k], ideal[k], bootstrap, min(ill, cases.n_patients - ill))
        if not hit.any() or hit.all():  # one outcome only: no error of a class that cannot be seen
            nothing = Interval(None, None, None, UNDEFINED, cases.n_patients, True).as_dict()
            values |= {"ece": nothing, "ece_l2": None, "largest_gap": None, "ideal": None}
        values["brier"] = means[name]
        values["parts"] = brier_parts(cases.probabilities[:, k], hit, by_class[k].place)
        if cases.level == "patient":
            values |= recalibration(cases, k)
        per_class[name] = values
    return {
        "nll": means["nll"],
        "brier": means["brier"],
        "accuracy": float(cases.right.mean()),
        "mean_confidence": float(cases.confidence.mean()),
        "top_label": _errors(cases.confidence, top, ideal[-1], bootstrap, cases.n_patients),
        "per_class": per_class,
    }


def _means(cases: Cases, values: dict[str, np.ndarray], bootstrap: PatientBootstrap) -> dict[str, Values]:
    """Means over cases with the interval of resampled patients."""
    sums = np.column_stack([cases.patient_sums(value) for value in values.values()])
    counts = np.bincount(cases.patient, minlength=cases.n_patients)

    def statistics(weights: np.ndarray) -> np.ndarray:
        return np.asarray(weights @ sums / (weights @ counts)[:, None])

    estimates = [float(value.mean()) for value in values.values()]
    few, n = cases.n_patients < FEW_PATIENTS, cases.n_patients
    if n < LEAST_PATIENTS:
        return {
            name: Interval(estimate, None, None, TOO_FEW, n, few).as_dict()
            for name, estimate in zip(values, estimates, strict=True)
        }
    found = zip(values, estimates, bootstrap.intervals(estimates, statistics), strict=True)
    return {
        name: (
            Interval(estimate, None, None, NO_SPREAD, n, few)
            if ends is None
            else Interval(estimate, *ends, PATIENT_BOOTSTRAP, n, few)
        ).as_dict()
        for name, estimate, ends in found
    }


def _errors(stated: np.ndarray, bins: Bins, ideal: np.ndarray, bootstrap: PatientBootstrap, group: int) -> Values:
    """Calibration errors, those of an ideal model, and the bins.

    Args:
        stated: float [n], one probability of each case.
        bins: Of it.
        ideal: [s, b], outcomes of the ideal model.
        bootstrap: Resampled patients.
        group: Patients of the smaller outcome.
    """
    here = bins.errors()
    n, value = len(bins.counts), float(here.l1[0])
    if group < LEAST_PATIENTS:
        error = Interval(value, None, None, TOO_FEW, n, True)
    else:
        ends = error_interval(value, bins.errors(bootstrap.weights).l1)
        error = Interval(value, *ends, CENTRED_BOOTSTRAP, n, group < FEW_PATIENTS)
    chance = bins.simulated_errors(ideal).l1
    low, high = (float(end) for end in np.quantile(chance, TAILS))
    return {
        "ece": error.as_dict(),
        "ece_l2": float(here.l2[0]),
        "largest_gap": float(here.largest[0]),
        "ideal": {"mean": float(chance.mean()), "low": low, "high": high},
        "bins": _rows(bins, ideal),
        "histogram": np.histogram(stated, bins=HISTOGRAM_BINS, range=(0, 1))[0].tolist(),
    }


def _rows(bins: Bins, ideal: np.ndarray) -> list[Values]:
    counts, confidence, hits = (sums.sum(axis=0) for sums in (bins.counts, bins.confidence, bins.hits))
    low, high = np.quantile(ideal, TAILS, axis=0)
    rows, start = [], 0.0
    for b, end in enumerate(bins.edges):
        if counts[b]:
            shares = [float(total / counts[b]) for total in (confidence[b], hits[b], low[b], high[b])]
            keys = ("stated", "observed", "ideal_low", "ideal_high")
            patients = int((bins.counts[:, b] > 0).sum())
            rows.append({"from": start, "to": float(end), "n": int(counts[b]), "n_patients": patients,
                         **dict(zip(keys, shares, strict=True))})  # fmt: skip
        start = float(end)
    return rows
