import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score
from statsmodels.stats.proportion import proportion_confint

from covidct.evaluation.intervals import (
    CLOPPER_PEARSON,
    KORN_GRAUBARD,
    TOO_FEW,
    UNDEFINED,
    PatientBootstrap,
    WeightedAUC,
    clopper_pearson,
    korn_graubard,
    proportion,
    wilson,
)

NEWCOMBE = [  # evaluation.md B.2, from Newcombe 1998: successes, n, Wilson, Clopper-Pearson
    (81, 263, (0.2553, 0.3662), (0.2527, 0.3676)),
    (15, 148, (0.0624, 0.1605), (0.0578, 0.1617)),
    (0, 20, (0.0, 0.1611), (0.0, 0.1684)),
    (1, 29, (0.0061, 0.1718), (0.0009, 0.1776)),
]


@pytest.mark.parametrize(("successes", "n", "score", "exact"), NEWCOMBE)
def test_independent_proportions_as_published_and_as_statsmodels(successes, n, score, exact):
    assert wilson(successes, n) == pytest.approx(score, abs=6e-5)
    assert clopper_pearson(successes, n) == pytest.approx(exact, abs=6e-5)
    assert wilson(successes, n) == pytest.approx(proportion_confint(successes, n, method="wilson"), abs=1e-9)
    assert clopper_pearson(successes, n) == pytest.approx(proportion_confint(successes, n, method="beta"), abs=1e-9)


@pytest.mark.parametrize(
    ("successes", "n", "ends"), [(13, 13, (0.753, 1)), (49, 50, (0.894, 0.999)), (50, 50, (0.929, 1))]
)
def test_the_intervals_the_paper_should_have_printed(successes, n, ends):
    assert clopper_pearson(successes, n) == pytest.approx(ends, abs=6e-4)


def clustered(generator: np.random.Generator, patients: int, slices: int, p: float, icc: float) -> np.ndarray:
    """Right slices of each patient: beta-binomial with intraclass correlation `icc`."""
    size = 1 / icc - 1
    return generator.binomial(slices, generator.beta(p * size, (1 - p) * size, patients))


@pytest.mark.parametrize("icc", [0.05, 0.1])
def test_korn_graubard_covers_and_slices_as_if_independent_do_not(icc):
    generator = np.random.default_rng(11)
    totals, p, studies = np.full(50, 98), 0.982, 400
    covered = naive = 0
    for _ in range(studies):
        right = clustered(generator, 50, 98, p, icc)
        low, high = korn_graubard(right, totals)
        covered += low <= p <= high
        low, high = clopper_pearson(int(right.sum()), int(totals.sum()))
        naive += low <= p <= high
    assert covered / studies >= 0.90
    assert naive / studies < 0.65


def test_thirteen_patients_are_covered_too():
    generator = np.random.default_rng(12)
    covered = 0
    for _ in range(400):
        low, high = korn_graubard(clustered(generator, 13, 98, 0.982, 0.2), np.full(13, 98))
        covered += low <= 0.982 <= high
    assert covered / 400 >= 0.92  # 0.83 where the spread of one or two patients is taken for a design effect


def test_korn_graubard_against_its_formula_written_out():
    right, totals = (
        np.array([8, 5, 9, 10, 2, 7, 6, 9, 10, 4, 8, 7]),
        np.array([10, 9, 9, 12, 8, 7, 11, 10, 10, 9, 8, 10]),
    )
    n, patients = 113, 12
    p = 85 / 113
    assert (right.sum(), totals.sum()) == (85, n)
    residuals = [r - p * m for r, m in zip(right, totals, strict=True)]
    variance = patients / (patients - 1) * sum(e * e for e in residuals) / n**2
    design_effect = variance / (p * (1 - p) / (n - 1))
    assert design_effect > 1
    effective = n / design_effect * (stats.t.ppf(0.975, n - 1) / stats.t.ppf(0.975, patients - 1)) ** 2
    expected = (
        stats.beta.ppf(0.025, p * effective, effective - p * effective + 1),
        stats.beta.ppf(0.975, p * effective + 1, effective - p * effective),
    )
    assert korn_graubard(right, totals) == pytest.approx(expected, abs=1e-12)


def test_patients_more_alike_than_chance_do_not_make_slices_count_more_than_once():
    right, totals = np.array([4, 5, 5, 6] * 10), np.full(40, 10)  # between-patient variance far below binomial
    assert korn_graubard(right, totals) == pytest.approx(clopper_pearson(200, 400))
    assert korn_graubard(np.full(40, 5), totals) == pytest.approx(clopper_pearson(200, 400))


@given(st.lists(st.booleans(), min_size=10, max_size=80))
def test_one_slice_a_patient_is_clopper_pearson(right):
    successes = np.array(right, dtype=int)
    assert korn_graubard(successes, np.ones(len(right))) == pytest.approx(
        clopper_pearson(int(successes.sum()), len(right)), abs=1e-9
    )


tables = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)).filter(any), min_size=12, max_size=60)


