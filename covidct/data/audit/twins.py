"""Near-duplicates: slices of two patients that show the same picture.

Fingerprints propose pairs, the pixels decide (`covidct.ct.likeness`). Slices of one patient are alike by nature and are
not compared; that they lie in one part is what the overlap checks are for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from covidct.ct.fingerprint import BITS
from covidct.ct.likeness import ALIKE, SAME, Detail, detail, likeness
from covidct.ct.read import read_slice
from covidct.data.audit.hamming import near_pairs
from covidct.data.table import SliceTable
from covidct.errors import CovidctError

COPY = "same pixels as another slice of another patient"
"""Why the index refused a slice that is looked at all the same: two patients may be one under two numbers."""

MOST = 20_000
"""Pairs whose pixels are compared at most, those with the nearest fingerprints."""

_PER_PEOPLE = 60  # of one pair of patients: enough to know that they are one person
_KEPT = 1500  # details in memory at a time: 64 KiB each


@dataclass(frozen=True)
class Twin:
    """Two slices of different patients that look alike.

    Args:
        one: Row of `Universe.frame`, the smaller.
        other: Row of `Universe.frame`.
        bits: In how many bits their fingerprints differ.
        likeness: See `covidct.ct.likeness.likeness`.
    """

    one: int
    other: int
    bits: int
    likeness: float

    @property
    def is_same(self) -> bool:
        """Whether it is called the same picture, without a person having looked."""
        return self.likeness >= SAME


@dataclass(frozen=True)
class Twins:
    """What was found among the slices of an index.

    Args:
        frame: The slices that were compared: slice_key (null for a refused copy), patient_key, site, label, path,
            frame, accepted, fingerprint.
        pairs: Confirmed pairs, most alike first.
        candidates: Pairs of different patients with near fingerprints.
        compared: How many of them were compared by pixels.
        unreadable: Slices that could not be read again.
    """

    frame: pd.DataFrame
    pairs: list[Twin]
    candidates: int
    compared: int
    unreadable: int


def find_twins(
    table: SliceTable, measures: pd.DataFrame, progress: Callable[[int, int], None] | None = None
) -> Twins | None:
    """Near-duplicates under different patients.

    Args:
        table: The slice table.
        measures: See `covidct.data.measures.read_measures`.
        progress: Told (pairs compared, pairs in all).

    Returns:
        None where the index holds no fingerprints of this version.
    """
    frame = universe(table, measures)
    if len(frame) and not (frame["fingerprint"].str.len() == BITS // 4).all():
        return None
    people = pd.factorize(frame["patient_key"])[0].astype(np.int64)
    pairs, bits = near_pairs(list(frame["fingerprint"]), people)
    chosen = _chosen(pairs, bits, people)

    @lru_cache(maxsize=_KEPT)
    def structure(row: int) -> Detail | None:
        return detail_of(table.root, str(frame["path"].iloc[row]), int(frame["frame"].iloc[row]))

    found: list[Twin] = []
    unreadable: set[int] = set()
    for done, place in enumerate(chosen, start=1):
        one, other = (int(row) for row in pairs[place])
        first, second = structure(one), structure(other)
        unreadable.update(row for row, seen in ((one, first), (other, second)) if seen is None)
        if first is not None and second is not None and (alike := likeness(first, second)) >= ALIKE:
            found.append(Twin(one, other, int(bits[place]), round(alike, 4)))
        if progress is not None and (done % 20 == 0 or done == len(chosen)):
            progress(done, len(chosen))
    found.sort(key=lambda twin: (-twin.likeness, twin.one, twin.other))
    return Twins(frame, found, len(pairs), len(chosen), len(unreadable))


def universe(table: SliceTable, measures: pd.DataFrame) -> pd.DataFrame:
    """The slices to compare: all accepted ones, and copies under another patient that the index refused."""
    columns = ["slice_key", "patient_key", "site", "label", "path", "frame", "accepted"]
    refused = table.rejected
    copies = refused[(refused["reason"] == COPY) & refused["patient_key"].notna()]
    rows = pd.concat([table.accepted[columns], copies[columns]], ignore_index=True)
    keyed = measures[["path", "frame", "fingerprint"]].drop_duplicates(["path", "frame"])
    rows["frame"], keyed["frame"] = rows["frame"].fillna(0).astype(int), keyed["frame"].astype(int)
    return rows.merge(keyed, on=["path", "frame"], how="left").fillna({"fingerprint": ""})


def detail_of(root: Path, path: str, frame: int) -> Detail | None:
    """The fine structure of a slice; None where it cannot be read any more."""
    try:
        return detail(read_slice(root / path, frame).pixels)
    except CovidctError:
        return None


def _chosen(
    pairs: npt.NDArray[np.int64], bits: npt.NDArray[np.int64], people: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Positions of the pairs to compare: nearest first, not all of two patients, then in the order of slices."""
    if not len(pairs):
        return np.empty(0, np.int64)
    both = np.sort(people[pairs], axis=1)
    order = np.lexsort((bits, both[:, 1], both[:, 0]))
    new = np.r_[True, (np.diff(both[order], axis=0) != 0).any(axis=1)]
    start = np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))
    kept = order[np.arange(len(order)) - start < _PER_PEOPLE]
    kept = kept[np.argsort(bits[kept], kind="stable")][:MOST]
    return kept[np.lexsort((pairs[kept, 1], pairs[kept, 0]))].astype(np.int64)
