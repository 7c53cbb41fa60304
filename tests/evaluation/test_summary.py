import copy
import json

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sklearn_metrics

from covidct.errors import IntegrityError, UsageError
from covidct.evaluation.intervals import PatientBootstrap, clopper_pearson
from covidct.evaluation.patient import CONFLICT, NO_RESULT, patient_table
from covidct.evaluation.predictions import Predictions
from covidct.evaluation.summary import POOLED, self_audit, summarize
from covidct.labels import ClassScheme
from tests.evaluation.factories import FIVE, by_hand, simulated

NORMAL = [0.8, 0.05, 0.05, 0.05, 0.05]
COVID = [0.1, 0.7, 0.1, 0.05, 0.05]
VIRAL = [0.1, 0.2, 0.6, 0.05, 0.05]


@pytest.fixture(scope="module")
def predictions() -> Predictions:
    return simulated(patients=12, slices=6, splits=("val", "test"))


@pytest.fixture(scope="module")
def summary(predictions) -> dict:
    return summarize(predictions, replicates=60)


def block(summary: dict, split: str, site: str, aggregation: str) -> dict:
    (found,) = [b for b in summary["blocks"] if (b["split"], b["site"], b["aggregation"]) == (split, site, aggregation)]
    return found


def test_each_site_first_and_pooled_last(summary):
    order = [(b["split"], b["site"], b["level"], b["aggregation"]) for b in summary["blocks"]]
    assert order == [
        (split, site, level, aggregation)
        for split in ("val", "test")
        for site in ("north", "south", POOLED)
        for level, aggregation in (("slice", "argmax"), ("patient", "any_slice"), ("patient", "mean_probability"))
    ]


def test_one_site_is_not_pooled():
    summary = summarize(simulated(patients=3, slices=2, sites=("north",)), replicates=10)
    assert {b["site"] for b in summary["blocks"]} == {"north"}


def test_it_is_json_without_nan(summary):
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["rule"] == {"name": "any_slice", "slice_threshold": None, "source": "fixed", "omitted": None}


def test_slice_figures_against_scikit_learn(predictions, summary):
    frame = predictions.frame[(predictions.frame["split"] == "test") & (predictions.frame["site"] == "south")]
    found = block(summary, "test", "south", "argmax")
    scores = frame[[f"p_{name}" for name in FIVE.names]].to_numpy()
    called = np.array(FIVE.names)[scores.argmax(axis=1)]
    matrix = sklearn_metrics.confusion_matrix(frame["label"], called, labels=list(FIVE.names))
    assert found["confusion"] == matrix.tolist()
    assert found["confusion_columns"] == list(FIVE.names)
    assert found["accuracy"]["value"] == pytest.approx(sklearn_metrics.accuracy_score(frame["label"], called))
    assert found["macro_sensitivity"]["value"] == pytest.approx(
        sklearn_metrics.balanced_accuracy_score(frame["label"], called)
    )
    assert found["macro_auc"]["value"] == pytest.approx(
        sklearn_metrics.roc_auc_score(
            frame["label"], scores[:, np.argsort(FIVE.names)], multi_class="ovr", labels=sorted(FIVE.names)
        )
    )
    for k, name in enumerate(FIVE.names):
        truth = (frame["label"] == name).to_numpy()
        figures = found["per_class"][name]
        assert figures["auc"]["value"] == pytest.approx(sklearn_metrics.roc_auc_score(truth, scores[:, k]))
        assert figures["ppv"]["value"] == pytest.approx(sklearn_metrics.precision_score(truth, called == name))
        assert figures["sensitivity"]["n_patients"] == 12
        assert figures["specificity"]["n_patients"] == 48
        assert (figures["n_positive_slices"], figures["n_positive_patients"]) == (72, 12)
        assert figures["auc"]["method"] == "logit_t_by_patient"
        assert figures["auc"]["low"] < figures["auc"]["value"] < figures["auc"]["high"]
        assert figures["auc"]["few_patients"]
        assert figures["sensitivity"]["method"] == "korn_graubard"
    assert (found["n_slices"], found["n_patients"]) == (360, 60)


