"""Shares on maps whose shares are known, intervals by patient, and a sanity check that can fail."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from covidct.evaluation.explanations.attribution import (
    border_mask,
    centred_blob,
    hits,
    rank_correlation,
    scores,
    share,
    similarity,
)
from covidct.evaluation.explanations.estimates import mean_share, mean_value, ratio, regions_summary
from covidct.evaluation.explanations.sanity import compared, judged


def half(size=20):
    mask = np.zeros((size, size), bool)
    mask[:, : size // 2] = True
    return mask


def test_shares_of_constructed_maps():
    mask = half()
    assert share(np.ones((20, 20)), mask) == 0.5
    assert share(mask.astype(float), mask) == 1
    assert share(np.where(mask, 1.0, 3.0), mask) == 0.25
    assert share(np.zeros((20, 20)), mask) is None
    assert share(np.full((20, 20), np.nan), mask) is None
    assert border_mask(20).sum() == 400 - 16 * 16
    blob = centred_blob(20)
    assert share(blob, mask) == pytest.approx(0.5)
    # a Gaussian of sigma 0.2 sides, cut at 0.1 and at the edge: erf(2 / sqrt 2) and erf(2.5 / sqrt 2), per axis
    inner = (stats.norm.cdf(2) - stats.norm.cdf(-2)) / (stats.norm.cdf(2.5) - stats.norm.cdf(-2.5))
    assert share(centred_blob(200), border_mask(200)) == pytest.approx(1 - inner**2, abs=1e-3)


def test_the_pointing_game():
    peak = np.zeros((20, 20))
    peak[3, 4] = 2
    assert hits(peak, half()) is True
    assert hits(peak, ~half()) is False
    assert hits(np.zeros((20, 20)), half()) is None
    assert hits(np.ones((20, 20)), half()) is None  # no peak


def test_what_cannot_be_known_is_none_and_an_empty_map_counts_nowhere():
    found = scores(half().astype(float), {"lung": None, "lesion": half(), "border": border_mask(20)})
    assert found["lung_map"] is found["lung_area"] is found["lung_blob"] is None
    assert (found["lesion_map"], found["lesion_area"], found["lesion_hit"]) == (1, 0.5, True)
    empty = scores(np.zeros((20, 20)), {"lesion": half()})
    assert set(empty.values()) == {None}


def test_one_slice_a_patient_is_the_t_interval():
    values = np.random.default_rng(1).normal(0.2, 0.1, 40)
    found = mean_value(values, np.arange(40))
    low, high = stats.t.interval(0.95, 39, values.mean(), stats.sem(values))
    assert (found.value, found.low, found.high) == pytest.approx((values.mean(), low, high))


def test_copies_of_a_patient_s_slices_add_nothing():
    generator = np.random.default_rng(2)
    values, area = generator.uniform(0.2, 0.9, 25), generator.uniform(0.1, 0.3, 25)
    patient = np.arange(25)
    for function in (mean_share, mean_value):
        once, thrice = function(values, patient), function(np.tile(values, 3), np.tile(patient, 3))
        assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))
    once, thrice = ratio(values, area, patient), ratio(np.tile(values, 3), np.tile(area, 3), np.tile(patient, 3))
    assert once.value == pytest.approx(values.mean() / area.mean())
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))
    assert 0 < mean_share(values, patient).low < mean_share(values, patient).high < 1


def test_intervals_cover_the_truth():
    generator, inside, patient = np.random.default_rng(3), 0, np.repeat(np.arange(20), 4)
    for _ in range(300):
        centre = np.repeat(generator.beta(4, 6, 20), 4)  # mean 0.4, patients differ
        values = np.clip(centre + generator.normal(0, 0.03, 80), 0, 1)
        found = mean_share(values, patient)
        inside += found.low <= 0.4 <= found.high
    assert 0.92 <= inside / 300 <= 0.985


def test_few_patients_and_no_spread_have_no_interval():
    assert mean_share(np.full(9, 0.5), np.arange(9)).method == "too few patients"
    assert mean_share(np.full(12, 0.5), np.arange(12)).method == "no spread between patients"
    assert mean_share(np.array([np.nan]), np.array([0])).value is None
    assert ratio(np.zeros(12), np.ones(12), np.arange(12)).low is None


def test_summary_of_a_sample():
    table = pd.DataFrame(
        {
            "site": ["a", "b"] * 6, "patient_key": ["x"] * 12,  # one key at two sites: two patients
            "lung_map": [0.6, 0.8] * 6, "lung_area": 0.35, "lung_blob": 0.5,
            "lesion_map": [0.2] + [None] * 11, "lesion_area": [0.1] + [None] * 11, "lesion_blob": [0.1] + [None] * 11,
            "lesion_hit": [True] + [None] * 11, "lesion_hit_blob": [False] + [None] * 11,
            "border_map": None, "border_area": None, "border_blob": None,
        }
    )  # fmt: skip
    found = regions_summary(table)
    assert found["border"] is None
    assert found["outside_body"] is None
    assert found["lung"]["attribution"]["value"] == pytest.approx(0.7)
    assert found["lung"]["enrichment"]["value"] == pytest.approx(2.0)
    assert found["lung"]["over_blob"]["value"] == pytest.approx(0.2)
    assert found["lung"]["n_patients"] == 2
    assert found["lung"]["attribution"]["low"] is None
    assert found["lesion"]["hit"]["value"] == 1
    assert found["lesion"]["hit_blob"]["value"] == 0
    assert found["lesion"]["n_slices"] == 1
    assert found["lesion"]["hit_chance"] == pytest.approx(0.1)


def pictures(cells):
    return np.kron(cells, np.ones((1, 3, 3)))


def patients(n):
    return pd.DataFrame({"site": "a", "patient_key": [f"p{k}" for k in range(n)]})


def test_the_sanity_check_fires_on_an_explainer_that_ignores_the_network_and_not_on_noise():
    generator = np.random.default_rng(0)
    own = generator.uniform(size=(12, 4, 4))
    noise = [generator.uniform(size=(12, 4, 4)) for _ in range(3)]
    original = own, pictures(own)
    constant = {stage: [original] * 2 for stage in ("classifier", "last_stage", "all")}
    found = judged(compared(original, constant), patients(12))
    assert found["alarm"]
    assert found["reason"] == "unchanged"
    assert found["stages"][-1]["rank_correlation"]["value"] == 1
    assert found["stages"][-1]["ssim"]["value"] == 1
    changed = {"classifier": [original], "all": [(each, pictures(each)) for each in noise]}
    found = judged(compared(original, changed), patients(12))
    assert not found["alarm"]
    by_stage = {one["stage"]: one for one in found["stages"]}
    assert abs(by_stage["all"]["rank_correlation"]["value"]) < 0.15
    assert by_stage["all"]["compared"] == 36
    assert by_stage["all"]["rank_correlation"]["n_patients"] == 12
    assert by_stage["classifier"]["rank_correlation"]["value"] == 1  # the last stage alone decides
    assert abs(by_stage["other slice"]["rank_correlation"]["value"]) < 0.3


def test_maps_without_any_pattern_are_an_alarm_too():
    flat = np.ones((12, 4, 4))
    found = judged(compared((flat, pictures(flat)), {"all": [(flat, pictures(flat))]}), patients(12))
    assert found["alarm"]
    assert found["reason"] == "constant"


def test_likeness_of_two_maps():
    one = np.arange(64.0).reshape(8, 8)
    assert rank_correlation(one, one**3) == pytest.approx(1)
    assert rank_correlation(one, -one) == pytest.approx(-1)
    assert rank_correlation(one, np.ones((8, 8))) is None
    assert similarity(one, 7 * one) == pytest.approx(1)
    assert similarity(one, np.zeros((8, 8))) is None
