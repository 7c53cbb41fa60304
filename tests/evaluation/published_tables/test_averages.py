"""Figures that are means: the bounds of a row against sampling, the search against tables that are means."""

from fractions import Fraction

import numpy as np
import pytest

from covidct.evaluation.published_tables.averages import Unit, example, mean_figure, means_fit, row_reach
from covidct.evaluation.published_tables.printed import Printed

from .printing import METRICS, bounds_of, figures, printed, random_matrix


@pytest.mark.parametrize("seed", range(3))
def test_no_mean_is_outside_its_bounds(seed):
    """250 random ways to spread the errors over units, extreme ones among them."""
    generator = np.random.default_rng(seed)
    number = int(generator.integers(2, 5))
    counts = [(int(generator.integers(5, 60)), int(generator.integers(5, 90))) for _ in range(number)]
    weights = [Fraction(int(w)) for w in generator.integers(1, 5, number)]
    units = [Unit(c, w / sum(weights)) for c, w in zip(counts, weights, strict=True)]
    for _ in range(250):
        missed, false = (generator.choice([0, 0.05, 0.4, 1], number) for _ in range(2))
        errors = [
            (int(generator.binomial(p, missed[u])), int(generator.binomial(q, false[u])))
            for u, (p, q) in enumerate(counts)
        ]
        each = [figures(p, q, *e) for (p, q), e in zip(counts, errors, strict=True)]
        if any(value is None for values in each for value in values.values()):
            continue
        mean = {m: sum(u.weight * values[m] for u, values in zip(units, each, strict=True)) for m in METRICS}
        given = {m: Printed.read(printed(mean[m], 2)).bounds("round") for m in ("sensitivity", "specificity")}
        for metric, (low, high) in row_reach(units, 0, given).items():
            assert low - 1e-9 <= float(mean[metric]) <= high + 1e-9


def test_all_false_alarms_in_one_model_attain_the_bound():
    """Five models, 100 false alarms in all, no miss: the mean PPV is largest when one model has them all."""
    units = [Unit((1000, 2000), Fraction(1, 5))] * 5
    exact = {
        "sensitivity": Printed.read("100.000").bounds("round"),
        "specificity": Printed.read("99.000").bounds("round"),
    }
    _, high = row_reach(units, 0, exact)["ppv"]
    assert high == pytest.approx((4 + 1000 / 1100) / 5, abs=2e-5)


@pytest.mark.parametrize("seed", range(2))
def test_a_table_of_means_is_explained_by_whole_numbers(seed):
    generator = np.random.default_rng(seed)
    matrices = [random_matrix(generator, 4, 1500, skill) for skill in (0.97, 0.9)]
    units = [Unit(tuple(int(n) for n in m.sum(axis=1)), Fraction(1, 2)) for m in matrices]
    cells = {(k, m): Printed.read(printed(mean_figure(units, matrices, (k, m)))) for k in range(4) for m in METRICS}
    bounds = bounds_of(cells)
    assert means_fit(units, matrices, bounds)
    before = np.random.get_state()[1].copy()  # noqa: NPY002 (it is the global state that is looked at)
    found, again = (example(units, bounds, starts=20, seed=seed) for _ in range(2))
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    assert found is not None
    assert all((a == b).all() for a, b in zip(found, again, strict=True))
    assert means_fit(units, found, bounds)
    for unit, matrix in zip(units, found, strict=True):
        assert tuple(matrix.sum(axis=1)) == unit.counts
        assert (matrix >= 0).all()