@settings(deadline=None)
@given(tables, st.integers(2, 50))
def test_copying_slices_inside_their_patients_hardly_changes_the_interval(table, copies):
    right = np.array([good for good, _ in table])
    totals = np.array([good + bad for good, bad in table])
    once, often = korn_graubard(right, totals), korn_graubard(right * copies, totals * copies)
    naive = clopper_pearson(int(right.sum()) * copies, int(totals.sum()) * copies)
    # Only t[n-1] and the bound "at most n slices" depend on the number of slices. Where patients differ no more than
    # their slices do, the bound holds the first interval wide and copies lift it; elsewhere t alone is left, which
    # falls from t[11] = 2.20 to t[infinity] = 1.96, squared in the effective number of slices.
    share = right.sum() / totals.sum()
    between = len(table) / (len(table) - 1) * ((right - share * totals) ** 2).sum() / totals.sum() ** 2
    assume(0 < share < 1 and between >= share * (1 - share) / totals.sum())
    ratio = (often[1] - often[0]) / (once[1] - once[0])
    assert 0.999 < ratio < 1.27
    # With few patients the rounding of the denominators still shows; the interval never falls to the naive one.
    if len(set(zip(right, totals, strict=True))) > 3:
        assert often[1] - often[0] >= naive[1] - naive[0]


def test_copying_many_slices_leaves_the_interval_and_shrinks_the_naive_one():
    right = clustered(np.random.default_rng(5), 40, 30, 0.9, 0.2)
    once, often = korn_graubard(right, np.full(40, 30)), korn_graubard(right * 100, np.full(40, 3000))
    assert often == pytest.approx(once, abs=2e-4)


def test_doubling_the_patients_shrinks_the_interval_by_the_root_of_two():
    right, totals = clustered(np.random.default_rng(6), 200, 30, 0.8, 0.2), np.full(200, 30)
    low, high = korn_graubard(right, totals)
    low2, high2 = korn_graubard(np.tile(right, 2), np.tile(totals, 2))
    assert (high - low) / (high2 - low2) == pytest.approx(2**0.5, rel=0.02)


@given(tables, st.randoms(use_true_random=False))
def test_the_interval_holds_the_value_and_the_order_of_patients_does_not_matter(table, random):
    shuffled = table[:]
    random.shuffle(shuffled)
    found = [
        proportion(np.array([good for good, _ in rows]), np.array([good + bad for good, bad in rows]))
        for rows in (table, shuffled)
    ]
    assert 0 <= found[0].low <= found[0].value <= found[0].high <= 1
    assert found[1].low == pytest.approx(found[0].low, abs=1e-9)
    assert found[1].high == pytest.approx(found[0].high, abs=1e-9)


def test_when_no_spread_can_be_seen_the_patients_are_what_was_counted():
    assert korn_graubard(np.full(50, 98), np.full(50, 98)) == pytest.approx(clopper_pearson(50, 50))
    assert korn_graubard(np.zeros(50), np.full(50, 98)) == pytest.approx(clopper_pearson(0, 50))
    one_wrong = np.full(50, 98)
    one_wrong[7] = 97  # not better evidence than no wrong slice at all
    assert korn_graubard(one_wrong, np.full(50, 98))[0] == pytest.approx(0.929, abs=2e-3)


@pytest.mark.parametrize(
    ("patients", "slices", "method", "few"),
    [
        (9, 5, TOO_FEW, True),
        (10, 5, KORN_GRAUBARD, True),
        (29, 5, KORN_GRAUBARD, True),
        (30, 5, KORN_GRAUBARD, False),
        (9, 1, CLOPPER_PEARSON, True),
        (30, 1, CLOPPER_PEARSON, False),
    ],
)
def test_the_number_of_patients_decides_what_is_allowed(patients, slices, method, few):
    totals = np.full(patients, slices)
    totals_with_others = np.concatenate([totals, [0, 0, 0]])  # patients outside the denominator do not count
    right = np.concatenate([np.arange(patients) % (slices + 1), [0, 0, 0]])
    found = proportion(right, totals_with_others)
    assert (found.method, found.few_patients, found.n_patients) == (method, few, patients)
    assert found.value == pytest.approx(right.sum() / totals.sum())
    assert (found.low is None) == (method == TOO_FEW)


def test_no_denominator_is_undefined():
    found = proportion(np.zeros(4), np.zeros(4))
    assert (found.value, found.low, found.high, found.method, found.n_patients) == (None, None, None, UNDEFINED, 0)


# --- bootstrap of patients


def scored(seed: int, decimals: int = 8, patients: int = 24) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """positive, scores, patient of slices; the first half of the patients is positive; 1 to 9 slices each."""
    generator = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), generator.integers(1, 10, patients))
    own = generator.normal(size=patients)
    positive = patient < patients // 2
    scores = np.round(own[patient] + generator.normal(size=len(patient)) + positive, decimals)
    order = generator.permutation(len(patient))
    return positive[order], scores[order], patient[order]


