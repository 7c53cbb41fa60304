"""A slice on its way from its file into the table: whose it is, and why it may be left out."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from covidct.ct.ingest import Record
from covidct.data.pseudonyms import Pseudonymizer
from covidct.data.sources import Claim, Layout
from covidct.errors import DataRefused


@dataclass
class Entry:
    """One slice, or one file that is refused as a whole.

    Args:
        record: What its file says.
        claim: What the source says; None where it belongs to nobody.
        reason: Why it is not accepted; "" while it is.
        slice_key: Its pseudonym; "" where the file was refused.
        patient_key: Its patient's pseudonym, also of a refused file where the patient is known.
    """

    record: Record
    claim: Claim | None
    reason: str
    slice_key: str = ""
    patient_key: str | None = None


def enter(layout: Layout, record: Record, pseudonyms: Pseudonymizer) -> Entry:
    """Ask the layout whose file this is, also of a refused one: its patient may end up with no slice at all."""
    try:
        claim = layout.claim(record)
    except DataRefused as error:
        return Entry(record, None, record.reason or error.what)
    entry = Entry(record, claim, record.reason, patient_key=pseudonyms.patient(claim.site, claim.patient_id))
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


def exclude_two_labels(entries: list[Entry]) -> None:
    """Refuse patients who carry several diseases (exclusion D7 of the paper)."""
    labels: dict[str | None, set[str]] = defaultdict(set)
    for entry in entries:
        if entry.claim is not None and entry.claim.label is not None:
            labels[entry.patient_key].add(entry.claim.label)
    for entry in entries:
        if not entry.reason and len(labels[entry.patient_key]) > 1:
            entry.reason = "patient carries two labels (exclusion D7)"
