"""Folders as no one would leave them on purpose: links, pipes, devices, archives, odd names (faults 22, 25, 30, 31)."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import socket
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pydicom.data
import pytest
from pydicom.filewriter import dcmwrite
from pydicom.uid import CTImageStorage

from covidct.ct.ingest import ingest
from covidct.data.indexing.build import build_index
from covidct.data.pseudonyms import Pseudonymizer
from covidct.data.table import read_table
from tests.conftest import run_verb
from tests.ct.dicom_fixtures import chest, ct_dataset, write_ct, write_series

KINDS = ("dicom", "nifti", "png", "jpeg")
ARCHIVE = "archive (archives are not opened; unpack it first)"


@pytest.fixture
def scans(tmp_path) -> Path:
    """One good patient of three slices, to be still there afterwards."""
    write_series(tmp_path / "scans" / "good", range(0, 15, 5), series="1.2.10", PatientID="GOOD")
    return tmp_path / "scans"


def refusals(root: Path) -> dict[str, str]:
    """Path -> reason; the good patient must be whole, and it must not take long."""
    start = time.monotonic()
    table = build_index("dicom_tree", root, pseudonyms=Pseudonymizer(b"0123456789abcdef"), workers=2)
    assert time.monotonic() - start < 30
    good = table.accepted[table.accepted["path"].str.startswith("good/")]
    assert len(good) == 3
    return dict(zip(table.rejected["path"], table.rejected["reason"], strict=True))


def test_sockets_devices_and_circles_are_named_and_never_opened(scans, tmp_path, monkeypatch):
    monkeypatch.chdir(scans)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.dcm")
        (scans / "zero.dcm").symlink_to("/dev/zero")
        (scans / "random").symlink_to("/dev/urandom")
        (scans / "terminal").symlink_to("/dev/tty")
        (scans / "memory").symlink_to("/proc/self/mem")
        (scans / "a").symlink_to(scans / "b")
        (scans / "b").symlink_to(scans / "a")
        (scans / "deep").mkdir()
        (scans / "deep" / "up").symlink_to("..")
        (scans / "out").symlink_to(tmp_path)
        (scans / "inside.dcm").symlink_to(sorted((scans / "good").iterdir())[0])
        shown = refusals(scans)
    assert shown.pop("inside.dcm", "copy of another file") == "copy of another file"
    assert shown == {
        "socket.dcm": "not a regular file",
        "zero.dcm": "link out of the data folder",
        "random": "link out of the data folder",
        "terminal": "link out of the data folder",
        "memory": shown["memory"],
        "a": "broken link",
        "b": "broken link",
        "deep/up": "link to a folder (not followed)",
        "out": "link to a folder (not followed)",
    }
    assert shown["memory"] in ("link out of the data folder", "broken link")


@pytest.mark.skipif(os.geteuid() != 0, reason="device nodes are made by root")
def test_a_device_node_is_not_opened(scans):
    os.mknod(scans / "null.dcm", 0o600 | 0o020000, os.makedev(1, 5))
    assert refusals(scans) == {"null.dcm": "not a regular file"}


def test_archives_are_refused_unopened_with_the_way_out(scans, tmp_path):
    """What would be written outside by unpacking is not there; a bomb costs nothing."""
    payload = write_ct(tmp_path / "x.dcm").read_bytes()
    with zipfile.ZipFile(scans / "slip.zip", "w", zipfile.ZIP_DEFLATED) as pack:
        pack.writestr("../../canary", payload)
        pack.writestr("/canary", payload)
    with zipfile.ZipFile(scans / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as pack:
        pack.writestr("big", bytes(50_000_000))
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, "../../.."
    member = tarfile.TarInfo("link/canary")
    member.size = len(payload)
    for name, mode in (("a.tar", "w"), ("a.tar.gz", "w:gz"), ("a.tar.bz2", "w:bz2"), ("a.tar.xz", "w:xz")):
        with tarfile.open(scans / name, mode) as pack:
            pack.addfile(link)
            pack.addfile(member, io.BytesIO(payload))
    shutil.copy(scans / "slip.zip", scans / "renamed.dcm")
    before = {path for path in tmp_path.rglob("*") if scans not in path.parents}
    shown = refusals(scans)
    names = ("slip.zip", "bomb.zip", "a.tar", "a.tar.gz", "a.tar.bz2", "a.tar.xz", "renamed.dcm")
    assert shown == dict.fromkeys(names, ARCHIVE)
    assert {path for path in tmp_path.rglob("*") if scans not in path.parents} == before


class Bang:
    """Runs when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return (Path.touch, (self.canary,))


