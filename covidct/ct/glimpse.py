"""A small grey picture of whatever a file holds, for people to look at; never for a network or a measurement."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom.pixels import pixel_array

from covidct.ct.decode import MAX_SIDE
from covidct.ct.read import kind_of, open_dicom, read_slice
from covidct.ct.window import HU, WINDOWS, apply
from covidct.errors import DataRefused

SIDE = 144


def glimpse(path: Path, frame: int = 0, *, side: int = SIDE) -> npt.NDArray[np.uint8]:
    """Show a slice in the lung window; what is refused as a slice (a localizer, a picture of a report) is shown too,
    from its darkest to its brightest hundredth.

    Args:
        path: Any file.
        frame: See `covidct.ct.read.read_slice`.
        side: Pixels of the longer side.

    Returns:
        Grey values.

    Raises:
        DataRefused: There is nothing in it that can be decoded. Other exceptions and crashes of decoders are possible:
            ask for it in a process of its own where the file was refused.
    """
    size_mm = None
    try:
        seen = read_slice(path, frame)
        window = WINDOWS["lung"] if seen.units == HU else None
        grey = apply(seen.pixels, window, units=seen.units)
        if seen.row_mm is not None and seen.col_mm is not None:
            size_mm = (seen.row_mm, seen.col_mm)
    except DataRefused:
        grey = _anything(path, frame)
    rows, cols = grey.shape
    high, wide = rows * (size_mm[0] if size_mm else 1), cols * (size_mm[1] if size_mm else 1)
    size = max(1, round(side * wide / max(high, wide))), max(1, round(side * high / max(high, wide)))
    image = Image.fromarray(np.round(255 * grey).astype(np.uint8))
    return np.asarray(image.resize(size, Image.Resampling.BOX if min(rows, cols) > side else Image.Resampling.BILINEAR))


def _anything(path: Path, frame: int) -> npt.NDArray[np.float32]:
    if kind_of(path) != "dicom":
        raise DataRefused("nothing to show")
    with open_dicom(path) as dataset:
        if not (0 < dataset.Rows <= MAX_SIDE and 0 < dataset.Columns <= MAX_SIDE):
            raise DataRefused("nothing to show")
        values = np.asarray(pixel_array(dataset, index=frame), dtype=np.float32)
    if values.ndim == 3:  # colours
        values = values[..., :3].mean(axis=-1)
    low, high = np.percentile(values, (1, 99))
    if not high > low:
        low, high = float(values.min()), float(values.max()) + 1.0
    return np.clip((values - low) / (high - low), 0, 1).astype(np.float32)
