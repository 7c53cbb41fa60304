"""What makes a split unsound: somebody or something on two sides, or a class on one side only.

Each check names patients by their pseudonyms and says what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from covidct.errors import DataRefused, IntegrityError, UsageError

Parts = Mapping[str, pd.DataFrame]
"""Partition name -> its rows of the slice table."""

FEW = 3
"""Patients that may share a study by mistake; a UID that more of them carry was put there by an anonymiser."""


def refuse_unknown_patients(source: str, kind: str, *, known: bool) -> None:
    """Refuse to keep patients apart, or to count a leak, where the source does not say whose a picture is.

    Args:
        source: Name of the source.
        kind: The wanted split; "image_level" is the only one without patients, and for such sources only.
        known: Whether the source names patients.

    Raises:
        DataRefused: They are not known, and the split needs them.
        UsageError: They are known, so that a leak would be hidden.
    """
    if not known and kind != "image_level":
        raise DataRefused(
            f"{source} does not say whose a picture is: patients cannot be kept apart, and a leak cannot be counted",
            where=f"split={kind}",
            remedy="test on other data; or divide pictures, with a leak of unknown size, by split=image_level",
        )
    if known and kind == "image_level":
        raise UsageError(
            "patients are known here: a split that does not count the leak would hide it",
            where="split=image_level",
            remedy="use split=patient, or split=paper_image_level, which counts",
        )


def patients_in_several(parts: Parts) -> list[str]:
    """Patients with slices in more than one of the parts, sorted."""
    seen = pd.concat([pd.Series(rows["patient_key"].unique(), dtype=object) for rows in parts.values()])
    return sorted(seen[seen.duplicated()].unique())


def refuse_absent_classes(parts: Parts, classes: Sequence[str], *, patients: bool) -> None:
    """Refuse a class without training or without validation data (faults 11, 12); counts patients or slices."""
    column, unit = ("patient_key", "patient") if patients else ("slice_key", "slice")
    short = []
    for label in classes:
        have = {part: rows.loc[rows["label"] == label, column].nunique() for part, rows in parts.items()}
        if not have["train"] or not have["val"]:
            short.append(f"{label!r} has " + ", ".join(f"{number(n, unit)} in {part}" for part, n in have.items()))
    if short:
        raise DataRefused(
            "every class needs training and validation data: " + "; ".join(short),
            remedy=f"add {unit}s of that class at the training sites, or leave the class out of the labels",
        )


def refuse_mixed_patients(slices: pd.DataFrame) -> None:
    """Refuse a patient with slices of two classes; the paper leaves such patients out (L208-211)."""
    labels = slices.groupby("patient_key")["label"].nunique()
    if mixed := sorted(labels.index[labels > 1]):
        raise DataRefused(
            f"{number(len(mixed), 'patient')} with slices of two classes: {some(mixed)}",
            remedy="give each patient one class, or exclude the patient as the paper does (L208-211)",
        )


def refuse_straddling_patients(parts: Parts) -> None:
    """Refuse a patient who lies in two parts (fault 18)."""
    if both := patients_in_several(parts):
        raise DataRefused(
            f"{number(len(both), 'patient')} in more than one of {', '.join(parts)}: {some(both)}",
            remedy="decide where they belong; if two people share a number, index with patient keys of site and id",
        )


def refuse_shared_pixels(slices: pd.DataFrame, parts: Parts, *, within: bool) -> None:
    """Refuse a picture that lies in two parts (fault 15).

    With `within`, also one that two patients among `slices` share: they could be parted by another draw, and a cohort
    should not be accepted for one repeat and refused for the next.
    """
    spread = pd.concat([rows[["pixel_hash", "patient_key"]].assign(part=part) for part, rows in parts.items()])
    seen = spread.groupby("pixel_hash")["part"].nunique()
    shared = set(seen.index[seen > 1])
    if within:
        people = slices.groupby("pixel_hash")["patient_key"].nunique()
        shared |= set(people.index[people > 1])
    if shared:
        patients = sorted(spread.loc[spread["pixel_hash"].isin(shared), "patient_key"].unique())
        raise IntegrityError(
            f"{number(len(shared), 'picture')} with the same pixels under different patients: {some(patients)}",
            remedy="a scan exported twice? keep one of them, then index and split again",
        )


def shared_uids(slices: pd.DataFrame, column: str) -> dict[str, list[str]]:
    """Studies or series that several patients share: key -> patients.

    A key of more than `FEW` patients is left out: an anonymiser wrote one number into all files, and it names nothing.

    Args:
        slices: Rows of the slice table.
        column: "study_key" or "series_key".
    """
    if column not in slices:
        return {}
    people = slices.dropna(subset=[column]).groupby(column)["patient_key"].unique()
    return {str(key): sorted(found) for key, found in people.items() if 1 < len(found) <= FEW}


def refuse_shared_uids(parts: Parts, *, within: bool) -> None:
    """Refuse a study or series whose slices lie in two parts under different patients (fault 16).

    With `within`, also one that two patients of one part share, as in `refuse_shared_pixels`.
    """
    everyone = pd.concat([rows.assign(part=part) for part, rows in parts.items()])
    for column, what in (("study_key", "stud{}"), ("series_key", "series")):
        shared = shared_uids(everyone, column)
        where = everyone[everyone[column].isin(shared)].groupby(column)["part"].nunique() if shared else None
        keys = [] if where is None else list(where.index if within else where.index[where > 1])
        if not keys:
            continue
        patients = {patient for key in keys for patient in shared[str(key)]}
        raise IntegrityError(
            f"{len(keys)} {what.format('y' if len(keys) == 1 else 'ies')} of several patients: {some(patients)}",
            remedy="one person under two numbers? give both the same number in the data, then index and split again",
        )


def number(count: int, unit: str) -> str:
    """A count with its unit, in the singular or plural."""
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"


def some(keys: Iterable[str], most: int = 5) -> str:
    """The first few keys, and how many more there are."""
    names = sorted(keys)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
