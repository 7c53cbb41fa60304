"""Bones: ribs, spine, breast bone, shoulder girdle. Each is a dense shell around marrow."""

from __future__ import annotations

import numpy as np

from covidct.ct.phantom.canvas import CARTILAGE_HU, CORTEX_HU, MARROW_HU, MUSCLE_HU, Canvas
from covidct.ct.phantom.geometry import ANGLES, Array, Tube, bar, coverage, ellipse, paint, smooth_cut, smooth_union


def ribs(c: Canvas) -> None:
    """Ribs and their cartilage, cut obliquely because they fall from the spine to the front; intercostal muscle."""
    b, grid, hu, out = c.chest.body, c.chest.grid, c.hu, c.out
    depth_mm, u, fine, edge = c.depth_mm, c.level, c.fine, c.edge
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
    drop = drop + side * 2.0 * c.chest.tilt[3]
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


def spine(c: Canvas) -> None:
    """A vertebra or disc with canal, arch and processes."""
    b, grid, hu, depth_mm = c.chest.body, c.chest.grid, c.hu, c.depth_mm
    u, fine, edge = c.level, c.fine, c.edge
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
    arch: Array = np.abs(ellipse(x, y, 0, canal_y, 12.5, 11)) - 2.6
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


def sternum(c: Canvas) -> None:
    """Manubrium, body and tip of the breast bone."""
    b, grid, hu, u = c.chest.body, c.chest.grid, c.hu, c.level
    fine, edge = c.fine, c.edge
    size = np.sqrt(b.width * b.depth)
    front = float(-c.chest.body.cavity(u)[3 * ANGLES // 4])
    wide = float(np.interp(u, [0.10, 0.13, 0.22, 0.29, 0.34, 0.6, 0.68, 0.74], [10, 24, 25, 13, 15, 17, 10, 3]))
    shown = float(np.clip((u - 0.10) * 60, 0, 1) * np.clip((0.75 - u) * 40, 0, 1))
    if shown > 0.05:
        window = grid.window(-35, 35, front - 16, front + 3)
        x, y = grid.x[window], grid.y[window]
        slab = bar(np.abs(x), y, (0, front - 5.5), (wide * size, front - 4.0), 4.8, 4.2)
        paint(hu[window], coverage(slab, edge) * shown, 430.0)
        paint(hu[window], coverage(slab + 1.6, edge) * shown, 120 + 30 * fine[window])


def shoulders(c: Canvas) -> None:
    """Scapulae, collar bones and, with raised arms, the heads of the humeri."""
    b, grid, hu, depth_mm = c.chest.body, c.chest.grid, c.hu, c.depth_mm
    u, fine, edge = c.level, c.fine, c.edge
    if u > 0.50:
        return
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
