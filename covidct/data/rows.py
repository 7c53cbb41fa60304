"""From entries to the rows of the slice table: in order along the body, series by series."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from covidct.ct.series import Series, arrange
from covidct.ct.window import GRAY8
from covidct.data.copies import SAME_FILE
from covidct.data.entries import Entry
from covidct.data.pseudonyms import Pseudonymizer
from covidct.data.sources import Layout

_COPIES = (SAME_FILE,)


def place(
    layout: Layout, entries: list[Entry], pseudonyms: Pseudonymizer
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Order what is left and write the rows."""
    spoiled = {entry.patient_key for entry in entries if entry.reason and entry.reason not in _COPIES}
    patients: dict[str, list[Entry]] = defaultdict(list)
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
    series: Series, members: list[Entry], by_place: list[int | None] | None, pseudonyms: Pseudonymizer
) -> list[dict[str, Any]]:
    rows = []
    for number, (member, position) in enumerate(zip(series.members, series.position_mm, strict=True)):
        row = _row(members[member], pseudonyms)
        row |= {"series_key": pseudonyms.uid(series.name), "slice_number": number, "position_mm": position}
        if by_place is not None:
            row["slice_label"] = by_place[number]
        rows.append(row)
    return rows


def _row(entry: Entry, pseudonyms: Pseudonymizer) -> dict[str, Any]:
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


def measured(entry: Entry) -> dict[str, Any]:
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
