"""Scanners: what a chest looks like after sampling, blur, noise and encoding.

No real product is imitated; the manufacturers are invented, and every file says `SyntheticData = YES`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import fftfreq, irfft2, rfft2, rfftfreq
from scipy.ndimage import gaussian_filter

from covidct.ct.phantom.geometry import Array, Grid, coverage, paint
from covidct.errors import UsageError

_TILE = 512


@dataclass(frozen=True)
class Encoding:
    """How HU are stored (PS3.3 C.11.1.1.2: HU = stored * slope + intercept).

    Attributes:
        bits_stored: Bits of a stored value.
        signed: Two's complement.
        slope, intercept: Rescale values.
        padding: Stored value outside the circular field of view, or None when the square is filled.
    """

    bits_stored: int
    signed: bool
    slope: float
    intercept: float
    padding: int | None = None

    def range_hu(self) -> tuple[float, float]:
        """Lowest and highest HU that can be stored."""
        low = -(2 ** (self.bits_stored - 1)) if self.signed else 0
        high = low + 2**self.bits_stored - 1
        return low * self.slope + self.intercept, high * self.slope + self.intercept

    def encode(self, hu: NDArray[np.int16], outside: NDArray[np.bool_] | None = None) -> NDArray[np.integer[Any]]:
        """Stored values of HU; `outside` marks pixels beyond the field of view."""
        stored = np.round((hu.astype(np.float32) - self.intercept) / self.slope)
        out = stored.astype(np.int16 if self.signed else np.uint16)
        if self.padding is not None and outside is not None:
            out[outside] = self.padding
        return out


@dataclass(frozen=True)
class Scanner:
    """One hospital's scanner and protocol.

    Attributes:
        site: Name of the hospital; the folder of its patients.
        manufacturer, model, kernel: Written into the files.
        field_mm: Width of the image.
        thickness_mm: Slice thickness.
        noise_hu: Standard deviation of noise in soft tissue.
        sharpness: 0 smooth soft-tissue kernel .. 1 sharp lung kernel: blur, noise texture and edge enhancement.
        table: "curved", "flat" or "cradle".
        kvp: Tube voltage.
        offset_hu: Calibration error added to everything.
        encoding: How HU are stored.
        feet_first_order: Slices acquired from the base upwards: InstanceNumber runs against the usual order.
        shuffled_files: File names follow neither position nor InstanceNumber.
    """

    site: str
    manufacturer: str
    model: str
    kernel: str
    field_mm: float
    thickness_mm: float
    noise_hu: float
    sharpness: float
    table: str
    kvp: int
    offset_hu: float
    encoding: Encoding
    feet_first_order: bool = False
    shuffled_files: bool = False

    def __post_init__(self) -> None:
        if self.table not in ("curved", "flat", "cradle"):
            raise UsageError(f"unknown table {self.table!r}", remedy="use curved, flat or cradle")
        if not self.site or not all(c.isalnum() or c in "_-" for c in self.site):
            raise UsageError(f"the site {self.site!r} cannot be a folder", remedy="use letters, digits, _ and -")

    def outside(self, size: int) -> NDArray[np.bool_] | None:
        """Pixels beyond the circular field of view, or None when all are measured."""
        if self.encoding.padding is None:
            return None
        axis = np.arange(size) - (size - 1) / 2
        return np.hypot(axis[:, None], axis[None]) > size / 2

    def draw_table(self, hu: Array, body: Array, grid: Grid, top_mm: float) -> None:
        """Draw the patient table into the air below the patient, in place."""
        y, x = np.broadcast_arrays(grid.y_axis[:, None], grid.x_axis[None, :])
        edge = 1.1 * grid.pixel_mm
        free = 1 - body
        if self.table == "flat":
            shells = [(np.abs(y - top_mm - 3) - 1.2, -180.0), (np.abs(y - top_mm - 48) - 1.0, -350.0)]
            pad = np.maximum(top_mm + 4 - y, y - top_mm - 46)
            paint(hu, coverage(pad.astype(np.float32), edge) * free, -948.0)
        else:
            bend = 0.0011 if self.table == "curved" else 0.0017
            low = top_mm + 4 - bend * x * x
            gap = 15 if self.table == "curved" else 24
            shells = [(np.abs(y - low) - 1.1, -220.0), (np.abs(y - low - gap - 0.0003 * x * x) - 1.4, 20.0)]
            if self.table == "cradle":
                pad = np.maximum(low - 9 - y, y - low)
                paint(hu, coverage(pad.astype(np.float32), edge) * free, -915.0)
        for distance, value in shells:
            paint(hu, coverage(distance.astype(np.float32), edge) * free, value)

    def measure(
        self, hu: Array, body: Array, grid: Grid, generator: np.random.Generator, streaks: float
    ) -> NDArray[np.int16]:
        """Blur, noise and rounding.

        Args:
            hu: [rows, cols] true HU; overwritten.
            body: [rows, cols] 0..1 inside the patient.
            grid: Pixel grid.
            generator: Source of randomness.
            streaks: 0..1, how much horizontal photon starvation (shoulders).

        Returns:
            [rows, cols] int16 HU in the range of the encoding; -1024 or the lowest value outside the field of view.
        """
        size = hu.shape[0]
        blur_mm = 1.05 - 0.65 * self.sharpness
        sigma = blur_mm / grid.pixel_mm
        if sigma > 0.2:
            hu = gaussian_filter(hu, sigma, mode="nearest", truncate=3.0)
        if self.sharpness > 0.5:
            hu = hu + np.float32(0.55 * (self.sharpness - 0.5) * 2) * (hu - gaussian_filter(hu, 1.1, truncate=2.5))
        thick = np.sqrt(5.0 / self.thickness_mm)
        row, column = generator.integers(0, _TILE, 2)
        tile = _noise_tile(self.sharpness, grid.pixel_mm)
        noise = _wrapped(tile, int(row), int(column), size)
        inside = gaussian_filter(body[::4, ::4], 3.0)
        inside = np.repeat(np.repeat(inside, 4, 0), 4, 1)[:size, :size]
        strength = np.float32(self.noise_hu * thick) * (0.32 + 0.68 * inside)
        hu = hu + noise * strength
        if streaks > 0:
            row, column = generator.integers(0, _TILE, 2)
            hu = hu + _wrapped(_streak_tile(), int(row), int(column), size) * strength * np.float32(0.9 * streaks)
        low, high = self.encoding.range_hu()
        out = np.clip(np.round(hu + np.float32(self.offset_hu)), max(low, -1024), min(high, 3071)).astype(np.int16)
        outside = self.outside(size)
        if outside is not None:
            out[outside] = -1024
        return out


def _wrapped(tile: Array, row: int, column: int, size: int) -> Array:
    rows, columns = (row + np.arange(size)) % _TILE, (column + np.arange(size)) % _TILE
    return tile[rows[:, None], columns]


@cache
def _noise_tile(sharpness: float, pixel_mm: float) -> Array:
    """Noise with the spectrum of filtered back-projection: rising with frequency, then cut by the kernel; periodic,
    zero mean, unit deviation. Fixed seed: slices use different places of it."""
    white = np.random.default_rng(20200131).standard_normal((_TILE, _TILE))
    per_mm = np.hypot(fftfreq(_TILE)[:, None], rfftfreq(_TILE)[None]) / pixel_mm
    cut = 0.28 + 0.42 * sharpness  # cycles/mm
    spectrum = rfft2(white) * np.sqrt(per_mm + 0.004) * np.exp(-((per_mm / cut) ** 2))
    tile = irfft2(spectrum, (_TILE, _TILE))
    return (tile / tile.std()).astype(np.float32)


@cache
def _streak_tile() -> Array:
    white = np.random.default_rng(20200201).standard_normal((_TILE, _TILE))
    tile = gaussian_filter(white, (0.9, 14), mode="wrap")
    return (tile / tile.std()).astype(np.float32)


DEFAULT_SCANNERS = (
    Scanner("site_a", "PHANTOM IMAGING A", "Alpha 64", "B41s", 370.0, 5.0, 13.0, 0.35, "curved", 120, 0.0,
            Encoding(12, False, 1.0, -1024.0)),
    Scanner("site_b", "PHANTOM MEDICAL B", "Beta Ultra", "LUNG", 400.0, 1.5, 14.0, 0.95, "flat", 120, -6.0,
            Encoding(16, True, 1.0, 0.0), feet_first_order=True),
    Scanner("site_c", "PHANTOM SYSTEMS C", "Gamma 16", "STANDARD", 350.0, 8.0, 17.0, 0.1, "cradle", 110, 5.0,
            Encoding(16, True, 1.0, -1024.0, padding=-2000), shuffled_files=True),
)  # fmt: skip
"""The training hospital and two external ones."""
