"""Obuchowski-Rockette with Hillis' degrees of freedom against printed output of other people's programs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from covidct.errors import UsageError
from covidct.evaluation.readers.mrmc import (
    FIXED,
    RANDOM,
    Covariances,
    Merits,
    against_fixed,
    average_covariances,
    compare_modalities,
    jackknife,
    shares,
    single_modality,
)
from covidct.evaluation.significance.delong import areas, contrast

VAN_DYKE = np.array(
    [[0.91964573, 0.85877617, 0.90386473, 0.97310789, 0.82979066],
     [0.94782609, 0.90531401, 0.92173913, 0.99935588, 0.92995169]]
)  # fmt: skip
"""Empirical AUCs of five readers with two modalities (114 cases), as published; the ratings are not copied."""
DELONG = Covariances(0.0007921325, 0.0003420090, 0.0003395265, 0.0002358497)
JACKKNIFE = Covariances(0.00080229, 0.00034661, 0.00034407, 0.00023903)


def matrix(cov: Covariances, modalities: int, readers: int) -> np.ndarray:
    """A covariance matrix whose averages are `cov`."""
    modality, reader = np.divmod(np.arange(modalities * readers), readers)
    same_t, same_r = modality[:, None] == modality, reader[:, None] == reader
    return np.select(
        [same_t & same_r, same_r, same_t],
        [cov.variance, cov.same_reader, cov.same_modality],
        cov.neither,
    )


def scores(seed: int, raters: int, n: int = 80) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truth = np.arange(n) < n // 3
    common = generator.normal(0, 1, n)
    return np.round(1.2 * truth + common + generator.normal(0, 1, (raters, n)), 1), truth


def test_van_dyke_with_delong_covariances_is_what_mrmcaov_prints():
    found = compare_modalities(VAN_DYKE, DELONG)
    assert found.statistic == pytest.approx(4.484854, abs=5e-6)
    assert found.df == pytest.approx(15.06611, abs=5e-5)
    assert found.p == pytest.approx(0.05123303, abs=5e-8)
    assert found.difference == pytest.approx(-0.04380032, abs=1e-8)
    assert found.se == pytest.approx(0.0206825, abs=5e-8)
    assert (found.low, found.high) == pytest.approx((-0.0878672, 0.0002666), abs=1e-7)


def test_van_dyke_with_jackknife_covariances():
    found = compare_modalities(VAN_DYKE, JACKKNIFE)
    assert found.statistic == pytest.approx(4.45632, abs=5e-4)
    assert found.df == pytest.approx(15.2597, abs=5e-3)
    assert found.p == pytest.approx(0.051666, abs=1e-5)
    # the same readers and no others, as the book of RJafroc prints it
    fixed = compare_modalities(VAN_DYKE, JACKKNIFE, readers=FIXED)
    assert fixed.df is None
    assert fixed.statistic == pytest.approx(5.476, abs=1e-3)
    assert fixed.p == pytest.approx(0.01928, abs=1e-5)
    assert (fixed.low, fixed.high) == pytest.approx((-0.08049, -0.007115), abs=1e-5)


@pytest.mark.parametrize(
    ("row", "variance", "cov2", "se", "df", "low", "high"),
    [
        (0, 0.0010141, 0.0004840, 0.03317, 12.74, 0.8252, 0.9689),
        (1, 0.0005905, 0.0002042, 0.02157, 12.71, 0.8941, 0.9875),
    ],
)
def test_the_mean_of_readers_of_one_modality_is_what_the_book_of_rjafroc_prints(row, variance, cov2, se, df, low, high):
    cov = matrix(Covariances(variance, 0, cov2, 0), 1, 5)
    found = single_modality(Merits(VAN_DYKE[row], cov))
    assert (found.difference, found.se) == pytest.approx((VAN_DYKE[row].mean(), se), abs=5e-5)
    assert found.df == pytest.approx(df, abs=0.01)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


def test_averages_of_a_matrix_are_what_it_was_made_of():
    assert vars(average_covariances(matrix(DELONG, 2, 5), 2, 5)) == pytest.approx(vars(DELONG))


def test_a_fixed_model_is_the_same_as_a_model_entered_as_every_readers_second_modality():
    """RJafroc's manual says so of its two methods (1T-RRRC and 2T-RRRC)."""
    for seed in range(5):
        found = areas(*scores(seed, 5))
        direct = against_fixed(Merits(found.values, found.covariance))
        rows = np.array([0, 1, 2, 3, 4, 4, 4, 4])
        twice = found.covariance[np.ix_(rows, rows)]
        values = found.values[rows].reshape(2, 4)
        copied = compare_modalities(values, average_covariances(twice, 2, 4))
        for key in ("difference", "se", "statistic", "df", "p"):
            assert getattr(direct, key) == pytest.approx(getattr(copied, key), rel=1e-9), key


