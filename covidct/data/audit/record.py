"""`data_audit.json` beside an index: what an audit found, and the gate that training passes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from covidct import __version__
from covidct.data.audit.findings import CHECKS, ERROR, NOT_DONE, STATUSES, WARNING, Finding, worst
from covidct.data.audit.frozen import Frozen
from covidct.data.leaks import number
from covidct.data.table import SliceTable
from covidct.errors import CovidctError, IntegrityError, UsageError
from covidct.files import read_json, write_json

RECORD, PAGE = "data_audit.json", "data_audit.html"


def make_record(
    table: SliceTable, splits: Sequence[Frozen], findings: Sequence[Finding], settings: dict[str, Any]
) -> dict[str, Any]:
    """Everything that was found, as plain values.

    Returns:
        "schema", "covidct", "index_digest", "source", "counts" (patients, slices, sites, splits), "splits", "settings",
        "verdict", "worst", "by_status" and "findings": each as `Finding.as_dict`, worst first, then in the order of
        `CHECKS`.
    """
    rows = table.accepted
    order = list(CHECKS)
    ordered = sorted(
        findings, key=lambda f: (f.accepted, STATUSES.index(f.status), order.index(f.check), f.split or "")
    )
    by_status = {status: sum(f.status == status and not f.accepted for f in findings) for status in STATUSES}
    return {
        "schema": 1,
        "covidct": __version__,
        "index_digest": table.digest,
        "source": table.source,
        "counts": {"patients": int(rows["patient_key"].nunique()), "slices": len(rows),
                   "sites": int(rows["site"].nunique()), "splits": len(splits)},
        "splits": [{"name": one.name, "digest": one.split.digest, "kind": one.split.name} for one in splits],
        "settings": settings,
        "verdict": _verdict(by_status, sum(f.accepted for f in findings)),
        "worst": worst(findings),
        "by_status": by_status,
        "findings": [finding.as_dict() for finding in ordered],
    }  # fmt: skip


def _verdict(by_status: dict[str, int], accepted: int) -> str:
    said = [number(by_status[status], status) for status in (ERROR, WARNING, "note") if by_status[status]]
    text = ", ".join(said) if said else "Nothing found"
    if by_status[NOT_DONE]:
        text += f"; {number(by_status[NOT_DONE], 'check')} not done"
    return f"{text}{f'; {accepted} accepted by the user' if accepted else ''}."


def write_record(record: dict[str, Any], folder: Path) -> Path:
    """Write `data_audit.json` into the folder of an index."""
    write_json(folder / RECORD, record)
    return folder / RECORD


def refuse_unknown_checks(names: Sequence[str]) -> None:
    """Refuse names that are no checks.

    Raises:
        UsageError: With the known ones.
    """
    if strange := sorted({str(name) for name in names} - set(CHECKS)):
        raise UsageError(f"no check {', '.join(strange)}", where="accept", remedy=f"use some of {', '.join(CHECKS)}")


def refuse_failed_audit(index: Path, index_digest: str, split_digest: str) -> None:
    """The gate of training: refuse data that an audit of this very index and split has found in error.

    An audit of another state of the data says nothing about this one, and without an audit the gate is open: what is
    cheap is checked at each start anyway (`covidct.data.splits.verify_split`).

    Args:
        index: The slice table, or the folder it lies in.
        index_digest: Of the table that is trained on.
        split_digest: Of the split that is trained on.

    Raises:
        IntegrityError: With what was found and the way out.
    """
    path = (index if index.is_dir() else index.parent) / RECORD
    if not path.is_file():
        return
    try:
        record = read_json(path)
        found = record["findings"] if record["index_digest"] == index_digest else []
        errors = [
            finding for finding in found
            if finding["status"] == ERROR and not finding["accepted"] and _is_about(finding, split_digest)
        ]  # fmt: skip
    except (CovidctError, KeyError, TypeError):
        raise IntegrityError(
            "the record of the data audit cannot be read", where=str(path),
            remedy="run `covidct audit data` again, or remove the file",
        ) from None  # fmt: skip
    if errors:
        names = ",".join(dict.fromkeys(finding["check"] for finding in errors))
        raise IntegrityError(
            "the audit of these data found " + number(len(errors), "error") + ": "
            + " ".join(str(finding["sentence"]) for finding in errors[:3]),
            where=str(path),
            remedy=f"mend the data and index again; or, if it is known and meant, "
            f"covidct audit data INDEX 'accept=[{names}]' and train again (it stands in the record)",
        )  # fmt: skip


def _is_about(finding: dict[str, Any], split_digest: str) -> bool:
    """Whether a finding is about these data as a whole, or about this split."""
    if finding["split"] is None:
        return True
    return bool(finding["split_digest"] == split_digest)
