"""AUCs of patients beside what chance gives: the labels permuted among the patients of each site.

The patient is the unit: each has one label and one score per class. Permuting whole patients keeps what the slices of
one patient share, and permuting within a site keeps what the sites differ in, so the test is exact whatever the
scores are (Good, Permutation, Parametric and Bootstrap Tests of Hypotheses, 3rd ed., 2005).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from covidct.evaluation.intervals import LEAST_PATIENTS, PatientBootstrap, WeightedAUC


@dataclass(frozen=True)
class Chance:
    """What was found, and what permuted labels give.

    Args:
        value: Mean of the one-against-the-rest AUCs that are defined.
        per_class: float64 [K], NaN where a class has no patient or all of them.
        p: Probability of `value` or more under permuted labels.
        p_class: float64 [K], the same for each class, corrected for looking at all of them (distribution of the
            largest standardised AUC: Westfall and Young 1993).
        draws: float64 [replicates], `value` under permuted labels.
    """

    value: float
    per_class: np.ndarray
    p: float
    p_class: np.ndarray
    draws: np.ndarray

    def reach(self, alpha: float) -> float:
        """The AUC that permuted labels pass with probability `alpha`."""
        return float(np.quantile(self.draws, 1 - alpha))

    @property
    def strongest(self) -> int:
        """The class that stands out most from chance."""
        return int(np.lexsort((-self.per_class, self.p_class))[0])  # NaN sorts last


def patient_means(values: np.ndarray, patient: np.ndarray, n_patients: int) -> np.ndarray:
    """Mean over the slices of each patient.

    Args:
        values: float [n, ...].
        patient: int [n] in 0..n_patients-1.
        n_patients: P.

    Returns:
        float64 [P, ...], NaN for a patient without a slice.
    """
    sums = np.zeros((n_patients, *values.shape[1:]))
    np.add.at(sums, patient, values)
    counts = np.bincount(patient, minlength=n_patients).astype(float)
    counts[counts == 0] = np.nan
    return sums / counts.reshape(-1, *[1] * (values.ndim - 1))


def against_chance(
    labels: np.ndarray, scores: np.ndarray, strata: np.ndarray, replicates: int, generator: np.random.Generator
) -> Chance | None:
    """Compare AUCs with those of permuted labels.

    Args:
        labels: int [P] in 0..K-1.
        scores: float [P, K], higher means more of that class; no NaN.
        strata: int [P]; labels are permuted within a stratum (site).
        replicates: Permutations.
        generator: One's own; the global random state is not touched.

    Returns:
        None where no class has both kinds of patients.
    """
    ranks = rankdata(scores, axis=0)
    counts = np.bincount(labels, minlength=scores.shape[1])
    defined = (counts > 0) & (counts < len(labels))
    if not defined.any():
        return None
    permuted = np.empty((replicates, len(labels)), dtype=np.int64)
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        permuted[:, members] = generator.permuted(np.tile(labels[members], (replicates, 1)), axis=1)
    n = len(labels)
    areas = np.full((replicates + 1, scores.shape[1]), np.nan)
    every = np.vstack([labels[None], permuted])
    for k in np.flatnonzero(defined):
        wins = (every == k) @ ranks[:, k] - counts[k] * (counts[k] + 1) / 2
        areas[:, k] = wins / (counts[k] * (n - counts[k]))
    macro = np.nanmean(areas, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        z = (areas - 0.5) / np.sqrt((n + 1) / (12 * counts * (n - counts)))
    largest = np.nanmax(z[1:], axis=1)
    share = (1 + (largest[:, None] >= z[0] - 1e-12).sum(axis=0)) / (1 + replicates)
    return Chance(
        value=float(macro[0]),
        per_class=areas[0],
        p=float((1 + (macro[1:] >= macro[0] - 1e-12).sum()) / (1 + replicates)),
        p_class=np.where(defined, share, np.nan),
        draws=macro[1:],
    )


def auc_interval(
    labels: np.ndarray, scores: np.ndarray, strata: np.ndarray, replicates: int, generator: np.random.Generator
) -> tuple[float, float] | None:
    """BCa 95 % interval of the mean AUC, patients drawn within site and class; None below ten patients.

    Args:
        labels: int [P].
        scores: float [P, K].
        strata: int [P], site.
        replicates: Bootstrap replicates.
        generator: One's own.
    """
    if len(labels) < LEAST_PATIENTS:
        return None
    counts = np.bincount(labels, minlength=scores.shape[1])
    place = np.arange(len(labels))
    areas = [
        WeightedAUC(labels == k, scores[:, k], place) for k in range(scores.shape[1]) if 0 < counts[k] < len(labels)
    ]
    if not areas:
        return None
    cells = np.unique(np.column_stack([strata, labels]), axis=0, return_inverse=True)[1].reshape(-1)

    def mean_area(weights: np.ndarray) -> np.ndarray:
        return np.mean([area(weights) for area in areas], axis=0)[:, None]

    value = float(mean_area(np.ones((1, len(labels))))[0, 0])
    return PatientBootstrap.draw(cells, replicates, generator).intervals([value], mean_area)[0]


def sign_flip(differences: np.ndarray, replicates: int, generator: np.random.Generator) -> float:
    """One-sided P of a mean of paired differences above 0, under random signs; one difference per patient.

    Args:
        differences: float [P].
        replicates: Random sign patterns; all of them are taken where there are no more.
        generator: One's own.
    """
    moved = differences[differences != 0]
    if not len(moved):
        return 1.0
    if 2 ** len(moved) <= replicates:
        patterns = (np.arange(2 ** len(moved))[:, None] >> np.arange(len(moved)) & 1) * 2 - 1
        return float((patterns @ moved >= moved.sum() - 1e-12).mean())
    signs = generator.choice([-1.0, 1.0], (replicates, len(moved)))
    return float((1 + (signs @ moved >= moved.sum() - 1e-12).sum()) / (1 + replicates))
