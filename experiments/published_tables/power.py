"""How often does the audit see one wrong figure, and how often does it accuse a true table?

    python -m experiments.published_tables.power --output experiments/published_tables/power.json

Five classes, one decimal, as in Fu et al., whose classes have 4,887 to 8,897 test images; seeded; ten seconds.
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path

import numpy as np

from covidct.evaluation.published_tables.joint import Cell, Joint
from covidct.evaluation.published_tables.printed import METRICS, Printed, figure
from covidct.evaluation.published_tables.rows import pairs_that_fit
from covidct.files import write_json

UNITS = (1, 2, 3, 5)
"""Edits, in tenths of a point."""


def true_matrix(generator: np.random.Generator, fewest: int, most: int, size: int = 5) -> np.ndarray:
    """A good classifier: 92 to 98.5 % of each class called rightly, the errors spread unevenly."""
    rows = []
    for k in range(size):
        shares = generator.dirichlet(np.full(size, 0.7)) * 0.05 * generator.uniform(0.3, 1.7)
        shares[k] = 0
        shares[k] = 1 - shares.sum()
        rows.append(generator.multinomial(generator.integers(fewest, most + 1), shares))
    return np.array(rows)


def text(value: Fraction) -> str:
    """Percent with one decimal, ties up."""
    tenths = int(1000 * value + Fraction(1, 2))
    return f"{tenths // 10}.{tenths % 10}"


def table(matrix: np.ndarray) -> dict[Cell, str]:
    """The printed figures."""
    total, cells = int(matrix.sum()), {}
    for k in range(len(matrix)):
        own = int(matrix[k].sum())
        fn, fp = own - int(matrix[k, k]), int(matrix[:, k].sum() - matrix[k, k])
        for metric in METRICS:
            value = figure(metric, own, total - own, fn, fp)
            if value is not None:
                cells[k, metric] = text(value)
    return cells


def edited(cells: dict[Cell, str], units: int, generator: np.random.Generator) -> dict[Cell, str]:
    """One figure moved by some tenths of a point, up or down, within 0..100."""
    names = sorted(cells)
    cell = names[generator.integers(len(names))]
    tenths = round(10 * float(cells[cell]))
    moved = [tenths + sign * units for sign in generator.permutation([1, -1]) if 0 <= tenths + sign * units <= 1000]
    return cells | {cell: text(Fraction(int(moved[0]), 1000))}


def impossible(counts: list[int], cells: dict[Cell, str]) -> tuple[bool, bool]:
    """Whether the audit calls a table impossible: by its rows alone, and by the joint matrix."""
    bounds = {cell: Printed.read(printed).bounds("round") for cell, printed in cells.items()}
    total = sum(counts)
    rows = any(
        not pairs_that_fit(own, total - own, {metric: b for (row, metric), b in bounds.items() if row == k})
        for k, own in enumerate(counts)
    )
    return rows, Joint(counts, bounds).matrix() is None


def main() -> None:
    """Run the simulation and write its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=150)
    parser.add_argument("--fewest", type=int, default=500, help="cases of a class, at least")
    parser.add_argument("--most", type=int, default=3000, help="cases of a class, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    generator = np.random.default_rng(given.seed)
    alarms, seen = 0, {units: [0, 0] for units in UNITS}
    for _ in range(given.tables):
        matrix = true_matrix(generator, given.fewest, given.most)
        counts, cells = matrix.sum(axis=1).tolist(), table(matrix)
        alarms += impossible(counts, cells)[1]
        for units in UNITS:
            for place, found in enumerate(impossible(counts, edited(cells, units, generator))):
                seen[units][place] += found
    result = {
        "tables": given.tables,
        "cases": [given.fewest, given.most],
        "seed": given.seed,
        "false_alarms": alarms,
        "detected": {
            f"{units / 10:.1f}": {"rows_alone": rows, "joint": joint} for units, (rows, joint) in seen.items()
        },
    }
    write_json(given.output, result)
    print(result)


if __name__ == "__main__":
    main()