@pytest.mark.parametrize("name", ["a.npy", "a.dcm", "a.pkl", "a.pt", "a"])
def test_pickles_are_never_loaded(scans, tmp_path, name):
    canary = tmp_path / "canary"
    (scans / name).write_bytes(pickle.dumps(Bang(canary)))
    np.save(scans / "object.npy", np.array([Bang(canary)], dtype=object), allow_pickle=True)
    reason = "not a DICOM, NIfTI, PNG or JPEG file"
    assert refusals(scans) == {name: reason, "object.npy": reason}
    assert not canary.exists()
    pickle.loads((scans / name).read_bytes())
    assert canary.exists(), "the canary would have sung"


@pytest.mark.filterwarnings("ignore:Invalid value")
def test_a_dicomdir_leads_nowhere(scans):
    """CVE-2026-32711: the paths in a DICOMDIR may lead out of the folder. They are not followed."""
    source = Path(pydicom.data.__file__).parent / "test_files" / "dicomdirtests" / "DICOMDIR"
    directory = pydicom.dcmread(source)
    for record in directory.DirectoryRecordSequence:
        if "ReferencedFileID" in record:
            record.ReferencedFileID = ["..", "..", "ETC", "PASSWD"]
    dcmwrite(scans / "DICOMDIR", directory)
    assert refusals(scans) == {"DICOMDIR": "DICOMDIR, a list of files"}


