import json
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from covidct.data.table import COLUMNS, SCHEMA, make_table, read_table, write_table
from covidct.errors import DataRefused, IntegrityError
from covidct.labels import ClassScheme

CLASSES = ClassScheme(("normal", "covid19"), "normal", "covid19")


def row(number: int, **options):
    return {
        "slice_key": f"{number:016x}", "patient_key": f"p{number // 3}", "site": "b" if number % 2 else "a",
        "series_key": f"s{number // 3}", "path": f"x/{number}.dcm", "frame": 0, "slice_number": number % 3,
        "position_mm": number * 2.5, "row_mm": 0.7, "rows": 512, "label": "covid19", "units": "HU",
        "pixel_hash": f"h{number}", "accepted": True, "reason": "",
    } | options  # fmt: skip


def refused(path: str, reason: str):
    return {"path": path, "accepted": False, "reason": reason}


def table(tmp_path, rows=None):
    rows = rows or [*(row(n) for n in range(9)), refused("b", "no pixel data"), refused("a", "no pixel data")]
    return make_table(
        rows, root=tmp_path / "data", source="dicom_tree", classes=CLASSES, counts={"files_read": len(rows)}
    )


def test_round_trip(tmp_path):
    one = table(tmp_path)
    path = write_table(one, tmp_path / "index")
    for place in (path, path.parent):
        again = read_table(place)
        pd.testing.assert_frame_equal(again.accepted, one.accepted)
        pd.testing.assert_frame_equal(again.rejected, one.rejected)
        assert (again.digest, again.source, again.classes, again.counts) == (
            one.digest,
            one.source,
            CLASSES,
            one.counts,
        )
        assert again.root == (tmp_path / "data").resolve()
        assert again.file(0) == again.root / str(again.accepted["path"][0])


def test_schema_on_disk_is_the_declared_one(tmp_path):
    path = write_table(table(tmp_path), tmp_path)
    assert pq.read_schema(path).equals(SCHEMA)
    assert tuple(read_table(path).frame.columns) == COLUMNS
    facts = json.loads((tmp_path / "index.json").read_text())
    assert facts["schema"] == 1
    assert facts["files_read"] == 11
    assert facts["root"] == "data"


def test_rows_have_one_order(tmp_path):
    rows = [row(n) for n in range(9)]
    accepted = table(tmp_path, rows).accepted
    keys = accepted[["site", "patient_key", "series_key", "slice_number"]].apply(tuple, axis=1).tolist()
    assert keys == sorted(keys)
    np.random.default_rng(0).shuffle(rows)
    pd.testing.assert_frame_equal(table(tmp_path, rows).accepted, accepted)


def test_digest_is_about_content_not_order_names_or_place(tmp_path):
    rows = [row(n) for n in range(9)]
    digest = table(tmp_path, rows).digest
    assert table(tmp_path, rows[::-1]).digest == digest
    assert table(tmp_path / "elsewhere", [row(n, path=f"renamed/{n}") for n in range(9)]).digest == digest
    assert table(tmp_path, [*rows, refused("z", "no pixel data")]).digest == digest
    for change in (
        {"label": "normal"},
        {"pixel_hash": "other"},
        {"position_mm": 7.6},
        {"slice_label": 0},
        {"site": "c"},
    ):
        assert table(tmp_path, [*rows[:-1], row(8, **change)]).digest != digest
    assert table(tmp_path, rows[:-1]).digest != digest


def test_nulls_survive(tmp_path):
    rows = [row(0, slice_label=1, acquired_year=2020), row(1, label=None, position_mm=None), row(2, slice_label=0)]
    again = read_table(write_table(table(tmp_path, rows), tmp_path)).accepted.set_index("slice_key")
    assert again["slice_label"].isna().tolist() == [False, False, True]
    assert again.loc[f"{1:016x}", "label"] is None
    assert np.isnan(again.loc[f"{1:016x}", "position_mm"])
    assert again.loc[f"{2:016x}", "slice_label"] == 0


@pytest.mark.parametrize("change", ["label", "path"])
def test_a_changed_table_is_refused(tmp_path, change):
    path = write_table(table(tmp_path), tmp_path)
    frame = pq.read_table(path).to_pandas()
    frame.loc[0, change] = "other"
    pq.write_table(pa.Table.from_pandas(frame, schema=SCHEMA, preserve_index=False), path)
    with pytest.raises(IntegrityError, match="after it was written"):
        read_table(path)


def test_a_table_with_another_json_is_refused(tmp_path):
    write_table(table(tmp_path), tmp_path / "one")
    write_table(table(tmp_path, [row(n) for n in range(3)]), tmp_path / "two")
    shutil.copy(tmp_path / "two" / "index.json", tmp_path / "one" / "index.json")
    with pytest.raises(IntegrityError):
        read_table(tmp_path / "one")


def test_missing_files_say_what_to_do(tmp_path):
    with pytest.raises(DataRefused, match="covidct index"):
        read_table(tmp_path)
    write_table(table(tmp_path), tmp_path)
    (tmp_path / "index.json").write_text("[]")
    with pytest.raises(DataRefused, match=r"index\.json"):
        read_table(tmp_path)


@pytest.mark.parametrize(
    "rows",
    [
        [row(0), row(0)],
        [row(0, patient_key=None)],
        [row(0, reason="why")],
        [refused("a", "")],
    ],
)
def test_impossible_rows_are_refused(tmp_path, rows):
    with pytest.raises(IntegrityError):
        table(tmp_path, rows)


def test_refusals_are_counted(tmp_path):
    rows = [row(0), refused("a", "x"), refused("b", "y"), refused("c", "y")]
    assert table(tmp_path, rows).refusals == {"y": 2, "x": 1}
    assert list(table(tmp_path, rows).refusals) == ["y", "x"]


def test_a_table_without_accepted_rows(tmp_path):
    one = read_table(write_table(table(tmp_path, [refused("a", "x")]), tmp_path))
    assert len(one.accepted) == 0
    assert list(one.accepted.columns) == list(COLUMNS)
