"""How the series were scanned: spacing, thickness, kernels, and what is odd about single series."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from covidct.ct.series import FLAGS
from covidct.ct.window import HU
from covidct.evaluation.index_report.material import IndexMaterial
from covidct.evaluation.index_report.mix import scanners

_ROWS = 60


def geometry(material: IndexMaterial) -> dict[str, Any]:
    """One line for each site and scanner.

    Returns:
        "rows": site, scanner, series, and as text: slices a series, pixel size, distance of slices, thickness, kernels,
        tube voltages, matrix; "left_out": lines beyond the sixty with most series.
    """
    rows = material.accepted[material.accepted["units"] == HU]
    rows = rows.assign(scanner=scanners(rows)).sort_values(["series_key", "slice_number"], kind="stable")
    rows["step_mm"] = rows.groupby("series_key")["position_mm"].diff()
    found: list[dict[str, Any]] = []
    for (site, scanner), group in rows.groupby(["site", "scanner"], sort=True):
        series = group.groupby("series_key")
        first = series.first()
        found.append({
            "site": str(site),
            "scanner": str(scanner),
            "series": len(first),
            "slices": _spread(series.size(), 0),
            "pixel_mm": _spread(first["row_mm"], 2),
            "step_mm": _spread(series["step_mm"].median(), 2),
            "thickness_mm": _spread(first["thickness_mm"], 2),
            "kernels": _common(first["kernel"]),
            "kvp": _common(first["kvp"]),
            "matrix": _common(first["cols"].astype(str) + "×" + first["rows"].astype(str)),
        })  # fmt: skip
    shown = sorted(found, key=lambda row: (-row["series"], row["site"], row["scanner"]))[:_ROWS]
    shown.sort(key=lambda row: (row["site"], row["scanner"]))
    return {"rows": shown, "left_out": len(found) - len(shown)}


def flags(material: IndexMaterial) -> list[tuple[str, int]]:
    """What the reader remarked about series, with how many: `counts["series_flags"]`, most frequent first."""
    found = material.counts.get("series_flags")
    if not isinstance(found, Mapping):
        return []
    plain = [(FLAGS.get(str(flag), str(flag)), int(n)) for flag, n in found.items() if isinstance(n, int) and n]
    return sorted(plain, key=lambda item: (-item[1], item[0]))


def _spread(values: pd.Series, digits: int) -> str:
    """Median, and range where there is one; a dash where nothing is known."""
    values = values.dropna().astype(float)
    if values.empty:
        return "–"
    middle, low, high = (f"{v:,.{digits}f}" for v in (values.median(), values.min(), values.max()))
    return middle if low == high else f"{middle} ({low}–{high})"


def _common(values: pd.Series, most: int = 4) -> str:
    """The most frequent values, with how many series have each where they differ."""
    known = values.dropna()
    if known.empty:
        return "–"
    counts = known.value_counts()
    order = sorted(counts.index, key=lambda value: (-counts[value], str(value)))
    names = {value: f"{value:g}" if isinstance(value, float) else str(value) for value in order}
    if len(order) == 1:
        return names[order[0]]
    shown = ", ".join(f"{names[value]} ({counts[value]})" for value in order[:most])
    return shown + (f" and {len(order) - most} more" if len(order) > most else "")
