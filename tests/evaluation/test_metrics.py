import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from covidct.evaluation.metrics import (
    COUNTING,
    Counts,
    auc,
    cells,
    confusion,
    counts,
    counts_from_confusion,
    macro,
    roc,
    thin,
    top1,
)

GENERATOR = np.random.default_rng(7)
TRUTH = GENERATOR.integers(0, 4, 500)
CALLED = np.where(GENERATOR.random(500) < 0.7, TRUTH, GENERATOR.integers(0, 4, 500))


def test_rows_are_truth_as_in_scikit_learn():
    matrix = confusion(TRUTH, CALLED, 4)
    assert np.array_equal(matrix, sklearn_metrics.confusion_matrix(TRUTH, CALLED))
    assert confusion(np.array([0]), np.array([1]), 2).tolist() == [[0, 1], [0, 0]]
    assert top1(matrix) == pytest.approx(sklearn_metrics.accuracy_score(TRUTH, CALLED))


def test_counting_metrics_against_scikit_learn():
    for k in range(4):
        found = counts(cells(TRUTH, CALLED, k))
        truth, called = np.equal(TRUTH, k), np.equal(CALLED, k)
        (tn, fp), (fn, tp) = sklearn_metrics.confusion_matrix(truth, called)
        assert (found.tp, found.fp, found.fn, found.tn) == (tp, fp, fn, tn)
        assert found.accuracy == pytest.approx(sklearn_metrics.accuracy_score(truth, called))
        assert found.sensitivity == pytest.approx(sklearn_metrics.recall_score(truth, called))
        assert found.specificity == pytest.approx(sklearn_metrics.recall_score(~truth, ~called))
        assert found.ppv == pytest.approx(sklearn_metrics.precision_score(truth, called))
        assert found.npv == pytest.approx(sklearn_metrics.precision_score(~truth, ~called))


def test_the_liver_scan_of_altman_and_bland():
    found = Counts(tp=231, fn=27, fp=32, tn=54)
    assert [round(getattr(found, name), 4) for name in COUNTING] == [0.8285, 0.8953, 0.6279, 0.8783, 0.6667]


@pytest.mark.parametrize(
    ("found", "undefined"),
    [
        (Counts(0, 3, 0, 7), {"sensitivity"}),  # no case of the class
        (Counts(6, 0, 4, 0), {"specificity"}),  # nothing but the class
        (Counts(0, 0, 4, 6), {"ppv"}),  # never called
        (Counts(4, 6, 0, 0), {"npv"}),  # always called
        (Counts(0, 0, 0, 0), set(COUNTING)),
    ],
)
def test_undefined_is_none_and_nothing_else_is(found, undefined):
    assert {name for name in COUNTING if getattr(found, name) is None} == undefined


def test_a_defined_zero_is_zero():
    assert Counts(0, 0, 5, 5).sensitivity == 0.0
    assert Counts(0, 5, 5, 0).specificity == 0.0


# Classes normal, a, b; columns normal, a, b, conflict (3), no result (4). One case for each thing that can happen.
CASES = [
    # truth, outcome, diseases seen, expected cell for normal, a, b
    (0, 0, (), "tp tn tn"),
    (0, 3, (1, 2), "fn fp fp"),  # a healthy patient with two alarms is a false alarm of both
    (0, 4, (), "fn fp fp"),  # nothing was ruled out
    (1, 1, (1,), "tn tp tn"),
    (1, 3, (1, 2), "tn fn fp"),  # a was seen, but nobody was told that it is a; healthy was ruled out, rightly
    (1, 4, (), "fp fn fp"),  # might have been healthy for all we know
    (2, 0, (), "fp tn fn"),
]


def as_arrays(cases):
    called = np.zeros((len(cases), 3), dtype=bool)
    for row, (_, _, seen, _) in enumerate(cases):
        called[row, list(seen)] = True
    return np.array([case[0] for case in cases]), np.array([case[1] for case in cases]), called


