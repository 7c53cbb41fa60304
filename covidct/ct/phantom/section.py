"""Painting a section from the outside in: skin, fat, muscle, mediastinum, abdomen, bones, and last the lungs.

Every edge is a ramp one pixel wide, which is the partial volume of a scanner.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covidct.ct.phantom.anatomy import Chest
from covidct.ct.phantom.body import AIRWAYS, HILAR
from covidct.ct.phantom.canvas import AIR_HU, BLOOD_HU, FAT_HU, Canvas
from covidct.ct.phantom.disease import Disease, LungView
from covidct.ct.phantom.geometry import Array, coverage, paint
from covidct.ct.phantom.organs import abdomen, breasts, mediastinum, wall
from covidct.ct.phantom.skeleton import ribs, shoulders, spine, sternum


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
    lesion: NDArray[np.bool_]
    level: float


def cut(chest: Chest, depth_mm: float, thickness_mm: float, disease: Disease | None) -> Section:
    """Cut a chest.

    Args:
        chest: The patient.
        depth_mm: Middle of the section below the lung apex.
        thickness_mm: Slice thickness; fine branches fade with it.
        disease: What is wrong with the lungs, or None.
    """
    grid = chest.grid
    out = chest.outline(depth_mm)
    hu = np.full(grid.x.shape, AIR_HU, np.float32)
    medium, fine = chest.medium.at(grid, depth_mm), chest.fine.at(grid, depth_mm)
    c = Canvas(chest, out, hu, medium, fine, depth_mm, thickness_mm)
    body = coverage(out.skin, c.edge)
    paint(hu, body, 10.0)
    lobules = 45 * np.maximum(fine - 1.2, 0)
    paint(hu, coverage(out.skin + 1.9, c.edge), FAT_HU + 6 * medium + lobules)
    for part in (breasts, wall, mediastinum, abdomen, ribs, spine, sternum, shoulders):
        part(c)
    lung = coverage(out.lung, c.edge)
    lesion = _lungs(c, lung, disease)
    hu[body == 0] = AIR_HU  # nothing sticks out of the skin
    return Section(hu, body, lung, lesion, c.level)


def _lungs(c: Canvas, lung: Array, disease: Disease | None) -> NDArray[np.bool_]:
    """Parenchyma, fissures, lesions, vessels and airways; gives the lesion mask."""
    chest, out, grid = c.chest, c.out, c.chest.grid
    lesion = np.zeros(lung.shape, bool)
    if lung.any():
        oblique, horizontal = chest.fissure(c.depth_mm)
        air = chest.body.lung_hu + 0.42 * (grid.y - 10) + 6 * out.coarse + 7 * c.medium + 8 * c.fine
        # gravity packs the lung just above the table
        air = air + 26 * np.exp(np.minimum(out.cavity, 0) / 5) * np.clip((grid.y - 30) / 50, 0, 1)
        line = coverage(np.abs(oblique + 1.5 * c.medium) - 0.45, 0.7 * c.edge + 1.0) * 0.34
        line = np.maximum(line, coverage(np.abs(horizontal + c.medium) - 0.5, 3.0) * 0.12 * (oblique < 0))
        paint(air, line, -520.0)
        vessels = chest.vessels.stamp(grid, c.depth_mm, c.thickness_mm)
        walls = chest.airways.stamp(grid, c.depth_mm, c.thickness_mm, grow_mm=0.75)
        lumen = chest.airways.stamp(grid, c.depth_mm, c.thickness_mm)
        if disease is not None:
            view = LungView(
                grid, c.depth_mm, c.level, c.thickness_mm, out.lung, out.cavity, oblique, horizontal, c.medium, c.fine,
                out.coarse,
            )  # fmt: skip
            lesion = disease.paint(view, air, walls, lumen) & (lung > 0.5)
        paint(air, vessels, BLOOD_HU)
        paint(air, np.maximum(walls - lumen, 0) * 0.55, -60.0)
        paint(air, lumen * 0.95, -965.0)
        paint(c.hu, lung, air)
    _hila(c)
    return lesion


def _hila(c: Canvas) -> None:
    """Large vessels outside the mediastinum, then the walls and lumens of the large airways."""
    chest, grid = c.chest, c.chest.grid
    inside = coverage(c.out.cavity, c.edge)
    for name in HILAR:
        found = chest.body.tubes[name].cut(grid, c.depth_mm, 2.0)
        if found:
            window, distance = found
            paint(c.hu[window], coverage(distance, c.edge) * inside[window], BLOOD_HU)
    airways = [(name, chest.body.tubes[name].cut(grid, c.depth_mm, 4.0)) for name in AIRWAYS]
    for grow_mm, value in ((1.4, 5.0), (0.0, -975.0)):
        for name, found in airways:
            if found:
                window, distance = found
                if name == "trachea":  # flat at the back, where its rings are open
                    distance = np.maximum(distance, grid.y[window] - (10.2 + 8 * max(c.level, 0) / 0.36))
                paint(c.hu[window], coverage(distance - grow_mm, c.edge), value)