def test_other_objects_inside_a_series_are_counted_and_the_series_stays(scans):
    """Fault 25 and 29: scout, reformat, screen save, dose report, another modality, a head."""
    same = {"PatientID": "GOOD", "SeriesInstanceUID": "1.2.10", "StudyInstanceUID": "1.2.10.0"}
    objects = {
        "scout": {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
        "mpr": {"ImageType": ["DERIVED", "SECONDARY", "MPR"]},
        "save": {"ImageType": ["DERIVED", "PRIMARY", "SCREEN SAVE"]},
        "secondary": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"},
        "dose": {"Modality": "SR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.67"},
        "pet": {"Modality": "PT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.128"},
        "head": {"BodyPartExamined": "HEAD"},
        "slope": {"RescaleSlope": 0},
    }
    for number, (name, elements) in enumerate(objects.items()):
        write_ct(scans / name, chest(seed=40 + number), **(same | {"SOPInstanceUID": f"1.2.99.{number}"} | elements))
    assert refusals(scans) == {
        "scout": "image type says localizer",
        "mpr": "image type says reformat (MPR)",
        "save": "image type says screen save",
        "secondary": "Secondary Capture Image Storage, not CT Image Storage",
        "dose": "modality SR, not CT",
        "pet": "modality PT, not CT",
        "head": "body part is not the chest",
        "slope": "RescaleSlope is 0",
    }


NAMES = (
    b"new\nline.dcm", b"\x1b[31mred", b"tab\t", b"-rf", b"$(touch x)", b"a;b|c&d", b"'\"`", b"%s%n", b" ", b"...", b"~",
    b"CON", b"nul.dcm", b"con.dcm", "\u202etxt.mcd".encode(), "e\u0301".encode(), "\u00e9".encode(), b"\xff\xfe.dcm",
    b"\xed\xa0\x80", b"x" * 255, b"{a.b}", b"a,b", b"a\\b", b"\x7f\x01",
)  # fmt: skip


def test_any_name_a_file_can_have(scans, tmp_path):
    """Listed once each, and the table can be written and read again."""
    for number, name in enumerate(NAMES):
        content = write_ct(tmp_path / "one", chest(seed=60 + number), PatientID="ODD", SOPInstanceUID=f"1.7.{number}",
                           ImagePositionPatient=[0, 0, 2 * number])  # fmt: skip
        Path(os.fsdecode(os.fsencode(scans) + b"/" + name)).write_bytes(content.read_bytes())
    key = tmp_path / "pseudonym.key"
    words = [f"data.root={scans}", f"data.index={tmp_path}/index", f"key={key}"]
    assert run_verb("index", "data=dicom_tree", *words, "data.classes=null", "report=false") == 0
    table = read_table(tmp_path / "index")
    refused = dict(zip(table.rejected["path"], table.rejected["reason"], strict=True))
    wrong = {
        name.decode("utf-8", "backslashreplace"): "file name is not UTF-8"
        for name in (b"\xff\xfe.dcm", b"\xed\xa0\x80")
    }
    assert refused == wrong
    there = {name.decode() for name in NAMES if name not in (b"\xff\xfe.dcm", b"\xed\xa0\x80")}
    assert there == {path for path in table.accepted["path"] if "/" not in path}


PATIENTS = (
    "../../x", "/etc/passwd", "..", ".", "~root", "a/b/c", "C:\\x", "x" * 300, "CON", "nul", "Aux.txt", "ABC", "abc",
    "\u00e4\u6f22", "{patient}", "%2e%2e%2f", "$(id)", "a\0b", "-", "\u202e", "new\r\nline", "",
)  # fmt: skip


def test_no_patient_number_becomes_a_path(tmp_path):
    """Fault 30: all that is written lies in the folders that were named, and nowhere is a number in it."""
    root, where = tmp_path / "scans", tmp_path / "work"
    for number, name in enumerate(PATIENTS):
        uids = {"SOPInstanceUID": f"1.6.{number}", "SeriesInstanceUID": f"1.5.{number}"}
        long = {"SpecificCharacterSet": "ISO_IR 192", "PatientID": "0" * 300}
        path = write_ct(root / f"{number}.dcm", chest(seed=number), **uids, **long)
        raw = name.encode()
        path.write_bytes(path.read_bytes().replace(b"0" * 300, raw + b" " * (300 - len(raw))))
    where.mkdir()
    before = {
        path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if where not in path.parents and path != where
    }
    words = [f"data.root={root}", f"data.index={where}/index", f"key={where}/pseudonym.key", "report=false"]
    assert run_verb("index", "data=dicom_tree", *words, "data.classes=null") == 0
    after = {
        path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if where not in path.parents and path != where
    }
    assert after == before
    table = read_table(where / "index")
    people = {record.patient_id for n in range(len(PATIENTS)) for record in ingest(root, f"{n}.dcm", KINDS)}
    assert table.accepted["patient_key"].nunique() >= len(people) - 1
    written = list((where / "index").rglob("*"))
    assert all(path.resolve().is_relative_to(where.resolve()) for path in written)
    for name in ("passwd", "x" * 60, "\u6f22", "Aux", "patient}"):
        assert not any(name in path.name for path in written)
        assert not any(name.encode() in path.read_bytes() for path in written if path.is_file())


def test_twins_by_letter_case_are_two_people(tmp_path):
    for number, name in enumerate(("ABC", "abc", "Abc")):
        write_ct(tmp_path / f"{number}", chest(seed=number), PatientID=name, SOPInstanceUID=f"1.6.{number}",
                 SeriesInstanceUID=f"1.5.{number}")  # fmt: skip
    table = build_index("dicom_tree", tmp_path, pseudonyms=Pseudonymizer(b"0123456789abcdef"), workers=1)
    keys = table.accepted["patient_key"]
    assert keys.nunique() == keys.str.casefold().nunique() == 3


def test_the_preamble_may_be_another_file(tmp_path):
    """A DICOM file can also be a program (CVE-2019-11687): read as what it says in its 129th byte, never run."""
    whole = write_ct(tmp_path / "a.dcm").read_bytes()
    for head in (b"MZ", b"#!/bin/sh\ntouch canary\n", b"\x7fELF", b"II*\0", b"PK\3\4"):
        (tmp_path / "b.dcm").write_bytes(head + bytes(128 - len(head)) + whole[128:])
        [record] = ingest(tmp_path, "b.dcm", KINDS)
        assert record.reason == ""


def test_a_data_set_without_a_file_head_is_named(tmp_path):
    dataset = ct_dataset()
    for implicit, little in ((True, True), (False, True), (False, False)):
        plain = pydicom.Dataset({tag: dataset[tag] for tag in dataset.keys() if tag < 0x7FE00010})  # noqa: SIM118
        plain.SOPClassUID = CTImageStorage
        pydicom.dcmwrite(tmp_path / "a.dcm", plain, implicit_vr=implicit, little_endian=little)
        [record] = ingest(tmp_path, "a.dcm", KINDS)
        assert record.reason.startswith("DICOM data set without the head of a DICOM file")
