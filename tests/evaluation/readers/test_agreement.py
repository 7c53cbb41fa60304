"""Kappas against scikit-learn and statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

from covidct.evaluation.intervals import NO_SPREAD, TOO_FEW, UNDEFINED
from covidct.evaluation.readers.agreement import cohen, fleiss, with_interval


def calls(seed: int, raters: int = 4, n: int = 60, answers: int = 5) -> np.ndarray:
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, answers, n)
    return np.where(generator.random((raters, n)) < 0.6, truth, generator.integers(0, answers, (raters, n)))


@pytest.mark.parametrize("seed", range(5))
def test_they_are_those_of_scikit_learn_and_statsmodels(seed):
    found, patient = calls(seed), np.arange(60)
    one = np.ones((1, 60))
    assert cohen(found[0], found[1], patient, 7)(one)[0, 0] == pytest.approx(cohen_kappa_score(found[0], found[1]))
    expected = fleiss_kappa(aggregate_raters(found.T)[0])
    assert fleiss(found, patient, 7)(one)[0, 0] == pytest.approx(expected)


def test_weights_of_patients_are_copies_of_patients():
    found, generator = calls(9), np.random.default_rng(0)
    patient = np.repeat(np.arange(20), 3)
    weights = generator.integers(0, 4, 20)
    copied = np.concatenate([np.flatnonzero(patient == p) for p in range(20) for _ in range(weights[p])])
    mine = cohen(found[0], found[1], patient, 5)(weights[None].astype(float))[0, 0]
    assert mine == pytest.approx(cohen_kappa_score(found[0][copied], found[1][copied]))
    several = fleiss(found, patient, 5)(weights[None].astype(float))[0, 0]
    assert several == pytest.approx(fleiss_kappa(aggregate_raters(found[:, copied].T)[0]))


def test_an_interval_is_about_patients():
    found = calls(3)
    alone = with_interval(cohen(found[0], found[1], np.arange(60), 5), np.zeros(60, dtype=int), replicates=500)
    assert alone.low < alone.value < alone.high
    patient = np.repeat(np.arange(60), 10)
    copied = cohen(*np.repeat(found[:2], 10, axis=1), patient, 5)
    same = with_interval(copied, np.zeros(60, dtype=int), replicates=500)
    assert (same.low, same.high) == pytest.approx((alone.low, alone.high))  # not a third as wide


def test_where_there_is_no_kappa_or_no_interval():
    always = np.zeros(30, dtype=int)
    nothing = with_interval(cohen(always, always, np.arange(30), 3), np.zeros(30, dtype=int))
    assert (nothing.value, nothing.method) == (None, UNDEFINED)
    found = calls(4, n=8)
    few = with_interval(cohen(found[0], found[1], np.arange(8), 5), np.zeros(8, dtype=int))
    assert few.value is not None
    assert (few.low, few.method) == (None, TOO_FEW)
    same = with_interval(cohen(found[0].repeat(4), found[0].repeat(4), np.arange(32), 5), np.zeros(32, dtype=int))
    assert (same.value, same.low, same.method) == (1, None, NO_SPREAD)
