"""The split that a source was published with."""

from __future__ import annotations

import pandas as pd

from covidct.data.leaks import refuse_straddling_patients
from covidct.errors import DataRefused


def official_partition(slices: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, pd.DataFrame]]:
    """The training, validation and test slices that the source names; those of each site are a test set of their own.

    Raises:
        DataRefused: Slices without an official split, no training or no validation slices, or a patient on two sides.
    """
    named = _named(slices)
    tests = _tests(slices[named == "test"])
    train, val = slices[named == "train"], slices[named == "val"]
    for name, rows in (("train", train), ("val", val)):
        if rows.empty:
            raise DataRefused(f"the official split has no {name} slices", remedy="use split=patient")
    refuse_straddling_patients({"train": train, "val": val, **{f"test/{k}": v for k, v in tests.items()}})
    return train, val, tests


def official_pool(slices: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """What the source names for training or validation, to be drawn anew, and its test sets, which stay.

    Raises:
        DataRefused: Slices without an official split, or no test slices.
    """
    named = _named(slices)
    if not (named == "test").any():
        raise DataRefused("the official split has no test slices to keep", remedy="use split=patient")
    return slices[named != "test"], _tests(slices[named == "test"])


def _named(slices: pd.DataFrame) -> pd.Series:
    named = slices["official_split"]
    if wrong := int((~named.isin(["train", "val", "test"])).sum()):
        raise DataRefused(
            f"{wrong} of {len(slices)} labelled slices have no official split",
            remedy="use split=patient, or list the sites without one in split.external_sites",
        )
    return named


def _tests(test: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {str(site) or "official": rows for site, rows in test.groupby("site")}