@pytest.mark.parametrize("decimals", [0, 8])  # no decimal: nearly all are ties
def test_the_weighted_auc_is_that_of_the_resampled_table(decimals):
    positive, scores, patient = scored(1, decimals)
    bootstrap = PatientBootstrap.draw(np.arange(24) // 12, 25, np.random.default_rng(2))
    found = WeightedAUC(positive, scores, patient)(bootstrap.weights)
    assert len(set(found)) > 20
    for weights, area in zip(bootstrap.weights, found, strict=True):
        copies = np.repeat(np.arange(len(patient)), weights[patient].astype(int))
        assert area == pytest.approx(roc_auc_score(positive[copies], scores[copies]), abs=1e-12)


def test_the_weighted_auc_with_a_group_left_out_is_undefined():
    positive, scores, patient = scored(1)
    assert np.isnan(WeightedAUC(positive, scores, patient)((np.arange(24) >= 12).astype(float)[None])).all()


def test_patients_are_drawn_within_their_stratum_and_without_the_global_state():
    np.random.seed(3)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    strata = np.array([0] * 5 + [1] + [2] * 7)
    first = PatientBootstrap.draw(strata, 200, np.random.default_rng(4)).weights
    for stratum, size in ((0, 5), (1, 1), (2, 7)):
        assert (first[:, strata == stratum].sum(axis=1) == size).all()
    assert np.array_equal(first, PatientBootstrap.draw(strata, 200, np.random.default_rng(4)).weights)
    assert not np.array_equal(first, PatientBootstrap.draw(strata, 200, np.random.default_rng(5)).weights)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_bca_against_scipy():
    values = np.random.default_rng(8).exponential(size=40)

    def both(weights: np.ndarray) -> np.ndarray:
        mean = weights @ values / weights.sum(axis=1)
        return np.column_stack([mean, weights @ values**2 / weights.sum(axis=1) - mean**2])

    bootstrap = PatientBootstrap.draw(np.zeros(40, dtype=int), 20_000, np.random.default_rng(2))
    found = bootstrap.intervals([values.mean(), values.var()], both)
    for ends, statistic in zip(found, (np.mean, np.var), strict=True):  # the variance is biased as well as skewed
        expected = stats.bootstrap(
            (values,), statistic, n_resamples=20_000, method="BCa", vectorized=True, rng=np.random.default_rng(1)
        ).confidence_interval
        assert ends == pytest.approx((expected.low, expected.high), rel=0.02)
    low, high = np.quantile(both(bootstrap.weights)[:, 1], [0.025, 0.975])
    assert found[1][0] > 1.1 * low  # far from the plain percentiles
    assert found[1][1] > 1.1 * high


def test_leaving_patients_out_by_groups_gives_nearly_the_same_interval(monkeypatch):
    values = np.random.default_rng(8).exponential(size=90)
    bootstrap = PatientBootstrap.draw(np.arange(90) % 2, 2000, np.random.default_rng(2))

    def ends() -> tuple[float, float]:
        (found,) = bootstrap.intervals(
            [values.mean()], lambda weights: (weights @ values / weights.sum(axis=1))[:, None]
        )
        return found

    singly = ends()
    monkeypatch.setattr("covidct.evaluation.intervals.JACKKNIFE_GROUPS", 20)
    assert ends() != singly
    assert ends() == pytest.approx(singly, rel=0.01)


def test_several_statistics_share_the_replicates():
    positive, scores, patient = scored(3)
    area = WeightedAUC(positive, scores, patient)
    value = roc_auc_score(positive, scores)
    bootstrap = PatientBootstrap.draw(np.arange(24) // 12, 300, np.random.default_rng(2))
    (alone,) = bootstrap.intervals([value], lambda weights: area(weights)[:, None])
    both = bootstrap.intervals([value, 1 - value], lambda weights: np.column_stack([area(weights), 1 - area(weights)]))
    assert both[0] == alone
    assert alone[0] < value < alone[1]
    assert both[1][0] < 1 - value < both[1][1]


def test_the_interval_of_an_auc_is_about_patients():
    positive, scores, patient = scored(4, patients=60)
    strata = np.arange(60) // 30
    ends = []
    for copies in (1, 20):
        area = WeightedAUC(np.tile(positive, copies), np.tile(scores, copies), np.tile(patient, copies))
        bootstrap = PatientBootstrap.draw(strata, 300, np.random.default_rng(2))
        ends += bootstrap.intervals(
            [roc_auc_score(positive, scores)], lambda weights, area=area: area(weights)[:, None]
        )
    assert ends[1] == pytest.approx(ends[0], abs=1e-9)


def test_perfect_separation_gives_no_interval():
    area = WeightedAUC(np.arange(24) < 12, np.arange(24)[::-1].astype(float), np.arange(24))
    bootstrap = PatientBootstrap.draw(np.arange(24) // 12, 50, np.random.default_rng(2))
    assert bootstrap.intervals([1.0], lambda weights: area(weights)[:, None]) == [None]
