"""Where things are in a chest at any depth: outlines of body, lungs, heart and diaphragm, fissures, fine branches."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from covidct.ct.phantom.body import Body
from covidct.ct.phantom.geometry import (
    Array,
    Beads,
    Field,
    Grid,
    ellipse,
    smooth_cut,
    smooth_union,
)  # fmt: skip
from covidct.ct.phantom.vessels import Tree, beads, grow

_COARSE_PIXELS, _COARSE_MM = 72, 6.0


@dataclass(frozen=True)
class Outline:
    """Signed distances (mm, negative inside) in one section, each [rows, cols].

    Attributes:
        skin, muscle: Surface of the body and of its muscles.
        cavity: Inner chest wall.
        middle: Mediastinum with the heart.
        heart: Heart.
        dome_right, dome_left: Abdomen below the diaphragm.
        lung: Both lungs.
        coarse: A random field with blobs of about 70 mm (no distance).
    """

    skin: Array
    muscle: Array
    cavity: Array
    middle: Array
    heart: Array
    dome_right: Array
    dome_left: Array
    lung: Array
    coarse: Array


class Chest:
    """One patient in one scanner's field of view.

    Args:
        body: The measures of the person.
        grid: Pixel grid.
        generator: Source of randomness for texture and branching.
        back_mm: y of the table top; the back is flat there.
    """

    def __init__(self, body: Body, grid: Grid, generator: np.random.Generator, back_mm: float) -> None:
        self.body, self.grid, self.back_mm = body, grid, back_mm
        self._middle_row = np.clip(np.round(grid.y + 130), 0, 260).astype(np.intp)
        end = body.height_mm * 1.2 + 40
        self.coarse = Field(generator, 34.0, 30.0, depth_mm=(-60, end))
        self.medium = Field(generator, 11.0, 9.0, depth_mm=(-60, end))
        self.fine = Field(generator, 4.0, 4.0, depth_mm=(-60, end))
        self.tilt = generator.normal(0, 1, 4)
        self._grow_trees(generator)

    # ------------------------------------------------------------------------------------------------ shapes

    def outline(self, depth_mm: float, grid: Grid | None = None) -> Outline:
        """Where things are at one depth."""
        own = grid is None
        grid = grid or self.grid
        body, u = self.body, self.body.level(depth_mm)
        x, y = grid.x, grid.y
        table = body.cavity(u)
        muscle = body.muscle_outline(u, table)
        cavity = grid.outline(table)
        skin = grid.outline(body.skin_outline(u, muscle))
        skin = -smooth_union(-skin, np.float32(self.back_mm) - y, 10.0)
        row = self._middle_row if own else np.clip(np.round(y + 130), 0, 260).astype(np.intp)
        half = body.middle(u)[1].astype(np.float32)
        wave = self.coarse.at(grid, depth_mm) if own else np.zeros_like(x)
        middle = (np.abs(x - np.float32(2 + 2 * self.tilt[0])) - half[row]) * np.float32(0.85)
        heart = self._heart(u, grid)
        middle = smooth_union(middle, heart - 2.5, 12.0)
        for name in ("aorta_up", "aorta_down", "vena_cava", "artery_trunk", "artery_right", "artery_left"):
            found = body.tubes[name].cut(grid, depth_mm, 14.0)
            if found:
                window, distance = found
                middle[window] = smooth_union(middle[window], distance - 2.0, 9.0)
        middle = middle + wave * np.float32(1.1)
        right, left = self._domes(u, grid)
        right, left = right + wave * np.float32(1.6), left + wave * np.float32(1.6)
        lung = smooth_cut(cavity, middle, 9.0)
        apex = self._apex(u, grid)
        if apex is not None:
            lung = -smooth_union(-lung, -apex, 12.0)
        if u > 0.5:
            lung = smooth_cut(lung, np.minimum(right, left), 4.0)
            lung = lung + np.float32(max(0.0, u - 0.93) * 90)
        return Outline(skin, np.maximum(grid.outline(muscle), skin + 3), cavity, middle, heart, right, left, lung, wave)

    def _apex(self, u: float, grid: Grid) -> Array | None:
        if u > 0.24:
            return None
        body = self.body
        s = np.sqrt(max(u + 0.015, 1e-3) / 0.24) * (1 + 4 * max(0.0, u - 0.12))
        across = np.abs(grid.x) - np.float32((46 + 10 * s) * body.width)
        return ellipse(across, grid.y, 0, (20 - 12 * s) * body.depth, 54 * s * body.width, 66 * s * body.depth)

    def _heart(self, u: float, grid: Grid) -> Array:
        b = self.body
        size = b.heart * np.sqrt(b.width * b.depth)

        def swell(low: float, high: float) -> float:
            t = (u - (low + high) / 2) / ((high - low) / 2)
            return float(np.sqrt(max(0.0, 1 - t * t)))

        heart = np.full(grid.x.shape, 60.0, np.float32)
        # level range, centre x, y, radii, turn: ventricles, right atrium, left atrium
        for low, high, cx, cy, rx, ry, turn in (
            (0.40, 0.88, 19, -30, 68, 47, -0.62),
            (0.46, 0.78, -24, -18, 31, 35, 0.2),
            (0.45, 0.63, 3, 6, 36, 21, 0.0),
        ):
            k = swell(low, high)
            if k > 0.2:
                turn = turn + 0.06 * self.tilt[1]
                part = ellipse(grid.x, grid.y, cx * b.width, cy * b.depth, rx * k * size, ry * k * size, turn)
                heart = smooth_union(heart, part, 10.0)
        return heart

    def _domes(self, u: float, grid: Grid) -> tuple[Array, Array]:
        b = self.body
        domes = []
        for top, cx, cy, rx, ry in ((b.dome_right, -64, -12, 82, 91), (b.dome_left, 66, -10, 78, 89)):
            t = (1.13 - u) / (1.13 - top)
            if t >= 1:
                domes.append(np.full(grid.x.shape, 80.0, np.float32))
                continue
            k = (1 - t * t) ** 0.45
            size = rx * k * b.width, ry * k * b.depth
            domes.append(ellipse(grid.x, grid.y, cx * b.width, cy * b.depth, *size, 0.03 * self.tilt[2]))
        return domes[0], domes[1]

    def fissure(self, depth_mm: float) -> tuple[Array, Array]:
        """Signed distance (mm) to the oblique fissure (negative above and in front) and the horizontal one."""
        b, grid, u = self.body, self.grid, self.body.level(depth_mm)
        left = grid.x > 0
        across = (np.abs(grid.x) - 75 * b.width) / 60
        top = np.where(left, 0.17, 0.20).astype(np.float32)
        place = (62 - 148 * (u - top) / 0.74) * b.depth + 10 * across * across - 6 * across
        oblique = (grid.y - place) * np.float32(0.8)
        horizontal = (np.float32(0.50 * b.height_mm) - depth_mm) + 9 * across + 0.10 * grid.y
        return oblique.astype(np.float32), np.where(left, 999, -horizontal).astype(np.float32)

    # ------------------------------------------------------------------------------------------------ trees

    def _grow_trees(self, generator: np.random.Generator) -> None:
        b = self.body
        coarse = Grid.make(_COARSE_PIXELS, _COARSE_MM, (0.0, 0.0), 0.0, np.zeros((0, 6)))
        levels = np.arange(0.015, 1.03, 0.028)
        stack = np.stack([self.outline(float(u * b.height_mm), coarse).lung for u in levels])
        inside = np.argwhere(stack < -3.5)
        points = np.empty((len(inside), 3))
        points[:, 0] = coarse.x_axis[inside[:, 2]]
        points[:, 1] = coarse.y_axis[inside[:, 1]]
        points[:, 2] = levels[inside[:, 0]] * b.height_mm
        points += generator.uniform(-0.5, 0.5, points.shape) * (_COARSE_MM, _COARSE_MM, 0.028 * b.height_mm)
        arteries, veins, airways, self.trees = [], [], [], []
        for side, name in ((-1, "right"), (1, "left")):
            names = f"artery_{name}_lower", f"artery_{name}_upper"
            mine = points[np.sign(points[:, 0]) == side]
            stem = np.concatenate([b.tubes[n].points for n in names])
            other = np.concatenate([b.tubes[n.replace("artery", "vein")].points for n in names])
            count = 560
            chosen = mine[generator.permutation(len(mine))[: 2 * count]]
            tree = grow(stem, chosen[:count], tip_mm=0.52, stem_mm=5.0)
            self.trees.append(tree)
            arteries.append(beads(tree, generator))
            veins.append(beads(grow(other, chosen[count:], tip_mm=0.50, stem_mm=4.6), generator))
            airways.append(beads(_companion(tree, generator), generator, bow=0.04))
        self.vessels = _merge(arteries + veins)
        self.airways = _merge(airways)


def _companion(tree: Tree, generator: np.random.Generator) -> Tree:
    """The airways beside the arteries: somewhat narrower lumen, wall to wall, lost to sight in the periphery."""
    shift = generator.normal(0, 1, 3)
    shift /= np.linalg.norm(shift)
    seen = tree.radii > 0.95
    keep = np.where(seen, tree.parent, -1)
    return replace(tree, nodes=tree.nodes + shift * (1.9 * tree.radii[:, None]), parent=keep, radii=0.72 * tree.radii)


def _merge(parts: list[Beads]) -> Beads:
    return Beads.sorted(
        np.concatenate([p.points for p in parts]),
        np.concatenate([p.radii for p in parts]),
        np.concatenate([p.upright for p in parts]),
    )
