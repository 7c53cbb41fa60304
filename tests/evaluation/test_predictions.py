import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from covidct.errors import DataRefused, IntegrityError
from covidct.evaluation.predictions import Predictions, read_predictions, verify, write_predictions
from covidct.labels import ClassScheme
from tests.evaluation.factories import FIVE, simulated


@pytest.fixture
def predictions() -> Predictions:
    return simulated(patients=2, slices=3)


def changed(predictions: Predictions, column: str, value: object, row: int = 4) -> Predictions:
    frame = predictions.frame.copy()
    frame.loc[row, column] = value
    return Predictions(frame, predictions.scheme, predictions.meta)


def test_what_is_read_is_what_was_written(tmp_path, predictions):
    write_predictions(tmp_path / "predictions.parquet", predictions)
    found = read_predictions(tmp_path / "predictions.parquet", scheme=FIVE)
    pd.testing.assert_frame_equal(found.frame, predictions.frame, check_dtype=False)
    assert found.frame["slice_label"].dtype == pd.Int8Dtype()
    assert found.frame["slice_number"].dtype == np.int32
    assert found.scheme == FIVE
    assert found.meta == predictions.meta
    assert np.array_equal(found.probabilities, predictions.probabilities)


def test_slice_labels_keep_unknown_apart_from_no_lesion(tmp_path, predictions):
    frame = predictions.frame.assign(slice_label=pd.array([1, 0, None] * (len(predictions.frame) // 3), dtype="Int8"))
    write_predictions(tmp_path / "p.parquet", Predictions(frame, FIVE))
    found = read_predictions(tmp_path / "p.parquet").frame["slice_label"]
    assert found[:2].tolist() == [1, 0]
    assert found[2] is pd.NA


def test_the_file_can_be_read_without_covidct_and_holds_nothing_undeclared(tmp_path, predictions):
    write_predictions(tmp_path / "p.parquet", predictions)
    table = pq.read_table(tmp_path / "p.parquet")
    assert set(table.schema.metadata) == {b"covidct"}
    header = json.loads(table.schema.metadata[b"covidct"])
    assert header["classes"]["names"] == list(FIVE.names)
    assert table.column_names[-5:] == [f"p_{name}" for name in FIVE.names]
    assert table.schema.field("slice_number").type == pa.int32()


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("p_covid19", np.nan, "NaN"),
        ("p_covid19", np.inf, "infinite"),
        ("p_covid19", -0.1, "outside 0..1"),
        ("p_covid19", 1.2, "outside 0..1"),
        ("p_covid19", 0.9999, "sum to 1"),
        ("label", "influenza", "column label"),
        ("label", None, "column label is empty"),
        ("split", "holdout", "column split"),
        ("patient_key", None, "column patient_key is empty"),
        ("slice_label", 2, "slice_label"),
    ],
)
def test_a_wrong_value_is_refused_with_its_count_and_slice_key(predictions, column, value, message):
    wrong = changed(predictions, column, value)
    with pytest.raises(IntegrityError, match=message) as caught:
        verify(wrong)
    assert "1 of 60 rows" in str(caught.value)
    assert str(predictions.frame["slice_key"][4]) in str(caught.value)


@pytest.mark.parametrize(("error", "refused"), [(5e-6, False), (5e-5, True)])
def test_rows_sum_to_one_within_the_rounding_of_float32(predictions, error, refused):
    nearly = changed(predictions, "p_covid19", predictions.frame["p_covid19"][4] + error)
    if not refused:
        verify(nearly)
        return
    with pytest.raises(IntegrityError, match="sum to 1"):
        verify(nearly)


def test_a_slice_twice_in_one_partition_is_refused_but_not_in_two(predictions):
    with pytest.raises(IntegrityError, match="more than once"):
        verify(changed(predictions, "slice_key", predictions.frame["slice_key"][3]))
    both = pd.concat([predictions.frame, predictions.frame.assign(split="val")], ignore_index=True)
    verify(Predictions(both, FIVE))


def test_missing_undeclared_and_misordered_columns_are_refused(predictions):
    frame = predictions.frame
    with pytest.raises(IntegrityError, match=r"lacks.*series_key"):
        verify(Predictions(frame.drop(columns="series_key"), FIVE))
    with pytest.raises(IntegrityError, match=r"not declared.*path"):
        verify(Predictions(frame.assign(path="a/b.dcm"), FIVE))
    swapped = ClassScheme(("covid19", "normal", "viral", "bacterial", "tuberculosis"), normal="normal")
    with pytest.raises(IntegrityError, match="order"):
        verify(Predictions(frame, swapped))
    with pytest.raises(IntegrityError, match="metadata"):
        verify(Predictions(frame, FIVE, {"operator": "someone"}))
    with pytest.raises(IntegrityError, match="no rows"):
        verify(Predictions(frame.iloc[:0], FIVE))


def test_another_class_order_or_another_normal_is_refused_when_reading(tmp_path, predictions):
    write_predictions(tmp_path / "p.parquet", predictions)
    with pytest.raises(IntegrityError, match="in this order"):
        read_predictions(tmp_path / "p.parquet", scheme=ClassScheme(tuple(reversed(FIVE.names)), normal="normal"))
    with pytest.raises(IntegrityError, match="normal"):
        read_predictions(tmp_path / "p.parquet", scheme=ClassScheme(FIVE.names, normal=None))


def test_a_file_that_is_something_else_is_refused(tmp_path, predictions):
    with pytest.raises(DataRefused, match="does not exist"):
        read_predictions(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("slice_key,p_normal\n")
    with pytest.raises(DataRefused, match="not a Parquet file"):
        read_predictions(tmp_path / "text.parquet")
    predictions.frame.to_parquet(tmp_path / "bare.parquet")
    with pytest.raises(IntegrityError, match="metadata are missing"):
        read_predictions(tmp_path / "bare.parquet")


def test_an_edited_file_is_refused(tmp_path, predictions):
    path = tmp_path / "p.parquet"
    write_predictions(path, predictions)
    table = pq.read_table(path)
    place = table.column_names.index("p_normal")
    wrong = pa.array(np.full(len(table), 0.5))
    pq.write_table(table.set_column(place, table.schema.field("p_normal"), wrong), path)
    with pytest.raises(IntegrityError, match="sum to 1"):
        read_predictions(path)
    as_text = table.set_column(place, "p_normal", table["p_normal"].cast(pa.string()))
    pq.write_table(as_text, path)
    with pytest.raises(IntegrityError, match="p_normal has type string"):
        read_predictions(path)


def test_nothing_is_left_behind_when_a_table_is_refused(tmp_path, predictions):
    with pytest.raises(IntegrityError):
        write_predictions(tmp_path / "p.parquet", changed(predictions, "p_normal", np.nan))
    with pytest.raises(IntegrityError, match="wrong type"):
        write_predictions(tmp_path / "p.parquet", Predictions(predictions.frame.assign(slice_number="first"), FIVE))
    assert not list(tmp_path.iterdir())
