"""The figures of a search: how it went, what mattered, which values went together, who was ended early, the front.

Drawn from plain tables, so that any search can be drawn again from `trials.csv` and `curves.csv`. Columns are those of
`covidct.training.search_results`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from covidct.evaluation.figures_style import GRID, INK, MUTED, styled

BLUE, ORANGE, RED = "#0072B2", "#D55E00", "#B42318"
_LABELS = {
    "val_loss": "Validation cross-entropy (nats)",
    "val_accuracy": "Validation accuracy",
    "val_macro_auc": "Validation macro AUC",
    "seconds": "Training time (s)",
    "epochs": "Epochs",
    "trainable_parameters": "Trainable weights",
}


@styled
def draw_history(trials: pd.DataFrame, name: str, way: str) -> Figure:
    """Every trial's value in the order of the trials, and the best so far.

    Args:
        trials: The trials.
        name: The objective.
        way: "min" or "max".
    """
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axis = figure.subplots()
    done = trials[trials["state"] == "complete"].sort_values("number")
    values = done[name].astype(float)
    best = values.cummin() if way == "min" else values.cummax()
    axis.step(done["number"], best, where="post", color=BLUE, lw=1.4, label="best so far")
    axis.plot(done["number"], values, "o", color=BLUE, ms=4, alpha=0.75, label="complete")
    low, high = _room(values)
    axis.set_ylim(low, high)
    for state, marker, colour in (("pruned", "|", MUTED), ("failed", "x", RED)):
        numbers = trials.loc[trials["state"] == state, "number"]
        if len(numbers):
            label = "ended early" if state == "pruned" else "failed"
            axis.plot(numbers, [0.03] * len(numbers), marker, color=colour, ms=6, transform=axis.get_xaxis_transform(),
                      label=label, ls="none")  # fmt: skip
    axis.set_xlabel("Trial")
    axis.set_ylabel(_LABELS.get(name, name))
    axis.set_title("The search, trial by trial")
    axis.grid(axis="y")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(*axis.get_legend_handles_labels(), loc="outside right upper")
    return figure


@styled
def draw_importances(shares: Mapping[str, float], n_trials: int) -> Figure:
    """Share of the objective's spread that each parameter explains, largest on top."""
    names = list(shares)[::-1]
    figure = Figure(figsize=(6.4, 1.1 + 0.34 * len(names)), layout="constrained")
    axis = figure.subplots()
    axis.barh(names, [shares[name] for name in names], color=BLUE, height=0.6)
    for place, name in enumerate(names):
        axis.text(shares[name] + 0.012, place, f"{100 * shares[name]:.0f} %", va="center", fontsize=7.5)
    axis.set_xlim(0, max(1.0, max(shares.values()) * 1.1))
    axis.set_xlabel(f"Share of the spread explained (fANOVA on {n_trials} trials: rough when they are few)")
    axis.set_title("Which parameter mattered")
    axis.tick_params(axis="y", length=0)
    return figure


@styled
def draw_parallel(trials: pd.DataFrame, parameters: Mapping[str, bool], name: str, way: str) -> Figure:
    """Every complete trial as a line through its values, dark where the objective was good.

    Args:
        trials: The trials.
        parameters: Column -> whether its axis is logarithmic.
        name: The objective.
        way: "min" or "max".
    """
    done = trials[trials["state"] == "complete"]
    axes: dict[str, bool] = {**parameters, name: False}
    figure = Figure(figsize=(max(6.4, 1.55 * len(axes)), 3.6), layout="constrained")
    axis = figure.subplots()
    heights = {}
    for place, (column, is_log) in enumerate(axes.items()):
        heights[column] = _scale(axis, place, done[column], is_log)
    rank = done[name].astype(float).rank(ascending=way == "min", method="average")  # 1 is the best
    goodness = 1 - (rank - 1) / max(1, len(done) - 1)
    colours = matplotlib.colormaps["Blues"]
    for row in goodness.sort_values().index:
        line = [heights[column][row] for column in axes]
        is_best = goodness[row] == goodness.max()
        axis.plot(range(len(axes)), line, color=ORANGE if is_best else colours(0.2 + 0.75 * goodness[row]),
                  lw=2.2 if is_best else 1.1, alpha=1.0 if is_best else 0.85, zorder=2 + goodness[row])  # fmt: skip
    axis.set_xlim(-0.3, len(axes) - 0.5)
    axis.set_ylim(-0.06, 1.06)
    axis.set_xticks(range(len(axes)), [_broken(column) for column in axes], fontsize=7)
    axis.set_yticks([])
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    axis.set_title("Values that went together")
    shown = [
        Line2D([], [], color=ORANGE, lw=2.2, label="best"),
        Line2D([], [], color=colours(0.9), lw=1.4, label="better"),
        Line2D([], [], color=colours(0.25), lw=1.4, label="worse"),
    ]
    figure.legend(handles=shown, loc="outside lower center", ncols=3)
    return figure


