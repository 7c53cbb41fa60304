"""Rows of a table: the exact pairs against brute force, and no false alarm over thousands of real rows."""

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest

from covidct.errors import DataRefused
from covidct.evaluation.published_tables.printed import METRICS, Printed, figure, inequalities
from covidct.evaluation.published_tables.rows import conflicts, most_together, pairs_that_fit

from .printing import MODES, figures, printed


def _allowed(value, text, mode):
    """Whether a fraction may be printed so; written down apart from the code under test."""
    if text == "–" or value is None:
        return (text == "–") == (value is None)
    decimals = len(text.partition(".")[2])
    return text in {printed(value, decimals, how) for how in MODES[mode]}


@pytest.mark.parametrize("mode", ["trunc", "ceil"])
@pytest.mark.parametrize("seed", range(6))
def test_pairs_are_those_of_brute_force(mode, seed):
    generator = np.random.default_rng(seed)
    positives, negatives = int(generator.integers(1, 25)), int(generator.integers(1, 40))
    true = figures(positives, negatives, int(generator.integers(positives + 1)), int(generator.integers(negatives + 1)))
    decimals = int(generator.integers(0, 2))
    names = [name for name in METRICS if generator.random() < 0.6] or ["ppv"]
    texts = {name: printed(true[name], decimals, MODES[mode][0]) for name in names}
    pairs = pairs_that_fit(
        positives, negatives, {name: Printed.read(text).bounds(mode) for name, text in texts.items()}
    )
    brute = {
        (fn, fp)
        for fn in range(positives + 1)
        for fp in range(negatives + 1)
        if all(_allowed(figures(positives, negatives, fn, fp)[name], text, mode) for name, text in texts.items())
    }
    ours = {
        (int(a), b) for a, low, high in zip(pairs.fn, pairs.low, pairs.high, strict=True) for b in range(low, high + 1)
    }
    assert ours == brute
    assert len(pairs) == len(brute) > 0
    for name in METRICS:
        values = [v for v in (figures(positives, negatives, *pair)[name] for pair in brute) if v is not None]
        assert pairs.attainable(name) == ((min(values), max(values)) if values else None)


@pytest.mark.parametrize("mode", MODES)
def test_no_real_row_is_called_impossible(mode):
    """4,000 rows for each way of rounding, 20,000 figures; all decimals; empty and perfect classes among them."""
    generator = np.random.default_rng(5)
    for number in range(4000):
        positives, negatives = (int(n) for n in generator.integers(0, [300, 900][:: 1 if number % 2 else -1]))
        fn = int(generator.binomial(positives, generator.choice([0, 0.001, 0.05, 0.5, 1])))
        fp = int(generator.binomial(negatives, generator.choice([0, 0.001, 0.05, 0.5, 1])))
        how = MODES[mode][number % len(MODES[mode])]
        for name, value in figures(positives, negatives, fn, fp).items():
            assert figure(name, positives, negatives, fn, fp) == value
            bounds = Printed.read(printed(value, number % 4, how)).bounds(mode)
            for p, q, x, y, limit in inequalities(name, bounds):
                assert p * positives + q * negatives + x * fn + y * fp <= limit, (name, positives, negatives, fn, fp)


def test_large_rows_are_exact_and_quick():
    positives, negatives, fn, fp = 2_000_000, 3_000_000, 1234, 98_765
    texts = {name: printed(value, 3) for name, value in figures(positives, negatives, fn, fp).items()}
    pairs = pairs_that_fit(
        positives, negatives, {name: Printed.read(text).bounds("round") for name, text in texts.items()}
    )
    assert pairs.holds(fn, fp)
    assert not pairs.holds(fn + 500, fp)


def test_conflicts_are_minimal_and_complete():
    """A row with one wrong figure: each group contradicts itself and is minimal, and none is lost."""
    true = figures(500, 1500, 20, 30)
    texts = {name: printed(value) for name, value in true.items()} | {"ppv": "90.0"}
    bounds = {name: Printed.read(text).bounds("round") for name, text in texts.items()}
    groups = conflicts(500, 1500, bounds)
    assert groups
    assert all("ppv" in group for group in groups)
    for size in range(1, 6):
        for chosen in combinations(METRICS, size):
            impossible = not pairs_that_fit(500, 1500, {name: bounds[name] for name in chosen})
            assert impossible == any(set(group) <= set(chosen) for group in groups)
    assert most_together(500, 1500, bounds) == 4


@pytest.mark.parametrize(
    ("text", "mode", "low", "high"),
    [
        ("99.2", "round", Fraction(9915, 10000), Fraction(9925, 10000)),
        ("99.20", "round", Fraction(99195, 100000), Fraction(99205, 100000)),
        ("99.2", "trunc", Fraction(992, 1000), Fraction(993, 1000)),
        ("99.2", "ceil", Fraction(991, 1000), Fraction(992, 1000)),
        ("100.0", "round", Fraction(9995, 10000), Fraction(1)),
        ("0", "round", Fraction(0), Fraction(5, 1000)),
        (">99.9", "round", Fraction(999, 1000), Fraction(1)),
        ("<0.1 %", "trunc", Fraction(0), Fraction(1, 1000)),
        ("–", "round", None, None),
    ],
)
def test_what_a_printed_figure_allows(text, mode, low, high):
    assert Printed.read(text).bounds(mode)[:2] == (low, high)


@pytest.mark.parametrize("text", ["", "about 99", "101.0", "1e2", "-3", "99,2"])
def test_what_is_no_printed_figure(text):
    with pytest.raises(DataRefused):
        Printed.read(text)
