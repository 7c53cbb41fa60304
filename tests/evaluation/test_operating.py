import copy
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covidct.errors import DataRefused, IntegrityError, UsageError
from covidct.evaluation.operating import choose_operating_point, choose_threshold, rules_to_try
from covidct.evaluation.operating_point import (
    FILE,
    Criterion,
    OperatingPoint,
    read_operating_point,
    validation_digest,
    write_operating_point,
)
from covidct.evaluation.patient import patient_table
from covidct.evaluation.predictions import Predictions, probability_columns
from covidct.evaluation.rule_spec import COUNTING, MEAN, PAPER
from covidct.evaluation.self_audit import self_audit
from covidct.evaluation.summary import POOLED, summarize
from covidct.labels import ClassScheme
from tests.evaluation.factories import FIVE, simulated

BINARY = ClassScheme(("covid19", "noncovid"), positive="covid19")


@pytest.fixture(scope="module")
def predictions() -> Predictions:
    return simulated(patients=12, slices=8, splits=("val", "test"), sites=("north", "south"), skill=2.2, icc=0.2)


@pytest.fixture(scope="module")
def point(predictions) -> OperatingPoint:
    return choose_operating_point(predictions)


@pytest.fixture(scope="module")
def summary(predictions, point) -> dict:
    return summarize(predictions, replicates=5, operating=point)


def by_hand(predictions: Predictions, rule) -> tuple[float, float, float]:
    """Mean sensitivity, and sensitivity and specificity of COVID-19, of a rule on validation, patient by patient."""
    inside = replace(predictions, frame=predictions.frame[predictions.frame["split"] == "val"])
    table = patient_table(inside, validation_rule=rule)
    shares = {name: (rows["validation_rule"] == name).mean() for name, rows in table.groupby("label")}
    others = table[table["label"] != "covid19"]
    alarm = (others["validation_rule"] == "covid19") | (
        (others["validation_rule"] == "conflict") & (others["n_seen_covid19"] > 0)
    )
    return float(np.mean(list(shares.values()))), float(shares["covid19"]), 1 - float(alarm.mean())


# --- chosen as it says ------------------------------------------------------------------------------------------------


def test_the_best_rule_is_the_best_of_the_list(predictions, point):
    rules = rules_to_try(FIVE)
    figures = [by_hand(predictions, rule) for rule in rules]
    assert [tuple(row[key] for key in ("macro_sensitivity", "sensitivity", "specificity")) for row in point.tried] == [
        pytest.approx(row) for row in figures
    ]
    best = max((round(macro, 9), round(specificity, 9)) for macro, _, specificity in figures)
    first = next(k for k, (macro, _, spec) in enumerate(figures) if (round(macro, 9), round(spec, 9)) == best)
    assert point.rule == rules[first]
    assert figures[rules.index(PAPER)][0] < best[0]  # the paper's rule is not good here, or the test says little
    assert point.fallback is None


def test_other_criteria(predictions):
    rules = rules_to_try(FIVE)
    figures = [by_hand(predictions, rule) for rule in rules]
    youden = choose_operating_point(predictions, Criterion("youden"))
    assert sum(by_hand(predictions, youden.rule)[1:]) == pytest.approx(max(a + b for _, a, b in figures))
    sensitive = choose_operating_point(predictions, Criterion("sensitivity", 0.9))
    _, sensitivity, specificity = by_hand(predictions, sensitive.rule)
    assert sensitive.reached
    assert sensitivity >= 0.9
    assert specificity == pytest.approx(max(b for _, a, b in figures if a >= 0.9))


def test_a_sensitivity_that_no_rule_reaches_is_said(predictions):
    frame = predictions.frame.copy()
    ill = frame["label"] == "covid19"
    frame.loc[ill, probability_columns(FIVE)] = [0.96, 0.01, 0.01, 0.01, 0.01]
    point = choose_operating_point(Predictions(frame, FIVE), Criterion("sensitivity", 0.95))
    assert point.reached is False


def test_the_simplest_of_equal_rules_wins():
    frame = simulated(patients=10, slices=4, splits=("val",), sites=("north",)).frame
    sure = np.full((len(frame), 5), 0.0025)
    sure[np.arange(len(frame)), [FIVE.index(label) for label in frame["label"]]] = 0.99
    frame[probability_columns(FIVE)] = sure
    assert choose_operating_point(Predictions(frame, FIVE)).rule == PAPER


def test_rules_are_tried_from_simple_to_complex_and_once():
    rules = rules_to_try(FIVE)
    assert rules[:2] == (PAPER, MEAN)
    assert len({json.dumps(rule.as_dict(), sort_keys=True) for rule in rules}) == len(rules)
    assert len({rule.words() for rule in rules}) == len(rules)
    assert not [rule for rule in rules_to_try(BINARY) if rule.name in COUNTING or "threshold" in rule.parameters]


