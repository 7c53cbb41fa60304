"""Probes that need nothing but the slice table: metadata, duplicates, position."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import chi2_contingency
from scipy.stats.contingency import association

from covidct.evaluation.shortcuts.chance import against_chance, auc_interval, patient_means
from covidct.evaluation.shortcuts.judges import judge_duplicates, judge_metadata, judge_told
from covidct.evaluation.shortcuts.outcome import Outcome, not_done
from covidct.training.shortcuts.linear import out_of_fold
from covidct.training.shortcuts.material import Material

WORDS = {
    "site": "site",
    "manufacturer": "manufacturer",
    "scanner": "scanner",
    "kernel": "kernel",
    "acquired_year": "year",
    "spacing_mm": "slice spacing",
    "row_mm": "pixel size",
    "rows": "picture height",
    "cols": "picture width",
    "slices": "slices in the series",
}
"""Columns of one patient's metadata. The slice table holds neither tube voltage nor nominal thickness; the spacing of
the slices stands for the latter."""
TEXT = ("site", "manufacturer", "scanner", "kernel")
BINS = 5


def metadata(material: Material, seed: int, replicates: int) -> Outcome:
    """Logistic regression on metadata, patients in cross-validation; every patient of the split."""
    rows = material.labelled
    people = material.people(rows)
    facts = patients_metadata(material.frame.iloc[rows].assign(patient=people.of_slice))
    varying = [name for name in WORDS if len(facts[name].unique()) > 1]
    absent = [WORDS[name] for name in WORDS if facts[name].isna().all()] + ["tube voltage (not in the slice table)"]
    if not varying:
        return not_done("metadata", "no column of metadata differs between the patients")
    scores = out_of_fold(
        _numbers(facts, varying), people.labels, np.arange(len(people)), len(material.run.scheme), seed
    )
    if scores is None:
        return not_done("metadata", "fewer than two classes have two patients")
    generator = np.random.default_rng(seed)
    found = against_chance(people.labels, scores, np.zeros(len(people), int), 1, generator)
    bounds = auc_interval(people.labels, scores, people.sites, replicates, generator)
    if found is None or bounds is None:
        return not_done("metadata", f"too few patients for an interval ({len(people)})")
    columns: list[dict[str, Any]] = [
        {
            "column": WORDS[name],
            **dict(zip(("cramers_v", "p", "values"), associated(facts[name], people.labels), strict=True)),
        }
        for name in varying
    ]
    columns.sort(key=lambda row: -row["cramers_v"])
    return judge_metadata(found.value, bounds, columns, len(people), absent)


def patients_metadata(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per patient, in the order of `patient`: the commonest text, the median number."""
    ordered = frame.sort_values(["series_key", "position_mm"])
    steps = ordered.groupby("series_key")["position_mm"].diff().abs().groupby(ordered["patient"]).median()
    groups = frame.groupby("patient")
    facts = {name: groups[name].agg(lambda values: _commonest(values)) for name in TEXT}
    for name in ("acquired_year", "row_mm", "rows", "cols"):
        facts[name] = groups[name].agg(
            lambda values: float(values.dropna().median()) if values.notna().any() else np.nan
        )
    facts["spacing_mm"] = steps.round(1)
    facts["slices"] = groups.size() / groups["series_key"].nunique()
    return pd.DataFrame(facts)


def _commonest(values: pd.Series) -> str | None:
    known = values.dropna()
    return str(known.mode().iloc[0]) if len(known) else None


def _numbers(facts: pd.DataFrame, names: list[str]) -> np.ndarray:
    """Text one-hot, numbers as they are and in a few bins, so that a scale with several peaks is no hiding place."""
    parts = []
    for name in names:
        if name in TEXT:
            parts.append(pd.get_dummies(facts[name].fillna("(none)"), prefix=name, dtype=float))
            continue
        values = facts[name].astype(float)
        parts.append(values.fillna(values.median()).to_frame(name))
        parts.append(pd.get_dummies(binned(values), prefix=f"{name}_bin", dtype=float))
    return pd.concat(parts, axis=1).to_numpy(dtype=float)


def binned(values: pd.Series) -> pd.Series:
    """Values in at most five groups: as they are where there are no more, else by quantiles; missing is a group."""
    if values.dtype == object or values.nunique() <= BINS:
        return values.astype(object).where(values.notna(), "(none)").astype(str)
    return pd.qcut(values, BINS, duplicates="drop").astype(str)


def associated(values: pd.Series, labels: np.ndarray) -> tuple[float, float, int]:
    """Cramér's V, the P of the chi-squared test and the number of groups of a column against the labels."""
    counts = pd.crosstab(binned(values).to_numpy(), labels).to_numpy()
    if min(counts.shape) < 2:
        return 0.0, 1.0, int(counts.shape[0])
    return float(association(counts, method="cramer")), float(chi2_contingency(counts).pvalue), int(counts.shape[0])


def duplicates(material: Material) -> Outcome:
    """Equal pixels under two patients, or in two partitions."""
    frame = material.frame
    parts = np.full(len(frame), "", dtype=object)
    for name, rows in material.parts.items():
        parts[rows] = name.split("/")[0]
    used = frame.assign(part=parts).iloc[material.labelled]
    groups = used.groupby("pixel_hash")
    return judge_duplicates(
        int(groups["patient"].nunique().ge(2).sum()),
        int(groups["part"].nunique().ge(2).sum()),
        len(np.unique(used["patient"])),
    )


def position(material: Material, seed: int, replicates: int) -> Outcome:
    """Logistic regression on the place of a slice in its series, patients in cross-validation."""
    frame = material.frame.iloc[material.labelled]
    length = frame.groupby("series_key")["slice_number"].transform("max").to_numpy(dtype=float)
    known = frame["position_mm"].notna().to_numpy() & (length >= 1)
    if not known.any():
        return not_done("position", "the pictures have no place in a series")
    rows = material.labelled[known]
    people = material.people(rows)
    place = frame["slice_number"].to_numpy(dtype=float)[known] / length[known]
    numbers = np.column_stack([place, *[np.maximum(place - knot, 0) for knot in (0.2, 0.4, 0.6, 0.8)]])
    scores = out_of_fold(numbers, people.labels[people.of_slice], people.of_slice, len(material.run.scheme), seed)
    if scores is None:
        return not_done("position", "fewer than two classes have two patients")
    means = patient_means(scores, people.of_slice, len(people))
    generator = np.random.default_rng([seed, 1])
    chance = against_chance(people.labels, means, people.sites, replicates, generator)
    bounds = auc_interval(people.labels, means, people.sites, replicates, generator)
    return judge_told("position", chance, bounds, material.run.scheme.names, len(people))
