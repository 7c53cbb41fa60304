"""One data set made clean: built anew from what may stay, never by taking things away from the old one."""

from __future__ import annotations

import re
from typing import Any

from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.utils import get_expected_length
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import UID, UID_dictionary

from covidct import __version__
from covidct.data.deidentify import dates, descriptors, kept
from covidct.data.deidentify.keyed import Keyed
from covidct.data.deidentify.options import Options
from covidct.data.deidentify.table import EDITION, actions
from covidct.data.deidentify.terms import known
from covidct.errors import DataRefused

METHOD = f"covidct {__version__}, DICOM PS3.15 {EDITION} Annex E"
_IMPLEMENTATION = "2.25.160189778277787871464475515096877038470"  # a UUID of version 4, drawn once for this program
_NUMBER = re.compile(r"\s*[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?\s*")
_TEXT = re.compile(r"[\x20-\x7e]{0,64}")
_AGE = re.compile(r"(\d{3})([DWMY])")
_SCHEMES = ("SCT", "SRT", "SNM3", "DCM", "UMLS", "FMA", "LN", "UCUM", "99SDM")
_NUMERIC = {"US", "SS", "UL", "SL", "UV", "SV", "FL", "FD", "AT", "OF", "OD"}
_RAW = {"OB", "OW", "OL", "OV"}
_DUMMIES: dict[str, Any] = {
    "AE": "ANONYMIZED", "CS": "ANONYMIZED", "LO": "ANONYMIZED", "LT": "ANONYMIZED", "SH": "ANONYMIZED",
    "ST": "ANONYMIZED", "UC": "ANONYMIZED", "UT": "ANONYMIZED", "PN": "ANONYMIZED", "UR": "urn:anonymized",
    "AS": "000Y", "DS": "0", "IS": "0", "DA": "10000101", "TM": "000000", "DT": "10000101",
}  # fmt: skip