def test_patient_figures_against_the_patient_table(predictions, summary):
    table = patient_table(predictions)
    table = table[table["split"] == "test"]
    for rule in ("any_slice", "mean_probability"):
        found = block(summary, "test", POOLED, rule)
        columns = found["confusion_columns"]
        assert columns == [*FIVE.names, *([CONFLICT] if rule == "any_slice" else []), NO_RESULT]
        for row, label in zip(found["confusion"], FIVE.names, strict=True):
            outcomes = table.loc[table["label"] == label, rule]
            assert row == [int((outcomes == column).sum()) for column in columns]
        right = int((table["label"] == table[rule]).sum())
        assert found["accuracy"]["value"] == pytest.approx(right / 120)
        assert (found["accuracy"]["low"], found["accuracy"]["high"]) == pytest.approx(clopper_pearson(right, 120))
        assert found["accuracy"]["method"] == "clopper_pearson"
        covid = (table["label"] == "covid19").to_numpy()
        assert found["per_class"]["covid19"]["auc"]["value"] == pytest.approx(
            sklearn_metrics.roc_auc_score(covid, table[f"{rule}_covid19"])
        )
    assert block(summary, "test", POOLED, "any_slice")["n_conflict"] > 0


def test_conflict_and_no_result_by_hand():
    predictions = by_hand(
        [
            ("a", "normal", NORMAL),
            ("a", "normal", NORMAL),
            ("b", "normal", COVID),
            ("b", "normal", VIRAL),
            ("c", "covid19", COVID),
            ("d", "covid19", COVID),
            ("d", "covid19", VIRAL),
            ("e", "viral", VIRAL),
        ]
    )
    everyone = pd.DataFrame({"split": ["test"], "site": ["north"], "patient_key": ["z"], "label": ["viral"]})
    summary = summarize(predictions, replicates=10, patients=everyone)
    found = block(summary, "test", "north", "any_slice")
    assert found["confusion"] == [
        # normal covid viral bact. tb conflict none
        [1, 0, 0, 0, 0, 1, 0],
        [0, 1, 0, 0, 0, 1, 0],
        [0, 0, 1, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0],
    ]
    assert found["conflict_calls"][0] == [0, 1, 1, 0, 0]
    assert found["conflict_calls"][1] == [0, 1, 1, 0, 0]
    assert (found["n_patients"], found["n_conflict"], found["n_no_result"]) == (6, 2, 1)
    assert found["accuracy"]["value"] == pytest.approx(3 / 6)
    covid = {
        name: figure["value"] for name, figure in found["per_class"]["covid19"].items() if isinstance(figure, dict)
    }
    # tp c; fn d; fp b (alarm in the conflict), z (nothing ruled out); tn a, e
    assert covid["sensitivity"] == pytest.approx(1 / 2)
    assert covid["specificity"] == pytest.approx(2 / 4)
    assert covid["ppv"] == pytest.approx(1 / 3)
    assert covid["npv"] == pytest.approx(2 / 3)
    assert found["per_class"]["covid19"]["auc"]["n_patients"] == 5  # z has no score
    assert found["per_class"]["covid19"]["auc"]["method"] == "too few patients"
    bacterial = found["per_class"]["bacterial"]
    assert bacterial["sensitivity"]["value"] is None
    assert bacterial["auc"]["value"] is None
    assert found["roc"]["bacterial"] is None
    assert bacterial["specificity"]["value"] == pytest.approx(5 / 6)  # nothing was ruled out for z
    assert (found["macro_auc"]["classes_counted"], found["macro_sensitivity"]["classes_counted"]) == (3, 3)
    assert found["class_mix"]["viral"] == {"patients": 2, "slices": 1}
    slices = block(summary, "test", "north", "argmax")
    assert (slices["n_patients"], slices["n_slices"]) == (5, 8)
    assert slices["accuracy"]["low"] is None
    self_audit(summary)


