"""The stop rule of Fu et al. 2020 (L180-181), in the reading that leaves nothing open."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl

from covidct.errors import UsageError
from covidct.training.phases import PhasedOptimizers, figure
from covidct.training.plateau import Plateau


class StopRule(pl.Callback):
    """Stop when neither validation accuracy nor validation cross-entropy improved for `patience` epochs.

    Not before `min_epochs` epochs, and not before the last phase of the recipe has had its turn: epochs without
    improvement count from the start of that phase, against the best of the whole run. At the latest after
    `max_epochs`. The paper says "after 50 epochs ... no longer improved", gives no patience, and leaves open whether
    the two figures have to agree; of its three readings this is (b).

    Lightning's own EarlyStopping would not do: `should_stop` set too early latches, and training then ends exactly at
    `min_epochs` whatever happens in between. So leave the trainer's own `min_epochs` and `min_steps` unset.

    Args:
        min_epochs: Epochs of the whole run that are always done, unless the recipe or `max_epochs` ends before.
        patience: Epochs without improvement, at least 1.
        max_epochs: Epochs of the whole run at most.
        min_delta: How much better counts as better, in both figures.
    """

    def __init__(self, min_epochs: int, patience: int, max_epochs: int, min_delta: float = 0.0) -> None:
        if patience < 1 or max_epochs < 1 or min_epochs < 0 or min_delta < 0 or min_epochs > max_epochs:
            raise UsageError(
                f"the stop rule makes no sense: min_epochs={min_epochs}, patience={patience}, "
                f"max_epochs={max_epochs}, min_delta={min_delta}",
                where="recipe.stop",
                remedy="0 <= min_epochs <= max_epochs, patience >= 1, min_delta >= 0",
            )
        self.min_epochs = min_epochs
        self.patience = patience
        self.max_epochs = max_epochs
        self._accuracy = Plateau("max", min_delta)
        self._loss = Plateau("min", min_delta)
        self._waited = 0
        self._epochs_done = 0

    @property
    def reason(self) -> str | None:
        """Why training stopped, for people; None while it may go on."""
        if self._epochs_done >= self.max_epochs:
            return f"max_epochs: {self.max_epochs} epochs were done"
        if self._epochs_done >= self.min_epochs and self._waited >= self.patience:
            return f"neither validation accuracy nor cross-entropy improved for {self._waited} epochs"
        return None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuse a trainer with a lower limit of its own."""
        if stage == "fit" and (trainer.min_epochs or trainer.min_steps):
            raise UsageError("the trainer's own min_epochs would override the stop rule", where="trainer.min_epochs")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A run that had stopped stops again at once."""
        if self.reason:
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Judge the epoch."""
        accuracy = self._accuracy.update(figure(trainer, "val_accuracy"))
        loss = self._loss.update(figure(trainer, "val_loss"))
        early = any(isinstance(c, PhasedOptimizers) and not c.in_last for c in trainer.callbacks)  # type: ignore[attr-defined]
        self._waited = 0 if accuracy or loss or early else self._waited + 1
        self._epochs_done = trainer.current_epoch + 1
        if self.reason:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """Plain values for the checkpoint."""
        return {
            "accuracy": self._accuracy.state(),
            "loss": self._loss.state(),
            "waited": self._waited,
            "epochs_done": self._epochs_done,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self._accuracy.restore(state_dict["accuracy"])
        self._loss.restore(state_dict["loss"])
        self._waited = int(state_dict["waited"])
        self._epochs_done = int(state_dict["epochs_done"])
