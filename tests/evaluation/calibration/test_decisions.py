"""Conformal sets, referral, decision curves, prevalence. Oracles: worked numbers, brute force, order statistics."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from covidct.evaluation.calibration.cases import Cases, cases_of
from covidct.evaluation.calibration.conformal import (
    choose_quantiles,
    class_sets,
    conformal_quantile,
    coverage,
    patients_needed,
)
from covidct.evaluation.calibration.decision import THRESHOLDS, decision_curve, net_benefit
from covidct.evaluation.calibration.prevalence import at_prevalences, predictive_values, prevalence_table
from covidct.evaluation.calibration.referral import RiskCoverage, best_area, referral, referral_thresholds
from covidct.evaluation.intervals import PatientBootstrap, proportion
from covidct.labels import ClassScheme
from tests.evaluation.calibration.test_temperature import calibrated, independent
from tests.evaluation.factories import simulated


def bootstrap(cases: Cases) -> PatientBootstrap:
    return PatientBootstrap.draw(cases.strata, 100, np.random.default_rng(0))


# --- conformal sets ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "alpha"), [(9, 0.1), (19, 0.05), (50, 0.1), (101, 0.2), (99, 0.01)])
def test_one_case_a_patient_is_the_order_statistic(n: int, alpha: float) -> None:
    scores = np.random.default_rng(n).random(n)
    rank = int(np.ceil(round((n + 1) * (1 - alpha), 9)))
    assert conformal_quantile(scores, np.arange(n), alpha) == np.sort(scores)[rank - 1]


def test_too_few_patients_are_refused() -> None:
    assert [patients_needed(alpha) for alpha in (0.1, 0.05, 0.2, 0.01)] == [9, 19, 4, 99]
    assert conformal_quantile(np.zeros(800), np.repeat(np.arange(8), 100), 0.1) is None
    assert conformal_quantile(np.zeros(900), np.repeat(np.arange(9), 100), 0.1) == 0.0
    chosen = choose_quantiles(cases_of(simulated(patients=4, sites=("home",), splits=("val",)), "val", "slice"))
    assert "quantiles" in chosen["marginal"]
    assert "COVID-19 has 4" in chosen["by_class"]["refused"]
    assert "no validation patients" in choose_quantiles(None)["marginal"]["refused"]


def test_copying_the_slices_of_a_patient_changes_nothing() -> None:
    generator = np.random.default_rng(5)
    patient, scores = np.repeat(np.arange(30), 4), generator.random(120)
    copies = np.repeat(np.arange(120), np.where(patient < 10, 7, 1))
    assert conformal_quantile(scores, patient) == conformal_quantile(scores[copies], patient[copies])


@pytest.mark.parametrize("level", ["patient", "slice"])
def test_the_promise_holds_for_new_patients(level: str) -> None:
    """Mean coverage over 60 studies of 20 calibration patients; slices that count as independent would fall short."""
    covered, by_class = [], []
    for seed in range(60):
        table = simulated(patients=10, slices=8, sites=("a",), splits=("val", "test"), icc=0.9, seed=seed,
                          scheme=ClassScheme(("x", "y")))  # fmt: skip
        validation, test = (cases_of(table, split, level) for split in ("val", "test"))
        result = coverage(test, choose_quantiles(validation))
        covered.append(result["marginal"]["coverage"]["value"])
        by_class.append(result["by_class"]["per_class"]["y"]["value"])
    assert np.mean(covered) > 0.885
    assert np.mean(by_class) > 0.88
    assert np.mean(covered) < 0.97


def test_sets_and_their_coverage_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.5, 0.5], [0.3, 0.7], [0.55, 0.45]])
    assert class_sets(probabilities, np.array([0.5, 0.5])).tolist() == [[1, 0], [1, 1], [0, 1], [1, 0]]
    cases = independent(probabilities, np.array([0, 1, 0, 1]))
    quantiles = {"quantiles": {"c0": 0.5, "c1": 0.5}}
    result = coverage(cases, {"marginal": quantiles, "by_class": {"refused": "few"}})
    assert result["by_class"] is None
    found = result["marginal"]
    assert found["coverage"]["value"] == 0.5
    assert found["mean_size"] == 1.25
    assert found["sizes"] == [0.0, 0.75, 0.25]
    assert found["single_right"]["value"] == pytest.approx(1 / 3)
    assert [found["per_class"][name]["value"] for name in ("c0", "c1")] == [0.5, 0.5]


# --- referral ---------------------------------------------------------------------------------------------------------


def test_the_curve_and_its_area_by_brute_force() -> None:
    generator = np.random.default_rng(1)
    confidence = np.round(generator.random(80), 1)  # with ties
    wrong, patient = generator.random(80) < 0.3, np.repeat(np.arange(20), 4)
    weight = generator.integers(0, 3, 20).astype(float)
    risks = []
    for case in range(80):
        kept = confidence >= confidence[case]
        mine = weight[patient[kept]]
        risks.append(((mine * wrong[kept]).sum() / mine.sum(), weight[patient[case]]))
    expected = sum(risk * mine for risk, mine in risks if mine) / sum(mine for _, mine in risks)
    assert RiskCoverage(confidence, wrong, patient).area(weight[None])[0] == pytest.approx(expected)


def test_the_best_order_and_no_order() -> None:
    wrong = np.arange(50) >= 40
    best = RiskCoverage(np.linspace(1, 0.5, 50), wrong, np.arange(50)).area(np.ones((1, 50)))[0]
    assert best == pytest.approx(best_area(0.2, 50))
    assert RiskCoverage(np.full(50, 0.7), wrong, np.arange(50)).area(np.ones((1, 50)))[0] == pytest.approx(0.2)


def test_referral_by_hand() -> None:
    truth = np.array([0] * 10 + [1] * 10)
    sure = np.linspace(0.95, 0.55, 20)
    probabilities = np.column_stack([sure, 1 - sure])
    scheme = ClassScheme(("c0", "c1"), positive="c1")
    cases = Cases("patient", scheme, truth, probabilities, np.arange(20), truth, np.full(20, "north"))
    [choice] = referral_thresholds(cases, (0.25,))
    assert (cases.confidence < choice["threshold"]).sum() == 5
    [found] = referral(cases, [choice], bootstrap(cases))["choices"]
    assert found["referred"]["value"] == 0.25
    assert found["error_kept"]["value"] == pytest.approx(5 / 15)
    assert found["error_referred"]["value"] == 1.0
    assert (found["missed"], found["positives"]) == (5, 10)
    assert referral_thresholds(None)[0]["threshold"] is None


# --- decision curves --------------------------------------------------------------------------------------------------


def test_net_benefit_worked_numbers() -> None:
    assert net_benefit(80, 150, 1000, 0.10) == pytest.approx(0.0633333, abs=5e-8)
    assert net_benefit(100, 900, 1000, 0.10) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("level", ["patient", "slice"])
def test_the_decision_curve_by_brute_force(level: str) -> None:
    cases = cases_of(simulated(patients=6, skill=2.5), "test", level)
    curve = decision_curve(cases, bootstrap(cases))
    ill, stated, n = cases.truth == 1, cases.probabilities[:, 1], len(cases)
    for place in (0, 9, 19, 49, 98):
        called, pt = stated >= THRESHOLDS[place], THRESHOLDS[place]
        expected = (called & ill).sum() / n - (called & ~ill).sum() / n * pt / (1 - pt)
        assert curve["model"][place] == pytest.approx(expected)
    assert curve["prevalence"] == pytest.approx(0.2)
    assert curve["treat_all"][19] == pytest.approx(0, abs=1e-12)  # the prevalence makes treating all worth nothing
    assert curve["treat_all"][18] > 0 > curve["treat_all"][20]
    assert curve["useful"]["from"] <= curve["sure"]["from"] <= curve["sure"]["to"] <= curve["useful"]["to"]


def test_no_decision_curve_without_both_kinds_of_case() -> None:
    none = cases_of(simulated(scheme=ClassScheme(("x", "y"))), "test", "patient")
    assert decision_curve(none, bootstrap(none)) is None
    assert prevalence_table(none, (0.1,)) is None
    few = cases_of(simulated(patients=2), "test", "patient", "north")
    assert decision_curve(few, bootstrap(few))["gain_low"] is None


# --- prevalence -------------------------------------------------------------------------------------------------------


def test_altman_and_blands_liver_scans() -> None:
    sensitivity, specificity = 231 / 258, 54 / 86
    assert predictive_values(sensitivity, specificity, 258 / 344) == pytest.approx((231 / 263, 54 / 81))
    ppv, npv = predictive_values(sensitivity, specificity, 0.75)
    assert (round(ppv, 4), round(npv, 4)) == (0.8783, 0.6667)
    ppv, npv = predictive_values(sensitivity, specificity, 0.25)
    assert (round(ppv, 4), round(npv, 4)) == (0.4451, 0.9474)


@pytest.mark.parametrize(("prevalence", "ppv"), [(0.05, 82.5), (0.01, 47.4), (0.001, 8.2)])
def test_the_papers_covid_figures_where_it_is_rarer(prevalence: float, ppv: float) -> None:
    assert 100 * predictive_values(0.982, 0.989, prevalence)[0] == pytest.approx(ppv, abs=0.05)


def test_intervals_come_from_both_ends() -> None:
    ones = np.ones(50, dtype=int)
    sensitivity = proportion(np.r_[ones[:45], 0, 0, 0, 0, 0], ones).as_dict()
    specificity = proportion(ones, ones).as_dict()
    [row] = at_prevalences(sensitivity, specificity, (0.1,))
    assert row["ppv"]["value"] == 1.0
    assert row["ppv"]["low"] == predictive_values(sensitivity["low"], specificity["low"], 0.1)[0]
    assert row["npv"]["low"] < row["npv"]["value"] < row["npv"]["high"]
    blind = proportion(0 * ones, ones).as_dict()
    assert at_prevalences(blind, specificity, (0.1,))[0]["ppv"]["value"] is None  # nobody is ever called


def test_drawn_from_the_probabilities_the_kept_are_better() -> None:
    drawn, truth = calibrated(600, 3, seed=12)
    cases = independent(softmax(drawn, axis=1), truth)
    found = referral(cases, referral_thresholds(cases), bootstrap(cases))
    kept = [choice["error_kept"]["value"] for choice in found["choices"]]
    assert found["error"]["value"] > kept[0] > kept[-1]
    assert found["aurc_best"] < found["aurc"]["low"] < found["aurc"]["value"] < found["aurc_blind"]
