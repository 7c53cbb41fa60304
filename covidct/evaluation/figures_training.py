"""The paper's Figure 1: training and validation curves, with the change of optimizer marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from covidct.evaluation.figures_style import CLASS_COLOURS, INK, MUTED, styled


@dataclass(frozen=True)
class PhaseBorder:
    """Where one phase of the recipe hands over to the next.

    Args:
        epoch: First epoch of the new phase.
        before: Optimizer and learning rate of the old phase, e.g. "Adam 1e-4".
        after: The same of the new one.
    """

    epoch: float
    before: str
    after: str


_OPTIMIZERS = {"adam": "Adam", "sgd": "SGD", "adamw": "AdamW", "rmsprop": "RMSprop", "lamb": "LAMB", "nadam": "NAdam"}


def phase_name(optimizer: str, lr: float) -> str:
    """Optimizer and learning rate as in the paper, e.g. "Adam 1e-4"."""
    mantissa, exponent = f"{lr:.3g}" if 0.01 <= lr < 1000 else f"{lr:.2e}", ""
    if "e" in mantissa:
        number, power = mantissa.split("e")
        mantissa, exponent = number.rstrip("0").rstrip("."), f"e{int(power)}"
    return f"{_OPTIMIZERS.get(str(optimizer).lower(), str(optimizer))} {mantissa}{exponent}"


def phase_borders(history: pd.DataFrame) -> list[PhaseBorder]:
    """The changes of phase in a training history.

    Args:
        history: Columns epoch, phase, optimizer, lr, one row per epoch. The learning rate shown is that of a phase's
            first epoch.

    Returns:
        One border for each change, in order; empty for a single phase or a history without phases.
    """
    if not {"epoch", "phase", "optimizer", "lr"} <= set(history.columns):
        return []
    rows = history.dropna(subset=["phase"]).sort_values("epoch")
    first = rows[rows["phase"].ne(rows["phase"].shift())]
    names = [phase_name(optimizer, lr) for optimizer, lr in zip(first["optimizer"], first["lr"], strict=True)]
    epochs = first["epoch"].to_numpy(dtype=float)
    return [PhaseBorder(epochs[i], names[i - 1], names[i]) for i in range(1, len(names))]


def smooth(values: ArrayLike, width: int = 5) -> np.ndarray:
    """Centred moving mean over `width` epochs, over fewer at both ends; missing values are left out of the mean."""
    given = np.asarray(values, dtype=float)
    reach = width // 2
    windows = [given[max(0, i - reach) : i + reach + 1] for i in range(len(given))]
    return np.array([window[~np.isnan(window)].mean() if (~np.isnan(window)).any() else np.nan for window in windows])


_PANELS = (
    ("A", "Training accuracy", "train_accuracy", "Accuracy"),
    ("B", "Training cross-entropy", "train_loss", "Cross-entropy (nats)"),
    ("C", "Validation accuracy", "val_accuracy", "Accuracy"),
    ("D", "Validation cross-entropy", "val_loss", "Cross-entropy (nats)"),
)


@styled
def draw_training(history: pd.DataFrame) -> Figure:
    """The paper's Figure 1 A-D: accuracy and cross-entropy in training and validation, per epoch.

    The change of phase is a vertical line with both phases' names. From ten epochs on, panel D also has the smoothed
    curve the paper shows (L368); the unsmoothed one always stays visible.

    Args:
        history: One row per epoch with `epoch` and any of train_accuracy, train_loss, val_accuracy, val_loss
            (accuracies 0..1, losses in nats), and phase, optimizer, lr for the phase borders.
    """
    figure = Figure(figsize=(9.2, 5.8), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True)
    rows = history.sort_values("epoch")
    epochs = rows["epoch"].to_numpy(dtype=float)
    borders = phase_borders(rows)
    for axis, (letter, title, column, unit) in zip(axes.flat, _PANELS, strict=True):
        axis.set_title(f"{letter}   {title}", pad=18 if borders else 6)
        axis.set_ylabel(unit)
        axis.grid(visible=True)
        colour = INK if column.startswith("train") else CLASS_COLOURS["viral"]
        values = rows[column].to_numpy(dtype=float) if column in rows else np.full(len(rows), np.nan)
        if not np.isfinite(values).any():
            axis.text(0.5, 0.5, "not recorded", transform=axis.transAxes, ha="center", va="center", color=MUTED)
        elif column == "val_loss" and len(epochs) >= 10:
            axis.plot(epochs, values, color=colour, linewidth=0.9, alpha=0.45, label="each epoch")
            axis.plot(epochs, smooth(values), color=colour, linewidth=1.8, label="mean of 5 epochs")
            axis.legend(loc="upper right")
        else:
            marker = "o" if len(epochs) < 40 else None
            axis.plot(epochs, values, color=colour, linewidth=1.5, marker=marker, markersize=3)
        if "accuracy" in column and np.isfinite(values).any():
            low = float(np.nanmin(values))
            axis.set_ylim(max(0.0, min(low - 0.03, 0.9)), 1.01)
        _draw_borders(axis, borders, epochs)
    for axis in axes[1]:
        axis.set_xlabel("Epoch (one pass over the training slices)")
        axis.xaxis.get_major_locator().set_params(integer=True)
    return figure


def _draw_borders(axis: Axes, borders: Sequence[PhaseBorder], epochs: np.ndarray) -> None:
    for border in borders:
        x = border.epoch - 0.5  # between the last epoch of the one and the first of the other
        axis.axvline(x, color=MUTED, linewidth=1.1, linestyle=(0, (4, 2)))
        if len(borders) == 1:
            place = (x - epochs.min()) / max(float(np.ptp(epochs)), 1.0)
            side = "left" if place < 0.2 else "right" if place > 0.8 else "center"
            axis.annotate(
                f"{border.before} | {border.after}", (x, 1.0), (0, 4), xycoords=("data", "axes fraction"),
                textcoords="offset points", ha=side, va="bottom", fontsize=7.5, color=MUTED,
            )  # fmt: skip
        else:  # several lines: names along them
            axis.annotate(
                border.after, (x, 0.02), (3, 0), xycoords=("data", "axes fraction"), textcoords="offset points",
                rotation=90, va="bottom", fontsize=7, color=MUTED,
            )  # fmt: skip