@styled
def draw_curves(curves: pd.DataFrame, name: str) -> Figure:
    """The objective epoch by epoch; what the pruner saw, and where it ended a trial."""
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    axis = figure.subplots()
    seen = {"complete": False, "pruned": False, "failed": False}
    for _, rows in curves.groupby("number"):
        state = str(rows["state"].iloc[0])
        if state not in seen:
            continue
        colour, label = {
            "complete": (BLUE, "complete"),
            "pruned": (MUTED, "ended early"),
            "failed": (RED, "failed or stopped"),
        }[state]
        axis.plot(rows["epoch"] + 1, rows["value"], color=colour, lw=1.0, alpha=0.7, label="" if seen[state] else label)
        if state == "pruned":
            last = rows.iloc[-1]
            axis.plot(last["epoch"] + 1, last["value"], "x", color=INK, ms=4.5, mew=1.1)
        seen[state] = True
    values = curves["value"].to_numpy(dtype=float)
    low, high = float(values.min()), float(np.percentile(values, 97 if len(values) > 20 else 100))
    axis.set_ylim(*_room(pd.Series([low, high])))
    axis.set_xlabel("Epoch" if high == values.max() else "Epoch (the highest 3 % of the values lie above)")
    axis.set_ylabel(_LABELS.get(name, name))
    axis.set_title("Every trial, epoch by epoch")
    axis.grid(axis="y")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles, labels = axis.get_legend_handles_labels()
    if seen["pruned"]:
        handles.append(Line2D([], [], marker="x", color=INK, ls="none", ms=4.5))
        labels.append("ended here")
    figure.legend(handles, labels, loc="outside right upper")
    return figure


@styled
def draw_front(trials: pd.DataFrame, objectives: Sequence[str], front: Sequence[int]) -> Figure:
    """Two objectives against each other, with the trials that no other beats in both."""
    first, second = objectives[:2]
    done = trials[trials["state"] == "complete"]
    best = done[done["number"].isin(list(front))].sort_values(second)
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axis = figure.subplots()
    axis.plot(done[second], done[first], "o", color=GRID, mec=MUTED, ms=5, label="beaten by another")
    label = "the front" if len(objectives) == 2 else f"the front (of {len(objectives)} objectives)"
    axis.plot(best[second], best[first], "o-", color=ORANGE, ms=6, lw=1.2, label=label)
    for _, row in best.iterrows():
        axis.annotate(f"{int(row['number'])}", (row[second], row[first]), textcoords="offset points", xytext=(5, 5),
                      fontsize=7)  # fmt: skip
    axis.set_xlabel(_LABELS.get(second, second))
    axis.set_ylabel(_LABELS.get(first, first))
    axis.set_title("What is gained for what (numbers are trials)")
    axis.grid()
    axis.margins(0.08)
    figure.legend(*axis.get_legend_handles_labels(), loc="outside right upper")
    return figure


def _room(values: pd.Series) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    margin = 0.08 * (high - low) or 0.05 * abs(high) or 0.1
    return low - 1.5 * margin, high + margin


def _scale(axis: Axes, place: int, values: pd.Series, is_log: bool) -> dict[Any, float]:
    """Draw one axis of a parallel plot; where on it, from 0 to 1, each row lies."""
    axis.axvline(place, color=MUTED, lw=0.8, zorder=1)
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.isna().any() or values.map(type).eq(bool).any() or values.nunique() <= 3:
        levels = sorted(values.unique(), key=lambda value: (not isinstance(value, int | float), value))
        places = {level: 0.5 if len(levels) == 1 else i / (len(levels) - 1) for i, level in enumerate(levels)}
        marks = [(places[level], _short(level)) for level in levels]
        heights = values.map(places)
    else:
        scaled = np.log10(numbers) if is_log else numbers.astype(float)
        low, high = scaled.min(), scaled.max()
        heights = (scaled - low) / (high - low)
        points = [low + share * (high - low) for share in (0, 0.5, 1)]
        marks = [(share, _short(10**p if is_log else p)) for share, p in zip((0, 0.5, 1), points, strict=True)]
    for height, text in marks:
        axis.text(place + 0.03, height, text, fontsize=6.5, color=INK, va="center", zorder=9,
                  bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6})  # fmt: skip
    return dict(heights.items())


def _short(value: Any) -> str:
    if isinstance(value, float | np.floating):
        number = float(value)
        return f"{number:.2g}" if abs(number) < 0.01 or abs(number) >= 1000 else f"{number:.3g}"
    return str(value)


def _broken(column: str) -> str:
    """A key over several lines, at its dots."""
    head, _, tail = column.rpartition(".")
    return f"{head}.\n{tail}" if head else tail
