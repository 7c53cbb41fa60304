"""Labels beside the files they speak of: what does not meet is counted, and near is never equal (faults 16, 17, 52)."""

from __future__ import annotations

from pathlib import Path

import pytest

from covidct.data.indexing.build import build_index
from covidct.data.pseudonyms import Pseudonymizer
from covidct.labels import ClassScheme
from tests.conftest import run_verb
from tests.ct.dicom_fixtures import write_series

CLASSES = ClassScheme(("normal", "covid19", "viral"), "normal", "covid19")
HEAD = "patient,label,site\n"


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Three patients of two slices, numbered as hospitals do."""
    folder = tmp_path_factory.mktemp("scans")
    for number, patient in enumerate(("0012", "B7", "12")):
        write_series(folder / f"f{number}", (0, 5), series=f"1.2.{number + 1}", seed=number, PatientID=patient)
    return folder


def index(root: Path, rows: str):
    (root / "labels.csv").write_text(HEAD + rows)
    return build_index("dicom_tree", root, classes=CLASSES, pseudonyms=Pseudonymizer(b"0123456789abcdef"), workers=1)


def test_ids_that_differ_by_zeros_are_two_people_and_it_is_said(root):
    table = index(root, "0012,normal,n\n12,covid19,n\nB7,viral,n\n")
    assert table.accepted.groupby("label")["patient_key"].nunique().to_dict() == {"covid19": 1, "normal": 1, "viral": 1}
    [warning] = table.counts["label_warnings"]
    assert "lines 2, 3" in warning
    assert "0012" not in warning


def test_labels_without_files_and_files_without_labels_are_counted(root):
    table = index(root, "0012,normal,n\nb7,viral,n\nC1,viral,n\nC2,viral,n\nC2,covid19,n\n")
    assert table.counts["labelled_patients_without_files"] == 3  # b7, C1, C2
    assert table.counts["patients_without_label"] == 2  # B7 and 12
    assert table.refusals == {
        "patient has no row in the labels, but one that differs by capitals, spaces or look-alike letters": 2,
        "patient has no row in the labels, but one that differs by leading zeros": 2,
    }
    assert table.counts["patients_with_two_labels"] == 0
    assert index(root, "0012,normal,n\nB7,viral,n\nB7,covid19,n\n12,viral,n\n").counts["patients_with_two_labels"] == 1


def test_slice_labels_that_name_no_slice_are_counted(root):
    slices = root / "slices.csv"
    slices.write_text("sop_instance_uid,slice_label\n1.2.1.1,1\n9.9,1\n9.8,0\n9.7,\n")
    table = index(root, "0012,normal,n\n12,covid19,n\nB7,viral,n\n")
    slices.unlink()
    assert table.counts["slice_labels"] == 1
    assert table.counts["slice_labels_without_files"] == 2


def test_the_command_says_it(root, tmp_path, capsys):
    (root / "labels.csv").write_text(HEAD + "0012,normal,n\n12,covid19,n\nC1,viral,n\n")
    words = (f"data.root={root}", f"data.index={tmp_path}/index", f"key={tmp_path}/key")
    classes = "data.classes={names: [normal, covid19, viral], normal: normal, positive: covid19}"
    assert run_verb("index", "data=dicom_tree", classes, *words) == 0
    said = capsys.readouterr().out
    assert "labelled patients without files: 1" in said
    assert "patients without label: 1" in said
    assert "WARNING, labels file: 1 groups of patients" in said
    (root / "labels.csv").write_text(HEAD + "0012,Normal,n\n12,covid-19,n\nC1,,n\n")
    assert run_verb("index", "data=dicom_tree", classes, *words) == 3
    errors = capsys.readouterr().err
    assert errors.count("did you mean") == 2
    assert "3 bad lines" in errors
