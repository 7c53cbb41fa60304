"""Paired proportions against published tables, brute force and each other."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from covidct.errors import UsageError
from covidct.evaluation.significance.paired import (
    PairedTable,
    cochran,
    difference_interval,
    mcnemar,
    pairwise,
)

APPROVAL = PairedTable(794, 150, 86, 570)  # Agresti, evaluation.md B.2
RARE = PairedTable(9945, 25, 15, 15)
# evaluation.md B.2, the SAS drug data: cases by (drug A, B, C) favourable or not
DRUGS = {"FFF": 6, "UFF": 2, "FFU": 16, "UFU": 4, "FUF": 2, "UUF": 6, "FUU": 4, "UUU": 6}


def drugs() -> np.ndarray:
    """bool [3, 46]."""
    return np.array([[letter == "F" for letter in kind] for kind, n in DRUGS.items() for _ in range(n)]).T


@pytest.mark.parametrize(
    ("table", "method", "statistic", "p"),
    [
        (APPROVAL, "chi2", 17.3559, 3.10e-5),
        (APPROVAL, "cc", 16.8178, None),
        (APPROVAL, "exact", None, 3.716e-5),
        (RARE, "cc", 2.025, 0.1547),
        (RARE, "exact", None, 0.1539),
        (PairedTable(40, 11, 1, 9), "exact", None, 0.00634766),
    ],
)
def test_mcnemar_as_published(table, method, statistic, p):
    found = mcnemar(table, method=method)
    assert (found.statistic is None) == (statistic is None)
    assert statistic is None or found.statistic == pytest.approx(statistic, abs=6e-5)
    assert p is None or found.p == pytest.approx(p, rel=2e-3 if p < 1e-3 else 5e-4)


def test_few_discordant_patients_are_tested_exactly():
    assert mcnemar(PairedTable(9, 18, 6, 0)).name == "McNemar, exact"
    assert mcnemar(PairedTable(9, 18, 7, 0)).name == "McNemar"
    assert mcnemar(PairedTable(9, 0, 0, 3)).p is None
    with pytest.raises(UsageError, match="midp"):
        mcnemar(APPROVAL, method="midp")


def test_cochran_as_published():
    found = cochran(drugs())
    assert drugs().sum(axis=1).tolist() == [28, 28, 16]
    assert (found.statistic, found.df) == (pytest.approx(8.470588, abs=1e-6), 2)
    assert found.p == pytest.approx(0.0144756, abs=5e-8)
    apart = pairwise(drugs(), method="exact")
    assert set(apart) == {(0, 1), (0, 2), (1, 2)}
    assert apart[0, 2][0].p == pytest.approx(0.0356981, abs=5e-8)
    assert apart[0, 2][1] == pytest.approx(3 * 0.0356981, abs=2e-7)  # Holm


def test_cochran_of_two_is_mcnemar_and_of_one_is_refused():
    first, second = drugs()[[0, 2]]
    assert cochran(drugs()[[0, 2]]).statistic == pytest.approx(
        mcnemar(PairedTable.of(first, second), method="chi2").statistic
    )
    assert cochran(drugs()[[0, 0, 0]]).p is None
    with pytest.raises(UsageError, match="two or more"):
        cochran(drugs()[:1])


@pytest.mark.parametrize(("method", "ends"), [("newcombe", (-0.507, -0.026)), ("tango", (-0.517, -0.026))])
def test_the_difference_as_published(method, ends):
    # Airway hyper-responsiveness before and after transplantation: Fagerland, Lydersen and Laake 2014
    assert difference_interval(PairedTable(1, 1, 7, 12), method=method) == pytest.approx(ends, abs=5e-4)


def by_brute_force(table: PairedTable) -> tuple[float, float]:
    """Tango's interval with the constrained likelihood maximised by a numerical search."""
    b, c, rest, n = table.first, table.second, table.both + table.neither, table.n

    def z(delta: float) -> float:
        def loss(two: float) -> float:
            one = two + delta
            return -(b * np.log(one) + c * np.log(two) + rest * np.log(1 - one - two))

        low, high = max(0, -delta) + 1e-12, (1 - delta) / 2 - 1e-12
        two = optimize.minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
        return (b - c - n * delta) / np.sqrt(n * (2 * two + delta - delta**2))

    limit, estimate = stats.norm.ppf(0.975), (b - c) / n
    return (
        optimize.brentq(lambda delta: z(delta) - limit, -0.99, estimate),
        optimize.brentq(lambda delta: z(delta) + limit, estimate, 0.99),
    )


@pytest.mark.parametrize("table", [PairedTable(36, 12, 2, 5), PairedTable(53, 8, 16, 9), APPROVAL])
def test_tango_by_brute_force(table):
    assert difference_interval(table, method="tango") == pytest.approx(by_brute_force(table), abs=1e-6)


counts = st.integers(0, 25)


@settings(deadline=None, max_examples=60)
@given(counts, counts, counts, counts, st.sampled_from(["newcombe", "tango"]))
def test_the_interval_holds_the_difference_and_turns_with_the_raters(both, first, second, neither, method):
    table, turned = PairedTable(both, first, second, neither), PairedTable(both, second, first, neither)
    if not table.n:
        assert (table.difference, difference_interval(table, method=method)) == (None, None)
        return
    low, high = difference_interval(table, method=method)
    assert -1 <= low <= table.difference + 1e-9
    assert table.difference - 1e-9 <= high <= 1
    assert difference_interval(turned, method=method) == pytest.approx((-high, -low), abs=1e-6)


def test_raters_of_different_lengths_are_refused():
    with pytest.raises(UsageError, match="same length"):
        PairedTable.of(np.ones(4, bool), np.ones(5, bool))
    with pytest.raises(UsageError, match="wald"):
        difference_interval(APPROVAL, method="wald")
