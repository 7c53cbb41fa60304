"""What the five classes look like inside the lung.

Findings after the usual radiological descriptions (Fleischner Society glossary, Hansell et al. 2008,
doi 10.1148/radiol.2462070712): ground glass leaves vessels visible, consolidation hides them and shows air
bronchograms, tree-in-bud nodules sit on the ends of airways. All lesions are 3-D: neighbouring slices agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from covidct.ct.phantom.body import Body
from covidct.ct.phantom.geometry import Array, Beads, Grid, coverage, paint
from covidct.ct.phantom.vessels import Tree
from covidct.errors import UsageError
from covidct.labels import FU2020

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


def sample_disease(
    name: str, body: Body, trees: list[Tree], generator: np.random.Generator, *, difficulty: float,
    slice_fraction: float, levels: tuple[float, float],
) -> Disease | None:  # fmt: skip
    """Lesions of one patient.

    Args:
        name: A class of `covidct.labels.FU2020`.
        body: The measures of the person.
        trees: Arterial trees of the right and the left lung.
        generator: Source of randomness.
        difficulty: 0..1; 1 gives the smallest and faintest lesions.
        slice_fraction: Wanted share of slices with lesions.
        levels: First and last level that is scanned.

    Raises:
        UsageError: The class is unknown.
    """
    if name not in FU2020:
        raise UsageError(f"the phantom has no class {name!r}", remedy=f"use some of {list(FU2020)}")
    if name == "normal":
        return None
    span = (levels[1] - levels[0]) * float(np.clip(slice_fraction * generator.uniform(0.85, 1.15), 0.02, 1.0))
    centre = {"covid19": 0.66, "viral": 0.50, "bacterial": 0.50, "tuberculosis": 0.21}[name]
    lobe = int(generator.integers(5))
    if name == "bacterial":
        centre = _LOBES[lobe].level
    centre += float(generator.normal(0, 0.03))
    first, last = max(levels[0], 0.02), min(levels[1], 0.93)
    low = float(np.clip(centre - span / 2, first, max(first, last - span)))
    extent = Extent(low, min(low + span, levels[1]), 1 - 0.68 * difficulty, 1 - 0.42 * difficulty)
    if name == "covid19":
        return PeripheralGroundGlass.sample(body, extent, generator)
    if name == "viral":
        return DiffuseGroundGlass.sample(body, trees, extent, generator)
    if name == "bacterial":
        return LobarConsolidation.sample(body, trees, extent, generator, _LOBES[lobe])
    return Tuberculosis.sample(body, trees, extent, generator)


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


_LOBES = (
    Lobe(-1, 0.32, 74, 8, -1, -1),  # right upper
    Lobe(-1, 0.63, 72, -34, -1, 1),  # right middle
    Lobe(-1, 0.70, 78, 48, 1, 0),  # right lower
    Lobe(1, 0.40, 80, -24, -1, 0),  # left upper
    Lobe(1, 0.68, 84, 46, 1, 0),  # left lower
)


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
        lobe = np.where(grid.x * self.lobe.side > 0, 1, 0).astype(np.float32)
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
        cavities, points, radii = [], [], []
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