def test_one_reader_against_the_model_is_delongs_test():
    found = areas(*scores(1, 2))
    test = against_fixed(Merits(found.values, found.covariance), readers=FIXED)
    direct = contrast(found)
    assert (test.difference, test.p) == pytest.approx((direct.difference, direct.p))
    assert (test.low, test.high) == pytest.approx((direct.low, direct.high))


def test_readers_who_never_differ_are_one_reader():
    values, truth = scores(2, 2)
    found = areas(np.stack([values[0], values[0], values[0], values[1]]), truth)
    many = against_fixed(Merits(found.values, found.covariance))
    one = contrast(areas(values, truth))
    assert many.df is None  # no spread between readers: only cases vary
    assert many.p == pytest.approx(one.p)


def test_a_negative_spread_between_readers_is_none():
    odd = Covariances(0.001, 0.0005, 0.0002, 0.0004)  # Cov3 above Cov2 by chance
    assert compare_modalities(VAN_DYKE, odd) == compare_modalities(VAN_DYKE, Covariances(0.001, 0.0005, 0.0004, 0.0004))


def test_one_reader_is_no_sample_of_readers():
    with pytest.raises(UsageError, match="two readers"):
        compare_modalities(VAN_DYKE[:, :1], DELONG)
    with pytest.raises(UsageError, match="two readers"):
        single_modality(Merits(VAN_DYKE[0, :1], np.eye(1)))
    with pytest.raises(UsageError, match="two modalities"):
        compare_modalities(VAN_DYKE[0], DELONG)


def test_figures_that_do_not_vary_are_not_tested():
    found = compare_modalities(np.ones((2, 3)), Covariances(0, 0, 0, 0))
    assert (found.p, found.statistic) == (None, None)
    assert (found.low, found.high) == (0, 0)


def test_shares_of_independent_patients_have_the_binomial_covariance():
    generator = np.random.default_rng(0)
    right = generator.random((3, 60)) < 0.7
    found = shares(right, np.arange(60))
    assert found.covariance == pytest.approx(np.cov(right) / 60)
    assert found.values == pytest.approx(right.mean(axis=1))


def test_copying_the_slices_of_a_patient_changes_no_covariance():
    generator = np.random.default_rng(1)
    right, patient = generator.random((2, 40)) < 0.6, np.arange(40)
    copied = shares(np.repeat(right, 7, axis=1), np.repeat(patient, 7))
    assert copied.covariance == pytest.approx(shares(right, patient).covariance)


def test_jackknife_of_means_is_their_sample_covariance():
    """Leaving out one of n and averaging: the jackknife of a mean is s2 / n exactly."""
    generator = np.random.default_rng(2)
    values = generator.normal(size=(3, 25))
    found = jackknife(lambda inside: values[:, inside].mean(axis=1), np.arange(25))
    assert found.covariance == pytest.approx(np.cov(values) / 25)


def test_jackknife_and_delong_agree_on_areas():
    values, truth = scores(3, 3, n=150)
    from sklearn.metrics import roc_auc_score

    resampled = jackknife(
        lambda inside: np.array([roc_auc_score(truth[inside], row[inside]) for row in values]), np.arange(150)
    )
    assert resampled.covariance == pytest.approx(areas(values, truth).covariance, rel=0.05)


def test_the_test_keeps_its_level_where_readers_and_cases_are_random():
    """500 studies without a difference: five readers, 60 cases, readers and cases both vary."""
    generator = np.random.default_rng(3)
    truth, rejected, studies = np.arange(60) < 25, 0, 500
    for _ in range(studies):
        skill = 1.3 + generator.normal(0, 0.25, 5)
        common = generator.normal(0, 0.8, 60)
        noise = generator.normal(0, 1, (2, 5, 60))
        values = (skill[None, :, None] * truth + common + noise).reshape(10, 60)
        found = areas(values, truth)
        test = compare_modalities(found.values.reshape(2, 5), average_covariances(found.covariance, 2, 5))
        assert test.readers == RANDOM
        rejected += test.p < 0.05
    assert 0.005 < rejected / studies < 0.085


def test_degrees_of_freedom_are_infinite_without_interaction():
    values = np.vstack([VAN_DYKE[0], VAN_DYKE[0] + 0.02])
    found = compare_modalities(values, DELONG)
    assert found.df is None or found.df > 1e6
    assert found.p == pytest.approx(2 * stats.norm.sf(0.02 / math.sqrt(2 * (0.0003395265 - 0.0002358497))), rel=1e-3)
