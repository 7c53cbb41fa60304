"""Slice tables of any length whose rows are drawn by a program: no pixels, no files, no people."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from covidct.labels import FU2020

SLICES_PER_PATIENT = 50
SITES = ("site_a", "site_b", "site_c")


def generated_rows(count: int) -> list[dict[str, Any]]:
    """`count` accepted rows: patients of 50 slices, each with one of five classes and one of three sites.

    Every slice has keys and a picture of its own; every column that a DICOM source fills is filled.
    """
    return [_row(number) for number in range(count)]


def _row(number: int) -> dict[str, Any]:
    patient, place = divmod(number, SLICES_PER_PATIENT)
    patient_key = _key("patient", patient)
    return {
        "slice_key": _key("slice", number),
        "patient_key": patient_key,
        "site": SITES[patient // len(FU2020) % len(SITES)],
        "study_key": _key("study", patient),
        "series_key": _key("series", patient),
        "path": f"{patient_key}/{place:04d}.dcm",
        "frame": 0,
        "slice_number": place,
        "position_mm": -2.0 * place,
        "row_mm": 0.7,
        "col_mm": 0.7,
        "rows": 512,
        "cols": 512,
        "label": FU2020[patient % len(FU2020)],
        "label_source": "generated",
        "slice_label": number % 2,
        "manufacturer": "none",
        "scanner": "none",
        "kernel": "B30f",
        "acquired_year": 2020,
        "units": "HU",
        "pixel_hash": hashlib.sha256(f"pixels/{number}".encode()).hexdigest(),
        "accepted": True,
        "reason": "",
    }


def _key(what: str, number: int) -> str:
    return hashlib.sha256(f"{what}/{number}".encode()).hexdigest()[:16]


def nowhere() -> Path:
    """The data root of a generated table: there are no files."""
    return Path("generated")
