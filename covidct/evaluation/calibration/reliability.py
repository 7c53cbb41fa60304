"""Do probabilities keep their word? Reliability by bins, the calibration error, and what chance alone would show.

Cases are put into bins of equal mass by their probability; in each bin the mean probability is compared with the share
that came true (expected calibration error: Naeini et al., AAAI 2015). The error is never zero: even a model that is
perfectly calibrated shows one, the larger the fewer the patients. What such a model of the same size would show is
therefore simulated from the probabilities themselves and stands beside every error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from covidct.errors import UsageError
from covidct.evaluation.calibration.cases import Cases
from covidct.evaluation.intervals import LEVEL

MOST_BINS = 15
TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)


def equal_mass_edges(confidence: np.ndarray, bins: int | None = None) -> np.ndarray:
    """Upper edges [b] of bins that hold about the same number of cases; equal values are never parted.

    Args:
        confidence: float [n] in 0..1.
        bins: None means 1.3 times the cube root of n, at most 15: 5 for 50 cases, 9 for 300, 15 from 1,500 on. With
            more, noise inside the bins grows faster than detail.

    Returns:
        Fewer edges than asked for where many cases share a value.
    """
    wanted = min(MOST_BINS, max(1, round(1.3 * len(confidence) ** (1 / 3)))) if bins is None else bins
    shares = np.arange(1, wanted + 1) / wanted
    return np.unique(np.quantile(confidence, shares, method="inverted_cdf"))


def equal_width_edges(bins: int) -> np.ndarray:
    """Upper edges [b] of bins that divide 0..1 evenly: what other people's figures are usually made with."""
    return np.arange(1, bins + 1) / bins


class Errors(NamedTuple):
    """Calibration errors [r], as fractions: mean absolute gap, root mean squared gap, largest gap of a bin."""

    l1: np.ndarray
    l2: np.ndarray
    largest: np.ndarray


@dataclass(frozen=True)
class Bins:
    """One probability against what came true, in bins, kept by patient so that a replicate is a matrix product.

    Args:
        edges: float [b], upper edge of each bin.
        place: int [n], the bin of each case.
        counts: float [patients, b], cases.
        confidence: float [patients, b], summed probabilities.
        hits: float [patients, b], cases that came true.
    """

    edges: np.ndarray
    place: np.ndarray
    counts: np.ndarray
    confidence: np.ndarray
    hits: np.ndarray

    @classmethod
    def of(
        cls, confidence: np.ndarray, hit: np.ndarray, patient: np.ndarray | None = None, edges: np.ndarray | None = None
    ) -> Bins:
        """Sort cases into bins.

        Args:
            confidence: float [n] in 0..1, the stated probability.
            hit: bool [n], whether it came true.
            patient: int [n]; None means that each case is a patient of its own.
            edges: Upper edges; None means bins of equal mass.
        """
        if len(confidence) == 0 or len(confidence) != len(hit):
            raise UsageError(f"{len(confidence)} probabilities for {len(hit)} outcomes; one or more of each is needed")
        patient = np.arange(len(confidence)) if patient is None else patient
        edges = equal_mass_edges(confidence) if edges is None else edges
        place = np.minimum(np.searchsorted(edges, confidence, side="left"), len(edges) - 1)
        shape = (int(patient.max()) + 1, len(edges))
        cell = patient * len(edges) + place
        sums = [
            np.bincount(cell, weights=weight, minlength=shape[0] * shape[1]).reshape(shape)
            for weight in (np.ones(len(cell)), confidence, hit.astype(float))
        ]
        return cls(edges, place, *sums)

    def errors(self, weights: np.ndarray | None = None) -> Errors:
        """The calibration errors under patient weights [r, patients]; None means every patient once (r = 1)."""
        weights = np.ones((1, len(self.counts))) if weights is None else weights
        return gaps_to_errors(weights @ self.counts, weights @ self.confidence, weights @ self.hits)

    def simulated_errors(self, hits: np.ndarray) -> Errors:
        """The errors [r] that other outcomes would show: `hits` [r, b] are cases that came true in each bin."""
        counts, confidence = self.counts.sum(axis=0), self.confidence.sum(axis=0)
        return gaps_to_errors(np.broadcast_to(counts, hits.shape), np.broadcast_to(confidence, hits.shape), hits)


def gaps_to_errors(counts: np.ndarray, confidence: np.ndarray, hits: np.ndarray) -> Errors:
    """From summed cases, probabilities and outcomes [r, b] to calibration errors [r]."""
    totals = counts.sum(axis=1, keepdims=True)
    gaps = np.divide(np.abs(hits - confidence), counts, out=np.zeros_like(hits, dtype=float), where=counts > 0)
    share = counts / totals
    return Errors((share * gaps).sum(axis=1), np.sqrt((share * gaps**2).sum(axis=1)), gaps.max(axis=1))


def error_interval(estimate: float, replicates: np.ndarray) -> tuple[float, float]:
    """Bootstrap interval of a calibration error.

    Noise adds to absolute gaps: the error of a sample is larger than the truth, and a resampled error is larger than
    the sample's by about as much. So the replicates are moved until their mean is the estimate; the lower end is moved
    once more, for the estimate's own excess, and cut at 0. The interval then always holds the estimate. It covers the
    true error where that is well above what an ideal model of the same size shows; near zero only the comparison with
    the ideal model says anything.

    Args:
        estimate: The error of the sample.
        replicates: float [r], of resampled patients.
    """
    excess = max(float(replicates.mean()) - estimate, 0.0)
    low, high = np.quantile(replicates, TAILS)
    return float(np.clip(low - 2 * excess, 0.0, estimate)), float(max(high - excess, estimate))


def ideal_hits(
    cases: Cases, class_bins: Sequence[Bins], top_bins: Bins, simulations: int, generator: np.random.Generator
) -> list[np.ndarray]:
    """How often each bin would come true if the probabilities were right: outcomes drawn from the probabilities.

    The slices of a patient share their label, so they share one random number: each slice's class is right with its own
    probability, and slices that say the same get the same class. Independent draws would make the ideal model look
    better than a model whose errors come in patients ever can.

    Args:
        cases: The cases.
        class_bins: [K], bins of each class's probability.
        top_bins: Bins of the highest probability.
        simulations: s.
        generator: Of the draws.

    Returns:
        K + 1 arrays float [s, bins]: each class, then the highest probability.
    """
    widths = [len(bins.edges) for bins in class_bins]
    offsets = np.concatenate([[0], np.cumsum(widths)])
    flat = np.column_stack([bins.place + offset for bins, offset in zip(class_bins, offsets[:-1], strict=True)])
    limits = np.ascontiguousarray(np.cumsum(cases.probabilities, axis=1)[:, :-1].T)
    rows = np.arange(len(cases))
    by_class, by_top = np.empty((simulations, offsets[-1])), np.empty((simulations, len(top_bins.edges)))
    for number in range(simulations):
        drawn = generator.random(cases.n_patients)[cases.patient]
        label = np.zeros(len(cases), dtype=np.int64)
        for limit in limits:
            label += drawn >= limit
        by_class[number] = np.bincount(flat[rows, label], minlength=offsets[-1])
        by_top[number] = np.bincount(top_bins.place[label == cases.called], minlength=len(top_bins.edges))
    return [*np.split(by_class, offsets[1:-1], axis=1), by_top]
