"""Right and wrong on the same cases, one case a patient: McNemar, Cochran, and the difference with its interval.

Two raters of the same patients differ only where one is right and the other wrong; those patients are the evidence and
the others are not. Where a patient has several cases use `clustered`: a McNemar test on slices counts each patient a
hundred times.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from covidct.errors import UsageError
from covidct.evaluation.comparisons import holm
from covidct.evaluation.intervals import LEVEL, wilson

EXACT_BELOW = 25
"""Discordant patients below which McNemar's test is the exact binomial one."""

MCNEMAR = ("auto", "exact", "chi2", "cc")
DIFFERENCES = ("newcombe", "tango")


@dataclass(frozen=True)
class Test:
    """A test's outcome.

    Args:
        name: Which test it was.
        p: Two-sided, or None where there is nothing to test (no discordant pair).
        statistic: The chi-squared or Q, or None for an exact test.
        df: Degrees of freedom of the statistic, or None.
    """

    name: str
    p: float | None
    statistic: float | None = None
    df: int | None = None

    __test__ = False  # for pytest, which takes every class called Test for its own

    def as_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        return dict(vars(self))


@dataclass(frozen=True)
class PairedTable:
    """How two raters fare on the same cases.

    Args:
        both: Both are right.
        first: Only the first is.
        second: Only the second is.
        neither: Neither is.
    """

    both: int
    first: int
    second: int
    neither: int

    @classmethod
    def of(cls, first: np.ndarray, second: np.ndarray) -> PairedTable:
        """Count two bool [n] of the same cases."""
        first, second = _bools(first, second)
        pairs = [(first & second), (first & ~second), (~first & second), (~first & ~second)]
        return cls(*(int(pair.sum()) for pair in pairs))

    @property
    def n(self) -> int:
        """Cases."""
        return self.both + self.first + self.second + self.neither

    @property
    def difference(self) -> float | None:
        """Share right of the first minus that of the second; None without a case."""
        return (self.first - self.second) / self.n if self.n else None


def mcnemar(table: PairedTable, *, method: str = "auto") -> Test:
    """McNemar's test that both are right equally often.

    Args:
        table: Patients, each counted once.
        method: "exact" (binomial), "chi2", "cc" (chi2 with continuity correction) or "auto": exact below 25 discordant
            patients, chi2 above.
    """
    if method not in MCNEMAR:
        raise UsageError(f"McNemar's test is one of {', '.join(MCNEMAR)}, not {method!r}")
    discordant = table.first + table.second
    exact = method == "exact" or (method == "auto" and discordant < EXACT_BELOW)
    name = "McNemar, exact" if exact else "McNemar, continuity corrected" if method == "cc" else "McNemar"
    if discordant == 0:
        return Test(name, None)
    from statsmodels.stats import contingency_tables  # takes a second to import

    counts = [[table.both, table.first], [table.second, table.neither]]
    found = contingency_tables.mcnemar(counts, exact=exact, correction=method == "cc")
    return Test(name, float(found.pvalue), *((None, None) if exact else (float(found.statistic), 1)))


def cochran(right: np.ndarray) -> Test:
    """Cochran's Q: are k raters right equally often on the same patients? With two it is McNemar's chi2.

    Args:
        right: bool [k, n], rows = raters.
    """
    right = np.asarray(right, dtype=bool)
    if right.ndim != 2 or len(right) < 2:
        raise UsageError(f"Cochran's Q needs two or more raters [k, n], not shape {right.shape}")
    name, df = "Cochran's Q", len(right) - 1
    if bool((right == right[0]).all()):  # nobody ever disagrees
        return Test(name, None, None, df)
    from statsmodels.stats import contingency_tables

    found = contingency_tables.cochrans_q(right.T.astype(int))
    return Test(name, float(found.pvalue), float(found.statistic), df)


def pairwise(right: np.ndarray, *, method: str = "auto") -> dict[tuple[int, int], tuple[Test, float | None]]:
    """McNemar for each two of k raters, with Holm's adjusted P value beside it; read after `cochran`.

    Args:
        right: bool [k, n].
        method: See `mcnemar`.

    Returns:
        For each pair of rows (i < j): the test, and its P value adjusted for all of them.
    """
    pairs = [(i, j) for i in range(len(right)) for j in range(i + 1, len(right))]
    tests = [mcnemar(PairedTable.of(right[i], right[j]), method=method) for i, j in pairs]
    return dict(zip(pairs, zip(tests, holm([test.p for test in tests]), strict=True), strict=True))


def difference_interval(table: PairedTable, *, method: str = "newcombe") -> tuple[float, float] | None:
    """The 95 % interval of the difference of two paired proportions.

    Args:
        table: Patients, each counted once.
        method: "newcombe" (Wilson's intervals squared and added with a correction for the pairing; method 10 of
            Newcombe, Statistics in Medicine 1998;17:2635) or "tango" (the differences that a score test does not
            reject; Tango, Statistics in Medicine 1998;17:891).

    Returns:
        (low, high) of first minus second, or None without a case.
    """
    if method not in DIFFERENCES:
        raise UsageError(f"the interval of a paired difference is one of {', '.join(DIFFERENCES)}, not {method!r}")
    if not table.n:
        return None
    return _newcombe(table) if method == "newcombe" else _tango(table)


def _newcombe(table: PairedTable) -> tuple[float, float]:
    a, b, c, d, n = table.both, table.first, table.second, table.neither, table.n
    one, two = (a + b) / n, (a + c) / n
    (low1, high1), (low2, high2) = wilson(a + b, n), wilson(a + c, n)
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    excess = a * d - b * c
    if excess > 0:  # positive correlation is shrunk by a continuity correction
        phi = max(excess - n / 2, 0.0) / math.sqrt(margins)
    else:
        phi = excess / math.sqrt(margins) if margins else 0.0

    def reach(x: float, y: float) -> float:
        return math.sqrt(max(x**2 - 2 * phi * x * y + y**2, 0.0))

    return one - two - reach(one - low1, high2 - two), one - two + reach(high1 - one, two - low2)


def _tango(table: PairedTable) -> tuple[float, float]:
    b, c, n = table.first, table.second, table.n
    limit = float(stats.norm.ppf((1 + LEVEL) / 2))

    def score(delta: float) -> float:
        # maximum likelihood estimate of the second discordant share under the difference delta
        middle = -b - c + (2 * n - b + c) * delta
        root = (math.sqrt(max(middle**2 + 8 * n * c * delta * (1 - delta), 0.0)) - middle) / (4 * n)
        spread = n * (2 * root + delta * (1 - delta))
        return (b - c - n * delta) / math.sqrt(max(spread, 1e-300))

    estimate, edge = (b - c) / n, 1e-9
    low = -1.0 if estimate <= -1 else _crossing(lambda delta: score(delta) - limit, -1 + edge, estimate, -1.0)
    high = 1.0 if estimate >= 1 else _crossing(lambda delta: score(delta) + limit, 1 - edge, estimate, 1.0)
    return low, high


def _crossing(function: Callable[[float], float], edge: float, estimate: float, fallback: float) -> float:
    at_edge, at_estimate = function(edge), function(estimate)
    if at_edge * at_estimate > 0:
        return fallback
    return float(optimize.brentq(function, edge, estimate, xtol=1e-12))


def _bools(first: Sequence[bool] | np.ndarray, second: Sequence[bool] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if first.ndim != 1 or first.shape != second.shape:
        raise UsageError(f"paired cases have the same length, not {first.shape} and {second.shape}")
    return first, second
