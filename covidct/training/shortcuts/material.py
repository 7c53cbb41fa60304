"""Who is audited: patients, their labels and sites, and which slices are shown."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from covidct.data.splits import verify_split
from covidct.data.table import SliceTable
from covidct.errors import DataRefused, UsageError
from covidct.training.scoring import TrainedRun, check_table

PARTITIONS = ("val", "test", "all")


@dataclass(frozen=True)
class Material:
    """The slices an audit works on.

    A patient is the pair (site, patient_key). Arrays count in `table.accepted`.

    Args:
        run: The run.
        table: Its slice table.
        partition: "val", "test", or "all" for both.
        most: At most this many slices of a patient are shown, evenly spaced.
    """

    run: TrainedRun
    table: SliceTable
    partition: str
    most: int

    def __post_init__(self) -> None:
        if self.partition not in PARTITIONS:
            raise UsageError(f"partition={self.partition} is not a choice", remedy=f"use one of {list(PARTITIONS)}")
        if self.most < 1:
            raise UsageError(f"slices counts from 1, not {self.most}", where="slices")
        check_table(self.run, self.table)
        verify_split(self.run.split, self.table)
        if not len(self.audited):
            raise DataRefused(
                f"the run's split has no slices in partition {self.partition}", remedy="choose another: partition=val"
            )

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Accepted slices with `patient` (number) and `number` (class, -1 for none)."""
        frame = self.table.accepted
        numbers = {name: number for number, name in enumerate(self.run.scheme.names)}
        patient = frame.groupby(["site", "patient_key"], sort=True).ngroup().to_numpy()
        labels = np.array([numbers.get(label, -1) for label in frame["label"]], dtype=np.int64)
        return frame.assign(patient=patient, number=labels)

    @cached_property
    def parts(self) -> dict[str, np.ndarray]:
        """Partition -> rows."""
        return self.run.split.rows(self.table)

    @cached_property
    def audited(self) -> np.ndarray:
        """Rows of the audited partition, thinned."""
        wanted = {"val": ("val",), "test": ("test/",), "all": ("val", "test/")}[self.partition]
        return self.thinned([rows for name, rows in self.parts.items() if name.startswith(wanted)])

    @cached_property
    def train(self) -> np.ndarray:
        """Training rows, thinned."""
        return self.thinned([self.parts["train"]])

    @cached_property
    def labelled(self) -> np.ndarray:
        """All rows of the split."""
        return np.unique(np.concatenate(list(self.parts.values())))

    def thinned(self, groups: list[np.ndarray]) -> np.ndarray:
        """At most `most` rows of each patient, evenly spaced, ascending."""
        if not groups:
            return np.empty(0, dtype=np.int64)
        rows = np.unique(np.concatenate(groups))
        kept = []
        for mine in pd.Series(rows).groupby(self.frame["patient"].to_numpy()[rows]):
            values = mine[1].to_numpy()
            kept.append(
                values[np.unique(np.linspace(0, len(values) - 1, min(self.most, len(values))).round().astype(int))]
            )
        return np.sort(np.concatenate(kept))

    def people(self, rows: np.ndarray) -> People:
        """The patients that slices belong to.

        A patient whose slices carry several labels, which only image collections have, counts by the first.
        """
        frame = self.frame.iloc[rows]
        keys, patient = np.unique(frame["patient"].to_numpy(), return_inverse=True)
        first = np.unique(patient, return_index=True)[1]
        sites = np.unique(frame["site"].to_numpy()[first].astype(str), return_inverse=True)
        return People(patient, frame["number"].to_numpy()[first], sites[1], sites[0].tolist(), keys)

    @property
    def audited_name(self) -> str:
        """For sentences."""
        return {"val": "the validation patients", "test": "the test patients", "all": "validation and test patients"}[
            self.partition
        ]


@dataclass(frozen=True)
class People:
    """Patients of some slices.

    Args:
        of_slice: int [n], each slice's patient in 0..P-1.
        labels: int [P].
        sites: int [P], in 0..S-1.
        site_names: S names.
        keys: int [P], the patient's number in `Material.frame`.
    """

    of_slice: np.ndarray
    labels: np.ndarray
    sites: np.ndarray
    site_names: list[str]
    keys: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)
