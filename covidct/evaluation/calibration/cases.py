"""What calibration is measured on: slices, or patients by their mean probability, with the patient of each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from covidct.errors import IntegrityError
from covidct.evaluation.patient import called_class
from covidct.evaluation.predictions import Predictions
from covidct.labels import ClassScheme

LEVELS = ("patient", "slice")
SMALLEST = float(np.finfo(np.float32).tiny)
"""Probabilities below it count as it where a logarithm is taken: a float32 softmax turns them into zeros."""


@dataclass(frozen=True)
class Cases:
    """Slices, or patients, with what is known of them.

    Args:
        level: "slice" or "patient".
        scheme: The classes.
        truth: int [n], class columns.
        probabilities: float64 [n, K], rows sum to 1.
        patient: int [n], the patient of each case, 0..patients-1; at patient level 0..n-1.
        patient_truth: int [patients], class columns.
        site: [patients], the hospital of each patient.
    """

    level: str
    scheme: ClassScheme
    truth: np.ndarray
    probabilities: np.ndarray
    patient: np.ndarray
    patient_truth: np.ndarray
    site: np.ndarray

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def n_patients(self) -> int:
        return len(self.patient_truth)

    @cached_property
    def called(self) -> np.ndarray:
        """int [n], the class of the highest probability; a tie is never called normal (see `called_class`)."""
        return called_class(self.probabilities, self.scheme)

    @property
    def right(self) -> np.ndarray:
        """bool [n], whether the called class is the true one."""
        return self.called == self.truth

    @cached_property
    def confidence(self) -> np.ndarray:
        """float [n], the highest probability of each case."""
        return np.asarray(self.probabilities.max(axis=1))

    @cached_property
    def strata(self) -> np.ndarray:
        """int [patients], site and class together: patients are resampled within these."""
        _, sites = np.unique(self.site, return_inverse=True)
        return np.asarray(sites * len(self.scheme) + self.patient_truth)

    def patient_sums(self, values: np.ndarray) -> np.ndarray:
        """float [patients], the sum of a value [n] over the cases of each patient."""
        return np.bincount(self.patient, weights=values, minlength=self.n_patients)

    def with_probabilities(self, probabilities: np.ndarray) -> Cases:
        """The same cases with other probabilities."""
        return Cases(
            self.level, self.scheme, self.truth, probabilities, self.patient, self.patient_truth, self.site
        )  # a new object, so that nothing cached is carried over


def cases_of(predictions: Predictions, split: str, level: str, site: str | None = None) -> Cases | None:
    """The cases of one partition, in an order that does not depend on the order of the table.

    Args:
        predictions: The slices.
        split: "val" or "test".
        level: "slice", or "patient" for the mean probability over the slices of each patient.
        site: One hospital, or None for all.

    Returns:
        None if there is no slice.

    Raises:
        IntegrityError: A patient has slices of more than one class.
    """
    frame, scheme = predictions.frame, predictions.scheme
    inside = frame["split"] == split
    frame = frame[inside if site is None else inside & (frame["site"] == site)]
    if frame.empty:
        return None
    frame = frame.sort_values(["site", "patient_key", "slice_key"], kind="stable", ignore_index=True)
    probabilities = Predictions(frame, scheme).probabilities
    probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
    truth = np.asarray(pd.Categorical(frame["label"], categories=list(scheme.names)).codes, dtype=np.int64)
    patient = frame.groupby(["site", "patient_key"], sort=False).ngroup().to_numpy()
    starts = np.flatnonzero(np.r_[True, np.diff(patient) > 0])
    if (truth != truth[starts][patient]).any():
        row = int(np.flatnonzero(truth != truth[starts][patient])[0])
        raise IntegrityError(
            f"patient {frame['patient_key'].iloc[row]} of site {frame['site'].iloc[row]} has slices of more than one "
            "class",
            remedy="a patient has one label; exclude patients with two diseases when the index is made",
        )
    sites = frame["site"].to_numpy(dtype=object)[starts].astype(str)
    if level == "slice":
        return Cases(level, scheme, truth, probabilities, patient, truth[starts], sites)
    means = np.add.reduceat(probabilities, starts, axis=0) / np.bincount(patient)[:, None]
    return Cases(level, scheme, truth[starts], means, np.arange(len(starts)), truth[starts], sites)
