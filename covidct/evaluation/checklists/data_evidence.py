"""What a run folder shows about its data and their partitions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from covidct.evaluation.checklists.wording import joined
from covidct.evaluation.record import RunRecord
from covidct.evaluation.sentences import primary_blocks
from covidct.evaluation.wording import counted, display


def _sums(classes: Mapping[str, Mapping[str, int]]) -> str:
    patients, slices = (sum(cell[key] for cell in classes.values()) for key in ("patients", "slices"))
    return f"{counted(patients, 'patient')}, {counted(slices, 'slice')}"


def _ordered(parts: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Training, validation, then the test sets."""
    return sorted(parts.items(), key=lambda item: (item[0] != "train", item[0] != "val", item[0]))


def _part(name: str) -> str:
    return {"train": "training", "val": "validation"}.get(name, f"test {name.partition('/')[2]}")


def data_source(record: RunRecord) -> str | None:
    """Layout and sites of the data, and the digest of the index."""
    found = record.participants
    if not found or not found.get("sites"):
        return None
    digest = record.predictions.get("index_digest")
    text = f"{counted(len(found['sites']), 'site')}: {', '.join(found['sites'])}; read as {found.get('source')}"
    return joined(text, f"index {digest[:12]}" if digest else None)


def exclusions(record: RunRecord) -> str | None:
    """Files refused, by reason."""
    found = record.participants
    if not found or "refused" not in found:
        return None
    refused = found["refused"] or {}
    if not refused:
        return f"none of {counted(found['files_read'], 'file')} was refused" if found.get("files_read") else None
    reasons = ", ".join(f"{n:,} {why}" for why, n in sorted(refused.items(), key=lambda item: -item[1])[:4])
    more = f" and {len(refused) - 4} more reasons" if len(refused) > 4 else ""
    return f"{sum(refused.values()):,} files refused: {reasons}{more} (patients' own criteria are for the author)"


def preprocessing(record: RunRecord) -> str | None:
    """Windows, size and fit of the pictures."""
    windows = record.get("model", "windows") or record.get("data", "windows")
    size = record.get("model", "input") or record.get("data", "size")
    if not windows or not size:
        return None
    names = ", ".join(str(name) for name in windows) if isinstance(windows, list) else str(windows)
    fit = record.get("data", "fit")
    return joined(f"window {names}", f"{size} pixels", f"fit: {fit}" if fit else None)


def subsets(record: RunRecord) -> str | None:
    """Slices that were accepted and not used."""
    found = record.participants
    if not found or "unlabelled" not in found:
        return None
    left = found["unlabelled"]
    if not left["slices"]:
        return "every accepted slice has a label and was used"
    return f"{counted(left['slices'], 'slice')} of {counted(left['patients'], 'patient')} without a label: not used"


def pseudonyms(record: RunRecord) -> str | None:
    """What the index does about names."""
    if not record.predictions.get("index_digest"):
        return None
    return "patients, series and slices are keyed pseudonyms in every file of the run (the scans are for the author)"


def missing_data(record: RunRecord) -> str | None:
    """Unlabelled slices, refused files and patients without a usable slice."""
    found = record.participants
    if not found or "unlabelled" not in found:
        return None
    lost = sum(block.get("n_no_result") or 0 for block in primary_blocks(record.summary) if block["site"] != "(pooled)")
    return joined(
        f"{counted(found['unlabelled']['slices'], 'slice')} without a label left out",
        f"{sum((found.get('refused') or {}).values()):,} unreadable or unsuitable files refused",
        f"{counted(lost, 'test patient')} without a usable slice counted as no result",
    )


def partitions(record: RunRecord) -> str | None:
    """The split with its seed and digest, and what is in each partition."""
    split, found = record.split, record.participants
    if not split.get("name") or not found or not found.get("partitions"):
        return None
    how = f"split {split['name']}, repeat {split.get('repeat')}, seed {split.get('seed')}"
    parts = "; ".join(f"{_part(name)} {_sums(classes)}" for name, classes in _ordered(found["partitions"]))
    return f"{how}: {parts}"


def disjoint(record: RunRecord) -> str | None:
    """The unit of the split, and patients on two sides of it."""
    if not record.patients_known:
        return "single images; whose they are is not known, and patients in several partitions cannot be counted"
    if record.split.get("unit") is None or record.leaked_patients is None:
        return None
    unit = "whole patients" if record.split["unit"] == "patient" else "single images"
    return f"{unit}; {counted(record.leaked_patients, 'patient')} in more than one partition"


def flow(record: RunRecord) -> str | None:
    """Files read, refused, and what is left."""
    found = record.participants
    if not found or not found.get("files_read") or not found.get("accepted"):
        return None
    kept = found["accepted"]
    return (
        f"{counted(found['files_read'], 'file')} read, {sum((found.get('refused') or {}).values()):,} refused, "
        f"{counted(kept['slices'], 'slice')} of {counted(kept['patients'], 'patient')} accepted (section Participants)"
    )


def events(record: RunRecord) -> str | None:
    """Patients by class in each partition."""
    found = record.participants
    if not found or not found.get("partitions"):
        return None
    return "; ".join(
        f"{_part(name)}: " + ", ".join(f"{display(label)} {cell['patients']}" for label, cell in classes.items())
        for name, classes in _ordered(found["partitions"])
    )


def other_diagnoses(record: RunRecord) -> str | None:
    """Classes other than the positive one among test patients; severity is never known."""
    positive, blocks = record.scheme.positive, primary_blocks(record.summary)
    if positive is None or not blocks:
        return None
    figures = blocks[-1]["per_class"]
    others = ", ".join(
        f"{display(name)} {figures[name]['n_positive_patients']}" for name in record.scheme.names if name != positive
    )
    return f"(b) test patients without {display(positive)}: {others}; (a) is for the author"
