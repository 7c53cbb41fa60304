"""From a folder of scans to the slice table: read, name, check against each other, order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covidct.ct.ingest import Record
from covidct.ct.phantom.network import RECORD as PHANTOM_RECORD
from covidct.ct.series import Series, arrange
from covidct.ct.window import GRAY8
from covidct.data.measures import make_measures
from covidct.data.pseudonyms import Pseudonymizer
from covidct.data.reading import find_files, read_files
from covidct.data.sources import SOURCES, Claim, Layout
from covidct.data.table import SliceTable, make_table
from covidct.errors import DataRefused, IntegrityError, UsageError
from covidct.labels import ClassScheme

SAME_FILE = "copy of another file"
_COPIES = (SAME_FILE,)


@dataclass
class _Entry:
    """One file on its way into the table."""

    record: Record
    claim: Claim | None
    reason: str
    slice_key: str = ""
    patient_key: str | None = None


def build_index(
    source: str,
    root: Path,
    *,
    labels: Path | None = None,
    classes: ClassScheme | None = None,
    pseudonyms: Pseudonymizer,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> SliceTable:
    """Read a data set. Every file is accepted or listed with a reason; the result does not depend on file order,
    file system or number of workers.

    Args:
        source: One of `covidct.data.sources.SOURCES`.
        root: The data folder; nothing outside it is opened but `labels`.
        labels: A labels file for sources that need one (default: `labels.csv` in the root, where classes are given).
        classes: The task's classes. None: the source's own; for `dicom_tree` no labels are read and all are null.
        pseudonyms: Makes the keys.
        workers: Processes that read and decode.
        progress: Told (files done, files in all).

    Returns:
        The table; it may have no accepted row.

    Raises:
        UsageError: Unknown source.
        DataRefused: There is no such folder, it holds no file, or the labels have bad lines (all are listed).
        IntegrityError: One slice, by UID or by its pixels, carries two labels.
    """
    if source not in SOURCES:
        raise UsageError(f"unknown source {source!r}", where="data.source", remedy=f"use one of {sorted(SOURCES)}")
    root = Path(root)
    if not root.is_dir():
        raise DataRefused("the data folder does not exist", where=str(root), remedy="give data.root=FOLDER")
    layout = SOURCES[source].open(root, labels, classes)
    found = [(path, reason) for path, reason in find_files(root) if layout.wants(path)]
    if not found:
        raise DataRefused(f"there is no file of the layout {source} in the data folder", where=str(root))
    read = read_files(root, [path for path, reason in found if not reason], layout.kinds, workers=workers,
                      progress=progress)  # fmt: skip
    records = sorted(
        [*read, *(Record(path, reason) for path, reason in found if reason)],
        key=lambda record: (record.path, record.frame),
    )
    entries = [_enter(layout, record, pseudonyms) for record in records]
    _exclude_two_labels(entries)
    _refuse_copies(entries)
    rows, extra = _place(layout, entries, pseudonyms)
    measured = [_measured(entry) for entry in entries if entry.record.measures is not None]
    accepted = [entry for entry in entries if not entry.reason]
    counts = {
        "files_read": len(found),
        "accepted": len(accepted),
        "patients": len({entry.patient_key for entry in accepted}),
        "lossy_slices": sum(entry.record.lossy for entry in accepted),
        "synthetic": (root / PHANTOM_RECORD).is_file(),
        **extra,
    }
    return make_table(
        rows,
        root=root,
        source=source,
        classes=classes or SOURCES[source].classes,
        counts=counts,
        measures=make_measures(measured),
    )


def _enter(layout: Layout, record: Record, pseudonyms: Pseudonymizer) -> _Entry:
    """Ask the layout whose file this is, also of a refused one: its patient may end up with no slice at all."""
    try:
        claim = layout.claim(record)
    except DataRefused as error:
        return _Entry(record, None, record.reason or error.what)
    entry = _Entry(record, claim, record.reason, patient_key=pseudonyms.patient(claim.site, claim.patient_id))
    if not record.reason:
        entry.slice_key = pseudonyms.uid(_identity(record, claim))
    return entry


def _identity(record: Record, claim: Claim) -> str:
    """What makes a slice that slice: its SOP Instance UID; without one its pixels, in their series or at their site."""
    if record.header is None:
        return f"{claim.site}/{record.pixel_hash}"
    if record.header.sop_uid and record.frame:
        return f"{record.header.sop_uid}#{record.frame}"
    return record.header.sop_uid or f"{record.header.series_uid}/{record.header.position}/{record.pixel_hash}"


def _exclude_two_labels(entries: list[_Entry]) -> None:
    labels: dict[str | None, set[str]] = defaultdict(set)
    for entry in entries:
        if entry.claim is not None and entry.claim.label is not None:
            labels[entry.patient_key].add(entry.claim.label)
    for entry in entries:
        if not entry.reason and len(labels[entry.patient_key]) > 1:
            entry.reason = "patient carries two labels (exclusion D7)"


def _refuse_copies(entries: list[_Entry]) -> None:
    """One row per slice: by identity first, then by pixels (the same picture exported again under another UID)."""
    for group in _groups(entries, lambda entry: entry.slice_key):
        _one_label(group, "one slice (SOP Instance UID)")
        if len({entry.record.pixel_hash for entry in group}) > 1:
            for entry in group:
                entry.reason = "one SOP Instance UID, different pixels"
        else:
            for entry in sorted(
                group, key=lambda entry: (entry.patient_key or "", entry.record.path, entry.record.frame)
            )[1:]:
                entry.reason = SAME_FILE
    for group in _groups(entries, lambda entry: entry.record.pixel_hash or ""):
        _one_label(group, "one picture (equal pixels)")
        first, *others = sorted(group, key=lambda entry: (entry.patient_key or "", entry.slice_key))
        for entry in others:
            same = entry.patient_key == first.patient_key
            entry.reason = f"same pixels as another slice of {'the patient' if same else 'another patient'}"


def _groups(entries: list[_Entry], key: Callable[[_Entry], str]) -> Iterable[list[_Entry]]:
    groups: dict[str, list[_Entry]] = defaultdict(list)
    for entry in entries:
        if not entry.reason:
            groups[key(entry)].append(entry)
    return [group for _, group in sorted(groups.items()) if len(group) > 1]


def _one_label(group: list[_Entry], what: str) -> None:
    named = sorted(
        {(str(entry.claim.label), str(entry.patient_key)) for entry in group if entry.claim and entry.claim.label}
    )
    if len({label for label, _ in named}) > 1:
        raise IntegrityError(
            f"{what} carries several labels: " + ", ".join(f"{label} (patient {key})" for label, key in named),
            where=f"slices {', '.join(sorted({entry.slice_key for entry in group}))}",
            remedy="decide which label is right, or take these patients out of the labels",
        )


def _place(
    layout: Layout, entries: list[_Entry], pseudonyms: Pseudonymizer
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Order what is left and write the rows."""
    spoiled = {entry.patient_key for entry in entries if entry.reason and entry.reason not in _COPIES}
    patients: dict[str, list[_Entry]] = defaultdict(list)
    for entry in entries:
        if not entry.reason:
            patients[str(entry.patient_key)].append(entry)
    rows: list[dict[str, Any]] = []
    withheld = 0
    for key, members in sorted(patients.items()):
        if members[0].record.units == GRAY8:
            members.sort(key=lambda entry: (entry.record.path, entry.record.frame))
            rows += [
                _row(entry, pseudonyms) | {"series_key": pseudonyms.uid(f"pictures of {key}"), "slice_number": number}
                for number, entry in enumerate(members)
            ]
            continue
        headers = [entry.record.header for entry in members if entry.record.header is not None]
        series, refused = arrange(headers)
        for number, reason in refused.items():
            members[number].reason = reason
        by_place: list[int | None] | None = None
        claim = members[0].claim
        assert claim is not None  # an entry without a reason has one
        if len(series) == 1 and series[0].evenly_spaced and not refused and key not in spoiled:
            by_place = layout.slice_labels(claim.patient_id, series[0])
        withheld += by_place is None and claim.patient_id in layout.labels_by_place
        for one in series:
            rows += _series_rows(one, members, by_place, pseudonyms)
    rows += [
        {
            "path": entry.record.path,
            "frame": entry.record.frame,
            "accepted": False,
            "reason": entry.reason,
            "patient_key": entry.patient_key,
            "site": entry.claim.site if entry.claim else None,
            "label": entry.claim.label if entry.claim else None,  # its patient may end up with no slice at all
            "official_split": entry.claim.official_split if entry.claim else None,
        }
        for entry in entries
        if entry.reason
    ]
    labelled = sum(row.get("slice_label") is not None for row in rows)
    return rows, {"slice_labels": labelled, "patients_with_slice_labels_withheld": withheld}


