"""Two arms on the same test patients: differences whose unit is the patient.

An arm has several trained networks (its repeats), all scored on the same patients. The statistic of an arm is the mean
over its networks of the statistic of each; probabilities of different networks are not mixed, for that would judge an
ensemble nobody trained. The tests treat the networks as given and the patients as a sample: they say whether another
draw of patients from this hospital could turn the difference round, not whether another training could.

- macro AUC: DeLong's test, its components summed within patients (Obuchowski 1997) and centred within site and class;
- accuracy: sign flips of whole patients, exact up to 20 discordant ones. One network an arm and one case a patient
  make it the exact McNemar test;
- macro log-loss: z of the difference over its standard error by patient.

Intervals: the patient bootstrap of `intervals`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from covidct.evaluation.influence import auc_influence, clustered_variance, share_influence
from covidct.evaluation.intervals import (
    FEW_PATIENTS,
    LEAST_PATIENTS,
    NO_SPREAD,
    PATIENT_BOOTSTRAP,
    TOO_FEW,
    Interval,
    PatientBootstrap,
    WeightedAUC,
)
from covidct.evaluation.significance.clustered import sign_flip

METRICS = ("macro_auc", "accuracy", "macro_log_loss")
LEAST_PROBABILITY = 1e-15
"""A probability of 0 for the truth costs as much as this one: log-loss stays finite."""


@dataclass(frozen=True)
class PairedCases:
    """The cases of one site, scored by every network of every arm.

    Args:
        truth: int [n], class columns.
        patient: int [n], rows of `strata`.
        strata: int [patients], site and class of each patient; a patient has one class.
        scores: For each arm float [networks, n, K], probabilities.
        called: For each arm int [networks, n], class columns; -1 decides nothing and is an error.
    """

    truth: np.ndarray
    patient: np.ndarray
    strata: np.ndarray
    scores: Mapping[str, np.ndarray]
    called: Mapping[str, np.ndarray]

    @property
    def patients(self) -> int:
        """Number of patients."""
        return len(self.strata)

    @property
    def smallest(self) -> int:
        """Patients of the smallest class that occurs, or outside of it: what limits an interval."""
        label = np.zeros(self.patients, dtype=np.int64)
        label[self.patient] = self.truth
        sizes = np.unique(label, return_counts=True)[1]
        return int(min(min(size, self.patients - size) for size in sizes)) if len(sizes) > 1 else 0


@dataclass(frozen=True)
class PatientTest:
    """One metric of two arms on the same patients.

    Args:
        metric: One of `METRICS`.
        first: Value of the first arm: mean over its networks.
        second: Value of the second.
        difference: first - second, with its interval over patients.
        p: Two-sided, or None if undefined.
        test: Which test gave it.
    """

    metric: str
    first: float
    second: float
    difference: Interval
    p: float | None
    test: str

    def as_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        values = {"first_value": self.first, "second_value": self.second, "difference": self.difference.as_dict()}
        return {"metric": self.metric, **values, "p": self.p, "test": self.test}


def paired_tests(
    cases: PairedCases, contrasts: Sequence[tuple[str, str]], *, replicates: int = 500, seed: int = 0
) -> dict[tuple[str, str], list[PatientTest]]:
    """Every metric for every contrast, all from the same resampled patients.

    Args:
        cases: The site. With a single class there is no AUC, and the metric is left out.
        contrasts: (first arm, second arm).
        replicates: Of the patient bootstrap.
        seed: Of bootstrap and sign flips.
    """
    arms = sorted({arm for pair in contrasts for arm in pair})
    place = {arm: column for column, arm in enumerate(arms)}
    pick = np.array([np.eye(len(arms))[place[a]] - np.eye(len(arms))[place[b]] for a, b in contrasts]).T
    bootstrap = PatientBootstrap.draw(cases.strata, replicates, np.random.default_rng(seed))
    ones = np.ones((1, cases.patients))
    found: dict[tuple[str, str], list[PatientTest]] = {(a, b): [] for a, b in contrasts}
    for metric in METRICS:
        if metric == "macro_auc" and len(np.unique(cases.truth)) < 2:
            continue
        statistic = _Statistic(metric, cases, arms)
        values = statistic(ones)[0]
        estimates = values @ pick
        if cases.smallest < LEAST_PATIENTS:
            ends: list[tuple[float, float] | None] = [None] * len(contrasts)
        else:
            ends = bootstrap.intervals(list(estimates), _Contrasted(statistic, pick))
        influence = {arm: _influence(metric, cases, arm) for arm in arms} if metric != "accuracy" else {}
        for pair, estimate, end in zip(contrasts, estimates, ends, strict=True):
            a, b = pair
            if metric == "accuracy":
                p: float | None = sign_flip(_right(cases, a) - _right(cases, b), seed=seed)
                test = "sign flips of patients"
            else:
                p = _z_test(float(estimate), clustered_variance(influence[a] - influence[b], cases.strata))
                test = "DeLong by patient" if metric == "macro_auc" else "z by patient"
            interval = _interval(float(estimate), end, cases)
            found[a, b].append(PatientTest(metric, float(values[place[a]]), float(values[place[b]]), interval, p, test))
    return found


def _interval(value: float, ends: tuple[float, float] | None, cases: PairedCases) -> Interval:
    few = cases.smallest < FEW_PATIENTS
    if ends is not None:
        return Interval(value, *ends, PATIENT_BOOTSTRAP, cases.patients, few)
    method = TOO_FEW if cases.smallest < LEAST_PATIENTS else NO_SPREAD
    return Interval(value, None, None, method, cases.patients, few)


def _z_test(estimate: float, variance: float) -> float | None:
    return float(2 * stats.norm.sf(abs(estimate) / math.sqrt(variance))) if variance > 1e-24 else None


def _right(cases: PairedCases, arm: str) -> np.ndarray:
    """Right cases of each patient, mean over the networks: float [patients]."""
    right = (cases.called[arm] == cases.truth).mean(axis=0)
    return np.bincount(cases.patient, weights=right, minlength=cases.patients)


def _losses(cases: PairedCases, arm: str) -> np.ndarray:
    """-log of the probability of the truth, mean over the networks: float [n]."""
    chosen = cases.scores[arm][:, np.arange(len(cases.truth)), cases.truth]
    return np.asarray(-np.log(np.maximum(chosen, LEAST_PROBABILITY)).mean(axis=0))


class _Statistic:
    """A metric of every arm as a function of patient weights: [r, patients] to [r, arms]."""

    def __init__(self, metric: str, cases: PairedCases, arms: Sequence[str]) -> None:
        classes, total = np.unique(cases.truth), cases.patients
        self._areas: list[list[WeightedAUC]] = []
        self._numerators: list[np.ndarray] = []  # [parts, patients] of each arm; the metric is the mean of the ratios
        groups = [np.ones(len(cases.truth), dtype=bool)]
        if metric == "macro_log_loss":
            groups = [cases.truth == k for k in classes]
        self._denominators = np.array([np.bincount(cases.patient[g], minlength=total) for g in groups], dtype=float)
        for arm in arms:
            if metric == "macro_auc":
                areas = [
                    WeightedAUC(cases.truth == k, run[:, k], cases.patient)
                    for run in cases.scores[arm]
                    for k in classes
                ]
                self._areas.append(areas)
                continue
            worth = _losses(cases, arm)
            if metric == "accuracy":
                worth = (cases.called[arm] == cases.truth).mean(axis=0)
            self._numerators.append(
                np.array([np.bincount(cases.patient[g], weights=worth[g], minlength=total) for g in groups])
            )

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        if self._areas:
            return np.column_stack([np.mean([area(weights) for area in areas], axis=0) for areas in self._areas])
        below = weights @ self._denominators.T
        return np.column_stack([((weights @ above.T) / below).mean(axis=1) for above in self._numerators])


class _Contrasted:
    """Differences of arms as a function of patient weights: [r, patients] to [r, contrasts]."""

    def __init__(self, statistic: _Statistic, pick: np.ndarray) -> None:
        self._statistic, self._pick = statistic, pick

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        return np.asarray(self._statistic(weights) @ self._pick)


def _influence(metric: str, cases: PairedCases, arm: str) -> np.ndarray:
    """What each patient adds to the metric, mean over networks and classes: float [patients]."""
    total, classes = np.zeros(cases.patients), np.unique(cases.truth)
    if metric == "macro_log_loss":
        losses = _losses(cases, arm)
        for k in classes:
            mine = cases.truth == k
            sums = np.bincount(cases.patient[mine], weights=losses[mine], minlength=cases.patients)
            total += share_influence(sums, np.bincount(cases.patient[mine], minlength=cases.patients)) / len(classes)
        return total
    networks = cases.scores[arm]
    for run in networks:
        for k in classes:
            total += auc_influence(cases.truth == k, run[:, k], cases.patient, cases.patients)[1]
    return total / (len(networks) * len(classes))
