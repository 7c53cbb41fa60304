import json
import os
import random
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import RLELossless

from covidct.ct.ingest import ingest
from covidct.ct.read import read_slice
from covidct.data.indexing import reading
from covidct.data.indexing.build import build_index
from covidct.data.indexing.limits import Limits
from covidct.data.pseudonyms import Pseudonymizer
from covidct.data.table import write_table
from covidct.errors import DataRefused, IntegrityError, UsageError
from covidct.labels import ClassScheme
from tests.ct.dicom_fixtures import chest, write_ct, write_series

CLASSES = ClassScheme(("normal", "covid19", "tuberculosis"), "normal", "covid19")
NAMES = Pseudonymizer(b"0123456789abcdef")
HEAD = "patient,label,site\n"
read_chunk = reading._read_chunk  # as it is: tests put faulty ones in its place


@pytest.fixture
def hospital(tmp_path) -> Path:
    """Two patients at two sites, four slices each."""
    root = tmp_path / "scans"
    write_series(root / "north" / "one", range(0, 20, 5), series="1.2.10", seed=1, PatientID="0012")
    write_series(root / "south" / "two", range(0, 20, 5), series="1.2.20", seed=2, PatientID="B7")
    (root / "labels.csv").write_text(HEAD + "0012,normal,north\nB7,covid19,south\n")
    return root


def index(root: Path, **options):
    return build_index("dicom_tree", root, **({"classes": CLASSES, "pseudonyms": NAMES, "workers": 1} | options))


def reasons(table) -> dict[str, str]:
    return dict(zip(table.rejected["path"], table.rejected["reason"], strict=True))


def test_every_slice_has_its_place_label_and_pixels(hospital):
    table = index(hospital)
    rows = table.accepted
    assert len(rows) == 8
    assert table.rejected.empty
    assert table.counts["files_read"] == 8
    assert rows["site"].tolist() == ["north"] * 4 + ["south"] * 4
    assert rows["label"].tolist() == ["normal"] * 4 + ["covid19"] * 4
    assert rows["slice_number"].tolist() == [0, 1, 2, 3] * 2
    assert rows["position_mm"].tolist() == [0, 5, 10, 15] * 2
    assert set(rows["units"]) == {"HU"}
    assert (rows["row_mm"].iloc[0], rows["col_mm"].iloc[0]) == (0.8, 0.7)
    assert rows["acquired_year"].tolist() == [2020] * 8
    for number in range(8):
        assert read_slice(table.file(number)).pixel_hash() == rows["pixel_hash"][number]
    np.testing.assert_array_equal(read_slice(table.file(2)).pixels, chest(seed=1002))


def test_nobody_is_named(hospital, tmp_path):
    table = index(hospital)
    write_table(table, tmp_path / "index")
    text = (tmp_path / "index" / "index.json").read_text() + table.frame.drop(columns="path").to_csv()
    for word in ("0012", "B7", "SECRET", "Secret", "1.2.10"):
        assert word not in text
    assert table.accepted["patient_key"][0] == NAMES.patient("north", "0012")


def test_order_of_files_names_workers_and_place_do_not_matter(hospital, tmp_path, monkeypatch):
    table = index(hospital)
    other = tmp_path / "other"
    shutil.copytree(hospital, other)
    files = sorted(other.rglob("*.dcm"))
    random.Random(0).shuffle(files)
    for number, path in enumerate(files):
        path.rename(path.with_name(f"renamed{number}"))
    monkeypatch.setattr(reading, "_CHUNK", 3)
    again = index(other, workers=2)
    assert again.digest == table.digest
    drop = ["path"]
    assert again.accepted.drop(columns=drop).equals(table.accepted.drop(columns=drop))


def test_lossless_recompression_changes_nothing(hospital):
    digest = index(hospital).digest
    shutil.rmtree(hospital / "north")
    write_series(hospital / "x", range(0, 20, 5), series="1.2.10", seed=1, PatientID="0012", syntax=RLELossless)
    assert index(hospital).digest == digest


