"""Whether a picture may show writing: by what its header says, and by a plain look at its pixels.

Nothing here finds all writing. What is suspected is set aside for a person to look at; it never reaches the output.
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from skimage.measure import label, regionprops

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_SCREENS = ("SCREEN", "CAPTURE", "REPORT", "DOSE", "VRT", "VOLREN", "SSD", "SNAPSHOT", "PRINT")
_WRITING = ("US", "IVUS", "ES", "GM", "XC", "OP", "OPT", "OT", "DOC", "SC", "ECG", "HD", "SM")

_MIN_LETTERS = 5
_HEIGHTS = (4, 48)  # pixels; letters of 5 x 7 fonts to those of print-outs
_MIN_AREA = 5


def suspected_by_header(dataset: Dataset) -> str:
    """Why writing in the picture is likely, or ""."""
    if str(dataset.get("BurnedInAnnotation", "")).strip().upper() not in ("", "NO"):
        return "BurnedInAnnotation is not NO"
    if str(dataset.get("SOPClassUID", "")).startswith(_SECONDARY_CAPTURE):
        return "Secondary Capture"
    if dataset.get("ConversionType"):
        return "ConversionType: converted from something else"
    kind = dataset.get("ImageType") or ()
    words = " ".join([kind] if isinstance(kind, str) else [str(word) for word in kind]).upper()
    if any(word in words for word in _SCREENS):
        return "ImageType of a screen, a report or a rendering"
    if str(dataset.get("Modality", "")).strip().upper() in _WRITING:
        return "modality whose pictures usually hold writing"
    if int(dataset.get("SamplesPerPixel") or 1) != 1:
        return "colour picture"
    if _has_overlay_in_pixels(dataset):
        return "overlay in the unused bits of the pixels"
    return ""


def _has_overlay_in_pixels(dataset: Dataset) -> bool:
    """Overlay Bit Position (60xx,0102) other than 0 without overlay data (retired, PS3.5 8.1.2)."""
    return any((group, 16) in dataset and (group, 12288) not in dataset for group in range(24576, 24832, 2))


def suspected_by_pixels(pixels: npt.NDArray[np.generic], *, inverted: bool = False) -> str:
    """Look for a line of letters: `_MIN_LETTERS` or more small shapes at one height, all exactly of the top value.

    Writing is drawn in the brightest value there is; in a CT slice noise gives neighbouring pixels different values,
    and what is saturated (metal) does not stand in line.

    Args:
        pixels: Stored values `[rows, cols]` or `[frames, rows, cols]`.
        inverted: MONOCHROME1: the lowest value is the brightest.
    """
    for frame in pixels if pixels.ndim == 3 else pixels[np.newaxis]:
        if frame.min() < frame.max() and _has_line(frame == (frame.min() if inverted else frame.max())):
            return "shapes like a line of letters in the pixels"
    return ""


def _has_line(mask: npt.NDArray[np.bool_]) -> bool:
    if mask.mean() > 0.9 or not mask.any():
        return False
    places: list[tuple[float, int, float]] = []
    for region in regionprops(label(mask, connectivity=2)):
        top, left, bottom, right = region.bbox
        height, width = bottom - top, right - left
        if _HEIGHTS[0] <= height <= _HEIGHTS[1] and width <= 1.5 * height and region.area >= _MIN_AREA:
            places.append(((top + bottom) / 2, height, (left + right) / 2))
    for middle, height, _ in places:
        row = sorted(x for y, h, x in places if abs(y - middle) <= 0.15 * height + 0.5 and abs(h - height) <= 1)
        run = 1
        for before, after in itertools.pairwise(row):
            run = run + 1 if after - before <= 2.5 * height else 1
            if run >= _MIN_LETTERS:
                return True
    return False
