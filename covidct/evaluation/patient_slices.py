"""Slices gathered by patient in anatomical order, and what can be taken over a patient: sums, ranks, runs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import pandas as pd

from covidct.evaluation.predictions import Predictions


@dataclass(frozen=True)
class PatientSlices:
    """Slices of P patients, each patient's together, each series in anatomical order.

    Args:
        probabilities: float64 [n, K].
        patient: int64 [n], not falling: which patient a slice belongs to, from 0.
        series: int64 [n]: a number that differs between neighbouring series; a run of slices does not cross series.
        n_patients: P; patients without a slice are the numbers that do not occur in `patient`.
    """

    probabilities: np.ndarray
    patient: np.ndarray
    series: np.ndarray
    n_patients: int

    @classmethod
    def of_one(cls, probabilities: np.ndarray, series: np.ndarray | None = None) -> Self:
        """One patient; without `series` all slices are of one."""
        none = np.zeros(len(probabilities), dtype=np.int64)
        return cls(probabilities, none, none if series is None else series, 1)

    @cached_property
    def sizes(self) -> np.ndarray:
        """int64 [P]: slices of each patient."""
        return np.bincount(self.patient, minlength=self.n_patients)

    @cached_property
    def first(self) -> np.ndarray:
        """int64 [P]: row of each patient's first slice."""
        return np.cumsum(self.sizes) - self.sizes

    def take(self, rows: np.ndarray) -> Self:
        """Some of the slices, in the same order (bool [n] or rising positions); every patient keeps its number."""
        return type(self)(self.probabilities[rows], self.patient[rows], self.series[rows], self.n_patients)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sums of values [n, columns] over each patient: float64 [P, columns]; 0 without a slice."""
        sums = [np.bincount(self.patient, column, self.n_patients) for column in values.T]
        return np.column_stack(sums).astype(np.float64)  # without any slice they are whole numbers

    def ranked(self, column: int, *, largest_first: bool) -> np.ndarray:
        """The probabilities of one class, sorted inside each patient: float64 [n]."""
        values = self.probabilities[:, column]
        return np.asarray(values[np.lexsort((-values if largest_first else values, self.patient))])

    def largest(self, values: np.ndarray, owner: np.ndarray) -> np.ndarray:
        """The largest of the values [m, columns] of each patient, float64 [P, columns]; 0 without one.

        Args:
            values: One row per slice or run.
            owner: int64 [m], not falling: patient of each row.
        """
        found = np.zeros((self.n_patients, values.shape[1]))
        present, first = np.unique(owner, return_index=True)
        if len(present):
            found[present] = np.maximum.reduceat(values, first, axis=0)
        return found

    def runs(self, values: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Every run of `length` consecutive slices of a series, and every shorter series whole.

        Args:
            values: float64 [n, columns], of the slices.
            length: 1 or more.

        Returns:
            The smallest and the largest values in each run, [runs, columns], and its patient, int64 [runs], not
            falling.
        """
        n = len(values)
        if length == 1 or not n:
            return values, values, self.patient
        new = np.ones(n, dtype=bool)
        new[1:] = (self.series[1:] != self.series[:-1]) | (self.patient[1:] != self.patient[:-1])
        starts, number = np.flatnonzero(new), np.cumsum(new) - 1
        left = np.append(starts[1:], n)[number] - np.arange(n)  # slices from here to the end of the series
        begins = np.flatnonzero((left >= length) | new)
        width = np.minimum(left[begins], length)
        low, high = values[begins].copy(), values[begins].copy()
        for step in range(1, int(width.max())):
            inside = width > step
            beside = values[begins[inside] + step]
            low[inside] = np.minimum(low[inside], beside)
            high[inside] = np.maximum(high[inside], beside)
        return low, high, self.patient[begins]


def slices_by(predictions: Predictions, patient: list[str]) -> tuple[PatientSlices, pd.DataFrame]:
    """A predictions table as patients.

    Args:
        predictions: The slices, in any order.
        patient: The columns that make a patient.

    Returns:
        The slices, sorted by patient, series, slice number and key (so that the last digit of a sum does not depend
        on the order of the file), and their rows of the table in the same order.
    """
    frame = predictions.frame
    keys = ("slice_key", "slice_number", "series_key", *reversed(patient))
    order = np.lexsort([pd.factorize(frame[name], sort=True)[0] for name in keys])
    frame = frame.iloc[order].reset_index(drop=True)
    number = frame.groupby(patient, sort=False).ngroup().to_numpy(dtype=np.int64)
    series = pd.factorize(frame["series_key"])[0].astype(np.int64)
    return PatientSlices(predictions.probabilities[order], number, series, int(number.max(initial=-1)) + 1), frame
