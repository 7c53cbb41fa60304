"""What an audit looks for, and what it says of each: one entry per check, found or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

ERROR, WARNING, NOTE, CLEAN, NOT_DONE = "error", "warning", "note", "clean", "not done"
STATUSES = (ERROR, WARNING, NOTE, NOT_DONE, CLEAN)
"""From worst to best. An error makes figures wrong, a warning makes them doubtful, a note is worth knowing."""

CHECKS = {
    "split_file": "Split files are as they were written",
    "split_index": "Splits belong to this state of the data",
    "foreign_pictures": "Pictures of a foreign split, known by their pixels",
    "patient_overlap": "Patients in two parts of a split",
    "study_overlap": "Studies in two parts of a split",
    "series_overlap": "Series in two parts of a split",
    "pixel_overlap": "Equal pixels in two parts of a split",
    "near_duplicate_overlap": "Near-duplicates in two parts of a split",
    "class_in_parts": "Every class in every part",
    "small_classes": "Classes of one patient, or of fewer patients than folds",
    "pixels_two_labels": "Equal pixels under two labels",
    "pixels_two_patients": "Equal pixels under two patients",
    "near_duplicate_two_labels": "Near-duplicates under two labels",
    "near_duplicate_two_patients": "Near-duplicates under two patients",
    "study_two_patients": "One study or series under two patients",
    "pixels_changed": "Pixels are those that were indexed",
    "single_class_source": "Sites, scanners, kernels, years with one class only",
    "class_by_source": "Class goes with site, scanner, kernel or year",
    "header_classifier": "Class told from headers alone",
    "labels_file": "What was doubtful in the labels",
}
"""Check -> what it is about. Names are fixed: they stand in records, in `accept=` and in the manual."""


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Args:
        check: One of `CHECKS`.
        status: One of `STATUSES`.
        sentence: What was found, with its counts; patients by pseudonym.
        remedy: What to do; "" where there is nothing to do.
        counts: Name -> number; None is undefined.
        split: Name of the split it is about; None for the whole data set.
        split_digest: The digest of that split, where the file could be read.
        details: Rows for people and programs: pairs, groups, facts; pseudonyms only.
        accepted: Whether the user has said that this is known and meant.
    """

    check: str
    status: str
    sentence: str
    remedy: str = ""
    counts: dict[str, float | int | None] = field(default_factory=dict)
    split: str | None = None
    split_digest: str | None = None
    details: list[dict[str, Any]] = field(default_factory=list)
    accepted: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Plain values, with the title of the check."""
        return {"title": CHECKS[self.check], **asdict(self)}


def worst(findings: Sequence[Finding]) -> str:
    """The worst status of what was not accepted; clean for no finding."""
    counted = [STATUSES.index(finding.status) for finding in findings if not finding.accepted]
    return STATUSES[min(counted, default=len(STATUSES) - 1)]
