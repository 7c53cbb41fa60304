"""One row of a table (one class against the rest): which whole numbers of errors could give its figures.

For each number of missed cases FN the false alarms FP that satisfy a figure are one interval of whole numbers, so all
pairs (FN, FP) are known from two vectors, exactly and at once, however large the table is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations

import numpy as np

from covidct.evaluation.published_tables.printed import METRICS, Bounds, figure, inequalities


@dataclass(frozen=True)
class Pairs:
    """All pairs (FN, FP) that satisfy some figures: for each FN in `fn`, every FP from `low` to `high`.

    Args:
        positives: Cases of the class.
        negatives: Cases of all other classes.
        fn: int64 [n].
        low: int64 [n].
        high: int64 [n], >= low.
    """

    positives: int
    negatives: int
    fn: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def __bool__(self) -> bool:
        return len(self.fn) > 0

    def __len__(self) -> int:
        return int((self.high - self.low + 1).sum())

    def holds(self, fn: int, fp: int) -> bool:
        """Whether a pair is among them."""
        here = np.flatnonzero(self.fn == fn)
        return bool(len(here)) and bool(self.low[here[0]] <= fp <= self.high[here[0]])

    @property
    def fn_range(self) -> tuple[int, int]:
        """Fewest and most missed cases; not empty."""
        return int(self.fn.min()), int(self.fn.max())

    @property
    def fp_range(self) -> tuple[int, int]:
        """Fewest and most false alarms; not empty."""
        return int(self.low.min()), int(self.high.max())

    def attainable(self, metric: str) -> tuple[Fraction, Fraction] | None:
        """Smallest and largest value of a figure over the pairs; None if no pair defines it.

        For a given FN every figure is monotone in FP, so its extremes lie at the ends of the intervals.
        """
        ends = {(int(n), int(m)) for side in (self.low, self.high) for n, m in zip(self.fn, side, strict=True)}
        values = [figure(metric, self.positives, self.negatives, fn, fp) for fn, fp in _outline(ends)]
        defined = [value for value in values if value is not None]
        return (min(defined), max(defined)) if defined else None


def _outline(pairs: set[tuple[int, int]], most: int = 4000) -> Iterable[tuple[int, int]]:
    """The pairs, or of very many those on the convex hull: a ratio of linear forms is extreme at a corner."""
    if len(pairs) <= most:
        return pairs
    from scipy.spatial import ConvexHull, QhullError

    points = np.array(sorted(pairs))
    try:
        return [(int(a), int(b)) for a, b in points[ConvexHull(points).vertices]]
    except QhullError:  # all on one line
        return [(int(a), int(b)) for a, b in (points[0], points[-1])]


def pairs_that_fit(positives: int, negatives: int, figures: Mapping[str, Bounds]) -> Pairs:
    """All (FN, FP) with 0 <= FN <= positives and 0 <= FP <= negatives that satisfy every given figure.

    Args:
        positives: Cases of the class.
        negatives: Cases of all other classes.
        figures: Bounds by the name of the figure (`printed.METRICS`).
    """
    fn = np.arange(positives + 1, dtype=np.int64)
    low, high = np.zeros_like(fn), np.full_like(fn, negatives)
    for metric, bounds in figures.items():
        for p, q, x, y, limit in inequalities(metric, bounds):
            room = limit - p * positives - q * negatives - x * fn  # y * FP <= room
            if y > 0:
                high = np.minimum(high, room // y)
            elif y < 0:
                low = np.maximum(low, -(room // -y))
            else:
                high = np.where(room >= 0, high, -1)
    keep = low <= high
    return Pairs(positives, negatives, fn[keep], low[keep], high[keep])


def conflicts(positives: int, negatives: int, figures: Mapping[str, Bounds]) -> list[tuple[str, ...]]:
    """The smallest groups of figures that no counts satisfy together: single figures, pairs, triples and so on.

    Each group is minimal: without any one of its figures it could be true.
    """
    found: list[tuple[str, ...]] = []
    names = [name for name in METRICS if name in figures]
    for size in range(1, len(names) + 1):
        for group in combinations(names, size):
            if any(set(smaller) <= set(group) for smaller in found):
                continue
            if not pairs_that_fit(positives, negatives, {name: figures[name] for name in group}):
                found.append(group)
    return found


def most_together(positives: int, negatives: int, figures: Mapping[str, Bounds]) -> int:
    """How many of a row's figures can be true at once."""
    groups = conflicts(positives, negatives, figures)
    for size in range(len(figures), 0, -1):
        for kept in combinations(figures, size):
            if not any(set(group) <= set(kept) for group in groups):
                return size
    return 0
