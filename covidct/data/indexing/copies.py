"""One row for each slice: copies of a file and of a picture are taken out, and what contradicts itself is refused."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from covidct.data.indexing.entries import Entry
from covidct.errors import IntegrityError

SAME_FILE = "copy of another file"


def refuse_copies(entries: list[Entry]) -> None:
    """One row per slice: by identity first, then by pixels (the same picture exported again under another UID).

    Raises:
        IntegrityError: One slice, by UID or by its pixels, carries two labels.
    """
    for group in _groups(entries, lambda entry: entry.slice_key):
        _one_label(group, "one slice (SOP Instance UID)")
        if len({entry.pixel_hash for entry in group}) > 1:
            for entry in group:
                entry.reason = "one SOP Instance UID, different pixels"
        else:
            for entry in sorted(group, key=lambda entry: entry.patient_key or "")[1:]:  # entries come by path and frame
                entry.reason = SAME_FILE
    for group in _groups(entries, lambda entry: entry.pixel_hash or b""):
        _one_label(group, "one picture (equal pixels)")
        # by series before slice: of a scan that was exported twice, one series stays whole
        first, *others = sorted(group, key=lambda entry: (entry.patient_key or "", entry.series, entry.slice_key))
        for entry in others:
            same = entry.patient_key == first.patient_key
            entry.reason = f"same pixels as another slice of {'the patient' if same else 'another patient'}"


def _groups(entries: list[Entry], key: Callable[[Entry], Any]) -> Iterable[list[Entry]]:
    seen: set[Any] = set()
    doubled: set[Any] = set()
    for entry in entries:
        if not entry.reason:
            (doubled if key(entry) in seen else seen).add(key(entry))
    groups: dict[Any, list[Entry]] = defaultdict(list)
    for entry in entries:
        if not entry.reason and key(entry) in doubled:
            groups[key(entry)].append(entry)
    return [group for _, group in sorted(groups.items())]


def _one_label(group: list[Entry], what: str) -> None:
    named = sorted(
        {(str(entry.claim.label), str(entry.patient_key)) for entry in group if entry.claim and entry.claim.label}
    )
    if len({label for label, _ in named}) > 1:
        raise IntegrityError(
            f"{what} carries several labels: " + ", ".join(f"{label} (patient {key})" for label, key in named),
            where=f"slices {', '.join(sorted({entry.slice_key for entry in group}))}",
            remedy="decide which label is right, or take these patients out of the labels",
        )
