"""A table in shares of all cases: which class mixes could give it, and how wrong its figures would have to be.

With everything divided by the number of cases the unknowns are real numbers, so a linear program (HiGHS through SciPy)
answers. A mix that fails here fails for every number of cases; one that passes may still fail for a given number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from scipy.optimize import linprog

from covidct.evaluation.published_tables.joint import TOP1, Cell
from covidct.evaluation.published_tables.printed import Bounds, Printed, inequalities

WIDEST = 0.05
"""Half-widths (fractions) beyond this are not looked for: five points are no rounding."""


@dataclass(frozen=True)
class _Program:
    """Inequalities over [share of each class, share of each pair (true, called)]."""

    lines: np.ndarray
    limits: np.ndarray


def mix_ranges(size: int, cells: Mapping[Cell, Bounds]) -> list[tuple[float, float]] | None:
    """Smallest and largest share of each class over all mixes that fit.

    Args:
        size: Number of classes.
        cells: What each printed figure allows.

    Returns:
        One (low, high) a class, fractions of all cases; None if no mix fits.
    """
    program = _program(size, cells)
    found = []
    for row in range(size):
        costs = np.zeros(program.lines.shape[1])
        costs[row] = 1
        ends = [_solve(program, size, side * costs) for side in (1, -1)]
        if ends[0] is None or ends[1] is None:
            return None
        found.append((float(ends[0] @ costs), float(ends[1] @ costs)))
    return found


def smallest_half_width(
    size: int, cells: Mapping[Cell, Printed], counts: Sequence[int] | None = None, precision: float = 1e-6
) -> float | None:
    """How far every printed figure must be allowed to be off for the table to be possible, in real numbers.

    Args:
        size: Number of classes.
        cells: The printed figures.
        counts: Cases of each class, of which only the mix counts; None: any mix.
        precision: Of the result, a fraction.

    Returns:
        A fraction (0.0005 is 0.05 points), to the next `precision` upwards; None above `WIDEST`.
    """
    mix = None if counts is None else np.array(counts) / sum(counts)

    def possible(half: Fraction) -> bool:
        program = _program(size, {cell: printed.within(half) for cell, printed in cells.items()})
        return _solve(program, size, np.zeros(program.lines.shape[1]), mix) is not None

    steps = round(WIDEST / precision)
    if not possible(Fraction(steps) * Fraction(precision).limit_denominator()):
        return None
    low, high = -1, steps
    while high - low > 1:
        middle = (low + high) // 2
        if possible(middle * Fraction(precision).limit_denominator()):
            high = middle
        else:
            low = middle
    return high * precision


def _program(size: int, cells: Mapping[Cell, Bounds]) -> _Program:
    pairs = [(true, called) for true in range(size) for called in range(size) if true != called]
    lines, limits = [], []
    for row in range(size):  # a class cannot miss more than it has
        line = np.zeros(size + len(pairs))
        line[row] = -1
        line[size:] = [true == row for true, _ in pairs]
        lines.append(line)
        limits.append(0.0)
    for cell, bounds in cells.items():
        row, metric = cell
        for p, q, fn, fp, _ in inequalities(metric, bounds)[:2]:  # the third only asks for a case at all
            line = np.zeros(size + len(pairs))
            if cell == TOP1:
                line[size:] = fn
                limit = -p
            else:
                line[row] = p - q  # Q = 1 - P
                line[size:] = [fn * (true == row) + fp * (called == row) for true, called in pairs]
                limit = -q
            scale = max(float(np.abs(line).max()), 1e-300)
            lines.append(line / scale)
            limits.append(limit / scale)
    return _Program(np.array(lines), np.array(limits))


def _solve(program: _Program, size: int, costs: np.ndarray, mix: np.ndarray | None = None) -> np.ndarray | None:
    others = program.lines.shape[1] - size
    box = [(0.0, 1.0) if mix is None else (mix[row], mix[row]) for row in range(size)] + [(0.0, 1.0)] * others
    whole = np.concatenate([np.ones(size), np.zeros(others)])[None]
    options = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    solved = linprog(
        costs, A_ub=program.lines, b_ub=program.limits, A_eq=whole, b_eq=[1.0], bounds=box, options=options
    )
    return solved.x if solved.status == 0 else None
