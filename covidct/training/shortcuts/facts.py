"""What headers say of a patient, as numbers for a classifier: no pixel is looked at, and no torch is loaded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import chi2_contingency
from scipy.stats.contingency import association

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
"""Columns of one patient's metadata. The slice table holds neither tube voltage nor nominal thickness (they are among
the measures beside it); the spacing of the slices stands for the latter."""
TEXT = ("site", "manufacturer", "scanner", "kernel")
BINS = 5


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


def as_numbers(facts: pd.DataFrame, names: Sequence[str]) -> np.ndarray:
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