@pytest.mark.parametrize("patients", [3, 9])
def test_with_few_patients_the_papers_rule_stays_and_it_is_said(patients):
    point = choose_operating_point(simulated(patients=patients, slices=3, splits=("val",), sites=("north",)))
    assert point.rule == PAPER
    assert f"fewer than 10 validation patients with Normal ({patients})" in str(point.fallback)
    assert {one.threshold for one in point.binary} == {None}
    assert "validation patients with COVID-19" in str(point.binary[0].reason)


def test_without_a_normal_class():
    predictions = simulated(scheme=BINARY, patients=12, slices=4, splits=("val", "test"), sites=("north",))
    point = choose_operating_point(predictions)
    assert point.rule.name not in COUNTING
    found = summarize(predictions, replicates=5, operating=point)
    assert [b["aggregation"] for b in found["blocks"]][:3] == ["argmax", "mean_probability", "validation_rule"]
    assert choose_operating_point(simulated(scheme=BINARY, patients=4, splits=("val",))).rule == MEAN


def test_nothing_to_choose_on():
    with pytest.raises(DataRefused, match="no validation slice"):
        choose_operating_point(simulated(patients=2, slices=2))
    scheme = ClassScheme(("a", "b"))
    with pytest.raises(DataRefused, match="positive class"):
        choose_operating_point(simulated(scheme=scheme, splits=("val",)), Criterion("youden"))


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 12)), min_size=2, max_size=40).filter(
        lambda rows: len({ill for ill, _ in rows}) == 2
    ),
    st.sampled_from([None, 0.5, 0.8, 0.95, 1.0]),
)
@settings(deadline=None)
def test_thresholds_against_trying_them_all(cases, sensitivity):
    positive = np.array([ill for ill, _ in cases])
    scores = np.array([score / 12 for _, score in cases])
    figures = {t: ((scores >= t)[positive].mean(), (scores < t)[~positive].mean()) for t in sorted(set(scores))}
    chosen = choose_threshold(positive, scores, sensitivity)
    if sensitivity is None:
        assert sum(figures[chosen]) == pytest.approx(max(sum(pair) for pair in figures.values()))
    else:
        assert chosen == max(t for t, (found, _) in figures.items() if found >= sensitivity - 1e-12)


def test_thresholds_are_those_of_the_positive_class(predictions, point):
    frame = predictions.frame[predictions.frame["split"] == "val"]
    ill = (frame["label"] == "covid19").to_numpy()
    assert [(one.level, one.criterion) for one in point.binary] == [
        (level, kind) for level in ("slice", "patient") for kind in ("youden", "sensitivity")
    ]
    called = frame["p_covid19"].to_numpy() >= point.binary[1].threshold
    assert point.binary[1].sensitivity == pytest.approx(called[ill].mean())
    assert point.binary[1].sensitivity >= 0.95
    assert point.binary[1].specificity == pytest.approx((~called[~ill]).mean())


# --- from validation only (evaluation.md B.6) -------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_no_test_row_changes_rule_threshold_or_digest(predictions, point, seed):
    generator = np.random.default_rng(seed)
    frame = predictions.frame.copy()
    test = (frame["split"] == "test").to_numpy()
    labels = frame.loc[test, "label"].to_numpy()
    frame.loc[test, "label"] = generator.permutation(labels)  # breaks patients too: nobody may look
    frame.loc[test, probability_columns(FIVE)] = generator.dirichlet(np.ones(5), test.sum())
    frame = frame[~test | (generator.random(len(frame)) < 0.5)].sample(frac=1, random_state=seed, ignore_index=True)
    again = choose_operating_point(Predictions(frame, FIVE))
    assert again == point
    assert again.digest == point.digest
    point.check(Predictions(frame, FIVE))


def test_validation_rows_do_change_it(predictions, point):
    """The same corruption on the other side of the fence is noticed: the test above can fail."""
    frame = predictions.frame.copy()
    val = (frame["split"] == "val").to_numpy()
    frame.loc[val, probability_columns(FIVE)] = np.random.default_rng(0).dirichlet(np.ones(5), val.sum())
    assert choose_operating_point(Predictions(frame, FIVE)).digest != point.digest


@pytest.mark.parametrize("change", ["probability", "label", "row", "classes"])
def test_it_belongs_to_its_validation_predictions(predictions, point, change):
    frame, scheme = predictions.frame.copy(), FIVE
    row = frame.index[frame["split"] == "val"][3]
    if change == "probability":
        frame.loc[row, "p_viral"] = np.nextafter(frame.loc[row, "p_viral"], 1)
    elif change == "label":
        frame.loc[row, "label"] = "viral"
    elif change == "row":
        frame = frame.drop(index=row)
    else:
        scheme = replace(FIVE, positive="viral")
    with pytest.raises(IntegrityError, match="other validation predictions"):
        point.check(Predictions(frame, scheme))


def test_the_digest_of_validation_rows_ignores_order(predictions):
    shuffled = predictions.frame.sample(frac=1, random_state=0)
    assert validation_digest(predictions) == validation_digest(Predictions(shuffled, FIVE))


