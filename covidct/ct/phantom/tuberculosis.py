"""Tuberculosis: cavities, tree-in-bud nodules."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from covidct.ct.phantom.body import Body
from covidct.ct.phantom.disease import SEEN, Extent, LungView
from covidct.ct.phantom.geometry import Array, Beads, coverage, paint
from covidct.ct.phantom.vessels import Tree


@dataclass(frozen=True)
class Tuberculosis:
    """Pulmonary tuberculosis: thick-walled cavities in the upper lobes, tree-in-bud nodules, strands.

    Attributes:
        extent: How much.
        cavities: [n, 5]: x, y, depth, outer radius, wall thickness (mm).
        buds: Nodules and the filled small airways they sit on.
    """

    extent: Extent
    cavities: np.ndarray
    buds: Beads

    @classmethod
    def sample(cls, body: Body, trees: list[Tree], extent: Extent, generator: np.random.Generator) -> Tuberculosis:
        g = generator
        first = int(g.integers(2))
        cavities: list[list[float]] = []
        points, radii = [], []
        for number, side in enumerate((first, first, 1 - first)):
            if (number == 1 and g.random() < 0.35) or (number == 2 and g.random() < 0.45):
                continue
            nodes = trees[side].nodes[trees[side].tips]
            level = nodes[:, 2] / body.height_mm
            inside = nodes[(level > extent.low) & (level < extent.high)]
            if not len(inside):
                continue
            # the posterior and apical segments of the upper lobe come first
            score = np.abs(inside[:, 2] / body.height_mm - extent.middle) * 60 - 0.12 * inside[:, 1]
            score = score + g.exponential(4, len(inside)) - 0.06 * np.abs(inside[:, 0])
            centre = inside[int(np.argmin(score))]
            radius = g.uniform(13, 25) * extent.size * (0.75 if number else 1)
            middle = centre + np.array([np.sign(centre[0]) * -4, -3, 0])  # away from the wall
            apart = all(np.linalg.norm(middle - c[:3]) > radius + c[3] + 6 for c in cavities)
            if apart and (number != 1 or g.random() < 0.6):
                cavities.append([*middle, radius, np.clip(radius * g.uniform(0.24, 0.42), 3, 9)])
            for _ in range(round(float(g.integers(3, 7)) * extent.size) + 1):
                home = centre + g.normal(0, 1, 3) * (24, 24, 0.3 * (extent.high - extent.low) * body.height_mm)
                away = np.linalg.norm(nodes - home, axis=1)
                for k in np.argsort(away)[:5]:
                    stalk = trees[side].nodes[trees[side].parent[trees[side].tips[k]]]
                    line = nodes[k] + np.linspace(0, 0.7, 10)[:, None] * (stalk - nodes[k])
                    points.append(line)
                    radii.append(np.full(len(line), 0.95))
                    buds = nodes[k] + g.normal(0, 3.4, (int(g.integers(3, 7)), 3))
                    points.append(buds)
                    radii.append(g.uniform(1.5, 2.9, len(buds)) * np.sqrt(extent.size))
        place = np.concatenate(points) if points else np.zeros((0, 3))
        size = np.concatenate(radii) if radii else np.zeros(0)
        keep = (place[:, 2] > extent.low * body.height_mm) & (place[:, 2] < extent.high * body.height_mm)
        table = np.array(cavities).reshape(-1, 5)
        return cls(extent, table, Beads.sorted(place[keep], size[keep], np.full(int(keep.sum()), 0.8)))

    def paint(self, view: LungView, air: Array, wall: Array, lumen: Array) -> np.ndarray:
        """See `Disease.paint`."""
        cover = np.zeros_like(air)
        fade = self.extent.fade(view.level)
        strength = np.float32(0.4 + 0.6 * self.extent.contrast)
        buds = self.buds.stamp(view.grid, view.depth_mm, view.thickness_mm) * np.float32(fade)
        paint(air, buds * strength * 0.9, -20.0)
        np.maximum(cover, buds, out=cover)
        grid = view.grid
        for x, y, depth, radius, thick in self.cavities:
            rise = view.depth_mm - depth
            if abs(rise) > radius * 1.6 or fade == 0:
                continue
            d = np.sqrt((grid.x - x) ** 2 * 0.9 + (grid.y - y) ** 2 * 1.1 + rise**2).astype(np.float32)
            bumps = 2.6 * view.medium + 1.1 * view.fine
            outer, inner = d - radius + bumps, d - (radius - thick) + 0.6 * bumps
            haze = np.clip((12 - outer) / 16, 0, 1) * np.clip(0.4 + 0.6 * view.fine, 0, 1) * np.float32(fade)
            paint(air, haze * 0.5 * self.extent.contrast, -430.0)
            shell = coverage(outer, 2.2) * np.float32(fade)
            paint(air, shell * strength, (28 + 8 * view.fine).astype(np.float32))
            hollow = coverage(inner, 1.8) * np.float32(fade)
            paint(air, hollow, -955.0)
            lumen *= 1 - shell
            wall *= 1 - shell
            np.maximum(cover, np.maximum(shell, 0.9 * haze), out=cover)
        return cover > SEEN
