"""Training in phases, each with an optimizer and a learning-rate schedule of its own (Fu et al. 2020: Adam, then SGD).

The change happens at an epoch border. A run that was killed, in any phase or exactly at the border, goes on with the
optimizer, the schedule and the momentum of that moment. That rests on the order in which Lightning restores a run:
callbacks first, then `configure_optimizers`, then the optimizer's state. So the module asks the callback here which
optimizer the current phase has, and both the start of a run and a change of phase take the same road,
`Strategy.setup_optimizers`. `tests/training/test_resume.py` fails should that order ever change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from covidct.errors import IntegrityError, UsageError
from covidct.training.plateau import Plateau, direction
from covidct.training.recipe import OPTIMIZERS, Phase, parse_phases, rate_factor, total_epochs

__all__ = ["Phase", "PhasedOptimizers", "figure", "parse_phases", "phases_of", "total_epochs"]


class PhasedOptimizers(pl.Callback):
    """Runs the phases of a recipe one after the other.

    Logs `phase` (from 0) and `lr` (the rate the epoch was trained with) per epoch, and ends the run after the last
    phase. The parameters that train are the same in every phase, which is what DistributedDataParallel needs.

    Args:
        phases: The recipe; `parse_phases` makes it.
    """

    def __init__(self, phases: Sequence[Phase]) -> None:
        if not phases:
            raise UsageError("a recipe needs one or more phases", where="recipe.phases")
        self.phases = tuple(phases)
        self.index = 0
        self._started = [0]  # first epoch of every phase so far
        self._lr = self.phases[0].lr
        self._plateau: Plateau | None
        self._reducer: ReduceLROnPlateau | None
        self._reducer_state: dict[str, Any] | None
        self._begin()

    @property
    def current(self) -> Phase:
        """The phase of the current epoch."""
        return self.phases[self.index]

    @property
    def in_last(self) -> bool:
        """Whether no further phase can follow."""
        return self.index == len(self.phases) - 1

    @property
    def changes(self) -> list[dict[str, Any]]:
        """The record of the run: for every phase so far its number, optimizer, rate and first epoch (from 0)."""
        return [
            {"phase": number, "optimizer": phase.optimizer, "lr": phase.lr, "first_epoch": first}
            for number, (phase, first) in enumerate(zip(self.phases, self._started, strict=False))
        ]

    def configure(self, parameters: Iterable[torch.nn.Parameter]) -> Any:
        """The current phase's optimizer and schedule, in the form `configure_optimizers` returns."""
        phase = self.current
        cls, _ = OPTIMIZERS[phase.optimizer]
        optimizer = cls(parameters, lr=phase.lr, **phase.options)
        self._reducer = None
        if phase.scheduler is None:
            return optimizer
        if phase.scheduler["name"] == "plateau":
            # Lightning would step it after the epoch's checkpoint is written, so a resumed run would miss one step
            self._reducer = ReduceLROnPlateau(
                optimizer,
                mode=direction(phase.scheduler["monitor"]),  # type: ignore[arg-type]
                factor=phase.scheduler["factor"],
                patience=phase.scheduler["patience"],
                threshold=phase.scheduler["min_delta"],
                threshold_mode="abs",
            )
            if self._reducer_state is not None:
                self._reducer.load_state_dict(self._reducer_state)
            return optimizer
        schedule = LambdaLR(optimizer, rate_factor(phase.scheduler))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuse strategies that restore callbacks after the optimizers were built."""
        if stage == "fit" and trainer.strategy.restore_checkpoint_after_setup:
            raise UsageError(
                f"phases do not work with {type(trainer.strategy).__name__}",
                where="trainer.strategy",
                remedy="use auto, ddp or a single device",
            )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A run that had ended after its last phase ends again at once."""
        self._stop_if_over(trainer, trainer.current_epoch)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin the next phase when the current one is over; note the learning rate."""
        if not self.in_last and self._over(trainer.current_epoch):
            self.index += 1
            self._started.append(trainer.current_epoch)
            self._begin()
            trainer.strategy.setup_optimizers(trainer)
        self._lr = float(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log, and look at the figures that can end the phase or lower its rate."""
        pl_module.log("phase", float(self.index), logger=False)
        pl_module.log("lr", self._lr, logger=False)
        if self._plateau is not None and self.current.plateau is not None:
            self._plateau.update(figure(trainer, self.current.plateau["monitor"]))
        if self._reducer is not None and self.current.scheduler is not None:
            self._reducer.step(figure(trainer, self.current.scheduler["monitor"]))
        self._stop_if_over(trainer, trainer.current_epoch + 1)

    def state_dict(self) -> dict[str, Any]:
        """Plain values for the checkpoint."""
        return {
            "phases": [phase.as_dict() for phase in self.phases],
            "index": self.index,
            "started": list(self._started),
            "lr": self._lr,
            "plateau": None if self._plateau is None else self._plateau.state(),
            "reducer": None if self._reducer is None else dict(self._reducer.state_dict()),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on in the phase of a checkpoint; refused when it was written under another recipe."""
        if state_dict["phases"] != [phase.as_dict() for phase in self.phases]:
            raise IntegrityError(
                "the checkpoint was written under another recipe", remedy="resume with the same phases or start anew"
            )
        self.index = int(state_dict["index"])
        self._started = [int(epoch) for epoch in state_dict["started"]]
        self._begin()
        self._lr = float(state_dict["lr"])
        if self._plateau is not None:
            self._plateau.restore(state_dict["plateau"])
        self._reducer_state = state_dict["reducer"]

    def _begin(self) -> None:
        ends = self.current.plateau
        self._plateau = Plateau(direction(ends["monitor"]), float(ends["min_delta"])) if ends else None
        self._reducer = None
        self._reducer_state = None

    def _over(self, epochs_done: int) -> bool:
        phase = self.current
        by_length = phase.epochs is not None and epochs_done - self._started[-1] >= phase.epochs
        by_plateau = (
            self._plateau is not None
            and phase.plateau is not None
            and self._plateau.waited >= phase.plateau["patience"]
        )
        return by_length or by_plateau

    def _stop_if_over(self, trainer: pl.Trainer, epochs_done: int) -> None:
        if self.in_last and self._over(epochs_done):
            trainer.should_stop = True


def figure(trainer: pl.Trainer, monitor: str) -> float:
    """A logged figure of this epoch; the same on every rank.

    Raises:
        UsageError: It was not logged.
    """
    if monitor not in trainer.callback_metrics:
        raise UsageError(
            f"nothing called {monitor} was logged in this epoch", remedy=f"logged: {sorted(trainer.callback_metrics)}"
        )
    return float(trainer.callback_metrics[monitor])


def phases_of(trainer: pl.Trainer) -> PhasedOptimizers:
    """The trainer's recipe. Raises `UsageError` when it has none, or more than one."""
    found = [callback for callback in trainer.callbacks if isinstance(callback, PhasedOptimizers)]  # type: ignore[attr-defined]
    if len(found) != 1:
        raise UsageError(f"training needs one recipe among the trainer's callbacks, found {len(found)}")
    return found[0]