# --- frozen -----------------------------------------------------------------------------------------------------------


def test_it_is_read_as_it_was_written(point, tmp_path):
    assert read_operating_point(tmp_path) is None
    write_operating_point(tmp_path, point)
    assert read_operating_point(tmp_path) == point


@pytest.mark.parametrize(
    "edit",
    [
        lambda value: value["rule"].update(name="noisy_or", parameters={}),
        lambda value: value["binary"][0].update(threshold=0.123),
        lambda value: value["validation"].update(digest="0" * 64),
        lambda value: value.update(fallback="because"),
        lambda value: value.pop("digest"),
        lambda value: value.pop("rule"),
        lambda value: value.clear(),
    ],
)
def test_an_edited_file_is_refused(point, tmp_path, edit):
    value = copy.deepcopy(point.as_dict())
    edit(value)
    (tmp_path / FILE).write_text(json.dumps(value))
    with pytest.raises(IntegrityError, match=r"remove operating_point\.json"):
        read_operating_point(tmp_path)


@pytest.mark.parametrize("text", ["[1]", "{}", '{"digest": 3}'])
def test_what_is_no_operating_point_is_refused(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(IntegrityError):
        read_operating_point(tmp_path)


@pytest.mark.parametrize(("name", "sensitivity"), [("best", 0.9), ("youden", 0), ("youden", 1.1), ("youden", "0.9")])
def test_a_criterion_that_is_none_is_refused(name, sensitivity):
    with pytest.raises(UsageError):
        Criterion(name, sensitivity)


# --- in metrics.json --------------------------------------------------------------------------------------------------


def test_the_other_blocks_stay_as_they_are(predictions, summary):
    plain = summarize(predictions, replicates=5)
    assert [b for b in summary["blocks"] if b["aggregation"] != "validation_rule"] == plain["blocks"]
    assert plain["operating_point"] is None
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_the_chosen_rule_has_a_block_per_site(predictions, point, summary):
    blocks = [b for b in summary["blocks"] if b["aggregation"] == "validation_rule"]
    assert [(b["split"], b["site"]) for b in blocks] == [
        (split, site) for split in ("val", "test") for site in ("north", "south", POOLED)
    ]
    assert {b["split"]: b["optimistic"] for b in blocks} == {"val": True, "test": False}
    table = patient_table(predictions, validation_rule=point.rule)
    table = table[(table["split"] == "test") & (table["site"] == "south")]
    found = next(b for b in blocks if (b["split"], b["site"]) == ("test", "south"))
    right = (table["label"] == table["validation_rule"]).mean()
    assert found["accuracy"]["value"] == pytest.approx(right)
    assert summary["operating_point"]["digest"] == point.digest


def test_figures_at_the_thresholds(predictions, point, summary):
    rows = {(r["split"], r["site"], r["level"], r["criterion"]): r for r in summary["binary"]}
    assert len(rows) == 2 * 3 * 4
    frame = predictions.frame[predictions.frame["split"] == "test"]
    ill, called = frame["label"] == "covid19", frame["p_covid19"] >= point.binary[0].threshold
    row = rows["test", POOLED, "slice", "youden"]
    assert row["counts"] == {
        "tp": int((ill & called).sum()), "fp": int((~ill & called).sum()),
        "fn": int((ill & ~called).sum()), "tn": int((~ill & ~called).sum()),
    }  # fmt: skip
    assert row["sensitivity"]["method"] == "korn_graubard"
    assert rows["test", "north", "patient", "youden"]["specificity"]["method"] == "clopper_pearson"
    assert rows["val", POOLED, "patient", "sensitivity"]["sensitivity"]["value"] >= 0.95


def test_the_audit_reads_the_new_figures(summary):
    for change in (
        lambda s: s["binary"][3]["counts"].update(fn=s["binary"][3]["counts"]["fn"] + 1),
        lambda s: s["binary"][0]["specificity"].update(value=0.5),
        lambda s: s["binary"][0].update(threshold=None),
        lambda s: next(b for b in s["blocks"] if b["aggregation"] == "validation_rule")["confusion"][0].reverse(),
    ):
        broken = copy.deepcopy(summary)
        change(broken)
        with pytest.raises(IntegrityError):
            self_audit(broken)
    self_audit(summary)


def test_a_patient_without_a_slice_is_neither_found_nor_ruled_out(predictions, point):
    unseen = pd.DataFrame({"split": "test", "site": "west", "patient_key": ["x", "y"], "label": ["covid19", "normal"]})
    found = summarize(predictions, replicates=5, operating=point, patients=unseen)
    rows = {(r["split"], r["site"], r["level"], r["criterion"]): r for r in found["binary"]}
    assert rows["test", "west", "patient", "youden"]["counts"] == {"tp": 0, "fp": 1, "fn": 1, "tn": 0}
    block = next(b for b in found["blocks"] if (b["site"], b["aggregation"]) == ("west", "validation_rule"))
    assert block["n_no_result"] == 2
