"""How far raters agree beyond chance: Cohen's kappa for two, Fleiss' for several, with intervals by patient.

Cohen, Educational and Psychological Measurement 1960;20:37; Fleiss, Psychological Bulletin 1971;76:378. "No result" and
"conflict" are answers like any other here: two raters who both failed do agree.

scikit-learn and statsmodels have both kappas; these count patients with weights, so that a bootstrap of patients is one
matrix product. The tests hold them against those two.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np

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

REPLICATES = 2000


def cohen(
    first: np.ndarray, second: np.ndarray, patient: np.ndarray, answers: int
) -> Callable[[np.ndarray], np.ndarray]:
    """Cohen's kappa of two raters as a function of patient weights.

    Args:
        first: int [n] in 0..answers-1.
        second: int [n], the same cases.
        patient: int [n] in 0..patients-1.
        answers: Number of possible answers.

    Returns:
        From weights [r, patients] to kappas [r, 1]; NaN where both always give one and the same answer.
    """
    tables = np.zeros((int(patient.max()) + 1, answers, answers))
    np.add.at(tables, (patient, first, second), 1)

    def kappa(weights: np.ndarray) -> np.ndarray:
        table = np.tensordot(weights, tables, axes=1)
        table = table / table.sum(axis=(1, 2), keepdims=True)
        agreed = np.trace(table, axis1=1, axis2=2)
        chance = (table.sum(axis=2) * table.sum(axis=1)).sum(axis=1)
        return _beyond(agreed, chance)

    return kappa


def fleiss(calls: np.ndarray, patient: np.ndarray, answers: int) -> Callable[[np.ndarray], np.ndarray]:
    """Fleiss' kappa of several raters as a function of patient weights.

    Args:
        calls: int [raters, n] in 0..answers-1; two raters or more.
        patient: int [n] in 0..patients-1.
        answers: Number of possible answers.

    Returns:
        As `cohen`.
    """
    raters = len(calls)
    counts = np.stack([(calls == answer).sum(axis=0) for answer in range(answers)], axis=1).astype(float)
    agreed_in_case = ((counts**2).sum(axis=1) - raters) / (raters * (raters - 1))
    number = int(patient.max()) + 1
    agreed = np.bincount(patient, weights=agreed_in_case, minlength=number)
    cases = np.bincount(patient, minlength=number).astype(float)
    given = np.zeros((number, answers))
    np.add.at(given, patient, counts)

    def kappa(weights: np.ndarray) -> np.ndarray:
        total = weights @ cases
        chance = ((weights @ given / (raters * total)[:, None]) ** 2).sum(axis=1)
        return _beyond(weights @ agreed / total, chance)

    return kappa


def _beyond(agreed: np.ndarray, chance: np.ndarray) -> np.ndarray:
    rest = 1 - chance
    return np.divide(agreed - chance, rest, out=np.full_like(rest, np.nan), where=rest > 1e-12)[:, None]


def with_interval(
    kappa: Callable[[np.ndarray], np.ndarray], strata: np.ndarray, *, replicates: int = REPLICATES, seed: int = 0
) -> Interval:
    """A kappa with the BCa interval of a bootstrap of patients.

    Args:
        kappa: From `cohen` or `fleiss`.
        strata: int [patients], site and class of each patient; these counts stay as they are.
        replicates: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        No interval below 10 patients, where the replicates do not differ, or where one of them is undefined.
    """
    patients = len(strata)
    value, few = float(kappa(np.ones((1, patients)))[0, 0]), patients < FEW_PATIENTS
    if np.isnan(value):
        return Interval(None, None, None, UNDEFINED, patients, few)
    if patients < LEAST_PATIENTS:
        return Interval(value, None, None, TOO_FEW, patients, few)
    bootstrap = PatientBootstrap.draw(strata, replicates, np.random.default_rng(seed))
    if np.isnan(kappa(bootstrap.weights)).any():
        return Interval(value, None, None, NO_SPREAD, patients, few)
    [ends] = bootstrap.intervals([value], kappa)
    if ends is None:
        return Interval(value, None, None, NO_SPREAD, patients, few)
    return Interval(value, *ends, PATIENT_BOOTSTRAP, patients, few)


def pairs(names: list[str]) -> list[tuple[int, int]]:
    """Every two raters, in reading order."""
    return list(combinations(range(len(names)), 2))
