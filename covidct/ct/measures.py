"""What is measured in every slice while it is decoded anyway: areas, a histogram, a fingerprint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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
    body = lung = None
    if picture.units == HU:
        bins = np.clip((pixels.astype(np.int32) + 1024) // BIN_HU, 0, BINS - 1)
        if picture.row_mm is not None and picture.col_mm is not None:
            step = max(1, round(max(pixels.shape) / _SIDE))
            rows, cols = pixels.shape[0] // step * step, pixels.shape[1] // step * step
            cells = pixels[:rows, :cols].reshape(rows // step, step, cols // step, step)
            small = cells.mean(axis=(1, 3), dtype=np.float32).astype(np.int16)
            spacing = (picture.row_mm * step, picture.col_mm * step)
            area = spacing[0] * spacing[1]
            body = round(float(body_mask(small, spacing).sum()) * area, 1)
            lung = round(float(lung_mask(small, spacing).sum()) * area, 1)
    else:
        bins = pixels.astype(np.int32) // (256 // BINS)
    counts = np.bincount(bins.ravel(), minlength=BINS)
    if picture.units == HU:
        counts[0] -= int((pixels == FLOOR_HU).sum())
    return Measures(body, lung, tuple(int(count) for count in counts), fingerprint(pixels))
