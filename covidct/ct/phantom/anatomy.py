"""A chest, cut at any depth: from the measures of a person to Hounsfield units without noise.

A section is painted from the outside in: skin, fat, muscle, ribs, mediastinum, abdomen, bones, and last the lungs
with their vessels, airways and lesions. Every edge is a ramp one pixel wide, which is the partial volume of a scanner.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from covidct.ct.phantom.body import AIRWAYS, HILAR, Body
from covidct.ct.phantom.geometry import (
    ANGLES,
    Array,
    Beads,
    Field,
    Grid,
    Tube,
    bar,
    coverage,
    ellipse,
    paint,
    smooth_cut,
    smooth_union,
)  # fmt: skip
from covidct.ct.phantom.lesions import Disease, LungView
from covidct.ct.phantom.vessels import Tree, beads, grow

AIR_HU, FAT_HU, MUSCLE_HU, BLOOD_HU, LIVER_HU, SPLEEN_HU = -1000.0, -104.0, 52.0, 40.0, 57.0, 48.0
CORTEX_HU, MARROW_HU, CARTILAGE_HU = 780.0, 190.0, 110.0
_COARSE_PIXELS, _COARSE_MM = 72, 6.0


@dataclass(frozen=True)
class Outline:
    """Signed distances (mm, negative inside) in one section, each [rows, cols]."""

    skin: Array
    muscle: Array
    cavity: Array
    middle: Array
    heart: Array
    dome_right: Array
    dome_left: Array
    lung: Array


@dataclass(frozen=True)
class Section:
    """One section of a chest.

    Attributes:
        hu: [rows, cols] Hounsfield units without noise.
        body: [rows, cols] 0..1, inside the skin.
        lung: [rows, cols] 0..1, inside the lungs.
        lesion: [rows, cols] bool.
        level: 0 lung apex .. 1 lung base.
    """

    hu: Array
    body: Array
    lung: Array
    lesion: np.ndarray
    level: float


class Chest:
    """One patient in one scanner's field of view.

    Args:
        body: The measures of the person.
        grid: Pixel grid.
        disease: Lesions, in coordinates of this person.
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
        return Outline(skin, grid.outline(muscle), cavity, middle, heart, right, left, lung)

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

    # ------------------------------------------------------------------------------------------------ painting

    def section(self, depth_mm: float, thickness_mm: float, disease: Disease | None) -> Section:
        """Cut the chest.

        Args:
            depth_mm: Middle of the section below the lung apex.
            thickness_mm: Slice thickness; fine branches fade with it.
            disease: What is wrong with the lungs, or None.
        """
        grid, u = self.grid, self.body.level(depth_mm)
        edge = 1.1 * grid.pixel_mm
        out = self.outline(depth_mm)
        medium, fine = self.medium.at(grid, depth_mm), self.fine.at(grid, depth_mm)
        hu = np.full(grid.x.shape, AIR_HU, np.float32)
        body = coverage(out.skin, edge)
        paint(hu, body, 10.0)
        paint(hu, coverage(out.skin + 1.9, edge), FAT_HU + 6 * medium + 9 * np.maximum(fine - 1.2, 0) * 5)
        if self.body.female:
            self._breasts(hu, out, u, medium + 0.6 * fine, edge)
        self._wall(hu, out, u, medium, fine, edge)
        self._middle(hu, out, depth_mm, u, medium, fine, edge)
        self._abdomen(hu, out, u, medium, fine, edge, thickness_mm)
        self._ribs(hu, out, depth_mm, u, fine, edge)
        self._bones(hu, depth_mm, u, fine, edge)
        lung = coverage(out.lung, edge)
        lesion = self._lungs(hu, out, lung, depth_mm, u, thickness_mm, medium, fine, disease)
        return Section(hu, body, lung, lesion, u)

    def _breasts(self, hu: Array, out: Outline, u: float, noise: Array, edge: float) -> None:
        fall = np.exp(-(((u - 0.52) / 0.17) ** 4))
        if fall < 0.05:
            return
        for side in (-1, 1):
            cx = side * 70 * self.body.width
            window = self.grid.window(cx - 45, cx + 45, -190, -70)
            x, y = self.grid.x[window], self.grid.y[window]
            gland = ellipse(x, y, cx, -112 * self.body.depth - self.body.breast_mm * 0.5, 40 * fall, 24 * fall)
            part = coverage(gland + 9 * noise[window], 6.0) * coverage(out.skin[window] + 7, edge)
            paint(hu[window], part * 0.85, 15 + 14 * noise[window])

    def _wall(self, hu: Array, out: Outline, u: float, medium: Array, fine: Array, edge: float) -> None:
        muscle = coverage(out.muscle + 1.2 * medium, edge)
        fibres = MUSCLE_HU + 5 * fine
        paint(hu, muscle, fibres)
        # layers of muscle slide on planes of fat; bundles are parted by finer ones
        thick = out.cavity - out.muscle - 11
        layer = np.abs(out.cavity - 11 - 0.52 * thick - 1.5 * medium) - 1.1
        planes = coverage(layer, 1.6 * edge) * np.clip((thick - 13) / 8, 0, 1) * np.clip(0.6 + 0.5 * medium, 0, 1)
        septa = coverage((np.abs(medium + 0.55 * fine + 0.25) - 0.10) * 8, 2.2) * np.clip((thick - 8) / 10, 0, 1) * 0.75
        columns = np.abs(ellipse(np.abs(self.grid.x), self.grid.y, 30, 104 * self.body.depth, 27, 17, 0.15)) - 0.9
        columns = coverage(columns + 0.7 * medium, 1.7 * edge) * 0.85
        planes = np.maximum(planes, columns * (u > 0.05))
        rim = coverage(np.abs(out.cavity - 11.5 - 0.6 * medium) - 0.9, 1.8 * edge) * 0.8
        inner = muscle * (out.cavity > 9.5)
        paint(hu, inner * np.maximum(np.maximum(planes, septa), rim), FAT_HU + 12)
        paint(hu, coverage(out.cavity - 2.0, edge), FAT_HU + 10)
        if u < 0.12:  # neck and shoulder girdle: muscle bundles instead of a chest wall
            paint(hu, coverage(out.cavity - 2.0, edge), np.where(np.abs(medium + 0.5 * fine) < 0.35, FAT_HU, MUSCLE_HU))

    def _ribs(self, hu: Array, out: Outline, depth_mm: float, u: float, fine: Array, edge: float) -> None:
        b, grid = self.body, self.grid
        ring = np.flatnonzero((out.cavity > -3).ravel() & (out.cavity < 14).ravel())
        if u < -0.04 or not len(ring):
            return
        across = out.cavity.ravel()[ring]
        noise = fine.ravel()[ring]
        theta = grid.angle.ravel()[ring] * np.float32(360 / ANGLES)
        back = np.abs((theta - 90 + 180) % 360 - 180)  # degrees from the spine
        side = np.where((theta > 90) & (theta < 270), -1, 1)
        gap = b.rib_pitch_mm
        turn = np.clip(back / 135, 0, 1)
        drop = b.rib_drop_mm * min(1.0, 0.45 + u) * turn * turn * (3 - 2 * turn) - 0.5 * np.maximum(back - 140, 0)
        drop = drop + side * 2.0 * self.tilt[3]
        place = (depth_mm - b.rib_shift_mm + 0.25 * gap - drop) / gap
        number = np.round(place)
        away = np.abs(place - number) * gap
        value = hu.ravel()[ring]
        paint(value, coverage(across - 10.5, edge) * coverage(-across - 0.5, edge), MUSCLE_HU - 8 + 6 * noise)
        middle = 5.2
        size = np.hypot(away / 6.6, (across - middle) / 4.0) - 1
        exists = (number >= 0) & (number <= 11) & (back > 9)
        front = np.clip((back - (136 - 9 * np.maximum(number - 4, 0))) / 8, 0, 1)
        rib = coverage(size * 4.0, edge) * exists * np.clip((176 - back) / 3, 0, 1)
        ossified = np.clip((b.age_years - 45) / 60, 0, 0.5)
        cortex = CORTEX_HU * (1 - front) + (CARTILAGE_HU + 350 * ossified * (noise > 0.4)) * front
        inside = (MARROW_HU + 40 * noise) * (1 - front) + (CARTILAGE_HU - 20) * front
        paint(value, rib, cortex)
        paint(value, coverage(size * 4.0 + 1.9, 1.3 * edge) * rib, inside)
        hu.ravel()[ring] = value

    def _bones(self, hu: Array, depth_mm: float, u: float, fine: Array, edge: float) -> None:
        b, grid = self.body, self.grid
        size = np.sqrt(b.width * b.depth)
        v = 52 * b.depth
        window = grid.window(-48, 48, v - 22, v + 72)
        x, y, noise = grid.x[window], grid.y[window], fine[window]
        part = hu[window]
        # a vertebra and the disc below it repeat with the ribs
        phase = ((depth_mm - b.rib_shift_mm) / b.rib_pitch_mm) % 1.0
        disc = float(np.clip(4 - abs(phase - 0.93) * 40, 0, 1))
        process = float(np.clip(2.4 - abs(phase - 0.35) * 9, 0, 1))
        bulk = (13.5 + 3.5 * np.clip(u, 0, 1)) * size
        centre = ellipse(x, y, 0, v, bulk * 1.16, bulk * 0.95)
        centre = smooth_cut(centre, ellipse(x, y, 0, v + bulk * 1.25, 12, 6), 4)
        paint(part, coverage(centre, edge), (1 - disc) * 620 + disc * 95)
        paint(part, coverage(centre + 2.0, edge), (1 - disc) * (MARROW_HU + 35 * noise) + disc * 85)
        canal_y = v + bulk * 0.95 + 8.5
        arch = np.abs(ellipse(x, y, 0, canal_y, 12.5, 11)) - 2.6
        arch = np.maximum(arch, v + bulk * 0.6 - y)
        across = np.abs(x)
        spine_end = canal_y + 14 + 20 * (0.6 + 0.4 * process)
        arch = smooth_union(arch, bar(x, y, (0, canal_y + 12), (0, spine_end), 3.6, 2.6), 3)
        arch = smooth_union(arch, bar(across, y, (11, canal_y - 1), (15, canal_y + 3), 4.5, 4.5), 3)
        if process > 0.3:
            arch = smooth_union(arch, bar(across, y, (14, canal_y + 1), (14 + 20 * process, canal_y + 9), 4.4, 3.6), 3)
        paint(part, coverage(ellipse(x, y, 0, canal_y, 10.5, 9), edge), 25.0)
        paint(part, coverage(ellipse(x, y, 0, canal_y, 5.2, 4.2), edge), 42.0)
        solid = coverage(arch, edge) * coverage(-ellipse(x, y, 0, canal_y, 10, 8.5), edge)
        paint(part, solid, 560.0)
        paint(part, coverage(arch + 2.3, edge) * solid, 240 + 40 * noise)
        self._shoulders(hu, depth_mm, u, fine, edge)
        front = float(-self.body.cavity(u)[3 * ANGLES // 4])
        wide = float(np.interp(u, [0.10, 0.13, 0.22, 0.29, 0.34, 0.6, 0.68, 0.74], [10, 24, 25, 13, 15, 17, 10, 3]))
        shown = float(np.clip((u - 0.10) * 60, 0, 1) * np.clip((0.75 - u) * 40, 0, 1))
        if shown > 0.05:
            window = grid.window(-35, 35, front - 16, front + 3)
            x, y = grid.x[window], grid.y[window]
            slab = bar(np.abs(x), y, (0, front - 5.5), (wide * size, front - 4.0), 4.8, 4.2)
            paint(hu[window], coverage(slab, edge) * shown, 430.0)
            paint(hu[window], coverage(slab + 1.6, edge) * shown, 120 + 30 * fine[window])

    def _shoulders(self, hu: Array, depth_mm: float, u: float, fine: Array, edge: float) -> None:
        if u > 0.50:
            return
        b, grid = self.body, self.grid
        table = b.cavity(u)
        wall = b.muscle_outline(u, table) - table

        def spot(degrees_from_front: float, share: float, side: int) -> tuple[float, float]:
            theta = np.radians(degrees_from_front - 90)
            k = round(theta / (2 * np.pi) * ANGLES) % ANGLES
            r = table[k] + 10 + share * (wall[k] - 10)
            return side * float(r * np.cos(theta)), float(r * np.sin(theta))

        def bone(start: tuple[float, float], end: tuple[float, float], r0: float, r1: float, marrow: float) -> None:
            r = max(r0, r1)
            window = grid.window(min(start[0], end[0]) - r, max(start[0], end[0]) + r,
                                 min(start[1], end[1]) - r, max(start[1], end[1]) + r)  # fmt: skip
            if window[0].start >= window[0].stop or window[1].start >= window[1].stop:
                return
            d = bar(grid.x[window], grid.y[window], start, end, r0, r1)
            paint(hu[window], coverage(d, edge), CORTEX_HU - 60)
            paint(hu[window], coverage(d + 2.1, edge), marrow + 40 * fine[window])

        for side in (-1, 1):
            reach = float(np.interp(u, [0.0, 0.15, 0.30, 0.46], [0, 0, 10, 26]))
            if u < 0.46:
                medial, lateral = spot(158 - 0.5 * reach, 0.42, side), spot(112 + 0.6 * reach, 0.40, side)
                bent = spot(136, 0.34, side)
                bone(medial, bent, 2.2, 1.7, 260)
                bone(bent, lateral, 1.7, float(np.interp(u, [0.0, 0.10, 0.2, 0.46], [10, 8, 4.5, 2.5])), 230)
            if u < 0.15:  # the spine of the scapula leaves the blade towards the acromion
                bone(bent, spot(114, 0.36 + 2.6 * (0.15 - max(u, 0)), side), 2.4, 4.2, 230)
            ball = 23 * np.sqrt(max(0.0, 1 - ((u + 0.01) / 0.10) ** 2))
            if ball > 5:
                place = spot(96, 0.60, side)
                bone(place, (place[0] + 0.1, place[1]), ball, ball, 210)
            collar = np.array(
                [(12, -0.72, 0.125, 7.5), (45, -0.80, 0.075, 6), (90, -0.62, 0.02, 5.5), (135, -0.30, -0.03, 6)]
            )
            points = np.column_stack(
                [side * collar[:, 0] * b.width, collar[:, 1] * 75 * b.depth - 6, collar[:, 2] * b.height_mm]
            )
            found = Tube(points, collar[:, 3]).cut(grid, depth_mm, 3.0)
            if found:
                window, d = found
                paint(hu[window], coverage(d, edge), CORTEX_HU - 80)
                paint(hu[window], coverage(d + 2.2, edge), MARROW_HU + 40 * fine[window])

    def _middle(
        self, hu: Array, out: Outline, depth_mm: float, u: float, medium: Array, fine: Array, edge: float
    ) -> None:
        b, grid = self.body, self.grid
        inside = coverage(out.cavity, edge)
        if u > 0.10:
            strands = np.where(np.abs(medium + 0.6 * fine) < 0.12, 45, 0)
            paint(hu, inside * float(np.clip((u - 0.10) * 25, 0, 1)), FAT_HU + 10 + strands + 6 * fine)
        near = coverage(np.hypot(grid.x * 0.8, grid.y - 70 * b.depth) - 26, 4 * edge)
        paint(hu, near * inside * 0.75, MUSCLE_HU - 10)
        heart = coverage(out.heart, edge)
        if heart.max() > 0:
            paint(hu, heart, BLOOD_HU + 2.5 * medium)
            # fat in the grooves between the chambers
            k = np.sqrt(b.width * b.depth)
            groove = bar(grid.x, grid.y, (-48 * k, -66 * k), (-17 * k, -38 * k), 8.0, 0.5)
            groove = np.minimum(groove, bar(grid.x, grid.y, (60 * k, -88 * k), (43 * k, -56 * k), 7.0, 0.3))
            groove = groove + 2.2 * medium + 0.8 * fine
            shown = float(np.clip((u - 0.5) * 30, 0, 1) * np.clip((0.78 - u) * 30, 0, 1))
            paint(hu, coverage(groove, 2 * edge) * heart * 0.85 * shown, FAT_HU + 15)
            paint(hu, coverage(np.abs(out.heart - 2.2) - 0.5, edge) * inside * 0.35, 10.0)  # pericardium
        for name, tube in b.tubes.items():
            if name in AIRWAYS or name in HILAR:
                continue
            found = tube.cut(grid, depth_mm, 3.0)
            if found is None:
                continue
            window, d = found
            paint(hu[window], coverage(d, edge) * inside[window], BLOOD_HU + (3 if "aorta" in name else 0))
            if "aorta" in name and b.age_years > 55:  # plaque in the wall
                plaque = coverage(np.abs(d + 0.8) - 0.8, edge) * (medium[window] + 0.5 * fine[window] > 1.45)
                paint(hu[window], plaque * (b.age_years - 55) / 30, 420.0)
            if name == "esophagus" and medium[window].mean() > -0.1:
                paint(hu[window], coverage(d + 4.6, edge), -500.0)
        if 0.28 < u < 0.55:  # small lymph nodes
            central = coverage(np.abs(grid.x) - 32, 3) * coverage(grid.y - 25, 3)
            nodes = coverage((1.55 - medium) * 5, 2) * inside * central
            paint(hu, nodes * (hu < 0), 25.0)
        if u < 0.14:
            thyroid = np.minimum(
                ellipse(np.abs(grid.x), grid.y, 17, 2, 8, 13), ellipse(np.abs(grid.x), grid.y, 44, 10, 6, 6)
            )
            paint(hu, coverage(thyroid, edge) * float(np.clip((0.05 - u) * 30, 0, 1)), 95.0)

    def _abdomen(
        self, hu: Array, out: Outline, u: float, medium: Array, fine: Array, edge: float, thickness_mm: float
    ) -> None:
        b, grid = self.body, self.grid
        if u < 0.55:
            return
        soft = edge + 0.25 * thickness_mm
        right, left = out.dome_right, out.dome_left
        inside = coverage(out.cavity + 1.0, edge)
        x, y = grid.x, grid.y
        if right.min() < 0:
            paint(hu, coverage(right, soft) * inside, LIVER_HU + 3 * medium + 2 * fine)
            veins = coverage((np.abs(self.coarse.knots[0, 0, 0] + medium * 1.2 + 0.2 * fine) - 0.10) * 9, 3)
            paint(hu, veins * coverage(right + 12, 8) * inside * 0.6, 42.0)
        if left.min() < 0:
            cover = coverage(left, soft) * inside
            paint(hu, cover, FAT_HU + 8)
            paint(hu, coverage(np.abs(left + 1.4) - 1.4, soft) * inside, 42.0)
            top = b.dome_left
            k = np.sqrt(np.clip((u - top + 0.01) / 0.10, 0, 1))
            if k > 0.1:
                # spleen behind and beside, stomach in front and towards the middle, fat between them
                parting = (0.62 * (x - 62 * b.width) + 0.78 * (y - 14 * b.depth)) + 2.5 * medium
                rim = 3.2 + 5 * (1 - k)
                spleen = -smooth_union(-(left + rim), parting - 4, 8.0)
                paint(hu, coverage(spleen, edge) * inside, SPLEEN_HU + 2 * medium)
                stomach = -smooth_union(-(left + rim + 1.5 + 1.5 * np.abs(medium)), -parting - 5, 14.0)
                paint(hu, coverage(stomach, edge) * inside, 42.0)
                level = -34 * b.depth + 10 * self.tilt[2]
                paint(hu, coverage(stomach + 4, edge) * inside, 22 + 16 * fine)
                gas = np.maximum(stomach + 4, y - level)
                paint(hu, coverage(gas, edge) * inside, -930.0)
        k = float(np.sqrt(np.clip((u - b.dome_right - 0.10) / 0.2, 0, 1)))
        if k > 0.15:  # left lobe of the liver, in front of the midline
            lobe = ellipse(x, y, 6 * b.width, -58 * b.depth, 62 * k * b.width, 36 * k * b.depth, -0.25) + 2 * medium
            lobe = np.maximum(lobe, out.cavity + 5)
            lobe = np.maximum(lobe, -out.lung + 2)
            paint(hu, coverage(lobe, soft) * inside, LIVER_HU + 3 * medium + 2 * fine)
            crus = np.abs(ellipse(np.abs(x), y, 0, 36 * b.depth, 27, 26)) - 2.6
            crus = np.maximum(crus, y - 52 * b.depth)
            paint(hu, coverage(crus, edge) * inside * k, 48.0)

    def _lungs(
        self, hu: Array, out: Outline, lung: Array, depth_mm: float, u: float, thickness_mm: float, medium: Array,
        fine: Array, disease: Disease | None,
    ) -> np.ndarray:  # fmt: skip
        b, grid = self.body, self.grid
        lesion = np.zeros(lung.shape, bool)
        oblique, horizontal = self.fissure(depth_mm)
        air = b.lung_hu + 0.42 * (grid.y - 10) + 6 * self.coarse.at(grid, depth_mm) + 7 * medium + 8 * fine
        # gravity packs the lung just above the table and at the base
        air = air + 26 * np.exp(np.minimum(out.cavity, 0) / 5) * np.clip((grid.y - 30) / 50, 0, 1)
        thin = 0.7 * edge_of(grid)
        line = coverage(np.abs(oblique + 1.5 * medium) - 0.45, thin + 1.0) * 0.34
        line = np.maximum(line, coverage(np.abs(horizontal + medium) - 0.5, 3.0) * 0.12 * (oblique < 0))
        paint(air, line, -520.0)
        tissue = self.vessels.stamp(grid, depth_mm, thickness_mm)
        wall = self.airways.stamp(grid, depth_mm, thickness_mm, grow_mm=0.75)
        lumen = self.airways.stamp(grid, depth_mm, thickness_mm)
        if disease is not None and lung.any():
            view = LungView(
                grid, depth_mm, u, thickness_mm, out.lung, out.cavity, oblique, horizontal, medium, fine,
                self.coarse.at(grid, depth_mm),
            )  # fmt: skip
            painted = disease.paint(view, air, wall, lumen)
            lesion = painted & (lung > 0.5)
        paint(air, tissue, BLOOD_HU)
        paint(air, np.maximum(wall - lumen, 0) * 0.55, -60.0)
        paint(air, lumen * 0.95, -965.0)
        paint(hu, lung, air)
        edge = edge_of(grid)
        inside = coverage(out.cavity, edge)
        for name in HILAR:
            found = b.tubes[name].cut(grid, depth_mm, 2.0)
            if found:
                window, d = found
                paint(hu[window], coverage(d, edge) * inside[window], BLOOD_HU)
        for grow_mm, value in ((1.5, 10.0), (0.0, -975.0)):
            for name in AIRWAYS:
                found = b.tubes[name].cut(grid, depth_mm, 4.0)
                if found:
                    window, d = found
                    if name == "trachea":  # flat at the back, where its ring is open
                        d = np.maximum(d, grid.y[window] - (4 + 8 * max(u, 0) / 0.36 + 6.2))
                    paint(hu[window], coverage(d - grow_mm, edge), value)
        return lesion


def edge_of(grid: Grid) -> float:
    """Width of an edge in mm."""
    return 1.1 * grid.pixel_mm


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
