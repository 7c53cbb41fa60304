"""`covidct audit data ...`: leaks, near-duplicates, shortcuts and changes in an index and its splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from covidct.commands.progress import progress, say
from covidct.data.audit.findings import CLEAN, ERROR, NOT_DONE, NOTE, WARNING
from covidct.data.audit.record import PAGE, write_record
from covidct.data.audit.specimens import specimens
from covidct.errors import Alarm, IntegrityError, UsageError
from covidct.evaluation.data_audit.page import write_audit_page
from covidct.training.data_audit import DataAuditSettings, audit_data

MARKS = {ERROR: "ERROR", WARNING: "WARNING", NOTE: "note", NOT_DONE: "–", CLEAN: "clean"}


def run(values: dict[str, Any]) -> None:
    """Audit an index, write record and page beside it, and end with 4 for errors, 7 for warnings."""
    settings = _settings(values)
    index = Path(str(values["index"]))
    record, table, twins = audit_data(index, settings, progress)
    folder = index if index.is_dir() else index.parent
    path = write_record(record, folder)
    pictures = [] if twins is None else specimens(table.root, twins)
    page = write_audit_page(record, pictures, folder / PAGE)
    for finding in record["findings"]:
        if finding["status"] != CLEAN:
            mark = "accepted" if finding["accepted"] else MARKS[finding["status"]]
            say(f"{mark:<8} {finding['check']}: {finding['sentence']}")
            if finding["remedy"] and not finding["accepted"]:
                say(f"         do: {finding['remedy']}")
    say(f"{record['by_status'][CLEAN]} checks clean. {record['verdict']}")
    say(f"written: {path}, {page}")
    if pictures:
        say("the page shows pictures of patients: keep it beside the data")
    remedy = "read the sentences above; docs/how-to/audit-your-data.md says what each asks for"
    if record["worst"] == ERROR:
        raise IntegrityError(
            record["verdict"], where=str(path), remedy=f"{remedy}; training on these data is refused until then"
        )
    if record["worst"] == WARNING:
        raise Alarm(record["verdict"], where=str(path), remedy=remedy)


def _settings(values: dict[str, Any]) -> DataAuditSettings:
    lists: dict[str, tuple[str, ...]] = {}
    for key in ("splits", "accept"):
        given = values[key] or []
        lists[key] = tuple(str(item) for item in (given if isinstance(given, list) else [given]))
    for key, kind in (("deep", bool), ("replicates", int), ("seed", int)):
        if type(values[key]) is not kind:
            raise UsageError(f"{key}={values[key]} is not {'true or false' if kind is bool else 'a whole number'}")
    return DataAuditSettings(lists["splits"], values["deep"], lists["accept"], values["replicates"], values["seed"])