def test_odd_things_in_the_folder_are_listed_and_never_opened(hospital, tmp_path):
    os.mkfifo(hospital / "pipe.dcm")
    (hospital / "folder.dcm").mkdir()
    (hospital / "round").symlink_to(hospital)  # a loop if it were followed
    (hospital / "self.dcm").symlink_to(hospital / "self.dcm")
    (hospital / "gone.dcm").symlink_to(hospital / "nowhere")
    outside = write_ct(tmp_path / "outside.dcm", PatientID="B7", SOPInstanceUID="1.9")
    (hospital / "out.dcm").symlink_to(outside)
    (hospital / "notes.txt").write_text("hello")
    (hospital / "empty.dcm").touch()
    Path(os.fsdecode(os.fsencode(hospital) + b"/\xff.dcm")).write_bytes(b"x")
    start = time.monotonic()
    table = index(hospital)
    assert time.monotonic() - start < 20
    assert len(table.accepted) == 8
    found = reasons(table)
    assert found.pop("\\xff.dcm") == "file name is not UTF-8"
    assert found == {
        "pipe.dcm": "not a regular file",
        "round": "link to a folder (not followed)",
        "self.dcm": "broken link",
        "gone.dcm": "broken link",
        "out.dcm": "link out of the data folder",
        "notes.txt": "not a DICOM, NIfTI, PNG or JPEG file",
        "empty.dcm": "empty file",
    }


def test_scouts_reports_and_cut_files_are_refused_and_the_rest_is_untouched(hospital):
    before = index(hospital)
    write_ct(hospital / "scout", PatientID="B7", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], SOPInstanceUID="1.8.1")
    write_ct(hospital / "sc", PatientID="B7", SOPClassUID="1.2.840.10008.5.1.4.1.1.7", SOPInstanceUID="1.8.2")
    write_ct(hospital / "raw", PatientID="B7", RescaleSlope=None, SOPInstanceUID="1.8.3")
    write_ct(hospital / "blank", np.zeros((48, 48), dtype=np.int16), PatientID="B7", SOPInstanceUID="1.8.4")
    whole = write_ct(hospital / "cut", PatientID="B7", SOPInstanceUID="1.8.5").read_bytes()
    (hospital / "cut").write_bytes(whole[:-900])
    table = index(hospital)
    assert table.digest == before.digest
    assert reasons(table) == {
        "scout": "image type says localizer",
        "sc": "Secondary Capture Image Storage, not CT Image Storage",
        "raw": "no RescaleSlope: Hounsfield values are undefined",
        "blank": "blank: one value everywhere",
        "cut": "pixel data are cut short",
    }
    assert set(table.rejected["patient_key"]) == {NAMES.patient("south", "B7")}


def test_bad_label_lines_are_reported_together_with_their_numbers(hospital):
    (hospital / "labels.csv").write_text(
        HEAD + '0012,normal,north\n\nX1,Covid19 ,south\nX2,,south\n,normal,south\nX3,normal\n"X4",flu,south\n'
        "X5,normal,south\nX5,covid19,south\n"
    )
    with pytest.raises(DataRefused) as caught:
        index(hospital)
    text = str(caught.value)
    for part in (
        "line 4: label has spaces", "line 5: label is empty", "line 6: patient is empty", "line 7: 2 cells",
        "line 8: unknown class 'flu'", "lines 9 (normal) and 10 (covid19): one patient, normal and diseased",
    ):  # fmt: skip
        assert part in text
    assert "line 2" not in text
    assert "X5" not in text, "patients are not named"
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: ("\n\n" + text.replace("0012", '"0012"') + "\n \n").lstrip().encode(),
        lambda text: "\n".join(",".join([*line.split(","), "note"]) for line in text.split("\n")[:-1]).encode(),
    ],
)
def test_label_files_as_spreadsheets_write_them(hospital, encode):
    digest = index(hospital).digest
    text = (hospital / "labels.csv").read_text()
    (hospital / "labels.csv").write_bytes(encode(text))
    assert index(hospital).digest == digest


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "column patient"),
        (b"patient;label;site\n1;normal;a\n", "separated by ';'"),
        (HEAD.encode(), "no patient is listed"),
        ("patient,label,site\nÄ,normal,north\n".encode("latin-1"), "not UTF-8"),
        (b"patient,label,site\n\0,normal,a\n", "not a text file"),
        (b'patient,label,site\n"1"x,normal,a\n', "line 2"),
    ],
)
def test_what_is_no_label_file(hospital, content, message):
    (hospital / "labels.csv").write_bytes(content)
    with pytest.raises(DataRefused, match=message):
        index(hospital)


