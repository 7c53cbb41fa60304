"""The paper's Figure 2 (confusion matrix, ROC) and the sites side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from covidct.errors import UsageError
from covidct.evaluation.figures_style import GRID, INK, LINE_STYLES, MUTED, SITE_MARKERS, class_colours, styled
from covidct.evaluation.wording import display, interval_text, percent


def row_shares(counts: ArrayLike) -> np.ndarray:
    """Each cell of a confusion matrix as a share of its row (the true class); NaN in a row without cases."""
    table = np.asarray(counts, dtype=float)
    totals = table.sum(axis=1, keepdims=True)
    return np.divide(table, totals, out=np.full_like(table, np.nan), where=totals > 0)


@styled
def draw_confusion(counts: ArrayLike, rows: Sequence[str], columns: Sequence[str], title: str = "") -> Figure:
    """A confusion matrix: counts and percent of the row.

    Args:
        counts: Counts [truth, called].
        rows: True classes.
        columns: Called classes; columns that are no class ("conflict", "no result") are set apart.
        title: Shown above.
    """
    table = np.asarray(counts)
    if table.shape != (len(rows), len(columns)):
        raise UsageError(f"a matrix of shape {table.shape} for {len(rows)} true and {len(columns)} called classes")
    shares = row_shares(table)
    figure = Figure(figsize=(1.75 + 0.72 * len(columns), 1.6 + 0.55 * len(rows)), layout="constrained")
    axis = figure.subplots()
    blues, greys = matplotlib.colormaps["Blues"], matplotlib.colormaps["Greys"]
    gap = 0.18
    places = [column + (gap if name not in rows else 0.0) for column, name in enumerate(columns)]
    for row in range(len(rows)):
        for column, name in enumerate(columns):
            share = shares[row, column]
            depth = 0.0 if np.isnan(share) else 0.85 * float(share)
            shade = (blues if name in rows else greys)(depth)
            axis.add_patch(
                Rectangle((places[column] - 0.5, row - 0.5), 1, 1, facecolor=shade, edgecolor="white", lw=1.5)
            )
            dark = depth > 0.45
            ink = "white" if dark else (MUTED if table[row, column] == 0 else INK)
            heavy = "bold" if name == rows[row] else "normal"
            axis.text(places[column], row - 0.13, f"{int(table[row, column]):,}", ha="center", va="center",
                      color=ink, fontsize=8.5, fontweight=heavy)  # fmt: skip
            shown = "–" if np.isnan(share) else f"{percent(float(share))} %"
            axis.text(places[column], row + 0.2, shown, ha="center", va="center", color=ink, fontsize=6.5)
    axis.set_xlim(-0.5, places[-1] + 0.5)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xticks(places, [display(name, 16) for name in columns], rotation=35, ha="right", rotation_mode="anchor",
                    fontsize=7.5, linespacing=0.95)  # fmt: skip
    axis.set_yticks(range(len(rows)), [display(name, 15) for name in rows], fontsize=7.5)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    axis.set_xlabel("Called (columns)")
    between = " " if len(rows) > 3 else "\n"  # two classes leave no room for one line
    axis.set_ylabel(f"True class{between}(rows, each adds to 100 %)")
    axis.set_title(title)
    return figure


@styled
def draw_roc(
    curves: Mapping[str, Mapping[str, Any] | None],
    aucs: Mapping[str, Mapping[str, Any] | None],
    positive: str | None = None,
    title: str = "",
) -> Figure:
    """ROC curves, each class against all others, with AUC, its interval and the operating point (Figure 2 B).

    Args:
        curves: By class, in drawing order: {"fpr": [...], "tpr": [...], "operating_point": {"fpr", "tpr"} or None},
            fractions; None where the curve is undefined (no case of the class, or nothing but it).
        aucs: By class: {"value", "low", "high"}, fractions or None.
        positive: The class drawn thicker than the others.
        title: Shown above.
    """
    figure = Figure(figsize=(5.0, 4.6), layout="constrained")
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (2, 3)))
    colours = class_colours(list(curves))
    handles: list[Line2D] = []
    for number, (name, curve) in enumerate(curves.items()):
        width, style = 2.4 if name == positive else 1.3, LINE_STYLES[number % len(LINE_STYLES)]
        auc = aucs.get(name) or {}
        value, bounds = percent(auc.get("value")), interval_text(auc)
        words = f"AUC {value} %" + (f"  ({bounds})" if bounds != "–" else "") if value != "–" else "AUC – (undefined)"
        label = f"{display(name)}\n   {words}"
        handles.append(Line2D([], [], color=colours[name], linewidth=width, linestyle=style, label=label))
        if not curve or not curve.get("fpr"):
            continue
        axis.plot(curve["fpr"], curve["tpr"], color=colours[name], linewidth=width, linestyle=style, zorder=width)
        point = curve.get("operating_point")
        if point and point.get("fpr") is not None and point.get("tpr") is not None:
            axis.plot(point["fpr"], point["tpr"], marker="o", markersize=8 if name == positive else 6.5,
                      markerfacecolor=colours[name], markeredgecolor="white", zorder=5)  # fmt: skip
    handles.append(Line2D([], [], color=MUTED, linestyle="", marker="o", markersize=6, label="operating point"))
    axis.set_xlim(-0.02, 1.02)
    axis.set_ylim(-0.02, 1.02)
    axis.set_aspect("equal")
    axis.grid(visible=True)
    axis.set_xlabel("1 − specificity (share of all others called positive)")
    axis.set_ylabel("Sensitivity (share of the class called positive)")
    axis.legend(handles=handles, loc="lower right", handlelength=2.6, labelspacing=0.35, frameon=True, framealpha=0.9,
                edgecolor="none", fontsize=7)  # fmt: skip
    axis.set_title(title)
    return figure


# --- Sites side by side -----------------------------------------------------------------------------------------------

SITE_METRICS = {"auc": "AUC", "sensitivity": "Sensitivity", "specificity": "Specificity", "ppv": "PPV"}


def site_points(blocks: Sequence[Mapping[str, Any]], metrics: Sequence[str] = tuple(SITE_METRICS)) -> pd.DataFrame:
    """Per-class figures of several sites as one table.

    Args:
        blocks: Blocks of metrics.json of one partition, level and aggregation.
        metrics: Keys of `per_class`.

    Returns:
        Columns site, class, metric, value, low, high (fractions, NaN where undefined), n_patients; in the order of the
        blocks.
    """
    rows = []
    for block in blocks:
        for name, figures in block["per_class"].items():
            for metric in metrics:
                found = figures.get(metric) or {}
                bounds = [found.get(key) for key in ("value", "low", "high")]
                numbers = [np.nan if bound is None else float(bound) for bound in bounds]
                rows.append((block["site"], name, metric, *numbers, found.get("n_patients")))
    return pd.DataFrame(rows, columns=["site", "class", "metric", "value", "low", "high", "n_patients"])


@styled
def draw_sites(points: pd.DataFrame, title: str = "") -> Figure:
    """Sites side by side: a dot and its interval for each class, one panel per metric; undefined is written as a dash.

    Args:
        points: As from `site_points`.
        title: Shown above.
    """
    sites, classes = list(dict.fromkeys(points["site"])), list(dict.fromkeys(points["class"]))
    metrics = list(dict.fromkeys(points["metric"]))
    colours = class_colours(classes)
    pitch = 0.8 / max(len(sites), 1)
    figure = Figure(
        figsize=(1.9 + 1.9 * len(metrics), 1.5 + 0.16 * len(classes) * (len(sites) + 1)), layout="constrained"
    )
    axes = np.atleast_1d(figure.subplots(1, len(metrics), sharey=True))
    lowest = np.nanmin(points[["value", "low"]].to_numpy(dtype=float), initial=1.0)
    left = 100 * max(0.0, np.floor(10 * (lowest - 0.02)) / 10)
    for axis, metric in zip(axes, metrics, strict=True):
        for row in points[points["metric"] == metric].itertuples():
            rank, order = sites.index(row.site), classes.index(row[2])
            y = order + pitch * (rank - (len(sites) - 1) / 2)
            pooled = row.site.startswith("(")
            colour = INK if pooled else colours[row[2]]
            if np.isnan(row.value):
                axis.text(left + 1, y, "–", va="center", ha="left", color=colour, fontsize=7)
                continue
            if not np.isnan(row.low):
                axis.plot([100 * row.low, 100 * row.high], [y, y], color=colour, linewidth=1.4, solid_capstyle="butt")
            axis.plot(100 * row.value, y, marker=SITE_MARKERS[rank % len(SITE_MARKERS)], color=colour, markersize=5,
                      markerfacecolor=colour if pooled else "white", markeredgewidth=1.4, clip_on=False)  # fmt: skip
        for border in range(1, len(classes)):
            axis.axhline(border - 0.5, color=GRID, linewidth=0.8)
        axis.grid(visible=True, axis="x")
        axis.set_title(SITE_METRICS.get(metric, metric))
        axis.set_xlabel("%")
        axis.set_xlim(left, 100.8)
    axes[0].set_ylim(len(classes) - 0.5, -0.5)
    axes[0].set_yticks(range(len(classes)), [display(name, 17) for name in classes])
    handles = [
        Line2D([], [], color=INK if site.startswith("(") else MUTED, marker=SITE_MARKERS[rank % len(SITE_MARKERS)],
               markerfacecolor=INK if site.startswith("(") else "white", markeredgewidth=1.4, markersize=5,
               label="all sites pooled" if site == "(pooled)" else site)
        for rank, site in enumerate(sites)
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 5))
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=9.5, fontweight="bold")
    return figure
