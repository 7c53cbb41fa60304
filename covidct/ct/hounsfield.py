"""From the stored pixels of one CT slice to Hounsfield units, or a reason why that cannot be done.

The rule is DICOM PS3.3 C.7.6.16.2.9 / C.11.1.1.2: output = stored x Rescale Slope + Rescale Intercept, with the values
of *this* slice. Nothing is assumed where the header is silent: a missing slope is a refusal, not 1.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from covidct.ct.decode import MAX_SIDE, stored_values
from covidct.ct.terms import MODALITIES, NOT_THE_CHEST
from covidct.errors import DataRefused

FLOOR_HU = -1024
"""What padding becomes, and the lowest value kept: less than nothing does not exist (air is -1000 HU)."""

_CT = uid.CTImageStorage

_NOT_A_SLICE = {
    "LOCALIZER": "localizer",
    "MPR": "reformat (MPR)",
    "MIP": "projection (MIP)",
    "MINIP": "projection (MinIP)",
    "PROJECTION": "projection",
    "VRT": "volume rendering",
    "MAXIP": "projection (MIP)",
    "VOLUMERENDER": "volume rendering",
    "SURFACERENDER": "volume rendering",
    "SCREEN": "screen save",
    "PERFUSION": "perfusion map",
    "DOSE": "dose picture",
}
"""Words of Image Type (0008,0008) that say "not a slice as acquired", and what the reason calls them."""


def refuse_unless_ct(dataset: Dataset) -> None:
    """Check from the header alone that this is one CT slice whose Hounsfield values are defined.

    Args:
        dataset: A dataset as `pydicom.dcmread` gives it; the pixels are not touched.

    Raises:
        DataRefused: With the first reason found. Reasons are few and fixed, so that they can be counted.
    """
    sop_class = str(dataset.get("SOPClassUID") or "")
    if not sop_class:
        meta: Any = getattr(dataset, "file_meta", {})
        if str(meta.get("MediaStorageSOPClassUID") or "") == uid.MediaStorageDirectoryStorage:
            raise DataRefused("DICOMDIR, a list of files")
        raise DataRefused("no SOP class (empty or cut header)")
    modality = str(dataset.get("Modality") or "").strip()
    if modality != "CT":
        raise DataRefused(f"modality {_known(modality)}, not CT")
    if sop_class != _CT:
        name = uid.UID(sop_class).name if sop_class in uid.UID_dictionary else "unknown SOP class"
        raise DataRefused(f"{name}, not CT Image Storage")
    if _count(dataset, "NumberOfFrames") != 1:
        raise DataRefused("several frames in a single-frame SOP class")
    _refuse_image_type(dataset)
    if str(dataset.get("BodyPartExamined") or "").strip().upper() in NOT_THE_CHEST:
        raise DataRefused("body part is not the chest")
    if str(dataset.get("BurnedInAnnotation") or "").strip() == "YES":
        raise DataRefused("burned-in annotation")
    _refuse_pixel_format(dataset)
    _rescale(dataset)


def is_lossy(dataset: Dataset) -> bool:
    """Whether the pixels ever went through lossy compression (0028,2110), now or before this file."""
    return str(dataset.get("LossyImageCompression") or "").strip() == "01"


def to_hounsfield(dataset: Dataset) -> npt.NDArray[np.int16]:
    """Decode one CT slice.

    Bits above Bits Stored are dropped and the sign extended before anything else; padding (Pixel Padding Value, and
    the range up to Pixel Padding Range Limit) is recognised in *stored* values, then set to `FLOOR_HU`; values below
    `FLOOR_HU` are raised to it (undeclared padding such as GE's -2000). Rescaled values are rounded to whole HU.

    Lossy compression (JPEG 2000, JPEG-LS near-lossless, 12-bit JPEG) is accepted: archives use it within limits
    that radiologists set, HU stay defined, and `is_lossy` lets the caller count it. 8-bit CT is not: 256 steps over the
    Hounsfield scale are 16 to 32 HU each, and the standard has 12 to 16 bits (PS3.3 C.8.2.1.1.4).

    MONOCHROME1 says only how a display shows small values, after the rescale (PS3.3 C.7.6.3.1.2), so a conforming file
    needs no inversion; some converters invert the stored values and leave the rescale as it was. Header words cannot
    tell the two apart but the picture can: the rim of a CT slice is air. Where exactly one reading makes it air, that
    one is taken; where none or both do, the slice is refused.

    Args:
        dataset: A dataset with its pixels.

    Returns:
        int16 `[rows, cols]`, HU, -1024 and above.

    Raises:
        DataRefused: The slice is not a CT slice, its scale is undefined, its pixels are cut or damaged, or no decoder
            for its transfer syntax is installed (then the reason names the syntax and the package).
    """
    refuse_unless_ct(dataset)
    return rescaled(dataset, stored_values(dataset))


def rescaled(dataset: Dataset, stored: npt.NDArray[np.int32]) -> npt.NDArray[np.int16]:
    """Hounsfield values from stored ones; see `to_hounsfield`.

    Args:
        dataset: A header that `refuse_unless_ct` has passed.
        stored: `[rows, cols]`, see `covidct.ct.decode.stored_values`.

    Raises:
        DataRefused: MONOCHROME1 that cannot be told.
    """
    slope, intercept = _rescale(dataset)
    padding = _padding(dataset, stored)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        stored = _resolve_monochrome1(dataset, stored, padding, slope, intercept)
    hounsfield = _scale(stored, slope, intercept)
    if padding is not None:
        hounsfield[padding] = FLOOR_HU
    return np.clip(hounsfield, FLOOR_HU, np.iinfo(np.int16).max).astype(np.int16)


def _known(modality: str) -> str:
    """A modality fit for a reason: a defined term. Anything else may be free text about a person."""
    return modality if modality in MODALITIES else "unknown" if modality else "missing"


def _count(dataset: Dataset, keyword: str) -> int:
    """A number of something, 1 where it is not said."""
    value: Any = dataset.get(keyword)
    if value in (None, ""):
        return 1
    if not isinstance(value, int):
        raise DataRefused(f"{keyword} is not a number")
    return value or 1


def _refuse_image_type(dataset: Dataset) -> None:
    value: Any = dataset.get("ImageType")
    values = list(value or []) if isinstance(value, list | tuple | MultiValue) else [value]
    values = [str(item).strip().upper() for item in values]
    for item in values:
        words = item.replace("_", " ").split()
        for word in [*words, "".join(words)]:  # "CSA MPR", "MIN IP"
            if word in _NOT_A_SLICE:
                raise DataRefused(f"image type says {_NOT_A_SLICE[word]}")
    if len(values) > 1 and values[1] == "SECONDARY":
        raise DataRefused("image type says SECONDARY (made after the scan)")


def _refuse_pixel_format(dataset: Dataset) -> None:
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation"):
        if not isinstance(dataset.get(keyword), int):
            raise DataRefused(f"{keyword} missing or not a number")
    if _count(dataset, "SamplesPerPixel") != 1:
        raise DataRefused("colour picture")
    if dataset.get("PhotometricInterpretation") not in ("MONOCHROME1", "MONOCHROME2"):
        raise DataRefused("photometric interpretation is not MONOCHROME1 or MONOCHROME2")
    if not (0 < dataset.Rows <= MAX_SIDE and 0 < dataset.Columns <= MAX_SIDE):
        raise DataRefused(f"rows or columns outside 1..{MAX_SIDE}")
    if dataset.BitsAllocated != 16 or not 12 <= dataset.BitsStored <= 16:
        raise DataRefused("not 12 to 16 bits stored in 16 (8-bit CT is too coarse)")
    if dataset.PixelRepresentation not in (0, 1):
        raise DataRefused("pixel representation is neither unsigned nor signed")
    high_bit = dataset.get("HighBit")
    if high_bit is not None and high_bit != dataset.BitsStored - 1:
        raise DataRefused("high bit is not bits stored - 1")


def _rescale(dataset: Dataset) -> tuple[float, float]:
    found = []
    for keyword in ("RescaleSlope", "RescaleIntercept"):
        value: Any = dataset.get(keyword)
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise DataRefused(f"no {keyword}: Hounsfield values are undefined") from None
        if not math.isfinite(number):
            raise DataRefused(f"{keyword} is not finite")
        found.append(number)
    if found[0] == 0:
        raise DataRefused("RescaleSlope is 0")
    if str(dataset.get("RescaleType") or "HU").strip() != "HU":  # absent means HU for CT: PS3.3 C.8.2.1
        raise DataRefused("RescaleType is not HU")
    return found[0], found[1]


def _scale(stored: npt.NDArray[np.int32], slope: float, intercept: float) -> npt.NDArray[np.generic]:
    """stored x slope + intercept, rounded to whole numbers."""
    if slope == 1 and intercept.is_integer() and abs(intercept) < 1 << 30:  # nearly every CT; several times faster
        return stored + np.int32(intercept)
    return np.rint(stored.astype(np.float64) * slope + intercept)


def _padding(dataset: Dataset, stored: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_] | None:
    """Pixels that are no measurement (PS3.3 C.7.5.1.1.2), found in stored values."""
    ends = []
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        value: Any = dataset.get(keyword)
        if isinstance(value, int):
            # US or SS by Pixel Representation; a writer that takes the other one gives 63536 for -2000
            bits = int(dataset.BitsStored)
            if dataset.PixelRepresentation == 1 and value >= 1 << 15:
                value -= 1 << 16
            elif dataset.PixelRepresentation == 0 and value < 0:
                value &= (1 << bits) - 1
            ends.append(value)
        elif keyword == "PixelPaddingValue":
            return None
    mask: npt.NDArray[np.bool_] = (stored >= min(ends)) & (stored <= max(ends))
    return mask


def _resolve_monochrome1(
    dataset: Dataset,
    stored: npt.NDArray[np.int32],
    padding: npt.NDArray[np.bool_] | None,
    slope: float,
    intercept: float,
) -> npt.NDArray[np.int32]:
    top = (1 << int(dataset.BitsStored)) - 1 if dataset.PixelRepresentation == 0 else -1
    inverted = top - stored
    width = max(1, min(stored.shape) // 16)
    rim = np.ones(stored.shape, dtype=bool)
    rim[width:-width, width:-width] = False
    if padding is not None:
        rim &= ~padding
    if not rim.any():
        raise DataRefused("MONOCHROME1 and nothing to tell whether the stored values are inverted")
    readings = [
        candidate
        for candidate in (stored, inverted)
        if -1100 <= float(np.median(candidate[rim])) * slope + intercept <= -800
    ]
    if len(readings) != 1:
        raise DataRefused("MONOCHROME1 and the rim of the slice does not tell whether the stored values are inverted")
    return readings[0]
