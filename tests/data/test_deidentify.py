"""De-identification against an answer key: what must go is gone, what must stay is the same to the bit."""

from __future__ import annotations

import os
import signal
import stat
from datetime import datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import keyword_for_tag
from pydicom.sr.codedict import codes
from pydicom.uid import UID

from covidct.ct.read import read_slice
from covidct.data.deidentify import dates, descriptors, kept, tree
from covidct.data.deidentify.burned_in import suspected_by_pixels
from covidct.data.deidentify.keyed import Keyed
from covidct.data.deidentify.options import CHOICES, Options
from covidct.data.deidentify.table import actions
from covidct.data.deidentify.tree import RECORD, Result, deidentify_tree
from covidct.errors import CovidctError, IntegrityError, UsageError
from tests.ct.dicom_fixtures import ENCODINGS, chest, write_ct
from tests.data.planted import element_at, write_planted

KEY = b"k" * 32


def clean(root: Path, output: Path, **options: str) -> Result:
    return deidentify_tree(root, output, Path(f"{output}-private"), key=KEY, options=Options(**options), workers=1)


def only(output: Path) -> Path:
    [path] = output.rglob("*.dcm")
    return path


def test_every_planted_identifier_is_gone_and_every_action_is_right(tmp_path: Path) -> None:
    right = required = 0
    wrong = []
    for number in (1, 2, 3):
        source, plants = write_planted(tmp_path / f"in{number}", number)
        result = clean(tmp_path / f"in{number}", tmp_path / f"out{number}")
        assert result.outcomes == {"clean": 1}, result.reasons
        path = only(tmp_path / f"out{number}")
        raw = path.read_bytes().lower() + path.as_posix().removeprefix(tmp_path.as_posix()).lower().encode()
        before, after = pydicom.dcmread(source), pydicom.dcmread(path)
        for plant in plants:
            element = element_at(after, plant.path) if plant.path else None
            there = element is not None and plant.value is not None and element.value == plant.value
            found = (
                bool(plant.token)
                and plant.token.rstrip(b"\0").lower() + plant.token[-1:].strip(plant.token[-1:]) in raw
            )
            required += 1
            right += not (there or found)
            wrong += [plant.place] if there or found else []
        stays = (
            "Rows",
            "PixelSpacing",
            "ImagePositionPatient",
            "RescaleSlope",
            "RescaleIntercept",
            "Manufacturer",
            "PixelData",
        )
        checks = {
            "identity removed": after.PatientIdentityRemoved == "YES",
            "dates marked": after.LongitudinalTemporalInformationModified == "MODIFIED",
            "methods": [item.CodeValue for item in after.DeidentificationMethodCodeSequence]
            == ["113100", "113103", "113105", "113107"],
            "no private": not any(element.tag.is_private for element in after.iterall()),
            "preamble": after.preamble == b"\0" * 128,
            "meta UID": after.file_meta.MediaStorageSOPInstanceUID == after.SOPInstanceUID != before.SOPInstanceUID,
            "reference": after.SourceImageSequence[0].ReferencedSOPInstanceUID == after.SOPInstanceUID,
            "class": after.SOPClassUID == before.SOPClassUID == after.SourceImageSequence[0].ReferencedSOPClassUID,
            "series words": after.SeriesDescription == "Thorax 1.5 mm",
            "study words": after.StudyDescription == "CT chest",
            "patient": len(after.PatientID) == 16 and after.PatientName == after.PatientID,
            **{name: after[name].value == before[name].value for name in stays},
        }
        required += len(checks)
        right += sum(checks.values())
        wrong += [name for name, good in checks.items() if not good]
    assert wrong == []
    assert right == required > 500


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_picture_is_the_same_to_the_bit_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    source = write_ct(tmp_path / "in" / "a.dcm", **ENCODINGS[encoding])
    assert clean(tmp_path / "in", tmp_path / "out").outcomes == {"clean": 1}
    path = only(tmp_path / "out")
    before, after = pydicom.dcmread(source), pydicom.dcmread(path)
    assert after.PixelData.rstrip(b"\0") == before.PixelData.rstrip(b"\0")
    assert after.file_meta.TransferSyntaxUID == before.file_meta.TransferSyntaxUID
    assert read_slice(path).pixel_hash() == read_slice(source).pixel_hash()
    assert np.array_equal(before.pixel_array, after.pixel_array)


