"""Has a figure stopped improving? One answer for the stop rule, for the end of a phase and for the best checkpoint."""

from __future__ import annotations

import math
from dataclasses import dataclass

from covidct.errors import UsageError

DIRECTIONS = {
    "train_loss": "min",
    "train_accuracy": "max",
    "val_loss": "min",
    "val_accuracy": "max",
    "val_macro_auc": "max",
}
"""The figures that can be watched, and which way each gets better."""


def direction(monitor: str) -> str:
    """ "min" or "max". Raises `UsageError` for a figure that is not logged."""
    if monitor not in DIRECTIONS:
        raise UsageError(f"cannot watch {monitor!r}", remedy=f"use one of {sorted(DIRECTIONS)}")
    return DIRECTIONS[monitor]


@dataclass
class Plateau:
    """Follows one figure, epoch by epoch.

    Args:
        mode: "min" when smaller is better, "max" when larger is.
        min_delta: How much better than the best so far counts as better; 0 means strictly better.
        best: Best value so far; None before the first defined one.
        waited: Epochs since the best value.
    """

    mode: str
    min_delta: float = 0.0
    best: float | None = None
    waited: int = 0

    def update(self, value: float) -> bool:
        """Take one epoch's value; True when it is the best so far. NaN and infinity never are."""
        better = math.isfinite(value) and (
            self.best is None
            or (value < self.best - self.min_delta if self.mode == "min" else value > self.best + self.min_delta)
        )
        if better:
            self.best = value
            self.waited = 0
        else:
            self.waited += 1
        return better

    def state(self) -> dict[str, float | int | None]:
        """What a checkpoint keeps."""
        return {"best": self.best, "waited": self.waited}

    def restore(self, state: dict[str, float | int | None]) -> None:
        """The inverse of `state`."""
        best, waited = state["best"], state["waited"]
        self.best = None if best is None else float(best)
        self.waited = int(waited or 0)
