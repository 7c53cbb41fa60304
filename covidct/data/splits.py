"""Who is trained on, who is validated on, who is only ever tested: frozen in a file before anything is trained.

The unit is the patient. `paper_image_level` repeats what Fu et al. 2020 did (paper L236-237: the training:validation
split 3:1 is one of images) and counts the patients that this puts on both sides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import pandas as pd

from covidct.data.draws import by_image, by_patient
from covidct.data.leaks import (
    number,
    patients_in_several,
    refuse_absent_classes,
    refuse_mixed_patients,
    refuse_shared_pixels,
    refuse_shared_uids,
    refuse_straddling_patients,
    refuse_unknown_patients,
    some,
)
from covidct.data.official import official_partition, official_pool
from covidct.errors import DataRefused, IntegrityError, UsageError
from covidct.files import read_json, write_json
from covidct.provenance import digest_json

if TYPE_CHECKING:
    from covidct.data.table import SliceTable

KINDS = ("patient", "paper_image_level", "official", "official_pool", "official_pool_image_level", "image_level")
IMAGE_LEVEL = ("paper_image_level", "official_pool_image_level", "image_level")
Kind = Literal["patient", "paper_image_level", "official", "official_pool", "official_pool_image_level", "image_level"]
SCHEMA = 1
FRACTION_TRAIN = 0.75
"""3:1, paper L236."""
PICTURES = 8
"""Pictures of each patient that a split keeps the digests of."""
_DIGEST = 12  # hexadecimal characters, 48 bits: 800 of them meet another 100,000 by chance once in three million

Counts = dict[str, dict[str, dict[str, int | None]]]


@dataclass(frozen=True)
class Split:
    """A frozen assignment of patients (or, under those of `IMAGE_LEVEL`, of slices) to partitions.

    Args:
        name: How it was made: one of `KINDS`.
        repeat: Which of the independent random splits this is (the paper: "repeated 5 times", L240), from 0.
        seed: Seed of the family of repeats. It and `repeat` have no meaning for "official".
        fraction_train: The wanted share of training patients (or slices) among training and validation.
        index_digest: Digest of the slice table that was split.
        train: Sorted patient keys, or slice keys when `unit` is "image".
        val: The same for validation.
        tests: The same for each named test set; the name is the site.
        leaked_patients: Patients with slices in more than one partition; 0 unless `unit` is "image". None where nobody
            knows whose a picture is ("image_level"); `counts` then has None for patients, too.
        counts: Partition ("train", "val", "test/<name>") -> class -> {"patients": n, "slices": n}.
        pictures: Sorted beginnings of pixel hashes, the `PICTURES` smallest of each training and validation patient:
            what the network has seen is recognised under any pseudonym key. Empty in splits of earlier versions.
    """

    name: Kind
    repeat: int
    seed: int
    fraction_train: float
    index_digest: str
    train: tuple[str, ...]
    val: tuple[str, ...]
    tests: Mapping[str, tuple[str, ...]]
    leaked_patients: int | None
    counts: Counts
    pictures: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        """What is drawn: "patient" or "image"."""
        return "image" if self.name in IMAGE_LEVEL else "patient"

    @property
    def digest(self) -> str:
        """SHA-256 of everything else in the file; it names this split in every run and predictions table."""
        return digest_json(self._content())

    def members(self) -> dict[str, tuple[str, ...]]:
        """Partition name ("train", "val", "test/<name>") -> keys."""
        return {"train": self.train, "val": self.val, **{f"test/{k}": v for k, v in sorted(self.tests.items())}}

    def rows(self, table: SliceTable) -> dict[str, np.ndarray]:
        """Positions of the labelled slices of each partition in `table.accepted`, ascending int64."""
        return _rows(self, table.accepted)

    def write(self, path: Path) -> None:
        """Write the split file atomically."""
        write_json(path, {**self._content(), "digest": self.digest})

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a split file.

        Raises:
            DataRefused: There is no such file, or it is not a split file of this schema.
            IntegrityError: The content does not match the digest inside: it was edited or damaged (fault 19).
        """
        value = read_json(path)
        if not isinstance(value, dict) or value.get("schema") != SCHEMA:
            raise DataRefused(f"not a split file of schema {SCHEMA}", where=str(path), remedy="run `covidct split`")
        digest = value.pop("digest", None)
        if digest != digest_json(value):
            raise IntegrityError(
                "the split file was changed after it was made: its content does not match its digest",
                where=str(path),
                remedy="make it again with `covidct split`; a split is never edited by hand",
            )
        try:
            split = cls(
                name=value["name"],
                repeat=value["repeat"],
                seed=value["seed"],
                fraction_train=value["fraction_train"],
                index_digest=value["index_digest"],
                train=tuple(value["train"]),
                val=tuple(value["val"]),
                tests={str(k): tuple(v) for k, v in value["tests"].items()},
                leaked_patients=value["leaked_patients"],
                counts=value["counts"],
                pictures=tuple(value.get("pictures", ())),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise DataRefused(f"a split file without a valid {error}", where=str(path)) from None
        if split.name not in KINDS or split.digest != digest:
            raise DataRefused("a split file with fields that this version does not know", where=str(path))
        return split

    def _content(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "name": self.name,
            "unit": self.unit,
            "repeat": self.repeat,
            "seed": self.seed,
            "fraction_train": self.fraction_train,
            "index_digest": self.index_digest,
            "train": list(self.train),
            "val": list(self.val),
            "tests": {name: list(keys) for name, keys in self.tests.items()},
            "leaked_patients": self.leaked_patients,
            "counts": self.counts,
            # only where there are some: the digest of a split of an earlier version stays what it was
            **({"pictures": list(self.pictures)} if self.pictures else {}),
        }


def make_split(
    table: SliceTable,
    *,
    kind: str = "patient",
    repeat: int = 0,
    seed: int = 0,
    train_fraction: float = FRACTION_TRAIN,
    external_sites: Sequence[str] = (),
) -> Split:
    """Divide the labelled slices of a table into training, validation and test sets.

    The result depends on the keys in the table, on `seed` and on `repeat` only: not on the order of the rows, the
    machine, the locale or the version of a random generator (patients are ordered by a SHA-256 of seed, repeat and
    key). Slices without a label are left out.

    Args:
        table: The slice table.
        kind: "patient": whole patients at random, stratified by class and, within a class, by site.
            "paper_image_level": slices at random, as the paper says; leaks by design.
            "official": the partition that the source itself names for each slice (`official_split`).
            "official_pool": the test set that the source names; all else is drawn anew, like "patient".
            "official_pool_image_level": the same, drawn like "paper_image_level": to measure what the leak does.
            "image_level": slices at random where the source names no patients; the leak cannot be counted.
        repeat: Number of the independent random split, from 0.
        seed: Seed of the family of repeats.
        train_fraction: Share of training patients (slices) among training and validation, inside (0, 1).
        external_sites: Sites that are kept out of training and validation as test sets of their own.

    Raises:
        UsageError: An unknown kind or site, or a number out of range.
        DataRefused: A class would be missing in training or validation (faults 11, 12), a patient carries two
            classes (paper L208-211) or lies both inside and outside of the external sites, or the official split is
            missing for some slices, has no test set to keep, or divides a patient; or patients are not known.
        IntegrityError: Two patients that could come to lie on two sides share a slice pixel by pixel (fault 15).
    """
    if kind not in KINDS:
        raise UsageError(f"unknown split {kind!r}", remedy=f"use one of {list(KINDS)}")
    refuse_unknown_patients(table.source, kind, known=table.patients_known)
    if repeat < 0 or seed < 0:
        raise UsageError(f"repeat and seed count from 0, not {repeat} and {seed}")
    if not 0 < train_fraction < 1:
        raise UsageError(f"train_fraction lies between 0 and 1, not {train_fraction}")
    frame = table.accepted
    slices = frame[_labelled(frame)]
    if slices.empty:
        raise DataRefused("the table has no labelled slice to split", remedy="give labels to `covidct index`")
    sites = sorted(slices["site"].unique())
    if unknown := sorted(set(external_sites) - set(sites)):
        raise UsageError(f"unknown external site {', '.join(map(repr, unknown))}", remedy=f"the sites are {sites}")

    external = slices["site"].isin(list(external_sites))
    tests = {site: slices[slices["site"] == site] for site in sorted(set(external_sites))}
    inside = slices[~external]
    order = f"{seed}/{repeat}"
    if kind == "official":
        train, val, published = official_partition(inside)
        tests |= published
    elif kind in ("paper_image_level", "image_level"):
        train, val = by_image(inside, train_fraction, order)
    elif kind == "official_pool_image_level":
        pool, published = official_pool(inside)
        tests |= published
        refuse_straddling_patients({"training and validation": pool, **tests})  # the leak is meant for validation only
        train, val = by_image(pool, train_fraction, order)
    else:
        pool = inside
        if kind == "official_pool":
            pool, published = official_pool(inside)
            tests |= published
        refuse_mixed_patients(slices)
        refuse_straddling_patients({"training and validation": pool, **tests})
        refuse_shared_pixels(pool, {"train/val": pool, **tests}, within=True)
        refuse_shared_uids({"train/val": pool, **tests}, within=True)
        train, val = by_patient(pool, train_fraction, order)

    key = "slice_key" if kind in IMAGE_LEVEL else "patient_key"
    parts = {"train": train, "val": val, **{f"test/{name}": rows for name, rows in tests.items()}}
    refuse_absent_classes(parts, sorted(slices["label"].unique()), patients=kind not in IMAGE_LEVEL)
    split = Split(
        name=kind,  # type: ignore[arg-type]  # checked against KINDS above
        repeat=int(repeat),
        seed=int(seed),
        fraction_train=float(train_fraction),
        index_digest=table.digest,
        train=_keys(train[key]),
        val=_keys(val[key]),
        tests={name: _keys(rows[key]) for name, rows in tests.items()},
        leaked_patients=len(patients_in_several(parts)) if table.patients_known else None,
        counts=_counts(parts, table.patients_known),
        pictures=_pictures(pd.concat([train, val])),
    )
    verify_split(split, table)
    return split


def verify_split(split: Split, table: SliceTable) -> None:
    """Refuse a split that does not belong to a table or that leaks (faults 15, 18, 19).

    An edited file is already refused by `Split.read`. Here, keys of the split and labelled slices of the table must
    be the same set; and unless the unit is the image, no patient and no picture may lie in two partitions.

    Raises:
        IntegrityError: With what does not fit, patients by pseudonym.
    """
    again = "make the split again with `covidct split`"
    if split.index_digest != table.digest:
        raise IntegrityError(
            f"the split was made for index {split.index_digest[:12]}, the index here is {table.digest[:12]}",
            remedy=f"{again}, or use the index that it was made for",
        )
    members = split.members()
    owners: dict[str, list[str]] = {}
    for part, keys in members.items():
        for name in keys:
            owners.setdefault(name, []).append(part)
    if twice := {name: parts for name, parts in owners.items() if len(parts) > 1}:
        shown = ", ".join(f"{name} in {' and '.join(parts)}" for name, parts in sorted(twice.items())[:5])
        raise IntegrityError(f"{number(len(twice), split.unit)} in two places: {shown}", remedy=again)
    frame = table.accepted
    slices = frame[_labelled(frame)]
    present = set(slices["slice_key" if split.unit == "image" else "patient_key"])
    for wrong, said in ((owners.keys() - present, "not in the index"), (present - owners.keys(), "not in the split")):
        if wrong:
            raise IntegrityError(f"{number(len(wrong), split.unit)} {said}: {some(wrong)}", remedy=again)
    parts = {part: frame.iloc[rows] for part, rows in _rows(split, frame).items()}
    if split.unit == "patient":
        refuse_shared_pixels(slices, parts, within=False)
        refuse_shared_uids(parts, within=False)
    leaked = len(patients_in_several(parts)) if table.patients_known else None
    if _counts(parts, table.patients_known) != split.counts or leaked != split.leaked_patients:
        raise IntegrityError("the counts in the split do not match the index", remedy=again)


def known_pictures(split: Split, frame: pd.DataFrame) -> np.ndarray:
    """Which rows of any slice table are among the pictures that a split keeps of its training and validation patients.

    Of a patient who is in both data sets whole, `PICTURES` rows are found; of one with half of the slices, about half
    of that.

    Returns:
        bool [rows].
    """
    return frame["pixel_hash"].str[:_DIGEST].isin(split.pictures).to_numpy(dtype=bool)


def describe_split(split: Split) -> str:
    """The split for people: patients and slices per partition and class, and a loud line if patients leak."""
    classes = sorted({label for counts in split.counts.values() for label in counts})
    head = f"split {split.name}, unit {split.unit}"
    if split.name != "official":
        head += f", repeat {split.repeat}, seed {split.seed}"
    lines = [f"{head}, digest {split.digest[:12]} (patients / slices)"]
    cells = [["partition", *classes, "slices"]]
    for part in split.members():  # training, validation, then the test sets
        counts = split.counts[part]
        row = [counts.get(label, {"patients": 0, "slices": 0}) for label in classes]
        slices = sum(cell["slices"] or 0 for cell in row)
        people = ["–" if split.leaked_patients is None else str(cell["patients"]) for cell in row]
        cells.append([part, *(f"{n} / {cell['slices']}" for n, cell in zip(people, row, strict=True)), f"{slices}"])
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines += [
        "  ".join([row[0].ljust(widths[0]), *(v.rjust(w) for v, w in zip(row[1:], widths[1:], strict=True))])
        for row in cells
    ]
    if split.leaked_patients:
        lines.append(
            f"!! LEAK: {number(split.leaked_patients, 'patient')} lie on both sides of this split. Validation figures "
            "of this split are too good; it exists to show what the paper did, use split=patient for your own work."
        )
    if split.leaked_patients is None:
        lines.append(
            "!! LEAK OF UNKNOWN SIZE: nobody knows whose these pictures are, so that pictures of one person may lie on "
            "both sides, and they cannot be counted. No figure of this split is about new patients."
        )
    return "\n".join(lines)


def _labelled(frame: pd.DataFrame) -> pd.Series:
    return frame["label"].notna() & (frame["label"] != "")


def _rows(split: Split, frame: pd.DataFrame) -> dict[str, np.ndarray]:
    keys = frame["slice_key" if split.unit == "image" else "patient_key"]
    labelled = _labelled(frame)
    return {
        part: np.flatnonzero((keys.isin(list(members)) & labelled).to_numpy()).astype(np.int64)
        for part, members in split.members().items()
    }


def _counts(parts: Mapping[str, pd.DataFrame], known: bool) -> Counts:
    return {
        part: {
            str(label): {"patients": int(group["patient_key"].nunique()) if known else None, "slices": len(group)}
            for label, group in rows.groupby("label")
        }
        for part, rows in parts.items()
    }


def _pictures(slices: pd.DataFrame) -> tuple[str, ...]:
    hashes = slices[["patient_key", "pixel_hash"]].drop_duplicates().sort_values("pixel_hash")
    return tuple(sorted({str(value)[:_DIGEST] for value in hashes.groupby("patient_key")["pixel_hash"].head(PICTURES)}))


def _keys(column: pd.Series) -> tuple[str, ...]:
    return tuple(sorted(str(key) for key in column.unique()))
