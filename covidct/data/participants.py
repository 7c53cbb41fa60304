"""The flow of participants: what was read, what was refused and why, who ended up where (STARD item 19)."""

from __future__ import annotations

from typing import Any

from covidct.data.splits import Split
from covidct.data.table import SliceTable


def participants(table: SliceTable, split: Split | None = None) -> dict[str, Any]:
    """Counts for the participant flow; plain values, no keys of patients.

    Returns:
        "source"; "files_read"; "refused": reason -> number of files; "rules": for each rule of the study that was on
        (`covidct.data.quality.Rules`) its "reason", which is one of those in "refused", "patients" and "slices";
        "study": the rules themselves (`Rules.from_dict` reads them);
        "accepted": {"patients", "slices"};
        "unlabelled": the same for accepted slices without a class; "sites": site -> class -> {"patients", "slices"};
        "partitions": the same for each partition of the split, empty without one. Where the source names no patients,
        each picture counts as a patient of its own.
    """
    rows = table.accepted
    labelled = rows[rows["label"].notna()]
    sites: dict[str, dict[str, dict[str, int]]] = {}
    for (site, label), group in labelled.groupby(["site", "label"], sort=True):
        sites.setdefault(str(site), {})[str(label)] = _count(group)
    return {
        "source": table.source,
        "files_read": len(table.frame),
        "refused": table.refusals,
        "rules": _rules(table),
        "study": {key: value for key, value in (table.counts.get("rules") or {}).items() if key != "steps"},
        "accepted": _count(rows),
        "unlabelled": _count(rows[rows["label"].isna()]),
        "sites": sites,
        "partitions": _partitions(split) if split is not None else {},
    }


def _partitions(split: Split) -> dict[str, dict[str, dict[str, int]]]:
    return {
        part: {
            label: {key: number if number is not None else cell["slices"] or 0 for key, number in cell.items()}
            for label, cell in counts.items()
        }
        for part, counts in split.counts.items()
    }


def _rules(table: SliceTable) -> list[dict[str, Any]]:
    steps = (table.counts.get("rules") or {}).get("steps") or ()
    refused = table.rejected
    found = []
    for step in steps:
        counts = _count(refused[refused["reason"] == step["reason"]])
        if step["rule"] == "single_disease":  # a labels file refuses these before they get a pseudonym
            counts["patients"] += int(table.counts.get("patients_with_two_labels", 0))
        found.append({"reason": step["reason"], **counts})
    return found


def _count(rows: Any) -> dict[str, int]:
    return {"patients": int(rows["patient_key"].nunique()), "slices": len(rows)}
