"""Oracles: a known temperature, scipy's softmax, scikit-learn's log loss and AUC."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import log_loss, roc_auc_score

from covidct.evaluation.calibration.cases import Cases
from covidct.evaluation.calibration.temperature import (
    NO_VALIDATION,
    SEPARATED,
    UNINFORMED,
    fit_temperature,
    logits,
    losses,
    scaled,
)
from covidct.labels import ClassScheme


def independent(probabilities: np.ndarray, truth: np.ndarray) -> Cases:
    """Patients, one case each."""
    n, k = probabilities.shape
    scheme = ClassScheme(tuple(f"c{number}" for number in range(k)))
    return Cases("patient", scheme, truth, probabilities, np.arange(n), truth, np.full(n, "north"))


def calibrated(n: int, k: int, seed: int, spread: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax is exactly the chance of each class, and labels drawn from it."""
    generator = np.random.default_rng(seed)
    drawn = generator.normal(size=(n, k)) * spread
    limits = softmax(drawn, axis=1).cumsum(axis=1)[:, :-1]
    return drawn, (generator.random((n, 1)) >= limits).sum(axis=1)


@pytest.mark.parametrize("k", [2, 5])
@pytest.mark.parametrize("stretch", [2.5, 0.4])
def test_a_known_temperature_is_recovered(k: int, stretch: float) -> None:
    drawn, truth = calibrated(4000, k, seed=k)
    found = fit_temperature(independent(softmax(drawn * stretch, axis=1), truth), replicates=200)
    assert found.value == pytest.approx(stretch, rel=0.08)
    assert found.low < stretch < found.high
    assert found.high - found.low < 0.25 * stretch
    assert found.nll_after < found.nll_before


def test_the_interval_covers() -> None:
    """Nominal 95 % over 100 patients; 60 studies make 49 or fewer hits a one in ten thousand event."""
    hits = 0
    for seed in range(60):
        drawn, truth = calibrated(100, 3, seed=seed)
        found = fit_temperature(independent(softmax(drawn * 1.7, axis=1), truth), replicates=100, seed=seed)
        hits += found.value is not None and found.low < 1.7 < found.high
    assert hits >= 50


def test_calls_and_two_class_auc_do_not_change() -> None:
    drawn, truth = calibrated(500, 2, seed=1)
    before = softmax(drawn * 3, axis=1)
    after = scaled(before, 2.2)
    assert (before.argmax(axis=1) == after.argmax(axis=1)).all()
    assert roc_auc_score(truth, after[:, 1]) == pytest.approx(roc_auc_score(truth, before[:, 1]), abs=1e-12)
    five = softmax(calibrated(500, 5, seed=2)[0], axis=1)
    assert (five.argmax(axis=1) == scaled(five, 7.0).argmax(axis=1)).all()
    np.testing.assert_allclose(scaled(five, 1.0), five, atol=1e-12)


def test_scaling_is_division_of_the_logits() -> None:
    drawn, truth = calibrated(50, 4, seed=3)
    np.testing.assert_allclose(scaled(softmax(drawn, axis=1), 1.7), softmax(drawn / 1.7, axis=1), atol=1e-9)
    expected = log_loss(truth, softmax(drawn / 1.7, axis=1), labels=range(4))
    assert losses(logits(softmax(drawn, axis=1)), truth, 1.7).mean() == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(8))
def test_the_validation_likelihood_never_gets_worse(seed: int) -> None:
    drawn, truth = calibrated(40, 3, seed=seed, spread=1.0)
    found = fit_temperature(independent(softmax(drawn, axis=1), truth), replicates=2)
    if found.value is not None:
        assert found.nll_after <= found.nll_before


def test_where_there_is_no_temperature() -> None:
    assert fit_temperature(None).reason == NO_VALIDATION
    truth = np.arange(60) % 3
    right = np.full((60, 3), 0.1)
    right[np.arange(60), truth] = 0.8
    assert (fit_temperature(independent(right, truth)).value, fit_temperature(independent(right, truth)).reason) == (
        None,
        SEPARATED,
    )
    assert fit_temperature(independent(right, (truth + 1) % 3)).reason == UNINFORMED


def test_a_certain_zero_is_no_infinity() -> None:
    probabilities = np.array([[1.0, 0.0]] * 20 + [[0.0, 1.0]] * 20)
    truth = np.array([0] * 19 + [1] * 21)
    found = fit_temperature(independent(probabilities, truth), replicates=20)
    assert np.isfinite(found.nll_before)
    assert found.value is not None
    assert found.value > 2
