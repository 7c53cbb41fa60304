"""Oracles: worked numbers, torchmetrics, scikit-learn, brute force, a model that is right by construction."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from covidct.evaluation.calibration.agreement import agreement
from covidct.evaluation.calibration.brier import brier_parts, squared_distances
from covidct.evaluation.calibration.cases import Cases, cases_of
from covidct.evaluation.calibration.recalibration import recalibration
from covidct.evaluation.calibration.reliability import Bins, equal_mass_edges, equal_width_edges, error_interval
from covidct.evaluation.intervals import PatientBootstrap
from tests.evaluation.calibration.test_temperature import calibrated, independent
from tests.evaluation.factories import simulated

STATED = np.array([0.25, 0.25, 0.55, 0.75, 0.75])
CAME = np.array([0, 0, 1, 1, 1], dtype=bool)


def test_worked_numbers() -> None:
    errors = Bins.of(STATED, CAME, edges=equal_width_edges(2)).errors()
    assert errors.l1[0] == pytest.approx(0.2900, abs=5e-5)
    assert errors.l2[0] == pytest.approx(0.2918, abs=5e-5)
    assert errors.largest[0] == pytest.approx(0.3167, abs=5e-5)


@pytest.mark.parametrize("bins", [2, 10, 15])
def test_equal_width_bins_agree_with_torchmetrics(bins: int) -> None:
    torch = pytest.importorskip("torch")
    from torchmetrics.functional.classification import binary_calibration_error

    generator = np.random.default_rng(bins)
    stated, came = generator.random(400), generator.random(400) < 0.4
    errors = Bins.of(stated, came, edges=equal_width_edges(bins)).errors()
    for norm, ours in zip(("l1", "l2", "max"), errors, strict=True):
        theirs = binary_calibration_error(torch.tensor(stated), torch.tensor(came.astype(int)), n_bins=bins, norm=norm)
        assert ours[0] == pytest.approx(float(theirs), abs=1e-6)


def test_equal_mass_bins_agree_with_scikit_learn() -> None:
    generator = np.random.default_rng(3)
    stated = generator.random(1500)
    came = generator.random(1500) < stated**2
    bins = Bins.of(stated, came)
    observed, mean = calibration_curve(came, stated, n_bins=15, strategy="quantile")
    counts = bins.counts.sum(axis=0)
    assert counts.tolist() == [100] * 15
    np.testing.assert_allclose(bins.hits.sum(axis=0) / counts, observed, atol=0.011)  # a tie at an edge may move
    np.testing.assert_allclose(bins.confidence.sum(axis=0) / counts, mean, atol=0.002)


def test_equal_values_share_a_bin_and_small_data_few_bins() -> None:
    edges = equal_mass_edges(np.r_[np.zeros(900), np.linspace(0.1, 1, 100)])
    assert edges[0] == 0.0
    assert edges[-1] == 1.0
    assert len(edges) == len(np.unique(edges)) < 15
    assert len(equal_mass_edges(np.linspace(0, 1, 40))) == 4
    assert len(equal_mass_edges(np.linspace(0, 1, 3))) == 2


def test_weights_are_copies_of_patients() -> None:
    cases = cases_of(simulated(patients=5, slices=4), "test", "slice", "north")
    bins = Bins.of(cases.confidence, cases.right, cases.patient)
    weight = np.random.default_rng(0).integers(0, 4, cases.n_patients)
    rows = np.repeat(np.arange(len(cases)), weight[cases.patient])
    copied = Bins.of(cases.confidence[rows], cases.right[rows], edges=bins.edges).errors()
    for ours, brute in zip(bins.errors(weight[None].astype(float)), copied, strict=True):
        assert ours[0] == pytest.approx(brute[0])


def _study(cases: Cases, seed: int = 0) -> dict:
    bootstrap = PatientBootstrap.draw(cases.strata, 200, np.random.default_rng(seed))
    return agreement(cases, bootstrap, np.random.default_rng(seed))


def test_a_perfect_model_shows_what_the_ideal_model_shows() -> None:
    drawn, truth = calibrated(600, 4, seed=8)
    fair = _study(independent(softmax(drawn, axis=1), truth))["top_label"]
    assert fair["ideal"]["low"] <= fair["ece"]["value"] <= fair["ideal"]["high"]
    assert fair["ideal"]["mean"] > 0.01
    bold = _study(independent(softmax(2.5 * drawn, axis=1), truth))["top_label"]
    assert bold["ece"]["low"] > 2 * bold["ideal"]["high"]


def test_the_ideal_errors_shrink_with_patients_not_with_slices() -> None:
    drawn, truth = calibrated(60, 3, seed=9)
    one = independent(softmax(drawn, axis=1), truth)
    rows = np.repeat(np.arange(60), 20)
    copied = Cases("slice", one.scheme, truth[rows], one.probabilities[rows], rows, truth, one.site)
    many, few = (_study(cases)["top_label"]["ideal"]["mean"] for cases in (copied, one))
    assert many > 0.9 * few
    more = independent(softmax(calibrated(1200, 3, seed=9)[0], axis=1), calibrated(1200, 3, seed=9)[1])
    assert _study(more)["top_label"]["ideal"]["mean"] < 0.5 * few


def test_the_interval_holds_the_estimate_and_never_goes_below_zero() -> None:
    generator = np.random.default_rng(0)
    low, high = error_interval(0.01, 0.03 + np.abs(generator.normal(0, 0.02, 500)))
    assert low == 0.0
    assert low <= 0.01 <= high


def test_brier_agrees_with_scikit_learn_and_falls_into_its_parts() -> None:
    drawn, truth = calibrated(300, 5, seed=4)
    cases = independent(softmax(1.5 * drawn, axis=1), truth)
    distances = squared_distances(cases)
    assert distances.sum(axis=1).min() >= 0
    assert distances.sum(axis=1).max() <= 2
    for k in range(5):
        hit = truth == k
        assert distances[:, k].mean() == pytest.approx(brier_score_loss(hit, cases.probabilities[:, k]))
        parts = brier_parts(cases.probabilities[:, k], hit, Bins.of(cases.probabilities[:, k], hit).place)
        total = parts["reliability"] - parts["resolution"] + parts["uncertainty"]
        total += parts["within_variance"] - parts["within_covariance"]
        assert parts["brier"] == pytest.approx(total, abs=1e-12)
        assert parts["within_variance"] > 0
    worst = independent(np.eye(2)[[0] * 10 + [1] * 10], np.array([1] * 10 + [0] * 10))
    assert squared_distances(worst).sum(axis=1).tolist() == [2.0] * 20


def test_slope_and_intercept() -> None:
    drawn, truth = calibrated(3000, 2, seed=6)
    fair = recalibration(independent(softmax(drawn, axis=1), truth), 1)
    assert fair["slope"]["low"] < 1 < fair["slope"]["high"]
    assert fair["intercept"]["low"] < 0 < fair["intercept"]["high"]
    bold = recalibration(independent(softmax(2 * drawn, axis=1), truth), 1)
    assert bold["slope"]["value"] == pytest.approx(fair["slope"]["value"] / 2, abs=1e-3)
    rare = softmax(drawn + np.array([0.0, 1.0]), axis=1)
    assert recalibration(independent(rare, truth), 1)["intercept"]["value"] == pytest.approx(-1, abs=0.15)


def test_slope_and_intercept_where_there_is_none() -> None:
    separated = np.column_stack([np.linspace(0.9, 0.1, 40), np.linspace(0.1, 0.9, 40)])
    truth = np.repeat([0, 1], 20)
    assert recalibration(independent(separated, truth), 1)["slope"]["value"] is None
    one_class = recalibration(independent(separated, np.zeros(40, dtype=int)), 1)
    assert one_class["slope"]["value"] is None
    assert one_class["intercept"]["value"] is None
    few = np.array([0] * 35 + [1, 0, 1, 0, 1])
    assert recalibration(independent(separated, few), 1)["slope"]["low"] is None
