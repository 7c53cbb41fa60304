"""The figures of a reader study: readers as points on the model's ROC, and time on a log scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from covidct.evaluation.figures_style import INK, MUTED, SITE_MARKERS, styled, write_figure
from covidct.evaluation.wording import display, percent
from covidct.files import replacing

ALONE, ASSISTED, MODEL = "#0072B2", "#D55E00", INK
"""Okabe-Ito blue and vermilion: told apart by colour-blind readers; filled against open tells them apart in print."""

ROC_NAME, TIME_NAME = "readers_roc", "readers_time"


def save_reader_figures(found: Mapping[str, Any], run_folder: Path) -> list[Path]:
    """Draw what a study's numbers allow and write each figure with its numbers; figures of an earlier study go.

    Args:
        found: Content of readers.json.
        run_folder: `figures/` and `tables/` are inside.
    """
    written: list[Path] = []
    for name in (ROC_NAME, TIME_NAME):
        for old in (f"figures/{name}.png", f"figures/{name}.svg", f"tables/{name}.csv"):
            (run_folder / old).unlink(missing_ok=True)
    drawings = []
    if found["curve"]:
        points = roc_points(found)
        drawings.append((draw_reader_roc(found["curve"], points, _title(found)), ROC_NAME, roc_numbers(found, points)))
    if found["time"]:
        times = time_numbers(found["time"])
        drawings.append((draw_times(times), TIME_NAME, times))
    for figure, name, numbers in drawings:
        written += write_figure(figure, run_folder / "figures", name)
        path = run_folder / "tables" / f"{name}.csv"
        with replacing(path) as temporary:
            numbers.to_csv(temporary, index=False, lineterminator="\n")
        written.append(path)
    return written


def roc_points(found: Mapping[str, Any]) -> pd.DataFrame:
    """Raters as points: name, with_ai (None: the model), sensitivity and specificity with their interval ends."""
    rows = []
    for rater in found["raters"]:
        if rater["target"] is None:
            continue
        row: dict[str, Any] = {"rater": rater["name"], "with_ai": rater["with_ai"]}
        for metric in ("sensitivity", "specificity"):
            row[metric] = rater["target"][metric]["value"]
            row[f"{metric}_low"], row[f"{metric}_high"] = (rater["target"][metric][end] for end in ("low", "high"))
        rows.append(row)
    return pd.DataFrame(rows).astype({"with_ai": object})


def roc_numbers(found: Mapping[str, Any], points: pd.DataFrame) -> pd.DataFrame:
    """The figure's numbers: the curve's corners, then the points."""
    curve = pd.DataFrame({"rater": "model", "kind": "curve"} | {
        "sensitivity": found["curve"]["tpr"],
        "specificity": [1 - x for x in found["curve"]["fpr"]],
    })  # fmt: skip
    return pd.concat([curve, points.assign(kind="point")], ignore_index=True)


def _title(found: Mapping[str, Any]) -> str:
    name = display(found["target"]["name"])
    return f"{name}: readers and model" + (" (SIMULATED readers)" if found["source"]["simulated"] else "")


@styled
def draw_reader_roc(curve: Mapping[str, Sequence[float]], points: pd.DataFrame, title: str = "") -> Figure:
    """Readers as points on the model's ROC curve, each with a cross of its two intervals, and their means.

    Args:
        curve: {"fpr", "tpr"} of the model.
        points: As from `roc_points`.
        title: Shown above.
    """
    figure = Figure(figsize=(5.2, 4.9), layout="constrained")
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (2, 3)))
    axis.plot(curve["fpr"], curve["tpr"], color=MODEL, linewidth=1.8, zorder=2)
    handles = [Line2D([], [], color=MODEL, linewidth=1.8, label="model, all thresholds")]
    names = list(dict.fromkeys(points["rater"][points["with_ai"].notna()]))
    for with_ai, colour, words in ((None, MODEL, "model, as it calls"), (False, ALONE, "reader"),
                                   (True, ASSISTED, "reader with AI")):  # fmt: skip
        chosen = points[[value is with_ai for value in points["with_ai"]]].dropna(subset=["sensitivity", "specificity"])
        if chosen.empty:
            continue
        face = "white" if with_ai else colour
        handles.append(Line2D([], [], color=colour, marker="D" if with_ai is None else "o", markersize=6,
                              markerfacecolor=face, linestyle="", label=words))  # fmt: skip
        for row in chosen.itertuples():
            x, y = 1 - row.specificity, row.sensitivity
            if pd.notna(row.sensitivity_low) and pd.notna(row.specificity_low):
                axis.plot([x, x], [row.sensitivity_low, row.sensitivity_high], color=colour, linewidth=0.7, alpha=0.45)
                axis.plot([1 - row.specificity_high, 1 - row.specificity_low], [y, y], color=colour, linewidth=0.7,
                          alpha=0.45)  # fmt: skip
            marker = "D" if with_ai is None else SITE_MARKERS[names.index(row.rater) % len(SITE_MARKERS)]
            axis.plot(x, y, marker=marker, markersize=6.5, markerfacecolor=face, markeredgecolor=colour,
                      markeredgewidth=1.3, linestyle="", zorder=4 if with_ai is None else 3)  # fmt: skip
        if with_ai is not None and len(chosen) > 1:
            axis.plot(1 - chosen["specificity"].mean(), chosen["sensitivity"].mean(), marker="+", markersize=13,
                      markeredgewidth=2.2, color=colour, linestyle="", zorder=5)  # fmt: skip
            handles.append(Line2D([], [], color=colour, marker="+", markersize=10, markeredgewidth=2, linestyle="",
                                  label=f"mean of {len(chosen)} {words}".replace("reader", "readers", 1)))  # fmt: skip
    axis.set_xlim(-0.02, 1.02)
    axis.set_ylim(-0.02, 1.02)
    axis.set_aspect("equal")
    axis.grid(visible=True)
    axis.set_xlabel("1 − specificity (share of all others called positive)")
    axis.set_ylabel("Sensitivity (share of the class called positive)")
    axis.legend(handles=handles, loc="lower right", frameon=True, framealpha=0.9, edgecolor="none")
    axis.set_title(title)
    return figure


def time_numbers(times: Mapping[str, Any]) -> pd.DataFrame:
    """Median and quartiles in seconds: readers of each condition, then the model's inference and whole time."""
    keys = ("q1", "median", "q3", "n")
    rows = [(row["reader"], "with AI" if row["with_ai"] else "without AI", *(row[key] for key in keys))
            for row in times["readers"]]  # fmt: skip
    if times["model"]:
        parts = (("whole", "reading files and inference"), ("inference", "inference alone"))
        rows += [("model", words, *(times["model"]["a_case"][part][key] for key in keys)) for part, words in parts]
    return pd.DataFrame(rows, columns=["rater", "condition", "q1", "median", "q3", "n"])


