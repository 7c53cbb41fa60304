"""From a folder of scans to the slice table: read, name, check against each other, order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from covidct.ct.ingest import Record
from covidct.ct.phantom.network import RECORD as PHANTOM_RECORD
from covidct.data.copies import refuse_copies
from covidct.data.entries import enter, exclude_two_labels
from covidct.data.measures import make_measures
from covidct.data.pseudonyms import Pseudonymizer
from covidct.data.reading import find_files, read_files
from covidct.data.rows import measured, place
from covidct.data.sources import SOURCES
from covidct.data.table import SliceTable, make_table
from covidct.errors import DataRefused, UsageError
from covidct.labels import ClassScheme


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
    entries = [enter(layout, record, pseudonyms) for record in records]
    exclude_two_labels(entries)
    refuse_copies(entries)
    rows, extra = place(layout, entries, pseudonyms)
    measures = [measured(entry) for entry in entries if entry.record.measures is not None]
    accepted = [entry for entry in entries if not entry.reason]
    counts = {
        "files_read": len(found),
        "accepted": len(accepted),
        "patients": len({entry.patient_key for entry in accepted}),
        "lossy_slices": sum(entry.record.lossy for entry in accepted),
        "synthetic": (root / PHANTOM_RECORD).is_file(),
        **extra,
        **layout.remarks(),
    }
    return make_table(
        rows,
        root=root,
        source=source,
        classes=classes or SOURCES[source].classes,
        counts=counts,
        measures=make_measures(measures),
    )
