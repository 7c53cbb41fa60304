"""One person's chest as outlines, tubes and numbers: who they are, not yet how they look in a scanner.

Distances in mm. `level` is 0 at the lung apex and 1 at the lung base. Shapes are drawn after ordinary axial anatomy
of adults; the tables below give a person of average size, and `Body.sample` varies it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d

from covidct.ct.phantom.geometry import ANGLES, Tube

_LEVEL = np.array([-0.10, 0.0, 0.06, 0.12, 0.20, 0.30, 0.45, 0.60, 0.80, 1.0, 1.15])
# inner chest wall: half width, depth to the front, depth to the back
_CAVITY_WIDTH = np.array([58, 70, 86, 100, 116, 126, 134, 137, 138, 136, 134])
_CAVITY_FRONT = np.array([28, 38, 48, 58, 70, 80, 88, 93, 96, 98, 98])
_CAVITY_BACK = np.array([70, 74, 78, 81, 84, 87, 90, 91, 91, 90, 88])

# soft tissue outside the ribs by angle from the front midline (columns, degrees) and level (rows)
_WALL_ANGLE = np.array([0, 25, 45, 65, 85, 105, 125, 145, 162, 180])
_WALL_LEVEL = np.array([-0.10, 0.0, 0.06, 0.13, 0.22, 0.35, 0.5, 0.7, 1.15])
_WALL = np.array(
    [
        [16, 18, 34, 80, 124, 124, 74, 36, 30, 26],
        [14, 18, 34, 74, 112, 112, 72, 40, 32, 26],
        [10, 18, 32, 60, 84, 88, 66, 42, 32, 24],
        [7, 20, 30, 42, 52, 60, 58, 42, 32, 22],
        [5, 18, 24, 24, 30, 44, 50, 40, 31, 21],
        [4, 12, 16, 13, 18, 30, 38, 33, 30, 20],
        [4, 6, 7, 7, 13, 20, 24, 24, 30, 20],
        [4, 4, 4, 5, 9, 12, 15, 18, 31, 20],
        [7, 7, 7, 8, 9, 10, 12, 17, 33, 20],
    ],
    dtype=float,
)
# half width of the mediastinum by depth coordinate y (columns) and level (rows), before the heart is added
_MIDDLE_Y = np.array([-100, -75, -50, -25, 0, 22, 40, 62, 78, 95])
_MIDDLE_LEVEL = np.array([-0.10, 0.0, 0.10, 0.20, 0.30, 0.40, 0.60, 0.80, 1.0, 1.15])
_MIDDLE = np.array(
    [
        [60, 58, 52, 48, 42, 36, 30, 28, 32, 40],
        [52, 48, 44, 42, 38, 34, 27, 27, 32, 40],
        [34, 32, 33, 34, 32, 27, 22, 23, 30, 40],
        [16, 16, 24, 29, 27, 22, 19, 21, 29, 40],
        [6, 7, 16, 25, 26, 20, 17, 20, 29, 40],
        [3, 5, 12, 24, 25, 20, 17, 20, 29, 40],
        [4, 6, 16, 22, 20, 17, 16, 20, 29, 40],
        [8, 14, 22, 22, 18, 15, 16, 20, 29, 40],
        [16, 22, 26, 24, 20, 17, 18, 22, 31, 40],
        [22, 26, 28, 26, 22, 20, 20, 24, 33, 40],
    ],
    dtype=float,
)
_WIDTH_AT = PchipInterpolator(_LEVEL, _CAVITY_WIDTH)
_FRONT_AT = PchipInterpolator(_LEVEL, _CAVITY_FRONT)
_BACK_AT = PchipInterpolator(_LEVEL, _CAVITY_BACK)
_THETA = np.arange(ANGLES) * (2 * np.pi / ANGLES)
_FROM_FRONT = np.degrees(np.arccos(np.clip(-np.sin(_THETA), -1, 1)))
_MIRROR = np.round(_FROM_FRONT * 4).astype(np.intp)  # the wall is tabulated by half turn, in quarter degrees
_WALL_AT = PchipInterpolator(_WALL_LEVEL, PchipInterpolator(_WALL_ANGLE, _WALL, axis=1)(np.arange(721) / 4), axis=0)
_HALF_Y = np.linspace(-130, 130, 261)
_MIDDLE_AT = PchipInterpolator(_MIDDLE_LEVEL, _MIDDLE, axis=0)


@dataclass(frozen=True)
class Body:
    """The measures of one person.

    Attributes:
        height_mm: Lung height, apex to base.
        width, depth: Size of the chest relative to the average.
        fat_mm: Mean thickness of subcutaneous fat.
        muscle: Thickness of the muscles relative to the average.
        female: Whether breasts are drawn.
        breast_mm: Their depth.
        age_years: Sets calcification of rib cartilage and the aorta, and the density of the lung.
        lobes: [6] amplitudes of the individual irregularity of the outline (mm).
        lobe_phases: [6] their phases.
        heart: Heart size relative to the average.
        rib_shift_mm, rib_pitch_mm, rib_drop_mm: Height of the first rib, distance of ribs, drop from back to side.
        dome_right, dome_left: Levels of the tops of the diaphragm.
        lung_hu: HU of lung in the middle of the chest.
        tubes: Named large vessels and airways.
    """

    height_mm: float
    width: float
    depth: float
    fat_mm: float
    muscle: float
    female: bool
    breast_mm: float
    age_years: int
    lobes: NDArray
    lobe_phases: NDArray
    heart: float
    rib_shift_mm: float
    rib_pitch_mm: float
    rib_drop_mm: float
    dome_right: float
    dome_left: float
    lung_hu: float
    tubes: dict[str, Tube]

    @classmethod
    def sample(cls, generator: np.random.Generator) -> Body:
        """A random adult."""
        g = generator
        female = bool(g.random() < 0.45)
        scale = (0.94 if female else 1.02) * g.uniform(0.94, 1.06)
        height = float((215 if female else 240) * g.uniform(0.9, 1.1))
        width, depth = float(scale * g.uniform(0.96, 1.04)), float(scale * g.uniform(0.92, 1.1))
        heart = float(g.uniform(0.9, 1.12))
        return cls(
            height_mm=height,
            width=width,
            depth=depth,
            fat_mm=float(g.gamma(4.0, 2.6) + (7 if female else 4)),
            muscle=float(g.uniform(0.75, 1.0) if female else g.uniform(0.9, 1.25)),
            female=female,
            breast_mm=float(g.uniform(14, 38)),
            age_years=int(g.integers(22, 86)),
            lobes=g.normal(0, 1.5, 6) / np.sqrt(np.arange(1, 7)),
            lobe_phases=g.uniform(0, 2 * np.pi, 6),
            heart=heart,
            rib_shift_mm=float(g.uniform(-6, 8)),
            rib_pitch_mm=float(height / g.uniform(9.3, 10.3)),
            rib_drop_mm=float(g.uniform(96, 124)),
            dome_right=float(g.uniform(0.64, 0.74)),
            dome_left=float(g.uniform(0.71, 0.80)),
            lung_hu=float(g.normal(-858, 14)),
            tubes=_large_tubes(g, height, width, depth, heart),
        )

    def level(self, depth_mm: float) -> float:
        """Level (0 apex .. 1 base) of a depth below the apex."""
        return depth_mm / self.height_mm

    def cavity(self, level: float) -> NDArray:
        """Outline table of the inner chest wall, mm."""
        u = np.clip(level, _LEVEL[0], _LEVEL[-1])
        a = _WIDTH_AT(u) * self.width
        front = _FRONT_AT(u) * self.depth
        back = _BACK_AT(u) * self.depth
        c, s = np.cos(_THETA), np.sin(_THETA)
        b = np.where(s < 0, front, back)
        n = np.where(s < 0, 1.98, 2.28)  # squarer at the back: the lungs fill the gutters beside the spine
        r = (np.abs(c / a) ** n + np.abs(s / b) ** n) ** (-1 / n)
        order = np.arange(2, 8)
        waves = np.cos(order[:, None] * _THETA + self.lobe_phases[:, None] + 2.0 * level * order[:, None] ** 0.5)
        return r + self.lobes @ waves * min(1.0, 0.3 + 1.5 * max(level, 0.0))

    def muscle_outline(self, level: float, cavity: NDArray) -> NDArray:
        """Outline table of the surface of the muscles, mm."""
        wall = _WALL_AT(np.clip(level, _WALL_LEVEL[0], _WALL_LEVEL[-1]))[_MIRROR] * self.muscle
        return gaussian_filter1d(cavity + 11 + wall, ANGLES / 100, mode="wrap")

    def skin_outline(self, level: float, muscle: NDArray) -> NDArray:
        """Outline table of the skin, mm."""
        f = _FROM_FRONT
        fat = self.fat_mm * (0.75 + 0.55 * np.exp(-(((f - 95) / 35) ** 2)) - 0.25 * np.exp(-(((f - 180) / 14) ** 2)))
        fat = fat * (1 + 0.25 * max(0.0, level - 0.5)) + 3
        if self.female:
            fall = np.exp(-(((level - 0.52) / 0.19) ** 4))
            fat = fat + self.breast_mm * fall * np.exp(-(((f - 46) / 31) ** 4))
        return gaussian_filter1d(muscle + fat, ANGLES / 60, mode="wrap")

    def middle(self, level: float) -> tuple[NDArray, NDArray]:
        """Half width of the mediastinum without the heart: y (mm, increasing) and half width (mm)."""
        rows = _MIDDLE_AT(np.clip(level, _MIDDLE_LEVEL[0], _MIDDLE_LEVEL[-1]))
        ends = _MIDDLE_Y[[0, -1]]
        half = PchipInterpolator(_MIDDLE_Y, rows)(np.clip(_HALF_Y / self.depth, *ends))
        return _HALF_Y, half * np.sqrt(self.width)


def _large_tubes(g: np.random.Generator, height: float, width: float, depth: float, heart: float) -> dict[str, Tube]:
    """Airways and great vessels. The third coordinate in the lists below is the level."""

    def tube(*nodes: tuple[float, float, float, float]) -> Tube:
        table = np.array(nodes, dtype=float)
        table[:, 0] *= width
        table[:, 1] *= depth
        table[:, 2] *= height
        table[1:-1, :3] += g.normal(0, 1.2, (len(table) - 2, 3))
        return Tube(table[:, :3], table[:, 3] * np.sqrt(width))

    carina = float(g.uniform(0.34, 0.39))
    low = carina - 0.36
    aorta = float(g.uniform(0.92, 1.15))
    return {
        "trachea": tube((0, 2, -0.25, 8.2), (-1, 4, 0.1, 8.2), (-2, 10, carina, 8.4)),
        "bronchus_right": tube((-2, 10, carina, 7.6), (-22, 13, 0.41 + low, 7), (-38, 11, 0.445 + low, 6)),
        "bronchus_left": tube((-2, 10, carina, 7.2), (22, 15, 0.425 + low, 6.2), (46, 17, 0.465 + low, 5.4)),
        "bronchus_right_upper": tube((-24, 13, 0.41 + low, 5.2), (-42, 9, 0.40 + low, 4.4), (-58, 6, 0.37 + low, 3.2)),
        "bronchus_intermediate": tube((-38, 11, 0.445 + low, 5.6), (-42, 13, 0.52, 5), (-52, 27, 0.64, 3.4)),
        "bronchus_left_lower": tube((46, 17, 0.465 + low, 5.2), (48, 24, 0.54, 4.6), (56, 34, 0.66, 3.2)),
        "bronchus_left_upper": tube((42, 16, 0.45 + low, 4.8), (52, 2, 0.42 + low, 3.8), (60, -8, 0.38 + low, 2.8)),
        "bronchus_middle": tube((-42, 12, 0.52, 3.8), (-54, -8, 0.55, 3.2), (-64, -28, 0.60, 2.4)),
        "aorta_up": tube((-4, -24, 0.58, 14 * aorta), (-16, -28, 0.44, 15 * aorta), (-14, -22, 0.31, 14.5 * aorta),
                         (-2, -10, 0.265, 13.5 * aorta), (14, 8, 0.26, 13 * aorta), (25, 26, 0.29, 12.5 * aorta)),
        "aorta_down": tube((25, 26, 0.29, 12.5 * aorta), (26, 33, 0.38, 11.8 * aorta), (23, 37, 0.60, 11.4 * aorta),
                           (16, 36, 0.85, 11 * aorta), (8, 34, 1.25, 10.5 * aorta)),
        "brachiocephalic": tube((-4, -14, 0.25, 6.5), (-12, -14, 0.14, 6.2), (-26, -18, 0.0, 6), (-34, -16, -0.1, 5)),
        "carotid_left": tube((6, -4, 0.24, 4.5), (12, -6, 0.12, 4.2), (20, -8, -0.1, 4)),
        "subclavian_left": tube((18, 10, 0.24, 5.5), (25, 8, 0.12, 5.2), (38, 2, -0.03, 5), (60, 0, -0.08, 4.5)),
        "vena_cava": tube((-26, -20, 0.16, 7.5), (-29, -17, 0.3, 9), (-30, -14, 0.47, 10), (-30, -10, 0.54, 12)),
        "vein_left": tube((-26, -24, 0.17, 7), (0, -36, 0.165, 6.5), (24, -28, 0.11, 6.5), (42, -24, 0.0, 6.5)),
        "vein_right": tube((-26, -22, 0.17, 7), (-34, -24, 0.06, 7), (-44, -24, -0.08, 6.5)),
        "azygos": tube((-30, -4, 0.33, 4.5), (-22, 20, 0.335, 4.2), (-9, 40, 0.38, 3.8), (-8, 42, 1.1, 3.4)),
        "esophagus": tube((5, 18, -0.2, 6), (5, 24, 0.2, 6.5), (3, 27, 0.45, 6.5), (8, 26, 0.75, 7), (18, 14, 0.95, 8)),
        "cava_inferior": tube((-26, 2, 0.66, 11), (-26, 10, 0.85, 11.5), (-24, 16, 1.2, 11)),
        "artery_trunk": tube((16, -40, 0.53, 13.5 * heart), (18, -36, 0.46, 14 * heart), (16, -22, 0.415, 13 * heart)),
        "artery_right": tube((16, -20, 0.42, 11.5), (-10, -5, 0.435, 11), (-34, 0, 0.45, 9.5), (-46, 7, 0.49, 8)),
        "artery_left": tube((17, -22, 0.415, 12), (34, -4, 0.395, 10.5), (48, 14, 0.41, 9)),
        "artery_right_lower": tube((-46, 7, 0.49, 7.8), (-51, 13, 0.56, 6.4), (-60, 28, 0.66, 4.6),
                                   (-66, 40, 0.76, 3.2)),
        "artery_left_lower": tube((48, 14, 0.41, 8.4), (55, 24, 0.50, 7), (58, 33, 0.60, 5.2), (66, 42, 0.74, 3.4)),
        "artery_right_upper": tube((-36, -2, 0.44, 6), (-48, -4, 0.39, 4.8), (-58, 0, 0.31, 3.4)),
        "artery_left_upper": tube((46, 10, 0.40, 5.6), (54, 0, 0.35, 4.4), (60, -4, 0.27, 3.2)),
        "vein_right_upper": tube((-22, -4, 0.52, 8), (-44, -10, 0.49, 6.2), (-58, -20, 0.42, 4.2)),
        "vein_left_upper": tube((28, -8, 0.50, 8), (46, -14, 0.465, 6.2), (58, -24, 0.40, 4.2)),
        "vein_right_lower": tube((-16, 12, 0.56, 8.5), (-40, 22, 0.575, 6.4), (-60, 40, 0.63, 4)),
        "vein_left_lower": tube((24, 12, 0.55, 8.5), (42, 20, 0.565, 6.2), (62, 44, 0.63, 4)),
    }  # fmt: skip


AIRWAYS = (
    "trachea", "bronchus_right", "bronchus_left", "bronchus_right_upper", "bronchus_intermediate",
    "bronchus_left_lower", "bronchus_left_upper", "bronchus_middle",
)  # fmt: skip
"""Tubes that hold air."""

HILAR = (
    "artery_right_lower", "artery_left_lower", "artery_right_upper", "artery_left_upper", "vein_right_upper",
    "vein_left_upper", "vein_right_lower", "vein_left_lower",
)  # fmt: skip
"""Blood vessels that run through lung without a sheath of fat."""