def test_missing_labels_are_asked_for(hospital):
    (hospital / "labels.csv").unlink()
    with pytest.raises(DataRefused, match="labels cannot be read"):
        index(hospital)


def test_numbers_keep_their_zeros(hospital):
    (hospital / "labels.csv").write_text(HEAD + "12,normal,north\nB7,covid19,south\n")
    table = index(hospital)
    assert len(table.accepted) == 4
    assert set(reasons(table).values()) == {"patient has no row in the labels, but one that differs by leading zeros"}


def test_a_patient_without_a_row_is_refused(hospital):
    (hospital / "labels.csv").write_text(HEAD + "B7,covid19,south\n")
    assert set(reasons(index(hospital)).values()) == {"patient has no row in the labels"}


def test_two_diseases_exclude_a_patient(hospital):
    (hospital / "labels.csv").write_text(HEAD + "0012,tuberculosis,north\n0012,covid19,north\nB7,covid19,south\n")
    table = index(hospital)
    assert set(table.accepted["site"]) == {"south"}
    assert table.refusals == {"patient carries two labels (exclusion D7)": 4}


def test_one_number_at_two_sites_is_two_people(hospital):
    write_series(hospital / "south" / "three", range(0, 20, 5), series="1.2.30", seed=3, PatientID="0012")
    (hospital / "labels.csv").write_text(HEAD + "0012,normal,north\n0012,covid19,south\nB7,covid19,south\n")
    rows = index(hospital).accepted
    assert len(rows) == 12
    assert rows["patient_key"].nunique() == 3
    assert rows.groupby("series_key")["label"].nunique().max() == 1
    (hospital / "south").rename(hospital / "elsewhere")
    assert "no folder name tells which" in str(index(hospital).refusals)


def test_without_labels_and_classes_nothing_is_labelled(hospital):
    """What `covidct predict` does."""
    rows = index(hospital, classes=None).accepted
    assert len(rows) == 8
    assert rows["label"].isna().all()
    assert set(rows["site"]) == {"unknown"}


def test_a_file_that_is_there_twice_counts_once(hospital):
    digest = index(hospital).digest
    shutil.copytree(hospital / "north", hospital / "backup")
    table = index(hospital)
    assert table.digest == digest
    assert table.refusals == {"copy of another file": 4}


def test_one_uid_with_different_pixels_is_refused(hospital):
    write_ct(hospital / "fake", chest(seed=77), PatientID="B7", SOPInstanceUID="1.2.20.1", SeriesInstanceUID="1.2.20")
    table = index(hospital)
    assert table.refusals == {"one SOP Instance UID, different pixels": 2}


@pytest.mark.parametrize("options", [{"SOPInstanceUID": "1.2.20.1"}, {"SOPInstanceUID": "1.9.9"}])
def test_one_picture_under_two_labels_is_an_error_that_names_both(hospital, options):
    """Fault 14 (same UID) and 15 (same pixels under another UID): the second patient is normal."""
    write_ct(hospital / "twin", chest(seed=2000), PatientID="0012", SeriesInstanceUID="1.9", **options)
    with pytest.raises(IntegrityError) as caught:
        index(hospital)
    for site, number, label in (("north", "0012", "normal"), ("south", "B7", "covid19")):
        assert f"{label} (patient {NAMES.patient(site, number)})" in str(caught.value)
    assert "0012" not in str(caught.value)
    assert caught.value.exit_code == 4


def test_one_picture_of_two_patients_with_one_label_counts_once(hospital):
    write_ct(hospital / "twin", chest(seed=2000), PatientID="C9", SeriesInstanceUID="1.9", SOPInstanceUID="1.9.9")
    (hospital / "labels.csv").write_text(HEAD + "0012,normal,north\nB7,covid19,south\nC9,covid19,south\n")
    assert index(hospital).refusals == {"same pixels as another slice of another patient": 1}


def test_slices_without_a_uid_are_told_apart(hospital):
    """Anonymisers empty SOP Instance UID (COVID-CT-MD's cap002)."""
    for number in range(3):
        write_ct(hospital / f"u{number}", chest(seed=50 + number), PatientID="B7", SOPInstanceUID="",
                 SeriesInstanceUID="1.7", ImagePositionPatient=[0, 0, 3 * number])  # fmt: skip
    shutil.copy(hospital / "u0", hospital / "u0-copy")
    table = index(hospital)
    assert len(table.accepted) == 11
    assert table.accepted["slice_key"].is_unique
    assert table.refusals == {"copy of another file": 1}