def _series_rows(
    series: Series, members: list[_Entry], by_place: list[int | None] | None, pseudonyms: Pseudonymizer
) -> list[dict[str, Any]]:
    rows = []
    for number, (member, position) in enumerate(zip(series.members, series.position_mm, strict=True)):
        row = _row(members[member], pseudonyms)
        row |= {"series_key": pseudonyms.uid(series.name), "slice_number": number, "position_mm": position}
        if by_place is not None:
            row["slice_label"] = by_place[number]
        rows.append(row)
    return rows


def _row(entry: _Entry, pseudonyms: Pseudonymizer) -> dict[str, Any]:
    """What is known of an accepted slice but its place."""
    record, claim, header = entry.record, entry.claim, entry.record.header
    assert claim is not None  # an entry without a reason has one
    row: dict[str, Any] = {
        "slice_key": entry.slice_key,
        "patient_key": entry.patient_key,
        "site": claim.site,
        "path": record.path,
        "frame": record.frame,
        "rows": record.rows,
        "cols": record.cols,
        "label": claim.label,
        "label_source": claim.label_source,
        "slice_label": claim.slice_label,
        "official_split": claim.official_split,
        "units": record.units,
        "pixel_hash": record.pixel_hash,
        "accepted": True,
        "reason": "",
    }
    if header is not None:
        row |= {
            "study_key": pseudonyms.uid(header.study_uid) if header.study_uid else None,
            "row_mm": header.row_mm,
            "col_mm": header.col_mm,
            "manufacturer": header.manufacturer,
            "scanner": header.scanner,
            "kernel": header.kernel,
            "acquired_year": header.acquired_year,
        }
    return row


def _measured(entry: _Entry) -> dict[str, Any]:
    """What was measured in a slice that was decoded, accepted or not."""
    record, measures, header = entry.record, entry.record.measures, entry.record.header
    assert measures is not None  # the caller has looked
    row: dict[str, Any] = {
        "slice_key": entry.slice_key or None,
        "path": record.path,
        "frame": record.frame,
        "body_mm2": measures.body_mm2,
        "lung_mm2": measures.lung_mm2,
        "histogram": list(measures.histogram),
        "fingerprint": measures.fingerprint,
    }
    if header is not None:
        row |= {
            "age_years": header.age_years,
            "sex": header.sex,
            "kvp": header.kvp,
            "thickness_mm": header.thickness_mm,
        }
    return row
