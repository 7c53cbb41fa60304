import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covidct.errors import IntegrityError, UsageError
from covidct.evaluation.patient import CONFLICT, NO_RESULT, any_slice, called_class, mean_probability, patient_table
from covidct.evaluation.predictions import Predictions
from covidct.labels import ClassScheme
from tests.evaluation.factories import FIVE, by_hand, simulated

NORMAL = [0.8, 0.05, 0.05, 0.05, 0.05]
COVID = [0.1, 0.7, 0.1, 0.05, 0.05]
VIRAL = [0.1, 0.2, 0.6, 0.05, 0.05]
FAINT_COVID = [0.3, 0.4, 0.1, 0.1, 0.1]
BINARY = ClassScheme(("covid19", "noncovid"), positive="covid19")


def rows(*slices: list[float]) -> np.ndarray:
    return np.array(slices, dtype=np.float64).reshape(-1, 5)


@pytest.mark.parametrize(
    ("slices", "outcome"),
    [
        ([NORMAL], "normal"),
        ([COVID], "covid19"),
        ([NORMAL] * 40, "normal"),
        ([NORMAL] * 40 + [COVID], "covid19"),  # "even in only one image" (paper, line 152)
        ([COVID, VIRAL], CONFLICT),
        ([NORMAL] * 40 + [COVID] * 20 + [VIRAL], CONFLICT),  # the paper has no tie-break; neither have we
        ([], NO_RESULT),
        ([NORMAL, [np.nan] * 5], NO_RESULT),
        ([COVID, [np.nan, 0.25, 0.25, 0.25, 0.25]], NO_RESULT),
    ],
)
def test_the_rule_of_the_paper(slices, outcome):
    assert any_slice(rows(*slices), FIVE).outcome == outcome


def test_a_conflict_names_the_slices_of_each_disease():
    verdict = any_slice(rows(NORMAL, VIRAL, COVID, VIRAL), FIVE)
    assert verdict.slices == {"covid19": (2,), "viral": (1, 3)}
    assert any_slice(rows(NORMAL, NORMAL), FIVE).slices == {}


@pytest.mark.parametrize(
    ("threshold", "outcome"), [(None, "covid19"), (0.0, "covid19"), (0.4, "covid19"), (0.41, "normal"), (1.0, "normal")]
)
def test_a_slice_below_the_threshold_is_normal(threshold, outcome):
    assert any_slice(rows(NORMAL, FAINT_COVID), FIVE, slice_threshold=threshold).outcome == outcome


def test_a_threshold_can_settle_a_conflict():
    assert any_slice(rows(COVID, VIRAL), FIVE, slice_threshold=0.65).outcome == "covid19"


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_that_is_no_probability_is_refused(threshold):
    with pytest.raises(UsageError, match=r"0\.\.1"):
        any_slice(rows(NORMAL), FIVE, slice_threshold=threshold)


def test_ties_go_to_the_first_disease_and_never_to_normal():
    tied = rows([0.2] * 5, [0.3, 0.1, 0.3, 0.3, 0.0], [0.4, 0.1, 0.1, 0.0, 0.4], [0.6, 0.1, 0.1, 0.1, 0.1])
    assert called_class(tied, FIVE).tolist() == [1, 2, 4, 0]
    assert called_class(np.array([[0.5, 0.5]]), BINARY).tolist() == [0]


@given(st.lists(st.lists(st.integers(1, 1000), min_size=5, max_size=5), min_size=1, max_size=12))
def test_without_ties_a_slice_is_called_its_argmax(parts):
    probabilities = np.array([np.array(part) / sum(part) for part in parts])
    single = (probabilities == probabilities.max(axis=1, keepdims=True)).sum(axis=1) == 1
    assert (called_class(probabilities, FIVE)[single] == probabilities.argmax(axis=1)[single]).all()


@given(st.lists(st.sampled_from(range(5)), min_size=1, max_size=30))
def test_the_rule_against_its_sentence_in_the_paper(seen):
    diseases = {FIVE.names[k] for k in seen} - {"normal"}
    expected = "normal" if not diseases else diseases.pop() if len(diseases) == 1 else CONFLICT
    assert any_slice(np.eye(5)[seen] * 0.6 + 0.08, FIVE).outcome == expected


def test_scores_are_the_largest_probability_and_for_normal_the_smallest():
    verdict = any_slice(rows(NORMAL, COVID, VIRAL), FIVE)
    assert verdict.scores.tolist() == [0.1, 0.7, 0.6, 0.05, 0.05]
    assert np.isnan(any_slice(rows(), FIVE).scores).all()


