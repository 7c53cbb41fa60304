"""A section being painted, and what tissues look like in HU."""

from __future__ import annotations

from dataclasses import dataclass

from covidct.ct.phantom.anatomy import Chest, Outline
from covidct.ct.phantom.geometry import Array

AIR_HU, FAT_HU, MUSCLE_HU, BLOOD_HU, LIVER_HU, SPLEEN_HU = -1000.0, -104.0, 52.0, 40.0, 57.0, 48.0
CORTEX_HU, MARROW_HU, CARTILAGE_HU = 780.0, 190.0, 110.0


@dataclass(frozen=True)
class Canvas:
    """One section while it is painted.

    Attributes:
        chest: The chest that is cut.
        out: Where things are.
        hu: [rows, cols] HU, altered in place.
        medium, fine: [rows, cols] random fields with blobs of about 20 and 8 mm.
        depth_mm, thickness_mm: Where the section lies and how thick it is.
    """

    chest: Chest
    out: Outline
    hu: Array
    medium: Array
    fine: Array
    depth_mm: float
    thickness_mm: float

    @property
    def level(self) -> float:
        """0 lung apex .. 1 lung base."""
        return self.chest.body.level(self.depth_mm)

    @property
    def edge(self) -> float:
        """Width of an edge, mm."""
        return 1.1 * self.chest.grid.pixel_mm
