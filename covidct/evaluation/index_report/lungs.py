"""The area of the lungs in each slice: its distribution, what a least area leaves, and the slices next to it.

"Images without perfect lung fields were filtered out" (Fu et al. 2020, L222) is the only criterion the paper gives.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from covidct.evaluation.index_report.material import IndexMaterial, patients

LADDER_CM2 = (10, 20, 30, 40, 50, 60, 80, 100, 120, 150, 200)
"""Least areas whose effect is shown."""


def lungs(material: IndexMaterial) -> dict[str, Any] | None:
    """What the areas say.

    Returns:
        None where no area is known, else "threshold_cm2" or None; "areas": class -> areas in cm2 of all slices that
        passed everything but the rule of areas; "unknown": slices among them without an area; "ladder": for each least
        area what it would accept; "below" and "above": rows next to the threshold, empty without one.
    """
    rule = material.rules.get("lungs_cm2")
    reasons = {s["reason"] for s in material.rules.get("steps") or () if s["rule"] == "lungs_cm2"}
    rows = pd.concat([material.accepted, material.refused[material.refused["reason"].isin(reasons)]], ignore_index=True)
    rows = rows.assign(cm2=rows["lung_mm2"].astype(float) / 100)
    known = rows[rows["cm2"].notna()]
    if known.empty:
        return None
    steps = sorted({*LADDER_CM2, *([rule] if rule else [])})
    near = _near(known, rule) if rule else {"below": known[:0], "above": known[:0]}
    return {
        "threshold_cm2": rule,
        "areas": {name: known.loc[known["label"] == name, "cm2"].to_numpy() for name in material.classes},
        "unknown": len(rows) - len(known),
        "ladder": [_step(rows, None, material.classes), *(_step(rows, least, material.classes) for least in steps)],
        **near,
    }


def _step(rows: pd.DataFrame, least: float | None, classes: tuple[str, ...]) -> dict[str, Any]:
    kept = rows if least is None else rows[rows["cm2"] >= least]
    of = rows.groupby("label").size()
    kept_of = kept.groupby("label").size()
    return {
        "least": least,
        "slices": len(kept),
        "share": len(kept) / len(rows),
        "patients": patients(kept),
        "classes": [float(kept_of.get(name, 0) / of[name]) if of.get(name) else None for name in classes],
    }


def _near(known: pd.DataFrame, rule: float, count: int = 8, of_one: int = 2) -> dict[str, pd.DataFrame]:
    """The slices nearest to the threshold on either side, at most two of a patient, in the order of their areas."""
    found = {}
    for name, side in (("below", known[known["cm2"] < rule]), ("above", known[known["cm2"] >= rule])):
        ordered = side.assign(far=np.abs(side["cm2"] - rule)).sort_values(["far", "site", "patient_key", "slice_key"])
        few = ordered[ordered.groupby(["site", "patient_key"]).cumcount() < of_one]
        more = ordered.drop(few.index)
        found[name] = pd.concat([few, more])[:count].sort_values("cm2", kind="stable")
    return found
