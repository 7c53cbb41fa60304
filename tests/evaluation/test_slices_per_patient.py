import numpy as np
import pytest

from covidct.evaluation.figures_slices import draw_slices_per_patient
from covidct.evaluation.intervals import clopper_pearson
from covidct.evaluation.operating import choose_operating_point
from covidct.evaluation.patient import patient_table
from covidct.evaluation.predictions import Predictions
from covidct.evaluation.rule_spec import PAPER, RuleSpec
from covidct.evaluation.slices_per_patient import NAME, as_table, save_slices_per_patient, slices_per_patient
from covidct.labels import ClassScheme
from tests.evaluation.factories import FIVE, simulated

BINARY = ClassScheme(("covid19", "noncovid"), positive="covid19")


@pytest.fixture(scope="module")
def predictions() -> Predictions:
    """48 healthy patients with 1 to 24 slices, as many with COVID-19."""
    table = simulated(patients=24, slices=24, splits=("val", "test"), skill=2.5, icc=0.2)
    frame = table.frame
    number = frame["patient_key"].str[-4:].astype(int) % 24
    return Predictions(frame[frame["slice_number"] <= number].reset_index(drop=True), FIVE)


@pytest.fixture(scope="module")
def found(predictions) -> dict:
    return slices_per_patient(predictions, choose_operating_point(predictions))


def number_of(found: dict, rule: RuleSpec) -> int:
    return next(k for k, row in enumerate(found["rules"]) if row["name"] == rule.name and not row["parameters"])


def test_observed_groups_against_the_patient_table(predictions, found):
    table = patient_table(predictions)
    table = table[(table["split"] == "test") & (table["label"] == "normal")]
    rows = [row for row in found["observed"] if row["rule"] == number_of(found, PAPER)]
    assert sum(row["specificity"]["n_patients"] for row in rows) == len(table) == found["n_healthy"]
    assert [(row["least"], row["most"]) for row in rows] == [(1, 8), (9, 16), (17, 24)]
    for row in rows:
        inside = table[table["n_slices"].between(row["least"], row["most"])]
        right = int((inside["any_slice"] == "normal").sum())
        assert row["specificity"]["value"] == pytest.approx(right / len(inside))
        assert (row["specificity"]["low"], row["specificity"]["high"]) == pytest.approx(
            clopper_pearson(right, len(inside))
        )


def test_one_slice_is_the_share_of_right_slices_and_all_are_the_rule(predictions):
    """Against the exact expectation: of n slices with w false alarms, m drawn without one: C(n-w, m) / C(n, m)."""
    from math import comb

    table = simulated(patients=30, slices=16, skill=2.0, icc=0.3, sites=("north",))
    found = slices_per_patient(table, None)
    frame = table.frame[table.frame["label"] == "normal"]
    called = frame[[f"p_{name}" for name in FIVE.names]].to_numpy().argmax(axis=1) != 0
    wrong = called.reshape(30, 16).sum(axis=1)
    paper = [row for row in found["computed"] if row["rule"] == number_of(found, PAPER)]
    assert [row["slices"] for row in paper] == [1, 2, 4, 8, 16]
    for row in paper:
        m = row["slices"]
        expected = np.mean([comb(16 - int(w), m) / comb(16, m) for w in wrong])
        assert row["specificity"]["value"] == pytest.approx(expected, abs=0.001 if m == 16 else 0.08)
    values = [row["specificity"]["value"] for row in paper]
    assert values == sorted(values, reverse=True)  # each set of slices holds the smaller one
    assert found["false_alarms"] == pytest.approx(wrong.mean() / 16)


def test_the_same_patients_at_every_number(predictions, found):
    counts = {row["specificity"]["n_patients"] for row in found["computed"]}
    assert counts == {found["n_healthy_computed"]}
    assert max(row["slices"] for row in found["computed"]) == 8  # the median patient has 12 or 13
    assert found["n_healthy_computed"] == 2 * 17
    assert {row["sensitivity"]["n_patients"] for row in found["computed"]} == {found["n_ill_computed"]}


def test_it_is_the_same_whatever_the_order(predictions, found):
    shuffled = Predictions(predictions.frame.sample(frac=1, random_state=2, ignore_index=True), FIVE)
    assert slices_per_patient(shuffled, choose_operating_point(predictions)) == found


def test_without_a_normal_class_it_is_about_the_positive_one():
    table = simulated(scheme=BINARY, patients=12, slices=4, sites=("north",))
    found = slices_per_patient(table, None)
    assert {row["name"] for row in found["rules"]} == {"top_k", "noisy_or", "mean_probability"}
    assert found["n_healthy"] == 12
    assert found["false_alarms"] is None
    mean = next(row for row in found["observed"] if row["rule"] == number_of(found, RuleSpec("mean_probability")))
    patients = patient_table(table)
    healthy = patients[patients["label"] == "noncovid"]
    assert mean["specificity"]["value"] == pytest.approx((healthy["mean_probability"] != "covid19").mean())


def test_nobody_healthy_gives_nothing_and_clears_what_was_there(predictions, tmp_path):
    save_slices_per_patient(tmp_path, predictions, None)
    files = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {f"{NAME}.json", f"{NAME}.csv", f"{NAME}.png", f"{NAME}.svg"}
    ill = Predictions(predictions.frame[predictions.frame["label"] != "normal"].reset_index(drop=True), FIVE)
    save_slices_per_patient(tmp_path, ill, None)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_figure_draws_the_table(found):
    figure = draw_slices_per_patient(found)
    table = as_table(found)
    assert len(table) == len(found["observed"]) + 2 * len(found["computed"])
    for axis, key in zip(figure.axes, ("specificity", "sensitivity"), strict=True):
        assert len(axis.lines) == len(found["rules"])
        for line, rule in zip(axis.lines, found["rules"], strict=True):
            rows = table[(table["view"] == "computed") & (table["figure"] == key) & (table["rule"] == rule["words"])]
            assert line.get_ydata() == pytest.approx(100 * rows["value"].to_numpy())
