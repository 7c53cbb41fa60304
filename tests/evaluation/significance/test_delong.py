"""AUCs and their variances against published numbers, exact fractions and resampling."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from covidct.errors import UsageError
from covidct.evaluation.significance.delong import Areas, areas, contrast, ends, placements

# evaluation.md B.2, by hand in exact fractions
POSITIVE = np.array([[3, 5, 6, 7], [2, 6, 4, 7]])
NEGATIVE = np.array([[1, 2, 3, 4, 5], [1, 3, 3, 2, 5]])
SCORES = np.concatenate([POSITIVE, NEGATIVE], axis=1)
TRUTH = np.arange(9) < 4


def test_two_correlated_areas_by_hand():
    found = areas(SCORES, TRUTH)
    assert found.values == pytest.approx([17 / 20, 31 / 40])
    assert found.covariance.ravel() == pytest.approx([187 / 9600, 211 / 9600, 211 / 9600, 41 / 1200])
    assert (found.positives, found.negatives) == (4, 5)
    apart = contrast(found)
    assert (apart.z, apart.p) == (pytest.approx(0.762000762), pytest.approx(0.446059550))
    assert (apart.low + apart.high) / 2 == pytest.approx(17 / 20 - 31 / 40)
    back = contrast(found, 1, 0)
    assert (back.difference, back.z, back.p) == pytest.approx((-apart.difference, -apart.z, apart.p))


def test_the_published_aneurysm_comparison_from_its_printed_numbers():
    values, se = np.array([0.82367886, 0.73136856]), np.array([0.03833947, 0.05165929])
    covariance = np.diag(se**2) + np.array([[0, 0.00119616], [0.00119616, 0]])
    apart = contrast(Areas(values, covariance, 41, 72))
    assert apart.z == pytest.approx(2.20898359, abs=2e-5)
    assert apart.p == pytest.approx(0.02717578, abs=2e-6)
    assert ends(0.73136856, se[1] ** 2, scale="plain") == pytest.approx((0.63012, 0.83262), abs=1e-5)


def table(seed: int, patients: int = 30, mixed: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two scores [2, n], truth and patient of clustered cases with many ties."""
    generator = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), generator.integers(1, 9, patients))
    truth = generator.random(len(patient)) < 0.4 if mixed else patient < patients // 2
    own = generator.normal(size=(2, patients))[:, patient]
    return np.round(own + generator.normal(size=own.shape) + truth, 1), truth, patient


def test_the_area_is_that_of_scikit_learn_whatever_the_patients():
    scores, truth, patient = table(1)
    expected = [roc_auc_score(truth, score) for score in scores]
    assert areas(scores, truth).values == pytest.approx(expected, abs=1e-12)
    assert areas(scores, truth, patient).values == pytest.approx(expected, abs=1e-12)
    placed = placements(scores[0], truth)
    assert placed[truth].mean() == pytest.approx(expected[0])
    assert placed[~truth].mean() == pytest.approx(expected[0])


@pytest.mark.parametrize("mixed", [False, True])
def test_one_case_a_patient_is_delong(mixed):
    scores, truth, _ = table(2, mixed=mixed)
    assert areas(scores, truth, np.arange(len(truth))[::-1]).covariance == pytest.approx(
        areas(scores, truth).covariance
    )


@pytest.mark.parametrize("mixed", [False, True])
def test_copying_cases_inside_their_patients_changes_nothing_but_the_naive_variance(mixed):
    scores, truth, patient = table(3, mixed=mixed)
    once = areas(scores, truth, patient).covariance
    often = areas(np.tile(scores, 7), np.tile(truth, 7), np.tile(patient, 7)).covariance
    assert often == pytest.approx(once, rel=1e-9)
    naive, naive7 = areas(scores, truth).covariance, areas(np.tile(scores, 7), np.tile(truth, 7)).covariance
    assert naive7 == pytest.approx(naive / 7, rel=0.02)
    # patients of one kind repeat themselves; patients with both kinds are their own comparison
    assert once[0, 0] < 0.8 * naive[0, 0] if mixed else once[0, 0] > 1.5 * naive[0, 0]


@pytest.mark.parametrize("mixed", [False, True])
def test_the_clustered_variance_is_what_studies_scatter_by(mixed):
    found = [areas(*table(seed, 40, mixed)) for seed in range(300)]
    scatter = np.cov(np.array([one.values for one in found]).T)
    assert np.mean([one.covariance for one in found], axis=0) == pytest.approx(scatter, rel=0.25, abs=3e-4)


def test_an_interval_keeps_inside_and_complete_separation_has_none():
    low, high = ends(0.97, 0.0009)
    assert 0.8 < low < 0.97 < high < 1
    assert ends(0.97, 0.0009, scale="plain") == (pytest.approx(0.97 - 1.959964 * 0.03), 1.0)
    assert ends(1.0, 0.0) is None
    assert ends(0.5, 0.0) is None
    with pytest.raises(UsageError, match="probit"):
        ends(0.9, 0.01, scale="probit")


def test_the_same_score_twice_has_nothing_to_test():
    scores, truth, patient = table(4)
    apart = contrast(areas(np.stack([scores[0], scores[0]]), truth, patient))
    assert (apart.difference, apart.z, apart.p) == (0, None, None)


@pytest.mark.parametrize(
    ("scores", "truth", "patient", "said"),
    [
        (SCORES[:, :8], TRUTH, None, "scores"),
        (np.full(9, np.nan), TRUTH, None, "not a number"),
        (SCORES, np.arange(9) < 1, None, "1 and 8"),
        (SCORES, TRUTH, np.arange(9) > 3, "1 and 1"),
    ],
)
def test_what_has_no_variance_is_refused(scores, truth, patient, said):
    with pytest.raises(UsageError, match=said):
        areas(scores, truth, patient)
