"""Where a class comes from: sources of one class, and classes that go with site, scanner, kernel or year.

The patient is the unit. P values are exact or by permutation of patients; what is asked of several facts at once is
corrected for it, so that data without any association raise an alarm here in at most two of a hundred audits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import gammaln
from scipy.stats.contingency import association

from covidct.data.audit.findings import CLEAN, NOT_DONE, NOTE, WARNING, Finding
from covidct.data.leaks import number
from covidct.data.table import SliceTable

FACTS = {"site": "site", "scanner": "scanner", "kernel": "kernel", "acquired_year": "year"}
"""Columns of the slice table that name a source, and their words."""

ALPHA = 0.01
LEAST_V = 0.2
"""Cramér's V from which an association is worth a warning: below, a classifier gains little from it."""

MISSING = "(none)"


def people(table: SliceTable) -> pd.DataFrame:
    """One row per labelled patient: label, and the commonest value of each of `FACTS`."""
    rows = table.accepted
    rows = rows[rows["label"].notna() & (rows["label"] != "")]
    groups = rows.groupby("patient_key")
    facts = {"label": groups["label"].first()}
    for name in FACTS:
        counted = rows[["patient_key"]].assign(value=rows[name].astype(object).where(rows[name].notna(), MISSING))
        sizes = counted.groupby(["patient_key", "value"]).size().reset_index(name="n")
        sizes["value"] = sizes["value"].astype(str)
        ordered = sizes.sort_values(["patient_key", "n", "value"], ascending=[True, False, True])
        facts[name] = ordered.groupby("patient_key")["value"].first()
    return pd.DataFrame(facts)


def audit_origins(table: SliceTable, *, replicates: int, seed: int) -> list[Finding]:
    """Single-class sources, and classes that go with a source.

    Args:
        table: The slice table.
        replicates: Permutations.
        seed: Of the permutations.
    """
    facts = people(table)
    names = ("single_class_source", "class_by_source")
    if facts["label"].nunique() < 2:
        return [Finding(name, NOT_DONE, "Fewer than two classes have patients.") for name in names]
    return [_single(facts), _associated(facts, replicates, np.random.default_rng(seed))]


def _single(facts: pd.DataFrame) -> Finding:
    """Sources whose patients are all of one class, where chance does not explain it."""
    shares = facts["label"].value_counts()
    groups: list[dict[str, Any]] = []
    for name, word in FACTS.items():
        if facts[name].nunique() < 2:
            continue
        for value, group in facts.groupby(name):
            labels = group["label"].unique()
            p = _chance_of_one_class(shares.to_numpy(), len(group)) if len(group) > 1 else 1.0
            groups.append({"fact": word, "value": str(value), "patients": len(group), "single": len(labels) == 1,
                           "class": str(labels[0]) if len(labels) == 1 else None, "p": p})  # fmt: skip
    counts: dict[str, float | int | None] = {"sources": len(groups), "single": sum(g["single"] for g in groups)}
    single = [g for g in groups if g["single"] and g["p"] * len(groups) < ALPHA]
    counts["beyond_chance"] = len(single)
    if not single:
        return Finding("single_class_source", CLEAN, f"No source of one class beyond chance, of {len(groups)}.",
                       counts=counts)  # fmt: skip
    single.sort(key=lambda g: (-g["patients"], g["fact"], g["value"]))
    whole = [g for g in single if g["patients"] == shares[g["class"]]]
    said = "; ".join(
        f"{g['fact']} {g['value']} has only {g['class']} ({number(g['patients'], 'patient')}"
        f"{', all there are' if g in whole else ''})" for g in single[:6]
    )  # fmt: skip
    return Finding(
        "single_class_source", WARNING,
        f"{said}{f' and {len(single) - 6} more' if len(single) > 6 else ''}: there the source tells the class.",
        "add patients of other classes from these sources, or leave the sources out; keep them as external tests only "
        "if every class is tested", counts,
        details=[{key: value for key, value in g.items() if key != "single"} for g in single[:200]],
    )  # fmt: skip