class Cleaner:
    """Cleans the data sets of one patient.

    Args:
        keyed: Makes what takes the place of identifiers.
        options: What is kept.
        site: Of the patient.
        patient_id: As written in the file.
        telling: Values of this file that tell who or where; whatever holds one of them goes, even if it may stay.
    """

    def __init__(self, keyed: Keyed, options: Options, site: str, patient_id: str, telling: frozenset[str]) -> None:
        self._keyed = keyed
        self._options = options
        self._patient = keyed.patient(site, patient_id)
        self._seconds = keyed.seconds(site, patient_id)
        self._telling = tuple(sorted(value.lower() for value in telling))

    def clean(self, dataset: Dataset, nameless: str = "") -> Dataset:
        """A new data set with its file meta information (PS3.10 7.1) and an empty preamble.

        Args:
            dataset: As it was read.
            nameless: What the instance's UID is made of where an anonymiser emptied it: a digest of the file.

        Raises:
            DataRefused: It is not an image of a class and in a transfer syntax of the standard, or its pixel data are
                shorter than its header says.
        """
        syntax = _of_standard(dataset.file_meta.get("TransferSyntaxUID"), "transfer syntax")
        sop_class = _of_standard(dataset.get("SOPClassUID"), "SOP class")
        if not any(name in dataset for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
            raise DataRefused("not an image: documents, plans and measurements are not de-identified")
        clean = self._cleaned(dataset)
        if not clean.get("SOPInstanceUID"):
            clean.SOPInstanceUID = self._keyed.uid(f"{self._patient} {nameless}")
        _trim(clean, compressed=syntax.is_encapsulated)
        clean.PatientID = clean.PatientName = self._patient
        clean.PatientIdentityRemoved = "YES"
        clean.DeidentificationMethod = METHOD
        clean.DeidentificationMethodCodeSequence = Sequence(
            _code_item(value, meaning) for value, meaning in self._options.codes
        )
        clean.LongitudinalTemporalInformationModified = "MODIFIED" if self._options.dates == "shift" else "REMOVED"
        for keyword in ("PatientBirthDate", "PatientSex"):  # type 2: there, but empty
            if keyword not in clean:
                setattr(clean, keyword, "")
        meta = FileMetaDataset()
        meta.FileMetaInformationVersion = b"\0\1"
        meta.MediaStorageSOPClassUID = sop_class
        meta.MediaStorageSOPInstanceUID = clean.SOPInstanceUID
        meta.TransferSyntaxUID = syntax
        meta.ImplementationClassUID = UID(_IMPLEMENTATION)
        meta.ImplementationVersionName = "COVIDCT"
        clean.file_meta = meta
        clean.preamble = b"\0" * 128  # a preamble can make the file a program or a picture of another format
        return clean

    def _cleaned(self, dataset: Dataset) -> Dataset:
        """The same for a sequence's item."""
        clean = Dataset()
        for tag in sorted(dataset.keys()):
            if tag.is_private or tag.element == 0 or tag.group < 8 or 0x5000 <= tag.group < 0x6100:
                continue
            action = self._action(tag)
            if action == "X":
                continue
            try:
                element = dataset[tag]
            except Exception:
                if tag == Tag("PixelData"):
                    raise
                continue  # malformed: nothing of it is kept
            new = self._element(element, action, dataset)
            if new is not None:
                clean.add(new)
        return clean

    def _action(self, tag: int) -> str:
        """What is done with an attribute: keep, clean, shift, U, D, Z or X."""
        if tag in kept.UIDS:
            return "U"
        if tag in kept.DATES and self._options.dates == "shift":
            return "shift"
        if tag in kept.DESCRIPTORS and self._options.descriptors == "clean":
            return "clean"
        if tag in kept.PATIENT and self._options.patient == "age_sex":
            return "keep"
        if (tag in kept.MODEL and self._options.device != "remove") or (
            tag in kept.IDENTITY and self._options.device == "identity"
        ):
            return "keep"
        if tag in kept.PICTURE:
            return "keep"
        asked = "Z" if tag in kept.EMPTIED else actions().get(int(tag), "X")
        # of several actions the one that always leaves a valid object: a dummy, else empty, else nothing
        return next(action for action in ("D", "Z", "X") if action in asked) if asked not in ("U", "X/Z/U") else "X"

    def _element(self, element: DataElement, action: str, dataset: Dataset) -> DataElement | None:
        tag, keyword = element.tag, keyword_for_tag(element.tag)
        vrs = dictionary_VR(tag).split(" or ")
        vr = element.VR if element.VR in vrs else vrs[0]
        if action in ("D", "Z"):
            return _dummy(tag, vr) if action == "D" else DataElement(tag, vr, [] if vr == "SQ" else None)
        if element.VR not in vrs:
            return None  # another representation than the standard's can hold anything
        if vr == "SQ":
            items = [self._cleaned(item) for item in element.value or ()]
            return DataElement(tag, vr, Sequence(item for item in items if len(item)))
        if element.is_empty:
            return DataElement(tag, vr, None)
        if action == "U":
            return self._uid(element)
        if action == "shift":
            return DataElement(tag, vr, self._shifted(element, keyword, dataset))
        if action == "clean":
            return DataElement(tag, vr, self._untelling(descriptors.cleaned(str(element.value))))
        return self._kept(element, vr, keyword, dataset)

    def _kept(self, element: DataElement, vr: str, keyword: str, dataset: Dataset) -> DataElement | None:
        if vr in _NUMERIC:
            return DataElement(element.tag, vr, element.value)
        if vr in _RAW:
            if keyword not in ("PixelData",) and self._tells(bytes(element.value).decode("latin-1")):
                return None
            new = DataElement(element.tag, vr, element.value)
            new.is_undefined_length = element.is_undefined_length
            return new
        values = [str(value) for value in (element.value if element.VM > 1 else [element.value])]
        if vr in ("DS", "IS"):
            fine = all(_NUMBER.fullmatch(value) and len(value) <= 20 for value in values)
            if not fine or any(value.strip() in self._telling for value in values):
                return None
            return DataElement(element.tag, vr, element.value)
        if vr == "AS":
            return DataElement(element.tag, vr, banded(values[0]))
        if keyword == "PatientSex":
            return DataElement(element.tag, vr, values[0] if values[0] in ("F", "M", "O") else "")
        if keyword == "CodeValue" and str(dataset.get("CodingSchemeDesignator")) not in _SCHEMES:
            return None
        if vr == "CS":
            good = [known(value) for value in values]
        else:
            good = [value if _TEXT.fullmatch(value) and not self._tells(value) else "" for value in values]
        return DataElement(element.tag, vr, good if len(good) > 1 else good[0])

    def _uid(self, element: DataElement) -> DataElement:
        values = [str(value) for value in (element.value if element.VM > 1 else [element.value])]
        new = [self._keyed.uid(value) for value in values]
        if element.keyword.endswith("ClassUID"):
            new = [value if value in UID_dictionary else "" for value in values]
        return DataElement(element.tag, "UI", new if len(new) > 1 else new[0])

    def _shifted(self, element: DataElement, keyword: str, dataset: Dataset) -> str:
        value = str(element.value if element.VM == 1 else element.value[0])
        if element.VR == "DT":
            return dates.shifted_datetime(value, self._seconds)
        if element.VR == "DA":
            return dates.shifted_date(value, _partner(dataset, keyword, "Date", "Time"), self._seconds)
        return dates.shifted_time(value, _partner(dataset, keyword, "Time", "Date"), self._seconds)

    def _untelling(self, text: str) -> str:
        return "" if self._tells(text) else text

    def _tells(self, text: str) -> bool:
        lowered = text.lower()
        return any(value in lowered for value in self._telling)


def banded(age: str) -> str:
    """An age (AS, PS3.5 6.2) with all above 89 years as 090Y, and those of children in whole years; "" if malformed."""
    match = _AGE.fullmatch(age.strip())
    if match is None:
        return ""
    years = int(match[1]) // {"D": 365, "W": 52, "M": 12, "Y": 1}[match[2]]
    return f"{min(years, 90):03d}Y"


def _partner(dataset: Dataset, keyword: str, own: str, other: str) -> str | None:
    value = dataset.get(keyword.removesuffix(own) + other)
    text = "" if value is None else str(value).strip()
    return text or None


def _of_standard(uid: Any, what: str) -> Any:
    if uid is None or str(uid) not in UID_dictionary:
        raise DataRefused(f"no {what} of the DICOM standard")
    return uid


def _dummy(tag: int, vr: str) -> DataElement:
    if vr == "SQ":
        return DataElement(tag, vr, [])
    if vr in _NUMERIC:
        return DataElement(tag, vr, 0 if vr not in ("OF", "OD") else b"")
    return DataElement(tag, vr, _DUMMIES.get(vr, None if vr == "UI" else b""))


def _code_item(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


def _trim(clean: Dataset, *, compressed: bool) -> None:
    """Cut what follows the last pixel: bytes that no viewer shows.

    Raises:
        DataRefused: There are fewer bytes than pixels, or the header does not say how many.
    """
    for tag in (Tag("PixelData"), Tag("FloatPixelData"), Tag("DoubleFloatPixelData")):
        if tag not in clean or compressed:
            continue
        try:
            length = int(get_expected_length(clean, unit="bytes"))
        except (AttributeError, TypeError, ValueError, KeyError):
            raise DataRefused("the header does not say how large the picture is") from None
        value = clean[tag].value
        if not isinstance(value, bytes):
            raise DataRefused("the pixel data are not bytes")
        if len(value) < length:
            raise DataRefused("pixel data shorter than the header says")
        clean[tag].value = value[:length] + b"\0" * (length % 2)