def test_a_site_whose_scans_were_all_refused_is_reported_not_lost():
    everyone = pd.DataFrame({"split": ["test"], "site": ["south"], "patient_key": ["z"], "label": ["normal"]})
    summary = summarize(by_hand([("a", "normal", NORMAL)]), replicates=10, patients=everyone)
    found = block(summary, "test", "south", "any_slice")
    assert (found["n_patients"], found["n_no_result"]) == (1, 1)
    assert found["per_class"]["normal"]["sensitivity"]["value"] == 0.0
    assert found["per_class"]["normal"]["auc"]["value"] is None
    assert not [b for b in summary["blocks"] if b["site"] == "south" and b["level"] == "slice"]


def test_without_a_normal_class_the_rule_is_omitted_with_its_reason():
    scheme = ClassScheme(("covid19", "noncovid"), positive="covid19")
    predictions = simulated(scheme=scheme, patients=3, slices=2, sites=("north",))
    summary = summarize(predictions, replicates=10)
    assert [b["aggregation"] for b in summary["blocks"]] == ["argmax", "mean_probability"]
    assert "normal" in summary["rule"]["omitted"]
    with pytest.raises(UsageError, match="normal"):
        summarize(predictions, replicates=10, slice_threshold=0.5)


def test_the_threshold_reaches_the_rule(predictions, summary):
    strict = summarize(predictions, slice_threshold=0.9, threshold_source="validation", replicates=10)
    assert strict["rule"] == {"name": "any_slice", "slice_threshold": 0.9, "source": "validation", "omitted": None}
    before, after = (block(s, "test", POOLED, "any_slice") for s in (summary, strict))
    assert after["n_conflict"] < before["n_conflict"]
    assert after["per_class"]["normal"]["sensitivity"]["value"] > before["per_class"]["normal"]["sensitivity"]["value"]
    unchanged = [block(s, "test", POOLED, "argmax")["confusion"] for s in (summary, strict)]
    assert unchanged[0] == unchanged[1]


def test_the_order_of_rows_does_not_matter_and_the_seed_does(predictions, summary):
    shuffled = Predictions(predictions.frame.sample(frac=1, random_state=1), FIVE)
    assert summarize(shuffled, replicates=60) == summary
    drawn = [summarize(predictions, replicates=60, seed=seed, mean_intervals="bootstrap") for seed in (0, 1)]
    first, second = (block(found, "test", "north", "argmax")["macro_auc"] for found in drawn)
    assert first["method"] == "patient_bootstrap_bca"
    assert first["value"] == second["value"]
    assert first["low"] != second["low"]


def test_copies_of_slices_leave_the_patients_intervals(predictions, summary):
    frames = [predictions.frame.assign(slice_key=predictions.frame["slice_key"] + suffix) for suffix in "abcde"]
    copied = summarize(Predictions(pd.concat(frames, ignore_index=True), FIVE), replicates=60)
    before, after = (block(s, "test", POOLED, "argmax") for s in (summary, copied))
    assert after["n_slices"] == 5 * before["n_slices"]
    assert after["macro_auc"]["low"] == pytest.approx(before["macro_auc"]["low"], abs=1e-9)
    for key in ("low", "value", "high"):
        assert after["accuracy"][key] == pytest.approx(before["accuracy"][key], abs=2e-3)


def test_the_curve_is_thin_and_holds_the_operating_point():
    summary = summarize(simulated(patients=10, slices=60, sites=("north",)), replicates=10)
    for found in summary["blocks"]:
        for name, curve in found["roc"].items():
            figures = found["per_class"][name]
            assert len(curve["fpr"]) == len(curve["tpr"]) <= 200
            assert (curve["fpr"][0], curve["tpr"][0], curve["fpr"][-1], curve["tpr"][-1]) == (0, 0, 1, 1)
            assert (np.diff(curve["fpr"]) >= 0).all()
            assert (np.diff(curve["tpr"]) >= 0).all()
            assert curve["operating_point"]["tpr"] == figures["sensitivity"]["value"]
            assert curve["operating_point"]["fpr"] == pytest.approx(1 - figures["specificity"]["value"])


