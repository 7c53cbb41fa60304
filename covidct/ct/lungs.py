"""Where the body and the lungs are, by classical means: thresholds, components and closing.

The steps are those of Hu, Hoffman and Reinhardt 2001 (doi 10.1109/42.929615): air against tissue, the largest air
spaces inside the body, airways out, then a closing that takes back vessels and lesions at the pleura. It works on one
axial slice in Hounsfield units and on nothing else: 8-bit pictures have no fixed value for air, so there is no such
function for them.

What it cannot do: a lobe that is solid throughout, or a large effusion, looks like chest wall and stays outside the
mask; bronchi inside the lung stay inside it; a lung that is cut by the edge of the image is not found.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]

ASSUMED_FIELD_MM = 360.0
"""Width of the image where the pixel size is unknown: a usual field of view of chest CT."""

BODY_HU = -300
"""Above it is tissue; fat is -100, the shells of patient tables mostly lie below after partial volume."""

LUNG_HU = -400
"""Below it is lung or gas. Within the -500 .. -320 in use; most ground glass is below it."""

GAS_HU = -925
"""An air space whose median is below it is gas (trachea, stomach, air under an arm), not parenchyma: the lungs of whole
real series and of the phantom have medians of -700 to -875. Partial volume lifts the gas of a small space, so below
30 cm2 the border is `SMALL_GAS_HU`."""

SMALL_GAS_HU = -900

_TABLE_MM = 2.5
_CLOSING_MM = 12.0
_MIN_BODY_MM2 = 8_000.0
_MIN_SPACE_MM2 = 250.0
_SMALL_SPACE_MM2 = 3_000.0
_MIN_SHARE = 0.03


def body_mask(hu: NDArray[np.int16], pixel_mm: tuple[float, float] | None) -> Mask:
    """Everything inside the skin, air spaces included.

    Args:
        hu: [rows, cols] Hounsfield units of an axial slice.
        pixel_mm: Height and width of a pixel in mm; None: the image is taken to be 360 mm wide.

    Returns:
        [rows, cols] True inside the body; all False where nothing is as large as a body (80 cm2).
    """
    spacing = _spacing(hu, pixel_mm)
    solid = _opened(hu > BODY_HU, _TABLE_MM, spacing)
    parts, count = ndimage.label(solid)
    if not count:
        return np.zeros(hu.shape, bool)
    sizes = np.bincount(parts.ravel())[1:]
    body = parts == 1 + int(sizes.argmax())
    filled: Mask = ndimage.binary_fill_holes(body)
    if filled.sum() * spacing[0] * spacing[1] < _MIN_BODY_MM2:
        return np.zeros(hu.shape, bool)
    return filled


def lung_mask(hu: NDArray[np.int16], pixel_mm: tuple[float, float] | None, *, body: Mask | None = None) -> Mask:
    """The lungs, with their vessels and with lesions that a closing of 12 mm reaches.

    Args:
        hu: [rows, cols] Hounsfield units of an axial slice.
        pixel_mm: Height and width of a pixel in mm; None: the image is taken to be 360 mm wide.
        body: Its `body_mask`, where it is known already.

    Returns:
        [rows, cols] True in the lungs, always inside `body_mask`; all False where the slice shows none.
    """
    spacing = _spacing(hu, pixel_mm)
    area = spacing[0] * spacing[1]
    body = body_mask(hu, pixel_mm) if body is None else body
    spaces, count = ndimage.label(body & (hu < LUNG_HU))
    lungs = np.zeros(hu.shape, bool)
    if not count:
        return lungs
    numbers = np.arange(1, count + 1)
    sizes = np.bincount(spaces.ravel(), minlength=count + 1)[1:] * area
    medians = np.full(count, -np.inf)
    large = sizes >= _MIN_SPACE_MM2
    if large.any():
        medians[large] = ndimage.median(hu, spaces, numbers[large])
    kept = large & (medians > np.where(sizes < _SMALL_SPACE_MM2, SMALL_GAS_HU, GAS_HU))
    if not kept.any():
        return lungs
    kept &= sizes >= _MIN_SHARE * sizes[kept].max()
    frames = ndimage.find_objects(spaces)
    for number in numbers[kept]:  # one by one: a closing of both together would bridge the mediastinum
        # a closing adds nothing outside the box of what it closes
        frame = frames[number - 1]
        lungs[frame] |= _closed(spaces[frame] == number, _CLOSING_MM, spacing)
    filled: Mask = ndimage.binary_fill_holes(lungs)
    return filled & body


def _spacing(hu: NDArray[np.int16], pixel_mm: tuple[float, float] | None) -> tuple[float, float]:
    return pixel_mm if pixel_mm is not None else (ASSUMED_FIELD_MM / hu.shape[1],) * 2


def _opened(mask: Mask, radius_mm: float, spacing: tuple[float, float]) -> Mask:
    """Opening by a diamond; what lies beyond the edge of the image counts as a part of the mask."""
    steps = round(radius_mm / min(spacing))
    if not steps:
        return mask
    padded = np.pad(mask, steps, mode="edge")
    opened: Mask = ndimage.binary_dilation(
        ndimage.binary_erosion(padded, iterations=steps, border_value=1), iterations=steps
    )
    return opened[steps:-steps, steps:-steps]


def _closed(mask: Mask, radius_mm: float, spacing: tuple[float, float]) -> Mask:
    """Closing by a disc, in a frame wide enough for it."""
    wide = int(np.ceil(radius_mm / min(spacing))) + 1
    padded = np.pad(mask, wide)
    grown = ndimage.distance_transform_edt(~padded, sampling=spacing) <= radius_mm
    closed: Mask = ndimage.distance_transform_edt(grown, sampling=spacing) > radius_mm
    return (closed | padded)[wide:-wide, wide:-wide]
