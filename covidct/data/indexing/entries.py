"""A slice on its way from its file into the table: whose it is, and why it may be left out."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from covidct.ct.ingest import Record
from covidct.data.pseudonyms import Pseudonymizer
from covidct.data.sources import Claim, Layout
from covidct.errors import DataRefused


@dataclass(slots=True)
class Entry:
    """One slice, or one file that is refused as a whole. There is one for every slice of the data set at once, so it
    holds what has to be compared across patients and no more; `Reads` has the record.

    Args:
        file: Number of the file in `Reads`.
        frame: 0-based frame in the file.
        claim: What the source says; None where it belongs to nobody.
        reason: Why it is not accepted; "" while it is.
        slice_key: Its pseudonym; "" where the file was refused.
        patient_key: Its patient's pseudonym, also of a refused file where the patient is known.
        pixel_hash: Of its pixels, as bytes; None where the file was refused.
        lossy: Whether lossy compression is declared.
        age_years: Of the patient; None where no header tells.
        series: Series Instance UID; "" where there is none.
    """

    file: int
    frame: int
    claim: Claim | None
    reason: str
    slice_key: str = ""
    patient_key: str | None = None
    pixel_hash: bytes | None = None
    lossy: bool = False
    age_years: int | None = None
    series: str = ""


class Entrance:
    """Makes entries; what many of them share is kept once.

    Args:
        layout: The source, which is asked whose each file is.
        pseudonyms: Makes the keys.
    """

    def __init__(self, layout: Layout, pseudonyms: Pseudonymizer) -> None:
        self._layout = layout
        self._pseudonyms = pseudonyms
        self._claims: dict[Claim, Claim] = {}
        self._patients: dict[tuple[str, str], str] = {}

    def enter(self, file: int, record: Record) -> Entry:
        """Ask whose this is, also of a refused file: its patient may end up with no slice at all."""
        reason = sys.intern(record.reason)
        try:
            claim = self._layout.claim(record)
        except DataRefused as error:
            return Entry(file, record.frame, None, reason or sys.intern(error.what))
        claim = self._claims.setdefault(claim, claim)
        entry = Entry(file, record.frame, claim, reason, patient_key=self._patient(claim))
        if not reason:
            entry.slice_key = self._pseudonyms.uid(_identity(record, claim))
            if entry.patient_key is None:  # nobody knows whose it is: it stands alone
                entry.patient_key = self._pseudonyms.uid(f"of nobody known: {entry.slice_key}")
            entry.pixel_hash = bytes.fromhex(record.pixel_hash or "")
            entry.lossy = record.lossy
            entry.age_years = record.header.age_years if record.header is not None else None
            entry.series = sys.intern(record.header.series_uid) if record.header is not None else ""
        return entry

    def _patient(self, claim: Claim) -> str | None:
        if claim.patient_id is None:
            return None
        name = (claim.site, claim.patient_id)
        if name not in self._patients:
            self._patients[name] = self._pseudonyms.patient(*name)
        return self._patients[name]


def _identity(record: Record, claim: Claim) -> str:
    """What makes a slice that slice: its SOP Instance UID; without one its pixels, in their series or at their site."""
    if record.header is None:
        return f"{claim.site}/{record.pixel_hash}"
    if record.header.sop_uid and record.frame:
        return f"{record.header.sop_uid}#{record.frame}"
    return record.header.sop_uid or f"{record.header.series_uid}/{record.header.position}/{record.pixel_hash}"
