"""All rows of a table together: is there one confusion matrix of whole numbers behind them?

The rows of a K-class table share their errors: what one class misses another is given. The unknowns are the K(K-1)
counts off the diagonal; every printed figure is one or two linear inequalities in them (`printed.inequalities`).
SciPy's `milp` (HiGHS) decides, in about 0.02 s for five classes. Its "no" is safe because each inequality is given a
quarter of slack, which whole numbers cannot use and rounding errors can; its "yes" is checked again in whole numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, floor

import numpy as np
from scipy.optimize import Bounds as Box
from scipy.optimize import LinearConstraint, milp

from covidct.errors import ResourceError
from covidct.evaluation.published_tables.printed import Bounds, inequalities

Cell = tuple[int, str]
"""A printed figure: (row of its class, name of the figure). Row -1 is the share of all cases called rightly (top-1)."""

TOP1: Cell = (-1, "accuracy")

SLACK = 0.25
SECONDS = 20.0
"""Longest search for one answer. Five classes need hundredths of a second."""


@dataclass(frozen=True)
class Joint:
    """The question for one table.

    Args:
        counts: Cases of each class.
        cells: What each printed figure allows.
    """

    counts: Sequence[int]
    cells: Mapping[Cell, Bounds]
    _places: dict[tuple[int, int], int] = field(init=False, repr=False)
    _lines: dict[Cell, list[tuple[np.ndarray, int]]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        size = len(self.counts)
        pairs = [(true, called) for true in range(size) for called in range(size) if true != called]
        object.__setattr__(self, "_places", {pair: place for place, pair in enumerate(pairs)})
        object.__setattr__(self, "_lines", {cell: self._inequalities(cell) for cell in self.cells})

    def _inequalities(self, cell: Cell) -> list[tuple[np.ndarray, int]]:
        row, metric = cell
        total = sum(self.counts)
        found = []
        for p, q, x, y, limit in inequalities(metric, self.cells[cell]):
            if cell == TOP1:  # every error is one missed case of its class
                found.append((np.full(len(self._places), x, dtype=np.int64), limit - p * total))
                continue
            line = np.zeros(len(self._places), dtype=np.int64)
            for (true, called), place in self._places.items():
                line[place] = x * (true == row) + y * (called == row)
            positives = self.counts[row]
            found.append((line, limit - p * positives - q * (total - positives)))
        return found

    def matrix(self, without: Collection[Cell] = ()) -> np.ndarray | None:
        """A confusion matrix that satisfies every figure but those named, or None if there is none.

        Returns:
            int64 [K, K], rows = truth.

        Raises:
            ResourceError: Not decided within `SECONDS`.
        """
        solved = self._solve(np.zeros(len(self._places)), without)
        if solved is None:
            return None
        found = np.zeros((len(self.counts),) * 2, dtype=np.int64)
        for pair, place in self._places.items():
            found[pair] = round(solved.x[place])
        np.fill_diagonal(found, np.array(self.counts) - found.sum(axis=1))
        if not self.fits(found, without):
            raise ResourceError("the solver's matrix does not hold in whole numbers", remedy="another version of scipy")
        return found

    def extremes(self, weights: np.ndarray, without: Collection[Cell] = ()) -> tuple[int, int] | None:
        """Smallest and largest value of a whole-number sum of the matrix over all matrices that fit.

        Args:
            weights: int [K, K], weight of each entry of the matrix.
            without: Figures that are left out.

        Returns:
            Bounds that hold for every matrix, and are attained unless the search was cut short; None if none fits.
        """
        diagonal = np.diag(weights)
        fixed = int(diagonal @ np.array(self.counts))
        costs = np.zeros(len(self._places))
        for (true, called), place in self._places.items():
            costs[place] = weights[true, called] - diagonal[true]
        low, high = self._solve(costs, without), self._solve(-costs, without)
        if low is None or high is None:
            return None
        ends = [-1e18 if s.mip_dual_bound is None else s.mip_dual_bound for s in (low, high)]
        return fixed + ceil(ends[0] - 1e-4), fixed + floor(-ends[1] + 1e-4)

    def fits(self, matrix: np.ndarray, without: Collection[Cell] = ()) -> bool:
        """Whether a matrix of whole numbers satisfies every figure but those named; exact."""
        if (matrix < 0).any() or (matrix.sum(axis=1) != np.array(self.counts)).any():
            return False
        errors = np.array([matrix[pair] for pair in self._places], dtype=np.int64)
        return all(
            int(line @ errors) <= limit
            for cell, lines in self._lines.items()
            if cell not in without
            for line, limit in lines
        )

    def _solve(self, costs: np.ndarray, without: Collection[Cell]):  # type: ignore[no-untyped-def]
        counts = np.array(self.counts, dtype=np.int64)
        missed = np.zeros((len(counts), len(self._places)))
        for (true, _), place in self._places.items():
            missed[true, place] = 1
        used = [entry for cell, lines in self._lines.items() if cell not in without for entry in lines]
        lines = np.vstack([missed, *(line for line, _ in used)])
        limits = np.concatenate([counts, [limit for _, limit in used]]) + SLACK
        most = np.array([counts[true] for true, _ in self._places])
        solved = milp(
            costs,
            integrality=np.ones(len(costs)),
            bounds=Box(np.zeros(len(costs)), most),
            constraints=LinearConstraint(lines, -np.inf, limits),
            options={"time_limit": SECONDS, "mip_rel_gap": 0.0},
        )
        if solved.status == 2:
            return None
        if solved.x is None:
            raise ResourceError(
                f"whether {len(counts)} classes fit together was not decided in {SECONDS:g} s",
                remedy="audit fewer classes at a time",
            )
        return solved
