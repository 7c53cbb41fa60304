"""Pictures with a part taken away: lungs hidden, lungs only, border only, corners blanked, inverted.

They work on the base image (whole HU, or 128 steps a grey level, `[size, size]`), after the change of size and before
the windows: so every window of a run sees the same picture with the same part missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.morphology import convex_hull_image

from covidct.ct.lungs import body_mask, lung_mask
from covidct.data.transforms import BLACK, GRAY_STEPS

Base = npt.NDArray[np.int16]
Mask = npt.NDArray[np.bool_]

AIR_HU = -1000
BORDER = 0.1
"""Share of the side that is border, on each edge."""
CORNER = 0.2
"""Side of each blanked corner, as a share of the picture's."""
MARGIN_MM = 10.0
"""What is hidden around the lungs, so that neither pleura nor a lesion at the edge is left."""
MARK_HU = 1200
"""A mark is brighter than nearly all bone, and burned in at a scanner's upper values."""
MARK_GRAY = 225
MARK_LEAST = 0.0004
MARK_LARGEST = 0.02
"""Area of a bright mark as a share of the picture's."""


@dataclass(frozen=True)
class Viewer:
    """Makes views of the slices of one table.

    Args:
        is_hu: Hounsfield units; else 8-bit grey.
        fill: "air" (-1000 HU, or black) or "mean" (mean of the slice) in place of what is taken away.
    """

    is_hu: bool
    fill: str = "air"

    def view(self, name: str, base: Base, pixel_mm: tuple[float, float] | None) -> Base | None:
        """A view of a base image; None where this slice allows none (no lung was found)."""
        return VIEWS[name](self, base, pixel_mm)

    def filled(self, base: Base, hidden: Mask) -> Base:
        """The picture with `hidden` filled; what lay outside the slice stays as it is."""
        inside = base != BLACK
        air = AIR_HU if self.is_hu else 0
        value = round(float(base[inside].mean())) if self.fill == "mean" and inside.any() else air
        return np.where(hidden & inside, np.int16(value), base)

    def lung_field(self, base: Base, pixel_mm: tuple[float, float] | None) -> Mask | None:
        """Where the lungs are or, consolidated, would be: None where no lung is found.

        A solid lobe looks like chest wall, and a hole in the mask that has the shape of the disease would show the
        disease. So the lungs are joined with their mirror image about the middle of the body, and the convex hull of
        both, with a margin, is taken.
        """
        hu = np.where(base == BLACK, np.int16(-1024), base)
        lungs = lung_mask(hu, pixel_mm)
        if not lungs.any():
            return None
        columns = np.flatnonzero(body_mask(hu, pixel_mm).any(axis=0))
        both = lungs | _mirrored(lungs, int(columns[0] + columns[-1]))
        hull = convex_hull_image(both)
        spacing = pixel_mm or (360.0 / hu.shape[1],) * 2
        near: Mask = ndimage.distance_transform_edt(~hull, sampling=spacing) <= MARGIN_MM
        return near


def _mirrored(mask: Mask, twice_middle: int) -> Mask:
    found = np.zeros_like(mask)
    rows, cols = np.nonzero(mask)
    mirror = twice_middle - cols
    inside = (mirror >= 0) & (mirror < mask.shape[1])
    found[rows[inside], mirror[inside]] = True
    return found


def _background(viewer: Viewer, base: Base, pixel_mm: tuple[float, float] | None) -> Base | None:
    field = viewer.lung_field(base, pixel_mm)
    return None if field is None else viewer.filled(base, field)


def _lung_only(viewer: Viewer, base: Base, pixel_mm: tuple[float, float] | None) -> Base | None:
    field = viewer.lung_field(base, pixel_mm)
    return None if field is None else viewer.filled(base, ~field)


def _border(viewer: Viewer, base: Base, _: tuple[float, float] | None) -> Base:
    edge = max(1, round(BORDER * base.shape[0]))
    middle = np.zeros(base.shape, dtype=np.bool_)
    middle[edge:-edge, edge:-edge] = True
    return viewer.filled(base, middle)


def corners(side: int) -> Mask:
    """The four corners of a square picture."""
    wide = max(1, round(CORNER * side))
    mask = np.zeros((side, side), dtype=np.bool_)
    for rows in (slice(None, wide), slice(-wide, None)):
        for cols in (slice(None, wide), slice(-wide, None)):
            mask[rows, cols] = True
    return mask


def _no_corners(viewer: Viewer, base: Base, _: tuple[float, float] | None) -> Base:
    return viewer.filled(base, corners(base.shape[0]))


def _inverted(viewer: Viewer, base: Base, _: tuple[float, float] | None) -> Base:
    top = 0 if viewer.is_hu else 255 * GRAY_STEPS
    flipped = (-1000 if viewer.is_hu else top) - base.astype(np.int32)
    return np.where(base == BLACK, base, np.clip(flipped, -1024, 3071) if viewer.is_hu else flipped).astype(np.int16)


VIEWS: dict[str, Callable[[Viewer, Base, tuple[float, float] | None], Base | None]] = {
    "whole": lambda _viewer, base, _mm: base,
    "background": _background,
    "lung_only": _lung_only,
    "border": _border,
    "no_corners": _no_corners,
    "inverted": _inverted,
}
"""Inverted Hounsfield values are mirrored about -500 HU: air becomes soft tissue and the reverse."""


def has_mark(base: Base, is_hu: bool) -> bool:
    """Whether a small bright thing stands by itself in a corner of a base image: a letter, a tag, an arrow.

    Bright pixels are joined over the whole picture first, so that a bone that reaches into a corner counts with its
    whole area, which is too large.
    """
    bright = base >= (MARK_HU if is_hu else MARK_GRAY * GRAY_STEPS)
    parts, count = ndimage.label(bright, structure=np.ones((3, 3)))
    if not count:
        return False
    areas = np.bincount(parts.ravel(), minlength=count + 1)
    inside = np.bincount(parts[corners(base.shape[0])], minlength=count + 1)
    numbers = np.arange(1, count + 1)
    size = areas[numbers]
    small = (size >= max(2, MARK_LEAST * base.size)) & (size <= MARK_LARGEST * base.size)
    return bool((small & (inside[numbers] == size)).any())


def pixel_size(row_mm: float, col_mm: float, shape: tuple[int, int], size: int, fit: str) -> tuple[float, float] | None:
    """Height and width in mm of a pixel of the base image; None where the file does not say.

    Args:
        row_mm: Spacing of the rows in the file.
        col_mm: Spacing of the columns.
        shape: Rows and columns of the file.
        size: Side of the base image.
        fit: See `SliceTransform`.
    """
    if not (row_mm > 0 and col_mm > 0):
        return None
    if fit == "stretch":
        return row_mm * shape[0] / size, col_mm * shape[1] / size
    side = max(shape) if fit == "pad" else min(shape)
    return row_mm * side / size, col_mm * side / size