def test_slice_labels_come_by_uid(hospital):
    lines = ["site,patient,sop_instance_uid,slice_label"] + [f"south,B7,1.2.20.{n + 1},{n % 2}" for n in range(3)]
    (hospital / "slices.csv").write_text("\n".join(lines))
    rows = index(hospital).accepted
    assert rows["slice_label"].isna().tolist() == [True] * 4 + [False] * 3 + [True]
    assert rows["slice_label"].iloc[4:7].tolist() == [0, 1, 0]
    (hospital / "slices.csv").write_text("\n".join([*lines, "south,B7,1.2.20.1,1", "south,B7,9,yes"]))
    with pytest.raises(DataRefused, match=r"(?s)line 5: this slice was listed before.*line 6: slice_label 'yes'"):
        index(hospital)


def test_patient_numbers_cannot_leave_the_index(hospital, tmp_path):
    for number, name in enumerate(["../../x", "/etc/passwd", "x" * 64, "CON", "b7"]):
        write_ct(hospital / f"p{number}.dcm", chest(seed=90 + number), PatientID=name, SOPInstanceUID=f"1.6.{number}",
                 SeriesInstanceUID=f"1.5.{number}")  # fmt: skip
    table = index(hospital, classes=None)
    assert table.accepted["patient_key"].nunique() == 7
    write_table(table, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "index.json",
        "index.parquet",
        "measures.parquet",
    ]
    assert json.loads((tmp_path / "out" / "index.json").read_text())["counts"]["patients"] == 7


def test_progress_is_told(hospital, monkeypatch):
    told = []
    index(hospital, progress=lambda done, of: told.append((done, of)))
    assert told == [(n, 8) for n in range(1, 9)]


def _crash(root, paths, kinds, limits):
    if any("two" in path for path in paths):
        os._exit(1)
    return read_chunk(root, paths, kinds, limits)


def _hang(root, paths, kinds, limits):
    reading.ingest = lambda root, path, kinds: time.sleep(300) if "two" in path else ingest(root, path, kinds)
    return read_chunk(root, paths, kinds, limits)


def _spin(root, paths, kinds, limits):
    reading.ingest = lambda root, path, kinds: sum(iter(int, 1)) if "two" in path else ingest(root, path, kinds)
    return read_chunk(root, paths, kinds, limits)


@pytest.mark.parametrize(
    ("fault", "limits", "reason"),
    [
        (_crash, Limits(), "the decoder crashed"),
        (_hang, Limits(seconds=0.2, patience=7), "reading it takes longer than 0.2 s + 0.5 s for each MiB"),
        (_spin, Limits(seconds=0.2, patience=99), "reading it takes longer than 0.2 s + 0.5 s for each MiB"),
    ],
)
def test_a_decoder_that_crashes_or_hangs_takes_no_other_file_with_it(hospital, monkeypatch, fault, limits, reason):
    """A segmentation fault or an endless loop in native code ends a process, not the index."""
    monkeypatch.setattr(reading, "_CHUNK", 4)
    monkeypatch.setattr(reading, "_LIMITS", limits)
    monkeypatch.setattr(reading, "_read_chunk", fault)
    for path in sorted((hospital / "south").rglob("*.dcm"))[1:]:
        path.unlink()
    table = index(hospital, workers=2)
    assert table.accepted["site"].tolist() == ["north"] * 4
    assert table.refusals == {reason: 1}


def test_wrong_sources_and_folders(tmp_path):
    with pytest.raises(UsageError, match="unknown source"):
        build_index("dicomtree", tmp_path, pseudonyms=NAMES)
    with pytest.raises(DataRefused, match="does not exist"):
        index(tmp_path / "nowhere")
    with pytest.raises(DataRefused, match="there is no file"):
        index(tmp_path, classes=None)


def test_nothing_usable_is_a_table_without_slices(tmp_path):
    write_ct(tmp_path / "a.dcm", RescaleSlope=None)
    table = index(tmp_path, classes=None)
    assert table.accepted.empty
    assert len(table.rejected) == 1
