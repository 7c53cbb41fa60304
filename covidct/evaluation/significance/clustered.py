"""Right and wrong on the same cases, several cases a patient: the patient is what was sampled.

- `mcnemar_by_patient`: McNemar's chi2 with the spread between patients in the denominator (Obuchowski, Statistics in
  Medicine 1998;17:1495), or with every patient weighing the same (Durkalski et al., Statistics in Medicine
  2003;22:2417). One case a patient makes Durkalski's McNemar's.
- `sign_flip`: flips whole patients between the raters; exact up to 20 discordant patients.
- `difference_by_patient`: the difference of the two shares with Student's t on patients.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from covidct.errors import UsageError
from covidct.evaluation.intervals import (
    FEW_PATIENTS,
    LEAST_PATIENTS,
    LEVEL,
    NO_SPREAD,
    TOO_FEW,
    UNDEFINED,
    Interval,
)
from covidct.evaluation.significance.paired import PairedTable, Test, difference_interval, mcnemar

EXACT_PATIENTS = 20
FLIPS = 20_000
WEIGHTS = ("obuchowski", "durkalski")
STUDENT = "t of patients"
NEWCOMBE = "newcombe_paired"


def mcnemar_by_patient(
    first: np.ndarray, second: np.ndarray, patient: np.ndarray, *, weights: str = "obuchowski"
) -> Test:
    """McNemar's test of cases that are clustered in patients.

    Args:
        first: bool [n], where the first rater is right.
        second: bool [n], on the same cases.
        patient: Whose case it is [n].
        weights: "obuchowski" counts cases, so that patients with many weigh more; "durkalski" counts patients.
    """
    if weights not in WEIGHTS:
        raise UsageError(f"the clustered McNemar test is one of {', '.join(WEIGHTS)}, not {weights!r}")
    lead, cases = _leads(first, second, patient)
    patients = len(lead)
    name = f"McNemar by patient ({weights.capitalize()})"
    factor = 1.0
    if weights == "durkalski":
        lead = lead / cases
    elif patients:
        factor = (patients - 1) / patients
    squares = float((lead**2).sum())
    if squares == 0 or factor == 0:
        return Test(name, None)
    statistic = factor * float(lead.sum()) ** 2 / squares
    return Test(name, float(stats.chi2.sf(statistic, 1)), statistic, 1)


def sign_flip(differences: np.ndarray, *, seed: int = 0) -> float:
    """Two-sided P of paired differences by flipping the sign of whole patients.

    Args:
        differences: float [patients]; zeros do not matter.
        seed: Of the random flips that more than `EXACT_PATIENTS` discordant patients need.
    """
    discordant = differences[np.abs(differences) > 1e-12]
    reached = abs(float(discordant.sum())) - 1e-9
    if len(discordant) <= EXACT_PATIENTS:
        sums = np.zeros(1)
        for value in discordant:
            sums = np.concatenate([sums + value, sums - value])
        return float((np.abs(sums) >= reached).mean())
    generator, hits = np.random.default_rng(seed), 0
    for _ in range(0, FLIPS, 1000):
        signs = generator.integers(0, 2, (1000, len(discordant))) * 2 - 1
        hits += int((np.abs(signs @ discordant) >= reached).sum())
    return (hits + 1) / (FLIPS + 1)


def flip_patients(first: np.ndarray, second: np.ndarray, patient: np.ndarray, *, seed: int = 0) -> Test:
    """Paired permutation test: exchange the raters of whole patients. Two-sided; None without a discordant patient."""
    lead, _ = _leads(first, second, patient)
    name = "sign flips of patients"
    return Test(name, sign_flip(lead, seed=seed) if np.any(lead) else None)


def difference_by_patient(first: np.ndarray, second: np.ndarray, patient: np.ndarray) -> Interval:
    """Share right of the first minus that of the second, over cases, with the 95 % interval that its patients allow.

    One case a patient: Newcombe's paired interval. Several: Student's t with patients - 1 degrees of freedom on the
    ratio estimator; below 10 patients, or without any spread between them, none.
    """
    lead, cases = _leads(first, second, patient)
    patients = len(lead)
    if not patients:
        return Interval(None, None, None, UNDEFINED, 0, True)
    total, few = float(cases.sum()), patients < FEW_PATIENTS
    value = float(lead.sum()) / total
    if (cases == 1).all():
        low, high = difference_interval(PairedTable.of(first, second)) or (None, None)
        return Interval(value, low, high, NEWCOMBE, patients, few)
    if patients < LEAST_PATIENTS:
        return Interval(value, None, None, TOO_FEW, patients, few)
    spread = patients / (patients - 1) * float(((lead - value * cases) ** 2).sum()) / total**2
    if spread <= 1e-24:
        return Interval(value, None, None, NO_SPREAD, patients, few)
    half = float(stats.t.ppf((1 + LEVEL) / 2, patients - 1)) * math.sqrt(spread)
    return Interval(value, max(-1.0, value - half), min(1.0, value + half), STUDENT, patients, few)


def compare(first: np.ndarray, second: np.ndarray, patient: np.ndarray, *, seed: int = 0) -> tuple[Interval, Test]:
    """Two raters on the same cases: the difference with its interval, and the test that belongs to the data.

    One case a patient: McNemar (exact below 25 discordant patients). Several: sign flips of patients, which assume
    nothing about the spread and are exact for few.

    Args:
        first: bool [n], where the first is right.
        second: bool [n].
        patient: Whose case it is [n].
        seed: Of the flips.
    """
    _, cases = _leads(first, second, patient)
    interval = difference_by_patient(first, second, patient)
    if (cases == 1).all():
        return interval, mcnemar(PairedTable.of(first, second))
    return interval, flip_patients(first, second, patient, seed=seed)


def _leads(first: np.ndarray, second: np.ndarray, patient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each patient: cases that only the first has right minus those that only the second has, and all cases."""
    first, second, patient = np.asarray(first, bool), np.asarray(second, bool), np.asarray(patient)
    if first.ndim != 1 or not len(first) == len(second) == len(patient):
        raise UsageError(f"paired cases have the same length, not {len(first)}, {len(second)} and {len(patient)}")
    if not len(first):
        return np.zeros(0), np.zeros(0)
    unit = np.unique(patient, return_inverse=True)[1]
    return np.bincount(unit, weights=first.astype(float) - second), np.bincount(unit).astype(float)
