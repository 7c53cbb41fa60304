"""The figures on calibration: reliability, referral, decision curves, conformal coverage; each with its numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from covidct.evaluation.calibration.cases import LEVELS
from covidct.evaluation.calibration.figure_tables import (
    conformal_table,
    decision_table,
    histogram_table,
    referral_table,
    reliability_table,
)
from covidct.evaluation.figures_style import GRID, INK, LINE_STYLES, MUTED, SITE_MARKERS, class_colours, styled
from covidct.evaluation.figures_style import write_figure as write
from covidct.evaluation.sentences import site_name
from covidct.evaluation.wording import display
from covidct.files import replacing

BLUE, ORANGE, SITE_COLOURS = "#0072B2", "#D55E00", ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
UNITS = {"patient": "patients", "slice": "slices"}
POOLED, TOP = "(pooled)", "(top)"
LEAST_WIDTH = 7.0  # inches: the report stretches a figure to its column, and letters would grow with it


def save_calibration_figures(folder: Path, found: Mapping[str, Any]) -> list[str]:
    """Draw what calibration.json allows, as PNG and SVG with the numbers as CSV.

    Args:
        folder: The run folder.
        found: The content of calibration.json.

    Returns:
        Names of the figures drawn: reliability, reliability_classes, referral, decision, conformal, each after
        "calibration_".
    """
    blocks = found["blocks"]
    if not blocks:
        return []
    promise = 1 - found["conformal"]["patient"]["alpha"]
    reliability = reliability_table(blocks)
    drawn = []

    def save(name: str, table: pd.DataFrame, draw: Callable[[pd.DataFrame], Figure]) -> None:
        name = f"calibration_{name}"
        path = folder / "tables" / f"{name}.csv"
        if table.empty:
            for stale in (path, *(folder / "figures" / f"{name}.{kind}" for kind in ("png", "svg"))):
                stale.unlink(missing_ok=True)
            return
        with replacing(path) as temporary:
            table.to_csv(temporary, index=False, lineterminator="\n")
        write(draw(table), folder / "figures", name)
        drawn.append(name)

    counts = histogram_table(blocks)
    save("reliability", reliability, lambda table: draw_reliability(table, counts))
    save("reliability_classes", reliability, lambda table: draw_reliability_classes(table, counts))
    save("referral", referral_table(blocks), draw_referral)
    save("decision", decision_table(blocks), draw_decision)
    save("conformal", conformal_table(blocks), lambda table: draw_conformal(table, promise))
    return drawn


def _panel(axis: Axes, raw: pd.DataFrame, counts: np.ndarray, scaled: pd.DataFrame | None, colour: str) -> None:
    """One reliability diagram: the ideal model's band, the bins, and how many cases have which probability."""
    width = 1 / len(counts)
    heights = 0.25 * counts / max(counts.max(), 1)
    axis.bar(np.arange(len(counts)) * width, heights, width=0.92 * width, align="edge", color=GRID, zorder=0)
    axis.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (2, 3)), zorder=1)
    axis.vlines(
        raw["stated"], raw["ideal_low"], raw["ideal_high"], color="#9aa4af", linewidth=4.5, alpha=0.75, zorder=2
    )
    axis.plot(raw["stated"], raw["observed"], color=colour, marker="o", markersize=3.6, linewidth=1.2, zorder=4)
    if scaled is not None and len(scaled):
        axis.plot(scaled["stated"], scaled["observed"], color=ORANGE, marker="s", markersize=3, linewidth=1,
                  linestyle="--", markerfacecolor="white", zorder=3)  # fmt: skip
    axis.set_xlim(-0.02, 1.02)
    axis.set_ylim(-0.02, 1.02)
    axis.set_aspect("equal")
    axis.set_xticks([0, 0.5, 1], ["0", "50", "100"])
    axis.set_yticks([0, 0.5, 1], ["0", "50", "100"])


def _counts(table: pd.DataFrame, site: str, level: str, name: str) -> np.ndarray:
    here = (table["site"] == site) & (table["level"] == level) & (table["class"] == name)
    return table.loc[here, "n"].to_numpy()


def _key(colour: str, scaled: bool) -> list[Any]:
    handles: list[Any] = [Line2D([], [], color=colour, marker="o", markersize=4, label="as the model says it")]
    if scaled:
        handles.append(Line2D([], [], color=ORANGE, marker="s", markersize=3.5, markerfacecolor="white", linestyle="--",
                              label="after temperature scaling"))  # fmt: skip
    handles.append(Patch(color="#9aa4af", alpha=0.75, label="95 % range of a perfectly calibrated model"))
    handles.append(Patch(color=GRID, label="how many cases (not to the axis)"))
    return handles