def test_conflict_and_no_result_are_never_to_the_models_credit():
    truth, outcome, called = as_arrays(CASES)
    for k in range(3):
        found = cells(truth, outcome, k, conflict=3, no_result=4, called=called)
        assert [("tp", "fp", "fn", "tn")[cell] for cell in found] == [case[3].split()[k] for case in CASES]


def test_a_disease_that_was_not_seen_in_a_conflict_was_ruled_out():
    torn = np.array([4])
    called = np.array([[False, True, True, False]])
    assert counts(cells(np.array([0]), torn, 3, conflict=4, called=called)) == Counts(0, 0, 0, 1)


@given(st.lists(st.sampled_from(CASES), min_size=1, max_size=60))
def test_every_case_is_in_one_cell_and_the_confusion_matrix_gives_the_same_counts(cases):
    truth, outcome, called = as_arrays(cases)
    matrix = confusion(truth, outcome, 3, 5)
    calls = np.array([called[(outcome == 3) & (truth == k)].sum(axis=0) for k in range(3)])
    for k in range(3):
        found = counts(cells(truth, outcome, k, conflict=3, no_result=4, called=called))
        assert found.n == len(cases)
        assert found == counts_from_confusion(matrix, k, conflict=3, no_result=4, conflict_calls=calls)
        assert found.tp + found.fn == (truth == k).sum()
    assert top1(matrix) == pytest.approx(np.mean(truth == outcome))


def test_macro_is_over_the_defined_classes():
    assert macro([0.5, None, 1.0]) == (0.75, 2)
    assert macro([None, None]) == (None, 0)
    assert macro([0.0, 1.0]) == (0.5, 2)


@pytest.mark.parametrize("decimals", [1, 8])  # one decimal: many ties
def test_auc_and_roc_against_scikit_learn(decimals):
    positive = TRUTH == 1
    scores = np.round(GENERATOR.normal(size=500) + positive, decimals)
    assert auc(positive, scores) == pytest.approx(sklearn_metrics.roc_auc_score(positive, scores))
    fpr, tpr = roc(positive, scores)
    assert sklearn_metrics.auc(fpr, tpr) == pytest.approx(auc(positive, scores))


def test_auc_by_hand():
    positive = np.array([True] * 4 + [False] * 5)
    assert auc(positive, np.array([3, 5, 6, 7, 1, 2, 3, 4, 5.0])) == 17 / 20
    assert auc(positive, np.array([2, 6, 4, 7, 1, 3, 3, 2, 5.0])) == 31 / 40


def test_auc_without_one_of_the_groups_is_undefined():
    assert auc(np.array([True, True]), np.array([0.1, 0.2])) is None
    assert auc(np.array([False]), np.array([0.1])) is None
    assert auc(np.array([], dtype=bool), np.array([])) is None
    assert roc(np.array([False]), np.array([0.1])) is None


def test_a_case_without_a_score_is_not_ranked():
    positive = np.array([True, False, True])
    assert auc(positive, np.array([0.9, 0.1, np.nan])) == 1.0
    assert auc(positive, np.array([0.9, np.nan, 0.1])) is None


def test_thinning_keeps_the_ends_and_the_surroundings_of_the_operating_point():
    positive = GENERATOR.random(20_000) < 0.3
    fpr, tpr = roc(positive, GENERATOR.normal(size=20_000) + 1.5 * positive)
    assert len(fpr) > 2000
    point = (0.1234, float(np.interp(0.1234, fpr, tpr)))
    kept = thin(fpr, tpr, keep=point)
    assert len(kept) <= 200
    assert (np.diff(kept) > 0).all()
    assert (kept[0], kept[-1]) == (0, len(fpr) - 1)
    nearest = np.abs(fpr[kept] - point[0]) + np.abs(tpr[kept] - point[1])
    assert nearest.min() < 1e-3
    thinned = sklearn_metrics.auc(fpr[kept], tpr[kept])
    assert thinned == pytest.approx(sklearn_metrics.auc(fpr, tpr), abs=2e-4)


def test_a_short_curve_is_left_whole():
    assert thin(np.array([0, 0.5, 1]), np.array([0, 1, 1.0])).tolist() == [0, 1, 2]
