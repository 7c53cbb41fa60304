"""Drawing with distances: soft shapes on a pixel grid in millimetres, 3-D tubes, smooth 3-D noise.

Axes are those of DICOM (PS3.3 C.7.6.2.1.1) seen on an axial slice: x grows to the patient's left (right on the
screen), y to the back. The third coordinate is `depth_mm`, counted downwards from the lung apex. All distances are
signed, negative inside. Only elementwise numpy is used, no BLAS: its results depend on the number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Window = tuple[slice, slice]

ANGLES = 1440
"""Samples of a closed outline r(angle); index 0 is +x (patient's left), a quarter turn is +y (back)."""


@dataclass(frozen=True)
class Grid:
    """Where the pixels of one patient's slices lie in the body.

    Attributes:
        x_axis, y_axis: Pixel centres of columns and rows, mm, undistorted.
        x, y: [rows, cols] body coordinates after the patient's roll and individual warp, mm.
        radius: [rows, cols] distance from the axis of the chest, mm.
        angle: [rows, cols] index into outline tables.
        pixel_mm: Pixel size.
    """

    x_axis: Array
    y_axis: Array
    x: Array
    y: Array
    radius: Array
    angle: NDArray[np.int32]
    pixel_mm: float

    @classmethod
    def make(cls, size: int, pixel_mm: float, center_xy: tuple[float, float], roll: float, warp: NDArray) -> Grid:
        """Lay a square grid.

        Args:
            size: Rows and columns.
            pixel_mm: Pixel size.
            center_xy: Body coordinates of the image centre, mm.
            roll: Rotation of the patient about the long axis, radians.
            warp: [n, 6] waves: (wave number x, wave number y in rad/mm, phase x, phase y, amplitude x, amplitude y).
        """
        axis = (np.arange(size, dtype=np.float32) - (size - 1) / 2) * pixel_mm
        x_axis = (axis + center_xy[0]).astype(np.float32)
        y_axis = (axis + center_xy[1]).astype(np.float32)
        u, v = np.meshgrid(x_axis, y_axis)
        x = np.cos(roll) * u - np.sin(roll) * v
        y = np.sin(roll) * u + np.cos(roll) * v
        for kx, ky, phase_x, phase_y, ax, ay in warp:
            x = x + ax * np.sin(kx * u + ky * v + phase_x)
            y = y + ay * np.sin(kx * u + ky * v + phase_y)
        turn = np.arctan2(y, x) / (2 * np.pi)
        angle = np.round(turn * ANGLES).astype(np.int32) % ANGLES
        return cls(
            x_axis, y_axis, x.astype(np.float32), y.astype(np.float32), np.hypot(x, y).astype(np.float32), angle,
            pixel_mm,
        )  # fmt: skip

    def window(self, x0: float, x1: float, y0: float, y1: float, margin_mm: float = 9.0) -> Window:
        """Rows and columns that can hold a box of body coordinates; the margin covers roll and warp."""
        columns = np.searchsorted(self.x_axis, (x0 - margin_mm, x1 + margin_mm))
        rows = np.searchsorted(self.y_axis, (y0 - margin_mm, y1 + margin_mm))
        return slice(int(rows[0]), int(rows[1])), slice(int(columns[0]), int(columns[1]))

    def outline(self, table: NDArray) -> Array:
        """Signed distance to a closed outline r(angle) given as a table of `ANGLES` radii, mm."""
        return self.radius - table.astype(np.float32)[self.angle]


def coverage(distance: Array, width_mm: float) -> Array:
    """Fraction of a pixel inside a shape: 1 inside, 0 outside, a ramp of `width_mm` across the edge."""
    return np.clip(0.5 - distance / np.float32(width_mm), 0, 1)


def paint(hu: Array, cover: Array, value: float | Array) -> None:
    """Replace `cover` of what is there by `value`, in place."""
    hu += cover * (value - hu)


def smooth_union(a: Array, b: Array, k_mm: float) -> Array:
    """Union of two shapes with the inner corner rounded over `k_mm` (polynomial smooth minimum)."""
    h = np.maximum(np.float32(k_mm) - np.abs(a - b), 0)
    return np.minimum(a, b) - h * h * np.float32(0.25 / k_mm)


def smooth_cut(a: Array, b: Array, k_mm: float) -> Array:
    """Shape `a` without shape `b`, the rim rounded over `k_mm`."""
    return -smooth_union(-a, b, k_mm)


def ellipse(x: Array, y: Array, cx: float, cy: float, rx: float, ry: float, turn: float = 0.0) -> Array:
    """Approximate signed distance to an ellipse; `turn` in radians from +x towards +y."""
    dx, dy = x - np.float32(cx), y - np.float32(cy)
    c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    a, b = (dx * c + dy * s) / np.float32(rx), (dy * c - dx * s) / np.float32(ry)
    return (np.sqrt(a * a + b * b) - 1) * np.float32(min(rx, ry))


def bar(x: Array, y: Array, start: tuple[float, float], end: tuple[float, float], r0: float, r1: float) -> Array:
    """Signed distance to a 2-D bar with round ends whose radius goes from `r0` to `r1`."""
    ex, ey = end[0] - start[0], end[1] - start[1]
    px, py = x - np.float32(start[0]), y - np.float32(start[1])
    square = np.float32(ex * ex + ey * ey + 1e-6)
    t = np.clip((px * np.float32(ex) + py * np.float32(ey)) / square, 0, 1)
    dx, dy = px - t * np.float32(ex), py - t * np.float32(ey)
    return np.sqrt(dx * dx + dy * dy) - (np.float32(r0) + t * np.float32(r1 - r0))


@dataclass(frozen=True)
class Tube:
    """A 3-D path of round segments.

    Attributes:
        points: [n, 3] x, y, depth in mm.
        radii: [n] mm.
    """

    points: NDArray
    radii: NDArray

    def cut(self, grid: Grid, depth_mm: float, reach_mm: float) -> tuple[Window, Array] | None:
        """Distance to the tube in one axial plane, inside the window where it is below about `reach_mm`.

        Returns None when the plane passes the tube by more than `reach_mm`.
        """
        found: list[tuple[NDArray, NDArray, float, float]] = []
        for i in range(len(self.points) - 1):
            a, b = self.points[i], self.points[i + 1]
            r0, r1 = float(self.radii[i]), float(self.radii[i + 1])
            reach = max(r0, r1) + reach_mm
            if min(a[2], b[2]) - reach < depth_mm < max(a[2], b[2]) + reach:
                found.append((a, b, r0, r1))
        if not found:
            return None
        reach = max(max(r0, r1) for _, _, r0, r1 in found) + reach_mm
        corners = np.array([p for a, b, _, _ in found for p in (a, b)])
        low, high = corners.min(0), corners.max(0)
        window = grid.window(low[0] - reach, high[0] + reach, low[1] - reach, high[1] + reach)
        x, y = grid.x[window], grid.y[window]
        best: Array | None = None
        for a, b, r0, r1 in found:
            e = (b - a).astype(np.float32)
            px, py, pz = x - np.float32(a[0]), y - np.float32(a[1]), np.float32(depth_mm - a[2])
            t = np.clip((px * e[0] + py * e[1] + pz * e[2]) / np.float32(e @ e + 1e-6), 0, 1)
            dx, dy, dz = px - t * e[0], py - t * e[1], pz - t * e[2]
            d = np.sqrt(dx * dx + dy * dy + dz * dz) - (np.float32(r0) + t * np.float32(r1 - r0))
            best = d if best is None else np.minimum(best, d)
        assert best is not None
        return window, best


class Field:
    """Smooth random 3-D field (cubic B-spline of white noise), about zero mean and unit standard deviation.

    Args:
        generator: Source of randomness.
        step_mm: Distance of the knots in x and y; the size of its blobs is about twice that.
        step_depth_mm: Distance of the knots along the body axis.
        extent_mm: Half width in x and y that is covered; the field repeats beyond.
        depth_mm: First and last depth covered.
    """

    def __init__(
        self, generator: np.random.Generator, step_mm: float, step_depth_mm: float, extent_mm: float = 215.0,
        depth_mm: tuple[float, float] = (-60.0, 380.0),
    ) -> None:  # fmt: skip
        self.step_mm, self.step_depth_mm = step_mm, step_depth_mm
        self.extent_mm, self.first_mm = extent_mm, depth_mm[0]
        n = int(np.ceil(2 * extent_mm / step_mm)) + 5
        layers = int(np.ceil((depth_mm[1] - depth_mm[0]) / step_depth_mm)) + 5
        # a sum of cubic B-spline weights squared averages 0.479 per axis; the factor brings the deviation back to one
        knots = generator.standard_normal((layers, n, n), dtype=np.float32)
        self.knots = knots / np.float32(0.479**1.5)

    @staticmethod
    def _taps(position: NDArray, count: int) -> tuple[NDArray[np.intp], Array]:
        first = np.floor(position).astype(np.intp)
        t = (position - first).astype(np.float32)
        weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6
        return (first + np.arange(4)[:, None]) % count, weights.astype(np.float32)

    def at(self, grid: Grid, depth_mm: float) -> Array:
        """Values on the grid at one depth, [rows, cols]."""
        count = self.knots.shape[1]
        layers, wz = self._taps(np.array([(depth_mm - self.first_mm) / self.step_depth_mm]), len(self.knots))
        plane = sum(self.knots[layers[k, 0]] * wz[k, 0] for k in range(4))
        rows, wy = self._taps((grid.y_axis + self.extent_mm) / self.step_mm, count)
        columns, wx = self._taps((grid.x_axis + self.extent_mm) / self.step_mm, count)
        tall = sum(plane[rows[k]] * wy[k][:, None] for k in range(4))
        return sum(np.take(tall, columns[k], axis=1) * wx[k] for k in range(4))


@dataclass(frozen=True)
class Beads:
    """Many small round things along fine branches, sorted by depth, to be stamped into a slice.

    Attributes:
        points: [n, 3] x, y, depth in mm, undistorted coordinates.
        radii: [n] mm.
        upright: [n] |cosine| between the branch and the body axis: 1 = perpendicular to the slice.
    """

    points: NDArray
    radii: NDArray
    upright: NDArray

    @classmethod
    def sorted(cls, points: NDArray, radii: NDArray, upright: NDArray) -> Beads:
        """Beads in order of depth."""
        order = np.argsort(points[:, 2], kind="stable")
        return cls(points[order].astype(np.float32), radii[order].astype(np.float32), upright[order].astype(np.float32))

    def stamp(self, grid: Grid, depth_mm: float, thickness_mm: float, grow_mm: float = 0.0) -> Array:
        """Coverage 0..1 by the beads in a slice, with the partial volume of thin branches.

        Args:
            grid: Pixel grid.
            depth_mm: Middle of the slice.
            thickness_mm: Slice thickness.
            grow_mm: Added to every radius.
        """
        cover = np.zeros(grid.x.shape, np.float32)
        if not len(self.points):
            return cover
        reach = thickness_mm / 2 + float(self.radii.max()) + grow_mm
        low, high = np.searchsorted(self.points[:, 2], (depth_mm - reach, depth_mm + reach))
        radii = self.radii[low:high] + np.float32(grow_mm)
        gap = np.abs(self.points[low:high, 2] - np.float32(depth_mm)) - np.float32(thickness_mm / 2)
        gap = np.maximum(gap, 0)
        inside = gap < radii
        radii, gap = radii[inside], gap[inside]
        radii = np.sqrt(radii * radii - gap * gap)
        points, upright = self.points[low:high][inside], self.upright[low:high][inside]
        pixel = np.float32(grid.pixel_mm)
        seen = upright + (1 - upright) * np.minimum(1, 2 * radii / np.float32(thickness_mm))
        seen = seen * np.minimum(1, 2 * radii / pixel)
        wide = np.maximum(radii, 0.5 * pixel)
        column = (points[:, 0] - grid.x_axis[0]) / pixel
        row = (points[:, 1] - grid.y_axis[0]) / pixel
        half = np.ceil(wide / pixel + 0.5).astype(int)
        size = grid.x.shape[0]
        for k in np.unique(half):
            mine = half == k
            offset = np.arange(-k, k + 1)
            r = np.round(row[mine]).astype(int)[:, None] + offset
            c = np.round(column[mine]).astype(int)[:, None] + offset
            dr = (r - row[mine][:, None]).astype(np.float32) * pixel
            dc = (c - column[mine][:, None]).astype(np.float32) * pixel
            distance = np.sqrt(dr[:, :, None] ** 2 + dc[:, None, :] ** 2) - wide[mine][:, None, None]
            value = coverage(distance, float(pixel)) * seen[mine][:, None, None]
            r, c = np.broadcast_arrays(r[:, :, None], c[:, None, :])
            valid = (r >= 0) & (r < size) & (c >= 0) & (c < size)
            np.maximum.at(cover, (r[valid], c[valid]), value[valid])
        return cover
