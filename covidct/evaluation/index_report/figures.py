"""The drawings of an index report: histograms of Hounsfield units, and of lung areas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from covidct.evaluation.figures_style import GRID, INK, LINE_STYLES, MUTED, class_colours, styled
from covidct.evaluation.index_report.intensities import EDGES_HU
from covidct.evaluation.wording import counted, display

PANELS = 12
"""Sites drawn; of more, those with most patients."""

_LEAST = 1e-5


@styled
def draw_intensities(found: Mapping[str, Any], classes: tuple[str, ...]) -> Figure:
    """One panel a site, one line a class, share of pixels on a logarithmic axis.

    Args:
        found: Of `intensities.intensities`, with a panel at least.
        classes: In the order of the legend.
    """
    panels = sorted(found["panels"], key=lambda one: (-one["patients"], one["site"]))[:PANELS]
    panels.sort(key=lambda one: one["site"])
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(8.6, 0.5 + 2.25 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
    colours = class_colours(classes)
    middle = EDGES_HU[:-1] + np.diff(EDGES_HU) / 2
    for axis, panel in zip(axes.ravel(), panels, strict=False):
        for number, name in enumerate(classes):
            if name in panel["curves"]:
                axis.plot(
                    middle[:-1],  # the last bin holds all above 1024 HU
                    100 * np.maximum(panel["curves"][name][:-1], _LEAST),
                    color=colours[name],
                    linestyle=LINE_STYLES[number % len(LINE_STYLES)],
                    linewidth=1.3,
                    label=display(name),
                )
        axis.set_yscale("log")
        axis.set_title(f"{panel['site']} ({counted(panel['patients'], 'patient')})")
        for value, words in ((-1000, "air"), (0, "water")):
            axis.axvline(value, color=GRID, linewidth=4, zorder=0)
            axis.annotate(words, (value, 1), xycoords=("data", "axes fraction"), xytext=(3, -8),
                          textcoords="offset points", fontsize=6.5, color=MUTED)  # fmt: skip
        for key in ("air_hu", "tissue_hu"):
            if panel[key] is not None:
                axis.plot(panel[key], 0.02, marker="^", color=INK, markersize=6, clip_on=False,
                          transform=axis.get_xaxis_transform())  # fmt: skip
                words = f"{panel[key]:.0f}".replace("-", "−")
                axis.annotate(words, (panel[key], 0.02), xycoords=("data", "axes fraction"), xytext=(6, 1),
                              textcoords="offset points", fontsize=6.5)  # fmt: skip
        axis.set_xlim(-1040, 1040)
        axis.set_ylim(bottom=1e-3)
        axis.grid(axis="y", color=GRID)
        axis.tick_params(labelsize=7.5)
    for axis in axes.ravel()[len(panels) :]:
        axis.set_visible(False)
    for axis in axes[:, 0]:
        axis.set_ylabel("% of pixels per 32 HU")
    for axis in axes[-1]:
        axis.set_xlabel("HU")
    handles: dict[str, Any] = {}
    for axis in axes.ravel():
        shown, labels = axis.get_legend_handles_labels()
        handles |= dict(zip(labels, shown, strict=True))
    names = [display(name) for name in classes if display(name) in handles]
    figure.legend([handles[name] for name in names], names, loc="outside upper center", ncols=min(6, len(names)))
    return figure


@styled
def draw_lungs(found: Mapping[str, Any], classes: tuple[str, ...]) -> Figure:
    """Slices by area of their lungs, one outline a class, and the threshold as a line.

    Args:
        found: Of `lungs.lungs`.
        classes: In the order of the legend.
    """
    most = max(float(areas.max()) for areas in found["areas"].values() if len(areas))
    width = next(step for step in (2, 5, 10, 20, 50, 100, 1000, 1e9) if most / step <= 60)
    edges = np.arange(0, most + 2 * width, width)
    figure = Figure(figsize=(7.2, 2.7), layout="constrained")
    axis = figure.subplots()
    colours = class_colours(classes)
    for number, name in enumerate(classes):
        areas = found["areas"].get(name, ())
        if len(areas):
            counts, _ = np.histogram(areas, edges)
            axis.stairs(counts, edges, color=colours[name], linewidth=1.3, label=display(name),
                        linestyle=LINE_STYLES[number % len(LINE_STYLES)])  # fmt: skip
    if found["threshold_cm2"]:
        axis.axvline(found["threshold_cm2"], color=INK, linewidth=1.2)
        axis.annotate(f"least area {found['threshold_cm2']:g} cm²", (found["threshold_cm2"], 1), xytext=(4, -9),
                      xycoords=("data", "axes fraction"), textcoords="offset points", fontsize=7.5)  # fmt: skip
    axis.set_xlim(left=-width / 2)
    axis.set_ylim(bottom=0)
    axis.set_xlabel("area of the lungs in the slice, cm²")
    axis.set_ylabel(f"slices per {width:g} cm²")
    axis.grid(axis="y", color=GRID)
    axis.legend(loc="upper right")
    return figure
