"""`covidct index`: read a folder of scans into one slice table."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from covidct.commands.progress import progress, say
from covidct.data.indexing.build import build_index
from covidct.data.pseudonyms import Pseudonymizer, key_file, load_or_create_key
from covidct.data.quality import Rules
from covidct.data.table import SliceTable, read_table, write_table
from covidct.errors import UsageError
from covidct.training.settings import DataSettings, read_settings

PAGE = "index_report.html"

LABELS_AND_FILES = (
    "labelled_patients_without_files", "patients_without_label", "patients_with_two_labels",
    "slice_labels_without_files",
)  # fmt: skip
"""Counts of a table that say where labels and files do not meet."""


def run(values: dict[str, Any]) -> None:
    """Run the verb."""
    data = read_settings(DataSettings, values["data"], "data")
    report, folder = values["report"], Path(data.index)
    if report not in (True, False, "only"):
        raise UsageError(f"report={report} is not a choice", remedy="true, false or only")
    if report == "only":
        _report(read_table(folder), folder)
        return
    if data.root is None:
        raise UsageError("where are the scans?", where="data.root", remedy="add data.root=FOLDER")
    key = key_file(values["key"])
    with progress("files read") as show:
        table = build_index(
            data.source,
            Path(data.root),
            labels=Path(data.labels) if data.labels else None,
            classes=data.classes.scheme() if data.classes else None,
            pseudonyms=Pseudonymizer(load_or_create_key(key)),
            workers=max(1, data.workers),
            progress=show,
            reads=key.parent / "reads" if values["reads"] else None,
            say=say,
            rules=rules_of(data),
            irregular=data.irregular,
        )
    path = write_table(table, folder)
    (folder / PAGE).unlink(missing_ok=True)  # of another table
    describe(table)
    say(f"wrote {path} (digest {table.digest[:12]}); pseudonym key: {key}")
    if report:
        _report(table, folder)
    say(f"next: covidct split data.index={data.index}")


def _report(table: SliceTable, folder: Path) -> None:
    began = time.monotonic()
    from covidct.commands.index_page import write_page

    page = write_page(table, folder)
    say(f"report: {page} ({time.monotonic() - began:.1f} s); it shows patients: keep it beside the scans")


def rules_of(data: DataSettings) -> Rules:
    """The rules of a study that a config names."""
    return Rules(
        single_disease=data.single_disease,
        ages=None if data.ages is None else tuple(data.ages),  # type: ignore[arg-type]  # Rules checks that there are two
        unknown_age=data.unknown_age,
        lungs_cm2=data.lungs_cm2,
    )


def describe(table: SliceTable) -> None:
    """Print what was accepted, per site and class, and what was refused and why."""
    rows = table.accepted
    known = table.patients_known
    people = f"{rows['patient_key'].nunique()} patients, {rows['series_key'].nunique()} series"
    one_each = table.counts.get("files_read") == len(table.frame)  # a volume and a multi-frame file hold many slices
    things = "files" if one_each else "slices"
    say(f"{len(rows)} of {len(table.frame)} {things} accepted: {people if known else 'patients are not known'}")
    for (site, label), group in rows.groupby(["site", "label"], dropna=False, sort=True):
        what = label if isinstance(label, str) else "no label"
        people = f"{group['patient_key'].nunique()} patients, " if known else ""
        say(f"  {site}: {what}: {people}{len(group)} slices")
    for reason, count in table.refusals.items():
        say(f"  refused {count}: {reason}")
    if ignored := table.counts.get("files_ignored"):
        say(f"  ignored {ignored}: files that are no scans of this layout, such as tables and masks")
    if not known:
        say("  WARNING: the source does not say whose a picture is. No split can keep people apart; split=image_level "
            "divides pictures, with a leak that nobody can count")  # fmt: skip
    flags = table.counts.get("series_flags", {})
    for flag, count in flags.items():
        say(f"  series {count}: {flag}")
    if table.counts.get("irregular") == "warn" and (odd := len(table.counts["irregular_series"])):
        say(f"  WARNING: {odd} of the series are irregular. Leave them out with data.irregular=reject, "
            "or take them knowingly with data.irregular=keep")  # fmt: skip
    for words in LABELS_AND_FILES:
        if table.counts.get(words):
            say(f"  {words.replace('_', ' ')}: {table.counts[words]}")
    for warning in table.counts.get("label_warnings", ()):
        say(f"  WARNING, labels file: {warning}")
