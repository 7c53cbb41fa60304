"""One patient's series: sampling the person, cutting the slices, measuring them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covidct.ct.phantom.anatomy import Chest
from covidct.ct.phantom.body import Body
from covidct.ct.phantom.geometry import ANGLES, Grid
from covidct.ct.phantom.lesions import sample_disease
from covidct.ct.phantom.scanner import Scanner
from covidct.ct.phantom.section import cut


@dataclass(frozen=True)
class PhantomSlice:
    """One measured slice.

    Attributes:
        hu: [rows, cols] int16.
        lesion: [rows, cols] bool.
        depth_mm: Distance below the lung apex.
    """

    hu: NDArray[np.int16]
    lesion: NDArray[np.bool_]
    depth_mm: float


class Patient:
    """A person with a disease, in a scanner.

    Anatomy, pose, lesions and noise have their own streams of random numbers, so that the same person can be looked
    at with other settings.

    Args:
        seed: Determines everything random.
        label: A class of `covidct.labels.FU2020`.
        scanner: Scanner and protocol.
        size: Rows and columns.
        slices: Number of slices, evenly spaced from apex to base.
        difficulty: 0..1, see `lesions.sample_disease`.
        slice_fraction: Wanted share of slices with lesions.
    """

    def __init__(
        self, seed: np.random.SeedSequence, label: str, scanner: Scanner, size: int, slices: int, difficulty: float,
        slice_fraction: float,
    ) -> None:  # fmt: skip
        streams = seed.spawn(5)
        person, pose, texture, sick, self._noise = streams
        self.scanner, self.label, self.slices = scanner, label, slices
        self.body = Body.sample(np.random.default_rng(person))
        g = np.random.default_rng(pose)
        first, last = float(g.uniform(0.02, 0.06)), float(g.uniform(0.93, 0.99))
        span = (last - first) * self.body.height_mm
        # scanners step in tenths of a millimetre
        self.step_mm = max(0.5, np.floor(10 * span / max(slices - 1, 1)) / 10)
        self.first_mm = first * self.body.height_mm
        self.table_top_mm = self._table_top()
        warp = np.column_stack(
            [
                g.choice([-1, 1], 5) / g.uniform(18, 45, 5), g.choice([-1, 1], 5) / g.uniform(18, 45, 5),
                g.uniform(0, 6.3, 5), g.uniform(0, 6.3, 5), g.normal(0, 0.9, 5), g.normal(0, 0.9, 5),
            ]
        )  # fmt: skip
        middle = (self.table_top_mm - 112 * self.body.depth - self.body.fat_mm) / 2
        center = (float(g.normal(0, 5)), float(middle + g.normal(4, 5)))
        self.grid = Grid.make(size, scanner.field_mm / size, center, float(g.normal(0, 0.025)), warp)
        self.chest = Chest(self.body, self.grid, np.random.default_rng(texture), self.table_top_mm)
        levels = (first, (self.first_mm + self.step_mm * (slices - 1)) / self.body.height_mm)
        self.disease = sample_disease(
            label, self.body, self.chest.trees, np.random.default_rng(sick), difficulty=difficulty,
            slice_fraction=slice_fraction, levels=levels,
        )  # fmt: skip

    def _table_top(self) -> float:
        backs = []
        for level in (0.2, 0.35, 0.5):
            table = self.body.skin_outline(level, self.body.muscle_outline(level, self.body.cavity(level)))
            backs.append(float((table * np.sin(np.arange(ANGLES) * 2 * np.pi / ANGLES)).max()))
        return min(backs) - 2.0

    def slice(self, number: int) -> PhantomSlice:
        """Slice `number`, 0 at the lung apex."""
        depth = self.first_mm + self.step_mm * number
        section = cut(self.chest, depth, self.scanner.thickness_mm, self.disease)
        key = (*self._noise.spawn_key, number)
        noise = np.random.default_rng(np.random.SeedSequence(self._noise.entropy, spawn_key=key))
        self.scanner.draw_table(section.hu, section.body, self.grid, self.table_top_mm)
        streaks = float(np.clip((0.16 - section.level) / 0.16, 0, 1))
        hu = self.scanner.measure(section.hu, section.body, self.grid, noise, streaks)
        lesion = section.lesion
        outside = self.scanner.outside(hu.shape[0])
        if outside is not None:
            lesion = lesion & ~outside
        return PhantomSlice(hu, lesion, depth)
