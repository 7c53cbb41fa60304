"""From entries to the rows of the slice table: in order along the body, series by series."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pyarrow as pa

from covidct.ct.ingest import Record
from covidct.ct.series import FLAGS, Series, arrange
from covidct.ct.window import GRAY8
from covidct.data.indexing.batches import Batches
from covidct.data.indexing.copies import SAME_FILE
from covidct.data.indexing.entries import Entry
from covidct.data.indexing.reads import Reads
from covidct.data.pseudonyms import Pseudonymizer
from covidct.data.quality import Rules
from covidct.data.sources import Layout
from covidct.data.table import SCHEMA

_COPIES = (SAME_FILE,)


@dataclass(frozen=True)
class _Member:
    """An accepted slice of the patient whose rows are written."""

    entry: Entry
    record: Record


def place(
    layout: Layout, entries: list[Entry], reads: Reads, pseudonyms: Pseudonymizer, rules: Rules, irregular: str
) -> tuple[pa.Table, dict[str, Any]]:
    """Order what is left and write the rows, patient by patient: records of one patient are in memory at a time.

    Returns:
        Rows of the slice table (`covidct.data.table.SCHEMA`), and counts: about labels of slices; `series_flags`: flag
        -> series that carry it; `irregular_series`: key -> its flags that make it irregular.
    """
    spoiled = {entry.patient_key for entry in entries if entry.reason and entry.reason not in _COPIES}
    patients: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if not entry.reason:
            patients[str(entry.patient_key)].append(entry)
    rows = Batches(SCHEMA)
    counts: dict[str, Any] = {"slice_labels": 0, "patients_with_slice_labels_withheld": 0}
    flags: Counter[str] = Counter()
    odd: dict[str, list[str]] = {}
    for key in sorted(patients):
        members = list(_members(patients.pop(key), reads))
        if members[0].record.units == GRAY8:
            written = _picture_rows(key, members, pseudonyms)
        else:
            series, written, withheld = _patient_rows(layout, members, key not in spoiled, pseudonyms)
            counts["patients_with_slice_labels_withheld"] += withheld
            flags.update(flag for one in series for flag in one.flags)
            odd |= {pseudonyms.uid(one.name): list(one.irregular) for one in series if one.irregular}
            if irregular == "reject":
                _refuse_irregular(series, members)
        written = _within_rules(written, members, rules)
        rows.add(written)
        counts["slice_labels"] += sum(row.get("slice_label") is not None for row in written)
    rows.add(_refused_row(entry, reads) for entry in entries if entry.reason)
    counts["series_flags"] = {flag: flags[flag] for flag in FLAGS if flags[flag]}
    counts["irregular_series"] = dict(sorted(odd.items()))
    return rows.table(), counts


def _members(entries: Iterable[Entry], reads: Reads) -> Iterator[_Member]:
    for file, group in groupby(entries, key=lambda entry: entry.file):
        records = {record.frame: record for record in reads.of_file(file)}
        yield from (_Member(entry, records[entry.frame]) for entry in group)


def _refuse_irregular(series: list[Series], members: list[_Member]) -> None:
    for one in series:
        for number in one.members if one.irregular else ():
            members[number].entry.reason = f"irregular series: {', '.join(one.irregular)}"


def _within_rules(rows: list[dict[str, Any]], members: list[_Member], rules: Rules) -> list[dict[str, Any]]:
    """The rows of slices that belong in the study. Slices have their numbers and labels already, as scanned."""
    for member in members:
        member.entry.reason = member.entry.reason or rules.of_slice(member.record)
    left_out = {member.entry.slice_key for member in members if member.entry.reason}
    return [row for row in rows if row["slice_key"] not in left_out]


def _picture_rows(key: str, members: list[_Member], pseudonyms: Pseudonymizer) -> list[dict[str, Any]]:
    """Pictures have no place in the body: they stay in the order of their files, scan by scan where scans are known."""
    scans: dict[str, list[_Member]] = defaultdict(list)
    for member in members:
        scans[(member.entry.claim.series if member.entry.claim else None) or ""].append(member)
    rows = []
    for scan, pictures in sorted(scans.items()):
        series = pseudonyms.uid(f"pictures of {key}" + (f", scan {scan}" if scan else ""))
        rows += [
            _row(member, pseudonyms) | {"series_key": series, "slice_number": number}
            for number, member in enumerate(pictures)
        ]
    return rows


def _patient_rows(
    layout: Layout, members: list[_Member], whole: bool, pseudonyms: Pseudonymizer
) -> tuple[list[Series], list[dict[str, Any]], bool]:
    """The series and rows of one patient's DICOM slices, and whether labels by place are known and were withheld."""
    headers = [member.record.header for member in members if member.record.header is not None]
    series, refused = arrange(headers)
    for number, reason in refused.items():
        members[number].entry.reason = reason
    by_place: list[int | None] | None = None
    claim = members[0].entry.claim
    assert claim is not None  # an entry without a reason has one
    if len(series) == 1 and series[0].evenly_spaced and not refused and whole:
        by_place = layout.slice_labels(claim.patient_id, series[0]) if claim.patient_id is not None else None
    rows = [row for one in series for row in _series_rows(one, members, by_place, pseudonyms)]
    return series, rows, by_place is None and claim.patient_id in layout.labels_by_place


def _refused_row(entry: Entry, reads: Reads) -> dict[str, Any]:
    """What is known of a slice or file that was refused: its patient may end up with no slice at all."""
    return {
        "path": reads.path_of(entry.file),
        "frame": entry.frame,
        "accepted": False,
        "reason": entry.reason,
        "patient_key": entry.patient_key,
        "site": entry.claim.site if entry.claim else None,
        "label": entry.claim.label if entry.claim else None,
        "official_split": entry.claim.official_split if entry.claim else None,
    }


def _series_rows(
    series: Series, members: list[_Member], by_place: list[int | None] | None, pseudonyms: Pseudonymizer
) -> list[dict[str, Any]]:
    rows = []
    for number, (member, position) in enumerate(zip(series.members, series.position_mm, strict=True)):
        row = _row(members[member], pseudonyms)
        row |= {"series_key": pseudonyms.uid(series.name), "slice_number": number, "position_mm": position}
        if by_place is not None:
            row["slice_label"] = by_place[number]
        rows.append(row)
    return rows


def _row(member: _Member, pseudonyms: Pseudonymizer) -> dict[str, Any]:
    """What is known of an accepted slice but its place."""
    entry, record, claim, header = member.entry, member.record, member.entry.claim, member.record.header
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


def measured(record: Record, entry: Entry) -> Iterator[dict[str, Any]]:
    """A row of what was measured in a slice, accepted or not; none where nothing was decoded."""
    measures, header = record.measures, record.header
    if measures is None:
        return
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
    yield row
