"""What stands beside a table's figures when they are printed as they should be: intervals, baselines, prevalence.

Intervals that take images as independent are printed only to be called naive. The design effect is 1 + (m - 1) ICC for
m images a patient (Kish 1965); AUC bounds through one operating point are elementary geometry of the ROC square.
"""

from __future__ import annotations

from math import ceil, floor, sqrt
from typing import Any

from scipy.stats import chi2_contingency

from covidct.evaluation.intervals import clopper_pearson, wilson
from covidct.evaluation.published_tables.publication import Publication, Row, Table

ICCS = (0.05, 0.1, 0.3)
PREVALENCES = (0.05, 0.01, 0.001)


def beside(publication: Publication, table: Table) -> dict[str, Any]:
    """Context of every row, and of the table.

    Returns:
        "rows" (one entry a printed row), "site_association" and "patient_rule"; None where the counts do not allow it.
        Fractions in 0..1.
    """
    patients = publication.cases(table.sites, "patients")
    return {
        "rows": [_row(table, row, patients) for row in table.rows],
        "site_association": _association(publication, table),
        "patient_rule": _patient_rule(publication, table, patients),
    }


def design_effect(per_patient: float, icc: float) -> float:
    """By how much clustering widens a variance: 1 + (m - 1) ICC."""
    return 1 + (per_patient - 1) * icc


def auc_bounds(fpr: float, tpr: float) -> dict[str, float]:
    """AUCs of all ROC curves through a point: any rising curve, and the least of a concave one."""
    return {"low": tpr * (1 - fpr), "high": 1 - fpr * (1 - tpr), "concave_low": (1 + tpr - fpr) / 2}


def ppv_at(sensitivity: float, specificity: float, prevalence: float) -> float | None:
    """PPV at another prevalence, by Bayes; None without any positive call."""
    right, wrong = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    return right / (right + wrong) if right + wrong else None


def _row(table: Table, row: Row, patients: tuple[int, ...] | None) -> dict[str, Any]:
    place = table.classes.index(row.label)
    cases, total = table.counts[place], sum(table.counts)
    found: dict[str, Any] = {"class": row.label, "cases": cases, "prevalence": cases / total,
                             "never_accuracy": 1 - cases / total}  # fmt: skip
    value = {metric: None if p.value is None else float(p.value) for metric, p in row.figures.items()}
    sensitivity, specificity = value.get("sensitivity"), value.get("specificity")
    found["sensitivity_naive"] = found["sensitivity_patients"] = found["design"] = None
    if sensitivity is not None and cases:
        k = round(sensitivity * cases)
        found["sensitivity_naive"] = {"successes": k, "n": cases, "interval": list(wilson(k, cases))}
    people = None if patients is None or table.unit == "patients" else patients[place]
    if table.unit == "patients":
        people = cases
    if sensitivity is not None and people:
        near = sorted({int(sensitivity * people), min(people, int(sensitivity * people) + 1)})
        found["sensitivity_patients"] = [
            {"successes": k, "n": people, "interval": list(clopper_pearson(k, people))} for k in near
        ]
    if table.unit == "images" and people and table.share == 1:
        each = cases / people
        effects = [(icc, design_effect(each, icc)) for icc in ICCS]
        found["design"] = {
            "images_per_patient": each,
            "effects": [{"icc": icc, "effect": effect, "effective": cases / effect} for icc, effect in effects],
        }
    found["ppv_at"] = found["auc"] = None
    if sensitivity is not None and specificity is not None:
        found["ppv_at"] = {str(p): ppv_at(sensitivity, specificity, p) for p in PREVALENCES}
        if row.auc is not None and row.auc.value is not None:
            bounds = auc_bounds(1 - specificity, sensitivity)
            half = float(row.auc.unit) / 2
            auc = float(row.auc.value)
            fits = bounds["low"] - half <= auc <= bounds["high"] + half
            found["auc"] = {"printed": auc, **bounds, "admissible": fits}
    return found


def summary_of_pairs(cases: int, others: int, fn: int, fp: int) -> dict[str, float | None]:
    """MCC and F1 of one class against the rest; None for 0 of 0."""
    tp, tn = cases - fn, others - fp
    below = sqrt(float(tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return {
        "mcc": (tp * tn - fp * fn) / below if below else None,
        "f1": 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else None,
    }


def _association(publication: Publication, table: Table) -> dict[str, float] | None:
    """Are classes and sites of the table's patients associated? Then pooled figures depend on who was sent where."""
    counts = [publication.counts[site].get("patients") for site in table.sites]
    rows = [c for c in counts if c is not None]
    if len(rows) < 2 or len(rows) < len(counts):
        return None
    kept = [[n for n, column in zip(row, zip(*rows, strict=True), strict=True) if sum(column)] for row in rows]
    if any(not sum(row) for row in kept) or len(kept[0]) < 2:
        return None
    test = chi2_contingency(kept, correction=False)
    total = sum(map(sum, kept))
    v = sqrt(float(test.statistic) / total / min(len(kept) - 1, len(kept[0]) - 1))
    return {"chi2": float(test.statistic), "df": float(test.dof), "p": float(test.pvalue), "cramers_v": v}


def _patient_rule(publication: Publication, table: Table, patients: tuple[int, ...] | None) -> dict[str, float] | None:
    """What "normal only if every image is" makes of the printed sensitivity of normal images."""
    normal = publication.normal
    row = next((row for row in table.rows if row.label == normal), None)
    if (
        row is None
        or patients is None
        or table.unit != "images"
        or table.share != 1
        or "sensitivity" not in row.figures
    ):
        return None
    place = table.classes.index(row.label)
    people, cases, value = patients[place], table.counts[place], row.figures["sensitivity"].value
    if not people or value is None:
        return None
    allowed = row.figures["sensitivity"].bounds("round" if table.rounding == "unknown" else table.rounding)
    if allowed.low is None or allowed.high is None:
        return None
    fewest, most = ceil((1 - allowed.high) * cases), floor((1 - allowed.low) * cases)
    each = cases / people
    return {
        "normal_patients": people,
        "wrong_images_fewest": fewest,
        "wrong_images_most": most,
        "least_right": max(0, people - most),
        "most_right": people - ceil(fewest / each),
        "right_if_independent": float(value) ** each,
        "images_per_patient": each,
    }
