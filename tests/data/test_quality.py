"""Rules of a study, through the front door; areas of ellipses are known without us."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from covidct.ct.ingest import Record
from covidct.data import pictures
from covidct.data.indexing.build import build_index
from covidct.data.indexing.entries import Entry
from covidct.data.pictures import look
from covidct.data.pseudonyms import Pseudonymizer
from covidct.data.quality import TWO_LABELS, Rules
from covidct.data.sources import Claim
from covidct.data.table import write_table
from covidct.errors import UsageError
from covidct.labels import ClassScheme
from tests.conftest import run_verb
from tests.ct.dicom_fixtures import chest, write_ct, write_series

CLASSES = ClassScheme(("normal", "covid19"), "normal", "covid19")
WIDE = [7.5, 7.5]
"""Pixel spacing that makes the 48 pixels of `chest` a body 36 cm across."""
LUNGS_CM2 = 2 * np.pi * (0.25 * 23.5 * 0.75) * (0.4 * 23.5 * 0.75)
"""Two ellipses in it; from the middle to the edge there are 23.5 pixels."""


def index(root: Path, rules: Rules):
    return build_index(
        "dicom_tree", root, classes=CLASSES, pseudonyms=Pseudonymizer(b"0123456789abcdef"), workers=1, rules=rules
    )


def write_labels(root: Path, *patients: str) -> None:
    (root / "labels.csv").write_text("patient,label,site\n" + "".join(f"{one},normal,north\n" for one in patients))


@pytest.fixture(scope="module")
def scan(tmp_path_factory) -> Path:
    """One scan of seven slices from the feet up; the first two and the last show no lungs."""
    root = tmp_path_factory.mktemp("scan")
    for number in range(7):
        hu = chest(seed=number)
        if number in (0, 1, 6):
            hu[hu < -600] = np.where(hu[hu < -600] > -960, 30, hu[hu < -600])
        write_ct(root / f"{number}.dcm", hu, PatientID="A", SOPInstanceUID=f"1.2.3.{number}", PixelSpacing=WIDE,
                 ImagePositionPatient=[-180, -180, 5.0 * number])  # fmt: skip
    write_labels(root, "A")
    return root


def test_a_slice_with_less_lung_is_refused_and_the_rest_keep_their_numbers(scan, tmp_path):
    every = index(scan, Rules())
    areas = every.measures.set_index("path")["lung_mm2"]
    assert areas[["0.dcm", "1.dcm", "6.dcm"]].tolist() == [0, 0, 0]
    assert areas["3.dcm"] / 100 == pytest.approx(LUNGS_CM2, rel=0.02)
    table = index(scan, Rules(lungs_cm2=100))
    assert table.accepted["slice_number"].tolist() == [2, 3, 4, 5]
    assert table.accepted["position_mm"].tolist() == [10, 15, 20, 25]
    assert table.refusals == {"lung area below 100 cm2": 3}
    assert set(table.rejected["patient_key"]) == set(table.accepted["patient_key"])
    assert table.digest != every.digest
    write_table(table, tmp_path)
    facts = json.loads((tmp_path / "index.json").read_text())
    assert facts["counts"]["rules"]["lungs_cm2"] == 100
    assert facts["counts"]["accepted"] == 4


def test_the_threshold_itself_is_accepted(scan):
    least = min(area for area in index(scan, Rules()).measures["lung_mm2"] if area) / 100
    assert len(index(scan, Rules(lungs_cm2=least)).accepted) == 4
    assert len(index(scan, Rules(lungs_cm2=least + 0.01)).accepted) < 4


@pytest.fixture(scope="module")
def crowd(tmp_path_factory) -> Path:
    """Patients of one slice and the age in their name; one has none, one was 74 and then 76."""
    root = tmp_path_factory.mktemp("crowd")
    ages = {"P017": ["017Y"], "P018": ["018Y"], "P075": ["075Y"], "P076": ["076Y"], "P000": ["011M"], "none": [None],
            "older": ["074Y", "076Y"], "once": ["040Y", ""]}  # fmt: skip
    for number, (name, seen) in enumerate(ages.items()):
        for scan, age in enumerate(seen):
            write_series(root / name / str(scan), [0], series=f"1.2.{number + 1}.{scan + 1}", seed=10 * number + scan,
                         PatientID=name, PatientAge=age or "")  # fmt: skip
    write_labels(root, *ages)
    return root


def accepted(table) -> set[str]:
    return {path.split("/")[0] for path in table.accepted["path"]}


def test_ages_both_ends_belong_and_the_unknown_have_a_reason_of_their_own(crowd):
    table = index(crowd, Rules(ages=(18, 75)))
    assert accepted(table) == {"P018", "P075", "once"}
    assert table.refusals == {
        "patient's age outside 18 to 75 years": 5,
        "patient's age unknown (18 to 75 years asked for)": 1,
    }
    kept = index(crowd, Rules(ages=(18, 75), unknown_age="keep"))
    assert accepted(kept) == {"P018", "P075", "once", "none"}
    assert len(index(crowd, Rules()).accepted) == 10


def test_two_labels_are_a_rule_that_can_be_left_out():
    def entries() -> list[Entry]:
        return [Entry(n, 0, Claim("a", "north", label), "", f"s{n}", "p") for n, label in enumerate(("x", "y"))]

    refused, kept = entries(), entries()
    Rules().refuse_patients(refused)
    Rules(single_disease=False).refuse_patients(kept)
    assert [entry.reason for entry in refused] == [TWO_LABELS] * 2
    assert [entry.reason for entry in kept] == ["", ""]


def test_pictures_without_hounsfield_units_are_no_place_for_the_rule_of_areas(tmp_path, capsys):
    (tmp_path / "any.png").write_bytes(b"never opened")
    with pytest.raises(UsageError, match="no Hounsfield units"):
        Rules(lungs_cm2=60).of_slice(Record("x", units="gray8"))
    with pytest.raises(UsageError, match="no Hounsfield units"):
        Rules(lungs_cm2=60).refuse_kinds(("png", "jpeg"))
    Rules(lungs_cm2=60).refuse_kinds(("dicom", "png"))
    Rules().refuse_kinds(("png",))
    assert Rules().of_slice(Record("x", units="gray8")) == ""


@pytest.mark.parametrize("wrong", ["data.ages=[75,18]", "data.ages=[18]", "data.ages=[-1,5]", "data.lungs_cm2=0",
                                   "data.lungs_cm2=-3", "data.unknown_age=ask"])  # fmt: skip
def test_rules_that_make_no_sense_are_refused(wrong, scan, tmp_path, capsys):
    assert run_verb("index", "data=dicom_tree", f"data.root={scan}", f"data.index={tmp_path}/i", wrong) == 2
    assert wrong.split("=")[0] in capsys.readouterr().err
    assert not (tmp_path / "i").exists()


def faulty(path: Path, frame: int):
    import os

    if path.name == "1.dcm":
        os._exit(1)
    return one_look(path, frame)


one_look = pictures._look


def test_a_file_that_breaks_its_decoder_has_no_picture_and_takes_nobody_along(scan, monkeypatch):
    monkeypatch.setattr(pictures, "_look", faulty)
    seen = look(scan, [("0.dcm", 0), ("1.dcm", 0), ("gone.dcm", 0), ("2.dcm", 0)])
    assert [picture is None for picture in seen] == [False, True, True, False]
    assert max(seen[0].shape) == 144
