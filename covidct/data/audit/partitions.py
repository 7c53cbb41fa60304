"""What lies in two parts of a split, and what is missing in a part: of each frozen split by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from covidct.data.audit.findings import CLEAN, ERROR, NOTE, WARNING, Finding
from covidct.data.audit.frozen import Frozen
from covidct.data.leaks import FEW, number, some

FOLDS = 5
"""Folds of every cross-validation here."""

SHOWN = 200
"""Rows of details that are kept of a finding."""

_WHAT = {
    "patient_overlap": ("patient_key", "patient"),
    "study_overlap": ("study_key", "study"),
    "series_overlap": ("series_key", "series"),
    "pixel_overlap": ("pixel_hash", "picture"),
}
_REMEDY = {
    "patient_overlap": "make the split by patient: covidct split split=patient",
    "study_overlap": "one person under two numbers? give both the same number, then index and split again",
    "series_overlap": "one person under two numbers? give both the same number, then index and split again",
    "pixel_overlap": "a scan exported twice? keep one of them, then index and split again",
}


def audit_partitions(frozen: Frozen, classes: Sequence[str]) -> list[Finding]:
    """Overlaps of patients, studies, series and pictures, and classes that are missing or of one patient."""
    labels = [name for name in classes if any((rows["label"] == name).any() for rows in frozen.parts.values())]
    overlaps = [_overlap(frozen, check) for check in _WHAT]
    return [*overlaps, *_classes(frozen, labels)]


def overlap_status(frozen: Frozen) -> str:
    """How bad it is when something lies in two parts: a split by image leaks by design and says so."""
    return WARNING if frozen.split.unit == "image" else ERROR


def _overlap(frozen: Frozen, check: str) -> Finding:
    column, unit = _WHAT[check]
    everyone = pd.concat([rows.assign(part=part) for part, rows in frozen.parts.items()]).dropna(subset=[column])
    groups = everyone.groupby(column)
    spread = groups["part"].agg(lambda parts: len(set(parts))) > 1
    if check in ("study_overlap", "series_overlap"):  # a UID of everybody was put there by an anonymiser
        spread &= groups["patient_key"].nunique() <= FEW
    keys = sorted(spread.index[spread])
    facts: dict[str, Any] = {"split": frozen.name, "split_digest": frozen.split.digest}
    units = "studies" if unit == "study" else unit if unit == "series" else f"{unit}s"
    counted = f"{len(keys)} {unit if len(keys) == 1 else units}"
    counts: dict[str, float | int | None] = {units: len(keys), "of": len(spread)}
    if not keys:
        return Finding(check, CLEAN, f"{frozen.name}: no {unit} lies in two parts.", counts=counts, **facts)
    rows = everyone[everyone[column].isin(keys)]
    patients = sorted(rows["patient_key"].unique())
    meant = " It is a split by image, which leaks by design." if frozen.split.unit == "image" else ""
    shown = rows.groupby(column)
    details = [
        {"key": str(key)[:16], "parts": sorted(group["part"].unique()),
         "patients": sorted(group["patient_key"].unique()), "slices": len(group)}
        for key, group in list(shown)[:SHOWN]
    ]  # fmt: skip
    return Finding(
        check, overlap_status(frozen),
        f"{frozen.name}: {counted} in more than one of {', '.join(frozen.parts)} (patients {some(patients)}).{meant}",
        _REMEDY[check], counts | {"patients": len(patients)}, details=details, **facts,
    )  # fmt: skip


def _classes(frozen: Frozen, labels: Sequence[str]) -> list[Finding]:
    facts: dict[str, Any] = {"split": frozen.name, "split_digest": frozen.split.digest}
    have = {
        part: {label: int(rows.loc[rows["label"] == label, "patient_key"].nunique()) for label in labels}
        for part, rows in frozen.parts.items()
    }
    details = [{"part": part, **counts} for part, counts in have.items()]
    absent = [(part, label) for part, counts in have.items() for label, n in counts.items() if n == 0]
    needed = [place for place in absent if place[0] in ("train", "val")]
    said = ", ".join(f"{label} in {part}" for part, label in needed or absent)
    if absent:
        first = Finding(
            "class_in_parts", ERROR if needed else NOTE, f"{frozen.name}: no patient of {said}.",
            "add patients of that class, or leave the class out" if needed else
            "figures of that class are undefined in that test set; the report says so",
            {"absent": len(absent)}, details=details, **facts,
        )  # fmt: skip
    else:
        first = Finding("class_in_parts", CLEAN, f"{frozen.name}: every class is in every part.", counts={"absent": 0},
                        details=details, **facts)  # fmt: skip
    single = [(part, label) for part, counts in have.items() for label, n in counts.items() if n == 1]
    few = {label: have["train"][label] + have["val"][label] for label in labels}
    few = {label: n for label, n in few.items() if 0 < n < FOLDS}
    sentences = []
    if single:
        sentences.append("one patient only of " + ", ".join(f"{label} in {part}" for part, label in single))
    if few:
        counted = ", ".join(f"{label} {number(n, 'patient')}" for label, n in few.items())
        sentences.append(f"fewer training and validation patients than {FOLDS} folds of a cross-validation: {counted}")
    counts: dict[str, float | int | None] = {"single": len(single), "fewer_than_folds": len(few)}
    if not sentences:
        said = f"{frozen.name}: every class has several patients in each part."
        return [first, Finding("small_classes", CLEAN, said, counts=counts, **facts)]
    trained = any(part in ("train", "val") for part, _ in single) or bool(few)
    return [first, Finding(
        "small_classes", WARNING if trained else NOTE, f"{frozen.name}: {'; '.join(sentences)}.",
        "what is chosen on one patient is chosen on chance; add patients, or report the class apart", counts,
        details=details, **facts,
    )]  # fmt: skip
