"""Can the class be told from headers alone? A classifier that never sees a pixel, on patients it has not seen.

Where it can, a network may learn the scanner in place of the disease, and an accuracy says little. Logistic regression
in cross-validation by patient; the P value comes from fitting everything again with the labels of patients permuted,
because out-of-fold scores of one data set hang together (Ojala and Garriga, JMLR 2010;11:1833-63).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from covidct.data.audit.findings import CLEAN, NOT_DONE, WARNING, Finding
from covidct.data.table import SliceTable
from covidct.evaluation.shortcuts.chance import against_chance, auc_interval
from covidct.training.shortcuts.facts import WORDS, as_numbers, associated, patients_metadata
from covidct.training.shortcuts.linear import out_of_fold

ALPHA = 0.01
LEAST_AUC = 0.6
"""Mean AUC below which a shortcut is too weak to matter, however sure."""

REFITS = 99
"""Permutations with everything fitted again; only where the quick look alarms."""

_WORDS = {**WORDS, "kvp": "tube voltage", "thickness_mm": "slice thickness"}


def audit_headers(table: SliceTable, measures: pd.DataFrame | None, *, replicates: int, seed: int) -> Finding:
    """Tell the class of patients from site, scanner, kernel, year, spacings, sizes, tube voltage and thickness.

    Args:
        table: The slice table.
        measures: What was measured beside it; None: without tube voltage and thickness.
        replicates: Permutations of the quick look, and bootstrap replicates of the interval.
        seed: Of all that is random.
    """
    rows = table.accepted
    rows = rows[rows["label"].notna() & (rows["label"] != "")].reset_index(drop=True)
    patient, keys = pd.factorize(rows["patient_key"], sort=True)
    names, labels = np.unique(rows.groupby(patient)["label"].first().to_numpy(dtype=str), return_inverse=True)
    facts = _facts(rows.assign(patient=patient), measures)
    used = [name for name in _WORDS if name in facts and len(facts[name].unique()) > 1]
    if not used:
        return Finding("header_classifier", CLEAN, f"No fact of the headers differs between the {len(keys)} patients.",
                       counts={"patients": len(keys), "facts": 0})  # fmt: skip
    sites = pd.factorize(rows.groupby(patient)["site"].first())[0]
    numbers = as_numbers(facts, used)
    scores = _scores(numbers, labels, len(names), seed)
    generator = np.random.default_rng(seed)
    pooled = np.zeros(len(labels), int)  # permuted over all sites: the site is one of the facts
    found = None if scores is None else against_chance(labels, scores, pooled, replicates, generator)
    if scores is None or found is None:
        return Finding("header_classifier", NOT_DONE, "Fewer than two classes have two patients.")
    interval = auc_interval(labels, scores, sites, replicates, generator)
    p, fitted_again = found.p, 0
    if found.p < ALPHA and found.value >= LEAST_AUC:
        p, fitted_again = _refitted(numbers, labels, len(names), found.value, seed)
    alone = [_alone(facts, name, labels, len(names), seed) for name in used]
    alone.sort(key=lambda row: -(row["auc"] or 0))
    counts: dict[str, float | int | None] = {
        "patients": len(keys), "facts": len(used), "auc": round(found.value, 4),
        "low": None if interval is None else round(interval[0], 4),
        "high": None if interval is None else round(interval[1], 4),
        "chance": round(found.reach(ALPHA), 4), "p": round(p, 5), "refits": fitted_again,
    }  # fmt: skip
    bounds = "" if interval is None else f" (95 % interval {interval[0]:.2f} to {interval[1]:.2f})"
    if found.value < LEAST_AUC or p > ALPHA:
        return Finding(
            "header_classifier", CLEAN,
            f"Headers alone do not tell the class of {len(keys)} patients: AUC {found.value:.2f}{bounds}; it would "
            f"have been noticed from {max(LEAST_AUC, found.reach(ALPHA)):.2f} on.", counts=counts, details=alone,
        )  # fmt: skip
    best = ", ".join(f"{row['fact']} ({row['auc']:.2f})" for row in alone[:3] if row["auc"] is not None)
    return Finding(
        "header_classifier", WARNING,
        f"Headers alone tell the class of {len(keys)} patients: AUC {found.value:.2f}{bounds}, P {p:.3f}; most by "
        f"{best}. A network that sees the scanner in the pixels can do the same.",
        "match patients on these facts, or compare every result with this AUC; after training, `covidct audit run=`",
        counts, details=alone,
    )  # fmt: skip


def _facts(rows: pd.DataFrame, measures: pd.DataFrame | None) -> pd.DataFrame:
    facts = patients_metadata(rows)
    if measures is None:
        return facts
    known = measures.dropna(subset=["slice_key"]).drop_duplicates("slice_key").set_index("slice_key")
    for name in ("kvp", "thickness_mm"):
        values = rows["slice_key"].map(known[name])
        if values.notna().any():
            facts[name] = values.astype(float).groupby(rows["patient"]).median()
    return facts


def _scores(
    numbers: npt.NDArray[np.float64], labels: npt.NDArray[np.intp], classes: int, seed: int
) -> npt.NDArray[np.float64] | None:
    return out_of_fold(numbers, labels, np.arange(len(labels)), classes, seed)


def _auc(labels: npt.NDArray[np.intp], scores: npt.NDArray[np.float64] | None) -> float | None:
    if scores is None:
        return None
    found = against_chance(labels, scores, np.zeros(len(labels), int), 1, np.random.default_rng(0))
    return None if found is None else found.value


def _refitted(
    numbers: npt.NDArray[np.float64], labels: npt.NDArray[np.intp], classes: int, value: float, seed: int
) -> tuple[float, int]:
    """P of the AUC by fits on permuted labels, ended once it can no longer be as low as `ALPHA`; and the fits."""
    generator = np.random.default_rng([seed, 1])
    reached = 0
    for done in range(1, REFITS + 1):
        shuffled = generator.permutation(labels)
        auc = _auc(shuffled, _scores(numbers, shuffled, classes, seed))
        reached += auc is not None and auc >= value
        if (1 + reached) / (1 + REFITS) > ALPHA:
            return (1 + reached) / (1 + done), done
    return (1 + reached) / (1 + REFITS), REFITS


def _alone(facts: pd.DataFrame, name: str, labels: npt.NDArray[np.intp], classes: int, seed: int) -> dict[str, Any]:
    """What one fact tells by itself."""
    auc = _auc(labels, _scores(as_numbers(facts, [name]), labels, classes, seed))
    v, p, groups = associated(facts[name], labels)
    return {"fact": _WORDS[name], "auc": None if auc is None else round(auc, 4), "cramers_v": round(v, 4),
            "p": round(p, 6), "groups": groups}  # fmt: skip