def test_options_and_their_codes_are_those_of_the_standard() -> None:
    known = [getattr(codes.DCM, name) for name in dir(codes.DCM)]
    for options in (
        Options(),
        Options(patient="age_sex", device="identity"),
        Options(dates="remove", descriptors="remove"),
    ):
        for value, meaning in options.codes:
            [found] = [code.meaning for code in known if getattr(code, "value", "") == value]
            assert found.lower() == meaning.lower()
    for name, choices in CHOICES.items():
        assert getattr(Options(), name) == choices[0]
        with pytest.raises(UsageError):
            Options(**{name: "never"})


def test_nothing_is_kept_that_the_standard_wants_gone() -> None:
    """Table E.1-1 against the list of what is kept: only under an option that the standard has may they meet."""
    table = actions()
    assert len(table) > 600
    # Acquisition UID etc. are replaced, references are cleaned (X/Z/U), and these stand in the table only as sequences
    allowed = {"ReferencedImageSequence", "SourceImageSequence", "ReferencedStudySequence"}
    assert {keyword_for_tag(tag) for tag in kept.PICTURE | kept.MODEL if tag in table} <= allowed
    assert {table.get(tag, "class") for tag in kept.UIDS} <= {"U", "class"}
    for tag in kept.UIDS - set(table):
        assert keyword_for_tag(tag).endswith("ClassUID")


@given(
    first=st.datetimes(datetime(1990, 1, 1), datetime(2030, 1, 1)),
    second=st.datetimes(datetime(1990, 1, 1), datetime(2030, 1, 1)),
    patient=st.text(max_size=8),
)
def test_what_lies_between_two_moments_stays(first: datetime, second: datetime, patient: str) -> None:
    first, second = first.replace(microsecond=0), second.replace(microsecond=0)
    seconds = Keyed(KEY).seconds("site", patient)
    moved = []
    for moment in (first, second):
        date, time = f"{moment:%Y%m%d}", f"{moment:%H%M%S}"
        shifted = dates.shifted_date(date, time, seconds) + dates.shifted_time(time, date, seconds)
        assert shifted == dates.shifted_datetime(date + time, seconds)
        moved.append(datetime.strptime(shifted, "%Y%m%d%H%M%S"))
    assert moved[1] - moved[0] == second - first
    assert 365 <= (first - moved[0]).days < 8 * 365
    for odd in ("", "2020", "20201399", "yesterday", "20200230"):
        assert dates.shifted_date(odd, None, seconds) == ""


def test_uids_are_replaced_alike_and_those_of_the_standard_stay() -> None:
    keyed, other = Keyed(KEY), Keyed(b"j" * 32)
    assert keyed.uid("1.2.3") == keyed.uid("1.2.3") != other.uid("1.2.3")
    assert UID(keyed.uid("1.2.3")).is_valid
    assert keyed.uid("1.2.3").startswith("2.25.")
    assert keyed.uid("1.2.840.10008.5.1.4.1.1.2") == "1.2.840.10008.5.1.4.1.1.2"
    assert keyed.patient("a", "bc") != keyed.patient("ab", "c")
    assert "kkk" not in repr(keyed)


HOSTILE = (
    "../../x", "/etc/passwd", "A" * 300, "CON", "con", "Müller\u4e00", "a\\b", ".", "..", "x\ty", "-rf", "O'Neil; rm",
    "nul\0byte",
)  # fmt: skip


def test_no_patient_number_gets_into_a_path(tmp_path: Path) -> None:
    for number, patient in enumerate(HOSTILE):
        write_ct(tmp_path / "in" / f"{number}.dcm", chest(seed=number), PatientID=patient,
                 SpecificCharacterSet="ISO_IR 192", SOPInstanceUID=f"1.2.3.{number}")  # fmt: skip
    before = set(tmp_path.rglob("*"))
    result = clean(tmp_path / "in", tmp_path / "out")
    assert result.outcomes["clean"] == len(HOSTILE), result.reasons
    assert result.patients >= len(HOSTILE) - 1  # a\b is two values
    new = set(tmp_path.rglob("*")) - before
    assert all(path.is_relative_to(tmp_path / "out") or path.is_relative_to(tmp_path / "out-private") for path in new)
    for path in (tmp_path / "out").rglob("*.dcm"):
        assert set("".join(path.relative_to(tmp_path / "out").with_suffix("").parts)) <= set("0123456789abcdef")


def test_a_missing_number_or_uid_does_not_merge_people(tmp_path: Path) -> None:
    for number in range(2):
        write_ct(tmp_path / "in" / f"{number}.dcm", chest(seed=number), PatientID="", SOPInstanceUID=None,
                 StudyInstanceUID=f"1.2.3.{number}")  # fmt: skip
    result = clean(tmp_path / "in", tmp_path / "out")
    assert (result.outcomes["clean"], result.patients) == (2, 2)
    assert len({pydicom.dcmread(path).SOPInstanceUID for path in (tmp_path / "out").rglob("*.dcm")}) == 2


