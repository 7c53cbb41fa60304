"""What a file says about people, places and times: the values that must be nowhere afterwards.

Values are held in the clear. They stay in the private folder of a de-identification (mode 0600).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import UID_dictionary

from covidct.data.deidentify.kept import IDENTITY, MODEL, PATIENT, PICTURE
from covidct.data.deidentify.options import Options


class Original(NamedTuple):
    """One value to hunt.

    Args:
        kind: What sort of value: name, id, date, time, uid, text, number, binary, site or path; "stays" for what
            stands in an attribute that may stay, and is no evidence elsewhere either.
        value: As it was written.
        owner: Of a date: whose it is (a pseudonym), because another's shifted date may be the same day; else "".
    """

    kind: str
    value: str
    owner: str = ""


_IDS = frozenset({"PatientID", "OtherPatientIDs", "AccessionNumber", "StudyID", "AdmissionID", "IssuerOfPatientID"})
_TEXT = frozenset({"AE", "CS", "LO", "SH", "LT", "ST", "UT", "UC", "UR"})
_TIMES = {"DA": "date", "TM": "time", "DT": "date"}
_LONG = 256
_PRINTABLE = re.compile(rb"[\x20-\x7e]{5,}")


def of_path(path: str) -> set[Original]:
    """Names of folders and of the file, without its last suffix."""
    return {Original("path", part) for part in (*PurePosixPath(path).parts[:-1], PurePosixPath(path).stem)}


def originals(dataset: Dataset, path: str, options: Options, owner: str = "") -> set[Original]:
    """All values of a data set, its file meta information and its path, but those that may stay.

    Args:
        dataset: As it was read.
        path: The file, relative to the data folder.
        options: Say which values may stay.
        owner: Pseudonym of the patient.
    """
    found = of_path(path)
    may_stay = PICTURE
    if options.device != "remove":
        may_stay |= MODEL
    if options.device == "identity":
        may_stay |= IDENTITY
    if options.patient == "age_sex":
        may_stay |= PATIENT
    preamble = getattr(dataset, "preamble", None) or b""
    found.update(_binary(preamble))
    if meta := getattr(dataset, "file_meta", None):
        for element in meta:
            found.update(_of_element(element, frozenset({0x00020012, 0x00020013})))
    found.update(_walk(dataset, may_stay))
    return {original._replace(owner=owner) if original.kind == "date" else original for original in found}


def _walk(dataset: Dataset, may_stay: frozenset[int]) -> Iterator[Original]:
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
            element.is_empty  # noqa: B018  a value is converted when it is first looked at
        except Exception:  # a malformed element can raise nearly anything; its raw bytes are still evidence
            raw = dataset.get_item(tag)
            value = getattr(raw, "value", None)
            if isinstance(value, bytes):
                yield from _binary(value)
            continue
        if element.VR == "SQ":
            for item in element.value or ():
                yield from _walk(item, may_stay)
        else:
            yield from _of_element(element, may_stay)


def _of_element(element: DataElement, may_stay: frozenset[int]) -> Iterator[Original]:
    if element.is_empty:
        return
    if element.tag in may_stay:
        if element.VR in ("CS", "SH", "LO"):
            yield from (Original("stays", value) for value in _texts(element))
        return
    if isinstance(element.value, bytes):
        yield from _binary(element.value)
        return
    yield from (Original(_kind(element.VR, element.keyword), text) for text in _texts(element))


def _texts(element: DataElement) -> Iterator[str]:
    for one in element.value if element.VM > 1 else [element.value]:
        if text := str(one).strip().strip("\0").strip():
            yield text


def _kind(vr: str, keyword: str) -> str:
    if vr == "PN":
        return "name"
    if vr == "UI":
        return "uid"
    if keyword in _IDS:
        return "id"
    if vr in _TIMES:
        return _TIMES[vr]
    if vr in _TEXT:
        return "text"
    return "number"


def _binary(value: bytes) -> Iterator[Original]:
    """Readable stretches of binary values of at most 64 KiB: what is longer is no identifier but data."""
    if len(value) > 65536:
        return
    for match in _PRINTABLE.finditer(value):
        text = match[0].decode("ascii").strip()
        good = sum(character.isalnum() for character in text)
        if len(text) <= _LONG and good >= 0.7 * len(text) and len(set(text)) >= 4:
            yield Original("binary", text)
    if len(value) <= _LONG and not value.isascii():  # a name in UTF-8 or in a character set of its country
        for codec in ("utf-8", "gb18030"):
            try:
                text = value.decode(codec).strip(" \0")
            except UnicodeError:
                continue
            if len(text) >= 2 and all(character.isalnum() or character in " ^=,.-_" for character in text):
                yield Original("binary", text)
                return


def is_of_the_standard(uid: str) -> bool:
    """A UID that DICOM itself defines: a class, a transfer syntax, a coding scheme."""
    return uid in UID_dictionary
