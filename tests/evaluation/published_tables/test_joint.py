"""All rows together: against every matrix of a small table, and over real matrices."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covidct.evaluation.published_tables.joint import TOP1, Joint
from covidct.evaluation.published_tables.mix import mix_ranges, smallest_half_width
from covidct.evaluation.published_tables.printed import Printed
from covidct.evaluation.published_tables.wrong_cells import smallest_wrong_sets

from .printing import MODES, bounds_of, printed, random_matrix, table_of


def _all_matrices(counts):
    rows = [[row for row in product(range(n + 1), repeat=len(counts)) if sum(row) == n] for n in counts]
    return [np.array(rows) for rows in product(*rows)]


def _edited(cells, generator, units):
    """One figure off by some units of its last decimal."""
    names = sorted(cell for cell, figure in cells.items() if figure.value is not None)
    cell = names[generator.integers(len(names))]
    figure = cells[cell]
    for sign in generator.permutation([1, -1]):
        value = figure.value + int(sign) * units * figure.unit
        if 0 <= value <= 1:
            return cells | {cell: Printed.read(printed(value))}
    return cells


@pytest.mark.parametrize("seed", range(5))
def test_three_classes_against_every_matrix(seed):
    """Feasibility, bounds of each entry and the smallest wrong sets, by trying all matrices."""
    generator = np.random.default_rng(seed)
    counts = [3, 4, 4]
    true = np.array([generator.multinomial(n, generator.dirichlet(np.ones(3))) for n in counts])
    texts = table_of(true, 0)
    if seed % 2:
        names = sorted(texts)
        for cell in generator.permutation(len(names))[:2]:
            texts[names[cell]] = Printed.read(str(generator.integers(101)))
    cells = bounds_of(texts)
    joint = Joint(counts, cells)
    everything = _all_matrices(counts)
    # each matrix as its set of true figures, decided one figure at a time
    single = {cell: Joint(counts, {cell: bounds}) for cell, bounds in cells.items()}
    held = [frozenset(cell for cell in cells if single[cell].fits(matrix)) for matrix in everything]
    fitting = [matrix for matrix, figures in zip(everything, held, strict=True) if len(figures) == len(cells)]
    found = joint.matrix()
    assert (found is not None) == bool(fitting)
    for entry in np.ndindex(3, 3):
        weights = np.zeros((3, 3), dtype=int)
        weights[entry] = 1
        values = [int(matrix[entry]) for matrix in fitting]
        assert joint.extremes(weights) == ((min(values), max(values)) if values else None)
    least = min(len(cells) - len(figures) for figures in held)
    brute = {frozenset(cells) - figures for figures in held if len(cells) - len(figures) == least}
    assert {frozenset(cells) for cells in smallest_wrong_sets(joint)} == brute


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.integers(0, 2), st.sampled_from(list(MODES)))
def test_no_real_table_is_called_impossible(seed, size, decimals, mode):
    generator = np.random.default_rng(seed)
    matrix = random_matrix(generator, size, int(generator.choice([12, 60, 3000])), generator.choice([0.5, 0.9, 0.99]))
    total = int(matrix.sum())
    cells = bounds_of(table_of(matrix, decimals, MODES[mode][0]), mode)
    top1 = printed(Fraction(int(np.trace(matrix)), total), decimals, MODES[mode][0])
    joint = Joint(matrix.sum(axis=1).tolist(), cells | {TOP1: Printed.read(top1).bounds(mode)})
    assert joint.fits(matrix)
    found = joint.matrix()
    assert found is not None
    assert joint.fits(found)


def test_a_top1_accuracy_that_the_rows_do_not_allow():
    matrix = np.array([[90, 6, 4], [5, 180, 15], [2, 8, 290]])
    cells = bounds_of(table_of(matrix))
    counts = matrix.sum(axis=1).tolist()
    assert Joint(counts, cells | {TOP1: Printed.read("93.3").bounds("round")}).matrix() is not None  # 560 of 600
    wrong = Joint(counts, cells | {TOP1: Printed.read("94.3").bounds("round")})
    assert wrong.matrix() is None
    assert smallest_wrong_sets(wrong) == [(TOP1,)]


def test_rows_that_hold_alone_and_not_together():
    """What the joint matrix adds: each row is possible, but all classes miss more than they are given."""
    counts = [1000, 1000, 1000]
    texts = {
        (k, name): Printed.read(text)
        for k in range(3)
        for name, text in (("sensitivity", "90.0"), ("specificity", "99.0"))
    }
    joint = Joint(counts, bounds_of(texts))
    assert joint.matrix() is None
    assert all(
        Joint(counts, {c: b for c, b in joint.cells.items() if c[0] == k}).matrix() is not None for k in range(3)
    )
    assert smallest_half_width(3, texts, counts) == pytest.approx(0.08 / 3, abs=2e-6)  # 10 - t = 2 (1 + t)


def test_power_does_not_fall():
    """Measured over 150 tables in experiments/published_tables: 65, 85, 91 and 97 % of single edits are seen."""
    generator = np.random.default_rng(11)
    seen = dict.fromkeys((1, 2, 3, 5), 0)
    for _ in range(40):
        matrix = random_matrix(generator)
        counts = matrix.sum(axis=1).tolist()
        texts = table_of(matrix)
        assert Joint(counts, bounds_of(texts)).matrix() is not None
        for units in seen:
            seen[units] += Joint(counts, bounds_of(_edited(texts, generator, units))).matrix() is None
    assert seen[1] >= 18
    assert seen[2] >= 28
    assert seen[3] >= 31
    assert seen[5] >= 35


def test_the_true_mix_is_within_the_inverted_one():
    generator = np.random.default_rng(3)
    for _ in range(5):
        matrix = random_matrix(generator, 4)
        texts = table_of(matrix)
        shares = matrix.sum(axis=1) / matrix.sum()
        ranges = mix_ranges(4, bounds_of(texts))
        assert all(low - 1e-9 <= share <= high + 1e-9 for share, (low, high) in zip(shares, ranges, strict=True))
        assert smallest_half_width(4, texts, matrix.sum(axis=1).tolist()) <= 0.0005 + 1e-6


def test_pairs_of_classes_are_enough():
    """Two classes: what one misses, the other is given."""
    cells = {
        (0, "sensitivity"): Printed.read("90.0"),
        (1, "sensitivity"): Printed.read("80.0"),
        (0, "ppv"): Printed.read("81.8"),
    }
    found = Joint([100, 100], bounds_of(cells)).matrix()
    assert found.tolist() == [[90, 10], [20, 80]]