@styled
def draw_reliability(table: pd.DataFrame, counts: pd.DataFrame) -> Figure:
    """Reliability of the highest probability: a column for each site, a row for each level.

    Args:
        table: As from `reliability_table`.
        counts: As from `histogram_table`.
    """
    table = table[table["class"] == TOP]
    sites = list(dict.fromkeys(table["site"]))
    figure = Figure(figsize=(max(1.0 + 2.15 * len(sites), LEAST_WIDTH), 5.2), layout="constrained")
    axes = figure.subplots(2, len(sites), squeeze=False, sharex=True, sharey=True)
    for row, level in enumerate(LEVELS):
        for axis, site in zip(axes[row], sites, strict=True):
            here = table[(table["site"] == site) & (table["level"] == level)]
            parts = [here[here["probabilities"] == kind] for kind in ("raw", "scaled")]
            _panel(axis, parts[0], _counts(counts, site, level, TOP), parts[1], BLUE)
            axis.set_title(site_name(site) if row == 0 else "")
            axis.set_xlabel("Highest probability (%)" if row else "")
        axes[row][0].set_ylabel(f"{UNITS[level].capitalize()} called right (%)")
    scaled = bool((table["probabilities"] == "scaled").any())
    figure.legend(handles=_key(BLUE, scaled), loc="outside lower center", ncols=2)
    return figure


@styled
def draw_reliability_classes(table: pd.DataFrame, counts: pd.DataFrame) -> Figure:
    """Reliability of each class's probability over all sites: a column for each class, a row for each level.

    Args:
        table: As from `reliability_table`; with several sites the pooled rows are drawn.
        counts: As from `histogram_table`.
    """
    site = POOLED if (table["site"] == POOLED).any() else table["site"].iloc[0]
    table = table[(table["site"] == site) & (table["probabilities"] == "raw") & (table["class"] != TOP)]
    names = list(dict.fromkeys(table["class"]))
    colours = class_colours(names)
    figure = Figure(figsize=(max(1.0 + 1.6 * len(names), LEAST_WIDTH), 4.3), layout="constrained")
    axes = figure.subplots(2, len(names), squeeze=False, sharex=True, sharey=True)
    for row, level in enumerate(LEVELS):
        for axis, name in zip(axes[row], names, strict=True):
            bins = table[(table["class"] == name) & (table["level"] == level)]
            _panel(axis, bins, _counts(counts, site, level, name), None, colours[name])
            axis.set_title(display(name, 17) if row == 0 else "", fontsize=8)
            axis.set_xlabel("Probability (%)" if row else "")
        axes[row][0].set_ylabel(f"{UNITS[level].capitalize()} with it (%)")
    figure.legend(handles=_key(MUTED, False), loc="outside lower center", ncols=3)
    return figure


def _site_looks(sites: Sequence[str]) -> dict[str, tuple[str, Any, float]]:
    """Colour, line style and width of each site; all sites pooled are drawn in ink."""
    looks: dict[str, tuple[str, Any, float]] = {}
    for number, site in enumerate(sites):
        style = LINE_STYLES[number % len(LINE_STYLES)]
        looks[site] = (INK, "-", 1.8) if site == POOLED else (SITE_COLOURS[number % len(SITE_COLOURS)], style, 1.3)
    return looks


