"""What patients add to a statistic: against DeLong by patient, resampling and a formula written out."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from covidct.errors import UsageError
from covidct.evaluation.class_means import Way, class_areas, mean_sensitivity
from covidct.evaluation.influence import (
    auc_influence,
    clustered_variance,
    degrees_of_freedom,
    logit_t,
    share_influence,
)
from covidct.evaluation.intervals import LOGIT_T, NO_SPREAD, PATIENT_BOOTSTRAP, TOO_FEW, UNDEFINED, PatientBootstrap
from covidct.evaluation.significance.delong import areas


def clustered(seed: int, classes: int = 2, patients: int = 20) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """truth [n], scores [n, classes], patient [n] and stratum of each patient (its class)."""
    generator = np.random.default_rng(seed)
    label = np.repeat(np.arange(classes), patients)
    patient = np.repeat(np.arange(len(label)), generator.integers(1, 9, len(label)))
    truth = label[patient]
    scores = generator.normal(size=(len(label), classes))[patient] + generator.normal(size=(len(patient), classes))
    scores[np.arange(len(truth)), truth] += 1.5
    return truth, scores, patient, label


def test_two_classes_are_delong_by_patient():
    truth, scores, patient, label = clustered(1)
    area, parts = auc_influence(truth == 1, scores[:, 1], patient, len(label))
    assert area == pytest.approx(roc_auc_score(truth, scores[:, 1]))
    assert parts.sum() == pytest.approx(0, abs=1e-12)
    expected = areas(scores[:, 1], truth == 1, patient)
    assert clustered_variance(parts, label) == pytest.approx(expected.covariance[0, 0])


def test_the_share_of_slices_by_its_formula():
    right, totals = np.array([3, 0, 5, 2]), np.array([4, 1, 5, 6])
    p = 10 / 16
    expected = 4 / 3 * sum((r - p * t) ** 2 for r, t in zip(right, totals, strict=True)) / 16**2
    assert clustered_variance(share_influence(right, totals), np.zeros(4)) == pytest.approx(expected)


def test_the_share_of_slices_is_that_of_a_gee():
    import statsmodels.api as sm

    truth, scores, patient, _ = clustered(7, patients=40)
    right = (scores.argmax(axis=1) == truth).astype(float)
    found = sm.GEE(right, np.ones(len(right)), groups=patient, cov_struct=sm.cov_struct.Independence()).fit()
    totals = np.bincount(patient)
    ours = clustered_variance(share_influence(np.bincount(patient, weights=right), totals), np.zeros(len(totals)))
    robust = float(found.cov_params()[0, 0])  # the sandwich, without the factor n / (n - 1)
    assert ours == pytest.approx(robust * len(totals) / (len(totals) - 1))
    assert ours > 1.3 * right.mean() * (1 - right.mean()) / len(right)


def test_the_interval_by_hand():
    influence, strata = np.array([0.03, -0.03, 0.01, -0.02, 0.01]), np.array([0, 0, 1, 1, 1])
    first, second = 2 / 1 * 2 * 0.03**2, 3 / 2 * (0.01**2 * 2 + 0.02**2)
    variance, df = first + second, (first + second) ** 2 / (first**2 / 1 + second**2 / 2)
    assert degrees_of_freedom(influence, strata) == pytest.approx(df)
    half = stats.t.ppf(0.975, df) * math.sqrt(variance) / (0.9 * 0.1)
    expected = [1 / (1 + math.exp(-(math.log(9) + sign * half))) for sign in (-1, 1)]
    assert logit_t(0.9, influence, strata) == pytest.approx(expected)
    narrower = logit_t(0.9, influence, strata, 30)
    assert expected[0] < narrower[0] < 0.9 < narrower[1] < expected[1]


def test_where_nothing_varies_there_is_no_interval():
    assert logit_t(1.0, np.ones(4), np.arange(4) // 2) is None
    assert logit_t(0.5, np.ones(4), np.arange(4) // 2) is None
    assert logit_t(0.5, np.arange(4.0), np.arange(4)) is None  # alone in its stratum
    assert degrees_of_freedom(np.ones(4), np.zeros(4)) == math.inf


@pytest.mark.parametrize("which", ["areas", "sensitivity"])
def test_both_ways_agree_where_there_are_many_patients(which):
    truth, scores, patient, label = clustered(2, classes=3, patients=150)
    right = scores.argmax(axis=1) == truth
    found = []
    for name in ("logit_t", "bootstrap"):
        way = Way(name, 2000, [1])
        if which == "areas":
            each, mean, counted = class_areas(truth, scores, patient, label, way)
            found.append([*each, mean])
        else:
            mean, counted = mean_sensitivity(truth, right, patient, label, way)
            found.append([mean])
        assert counted == 3
    for one, other in zip(*found, strict=True):
        assert (one.method, other.method) == (LOGIT_T, PATIENT_BOOTSTRAP)
        assert one.value == other.value
        assert one.low == pytest.approx(other.low, abs=0.12 * (other.high - other.low))
        assert one.high == pytest.approx(other.high, abs=0.12 * (other.high - other.low))


def test_values_against_scikit_learn_and_missing_scores_left_out():
    truth, scores, patient, label = clustered(3, classes=3, patients=12)
    lost = patient == 5
    with_gaps = np.where(lost[:, None], np.nan, scores)
    each, mean, _ = class_areas(truth, with_gaps, patient, label, Way("logit_t", 2, [0]))
    for k in range(3):
        assert each[k].value == pytest.approx(roc_auc_score(truth[~lost] == k, scores[~lost, k]))
        assert (each[k].n_patients, each[k].few_patients) == (35, True)
        assert each[k].low < each[k].value < each[k].high
    assert mean.value == pytest.approx(np.mean([one.value for one in each]))
    assert mean.high - mean.low < max(one.high - one.low for one in each)


@pytest.mark.parametrize("name", ["logit_t", "bootstrap"])
def test_what_has_no_interval_says_why(name):
    way = Way(name, 20, [0])
    truth, scores, patient, label = clustered(4, classes=3, patients=12)
    absent = truth != 2
    inside, row = np.unique(patient[absent], return_inverse=True)
    each, mean, counted = class_areas(truth[absent], scores[absent], row, label[inside], way)
    assert (each[2].value, each[2].method, counted) == (None, UNDEFINED, 2)
    assert mean.value is not None
    nine = patient < 9  # nine patients of the first class and nobody else
    nobody, none, counted = class_areas(truth[nine], scores[nine], patient[nine], label, way)
    assert ({one.method for one in nobody}, none.value, counted) == ({UNDEFINED}, None, 0)
    perfect = np.eye(3)[truth] + 0.001 * scores
    each, mean, _ = class_areas(truth, perfect, patient, label, way)
    assert {one.method for one in [*each, mean]} == {NO_SPREAD}
    assert mean_sensitivity(truth, truth >= 0, patient, label, way)[0].method == NO_SPREAD
    few = (patient >= 3) & (patient < 24)  # nine and twelve patients
    assert mean_sensitivity(truth[few], (patient % 2 == 0)[few], patient[few], label, way)[0].method == TOO_FEW


def test_an_unknown_way_and_too_few_replicates_are_refused():
    with pytest.raises(UsageError, match="percentile"):
        Way("percentile", 100, [0])
    with pytest.raises(UsageError, match="two or more"):
        Way("bootstrap", 1, [0])


def test_the_bootstrap_in_its_strata_is_the_variance_of_the_parts():
    truth, scores, patient, label = clustered(6, patients=60)
    _, parts = auc_influence(truth == 1, scores[:, 1], patient, len(label))
    weights = PatientBootstrap.draw(label, 4000, np.random.default_rng(1)).weights
    assert (weights @ parts).var() * 60 / 59 == pytest.approx(clustered_variance(parts, label), rel=0.08)
