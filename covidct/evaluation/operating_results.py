"""What the frozen thresholds of the positive class do: on the test sites, and (optimistically) on validation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from covidct.evaluation.intervals import proportion
from covidct.evaluation.operating_point import OperatingPoint
from covidct.evaluation.predictions import Predictions


def binary_results(predictions: Predictions, table: pd.DataFrame, point: OperatingPoint) -> list[dict[str, Any]]:
    """Sensitivity and specificity at each frozen threshold, per partition and site, pooled last.

    A patient without a result is a miss of the positive class, and a false alarm of it: not found, not ruled out.

    Args:
        predictions: The slices.
        table: `patient_table` of them, with the point's rule as `validation_rule`.
        point: The operating point; nothing is chosen here.

    Returns:
        Rows of `split`, `site`, `level`, `criterion`, `threshold`, `counts` (tp, fp, fn, tn in slices or patients),
        `sensitivity`, `specificity` (intervals as dictionaries; patients are the unit at both levels). The last three
        are None where there is no threshold.
    """
    scheme = predictions.scheme
    if scheme.positive is None:
        return []
    patients = table[["split", "site", "patient_key", "label"]]
    found = {
        "patient": patients.assign(score=table[f"validation_rule_{scheme.positive}"]),
        "slice": predictions.frame[["split", "site", "patient_key", "label"]].assign(
            score=predictions.frame[f"p_{scheme.positive}"]
        ),
    }
    rows: list[dict[str, Any]] = []
    for split in ("val", "test"):
        sites = sorted(table.loc[table["split"] == split, "site"].unique())
        for site in sites if len(sites) < 2 else [*sites, "(pooled)"]:
            for one in point.binary:
                cases = found[one.level]
                cases = cases[(cases["split"] == split) & ((cases["site"] == site) | (site == "(pooled)"))]
                place = {"split": split, "site": site, "level": one.level, "criterion": one.criterion}
                rows.append({**place, "threshold": one.threshold, **_at(one.threshold, cases, scheme.positive)})
    return rows


def _at(threshold: float | None, cases: pd.DataFrame, positive: str) -> dict[str, Any]:
    if threshold is None:
        return {"counts": None, "sensitivity": None, "specificity": None}
    ill = (cases["label"] == positive).to_numpy()
    score = cases["score"].to_numpy(dtype=np.float64)
    called = score >= threshold
    right = np.where(ill, called, ~called & ~np.isnan(score))
    patient = cases.groupby(["site", "patient_key"]).ngroup().to_numpy()
    n = int(patient.max(initial=-1)) + 1
    shares = {
        name: proportion(np.bincount(patient[right & group], minlength=n), np.bincount(patient[group], minlength=n))
        for name, group in (("sensitivity", ill), ("specificity", ~ill))
    }
    tp, tn = int((right & ill).sum()), int((right & ~ill).sum())
    counts = {"tp": tp, "fp": int((~ill).sum()) - tn, "fn": int(ill.sum()) - tp, "tn": tn}
    return {"counts": counts, **{name: share.as_dict() for name, share in shares.items()}}
