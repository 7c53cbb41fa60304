"""Ages and sexes of the patients by class, and all that could not be known."""

from __future__ import annotations

from typing import Any

import pandas as pd

from covidct.ct.window import HU
from covidct.evaluation.index_report.material import NO_LABEL, IndexMaterial, patients

SEXES = {"F": "female", "M": "male", "O": "other"}


def people(material: IndexMaterial) -> list[dict[str, Any]]:
    """One line for each class: patients, ages in whole years (median, least, most) and sexes as headers tell them.

    A patient's age is that of the earliest scan.
    """
    each = material.accepted.groupby(["site", "patient_key"], sort=True).agg(
        label=("label", "first"), age=("age_years", "min"), sex=("sex", "first")
    )
    return [_line(name, each[each["label"] == name]) for name in material.classes]


def _line(name: str, rows: pd.DataFrame) -> dict[str, Any]:
    ages = rows["age"].dropna().astype(float)
    return {
        "class": name,
        "patients": len(rows),
        "ages": None if ages.empty else (float(ages.median()), int(ages.min()), int(ages.max())),
        "age_unknown": len(rows) - len(ages),
        "sexes": [int((rows["sex"] == key).sum()) for key in SEXES],
        "sex_unknown": int(rows["sex"].isna().sum()),
    }


def unknowns(material: IndexMaterial) -> list[tuple[str, int, int, str]]:
    """What could not be known: of what, how many, of how many, unit. Only what is missing somewhere."""
    rows = material.accepted
    scans = rows[rows["units"] == HU]
    found = [
        ("Class", len(rows[rows["label"] == NO_LABEL]), len(rows), "slices"),
        ("Hounsfield units, size and place (8-bit pictures)", len(rows) - len(scans), len(rows), "slices"),
        ("Whether this slice shows the disease", int(rows["slice_label"].isna().sum()), len(rows), "slices"),
        ("Area of the lungs", int(scans["lung_mm2"].isna().sum()), len(scans), "slices with Hounsfield units"),
    ]
    for words, column in (
        ("Manufacturer", "manufacturer"), ("Scanner", "scanner"), ("Kernel", "kernel"), ("Tube voltage", "kvp"),
        ("Slice thickness", "thickness_mm"), ("Year", "acquired_year"), ("Study", "study_key"),
    ):  # fmt: skip
        found.append((words, int(scans[column].isna().sum()), len(scans), "slices with Hounsfield units"))
    total = patients(rows)
    for words, column in (("Patient's age", "age_years"), ("Patient's sex", "sex")):
        known = patients(rows[rows[column].notna()])
        found.append((words, total - known, total, "patients"))
    refused = material.refused
    found.append(("Whose a refused file is", int(refused["patient_key"].isna().sum()), len(refused), "refused"))
    return [one for one in found if one[1]]
