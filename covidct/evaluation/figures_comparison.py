"""Pictures of a comparison: every run, every difference, the posterior, the external sites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from scipy import stats

from covidct.evaluation.comparison import Comparison, Contrast
from covidct.evaluation.comparison_table import MISSING
from covidct.evaluation.figures_style import GRID, INK, LINE_STYLES, MUTED, SITE_MARKERS, styled, write_figure
from covidct.evaluation.site_contrasts import SiteContrast

ARM_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#332288", "#999933")
BAND = "#eef1f4"
WORSE, EQUAL, BETTER = "#CC79A7", "#c5ccd3", "#0072B2"


def save_comparison_figures(comparison: Comparison, folder: Path) -> list[str]:
    """Draw and write every figure that the comparison has material for.

    Returns:
        Their names, without suffix, in the order of the page.
    """
    drawings = {"runs": draw_runs(comparison)}
    if any(len(contrast.oriented) for contrast in comparison.contrasts):
        drawings["differences"] = draw_differences(comparison)
    if any(_has_curve(contrast) for contrast in comparison.contrasts):
        drawings["posterior"] = draw_posterior(comparison)
    if comparison.sites:
        drawings["sites"] = draw_sites(comparison.sites)
    for name, figure in drawings.items():
        write_figure(figure, folder, name)
    return list(drawings)


def arm_colours(arms: Sequence[str]) -> dict[str, str]:
    """A colour for each arm, in order; after eight they come again, told apart by their markers."""
    return {arm: ARM_COLOURS[place % len(ARM_COLOURS)] for place, arm in enumerate(arms)}


@styled
def draw_runs(comparison: Comparison) -> Figure:
    """Every run as a point, runs of one repeat joined by a line, the mean of each arm as a bar; others below."""
    table, colours = comparison.table, arm_colours(comparison.table.arms)
    figure = Figure(figsize=(max(4.6, 1.6 + 1.15 * len(table.arms)), 4.2), layout="constrained")
    axis = figure.subplots()
    for repeat in table.repeats:
        values = [table.cells[arm, repeat].value for arm in table.arms]
        heights = [np.nan if value is None else value for value in values]
        axis.plot(range(len(values)), heights, color=MUTED, lw=0.7, alpha=0.45, zorder=1)
    for place, arm in enumerate(table.arms):
        known = [cell.value for cell in table.of(arm) if cell.value is not None]
        marker = SITE_MARKERS[place % len(SITE_MARKERS)]
        axis.plot([place] * len(known), known, marker, color=colours[arm], ms=5, mec="white", mew=0.6, zorder=3)
        if known:
            mean = float(np.mean(known))
            axis.plot([place - 0.22, place + 0.22], [mean, mean], color=INK, lw=2, solid_capstyle="butt", zorder=4)
        lost = [cell for cell in table.of(arm) if cell.value is None]
        if lost:
            kinds = {state: sum(cell.state == state for cell in lost) for state in sorted({c.state for c in lost})}
            words = "\n".join(
                f"× {number} {'absent' if state == MISSING else state}" for state, number in kinds.items()
            )
            axis.annotate(words, (place, 0), (0, 6), xycoords=("data", "axes fraction"), textcoords="offset points",
                          ha="center", va="bottom", fontsize=7.5, color="#8a1c1c", zorder=5)  # fmt: skip
    if any(cell.value is None for cell in table.cells.values()):
        axis.margins(y=0.16)
    names = [arm.replace("_", " ") if len(arm) > 10 else arm for arm in table.arms]
    axis.set_xticks(range(len(names)), [_wrapped(name) for name in names])
    axis.set_xlim(-0.5, len(names) - 0.5)
    axis.grid(axis="y")
    axis.set_axisbelow(True)
    better = "higher" if comparison.plan.higher_is_better else "lower"
    axis.set_ylabel(f"{comparison.plan.metric_text}\n({better} is better)")
    axis.set_title(f"Every run: {len(table.repeats)} repeats, {len(table.arms)} arms")
    handles = [
        Line2D([], [], color=MUTED, lw=0.8, label="one repeat"),
        Line2D([], [], color=INK, lw=2, label="mean of the arm"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


@styled
def draw_differences(comparison: Comparison) -> Figure:
    """Each paired difference, its mean with the corrected interval, and the margin of practical equivalence."""
    contrasts = [contrast for contrast in comparison.contrasts if len(contrast.oriented)]
    figure = Figure(figsize=(7.2, 1.6 + 0.62 * len(contrasts)), layout="constrained")
    axis = figure.subplots()
    rope = comparison.plan.rope
    axis.axvspan(-rope, rope, color=BAND, zorder=0)
    axis.axvline(0, color=INK, lw=0.8, zorder=1)
    colours = arm_colours(comparison.table.arms)
    for place, contrast in enumerate(contrasts):
        height = len(contrasts) - 1 - place
        spread = np.linspace(-0.12, 0.12, len(contrast.oriented)) if len(contrast.oriented) > 1 else np.zeros(1)
        colour = colours[contrast.first]
        axis.plot(contrast.oriented, height - 0.2 + spread * 0.6, "o", ms=3.6, color=colour, alpha=0.75, mew=0)
        found = contrast.difference
        assert found is not None
        if found.low is not None and found.high is not None:
            axis.plot([found.low, found.high], [height + 0.12] * 2, color=INK, lw=1.6, solid_capstyle="butt")
        axis.plot(found.mean, height + 0.12, "D", ms=5.5, color=INK)
    axis.set_yticks(range(len(contrasts)), [_versus(contrast) for contrast in reversed(contrasts)])
    axis.set_ylim(-0.55, len(contrasts) - 0.45)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x")
    axis.set_axisbelow(True)
    axis.set_xlabel(f"difference in {comparison.plan.metric_text}   (right of 0: the first arm is better)")
    axis.set_title("Paired differences, repeat by repeat")
    level = f"mean with {100 * (1 - comparison.plan.alpha):.0f} % interval (Nadeau-Bengio)"
    handles: list[Artist] = [
        Line2D([], [], color=MUTED, marker="o", ms=4, lw=0, label="one repeat"),
        Line2D([], [], color=INK, marker="D", ms=5, lw=1.6, label=level),
        Patch(color=BAND, label=f"margin ± {rope:g}"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


@styled
def draw_posterior(comparison: Comparison) -> Figure:
    """What the repeats say about the true difference, with the three regions and their probabilities."""
    contrasts = [contrast for contrast in comparison.contrasts if _has_curve(contrast)]
    columns = min(2, len(contrasts))
    rows = -(-len(contrasts) // columns)
    figure = Figure(figsize=(7.6 if columns > 1 else 4.6, 0.5 + 2.15 * rows), layout="constrained")
    axes = np.atleast_1d(figure.subplots(rows, columns, sharex=True)).ravel()
    reach = max(abs(c.difference.mean) + 3.6 * c.difference.se for c in contrasts if c.difference and c.difference.se)
    reach = max(reach, 1.6 * comparison.plan.rope)
    for axis, contrast in zip(axes, contrasts, strict=False):
        _posterior_curve(axis, contrast, comparison.plan.rope, reach)
    for axis in axes[len(contrasts) :]:
        axis.set_axis_off()
    for axis in axes[max(0, len(contrasts) - columns) : len(contrasts)]:  # the lowest of each column
        axis.tick_params(labelbottom=True)
    figure.supxlabel(f"true difference in {comparison.plan.metric_text}", fontsize=8.5)
    return figure


def _posterior_curve(axis: Axes, contrast: Contrast, rope: float, reach: float) -> None:
    found, belief = contrast.difference, contrast.posterior
    assert found is not None
    assert found.se
    assert belief is not None
    grid = np.unique(np.concatenate([np.linspace(-reach, reach, 601), [-rope, rope]]))
    density = stats.t.pdf((grid - found.mean) / found.se, found.runs - 1) / found.se
    for region, colour in ((grid <= -rope, WORSE), (np.abs(grid) <= rope, EQUAL), (grid >= rope, BETTER)):
        axis.fill_between(grid[region], density[region], color=colour, lw=0)
    axis.plot(grid, density, color=INK, lw=1)
    axis.axvline(0, ymax=0.72, color=INK, lw=0.6)
    axis.set_ylim(0, 1.42 * density.max())
    axis.set_yticks([])
    axis.spines["left"].set_visible(False)
    axis.set_xlim(-reach, reach)
    axis.set_title(_versus(contrast))
    texts = (
        (0.01, "left", f"{contrast.second} better\nby more than {rope:g}: {belief.worse:.3f}", "#8f3d6c"),
        (0.5, "center", f"within ± {rope:g}\n{belief.equal:.3f}", MUTED),
        (0.99, "right", f"{contrast.first} better\nby more than {rope:g}: {belief.better:.3f}", BETTER),
    )
    for place, side, words, colour in texts:
        axis.text(place, 0.985, words, transform=axis.transAxes, ha=side, va="top", fontsize=6.6, color=colour,
                  fontweight="bold")  # fmt: skip


@styled
def draw_sites(sites: Sequence[SiteContrast]) -> Figure:
    """Differences on external patients with their intervals over patients, one panel for each metric."""
    metrics = list(dict.fromkeys(entry.test.metric for entry in sites))
    rows = list(dict.fromkeys((entry.first, entry.second, entry.site) for entry in sites))
    found: Mapping[tuple[str, str, str, str], SiteContrast] = {
        (entry.first, entry.second, entry.site, entry.test.metric): entry for entry in sites
    }
    places = list(dict.fromkeys(site for *_, site in rows))
    figure = Figure(figsize=(2.2 + 2.5 * len(metrics), 1.2 + 0.3 * len(rows)), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(metrics), sharey=True))
    for axis, metric in zip(axes, metrics, strict=True):
        axis.axvline(0, color=INK, lw=0.8)
        for height, row in enumerate(reversed(rows)):
            entry = found.get((*row, metric))
            if entry is None or entry.test.difference.value is None:
                continue
            marker = SITE_MARKERS[places.index(row[2]) % len(SITE_MARKERS)]
            colour = ARM_COLOURS[places.index(row[2]) % len(ARM_COLOURS)]
            ends = entry.test.difference
            if ends.low is not None and ends.high is not None:
                style = LINE_STYLES[0]
                axis.plot([ends.low, ends.high], [height] * 2, linestyle=style, color=colour, lw=1.4)
            axis.plot(entry.test.difference.value, height, marker, color=colour, ms=5)
        direction = "left" if metric.endswith("loss") else "right"
        axis.set_title(metric.replace("_", " ").replace("auc", "AUC"))
        axis.set_xlabel(f"first minus second ({direction}: first better)", fontsize=7.5)
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.grid(axis="x", color=GRID)
        axis.set_axisbelow(True)
    labels = [f"{first} − {second}\n{site.strip('()')}" for first, second, site in reversed(rows)]
    axes[0].set_yticks(range(len(rows)), labels, fontsize=6.8)
    axes[0].set_ylim(-0.6, len(rows) - 0.4)
    return figure


def _has_curve(contrast: Contrast) -> bool:
    return contrast.posterior is not None and contrast.difference is not None and bool(contrast.difference.se)


def _versus(contrast: Contrast) -> str:
    return f"{contrast.first} − {contrast.second}"


def _wrapped(name: str, width: int = 12) -> str:
    """A name on several lines, broken at blanks."""
    lines = [""]
    for word in name.split():
        lines = [*lines, word] if len(lines[-1]) + len(word) > width else [*lines[:-1], f"{lines[-1]} {word}".strip()]
    return "\n".join(line for line in lines if line)
