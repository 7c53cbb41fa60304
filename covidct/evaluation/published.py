"""What Fu et al. 2020 published: Table 1 and Supplementary Tables 1 and 2, as frozen records.

Line numbers (L330) are those of the paper's text; the class names are those of `covidct.labels.FU2020`. The paper
prints percentages with one decimal; they are kept as printed, in percent: rounding is part of what was published.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor

from covidct.labels import FU2020

METRICS = ("accuracy", "sensitivity", "specificity", "ppv", "npv")
"""The five one-vs-rest figures of the supplementary tables, in their column order. AUC is not among them."""

TRAINING_SITE = "Wuhan Jin Yin-Tan Hospital"
TEST_SITES = ("Zhongshan Hospital Xiamen University", "The Fifth Hospital of Wuhan")
TEST_AUC_COVID19 = 99.0
"""Percent; COVID-19 against the other four, test images of both hospitals together. Without interval (L416)."""


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


def _cohorts() -> tuple[Cohort, ...]:
    printed = (  # L330-336: patients and images at the training hospital, Zhongshan, Fifth
        ("normal", 330, (200, 19976), (50, 4478), (50, 4419)),
        ("covid19", 333, (100, 10057), (13, 1288), (37, 3599)),
        ("viral", 334, (102, 10028), (32, 3004), (20, 2101)),
        ("bacterial", 335, (103, 10107), (28, 2719), (25, 2386)),
        ("tuberculosis", 336, (105, 10259), (16, 1589), (38, 3618)),
    )
    sites = (TRAINING_SITE, *TEST_SITES)
    return tuple(
        Cohort(site, label, *cells[position], line)
        for position, site in enumerate(sites)
        for label, line, *cells in printed
    )


TABLE_1 = _cohorts()
"""Patients and images per hospital and class (L325-336)."""

VALIDATION = (
    Row("normal", 99.2, 99.0, 99.3, 98.5, 99.5, 376),
    Row("covid19", 98.9, 96.7, 99.3, 96.7, 99.3, 377),
    Row("viral", 98.9, 96.1, 99.4, 97.0, 99.2, 378),
    Row("bacterial", 98.6, 96.0, 99.2, 95.8, 99.2, 379),
    Row("tuberculosis", 99.1, 97.2, 99.4, 97.3, 99.4, 380),
)
"""Supplementary Table 1 (L373-380): validation images, a random quarter of the same patients' images as in training."""

TEST = (
    Row("normal", 99.4, 99.1, 99.5, 99.1, 99.5, 424),
    Row("covid19", 98.8, 98.2, 98.9, 94.5, 99.7, 426),
    Row("viral", 98.5, 95.0, 99.2, 95.7, 99.0, 428),
    Row("bacterial", 98.3, 94.1, 99.2, 96.2, 98.8, 429),
    Row("tuberculosis", 98.6, 95.6, 99.3, 96.5, 99.1, 430),
)
"""Supplementary Table 2 (L421-430): images of both test hospitals together."""


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
    return {name: sum(c.images for c in TABLE_1 if c.label == name and c.site in TEST_SITES) for name in FU2020}


def counts_that_fit(row: Row, positives: int, negatives: int) -> list[tuple[int, int]]:
    """All ways in which whole numbers of images could give a published row.

    Each printed percentage allows half a unit of its last digit either way, both ends included, whichever way ties are
    rounded.

    Args:
        row: The published percentages.
        positives: Images of the class.
        negatives: Images of all other classes.

    Returns:
        Pairs (false negatives, false positives); empty when the row cannot be true of these counts.
    """
    half = 0.05 + 1e-9

    def near(part: int, whole: int, percent: float) -> bool:
        return whole > 0 and abs(100.0 * part / whole - percent) <= half

    missed = range(
        max(0, floor(positives * (100 - row.sensitivity - half) / 100)),
        min(positives, ceil(positives * (100 - row.sensitivity + half) / 100)) + 1,
    )
    false_alarms = range(
        max(0, floor(negatives * (100 - row.specificity - half) / 100)),
        min(negatives, ceil(negatives * (100 - row.specificity + half) / 100)) + 1,
    )
    return [
        (fn, fp)
        for fn in missed
        for fp in false_alarms
        if near(positives - fn, positives, row.sensitivity)
        and near(negatives - fp, negatives, row.specificity)
        and near(positives - fn + negatives - fp, positives + negatives, row.accuracy)
        and near(positives - fn, positives - fn + fp, row.ppv)
        and near(negatives - fp, negatives - fp + fn, row.npv)
    ]


def impossible_test_rows() -> tuple[str, ...]:
    """Classes whose row of Supplementary Table 2 cannot be true of Table 1's image counts.

    This speaks of the printed numbers taken together, not of anyone's work: an average over the two hospitals, or other
    counts than those of Table 1, would explain it.
    """
    images = external_images()
    total = sum(images.values())
    return tuple(row.label for row in TEST if not counts_that_fit(row, images[row.label], total - images[row.label]))
