"""Repeated runs against worked numbers, statsmodels, and studies whose truth is known because they are simulated."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from covidct.errors import UsageError
from covidct.evaluation.comparisons import (
    half_width,
    holm,
    mean_difference,
    outlook,
    posterior,
    rho_of,
    superiority,
)
from covidct.evaluation.influence import clustered_variance
from covidct.evaluation.intervals import PatientBootstrap
from covidct.evaluation.paired_patients import PairedCases, paired_tests
from covidct.evaluation.significance.clustered import sign_flip
from tests.evaluation.simulated_splits import split_accuracies

FIVE = np.array([0.010, 0.004, 0.012, 0.006, 0.008])
"""Five differences of a 3:1 split with worked numbers (design, "Repeated runs")."""

THREE_TO_ONE = 1 / 3


def test_the_corrected_t_of_five_random_splits():
    naive, corrected = mean_difference(FIVE, 0.0), mean_difference(FIVE, THREE_TO_ONE)
    assert naive.mean == pytest.approx(0.008)
    assert (naive.t, naive.p) == (pytest.approx(5.6569, abs=5e-5), pytest.approx(0.00481, abs=5e-6))
    assert (corrected.t, corrected.p) == (pytest.approx(3.4641, abs=5e-5), pytest.approx(0.02572, abs=5e-6))
    assert naive.t / corrected.t == pytest.approx(1.633, abs=5e-4)
    assert naive.p == pytest.approx(stats.ttest_1samp(FIVE, 0).pvalue)
    assert corrected.low == pytest.approx(0.008 - 2.776445 * corrected.se, abs=1e-8)
    assert corrected.high - corrected.mean == pytest.approx(corrected.mean - corrected.low)


def test_the_correction_turns_scikit_learns_example_from_significant_into_unknown():
    """Its printed rbf against linear, 10 x 10 folds: t 2.6112 uncorrected, .7503 corrected, one-sided P .2274."""
    runs = 100
    differences = np.random.default_rng(0).normal(size=runs)
    differences = (differences - differences.mean()) / differences.std(ddof=1)
    differences = differences + 2.6112 / math.sqrt(runs)  # any hundred numbers with that plain t
    found = mean_difference(differences, 1 / 9)
    assert mean_difference(differences, 0).t == pytest.approx(2.6112)
    assert found.t == pytest.approx(0.7503, abs=2e-4)
    assert found.p / 2 == pytest.approx(0.2274, abs=2e-4)
    assert posterior(differences, 1 / 9, 0.0).better == pytest.approx(0.7726, abs=2e-4)


def test_the_half_width_has_a_floor_that_more_splits_do_not_lower():
    printed = {5: 2.03, 10: 1.49, 20: 1.30, 30: 1.24, 100: 1.16}
    assert {runs: round(half_width(runs, THREE_TO_ONE), 2) for runs in printed} == printed
    assert half_width(math.inf, THREE_TO_ONE) == pytest.approx(1.959964 / math.sqrt(3))


@pytest.mark.parametrize(
    ("test_over_train", "worse", "equal", "better"),
    [(1 / 3, 0.00245, 0.12943, 0.86812), (1 / 4, 0.00180, 0.11330, 0.88490)],  # the second is baycomp's, five folds
)
def test_the_posterior_over_the_margin(test_over_train, worse, equal, better):
    found = posterior(FIVE, test_over_train, 0.005)
    assert (found.worse, found.equal, found.better) == pytest.approx((worse, equal, better), abs=6e-6)
    assert rho_of(test_over_train) == pytest.approx(1 / (1 + 1 / test_over_train))


def test_holm_is_that_of_statsmodels():
    p = [0.012, 0.04, 0.03, 0.2, 0.0001]
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])
    assert holm([0.01, None, 0.03]) == pytest.approx([0.03, None, 0.06])


def test_the_share_of_won_repeats():
    found = superiority(np.array([1.0, 1.0, -1.0, 0.0] * 5), seed=1)
    assert found.value == pytest.approx(0.625)
    assert found.low < 0.5 < found.value < found.high
    everything = superiority(np.ones(10))
    assert (everything.value, everything.high) == (1.0, 1.0)
    assert everything.low == pytest.approx(0.025**0.1)  # Clopper-Pearson; a bootstrap would say 1


def test_how_many_more_runs_it_takes():
    generator = np.random.default_rng(0)

    def outlook_of(mean: float, rope: float, runs: int = 10):
        raw = generator.normal(size=runs)
        differences = (raw - raw.mean()) / raw.std(ddof=1) + mean
        return outlook(mean_difference(differences, THREE_TO_ONE), THREE_TO_ONE, rope)

    assert outlook_of(3.0, 0.5).more_runs == 0
    some = outlook_of(1.38, 0.2)
    assert some.more_runs is not None
    needed = 10 + some.more_runs

    def is_firm(runs: int) -> bool:
        se = math.sqrt(1 / runs + 1 / 3)
        beyond = stats.t.cdf((1.38 - 0.2) / se, runs - 1)
        return bool(beyond >= 0.95 and 2 * stats.t.sf(1.38 / se, runs - 1) < 0.05)

    assert [is_firm(runs) for runs in (needed - 1, needed)] == [False, True]
    floor = outlook_of(1.0, 0.2)
    assert floor.more_runs is None
    assert floor.patients_factor is not None
    assert floor.patients_factor > 1
    assert floor.floor == pytest.approx(1.959964 / math.sqrt(3))
    assert outlook_of(0.5, 0.499999).patients_factor is None
    assert outlook(mean_difference(np.ones(3), 1 / 3), 1 / 3, 0.1) is None


def test_differences_without_spread_give_no_p_value():
    found = mean_difference(np.full(10, 0.1) + 1e-17, THREE_TO_ONE)
    assert (found.sd, found.p) == (0.0, None)
    assert found.as_dict()["t"] is None
    assert mean_difference(np.array([0.1]), THREE_TO_ONE).p is None


@pytest.mark.parametrize(
    ("differences", "ratio", "alpha"), [([], 0.3, 0.05), ([math.nan], 0.3, 0.05), ([1], -1, 0.05), ([1], 0.3, 1)]
)
def test_what_cannot_be_compared_is_refused(differences, ratio, alpha):
    with pytest.raises(UsageError):
        mean_difference(np.array(differences, dtype=float), ratio, alpha=alpha)


# --- simulated studies ------------------------------------------------------------------------------------------------


def test_equally_good_learners_differ_significantly_in_five_percent_and_not_in_a_sixth():
    accuracies = split_accuracies(2000, 5, seed=7)
    differences = accuracies[:, 0] - accuracies[:, 1]
    p_naive, p_corrected = (
        np.array([mean_difference(study, ratio).p or 1.0 for study in differences]) for ratio in (0.0, THREE_TO_ONE)
    )
    assert 0.12 < (p_naive < 0.05).mean() < 0.22
    assert 0.02 < (p_corrected < 0.05).mean() < 0.065


# --- the same patients ------------------------------------------------------------------------------------------------


def by_hand(copies: int = 1) -> PairedCases:
    """Two scores of four ill and five healthy patients, worked by hand; each slice `copies` times."""
    truth = np.repeat([1, 0], [4, 5])
    scores = {"a": [3, 5, 6, 7, 1, 2, 3, 4, 5], "b": [2, 6, 4, 7, 1, 3, 3, 2, 5]}
    return PairedCases(
        np.repeat(truth, copies),
        np.repeat(np.arange(9), copies),
        truth,
        {arm: np.repeat([[[-s, s] for s in values]], copies, axis=1).astype(float) for arm, values in scores.items()},
        {arm: np.zeros((1, 9 * copies), dtype=np.int64) for arm in scores},
    )


@pytest.mark.parametrize("copies", [1, 4])
def test_delong_by_patient_is_delong_and_does_not_count_copies(copies):
    from covidct.evaluation.paired_patients import _influence

    cases = by_hand(copies)
    influence = {arm: _influence("macro_auc", cases, arm) for arm in "ab"}
    variance = {arm: clustered_variance(influence[arm], cases.strata) for arm in "ab"}
    between = clustered_variance(influence["a"] - influence["b"], cases.strata)
    assert variance["a"] == pytest.approx(187 / 9600)
    assert variance["b"] == pytest.approx(41 / 1200)
    assert (variance["a"] + variance["b"] - between) / 2 == pytest.approx(211 / 9600)
    [test, *_] = paired_tests(cases, [("a", "b")], replicates=10)["a", "b"]
    assert (test.metric, test.first, test.second) == ("macro_auc", pytest.approx(17 / 20), pytest.approx(31 / 40))
    assert test.p == pytest.approx(0.446059550, abs=1e-8)
    assert test.difference.low is None  # nine patients have no interval


def test_sign_flips_are_mcnemars_exact_test():
    assert sign_flip(np.array([1.0] * 11 + [-1.0] + [0.0] * 50)) == pytest.approx(0.00634766, abs=5e-9)
    assert sign_flip(FIVE) == 2 / 32
    assert sign_flip(np.zeros(5)) == 1.0
    for more, less in ((13, 4), (25, 15)):
        exact = mcnemar([[0, more], [less, 0]], exact=True).pvalue
        assert sign_flip(np.repeat([1.0, -1.0], [more, less])) == pytest.approx(exact, abs=0.02 if more > 20 else 1e-12)


def test_accuracy_and_log_loss_of_two_arms_are_plain_means():
    generator = np.random.default_rng(3)
    n = 60
    truth = np.arange(n) % 2
    scores = {arm: generator.dirichlet([1, 1], size=(2, n)) for arm in "ab"}
    called = {arm: scores[arm].argmax(axis=2) for arm in "ab"}
    cases = PairedCases(truth, np.arange(n), truth, scores, called)
    tests = {t.metric: t for t in paired_tests(cases, [("a", "b")], replicates=400)["a", "b"]}
    assert tests["accuracy"].first == pytest.approx((called["a"] == truth).mean())
    losses = [-np.log(scores["b"][:, truth == k, k]).mean() for k in (0, 1)]
    assert tests["macro_log_loss"].second == pytest.approx(np.mean(losses))
    for test in tests.values():
        assert test.difference.low < test.difference.value < test.difference.high
        assert test.difference.value == pytest.approx(test.first - test.second)
    # the variance by patient is that of the bootstrap
    from covidct.evaluation.paired_patients import _influence, _Statistic

    drawn = PatientBootstrap.draw(truth, 4000, np.random.default_rng(0))
    for metric in ("macro_auc", "macro_log_loss"):
        values = _Statistic(metric, cases, ["a", "b"])(drawn.weights)
        influence = _influence(metric, cases, "a") - _influence(metric, cases, "b")
        bootstrapped = float((values[:, 0] - values[:, 1]).var())
        assert clustered_variance(influence, truth) == pytest.approx(bootstrapped, rel=0.12)


def test_equal_arms_on_clustered_slices_are_rarely_told_apart():
    """Thirty patients of eight slices that stand or fall together: at most about five percent by patient."""
    generator = np.random.default_rng(11)
    below = {"macro_auc": 0, "accuracy": 0}
    studies = 150
    for _ in range(studies):
        strata = np.arange(30) % 2
        patient = np.repeat(np.arange(30), 8)
        scores = {}
        for arm in "ab":
            logit = (generator.normal(size=30) * 1.5 + 1.5 * strata)[patient] + generator.normal(size=240) * 0.5 - 0.75
            ill = 1 / (1 + np.exp(-logit))
            scores[arm] = np.stack([1 - ill, ill], axis=-1)[None]
        cases = PairedCases(strata[patient], patient, strata, scores, {a: s.argmax(axis=2) for a, s in scores.items()})
        tests = {t.metric: t.p for t in paired_tests(cases, [("a", "b")], replicates=2)["a", "b"]}
        for metric in below:
            below[metric] += int((tests[metric] or 1.0) < 0.05)
    assert below["macro_auc"] / studies < 0.1
    assert below["accuracy"] / studies < 0.1
