"""Times in pairs, on the log scale, with the patient as the unit."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from covidct.errors import UsageError
from covidct.evaluation.readers.reading_time import model_seconds, ratio, spread


def test_a_ratio_is_the_paired_t_interval_of_logs_and_wilcoxons_p():
    generator = np.random.default_rng(0)
    second = np.exp(generator.normal(4, 0.5, 40))
    first = second * np.exp(generator.normal(-0.2, 0.3, 40))
    found = ratio(first, second, np.arange(40))
    logs = np.log(first / second)
    ends = stats.ttest_1samp(logs, 0).confidence_interval(0.95)
    assert found["ratio"] == pytest.approx(stats.gmean(first / second))
    assert (found["low"], found["high"]) == pytest.approx((np.exp(ends.low), np.exp(ends.high)))
    assert found["p"] == pytest.approx(stats.wilcoxon(np.log(first), np.log(second)).pvalue)


def test_many_slices_of_a_patient_count_once():
    generator = np.random.default_rng(1)
    first, second = np.exp(generator.normal(4, 0.5, (2, 20)))
    once = ratio(first, second, np.arange(20))
    often = ratio(np.repeat(first, 9), np.repeat(second, 9), np.repeat(np.arange(20), 9))
    assert often["n_pairs"] == 180
    for key in ("ratio", "low", "high", "p", "n_patients"):
        assert often[key] == pytest.approx(once[key])


def test_pairs_without_a_time_are_left_out_and_few_have_no_interval():
    first, second = np.array([10.0, np.nan, 30.0, 5.0]), np.array([20.0, 10.0, np.nan, 10.0])
    found = ratio(first, second, np.arange(4))
    assert (found["ratio"], found["n_pairs"], found["low"], found["p"]) == (pytest.approx(0.5), 2, None, None)
    assert ratio(first[1:2], second[1:2], np.arange(1))["ratio"] is None
    assert spread(first) == {"n": 3, "median": 10.0, "q1": 7.5, "q3": 20.0}
    assert spread(np.array([np.nan]))["median"] is None


def test_the_models_time_is_both_or_none():
    assert model_seconds({"io": None, "inference": None}) is None
    assert model_seconds({"io": 0.02, "inference": 1, "hardware": "cpu"})["inference"] == 1.0
    for wrong in (
        {"io": 0.02},
        {"io": 0.02, "inference": 0},
        {"io": "fast", "inference": 1},
        {"io": True, "inference": 1},
    ):
        with pytest.raises(UsageError, match="model_seconds"):
            model_seconds(wrong)
