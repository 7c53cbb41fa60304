"""Ground glass: lung that is hazy while its vessels stay visible (COVID-19, other viral pneumonia)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from covidct.ct.phantom.body import Body
from covidct.ct.phantom.disease import SEEN, Extent, LungView
from covidct.ct.phantom.geometry import Array, Beads, coverage, paint
from covidct.ct.phantom.vessels import Tree


@dataclass(frozen=True)
class PeripheralGroundGlass:
    """COVID-19: several subpleural patches of ground glass in both lungs, most at the back and the base.

    Attributes:
        extent: How much.
        patches: [n, 8]: angle (radians), depth (mm), half length along the wall, thickness from the wall, half
            height (mm), HU, share of reticulation, share of consolidation.
        body_mm: Lung height.
    """

    extent: Extent
    patches: np.ndarray

    @classmethod
    def sample(cls, body: Body, extent: Extent, generator: np.random.Generator) -> PeripheralGroundGlass:
        g = generator
        n = int(np.clip(round(g.uniform(9, 17) * extent.size), 5, 16))
        height = (extent.high - extent.low) * body.height_mm
        places = extent.low * body.height_mm + height * (np.arange(n) + g.uniform(0.2, 0.8, n)) / n
        side = np.where(g.permutation(n) % 2 == 0, 1, -1)
        from_back = np.radians(np.clip(np.abs(g.normal(46, 28, n)), 20, 140))
        angle = np.pi / 2 - side * from_back
        patches = np.column_stack(
            [
                angle, places, g.uniform(22, 54, n) * extent.size, g.uniform(15, 30, n) * extent.size,
                np.maximum(g.uniform(16, 34, n) * extent.size, 0.75 * height / n), g.uniform(-630, -450, n),
                g.random(n) * (g.random(n) < 0.6), g.random(n) * (g.random(n) < 0.35),
            ]
        )  # fmt: skip
        return cls(extent, patches)

    def paint(self, view: LungView, air: Array, wall: Array, lumen: Array) -> np.ndarray:  # noqa: ARG002
        """See `Disease.paint`."""
        grid, cover = view.grid, np.zeros_like(air)
        fade = self.extent.fade(view.level)
        if fade == 0:
            return cover > 1
        turn = np.arctan2(grid.y, grid.x)
        for angle, place, along, thick, tall, hu, mesh, solid in self.patches:
            if abs(view.depth_mm - place) > 1.4 * tall:
                continue
            arc = (np.abs((turn - angle + np.pi) % (2 * np.pi) - np.pi) * grid.radius) / along
            inward = -view.cavity / thick
            size = np.sqrt(arc * arc + inward * inward + ((view.depth_mm - place) / tall) ** 2)
            size = size + 0.20 * view.medium + 0.10 * view.fine
            part = np.clip((1.05 - size) / 0.34, 0, 1) * np.float32(fade)
            strength = self.extent.contrast
            glass = air + (hu + 24 * view.fine - air) * np.float32(strength)
            lines = coverage((np.abs(view.fine + 0.4 * view.medium) - 0.16) * 4, 1.4)
            glass = glass + lines * np.float32(170 * mesh * strength)
            core = np.clip((0.62 - size) / 0.3, 0, 1) * np.float32(0.8 * solid * strength)
            glass = glass + core * (-60 - glass)
            paint(air, part.astype(np.float32), glass.astype(np.float32))
            np.maximum(cover, part, out=cover)
        return cover > SEEN


@dataclass(frozen=True)
class DiffuseGroundGlass:
    """Other viral pneumonia: hazy, patchy ground glass through both lungs with fuzzy centrilobular nodules,
    the rim under the pleura spared.

    Attributes:
        extent: How much.
        nodules: Centrilobular nodules at the ends of small airways.
        haze: How much of the lung is hazy; 0 about half, 1 nearly all.
        glass_hu: HU of the haze.
        nodular: 0..1, weight of the nodules against the haze.
    """

    extent: Extent
    nodules: Beads
    haze: float
    glass_hu: float
    nodular: float

    @classmethod
    def sample(
        cls, body: Body, trees: list[Tree], extent: Extent, generator: np.random.Generator
    ) -> DiffuseGroundGlass:
        g = generator
        nodes = np.concatenate([t.nodes[t.tips] for t in trees])
        nodes = np.concatenate([nodes + g.normal(0, 5, nodes.shape) for _ in range(4)])
        level = nodes[:, 2] / body.height_mm
        nodes = nodes[(level > extent.low) & (level < extent.high)]
        n = len(nodes)
        nodules = Beads.sorted(nodes, g.uniform(1.8, 3.4, n) * np.sqrt(extent.size), np.ones(n))
        return cls(extent, nodules, float(g.uniform(0, 0.8)), float(g.uniform(-690, -600)), float(g.uniform(0.3, 1)))

    def paint(self, view: LungView, air: Array, wall: Array, lumen: Array) -> np.ndarray:  # noqa: ARG002
        """See `Disease.paint`."""
        fade = self.extent.fade(view.level)
        if fade == 0:
            return np.zeros(air.shape, bool)
        spread = (self.haze - 0.1) + 0.75 * view.coarse + 0.45 * view.medium + 0.12 * view.fine
        spread = spread - 0.5 * (1 - self.extent.size)
        spared = np.clip((-view.lung - 4) / 9, 0, 1)
        haze = np.clip(0.5 + spread / 0.7, 0, 1) * spared * np.float32(fade * (1 - 0.35 * self.nodular))
        target = self.glass_hu + 18 * view.fine
        paint(air, (haze * self.extent.contrast).astype(np.float32), target.astype(np.float32))
        small = self.nodules.stamp(view.grid, view.depth_mm, view.thickness_mm)
        halo = self.nodules.stamp(view.grid, view.depth_mm, view.thickness_mm, grow_mm=1.4)
        dots = (0.5 * small + 0.5 * halo) * spared * np.clip(0.7 + spread, 0, 1) * np.float32(self.nodular * fade)
        paint(air, (dots * self.extent.contrast).astype(np.float32), -520.0)
        return (haze > SEEN) | (dots > SEEN)
