"""Tables printed from known confusion matrices, by decimal arithmetic of its own."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal, getcontext
from fractions import Fraction

import numpy as np

from covidct.evaluation.published_tables.printed import METRICS, Printed

getcontext().prec = 50
MODES = {"round": (ROUND_HALF_UP, ROUND_HALF_EVEN), "trunc": (ROUND_DOWN,), "ceil": (ROUND_CEILING,)}


def figures(positives, negatives, fn, fp):
    """The five figures as plain fractions, None for 0 of 0, from the textbook definitions."""
    tp, tn = positives - fn, negatives - fp
    parts = {"accuracy": (tp + tn, tp + tn + fp + fn), "sensitivity": (tp, tp + fn), "specificity": (tn, tn + fp),
             "ppv": (tp, tp + fp), "npv": (tn, tn + fn)}  # fmt: skip
    return {name: Fraction(int(a), int(b)) if b else None for name, (a, b) in parts.items()}


def printed(value, decimals=1, how=ROUND_HALF_UP):
    """A fraction as a percentage with that many decimals."""
    if value is None:
        return "–"
    exact = Decimal(100) * Decimal(value.numerator) / Decimal(value.denominator)
    return str(exact.quantize(Decimal(1).scaleb(-decimals), rounding=how))


def table_of(matrix, decimals=1, how=ROUND_HALF_UP):
    """Printed cells by (row, metric) of a confusion matrix, rows = truth."""
    total, cells = int(matrix.sum()), {}
    for k in range(len(matrix)):
        positives = int(matrix[k].sum())
        fn, fp = positives - int(matrix[k, k]), int(matrix[:, k].sum() - matrix[k, k])
        for metric, value in figures(positives, total - positives, fn, fp).items():
            cells[k, metric] = Printed.read(printed(value, decimals, how))
    return cells


def bounds_of(cells, mode="round"):
    return {cell: figure.bounds(mode) for cell, figure in cells.items()}


def random_matrix(generator, size=5, most=3000, skill=0.95):
    """A confusion matrix of a good classifier."""
    rows = []
    for k in range(size):
        shares = generator.dirichlet(np.full(size, 0.7)) * (1 - skill) * generator.uniform(0.3, 1.7)
        shares[k] = 0
        shares[k] = 1 - shares.sum()
        rows.append(generator.multinomial(generator.integers(most // 6, most), shares))
    return np.array(rows)


__all__ = ["METRICS", "MODES", "bounds_of", "figures", "printed", "random_matrix", "table_of"]
