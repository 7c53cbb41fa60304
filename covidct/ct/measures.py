"""What is measured in every slice while it is decoded anyway: areas, a histogram, a fingerprint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from covidct.ct.fingerprint import fingerprint
from covidct.ct.lungs import body_mask, lung_mask
from covidct.ct.read import Slice
from covidct.ct.window import HU

FLOOR_HU = -1024
"""The lowest value a slice has: padding, and what is below, is read as this."""

BIN_HU = 32
"""Width of a histogram bin of Hounsfield values; 64 bins from -1024 to 1024, the last one takes all above."""

BINS = 64

_SIDE = 160  # pixels a side at which areas are measured: a few per cent from those at full size, nine times faster


@dataclass(frozen=True)
class Measures:
    """Numbers about one slice.

    Args:
        body_mm2: Area inside the skin, mm2; None without Hounsfield units or pixel size.
        lung_mm2: Area of the lungs, mm2; None as above. See `covidct.ct.lungs.lung_mask` for what it misses.
        histogram: Pixels per bin: of `BIN_HU` Hounsfield units from -1024 on, or of 4 grey values. Pixels of -1024 HU
            itself are in no bin: they are padding, or what the scanner cut, and would hide where air is.
        fingerprint: See `covidct.ct.fingerprint.fingerprint`.
    """

    body_mm2: float | None
    lung_mm2: float | None
    histogram: tuple[int, ...]
    fingerprint: str


def measure(picture: Slice) -> Measures:
    """Measure one slice."""
    pixels = picture.pixels
    if picture.units != HU:
        counts = np.bincount(pixels.ravel(), minlength=256).reshape(BINS, -1).sum(axis=1)
        return Measures(None, None, tuple(counts.tolist()), fingerprint(pixels))
    body = lung = None
    if picture.row_mm is not None and picture.col_mm is not None:
        step = max(1, round(max(pixels.shape) / _SIDE))
        spacing = (picture.row_mm * step, picture.col_mm * step)
        area = spacing[0] * spacing[1]
        small = _cell_means(pixels, step)
        inside = body_mask(small, spacing)
        body = round(float(inside.sum()) * area, 1)
        lung = round(float(lung_mask(small, spacing, body=inside).sum()) * area, 1)
    return Measures(body, lung, tuple(_histogram(pixels).tolist()), fingerprint(pixels))


def _histogram(hu: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    """Pixels per bin without padding; value by value first, because dividing every pixel takes longer."""
    above = np.subtract(hu, FLOOR_HU, dtype=np.int32)
    values = np.bincount(above.ravel(), minlength=BIN_HU * BINS)
    values[0] = 0
    counts: npt.NDArray[np.int64] = np.add.reduceat(values, np.arange(0, BIN_HU * BINS, BIN_HU))
    return counts  # the last bin takes all that is above


def _cell_means(hu: npt.NDArray[np.generic], step: int) -> npt.NDArray[np.int16]:
    """Means over cells of `step` x `step` pixels, whole HU towards 0; what is left over at the edges is not used."""
    rows, cols = hu.shape[0] // step * step, hu.shape[1] // step * step
    sums = np.zeros((rows // step, cols // step), np.int32)
    for row in range(step):
        for col in range(step):
            sums += hu[row:rows:step, col:cols:step]
    return (sums.astype(np.float32) / np.float32(step * step)).astype(np.int16)
