"""The whole of calibration.json: what may depend on what."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from covidct.errors import IntegrityError, UsageError
from covidct.evaluation.calibration import calibrate
from covidct.evaluation.patient import patient_table
from covidct.evaluation.predictions import Predictions
from tests.evaluation.factories import by_hand, simulated


@pytest.fixture(scope="module")
def table() -> Predictions:
    home = simulated(patients=10, slices=4, sites=("home",), splits=("val",), seed=1)
    away = simulated(patients=10, slices=4, splits=("test",), seed=2)
    return Predictions(pd.concat([home.frame, away.frame], ignore_index=True), away.scheme, away.meta)


@pytest.fixture(scope="module")
def result(table: Predictions) -> dict:
    return calibrate(table, replicates=30)


CHOSEN = ("temperature", "conformal", "referral")


def test_permuting_test_labels_changes_nothing_that_is_chosen(table: Predictions, result: dict) -> None:
    frame = table.frame.copy()
    test = frame["split"] == "test"
    keys = frame.loc[test, ["site", "patient_key", "label"]].drop_duplicates()
    shuffled = keys.assign(label=np.random.default_rng(0).permutation(keys["label"].to_numpy()))
    labels = shuffled.set_index(["site", "patient_key"])["label"]
    places = pd.MultiIndex.from_frame(frame.loc[test, ["site", "patient_key"]])
    frame.loc[test, "label"] = labels.reindex(places).to_numpy()
    other = calibrate(Predictions(frame, table.scheme, table.meta), replicates=30)
    assert {key: other[key] for key in CHOSEN} == {key: result[key] for key in CHOSEN}
    assert other["blocks"] != result["blocks"]


def test_validation_labels_do_change_it(table: Predictions, result: dict) -> None:
    frame = table.frame.copy()
    names = np.array(table.scheme.names)
    validation = frame["split"] == "val"
    frame.loc[validation, "label"] = names[
        (pd.Categorical(frame.loc[validation, "label"], categories=names).codes + 1) % len(names)
    ]
    other = calibrate(Predictions(frame, table.scheme, table.meta), replicates=30)
    assert other["temperature"] != result["temperature"]
    assert other["conformal"] != result["conformal"]


def test_the_order_of_the_rows_does_not_matter(table: Predictions, result: dict) -> None:
    mixed = table.frame.sample(frac=1, random_state=3).reset_index(drop=True)
    assert calibrate(Predictions(mixed, table.scheme, table.meta), replicates=30) == result


def test_sites_first_then_pooled_and_both_levels(table: Predictions, result: dict) -> None:
    places = [(block["site"], block["level"]) for block in result["blocks"]]
    assert places == [(site, level) for site in ("north", "south", "(pooled)") for level in ("patient", "slice")]
    assert [block["n_cases"] for block in result["blocks"]] == [50, 200, 50, 200, 100, 400]
    json.dumps(result, allow_nan=False)


def test_patients_are_the_mean_probability_of_the_patient_table(table: Predictions, result: dict) -> None:
    patients = patient_table(table)
    patients = patients[(patients["split"] == "test") & (patients["site"] == "north")]
    right = (patients["mean_probability"] == patients["label"]).mean()
    assert result["blocks"][0]["raw"]["accuracy"] == pytest.approx(right)
    means = patients[[f"mean_probability_{name}" for name in table.scheme.names]].to_numpy()
    assert result["blocks"][0]["raw"]["mean_confidence"] == pytest.approx(means.max(axis=1).mean())


def test_raw_stays_beside_scaled(result: dict) -> None:
    for block in result["blocks"]:
        assert block["raw"]["accuracy"] == block["scaled"]["accuracy"]
        assert block["raw"]["nll"] != block["scaled"]["nll"]


def test_without_validation_nothing_is_chosen(table: Predictions) -> None:
    frame = table.frame[table.frame["split"] == "test"].reset_index(drop=True)
    found = calibrate(Predictions(frame, table.scheme, table.meta), replicates=5)
    block = found["blocks"][0]
    assert block["scaled"] is None
    assert block["conformal"] == {"marginal": None, "by_class": None}
    assert block["referral"]["choices"][0]["referred"] is None
    assert block["raw"]["top_label"]["ece"]["value"] is not None


def test_without_test_there_is_nothing_to_look_at(table: Predictions) -> None:
    frame = table.frame[table.frame["split"] == "val"].reset_index(drop=True)
    found = calibrate(Predictions(frame, table.scheme, table.meta), replicates=5)
    assert found["blocks"] == []
    assert found["temperature"]["slice"]["value"] is not None


def test_a_site_that_lacks_a_class_has_no_error_for_it(table: Predictions) -> None:
    frame = table.frame[~((table.frame["site"] == "north") & (table.frame["label"] == "covid19"))]
    found = calibrate(Predictions(frame.reset_index(drop=True), table.scheme, table.meta), replicates=5)
    absent = found["blocks"][0]["raw"]["per_class"]["covid19"]
    assert absent["ece"]["value"] is None
    assert absent["slope"]["value"] is None
    assert found["blocks"][0]["decision"] is None
    assert found["blocks"][0]["prevalence"]["rows"][0]["ppv"]["value"] is None


def test_refusals() -> None:
    table = simulated(patients=2, slices=2)
    with pytest.raises(UsageError, match="prevalence"):
        calibrate(table, prevalences=(0.0,))
    with pytest.raises(UsageError, match="two or more"):
        calibrate(table, replicates=1)
    torn = by_hand([("a", "normal", [1, 0, 0, 0, 0]), ("a", "covid19", [1, 0, 0, 0, 0])])
    with pytest.raises(IntegrityError, match="more than one"):
        calibrate(torn)
