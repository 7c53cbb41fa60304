"""From a folder of scans to the slice table: read, name, check against each other, order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from covidct.ct.phantom.network import RECORD as PHANTOM_RECORD
from covidct.data.indexing.batches import Batches
from covidct.data.indexing.copies import refuse_copies
from covidct.data.indexing.entries import Entrance
from covidct.data.indexing.reading import find_files, read_files
from covidct.data.indexing.reads import Listed, open_reads
from covidct.data.indexing.rows import measured, place
from covidct.data.measures import SCHEMA as MEASURES
from covidct.data.pseudonyms import Pseudonymizer
from covidct.data.quality import Rules
from covidct.data.sources import SOURCES
from covidct.data.sources.archives import refuse_packed
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
    reads: Path | None = None,
    say: Callable[[str], None] | None = None,
    rules: Rules | None = None,
    irregular: str = "warn",
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
        progress: Told (files done, files in all); files that need not be read again are done from the beginning.
        reads: Folder that keeps what was read, so that an unchanged file is not read again and a killed index goes on;
            header values are in it, so it belongs beside the pseudonym key (see `reads`). None: nothing is kept.
        say: Told single lines for people.
        rules: Which of those that can be read belong in the study; None: the defaults of `Rules`.
        irregular: What happens to series with gaps, uneven spacing, duplicates or tilt (`covidct.ct.series.FLAGS`):
            `"reject"` refuses their slices, `"warn"` and `"keep"` take them. The counts name them in any case.

    Returns:
        The table; it may have no accepted row.

    Raises:
        UsageError: Unknown source, or a rule that it cannot be asked.
        DataRefused: There is no such folder, it holds no file, or the labels have bad lines (all are listed).
        IntegrityError: One slice, by UID or by its pixels, carries two labels.
        Interrupted: By the keyboard, or the folder went away meanwhile.
        ResourceError: There is no room for what is read.
    """
    if source not in SOURCES:
        raise UsageError(f"unknown source {source!r}", where="data.source", remedy=f"use one of {sorted(SOURCES)}")
    rules, root = rules or Rules(), Path(root)
    refuse_packed(root)
    if not root.is_dir():
        raise DataRefused("the data folder does not exist", where=str(root), remedy="give data.root=FOLDER")
    layout = SOURCES[source].open(root, labels, classes)
    rules.refuse_kinds(layout.kinds)
    with open_reads(reads, root, layout.kinds, say) as kept:
        ignored = 0

        def wanted() -> Iterator[Listed]:
            nonlocal ignored
            for file in find_files(root):
                if layout.wants(file.path):
                    yield file
                else:
                    ignored += 1

        kept.list_files(wanted())
        if not kept.files:
            raise DataRefused(
                f"there is no file of the layout {source} in the data folder ({ignored} others)",
                where=str(root),
                remedy="its folders and names: docs/reference/sources.md",
            )
        if say is not None and kept.kept:
            say(f"{kept.kept} of {kept.files} files did not change since they were read")
        read_files(root, kept, layout.kinds, workers=workers, progress=progress)
        entrance = Entrance(layout, pseudonyms)
        entries, measures = [], Batches(MEASURES)
        for file, record in kept.records():
            entries.append(entrance.enter(file, record))
            measures.add(measured(record, entries[-1]))
        rules.refuse_patients(entries)
        refuse_copies(entries)
        rows, extra = place(layout, entries, kept, pseudonyms, rules, irregular)
        counts = {
            "files_read": kept.files,
            "accepted": sum(not entry.reason for entry in entries),
            "patients": len({e.patient_key for e in entries if not e.reason}) if layout.patients_known else None,
            "patients_known": layout.patients_known,
            "files_ignored": ignored,
            "lossy_slices": sum(entry.lossy for entry in entries if not entry.reason),
            "synthetic": (root / PHANTOM_RECORD).is_file(),
            "rules": rules.as_dict(),
            "irregular": irregular,
            **extra,
            **layout.remarks(),
        }
    del entries
    return make_table(
        rows,
        root=root,
        source=source,
        classes=classes or SOURCES[source].classes,
        counts=counts,
        measures=measures.table(),
    )
