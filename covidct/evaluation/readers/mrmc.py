"""Readers random, cases random: the test of Obuchowski and Rockette with the degrees of freedom of Hillis.

Several readers read the same cases, with two modalities or beside a model. Another draw of readers and of cases would
give other figures; these tests count both (Obuchowski and Rockette, Communications in Statistics 1995;24:285; Hillis,
Statistics in Medicine 2007;26:596). They need a figure of merit of every reader and modality, and the covariances that
come from the cases: between modalities of one reader (Cov1), readers of one modality (Cov2), and neither (Cov3).

A model that reads every case once and always the same is no reader from a population: against it, the differences
between each reader and the model are the figures of merit of a single modality, and zero is tested (single modality:
Hillis 2007, page 607; the model as fixed: Hupse et al., Radiology 2013;266:123). Entering the model as every reader's
second modality gives the same F, degrees of freedom and P.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from covidct.errors import UsageError

LEVEL = 0.95
RANDOM, FIXED = "random readers", "fixed readers"


@dataclass(frozen=True)
class Merits:
    """A figure of merit of several raters on the same cases.

    Args:
        values: float [m], for example AUCs.
        covariance: float [m, m], from the cases.
    """

    values: np.ndarray
    covariance: np.ndarray


@dataclass(frozen=True)
class Covariances:
    """The averages of a covariance matrix that the test needs.

    Args:
        variance: Of one reader with one modality.
        same_reader: Cov1, between modalities of the same reader.
        same_modality: Cov2, between readers with the same modality.
        neither: Cov3, between readers and modalities that both differ.
    """

    variance: float
    same_reader: float
    same_modality: float
    neither: float


@dataclass(frozen=True)
class MrmcTest:
    """A difference of mean figures of merit, tested.

    Args:
        readers: `RANDOM` or `FIXED`: whether the conclusion holds for other readers, or for these only.
        difference: First minus second.
        se: Standard error.
        low: Lower end of the 95 % interval.
        high: Upper end.
        statistic: F of the equality of all modalities; t squared where a fixed value is compared.
        df: Denominator degrees of freedom; None means infinite.
        p: Two-sided.
    """

    readers: str
    difference: float
    se: float
    low: float
    high: float
    statistic: float | None
    df: float | None
    p: float | None


def average_covariances(covariance: np.ndarray, modalities: int, readers: int) -> Covariances:
    """Average a covariance matrix.

    Args:
        covariance: float [t * r, t * r], rows by modality, then reader.
        modalities: t.
        readers: r.
    """
    modality, reader = np.divmod(np.arange(modalities * readers), readers)
    same_t, same_r = modality[:, None] == modality, reader[:, None] == reader

    def mean(chosen: np.ndarray) -> float:
        return float(covariance[chosen].mean()) if chosen.any() else 0.0

    return Covariances(mean(same_t & same_r), mean(~same_t & same_r), mean(same_t & ~same_r), mean(~same_t & ~same_r))


def compare_modalities(merits: np.ndarray, cov: Covariances, *, readers: str = RANDOM) -> MrmcTest:
    """Obuchowski and Rockette's test that two modalities are equally good.

    Args:
        merits: float [2, r], first and second modality of the same readers.
        cov: From the cases.
        readers: `RANDOM` needs two readers; `FIXED` speaks of these readers only and has infinite degrees of freedom.

    Raises:
        UsageError: Not two modalities, or too few readers.
    """
    if merits.ndim != 2 or len(merits) != 2:
        raise UsageError(f"two modalities are compared, not merits of shape {merits.shape}")
    number = merits.shape[1]
    means = merits.mean(axis=1)
    difference = float(means[0] - means[1])
    spread = max(cov.same_modality - cov.neither, 0.0)
    if readers == FIXED:
        error = cov.variance - cov.same_reader + (number - 1) * spread
        return _tested(FIXED, difference, 2 / number * error, None)
    if number < 2:
        raise UsageError("readers as a random sample need two readers or more", remedy="treat the readers as fixed")
    rest = merits - means[:, None] - merits.mean(axis=0) + merits.mean()
    interaction = float((rest**2).sum()) / (number - 1)
    error = interaction + number * spread
    df = error**2 / interaction**2 * (number - 1) if interaction > 0 else None
    return _tested(RANDOM, difference, 2 / number * error, df)


def against_fixed(found: Merits, *, readers: str = RANDOM) -> MrmcTest:
    """The mean of readers minus a model that is no reader.

    Args:
        found: Figures of merit of r readers, then of the model: values [r + 1], covariance [r + 1, r + 1].
        readers: As for `compare_modalities`.
    """
    number = len(found.values) - 1
    turn = np.hstack([np.eye(number), -np.ones((number, 1))])
    return single_modality(Merits(turn @ found.values, turn @ found.covariance @ turn.T), readers=readers)


def single_modality(found: Merits, *, readers: str = RANDOM) -> MrmcTest:
    """The mean figure of merit of readers with its interval, tested against zero.

    Args:
        found: values [r], covariance [r, r].
        readers: As for `compare_modalities`.
    """
    number = len(found.values)
    mean = float(found.values.mean())
    if readers == FIXED:
        return _tested(FIXED, mean, float(found.covariance.mean()), None)
    if number < 2:
        raise UsageError("readers as a random sample need two readers or more", remedy="treat the readers as fixed")
    between = float(found.values.var(ddof=1))
    cov = average_covariances(found.covariance, 1, number)
    error = between + number * max(cov.same_modality, 0.0)
    df = error**2 / between**2 * (number - 1) if between > 0 else None
    return _tested(RANDOM, mean, error / number, df)


def _tested(readers: str, difference: float, variance: float, df: float | None) -> MrmcTest:
    """From a difference and its variance to interval and P; a difference that does not vary is not tested."""
    se = math.sqrt(max(variance, 0.0))
    if se < 1e-12:
        return MrmcTest(readers, difference, 0.0, difference, difference, None, df, None)
    student = stats.norm() if df is None else stats.t(df)
    half, z = float(student.ppf((1 + LEVEL) / 2)) * se, difference / se
    return MrmcTest(
        readers, difference, se, difference - half, difference + half, z**2, df, float(2 * student.sf(abs(z)))
    )


def shares(correct: np.ndarray, patient: np.ndarray) -> Merits:
    """Shares of cases called rightly, by patient: sensitivities if only positive cases are given.

    Args:
        correct: bool [m, n], m raters on the same n cases.
        patient: int [n], whose case it is. The covariance is that of a ratio estimator over patients.

    Raises:
        UsageError: Fewer than two patients.
    """
    row = np.unique(patient, return_inverse=True)[1]
    number = int(row.max()) + 1 if len(row) else 0
    if number < 2:
        raise UsageError(f"a share needs two patients to vary, not {number}")
    values = correct.mean(axis=1)
    inside = np.stack([np.bincount(row, weights=line, minlength=number) for line in correct.astype(np.float64)])
    rest = (inside - values[:, None] * np.bincount(row, minlength=number)) / correct.shape[1]
    return Merits(values, number / (number - 1) * rest @ rest.T)


def jackknife(statistic: Callable[[np.ndarray], np.ndarray], patient: np.ndarray) -> Merits:
    """Figures of merit with the covariance that leaving out each patient in turn gives.

    Args:
        statistic: From bool [n], the cases that are in, to values [m].
        patient: int [n].
    """
    left_out = np.stack([statistic(patient != one) for one in np.unique(patient)])
    rest = left_out - left_out.mean(axis=0)
    number = len(left_out)
    return Merits(statistic(np.ones(len(patient), dtype=bool)), (number - 1) / number * rest.T @ rest)
