"""What Fu et al. 2020 published: Table 1 and Supplementary Tables 1 and 2, as frozen records.

The numbers stand in `published_tables/fu2020.yaml` and nowhere else. Line numbers (L330) are those of the paper's text;
the class names are those of `covidct.labels.FU2020`. Percentages are as printed, with one decimal: rounding is part of
what was published.
"""

from __future__ import annotations

from dataclasses import dataclass

from covidct.evaluation.published_tables.printed import METRICS, Printed
from covidct.evaluation.published_tables.publication import Table, find_publication
from covidct.evaluation.published_tables.reader import read_publication
from covidct.evaluation.published_tables.rows import pairs_that_fit

PUBLICATION = read_publication(find_publication("fu2020"))

TRAINING_SITE, *_others = PUBLICATION.counts
TEST_SITES = tuple(_others)


@dataclass(frozen=True)
class Cohort:
    """One hospital and class of Table 1.

    Args:
        site: Hospital, as printed.
        label: Class name in the order of `FU2020`.
        patients: Number of patients.
        images: Number of CT images.
        line: Line of the paper's text.
    """

    site: str
    label: str
    patients: int
    images: int
    line: int


@dataclass(frozen=True)
class Row:
    """One class of a supplementary table: percentages as printed, against all other classes.

    Args:
        label: Class name.
        accuracy, sensitivity, specificity, ppv, npv: Percent, one decimal.
        line: Line of the paper's text.
    """

    label: str
    accuracy: float
    sensitivity: float
    specificity: float
    ppv: float
    npv: float
    line: int


def _percent(printed: Printed) -> float:
    return float(printed.text)


def _rows(table: Table) -> tuple[Row, ...]:
    return tuple(
        Row(row.label, line=row.line or 0, **{metric: _percent(row.figures[metric]) for metric in METRICS})
        for row in table.rows
    )


TABLE_1 = tuple(
    Cohort(site, label, counts["patients"][place], counts["images"][place], PUBLICATION.count_lines[label])
    for site, counts in PUBLICATION.counts.items()
    for place, label in enumerate(PUBLICATION.classes)
)
"""Patients and images per hospital and class (L325-336)."""

VALIDATION = _rows(PUBLICATION.tables["validation"])
"""Supplementary Table 1 (L373-380): validation images, a random quarter of the same patients' images as in training."""

TEST = _rows(PUBLICATION.tables["test"])
"""Supplementary Table 2 (L421-430): images of both test hospitals together."""

TEST_AUC_COVID19 = next(_percent(row.auc) for row in PUBLICATION.tables["test"].rows if row.auc is not None)
"""Percent; COVID-19 against the other four, test images of both hospitals together. Without interval (L416)."""


def published_rows(split: str) -> dict[str, Row]:
    """The published row of each class.

    Args:
        split: "val" (Supplementary Table 1) or "test" (Supplementary Table 2).

    Returns:
        Rows by class name; empty for any other partition, of which nothing was published.
    """
    return {row.label: row for row in {"val": VALIDATION, "test": TEST}.get(split, ())}


def external_images() -> dict[str, int]:
    """Images of each class at the two test hospitals together (Table 1)."""
    table = PUBLICATION.tables["test"]
    return dict(zip(table.classes, table.counts, strict=True))


def impossible_test_rows() -> tuple[str, ...]:
    """Classes whose row of Supplementary Table 2 cannot be true of Table 1's image counts.

    This speaks of the printed numbers taken together, not of anyone's work: an average over the two hospitals, or other
    counts than those of Table 1, would explain it. `covidct audit table=fu2020` has the whole audit.
    """
    table = PUBLICATION.tables["test"]
    cells, total = table.cells("round"), sum(table.counts)
    found = []
    for place, (label, positives) in enumerate(zip(table.classes, table.counts, strict=True)):
        figures = {metric: cells[place, metric] for metric in METRICS}
        if not pairs_that_fit(positives, total - positives, figures):
            found.append(label)
    return tuple(found)
