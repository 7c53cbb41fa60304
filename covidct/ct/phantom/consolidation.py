"""Consolidation: lung without air that hides its vessels and shows its airways (bacterial pneumonia)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from covidct.ct.phantom.body import Body
from covidct.ct.phantom.disease import SEEN, Extent, LungView
from covidct.ct.phantom.geometry import Array, Beads, coverage, paint
from covidct.ct.phantom.vessels import Tree


@dataclass(frozen=True)
class Lobe:
    """A lobe: side (-1 right, 1 left), its level, where its consolidation sits (x, y relative), and which sides of
    the fissures it lies on (-1 above or in front, 1 below or behind, 0 any)."""

    side: int
    level: float
    x: float
    y: float
    oblique: int
    horizontal: int


LOBES = (
    Lobe(-1, 0.32, 74, 8, -1, -1),  # right upper
    Lobe(-1, 0.63, 72, -34, -1, 1),  # right middle
    Lobe(-1, 0.70, 78, 48, 1, 0),  # right lower
    Lobe(1, 0.40, 80, -24, -1, 0),  # left upper
    Lobe(1, 0.68, 84, 46, 1, 0),  # left lower
)
"""The five lobes."""


@dataclass(frozen=True)
class LobarConsolidation:
    """Bacterial pneumonia: one lobe filled up to its fissure, air left in its bronchi, a hazy border elsewhere.

    Attributes:
        extent: How much.
        lobe: Which lobe.
        centre: x, y, depth (mm).
        radii: Half sizes in x, y and depth (mm).
        solid_hu: HU of the filled lung.
        bronchi: Airways that stay open inside it.
    """

    extent: Extent
    lobe: Lobe
    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    solid_hu: float
    bronchi: Beads

    @classmethod
    def sample(
        cls, body: Body, trees: list[Tree], extent: Extent, generator: np.random.Generator, lobe: Lobe
    ) -> LobarConsolidation:
        g = generator
        size = extent.size * g.uniform(0.85, 1.15)
        centre = (
            lobe.side * lobe.x * body.width + g.normal(0, 5), lobe.y * body.depth + g.normal(0, 5),
            extent.middle * body.height_mm,
        )  # fmt: skip
        tall = (extent.high - extent.low) / 2 * body.height_mm * 1.06
        radii = (56 * size, 54 * size, tall)
        tree = trees[0 if lobe.side < 0 else 1]
        child = np.flatnonzero((tree.parent >= 0) & (tree.radii > 0.66))
        a, b = tree.nodes[tree.parent[child]], tree.nodes[child]
        t = np.linspace(0, 1, 16)[None, :, None]
        points = (a[:, None] + t * (b - a)[:, None] + g.normal(0, 1.2, 3)).reshape(-1, 3)
        lumen = np.clip(0.85 * tree.radii[child] + 0.25, 0.8, 2.6)
        upright = np.abs(b - a)[:, 2] / np.maximum(np.linalg.norm(b - a, axis=1), 1e-3)
        bronchi = Beads.sorted(points, np.repeat(lumen, 16), np.repeat(upright, 16))
        return cls(extent, lobe, centre, radii, float(g.uniform(22, 48)), bronchi)

    def paint(self, view: LungView, air: Array, wall: Array, lumen: Array) -> np.ndarray:
        """See `Disease.paint`."""
        fade = self.extent.fade(view.level)
        if fade == 0:
            return np.zeros(air.shape, bool)
        grid = view.grid
        parts = [(grid.x - self.centre[0]) / self.radii[0], (grid.y - self.centre[1]) / self.radii[1]]
        size = np.sqrt(parts[0] ** 2 + parts[1] ** 2 + ((view.depth_mm - self.centre[2]) / self.radii[2]) ** 2)
        ragged = size + 0.11 * view.medium + 0.05 * view.fine + 0.08 * view.coarse
        lobe: Array = np.where(grid.x * self.lobe.side > 0, 1, 0).astype(np.float32)
        if self.lobe.oblique:
            lobe = lobe * coverage(-self.lobe.oblique * view.oblique, 2.0)
        if self.lobe.horizontal:
            lobe = lobe * coverage(-self.lobe.horizontal * view.horizontal, 4.0)
        solid = np.clip((1.0 - ragged) / 0.16, 0, 1) * lobe * np.float32(fade)
        halo = np.clip((1.30 - ragged) / 0.30, 0, 1) * lobe * np.float32(fade)
        # a faint pneumonia is not a grey one: contrast lowers its solidity less than that of ground glass
        strength = np.float32(0.45 + 0.55 * self.extent.contrast)
        paint(air, (halo * 0.75 * self.extent.contrast).astype(np.float32), (-560 + 40 * view.fine).astype(np.float32))
        paint(air, (solid * strength).astype(np.float32), (self.solid_hu + 8 * view.fine).astype(np.float32))
        open_air = self.bronchi.stamp(grid, view.depth_mm, view.thickness_mm) * solid
        np.maximum(lumen, open_air * 0.9, out=lumen)
        wall *= 1 - solid
        np.maximum(wall, lumen * solid, out=wall)
        return (solid > SEEN) | (halo > 0.6)
