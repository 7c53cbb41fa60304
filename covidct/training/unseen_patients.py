"""Patients of a test set who vanish because every one of their slices was refused."""

from __future__ import annotations

import pandas as pd

from covidct.data.splits import Split
from covidct.data.table import SliceTable

COLUMNS = ["split", "site", "patient_key", "label"]


def patients_without_slices(table: SliceTable, split: Split | None, classes: tuple[str, ...]) -> pd.DataFrame:
    """Labelled patients of a table without a single accepted slice, in the partition they would have been in.

    They were meant to be diagnosed, so they belong into the figures, with "no result" (fault 45). A patient is left out
    if nobody can say which partition they would be in: at a site that is trained on, a split draws only patients with
    slices. One who carries two labels was excluded on purpose and is no patient of the study.

    Args:
        table: The slice table.
        split: The split of the run, if the table is its own; None: the whole table is one more test set.
        classes: Labels that count.

    Returns:
        Columns split ("val" or "test"), site, patient_key, label; sorted, one row per patient.
    """
    refused = table.rejected
    refused = refused[refused["patient_key"].notna() & refused["site"].notna() & refused["label"].isin(classes)]
    refused = refused[~refused["patient_key"].isin(set(table.accepted["patient_key"]))]
    people = refused.groupby(["site", "patient_key"]).agg(
        label=("label", "first"), labels=("label", "nunique"), official=("official_split", "first")
    )
    people = people[people["labels"] == 1].reset_index()
    if split is None:
        people["split"] = "test"
    else:
        rows = split.rows(table)
        developed = set(table.accepted["site"].iloc[[*rows["train"], *rows["val"]]])
        external = set(split.tests) - developed
        people["split"] = [
            "test" if site in external else _official(split, official)
            for site, official in zip(people["site"], people["official"], strict=True)
        ]
        people = people[people["split"].notna()]
    return people[COLUMNS].sort_values(COLUMNS, ignore_index=True)


def _official(split: Split, named: str | None) -> str | None:
    """The partition that the source itself names, where the split keeps to it."""
    kept = {"official": ("val", "test"), "official_pool": ("test",), "official_pool_image_level": ("test",)}
    return named if named in kept.get(split.name, ()) else None
