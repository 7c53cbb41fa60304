"""A summary checked against itself, as the tables of other people's papers are (fault 55)."""

from __future__ import annotations

from typing import Any

import numpy as np

from covidct.errors import IntegrityError
from covidct.evaluation import metrics
from covidct.evaluation.patient import CONFLICT, NO_RESULT
from covidct.evaluation.published_tables.own import audit_printed


def self_audit(summary: dict[str, Any]) -> None:
    """Check a summary against itself: what a sceptical reader would recompute from the printed matrices.

    Raises:
        IntegrityError: A count or a metric does not follow from its confusion matrix, a fraction is outside 0..1, or
            a mean over classes is not their mean. The message names the block and the figure.
    """
    names = list(summary["classes"]["names"])
    for block in summary["blocks"]:
        where = "/".join(str(block[key]) for key in ("split", "site", "level", "aggregation"))
        columns = list(block["confusion_columns"])
        matrix = np.array(block["confusion"], dtype=np.int64)
        if matrix.shape != (len(names), len(columns)) or columns[: len(names)] != names or (matrix < 0).any():
            raise IntegrityError("the confusion matrix does not fit the classes", where=where)
        place = {name: column for column, name in enumerate(columns)}
        conflict, no_result = place.get(CONFLICT), place.get(NO_RESULT)
        calls = None if block["conflict_calls"] is None else np.array(block["conflict_calls"], dtype=np.int64)
        unit = "n_slices" if block["level"] == "slice" else "n_patients"
        expected: list[tuple[str, Any, Any]] = [
            (unit, block[unit], int(matrix.sum())),
            ("n_conflict", block["n_conflict"], 0 if conflict is None else int(matrix[:, conflict].sum())),
            ("n_no_result", block["n_no_result"], 0 if no_result is None else int(matrix[:, no_result].sum())),
            ("accuracy", block["accuracy"]["value"], metrics.top1(matrix)),
        ]
        if calls is not None and conflict is not None:
            torn = matrix[:, conflict]
            if (calls < 0).any() or (calls > torn[:, None]).any() or (calls.sum(axis=1) < 2 * torn).any():
                raise IntegrityError("conflict_calls do not fit the conflicts of the confusion matrix", where=where)
        for k, name in enumerate(names):
            figures = block["per_class"][name]
            counts = metrics.counts_from_confusion(
                matrix, k, conflict=conflict, no_result=no_result, conflict_calls=calls
            )
            positives = figures["n_positive_slices" if block["level"] == "slice" else "n_positive_patients"]
            expected.append((f"{name} cases", positives, int(matrix[k].sum())))
            expected += [
                (f"{name} {metric}", figures[metric]["value"], getattr(counts, metric)) for metric in metrics.COUNTING
            ]
            curve = block["roc"][name]
            if curve is not None:
                point = curve["operating_point"]
                expected.append((f"{name} operating point tpr", point["tpr"], counts.sensitivity))
                expected.append((f"{name} operating point fpr", 1 - point["fpr"], counts.specificity))
        for metric in ("auc", "sensitivity"):
            mean, counted = metrics.macro([block["per_class"][name][metric]["value"] for name in names])
            expected.append((f"macro_{metric}", block[f"macro_{metric}"]["value"], mean))
            expected.append((f"macro_{metric} classes", block[f"macro_{metric}"]["classes_counted"], counted))
        for figure, given, computed in expected:
            same = given is computed if given is None or computed is None else abs(given - computed) <= 1e-9
            if not same:
                raise IntegrityError(
                    f"{figure} is {given}, but {computed} follows from the confusion matrix",
                    where=where,
                    remedy="do not edit metrics.json; evaluate the run again",
                )
        _audit_ranges(block, where)
    for row in summary.get("binary") or []:
        _audit_binary(row)
    audit_printed(summary)


def _audit_binary(row: dict[str, Any]) -> None:
    """Sensitivity and specificity at a frozen threshold follow from the printed counts."""
    where = "/".join(str(row[key]) for key in ("split", "site", "level", "criterion"))
    if row["threshold"] is None:
        if any(row[key] is not None for key in ("counts", "sensitivity", "specificity")):
            raise IntegrityError("figures at a threshold that does not exist", where=where)
        return
    counts = metrics.Counts(**row["counts"])
    for figure in ("sensitivity", "specificity"):
        given, computed = row[figure]["value"], getattr(counts, figure)
        same = given is computed if given is None or computed is None else abs(given - computed) <= 1e-9
        if not same:
            raise IntegrityError(f"{figure} is {given}, but {computed} follows from the counts", where=where)


def _audit_ranges(block: dict[str, Any], where: str) -> None:
    intervals = {"accuracy": block["accuracy"], "macro_auc": block["macro_auc"]}
    intervals["macro_sensitivity"] = block["macro_sensitivity"]
    for name, figures in block["per_class"].items():
        intervals |= {f"{name} {metric}": figures[metric] for metric in ("auc", *metrics.COUNTING)}
    for figure, interval in intervals.items():
        numbers = [interval[key] for key in ("low", "value", "high") if interval[key] is not None]
        if any(not 0 <= number <= 1 for number in numbers) or (
            interval["low"] is not None and interval["low"] > interval["high"]
        ):
            raise IntegrityError(f"{figure} is not a fraction with its interval: {numbers}", where=where)
