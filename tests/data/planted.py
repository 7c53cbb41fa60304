"""CT slices with identifiers planted everywhere, and the key that says where: the MIDI-B manner of scoring.

One plant for each value representation, in an attribute that PS3.15 names, in one that it does not name, in a private
one, and three sequences deep; and in overlays, curves, icons, preamble, file meta information, folder and file name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.datadict import DicomDictionary
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from covidct.data.deidentify import kept
from covidct.data.deidentify.table import actions
from tests.ct.dicom_fixtures import chest, ct_dataset

TEXT_VRS = ("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT")
DATE_VRS = ("DA", "DT", "TM")
BYTE_VRS = ("OB", "OD", "OF", "OL", "OV", "OW", "UN")
NUMBER_VRS = ("AS", "AT", "DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV")
VRS = (*TEXT_VRS, *DATE_VRS, *BYTE_VRS, *NUMBER_VRS, "UI")
HUNTED = (*TEXT_VRS, *DATE_VRS, *BYTE_VRS, "IS", "UI")
"""Of these a value is evidence by itself; of the others (a small number, an age) it is not."""

_KEPT = kept.PICTURE | kept.UIDS | kept.DATES | kept.DESCRIPTORS | kept.MODEL | kept.PATIENT | kept.IDENTITY
_PIXELS = {0x7FE00001, 0x7FE00002, 0x7FE00003, 0x7FE00008, 0x7FE00009, 0x7FE00010, 0xFFFCFFFC}


@dataclass(frozen=True)
class Plant:
    """One identifier.

    Args:
        place: Where it stands.
        vr: Its value representation, or "".
        token: Bytes that must be nowhere, or b"" where only the attribute's value counts.
        path: Tags from the top to the element; empty where it is not an element.
        value: As pydicom holds it.
    """

    place: str
    vr: str
    token: bytes
    path: tuple[Any, ...] = ()
    value: Any = None


def value_of(vr: str, number: int) -> tuple[Any, bytes]:
    """A telling value of a VR and the bytes by which it is known."""
    word = f"Kestrel{number:04d}"
    if vr in ("AE", "CS"):
        return word.upper(), word.upper().encode()
    if vr == "PN":
        return f"{word}^Rosalind", word.encode()
    if vr == "UR":
        return f"http://{word}.example/p", word.encode()
    if vr in ("LO", "LT", "SH", "ST", "UC", "UT"):
        return f"{word} of W", word.encode()
    if vr == "UI":
        return f"1.2.826.0.1.99999.{number}.7", f"1.2.826.0.1.99999.{number}.7".encode()
    if vr == "DA":
        return (
            f"1947{1 + number % 12:02d}{1 + number % 28:02d}",
            f"1947{1 + number % 12:02d}{1 + number % 28:02d}".encode(),
        )
    if vr == "DT":
        text = f"1948{1 + number % 12:02d}{1 + number % 28:02d}101112.{number:06d}"
        return text, text[:8].encode()
    if vr == "TM":
        return f"101112.{number:06d}", f"101112.{number:06d}".encode()
    if vr in BYTE_VRS:
        raw = f"Kestrel byte {number:04d}".ljust(24).encode()
        return raw, raw.rstrip()
    if vr == "IS":
        return f"91827{number:04d}", f"91827{number:04d}".encode()
    if vr == "DS":
        return f"98765.{number:04d}", f"98765.{number:04d}".encode()
    if vr == "AS":
        return "093Y", b""
    if vr == "AT":
        return 0x40421234, b""
    if vr in ("FD", "FL"):
        return 4711.25 + number, b""
    return 4711 + number % 200, b""


def attributes(vr: str, *, named: bool) -> list[int]:
    """Public attributes of a VR that a picture does not need, named in PS3.15 Table E.1-1 or not."""
    return [
        tag
        for tag, (representation, many, *_) in sorted(DicomDictionary.items())
        if representation == vr
        and many in ("1", "1-n")
        and tag not in _KEPT
        and tag not in _PIXELS
        and tag >> 16 > 0x0008
        and (tag in actions()) is named
    ]


def planted(number: int, **options: Any) -> tuple[Dataset, list[Plant]]:
    """A CT slice and its answer key.

    Args:
        number: Of the file; makes tokens its own.
        options: Of `tests.ct.dicom_fixtures.ct_dataset`.
    """
    dataset = ct_dataset(
        chest(seed=number),
        **{
            "SOPInstanceUID": f"1.2.826.0.1.8888.{number}.3",
            "PatientID": "TURNSTONE-77",
            "PatientName": "Turnstone^Ida",
        }
        | options,
    )
    dataset.add_new(0x00090010, "LO", "KESTREL CREATOR")
    inner, middle, outer = Dataset(), Dataset(), Dataset()
    inner.add_new(0x00090010, "LO", "KESTREL CREATOR")
    plants: list[Plant] = []
    deep = (Tag("SharedFunctionalGroupsSequence"), 0, Tag("CTGeometrySequence"), 0, Tag("AnatomicRegionSequence"), 0)
    count = 0
    for vr in VRS:
        for where, target, path in (
            ("named by PS3.15", dataset, ()),
            ("not named by PS3.15", dataset, ()),
            ("private", dataset, ()),
            ("three deep", inner, deep),
            ("private, three deep", inner, deep),
        ):
            count += 1
            value, token = value_of(vr, (number * 1000 + count) % 10000)
            if where.startswith("private"):
                tag = 0x00091000 + VRS.index(vr)
            else:
                choices = attributes(vr, named=where == "named by PS3.15")
                if not choices:
                    continue
                tag = choices[count % len(choices)]
                if tag in target:
                    continue
            target.add(DataElement(tag, vr, value))
            plants.append(Plant(f"{vr} {where}", vr, token, (*path, Tag(tag)), value))
    middle.AnatomicRegionSequence = Sequence([inner])
    outer.CTGeometrySequence = Sequence([middle])
    dataset.SharedFunctionalGroupsSequence = Sequence([outer])
    private = Dataset()
    private.PatientName = "Kestrelsq^Vera"
    dataset.add_new(0x00091080, "SQ", Sequence([private]))
    plants.append(Plant("name in a private sequence", "SQ", b"Kestrelsq", (Tag(0x00091080),)))
    for keyword, value, token in (
        ("PatientName", "Turnstone^Ida", b"Turnstone"),
        ("PatientID", "TURNSTONE-77", b"TURNSTONE-77"),
        ("PatientBirthDate", "19310717", b"19310717"),
        ("AccessionNumber", "ACC5551234", b"ACC5551234"),
        ("InstitutionName", "Kittiwake Infirmary", b"Kittiwake"),
        ("ReferringPhysicianName", "Dunlin^Otto", b"Dunlin"),
        ("StudyDescription", "CT chest of Turnstone", b"Turnstone"),
        ("SeriesDescription", "Thorax 1.5 mm for Dr Dunlin", b"Dunlin"),
        ("ConvolutionKernel", "B30 Turnstone", b"Turnstone"),
        ("StationName", "KITTICT07", b"KITTICT07"),
        ("DeviceSerialNumber", "SN-884422", b"SN-884422"),
        ("PatientComments", "lives at 4 Gannet Lane", b"Gannet"),
        ("OtherPatientIDs", "SOC-1234567", b"SOC-1234567"),
        ("SOPInstanceUID", dataset.SOPInstanceUID, dataset.SOPInstanceUID.encode()),
        ("StudyInstanceUID", "1.2.826.0.1.7777.1", b"1.2.826.0.1.7777.1"),
        ("SeriesInstanceUID", "1.2.826.0.1.7777.2", b"1.2.826.0.1.7777.2"),
        ("StudyDate", "20200305", b"20200305"),
        ("SeriesTime", "101112.654321", b"101112.654321"),
        ("AcquisitionDateTime", "20200306101112.5", b"20200306"),
    ):
        setattr(dataset, keyword, value)
        plants.append(Plant(keyword, "", token, (Tag(keyword),), value))
    dataset.add_new(0x60000010, "US", 8)
    dataset.add_new(0x60000011, "US", 16)
    dataset.add_new(0x60000022, "LO", "Kestrel overlay")
    dataset.add_new(0x60003000, "OW", b"Kestrel drawn in")
    dataset.add_new(0x50000040, "LO", "Kestrel curve")
    icon = Dataset()
    icon.Rows, icon.Columns, icon.PixelData = 4, 4, b"Kestrel the icon"
    icon["PixelData"].VR = "OB"
    dataset.IconImageSequence = Sequence([icon])
    meta = dataset.file_meta
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.SourceApplicationEntityTitle = "KESTRELAE"
    meta.PrivateInformationCreatorUID = "1.2.826.0.1.99999.1"
    meta.PrivateInformation = b"Kestrel in meta "
    dataset.preamble = b"MZ Kestrel preamble".ljust(128, b"\0")
    for place, token in (
        ("overlay label", b"Kestrel overlay"), ("overlay data", b"Kestrel drawn in"), ("curve", b"Kestrel curve"),
        ("icon", b"Kestrel the icon"), ("source AE title", b"KESTRELAE"), ("meta", b"Kestrel in meta"),
        ("preamble", b"Kestrel preamble"), ("name of file or folder", b"Sandpiper"),
    ):  # fmt: skip
        plants.append(Plant(place, "", token))
    dataset.SourceImageSequence = Sequence([_reference(dataset)])
    return dataset, plants


def write_planted(root: Path, number: int, **options: Any) -> tuple[Path, list[Plant]]:
    """Write one below `root`, under telling names."""
    dataset, plants = planted(number, **options)
    path = root / "Sandpiper Flora" / f"Sandpiper_{number}.dcm"
    path.parent.mkdir(parents=True, exist_ok=True)
    dcmwrite(path, dataset, enforce_file_format=True)
    return path, plants


def element_at(dataset: Dataset, path: tuple[Any, ...]) -> DataElement | None:
    """The element at a path of tags and item numbers, or None."""
    here: Any = dataset
    try:
        for step in path:
            here = here.value[step] if isinstance(step, int) and not hasattr(step, "group") else here[step]
    except (KeyError, IndexError, TypeError):
        return None
    return here


def _reference(dataset: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = dataset.SOPClassUID
    item.ReferencedSOPInstanceUID = dataset.SOPInstanceUID
    return item
