"""The audit of a data set from index to record: all checks, whatever the others found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from covidct.data.audit.changed import audit_pixels
from covidct.data.audit.findings import CLEAN, NOT_DONE, NOTE, Finding
from covidct.data.audit.frozen import open_splits, split_files
from covidct.data.audit.origins import audit_origins
from covidct.data.audit.partitions import audit_partitions
from covidct.data.audit.pictures import audit_pictures, audit_twins
from covidct.data.audit.record import make_record, refuse_unknown_checks
from covidct.data.audit.twins import Twins, find_twins
from covidct.data.leaks import number
from covidct.data.measures import read_measures
from covidct.data.table import SliceTable, read_table
from covidct.errors import DataRefused, UsageError
from covidct.training.shortcuts.headers import audit_headers

_BY_PATIENT = ("patient_overlap", "small_classes", "single_class_source", "class_by_source", "header_classifier")
"""Checks that would take each picture for a person where the source names no patients."""

Watch = Callable[[str], Any]
"""Gives, for the name of a long step, a context manager that shows its progress."""


@dataclass(frozen=True)
class DataAuditSettings:
    """What is asked of an audit.

    Args:
        split: Split files besides those that lie beside the index.
        deep: Read all slices again, not a sample.
        accept: Checks whose findings are known and meant.
        replicates: Permutations and bootstrap replicates.
        seed: Of all that is random.
    """

    split: tuple[str, ...] = ()
    deep: bool = False
    accept: tuple[str, ...] = ()
    replicates: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        refuse_unknown_checks(self.accept)
        if self.replicates < 100 or self.seed < 0:
            raise UsageError(f"replicates counts from 100 and seed from 0: {self.replicates}, {self.seed}")


def audit_data(
    index: Path, settings: DataAuditSettings, watch: Watch
) -> tuple[dict[str, Any], SliceTable, Twins | None]:
    """Audit an index and the splits beside it.

    Returns:
        The record (`covidct.data.audit.record.make_record`), the table, and the near-duplicates, to draw them.

    Raises:
        DataRefused: There is no index, or no such split file.
        IntegrityError: The index was changed after it was written.
    """
    table = read_table(index)
    for path in settings.split:
        if not Path(path).is_file():
            raise DataRefused("there is no such split file", where=str(path), remedy="give split=[FILE]")
    splits, findings = open_splits(split_files(index, [Path(path) for path in settings.split]), table)
    labels = sorted(table.accepted["label"].dropna().unique())
    for frozen in splits:
        findings += audit_partitions(frozen, table.classes.names if table.classes else labels)
    findings += audit_pictures(table)
    try:
        measures = read_measures(index)
    except DataRefused:
        measures = None
    twins = None
    if measures is not None:
        with watch("pairs compared") as show:
            twins = find_twins(table, measures, show)
    findings += audit_twins(twins, splits)
    with watch("slices read again") as show:
        findings.append(audit_pixels(table, deep=settings.deep, progress=show))
    if table.patients_known:
        findings += audit_origins(table, replicates=settings.replicates, seed=settings.seed)
        findings.append(audit_headers(table, measures, replicates=settings.replicates, seed=settings.seed))
    else:
        findings = [one for one in findings if one.check not in ("patient_overlap", "small_classes")]
        findings += [
            Finding(check, NOT_DONE, f"{table.source} does not say whose a picture is.") for check in _BY_PATIENT
        ]
    findings.append(_labels(table.counts.get("label_warnings") or []))
    findings = [replace(one, accepted=one.check in settings.accept and one.status != CLEAN) for one in findings]
    about = {"deep": settings.deep, "accept": list(settings.accept), "replicates": settings.replicates,
             "seed": settings.seed}  # fmt: skip
    return make_record(table, splits, findings, about), table, twins


def _labels(warnings: Sequence[Any]) -> Finding:
    """What the labels file made the index say: numbers that differ in leading zeros only, and the like."""
    if not warnings:
        return Finding("labels_file", CLEAN, "Nothing was doubtful when the labels were read.", counts={"warnings": 0})
    return Finding(
        "labels_file", NOTE, f"{number(len(warnings), 'remark')} when the labels were read.",
        "look at the labels file: a spreadsheet may have changed numbers of patients", {"warnings": len(warnings)},
        details=[{"remark": str(text)} for text in warnings[:20]],
    )  # fmt: skip
