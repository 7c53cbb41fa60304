"""Fault 26: missing, doubled, unevenly spaced and tilted slices are said, and left out where that is asked for."""

import pytest

from covidct.data.table import read_table
from tests.conftest import run_verb
from tests.ct.dicom_fixtures import write_series


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    root = tmp_path_factory.mktemp("scans")
    for number, positions in enumerate(([0, 5, 10, 15, 20], [0, 5, 15, 20, 25], [0, 5, 10, 10, 15, 20])):
        write_series(root / str(number), positions, series=f"1.2.3.{number}", seed=number, PatientID=f"P{number}")
    return root


@pytest.mark.parametrize(
    ("policy", "accepted", "warns"), [("warn", 14, True), ("reject", 5, False), ("keep", 14, False)]
)
def test_irregular_series_through_the_front_door(scans, tmp_path, capsys, policy, accepted, warns):
    words = (f"data.root={scans}", f"data.index={tmp_path}/index", f"key={tmp_path}/pseudonym.key")
    asked = () if policy == "warn" else (f"data.irregular={policy}",)
    assert run_verb("index", "data=dicom_tree", "data.classes=null", *words, *asked) == 0
    said = capsys.readouterr().out
    table = read_table(tmp_path / "index")
    assert len(table.accepted) == accepted
    assert table.counts["irregular"] == policy
    assert table.counts["series_flags"] == {"gaps": 2, "duplicates": 1}
    flags = sorted(table.counts["irregular_series"].values())
    assert flags == [["gaps"], ["gaps", "duplicates"]]
    assert "series 2: gaps" in said
    assert ("WARNING: 2 of the series are irregular" in said) == warns
    refused = {reason: count for reason, count in table.refusals.items() if reason.startswith("irregular")}
    expected = {"irregular series: gaps": 5, "irregular series: gaps, duplicates": 4} if policy == "reject" else {}
    assert refused == expected
    if policy != "reject":
        assert set(table.counts["irregular_series"]) < set(table.accepted["series_key"])


def test_another_policy_is_a_usage_error(scans, tmp_path, capsys):
    assert run_verb("index", "data=dicom_tree", f"data.root={scans}", "data.irregular=ignore") == 2
    assert "irregular" in capsys.readouterr().err