@styled
def draw_times(times: pd.DataFrame, title: str = "") -> Figure:
    """Seconds a case on a log scale: median as a dot, quartiles as a bar.

    Args:
        times: As from `time_numbers`.
        title: Shown above.
    """
    times = times.dropna(subset=["median"])
    figure = Figure(figsize=(5.2, 1.3 + 0.3 * len(times)), layout="constrained")
    axis = figure.subplots()
    colours = {"without AI": ALONE, "with AI": ASSISTED}
    for place, row in enumerate(times.itertuples()):
        colour = colours.get(row.condition, MODEL)
        axis.plot([row.q1, row.q3], [place, place], color=colour, linewidth=3.2, alpha=0.45, solid_capstyle="butt")
        axis.plot(row.median, place, marker="o", color=colour, markersize=6, markeredgewidth=1.3,
                  markerfacecolor="white" if row.condition == "with AI" else colour)  # fmt: skip
        axis.annotate(_seconds(row.median), (row.median, place), xytext=(0, 5), textcoords="offset points",
                      ha="center", fontsize=6.5, color=MUTED)  # fmt: skip
    axis.set_yticks(range(len(times)), [f"{row.rater}, {row.condition}" for row in times.itertuples()])
    axis.set_ylim(len(times) - 0.4, -0.8)
    axis.set_xscale("log")
    low, high = times["q1"].min(), times["q3"].max()
    axis.set_xlim(low / 1.5, high * 1.5)
    ticks = [tick for tick in (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 120, 600, 1800, 7200)
             if low / 1.5 <= tick <= high * 1.5]  # fmt: skip
    axis.set_xticks(ticks, [_seconds(tick) for tick in ticks])
    axis.minorticks_off()
    axis.grid(visible=True, axis="x")
    axis.set_xlabel("Time a case (log scale): median and quartiles")
    axis.set_title(title)
    return figure


def _seconds(value: float) -> str:
    if value >= 120:
        return f"{value / 60:.3g} min"
    return f"{value:.3g} s" if value >= 1 else f"{1000 * value:.3g} ms"


def alt_text(points: pd.DataFrame) -> str:
    """The ROC figure in words."""
    parts = [f"{row.rater}{' with AI' if row.with_ai else ''} {percent(row.sensitivity)} and {percent(row.specificity)}"
             for row in points.itertuples()]  # fmt: skip
    return "Sensitivity and specificity in percent: " + "; ".join(parts) + "."
