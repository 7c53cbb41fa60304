"""Soft tissue: chest wall, mediastinum, upper abdomen."""

from __future__ import annotations

import numpy as np

from covidct.ct.phantom.body import AIRWAYS, HILAR
from covidct.ct.phantom.canvas import BLOOD_HU, FAT_HU, LIVER_HU, MUSCLE_HU, SPLEEN_HU, Canvas
from covidct.ct.phantom.geometry import Array, bar, coverage, ellipse, paint, smooth_union


def breasts(c: Canvas) -> None:
    """The glands; their skin belongs to the outline."""
    b, grid, hu, out, u = c.chest.body, c.chest.grid, c.hu, c.out, c.level
    fall = np.exp(-(((u - 0.52) / 0.17) ** 4))
    if not b.female or fall < 0.05:
        return
    noise = c.medium + 0.6 * c.fine
    for side in (-1, 1):
        cx = side * 70 * b.width
        window = grid.window(cx - 45, cx + 45, -190, -70)
        x, y = grid.x[window], grid.y[window]
        gland = ellipse(x, y, cx, -112 * b.depth - b.breast_mm * 0.5, 40 * fall, 24 * fall)
        part = coverage(gland + 9 * noise[window], 6.0) * coverage(out.skin[window] + 7, c.edge)
        paint(hu[window], part * 0.85, 15 + 14 * noise[window])


def wall(c: Canvas) -> None:
    """Muscles outside the ribs, in layers and bundles parted by fat."""
    hu, out, u, medium = c.hu, c.out, c.level, c.medium
    fine, edge = c.fine, c.edge
    muscle = coverage(out.muscle + 1.2 * medium, edge)
    fibres = MUSCLE_HU + 5 * fine
    paint(hu, muscle, fibres)
    # layers of muscle slide on planes of fat; bundles are parted by finer ones
    thick = out.cavity - out.muscle - 11
    layer = np.abs(out.cavity - 11 - 0.52 * thick - 1.5 * medium) - 1.1
    planes = coverage(layer, 1.6 * edge) * np.clip((thick - 13) / 8, 0, 1) * np.clip(0.6 + 0.5 * medium, 0, 1)
    septa = coverage((np.abs(medium + 0.55 * fine + 0.25) - 0.10) * 8, 2.2) * np.clip((thick - 8) / 10, 0, 1) * 0.75
    grid = c.chest.grid  # the two columns of muscle beside the spine lie in a sheath
    columns: Array = np.abs(ellipse(np.abs(grid.x), grid.y, 30, 104 * c.chest.body.depth, 27, 17, 0.15)) - 0.9
    columns = coverage(columns + 0.7 * medium, 1.7 * edge) * 0.85
    planes = np.maximum(planes, columns * (u > 0.05))
    rim = coverage(np.abs(out.cavity - 11.5 - 0.6 * medium) - 0.9, 1.8 * edge) * 0.8 * float(np.clip(u / 0.1, 0, 1))
    inner = muscle * (out.cavity > 9.5)
    paint(hu, inner * np.maximum(np.maximum(planes, septa), rim), FAT_HU + 12)
    paint(hu, coverage(out.cavity - 2.0, edge), FAT_HU + 10)
    if u < 0.15:  # root of the neck: muscles with fat between them instead of a chest wall
        fat = np.clip((0.75 * medium + 0.4 * fine + 0.35 * out.coarse - 0.05) / 0.5, 0, 1)
        neck = (MUSCLE_HU + 4 * fine) + fat * (FAT_HU + 10 - MUSCLE_HU)
        paint(hu, coverage(out.cavity - 9.0, 6.0) * float(np.clip((0.15 - u) / 0.05, 0, 1)), neck)


def mediastinum(c: Canvas) -> None:
    """Fat, heart, great vessels, oesophagus, lymph nodes; the thyroid at the top."""
    b, grid, hu, out = c.chest.body, c.chest.grid, c.hu, c.out
    depth_mm, u, medium, fine = c.depth_mm, c.level, c.medium, c.fine
    edge = c.edge
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


def abdomen(c: Canvas) -> None:
    """What shows below the domes of the diaphragm: liver, spleen, stomach, crura."""
    b, grid, hu, out = c.chest.body, c.chest.grid, c.hu, c.out
    u, thickness_mm, medium, fine = c.level, c.thickness_mm, c.medium, c.fine
    edge = c.edge
    if u < 0.55:
        return
    soft = edge + 0.25 * thickness_mm
    right, left = out.dome_right, out.dome_left
    inside = coverage(out.cavity + 1.0, edge)
    x, y = grid.x, grid.y
    if right.min() < 0:
        paint(hu, coverage(right, soft) * inside, LIVER_HU + 3 * medium + 2 * fine)
        veins = coverage((np.abs(c.chest.coarse.knots[0, 0, 0] + medium * 1.2 + 0.2 * fine) - 0.10) * 9, 3)
        paint(hu, veins * coverage(right + 12, 8) * inside * 0.6, 42.0)
    if left.min() < 0:
        cover = coverage(left, soft) * inside
        paint(hu, cover, FAT_HU + 8)
        paint(hu, coverage(np.abs(left + 1.4) - 1.4, soft) * inside, 42.0)
        top = b.dome_left
        k = np.sqrt(np.clip((u - top + 0.01) / 0.10, 0, 1))
        if k > 0.1:
            # spleen behind and beside, stomach in front and towards the middle, fat between them
            turn = 0.9 + 0.16 * c.chest.tilt[1]
            dx, dy = x - 60 * b.width, y - (12 + 6 * c.chest.tilt[3]) * b.depth
            along = np.cos(turn) * dy - np.sin(turn) * dx
            parting = np.cos(turn) * dx + np.sin(turn) * dy + 2.5 * medium + 0.006 * along * along - 4
            rim = 3.2 + 5 * (1 - k)
            spleen = -smooth_union(-(left + rim), parting - 4, 8.0)
            paint(hu, coverage(spleen, edge) * inside, SPLEEN_HU + 2 * medium)
            stomach = -smooth_union(-(left + rim + 1.5 + 1.5 * np.abs(medium)), -parting - 5, 14.0)
            paint(hu, coverage(stomach, edge) * inside, 42.0)
            level = (-40 + 16 * c.chest.tilt[2]) * b.depth  # gas rises to the front, more or less of it
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
