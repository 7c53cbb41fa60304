"""The figure of patient rules by the number of slices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from covidct.evaluation.figures_style import GRID, INK, LINE_STYLES, MUTED, SITE_MARKERS, styled
from covidct.evaluation.wording import display

COLOURS = ("#D55E00", "#E69F00", "#0072B2", "#56B4E9", "#CC79A7", "#009E73", "#332288")
GAP = 0.075
"""Least distance of two labels, as a share of the axis."""


@styled
def draw_slices_per_patient(found: Mapping[str, Any]) -> Figure:
    """Specificity, and beside it sensitivity, of each rule at 1, 2, 4, ... slices per patient.

    Args:
        found: Of `covidct.evaluation.slices_per_patient.slices_per_patient`.
    """
    panels = [("specificity", _healthy(found))]
    if any(entry["sensitivity"] for entry in found["computed"]):
        panels.append(("sensitivity", f"{display(found['positive'])} patients called {display(found['positive'])}"))
    figure = Figure(figsize=(5.4 * len(panels), 3.5), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (key, title) in zip(axes, panels, strict=True):
        _panel(axis, found, key, title)
    return figure


def _healthy(found: Mapping[str, Any]) -> str:
    if found["healthy"] is not None:
        return f"{display(found['healthy'])} patients called {display(found['healthy'])}"
    return f"Patients without {display(found['positive'])} not called it"


def _panel(axis: Axes, found: Mapping[str, Any], key: str, title: str) -> None:
    numbers = sorted({entry["slices"] for entry in found["computed"]})
    ends: list[tuple[float, int]] = []
    for number, rule in enumerate(found["rules"]):
        points = [entry for entry in found["computed"] if entry["rule"] == number and entry[key] is not None]
        values = [100 * entry[key]["value"] for entry in points]
        axis.plot(
            [entry["slices"] for entry in points],
            values,
            color=COLOURS[number % len(COLOURS)],
            linestyle=LINE_STYLES[number % len(LINE_STYLES)],
            marker=SITE_MARKERS[number % len(SITE_MARKERS)],
            markersize=4,
            linewidth=2.2 if rule["chosen"] else 1.3,
        )
        if values:
            ends.append((values[-1], number))
    axis.set_title(title)
    axis.set_xscale("log", base=2)
    axis.set_xticks(numbers, [str(number) for number in numbers])
    axis.minorticks_off()
    axis.set_xlim(numbers[0] * 0.9, numbers[-1] * 1.1)
    axis.set_ylim(-3, 103)
    axis.set_xlabel("slices per patient")
    axis.set_ylabel("percent of patients")
    axis.grid(axis="y", color=GRID)
    for (value, number), place in zip(sorted(ends), _spread([value for value, _ in sorted(ends)]), strict=True):
        rule = found["rules"][number]
        axis.annotate(
            short(rule) + (" (chosen)" if rule["chosen"] else ""),
            xy=(1, value),
            xytext=(1.05, place),
            xycoords=axis.get_yaxis_transform(),
            textcoords=axis.get_yaxis_transform(),
            color=INK,
            fontsize=7,
            va="center",
            fontweight="bold" if rule["chosen"] else "normal",
            arrowprops={"arrowstyle": "-", "color": COLOURS[number % len(COLOURS)], "linewidth": 0.9},
            annotation_clip=False,
        )
    axis.tick_params(colors=MUTED)


def short(rule: Mapping[str, Any]) -> str:
    """A rule for the margin of a figure."""
    if rule["name"] == "any_slice" and not rule["parameters"]:
        return "any slice (the paper's)"
    words = str(rule["words"]).removeprefix("ill if ").replace("of the slices are", "of slices").replace(" are", "")
    return words.replace(" of the slices", "").replace(" with a probability of", ",").replace(" or more", "+")


def _spread(values: list[float]) -> list[float]:
    """Places for labels of rising values that keep a distance and stay inside 0..100."""
    gap, places = 100 * GAP, list(values)
    for row in range(1, len(places)):
        places[row] = max(places[row], places[row - 1] + gap)
    if places and places[-1] > 100:
        places[-1] = 100.0
        for row in range(len(places) - 2, -1, -1):
            places[row] = min(places[row], places[row + 1] - gap)
    return places
