"""What a disease is to the phantom: something that alters the lung in a section and says where.

All lesions are 3-D: neighbouring slices agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from covidct.ct.phantom.geometry import Array, Grid

SEEN = 0.4
"""Share of a pixel that must be altered to belong to a lesion mask."""


@dataclass(frozen=True)
class LungView:
    """What a lesion needs to know of a section; all arrays [rows, cols].

    Attributes:
        grid, depth_mm, level, thickness_mm: Where the section lies.
        lung, cavity: Signed distance (mm, negative inside) to lung surface and inner chest wall.
        oblique, horizontal: Signed distance to the fissures, negative above.
        medium, fine, coarse: Random fields with blobs of about 20, 8 and 70 mm.
    """

    grid: Grid
    depth_mm: float
    level: float
    thickness_mm: float
    lung: Array
    cavity: Array
    oblique: Array
    horizontal: Array
    medium: Array
    fine: Array
    coarse: Array


class Disease(Protocol):
    """Lesions of one patient."""

    def paint(self, view: LungView, air: Array, wall: Array, lumen: Array) -> np.ndarray:
        """Alter the lung in place.

        Args:
            view: The section.
            air: HU of the parenchyma, before vessels are drawn.
            wall: Coverage by airway walls and lumens, drawn afterwards.
            lumen: Coverage by airway lumens.

        Returns:
            [rows, cols] bool, where a lesion is.
        """
        ...


@dataclass(frozen=True)
class Extent:
    """How much of a lesion there is.

    Attributes:
        low, high: First and last level with lesions.
        contrast: 0..1, conspicuity.
        size: Size relative to the usual.
    """

    low: float
    high: float
    contrast: float
    size: float

    @property
    def middle(self) -> float:
        return (self.low + self.high) / 2

    def fade(self, level: float) -> float:
        """1 between the first and last level, 0 outside, with a short ramp inside."""
        return float(np.clip(min(level - self.low, self.high - level) / 0.015, 0, 1))