def with_letters(hu: np.ndarray) -> np.ndarray:
    """Writing in the corner: seven shapes of 7 x 5 pixels in the brightest value."""
    hu = hu.copy()
    for left in range(4, 60, 8):
        hu[3:10, left] = hu[3, left : left + 5] = hu[6, left : left + 4] = 3000
    return hu


SUSPECTED = {
    "burned in": {"BurnedInAnnotation": "YES"},
    "secondary capture": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"},
    "converted": {"ConversionType": "WSD"},
    "screen": {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]},
    "ultrasound": {"Modality": "US"},
    "letters": {"hu": with_letters(chest(96))},
    "letters, inverted": {"hu": with_letters(chest(96)), "mono1": "stored"},
    "name in the pixels": {},
}  # fmt: skip


@pytest.mark.parametrize("what", SUSPECTED)
def test_a_picture_that_may_hold_writing_is_set_aside(tmp_path: Path, what: str) -> None:
    if what == "name in the pixels":
        source = write_ct(tmp_path / "in" / "a.dcm", PatientName="Turnstone^Ida")
        dataset = pydicom.dcmread(source)
        dataset.PixelData = dataset.PixelData[:-400] + b"Turnstone^Ida" + dataset.PixelData[-387:]
        dataset.save_as(source)
    else:
        source = write_ct(tmp_path / "in" / "a.dcm", **SUSPECTED[what])
    result = clean(tmp_path / "in", tmp_path / "out")
    assert result.outcomes == {"quarantine": 1}
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == [RECORD]
    [aside] = (tmp_path / "out-private" / "quarantine").iterdir()
    assert aside.read_bytes() == source.read_bytes()
    assert stat.S_IMODE(aside.stat().st_mode) == 0o600


def test_pictures_without_writing_are_not_suspected() -> None:
    for seed in range(5):
        assert suspected_by_pixels(chest(128, seed)) == ""
    metal = chest(128)
    metal[40:60, 40:60] = metal[80, 20:120] = 3071
    assert suspected_by_pixels(metal) == ""


def test_what_is_no_picture_is_refused_by_name_and_not_copied(tmp_path: Path) -> None:
    root = tmp_path / "in"
    write_ct(root / "good.dcm")
    write_ct(root / "short.dcm", Rows=4000)
    write_ct(root / "document.dcm", PixelData=None)
    (root / "note.txt").write_text("Turnstone was here")
    (root / "cut.dcm").write_bytes((root / "good.dcm").read_bytes()[:300])
    os.mkfifo(root / "pipe")
    result = clean(root, tmp_path / "out")
    assert result.outcomes == {"clean": 1, "refused": 5}
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 1
    table = (tmp_path / "out-private" / "files.csv").read_text()
    assert all(name in table for name in ("short.dcm", "document.dcm", "note.txt", "cut.dcm", "pipe"))


def test_trailing_bytes_behind_the_last_pixel_go(tmp_path: Path) -> None:
    source = write_ct(tmp_path / "in" / "a.dcm")
    dataset = pydicom.dcmread(source)
    dataset.PixelData += b"Oystercatcher^Ada   "
    dataset.save_as(source)
    assert clean(tmp_path / "in", tmp_path / "out").outcomes == {"clean": 1}
    assert b"Oystercatcher" not in only(tmp_path / "out").read_bytes()
    assert read_slice(only(tmp_path / "out")).pixels.shape == (48, 48)


def test_patient_characteristics_and_device_only_when_asked(tmp_path: Path) -> None:
    write_ct(tmp_path / "in" / "a.dcm", PatientSex="F", PatientAge="093Y", DeviceSerialNumber="SN-1", PatientWeight=61)
    clean(tmp_path / "in", tmp_path / "plain")
    plain = pydicom.dcmread(only(tmp_path / "plain"))
    assert (plain.PatientSex, plain.get("PatientAge"), plain.DeviceSerialNumber) == ("", None, "ANONYMIZED")
    assert (plain.Manufacturer, plain.ConvolutionKernel) == ("ACME", "B30")
    clean(tmp_path / "in", tmp_path / "more", patient="age_sex", device="identity")
    more = pydicom.dcmread(only(tmp_path / "more"))
    assert (more.PatientSex, more.PatientAge, more.DeviceSerialNumber) == ("F", "090Y", "SN-1")
    assert "PatientWeight" not in more
    clean(tmp_path / "in", tmp_path / "less", device="remove", dates="remove")
    less = pydicom.dcmread(only(tmp_path / "less"))
    assert not {"Manufacturer", "ConvolutionKernel", "AcquisitionDate"} & {
        element.keyword for element in less if not element.is_empty
    }


