"""Windows: the part of the Hounsfield scale that a picture shows."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from covidct.errors import UsageError


@dataclass(frozen=True)
class Window:
    """A linear grey scale between two Hounsfield values.

    Args:
        center_hu: Middle of the window, in HU.
        width_hu: Distance from black to white, in HU; greater than 0.
    """

    center_hu: float
    width_hu: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.center_hu) and math.isfinite(self.width_hu) and self.width_hu > 0):
            raise UsageError(
                f"a window needs a finite center and a width above 0, not {self.center_hu} and {self.width_hu}"
            )

    @property
    def low_hu(self) -> float:
        """The highest value that is drawn black."""
        return self.center_hu - self.width_hu / 2

    @property
    def high_hu(self) -> float:
        """The lowest value that is drawn white."""
        return self.center_hu + self.width_hu / 2


WINDOWS = {
    "lung": Window(-600, 1500),
    "mediastinal": Window(40, 400),
    "bone": Window(400, 1800),
    "full": Window(0, 2048),  # -1024 .. 1024 HU: air to dense bone in one picture
}
"""Named windows. Lung and mediastinal are the two a chest CT is read in; the paper names none of its own."""

GRAY8 = "gray8"
HU = "HU"


def apply(pixels: npt.NDArray[np.generic], window: Window | None, *, units: str = HU) -> npt.NDArray[np.float32]:
    """Scale pixels to [0, 1].

    Hounsfield values are clipped to the window: `low_hu` becomes 0, `high_hu` becomes 1, linear between
    (LINEAR_EXACT of DICOM PS3.3 C.11.2.1.3.2). 8-bit images carry a window of their own that nobody recorded, so
    they are divided by 255 and a window for them is refused.

    Args:
        pixels: `[rows, cols]` HU values, or 0..255 for `units="gray8"`.
        window: The window; None for, and only for, `gray8`.
        units: `"HU"` or `"gray8"`.

    Returns:
        float32 of the same shape in [0, 1].

    Raises:
        UsageError: A window for 8-bit images, none for HU, or unknown units.
    """
    if units == GRAY8:
        if window is not None:
            raise UsageError(
                "8-bit images have no Hounsfield values, so no window can be applied",
                remedy="leave the window out (data.windows=null) for image sources such as covid_ct",
            )
        return np.asarray(pixels, dtype=np.float32) / np.float32(255)
    if units != HU:
        raise UsageError(f"unknown pixel units {units!r}", remedy=f"use {HU!r} or {GRAY8!r}")
    if window is None:
        raise UsageError("Hounsfield values need a window", remedy=f"name one of {sorted(WINDOWS)}")
    scaled = (np.asarray(pixels, dtype=np.float32) - np.float32(window.low_hu)) / np.float32(window.width_hu)
    return np.clip(scaled, np.float32(0), np.float32(1))


def parse_windows(value: str | Sequence[str] | None) -> tuple[Window, ...]:
    """Turn names into windows, one per channel, in the given order.

    Args:
        value: A name, several names, `"center,width"` in HU (for example `"-500,1400"`), or None for 8-bit images.

    Returns:
        The windows; empty for None.

    Raises:
        UsageError: A name that is not known (with the nearest one), or an empty list.
    """
    if value is None:
        return ()
    names = [value] if isinstance(value, str) else list(value)
    if not names:
        raise UsageError("no window given", remedy=f"name one or more of {sorted(WINDOWS)}")
    return tuple(_parse(name) for name in names)


def _parse(name: str) -> Window:
    if name in WINDOWS:
        return WINDOWS[name]
    center, comma, width = str(name).partition(",")
    if comma:
        try:
            numbers = float(center), float(width)
        except ValueError:
            raise UsageError(f"not a window: {name!r}", remedy='write "center,width" in HU, e.g. "-600,1500"') from None
        return Window(*numbers)
    near = difflib.get_close_matches(str(name), WINDOWS, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UsageError(f"unknown window {name!r}", remedy=f'{hint}Use one of {sorted(WINDOWS)} or "center,width" in HU')
