"""Whether the files still hold the pixels that were indexed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from covidct.ct.read import read_slice
from covidct.data.audit.findings import CLEAN, ERROR, NOT_DONE, Finding
from covidct.data.leaks import number, some
from covidct.data.table import SliceTable
from covidct.errors import CovidctError

SAMPLE = 200
"""Slices that are read again unless all are asked for."""


def audit_pixels(table: SliceTable, *, deep: bool, progress: Callable[[int, int], None] | None = None) -> Finding:
    """Read slices again and compare their pixels with the hashes in the table.

    Args:
        table: The slice table.
        deep: All slices, not a sample; the sample is the same every time.
        progress: Told (slices read, slices in all).
    """
    rows = table.accepted
    order = sorted(rows.index, key=lambda row: hashlib.sha256(str(rows["slice_key"].iloc[row]).encode()).digest())
    chosen = sorted(order if deep else order[:SAMPLE])
    if not chosen:
        return Finding("pixels_changed", NOT_DONE, "The index has no accepted slice.")
    gone, changed = [], []
    for done, row in enumerate(chosen, start=1):
        frame = rows["frame"].iloc[row]
        try:
            found = read_slice(table.file(row), int(frame) if frame == frame else 0).pixel_hash()
        except CovidctError:
            gone.append(row)
        else:
            if found != rows["pixel_hash"].iloc[row]:
                changed.append(row)
        if progress is not None and (done % 20 == 0 or done == len(chosen)):
            progress(done, len(chosen))
    counts: dict[str, float | int | None] = {
        "read": len(chosen), "of": len(rows), "changed": len(changed), "unreadable": len(gone)
    }  # fmt: skip
    how = f"{number(len(chosen), 'slice')} of {len(rows)} read again"
    if not gone and not changed:
        # the rule of three: 95 % sure that no more than this share of the others changed
        rest = "" if len(chosen) == len(rows) else f"; surely fewer than {300 / len(chosen):.1f} % have changed (95 %)"
        return Finding("pixels_changed", CLEAN, f"{how}, all as indexed{rest}.", counts=counts)
    bad = rows.loc[sorted(gone + changed)]
    said = [f"{len(changed)} with other pixels"] if changed else []
    said += [f"{len(gone)} that cannot be read any more"] if gone else []
    patients = bad["patient_key"].unique()
    return Finding(
        "pixels_changed", ERROR, f"{how}: {' and '.join(said)} (patients {some(patients)}).",
        "restore the files, or run `covidct index` and `covidct split` again", counts,
        details=[{"slice": str(key), "patient": str(patient)}
                 for key, patient in zip(bad["slice_key"][:200], bad["patient_key"][:200], strict=True)],
    )  # fmt: skip