def test_of_a_description_technical_words_stay() -> None:
    assert descriptors.cleaned("CT Thorax 1.25mm LUNG / Mr. J. Dunlin *1931 room 12") == "CT Thorax 1.25mm LUNG"
    assert descriptors.cleaned("Ida Turnstone") == ""


def test_the_same_command_goes_on_and_another_key_is_refused(tmp_path: Path) -> None:
    for number in range(3):
        write_ct(tmp_path / "in" / f"{number}.dcm", chest(seed=number), SOPInstanceUID=f"1.2.3.{number}")
    clean(tmp_path / "in", tmp_path / "out")
    first, *others = sorted((tmp_path / "out").rglob("*.dcm"))
    content, times = first.read_bytes(), [path.stat().st_mtime_ns for path in others]
    first.unlink()
    write_ct(tmp_path / "in" / "new.dcm", chest(seed=9), SOPInstanceUID="1.2.3.9")
    result = clean(tmp_path / "in", tmp_path / "out")
    assert result.outcomes == {"clean": 4}
    assert first.read_bytes() == content
    assert [path.stat().st_mtime_ns for path in others] == times
    with pytest.raises(IntegrityError, match="key"):
        deidentify_tree(tmp_path / "in", tmp_path / "out", tmp_path / "p", key=b"j" * 32, options=Options())
    with pytest.raises(IntegrityError, match="options"):
        clean(tmp_path / "in", tmp_path / "out", dates="remove")


def test_folders_in_each_other_and_foreign_folders_are_refused(tmp_path: Path) -> None:
    write_ct(tmp_path / "in" / "a.dcm")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    for output, private in (("in/out", "p"), ("in", "p"), ("out", "in/p"), ("out", "out/p"), ("mine", "p"), (".", "p")):
        with pytest.raises(CovidctError):
            deidentify_tree(tmp_path / "in", tmp_path / output, tmp_path / private, key=KEY, options=Options())
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.dcm", "in", "mine", "thesis.txt"]


def test_several_workers_give_the_same_folder(tmp_path: Path) -> None:
    for number in range(33):
        write_ct(tmp_path / "in" / f"{number}.dcm", chest(24, seed=number), SOPInstanceUID=f"1.2.3.{number}",
                 PatientID=f"P-{number % 3}")  # fmt: skip
    made = []
    for workers in (1, 2):
        out = tmp_path / f"out{workers}"
        deidentify_tree(tmp_path / "in", out, tmp_path / f"p{workers}", key=KEY, options=Options(), workers=workers)
        made.append({path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()})
    assert made[0] == made[1]
    assert len(made[0]) == 34


def test_a_file_that_takes_its_process_down_takes_no_other_with_it(tmp_path: Path, monkeypatch) -> None:
    """GDCM ends the process for some damaged JPEG-lossless frames; here an operating system's signal does."""
    for number in range(3):
        write_ct(tmp_path / "in" / f"{number}.dcm", chest(24, seed=number), SOPInstanceUID=f"1.2.3.{number}")
    monkeypatch.setattr(tree, "_chunk", _fatal)
    result = clean(tmp_path / "in", tmp_path / "out")
    assert result.outcomes == {"clean": 2, "refused": 1}
    assert result.reasons["refused", "reading it takes its process down"] == 1


def _fatal(job: tree.Job, paths: tuple[str, ...]) -> list[tree.Outcome]:
    if "1.dcm" in paths:
        os.kill(os.getpid(), signal.SIGKILL)
    return [tree.one_file(job, path) for path in paths]


def test_a_code_string_that_is_no_code_says_nothing(tmp_path: Path) -> None:
    write_ct(
        tmp_path / "in" / "a.dcm", ImageType=["ORIGINAL", "PRIMARY", "AXIAL", "WHIMBREL K"], ScanOptions="MRS DUNLIN"
    )
    clean(tmp_path / "in", tmp_path / "out")
    dataset = pydicom.dcmread(only(tmp_path / "out"))
    assert list(dataset.ImageType) == ["ORIGINAL", "PRIMARY", "AXIAL", "OTHER"]
    assert dataset.ScanOptions == "OTHER"
