"""Predictions tables with known content."""

from __future__ import annotations

import numpy as np
import pandas as pd

from covidct.evaluation.predictions import Predictions, probability_columns
from covidct.labels import FU2020, ClassScheme

FIVE = ClassScheme(FU2020, normal="normal", positive="covid19")


def simulated(
    *,
    scheme: ClassScheme = FIVE,
    patients: int = 12,
    slices: int = 6,
    sites: tuple[str, ...] = ("north", "south"),
    splits: tuple[str, ...] = ("test",),
    skill: float = 1.5,
    icc: float = 0.3,
    seed: int = 0,
) -> Predictions:
    """A table in which the slices of a patient resemble each other.

    Args:
        scheme: The classes.
        patients: Patients of each class at each site.
        slices: Slices of each patient.
        sites: Hospitals.
        splits: Partitions.
        skill: Height of the true class's logit over the others, in standard deviations.
        icc: Share of the noise's variance that the slices of a patient have in common.
        seed: Of the noise.
    """
    generator = np.random.default_rng(seed)
    labels = np.repeat(scheme.names, patients * slices)
    parts = []
    for split in splits:
        for site in sites:
            n_patients = patients * len(scheme)
            own = generator.normal(size=(n_patients, 1, len(scheme))) * np.sqrt(icc)
            noise = own + generator.normal(size=(n_patients, slices, len(scheme))) * np.sqrt(1 - icc)
            logits = noise.reshape(-1, len(scheme))
            logits[np.arange(len(labels)), [scheme.index(label) for label in labels]] += skill
            part = pd.DataFrame(
                {
                    # The same pseudonyms at both sites, on purpose: a patient is the pair (site, patient_key).
                    "slice_key": [f"{split}{site}{row:05d}" for row in range(len(labels))],
                    "patient_key": [f"patient{row // slices:04d}" for row in range(len(labels))],
                    "series_key": [f"{site}series{row // slices:04d}" for row in range(len(labels))],
                    "site": site,
                    "split": split,
                    "slice_number": np.tile(np.arange(slices, dtype=np.int32), n_patients),
                    "label": labels,
                    "slice_label": pd.array([None] * len(labels), dtype="Int8"),
                }
            )
            probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            part[probability_columns(scheme)] = probabilities
            parts.append(part)
    meta = {"run": "test-000000000000", "index_digest": "i", "split_digest": "s", "weights_digest": "w"}
    return Predictions(pd.concat(parts, ignore_index=True), scheme, meta)


def by_hand(
    rows: list[tuple[str, str, list[float]]], *, scheme: ClassScheme = FIVE, site: str = "north", split: str = "test"
) -> Predictions:
    """A table from (patient_key, label, probabilities) of each slice."""
    frame = pd.DataFrame(
        {
            "slice_key": [f"slice{row:03d}" for row in range(len(rows))],
            "patient_key": [patient for patient, _, _ in rows],
            "series_key": [f"series-{patient}" for patient, _, _ in rows],
            "site": site,
            "split": split,
            "slice_number": np.arange(len(rows), dtype=np.int32),
            "label": [label for _, label, _ in rows],
            "slice_label": pd.array([None] * len(rows), dtype="Int8"),
        }
    )
    frame[probability_columns(scheme)] = np.array([values for _, _, values in rows], dtype=np.float64)
    return Predictions(frame, scheme)
