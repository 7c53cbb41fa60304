"""`data_audit.html`: the audit of a data set for people. It shows near-duplicates, which are pictures of patients."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from covidct.evaluation.pages import write_page
from covidct.evaluation.wording import display

COLOURS = {"error": "alarm", "warning": "loud", "note": "", "not done": "", "clean": "calm"}
_ROWS = 20  # of a finding's details on the page; the record has more


def write_audit_page(record: Mapping[str, Any], pictures: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Write the page.

    Args:
        record: As `covidct.data.audit.record.make_record` gives it.
        pictures: As `covidct.data.audit.specimens.specimens` gives them.
        path: The .html file, beside the index.
    """
    return write_page("data_audit.html.j2", path, view(record, pictures))


def view(record: Mapping[str, Any], pictures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Everything the page shows, as text."""
    findings = [_finding(finding) for finding in record["findings"]]
    counts = record["counts"]
    return {
        "verdict": record["verdict"],
        "colour": COLOURS[record["worst"]],
        "facts": [
            ("Index", f"{record['source']}, digest {record['index_digest'][:12]}"),
            ("Data", f"{counts['patients']:,} patients, {counts['slices']:,} slices, {counts['sites']:,} sites"),
            ("Splits", ", ".join(f"{one['name']} ({one['digest'][:12]})" for one in record["splits"]) or "–"),
            ("Pixels read again", "all" if record["settings"]["deep"] else "a sample"),
        ],
        "found": [finding for finding in findings if finding["status"] not in ("clean", "not done")],
        "rest": [finding for finding in findings if finding["status"] in ("clean", "not done")],
        "pairs": [_pair(picture) for picture in pictures],
    }


def _finding(finding: Mapping[str, Any]) -> dict[str, Any]:
    rows = finding["details"]
    columns = list(rows[0]) if rows else []
    return {
        "check": finding["check"],
        "title": finding["title"],
        "status": "accepted" if finding["accepted"] else finding["status"],
        "colour": "" if finding["accepted"] else COLOURS[finding["status"]],
        "split": finding["split"],
        "sentence": finding["sentence"],
        "remedy": finding["remedy"],
        "counts": ", ".join(f"{name.replace('_', ' ')} {_text(value)}" for name, value in finding["counts"].items()),
        "columns": [name.replace("_", " ") for name in columns],
        "rows": [[_text(row.get(name)) for name in columns] for row in rows[:_ROWS]],
        "more": max(0, len(rows) - _ROWS),
    }


def _pair(picture: Mapping[str, Any]) -> dict[str, Any]:
    names = [display(label) if label != "–" else label for label in picture["labels"]]
    return {
        "sources": [f"data:image/png;base64,{base64.b64encode(png).decode()}" for png in picture["png"]],
        "captions": [
            f"{key}, {site or 'no site'}, {name}"
            for key, site, name in zip(picture["patients"], picture["sites"], names, strict=True)
        ],
        "likeness": f"{picture['likeness']:.2f}",
        "same": picture["same"],
    }


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, list):
        return ", ".join(_text(item) for item in value)
    return f"{value:,}" if isinstance(value, int) else str(value)