def test_mean_probability_averages_slices():
    verdict = mean_probability(rows(NORMAL, COVID, COVID), FIVE)
    assert verdict.outcome == "covid19"
    assert verdict.scores == pytest.approx([1.0 / 3, 1.45 / 3, 0.25 / 3, 0.05, 0.05])
    assert mean_probability(rows(COVID, VIRAL), FIVE).outcome == "covid19"  # (.45 against .35)
    assert mean_probability(rows(), FIVE).outcome == NO_RESULT
    assert mean_probability(rows(NORMAL, [np.nan] * 5), FIVE).outcome == NO_RESULT


def test_without_a_normal_class_only_the_mean_is_defined():
    with pytest.raises(UsageError, match="normal"):
        any_slice(np.array([[0.9, 0.1]]), BINARY)
    assert mean_probability(np.array([[0.9, 0.1]]), BINARY).outcome == "covid19"
    table = patient_table(by_hand([("a", "covid19", [0.9, 0.1])], scheme=BINARY))
    assert "any_slice" not in table
    assert table["mean_probability"].tolist() == ["covid19"]


def test_the_patient_table_by_hand():
    predictions = by_hand(
        [
            ("b", "covid19", NORMAL),
            ("a", "normal", NORMAL),
            ("b", "covid19", COVID),
            ("a", "normal", NORMAL),
            ("b", "covid19", VIRAL),
            ("b", "covid19", VIRAL),
        ]
    )
    table = patient_table(predictions)
    assert table["patient_key"].tolist() == ["a", "b"]
    assert table["label"].tolist() == ["normal", "covid19"]
    assert table["n_slices"].tolist() == [2, 4]
    assert table["any_slice"].tolist() == ["normal", CONFLICT]
    assert table["n_called_covid19"].tolist() == [0, 1]
    assert table["n_called_viral"].tolist() == [0, 2]
    assert table["any_slice_viral"].tolist() == [0.05, 0.6]
    assert table["mean_probability_viral"].tolist() == pytest.approx([0.05, (0.05 + 0.1 + 0.6 + 0.6) / 4])
    assert table["mean_probability"].tolist() == ["normal", "viral"]


def test_a_patient_is_a_site_and_a_key_in_a_partition():
    predictions = simulated(patients=2, slices=3, splits=("val", "test"))
    assert predictions.frame["patient_key"].nunique() == 10
    table = patient_table(predictions)
    assert len(table) == 10 * 2 * 2
    assert (table["n_slices"] == 3).all()


def test_rows_in_any_order_give_the_same_table_to_the_last_digit():
    predictions = simulated(patients=3, slices=7)
    shuffled = predictions.frame.sample(frac=1, random_state=3, ignore_index=True)
    pd.testing.assert_frame_equal(
        patient_table(predictions), patient_table(Predictions(shuffled, FIVE)), check_exact=True
    )


def test_a_patient_without_a_usable_slice_has_no_result_and_is_not_lost():
    predictions = by_hand([("a", "normal", NORMAL)])
    everyone = pd.DataFrame(
        {"split": "test", "site": "north", "patient_key": ["a", "z"], "label": ["normal", "tuberculosis"]}
    )
    table = patient_table(predictions, patients=everyone)
    assert table["patient_key"].tolist() == ["a", "z"]
    assert table["n_slices"].tolist() == [1, 0]
    assert table["any_slice"].tolist() == ["normal", NO_RESULT]
    assert table["mean_probability"].tolist() == ["normal", NO_RESULT]
    assert np.isnan(table["any_slice_normal"][1])


def test_a_patient_with_two_labels_is_refused():
    with pytest.raises(IntegrityError, match="more than one class"):
        patient_table(by_hand([("a", "normal", NORMAL), ("a", "covid19", COVID)]))
    everyone = pd.DataFrame({"split": ["test"], "site": ["north"], "patient_key": ["a"], "label": ["viral"]})
    with pytest.raises(IntegrityError, match="its slices say normal"):
        patient_table(by_hand([("a", "normal", NORMAL)]), patients=everyone)


def test_a_class_may_not_be_named_like_an_outcome():
    scheme = ClassScheme(("normal", CONFLICT), normal="normal")
    with pytest.raises(UsageError, match="outcomes"):
        patient_table(by_hand([("a", "normal", [0.9, 0.1])], scheme=scheme))