def test_patients_are_resampled_within_site_and_class(predictions, monkeypatch):
    drawn = []

    def recorded(strata, replicates, generator):
        found = PatientBootstrap(generator.integers(0, 3, (replicates, len(strata))) + 1.0, strata)
        drawn.append(found)
        return found

    monkeypatch.setattr(PatientBootstrap, "draw", recorded)
    summarize(predictions, replicates=3, mean_intervals="bootstrap")
    pooled = [found for found in drawn if len(found.strata) == 120]
    assert pooled
    for found in pooled:
        sizes = pd.Series(found.strata).value_counts()
        assert sizes.tolist() == [12] * 10  # two sites, five classes
    by_site = [found.weights for found in drawn if len(found.strata) == 60]
    assert len({weights.tobytes() for weights in by_site}) == 4  # val and test, north and south: each its own draws


def test_the_smaller_group_limits_the_auc():
    scheme = ClassScheme(("normal", "covid19"), normal="normal")
    table = simulated(scheme=scheme, patients=40, slices=3, sites=("north",))
    nine = table.frame[table.frame["label"] == "normal"]["patient_key"].unique()[:9]
    few = Predictions(table.frame[(table.frame["label"] == "covid19") | table.frame["patient_key"].isin(nine)], scheme)
    figures = block(summarize(few, replicates=10), "test", "north", "argmax")["per_class"]["covid19"]
    assert figures["n_positive_patients"] == 40
    assert figures["auc"]["method"] == "too few patients"
    assert figures["sensitivity"]["method"] == "korn_graubard"
    assert figures["specificity"]["method"] == "too few patients"


def test_a_summary_that_fails_its_audit_is_not_handed_out(predictions, monkeypatch):
    monkeypatch.setattr("covidct.evaluation.metrics.top1", lambda matrix: 0.99)
    with pytest.raises(IntegrityError, match="accuracy"):
        summarize(predictions, replicates=2)


def test_train_is_not_summarised_and_nothing_to_summarise_is_refused(predictions):
    train = Predictions(predictions.frame.assign(split="train").drop_duplicates("slice_key"), FIVE)
    with pytest.raises(IntegrityError, match="val or test"):
        summarize(train)
    both = Predictions(
        pd.concat([train.frame, predictions.frame[predictions.frame["split"] == "test"]], ignore_index=True), FIVE
    )
    assert {b["split"] for b in summarize(both, replicates=10)["blocks"]} == {"test"}


def test_wrong_parameters_are_refused(predictions):
    with pytest.raises(UsageError, match="validation"):
        summarize(predictions, threshold_source="test")
    with pytest.raises(UsageError, match="replicates"):
        summarize(predictions, replicates=1)
    with pytest.raises(UsageError, match=r"0\.\.1"):
        summarize(predictions, slice_threshold=50)


def poke(summary: dict, path: list, value) -> dict:
    changed = copy.deepcopy(summary)
    place = changed["blocks"][4]  # val, south, any_slice
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return changed


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["confusion", 1, 2], 9),
        (["confusion", 1, 5], 9),
        (["conflict_calls", 0, 1], 99),
        (["conflict_calls", 0], [0, 0, 0, 0, 0]),
        (["accuracy", "value"], 0.5),
        (["per_class", "viral", "ppv", "value"], 0.957),
        (["per_class", "viral", "npv", "value"], None),
        (["per_class", "viral", "n_positive_patients"], 13),
        (["per_class", "viral", "auc", "value"], 0.99),
        (["per_class", "viral", "auc", "high"], 1.01),
        (["macro_auc", "classes_counted"], 4),
        (["macro_sensitivity", "value"], None),
        (["roc", "normal", "operating_point", "fpr"], 0.123),
        (["n_conflict"], 0),
        (["n_no_result"], 3),
        (["n_patients"], 61),
        (["confusion_columns", 0], "covid19"),
    ],
)
def test_one_changed_cell_fails_the_self_audit(summary, path, value):
    self_audit(summary)
    with pytest.raises(IntegrityError) as caught:
        self_audit(poke(summary, path, value))
    assert caught.value.where == "val/south/patient/any_slice"