@styled
def draw_referral(table: pd.DataFrame) -> Figure:
    """Error among the kept against the share kept, a panel for each level; dots are thresholds from validation.

    Args:
        table: As from `referral_table`.
    """
    sites = list(dict.fromkeys(table["site"]))
    looks = _site_looks(sites)
    figure = Figure(figsize=(7.4, 3.5), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, level in zip(axes, LEVELS, strict=True):
        here = table[table["level"] == level]
        for site in sites:
            colour, style, width = looks[site]
            curve = here[(here["site"] == site) & (here["point"] == "curve")]
            dots = here[(here["site"] == site) & (here["point"] == "choice")]
            axis.plot(100 * curve["kept"], 100 * curve["error"], color=colour, linestyle=style, linewidth=width)
            axis.plot(100 * dots["kept"], 100 * dots["error"], "o", color=colour, markersize=5, markeredgecolor="white")
        axis.set_xlim(0, 101)
        axis.grid(visible=True)
        axis.set_title(f"{UNITS[level].capitalize()}")
        axis.set_xlabel("Kept by the model, the most certain first (%)")
    axes[0].set_ylim(0, max(1.0, 105 * table["error"].max()))
    axes[0].set_ylabel("Wrong among the kept (%)")
    handles = [Line2D([], [], color=colour, linestyle=style, linewidth=width, label=site_name(site))
               for site, (colour, style, width) in looks.items()]  # fmt: skip
    handles.append(Line2D([], [], color=MUTED, marker="o", linestyle="", label="threshold from validation"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 5))
    return figure


@styled
def draw_decision(table: pd.DataFrame) -> Figure:
    """Net benefit at patient level, a panel for each site.

    Args:
        table: As from `decision_table`.
    """
    table = table[table["level"] == "patient"]
    sites = list(dict.fromkeys(table["site"]))
    figure = Figure(figsize=(max(1.0 + 2.5 * len(sites), LEAST_WIDTH), 3.1), layout="constrained")
    axes = figure.subplots(1, len(sites), squeeze=False, sharey=True)[0]
    top = float(np.maximum(table["model"], table["treat_all"]).max())
    for axis, site in zip(axes, sites, strict=True):
        here = table[table["site"] == site]
        at, best = 100 * here["threshold"], np.maximum(here["treat_all"], 0)
        if here["gain_low"].notna().all():
            axis.fill_between(at, best + here["gain_low"].astype(float), best + here["gain_high"].astype(float),
                              color=BLUE, alpha=0.16, linewidth=0)  # fmt: skip
        axis.plot(at, here["model"], color=BLUE, linewidth=1.7)
        axis.plot(at, here["treat_all"], color=MUTED, linewidth=1.1, linestyle="--")
        axis.axhline(0, color=INK, linewidth=1.1, linestyle=":")
        axis.set_xlim(0, 100)
        axis.set_ylim(-0.25 * top, 1.15 * top)
        axis.set_title(site_name(site))
        axis.set_xlabel("Threshold probability (%)")
        axis.grid(visible=True)
    axes[0].set_ylabel("Net benefit per patient")
    handles = [Line2D([], [], color=BLUE, linewidth=1.7, label="by the model"),
               Patch(color=BLUE, alpha=0.16, label="95 % interval"),
               Line2D([], [], color=MUTED, linestyle="--", label="as if all had it"),
               Line2D([], [], color=INK, linestyle=":", label="as if nobody had it")]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


@styled
def draw_conformal(table: pd.DataFrame, promise: float) -> Figure:
    """Coverage of the sets by class and site, a panel for each level and kind of set.

    Args:
        table: As from `conformal_table`.
        promise: The coverage that was promised, in 0..1.
    """
    panels = list(dict.fromkeys(zip(table["level"], table["sets"], strict=True)))
    sites, names = list(dict.fromkeys(table["site"])), list(dict.fromkeys(table["class"]))
    looks, pitch = _site_looks(sites), 0.75 / len(sites)
    lines = -(-len(panels) // 2)
    height = lines * (0.8 + 0.15 * len(names) * (len(sites) + 1)) + 0.5
    figure = Figure(figsize=(LEAST_WIDTH, height), layout="constrained")
    grid = figure.subplots(lines, 2, squeeze=False, sharex=True, sharey=True)
    axes = grid.flat[: len(panels)]
    for unused in grid.flat[len(panels) :]:
        unused.set_visible(False)
    words = {"marginal": "one limit", "by_class": "a limit per class"}
    for axis, (level, kind) in zip(axes, panels, strict=True):
        for row in table[(table["level"] == level) & (table["sets"] == kind)].to_dict("records"):
            rank = sites.index(row["site"])
            y, colour = names.index(row["class"]) + pitch * (rank - (len(sites) - 1) / 2), looks[row["site"]][0]
            if np.isnan(row["value"]):
                axis.text(1, y, "–", va="center", color=colour, fontsize=7)
                continue
            if not np.isnan(row["low"]):
                axis.plot([100 * row["low"], 100 * row["high"]], [y, y], color=colour, linewidth=1.3)
            marker = SITE_MARKERS[rank % len(SITE_MARKERS)]
            axis.plot(100 * row["value"], y, marker=marker, color=colour, markersize=4.5, clip_on=False)
        axis.axvline(100 * promise, color=MUTED, linewidth=1, linestyle="--")
        axis.set_xlim(0, 101)
        axis.grid(visible=True, axis="x")
        axis.set_title(f"{UNITS[level].capitalize()}, {words[kind]}", fontsize=8.5)
    for axis in axes[-2:]:
        axis.set_xlabel("True class in the set (%)")
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    axes[0].set_yticks(range(len(names)), ["all" if name == "(all)" else display(name, 20) for name in names])
    handles: list[Any] = [Line2D([], [], color=looks[site][0], marker=SITE_MARKERS[rank % len(SITE_MARKERS)],
                                 markersize=4.5, label=site_name(site)) for rank, site in enumerate(sites)]  # fmt: skip
    handles.append(Line2D([], [], color=MUTED, linestyle="--", label="promised"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 5))
    return figure
