"""What the index needs from the header of one CT slice, and nothing of what it may not rely on.

It holds what the header says about the patient in the clear, and stays inside the process that builds the index.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset

from covidct.ct.hounsfield import is_lossy
from covidct.ct.read import pixel_spacing
from covidct.errors import DataRefused

Vector = tuple[float, float, float]

_PER_YEAR = {"D": 365, "W": 52, "M": 12, "Y": 1}


@dataclass(frozen=True)
class Header:
    """What the index needs from the header of one CT slice.

    Args:
        patient_id: Patient ID (0010,0020), surrounding spaces removed; may be "".
        study_uid: Study Instance UID, as written.
        series_uid: Series Instance UID, as written; of a NIfTI volume, a digest of what it holds.
        sop_uid: SOP Instance UID; "" where an anonymiser emptied it. A frame of a multi-frame file has `#` and its
            number behind it.
        row: Direction in which columns advance, first half of Image Orientation (Patient).
        col: Direction in which rows advance, second half.
        position: Image Position (Patient), mm: the centre of the first pixel.
        row_mm: Distance of neighbouring rows.
        col_mm: Distance of neighbouring columns.
        rows: Number of rows.
        cols: Number of columns.
        manufacturer: As written, or None.
        scanner: Manufacturer's model name, or None.
        kernel: Convolution kernel, or None.
        acquired_year: Year of acquisition (or series, or study), or None.
        lossy: Whether lossy compression is declared.
        age_years: Patient's Age (0010,1010) in whole years, or None.
        sex: `"F"`, `"M"`, `"O"` or None.
        kvp: Tube voltage in kV, or None.
        thickness_mm: Slice thickness, or None.
        acquisition: Acquisition Number, or None.
    """

    patient_id: str
    study_uid: str
    series_uid: str
    sop_uid: str
    row: Vector
    col: Vector
    position: Vector
    row_mm: float
    col_mm: float
    rows: int
    cols: int
    manufacturer: str | None = None
    scanner: str | None = None
    kernel: str | None = None
    acquired_year: int | None = None
    lossy: bool = False
    age_years: int | None = None
    sex: str | None = None
    kvp: float | None = None
    thickness_mm: float | None = None
    acquisition: int | None = None

    @property
    def normal(self) -> Vector:
        """Unit vector across the slice, row x col (PS3.3 C.7.6.2.1.1)."""
        (a, b, c), (d, e, f) = self.row, self.col
        return (b * f - c * e, c * d - a * f, a * e - b * d)


def header_of(dataset: Dataset) -> Header:
    """Read a header.

    Raises:
        DataRefused: The place of the slice in the body is missing or impossible, or no series is named.
    """
    if not (series_uid := _text(dataset, "SeriesInstanceUID")):
        raise DataRefused("no SeriesInstanceUID")
    orientation = _numbers(dataset, "ImageOrientationPatient", 6)
    position = _numbers(dataset, "ImagePositionPatient", 3)
    if orientation is None or position is None:
        raise DataRefused("no image position or orientation: its place in the body is unknown")
    row, col = orientation[:3], orientation[3:]
    lengths = math.hypot(*row), math.hypot(*col)
    across = sum(a * b for a, b in zip(row, col, strict=True))
    if any(abs(length - 1) > 0.01 for length in lengths) or abs(across) > 0.01:
        raise DataRefused("image orientation is not two perpendicular unit vectors")
    row_mm, col_mm = pixel_spacing(dataset)
    return Header(
        patient_id=_text(dataset, "PatientID"),
        study_uid=_text(dataset, "StudyInstanceUID"),
        series_uid=series_uid,
        sop_uid=_text(dataset, "SOPInstanceUID"),
        row=(row[0], row[1], row[2]),
        col=(col[0], col[1], col[2]),
        position=(position[0], position[1], position[2]),
        row_mm=row_mm,
        col_mm=col_mm,
        rows=int(dataset.Rows),
        cols=int(dataset.Columns),
        manufacturer=_text(dataset, "Manufacturer") or None,
        scanner=_text(dataset, "ManufacturerModelName") or None,
        kernel=_text(dataset, "ConvolutionKernel") or None,
        acquired_year=_year(dataset),
        lossy=is_lossy(dataset),
        age_years=_age(dataset),
        sex=_text(dataset, "PatientSex") if _text(dataset, "PatientSex") in ("F", "M", "O") else None,
        kvp=_number(dataset, "KVP"),
        thickness_mm=_number(dataset, "SliceThickness"),
        acquisition=_whole(dataset, "AcquisitionNumber"),
    )


def patient_id_of(dataset: Dataset) -> str:
    """Patient ID (0010,0020), surrounding spaces removed; may be ""."""
    return _text(dataset, "PatientID")


def sop_uid_of(dataset: Dataset) -> str:
    """SOP Instance UID (0008,0018); "" where an anonymiser emptied it."""
    return _text(dataset, "SOPInstanceUID")


def _text(dataset: Dataset, keyword: str) -> str:
    value: Any = dataset.get(keyword)
    if value is None:
        return ""
    values = [value] if isinstance(value, str) else list(value) if hasattr(value, "__iter__") else [value]
    return "\\".join(str(item).strip().strip("\0").strip() for item in values)[:128]


def _numbers(dataset: Dataset, keyword: str, count: int) -> list[float] | None:
    try:
        values = [float(value) for value in dataset.get(keyword) or ()]
    except (TypeError, ValueError):
        return None
    return values if len(values) == count and all(map(math.isfinite, values)) else None


def _year(dataset: Dataset) -> int | None:
    for keyword in ("AcquisitionDate", "SeriesDate", "StudyDate"):
        year = _text(dataset, keyword)[:4]
        if len(year) == 4 and year.isascii() and year.isdigit() and 1970 <= int(year) <= 2100:
            return int(year)
    return None


def _number(dataset: Dataset, keyword: str) -> float | None:
    found: Any = dataset.get(keyword)
    try:
        value = float(found)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _whole(dataset: Dataset, keyword: str) -> int | None:
    value = _number(dataset, keyword)
    return int(value) if value is not None and value.is_integer() and abs(value) < 1 << 31 else None


def _age(dataset: Dataset) -> int | None:
    """Age String (PS3.5 6.2): nnnD, nnnW, nnnM or nnnY; whole years, None where it is missing or malformed."""
    text = _text(dataset, "PatientAge")
    if len(text) != 4 or not (text[:3].isascii() and text[:3].isdigit()) or text[3] not in _PER_YEAR:
        return None
    return int(text[:3]) // _PER_YEAR[text[3]]
