"""Figures that are means: of several models on the same cases, or of several hospitals.

A mean of PPVs is no PPV of a sum, so the whole numbers behind it are no linear question. Two answers are possible: a
proof that some figure cannot be reached (bounds of one row, from convexity), or an example found by a seeded search,
which is then checked in whole numbers. Where neither succeeds the hypothesis is "not excluded", and that is all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

import numpy as np
from scipy.optimize import linprog

from covidct.evaluation.published_tables.joint import Cell
from covidct.evaluation.published_tables.printed import Bounds, figure

STARTS = 60
ROUNDS = 40
ROUNDINGS_TRIED = 200


@dataclass(frozen=True)
class Unit:
    """One of the things whose figures are averaged.

    Args:
        counts: Cases of each class.
        weight: Its weight in the mean; the weights of all units sum to 1.
    """

    counts: tuple[int, ...]
    weight: Fraction


def row_reach(units: Sequence[Unit], row: int, figures: Mapping[str, Bounds]) -> dict[str, tuple[float, float]]:
    """What the mean PPV and NPV of a class can be at most and at least, given its mean sensitivity and specificity.

    PPV falls with FP and is convex in it. Its mean is therefore largest without a missed case and with all false alarms
    in as few units as can hold them (a corner of what the specificity allows), and not below that of the convex
    problem in which every unit has missed as many as the sensitivity lets it miss. NPV is the mirror image.

    Returns:
        Bounds (low, high) for "ppv" and "npv" where both inputs are printed; safe, and not always attained.
    """
    found: dict[str, tuple[float, float]] = {}
    if "sensitivity" not in figures or "specificity" not in figures:
        return found
    positives = np.array([unit.counts[row] for unit in units], dtype=float)
    negatives = np.array([sum(unit.counts) - unit.counts[row] for unit in units], dtype=float)
    weights = np.array([float(unit.weight) for unit in units])
    if (positives == 0).any() or (negatives == 0).any():
        return found
    sides = {
        "ppv": (positives, negatives, figures["sensitivity"], figures["specificity"]),
        "npv": (negatives, positives, figures["specificity"], figures["sensitivity"]),
    }
    for name, (own, other, hit, rejected) in sides.items():
        ends = [float(end) for end in (hit.low, hit.high, rejected.low, rejected.high) if end is not None]
        if len(ends) < 4:
            continue
        most_missed, least_false, most_false = 1 - ends[0], 1 - ends[3], 1 - ends[2]
        least_hits = own * np.maximum(0, 1 - most_missed / weights)
        found[name] = (
            _lowest(least_hits, other, weights, most_false),
            _highest(own, other, weights, least_false),
        )
    return found


def _highest(hits: np.ndarray, others: np.ndarray, weights: np.ndarray, false_share: float) -> float:
    """Largest sum of w * h / (h + x) with sum of w * x / o = false_share and 0 <= x <= o: at a corner of that set."""
    best = 0.0
    for free in range(len(hits)):
        rest = [place for place in range(len(hits)) if place != free]
        for full in product((0.0, 1.0), repeat=len(rest)):
            left = false_share - float(np.dot(weights[rest], full))
            if -1e-12 <= left <= weights[free] + 1e-12:
                x = np.zeros(len(hits))
                x[rest] = np.array(full) * others[rest]
                x[free] = left / weights[free] * others[free]
                best = max(best, float((weights * hits / (hits + x)).sum()))
    return best


def _lowest(hits: np.ndarray, others: np.ndarray, weights: np.ndarray, false_share: float) -> float:
    """Smallest sum of w * h / (h + x) under the same terms: convex, so where the slopes per unit of x / o agree."""

    def placed(price: float) -> np.ndarray:
        return np.clip(np.sqrt(hits * others / price) - hits, 0, others)

    low, high = 1e-12, 1e12
    for _ in range(200):
        middle = np.sqrt(low * high)
        if float((weights * placed(middle) / others).sum()) > false_share:
            low = middle
        else:
            high = middle
    x = placed(low)
    return float((weights * hits / np.maximum(hits + x, 1e-300)).sum())


def mean_figure(units: Sequence[Unit], matrices: Sequence[np.ndarray], cell: Cell) -> Fraction | None:
    """The mean of a figure over units with whole-number confusion matrices; exact."""
    row, metric = cell
    total = Fraction(0)
    for unit, matrix in zip(units, matrices, strict=True):
        if row < 0:
            value: Fraction | None = Fraction(int(np.trace(matrix)), int(matrix.sum()))
        else:
            positives = unit.counts[row]
            fn = positives - int(matrix[row, row])
            fp = int(matrix[:, row].sum()) - int(matrix[row, row])
            value = figure(metric, positives, sum(unit.counts) - positives, fn, fp)
        if value is None:
            return None
        total += unit.weight * value
    return total


def means_fit(units: Sequence[Unit], matrices: Sequence[np.ndarray], cells: Mapping[Cell, Bounds]) -> bool:
    """Whether the means of whole-number matrices satisfy every figure; exact."""
    for cell, bounds in cells.items():
        value = mean_figure(units, matrices, cell)
        if value is None or bounds.low is None or bounds.high is None:
            if (value is None) != (bounds.low is None):
                return False
            continue
        if value < bounds.low or value > bounds.high:
            return False
        if (bounds.low_open and value == bounds.low) or (bounds.high_open and value == bounds.high):
            return False
    return True


def example(
    units: Sequence[Unit], cells: Mapping[Cell, Bounds], *, starts: int = STARTS, seed: int = 0
) -> list[np.ndarray] | None:
    """Whole-number confusion matrices, one a unit, whose mean figures are the printed ones; None if none was found.

    From seeded starts, linear programs around the current point make the largest miss smaller (sequential linear
    programming); a real solution is then rounded in up to `ROUNDINGS_TRIED` ways. Finding none proves nothing.
    """
    search = _Search(units, cells)
    generator = np.random.default_rng(seed)
    for _ in range(starts):
        x, miss = search.descend(search.start(generator))
        if miss > 0:
            continue
        for trial in range(ROUNDINGS_TRIED):
            lifted = x + (0.5 if trial == 0 else generator.uniform(0, 1, len(x)))
            matrices = search.matrices(np.floor(lifted))
            if matrices is not None and means_fit(units, matrices, cells):
                return matrices
    return None


class _Search:
    """Counts off the diagonal of all units in one vector, and the mean figures with their slopes."""

    def __init__(self, units: Sequence[Unit], cells: Mapping[Cell, Bounds]) -> None:
        self.units, size = units, len(units[0].counts)
        self.cells = [(cell, float(b.low), float(b.high)) for cell, b in cells.items() if b.low is not None]  # type: ignore[arg-type]
        self.pairs = [(u, i, j) for u in range(len(units)) for i in range(size) for j in range(size) if i != j]
        place = np.array(self.pairs)
        self.missed = np.array(
            [[(u, k) == (a, b) for a, b, _ in place] for u in range(len(units)) for k in range(size)]
        )
        self.false = np.array([[(u, k) == (a, c) for a, _, c in place] for u in range(len(units)) for k in range(size)])
        self.most = np.array([units[u].counts[i] for u, i, _ in self.pairs], dtype=float)
        self.size = size

    def start(self, generator: np.random.Generator) -> np.ndarray:
        """Errors as the sensitivities say, spread over units and classes at random."""
        x = np.zeros(len(self.pairs))
        low = {cell: value for cell, value, _ in self.cells}
        for u, unit in enumerate(self.units):
            for k, cases in enumerate(unit.counts):
                share = min(1.0, (1 - low.get((k, "sensitivity"), 0.95)) * generator.uniform(0.2, 1.8))
                here = np.array([(a, b) == (u, k) for a, b, _ in self.pairs])
                x[here] = cases * share * generator.dirichlet(np.ones(self.size - 1))
        return x

    def descend(self, x: np.ndarray) -> tuple[np.ndarray, float]:
        """Make the largest miss smaller; a miss of 0 or less is a solution in real numbers."""
        radius = 0.5
        miss = self._miss(x)
        for _ in range(ROUNDS):
            step = self._step(x, radius)
            if step is None:
                break
            trial = np.clip(x + step, 0, self.most)
            found = self._miss(trial)
            if found < miss - 1e-12:
                gain, x, miss = miss - found, trial, found
                radius = min(1.0, radius * 1.5)
                if gain < 1e-9:
                    break
            else:
                radius /= 4
                if radius < 1e-4:
                    break
        return x, miss

    def _figures(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean figures [cells] and their slopes [cells, unknowns]."""
        fn, fp = self.missed @ x, self.false @ x
        values, slopes = np.zeros(len(self.cells)), np.zeros((len(self.cells), len(x)))
        for place, ((row, metric), _, _) in enumerate(self.cells):
            for u, unit in enumerate(self.units):
                total, w = sum(unit.counts), float(unit.weight)
                if row < 0:
                    here = self.missed[u * self.size : (u + 1) * self.size].sum(axis=0)
                    values[place] += w * (1 - here @ x / total)
                    slopes[place] -= w * here / total
                    continue
                at = u * self.size + row
                own, others = float(unit.counts[row]), float(total - unit.counts[row])
                a, b = fn[at], fp[at]
                value, by_fn, by_fp = _with_slopes(metric, own, others, a, b)
                values[place] += w * value
                slopes[place] += w * (by_fn * self.missed[at] + by_fp * self.false[at])
        return values, slopes

    def _miss(self, x: np.ndarray) -> float:
        values, _ = self._figures(x)
        return max(max(low - v, v - high) for v, (_, low, high) in zip(values, self.cells, strict=True))

    def _step(self, x: np.ndarray, radius: float) -> np.ndarray | None:
        values, slopes = self._figures(x)
        low, high = np.array([c[1] for c in self.cells]), np.array([c[2] for c in self.cells])
        room = np.array([n for unit in self.units for n in unit.counts], dtype=float) - self.missed @ x
        ones, n = np.ones((len(values), 1)), len(x)
        lines = np.vstack(
            [
                np.hstack([slopes, -ones]),
                np.hstack([-slopes, -ones]),
                np.hstack([self.missed, np.zeros((len(room), 1))]),
            ]
        )
        limits = np.concatenate([high - values, values - low, room])
        reach = radius * np.maximum(x, 0.02 * self.most)
        box = [(max(-r, -v), min(r, m - v)) for r, v, m in zip(reach, x, self.most, strict=True)]
        solved = linprog(np.append(np.zeros(n), 1.0), A_ub=lines, b_ub=limits, bounds=[*box, (-1.0, None)])
        return solved.x[:n] if solved.status == 0 else None

    def matrices(self, x: np.ndarray) -> list[np.ndarray] | None:
        """Whole-number matrices, or None where a class would miss more than it has."""
        found = [np.zeros((self.size, self.size), dtype=np.int64) for _ in self.units]
        for (u, i, j), value in zip(self.pairs, x, strict=True):
            found[u][i, j] = int(value)
        for unit, matrix in zip(self.units, found, strict=True):
            left = np.array(unit.counts) - matrix.sum(axis=1)
            if (left < 0).any():
                return None
            np.fill_diagonal(matrix, left)
        return found


def _with_slopes(metric: str, own: float, others: float, fn: float, fp: float) -> tuple[float, float, float]:
    """A figure and its slopes in FN and FP."""
    if metric == "sensitivity":
        return 1 - fn / max(own, 1e-9), -1 / max(own, 1e-9), 0.0
    if metric == "specificity":
        return 1 - fp / max(others, 1e-9), 0.0, -1 / max(others, 1e-9)
    if metric == "accuracy":
        return 1 - (fn + fp) / (own + others), -1 / (own + others), -1 / (own + others)
    hits, wrong = (own - fn, fp) if metric == "ppv" else (others - fp, fn)
    whole = max(hits + wrong, 1e-9)
    by_hit_lost, by_wrong = -wrong / whole**2, -hits / whole**2
    return (hits / whole, by_hit_lost, by_wrong) if metric == "ppv" else (hits / whole, by_wrong, by_hit_lost)