def _chance_of_one_class(sizes: npt.NDArray[Any], n: int) -> float:
    """The probability that n patients drawn at random are all of one class (hypergeometric)."""
    total = float(sizes.sum())
    logs = [gammaln(k + 1) - gammaln(k - n + 1) for k in sizes.astype(float) if k >= n]
    return float(sum(np.exp(log - (gammaln(total + 1) - gammaln(total - n + 1))) for log in logs))


def _associated(facts: pd.DataFrame, replicates: int, generator: np.random.Generator) -> Finding:
    labels = pd.factorize(facts["label"], sort=True)[0]
    rows: list[dict[str, Any]] = []
    for name, word in FACTS.items():
        values = pd.factorize(facts[name], sort=True)[0]
        if values.max(initial=0) > 0:
            found = _permuted(values, labels, replicates, generator)
            rows.append({"fact": word, "values": int(values.max()) + 1, **found})
    if not rows:
        return Finding("class_by_source", CLEAN, "Site, scanner, kernel and year are the same for all patients.")
    rows.sort(key=lambda row: (row["p"], -row["cramers_v"]))
    least = 0.0
    for rank, row in enumerate(rows):  # Holm 1979
        least = row["p_corrected"] = min(1.0, max(least, row["p"] * (len(rows) - rank)))
    beyond = [row for row in rows if row["p_corrected"] < ALPHA]
    strong = [row for row in beyond if row["cramers_v"] >= LEAST_V]
    counts: dict[str, float | int | None] = {
        "patients": len(facts), "facts": len(rows), "beyond_chance": len(beyond), "strong": len(strong)
    }  # fmt: skip
    said = ", ".join(
        f"{row['fact']} (Cramér's V {row['cramers_v']:.2f}; shuffled patients give {row['chance']:.2f} at most in 95 "
        f"of 100; P {_p(row['p_corrected'])})" for row in beyond
    )  # fmt: skip
    if not beyond:
        said = ", ".join(row["fact"] for row in rows)
        return Finding("class_by_source", CLEAN, f"The class of {len(facts)} patients goes with none of {said}.",
                       counts=counts, details=rows)  # fmt: skip
    return Finding(
        "class_by_source", WARNING if strong else NOTE, f"The class goes with {said}.",
        "balance classes within each source, or report results within sources; `covidct audit run=` says whether a "
        "network makes use of it", counts, details=rows,
    )  # fmt: skip


def _permuted(
    values: npt.NDArray[np.intp], labels: npt.NDArray[np.intp], replicates: int, generator: np.random.Generator
) -> dict[str, float]:
    """Cramér's V of a fact and the class, and its distribution over permutations of patients.

    With fixed margins V grows with the sum of n_ij^2 / (n_i n_j), so that alone is computed for each permutation.
    """
    groups, classes = int(values.max()) + 1, int(labels.max()) + 1
    rows, cols = np.bincount(values, minlength=groups), np.bincount(labels, minlength=classes)
    expected = np.outer(rows, cols) / len(labels)

    def chi2(of: npt.NDArray[np.intp]) -> float:
        table = np.bincount(values * classes + of, minlength=groups * classes).reshape(groups, classes)
        return float(((table - expected) ** 2 / expected).sum())

    found = chi2(labels)
    draws = np.array([chi2(generator.permutation(labels)) for _ in range(replicates)])
    least = min(groups, classes) - 1
    table = np.bincount(values * classes + labels, minlength=groups * classes).reshape(groups, classes)
    return {
        "cramers_v": round(float(association(table, method="cramer")), 4),
        "chance": round(float(np.sqrt(np.quantile(draws, 0.95) / (len(labels) * least))), 4),
        "p": float((1 + (draws >= found - 1e-9).sum()) / (1 + replicates)),
    }


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 0.0001 else "< 0.0001"
