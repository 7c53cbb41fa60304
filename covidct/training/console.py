"""What a person sees of a training: one line an epoch, and a bar on a terminal."""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Callable

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar

from covidct.training.phases import phases_of

IGNORED_WARNINGS = (
    r".*does not have many workers.*",  # a choice of the config, and right for cached data
    r".*Consider increasing the value of the `num_workers`.*",
    r".*The number of training batches.*is smaller than the logging interval.*",  # nothing is logged by steps
    r".*Checkpoint directory .* exists and is not empty.*",  # that is what resuming means
    r".*`isinstance\(treespec, LeafSpec\)` is deprecated.*",  # between Lightning 2.6 and torch 2.13
    r".*No `?predict_dataloader.*",
)


class EpochLine(pl.Callback):
    """Prints a line for every epoch, on rank zero."""

    def __init__(self, say: Callable[[str], None], max_epochs: int) -> None:
        self.say = say
        self.max_epochs = max_epochs
        self._began = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._began = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the epoch's figures."""
        if not trainer.is_global_zero:
            return
        phases = phases_of(trainer)
        seen = trainer.callback_metrics

        def shown(name: str) -> str:
            return f"{float(seen[name]):.3f}" if name in seen else "–"

        self.say(
            f"epoch {trainer.current_epoch + 1:>3}/{self.max_epochs}  {phases.current.optimizer:<5} "
            f"lr {float(trainer.optimizers[0].param_groups[0]['lr']):.1e}  "
            f"train loss {shown('train_loss')} acc {shown('train_accuracy')}  "
            f"val loss {shown('val_loss')} acc {shown('val_accuracy')} AUC {shown('val_macro_auc')}  "
            f"{time.monotonic() - self._began:.0f} s"
        )


def console_callbacks(say: Callable[[str], None], max_epochs: int) -> list[pl.Callback]:
    """A line an epoch; on a terminal a progress bar too."""
    lines = EpochLine(say, max_epochs)
    return [lines, RichProgressBar(leave=False)] if sys.stderr.isatty() and sys.stdout.isatty() else [lines]


def hush() -> None:
    """Keep Lightning's chatter and known harmless warnings from the console; errors and other warnings stay."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        for logger in [logging.getLogger(name), *_children(name)]:
            logger.setLevel(logging.WARNING)
    for pattern in IGNORED_WARNINGS:
        warnings.filterwarnings("ignore", message=pattern)


def _children(name: str) -> list[logging.Logger]:
    known = logging.Logger.manager.loggerDict
    return [
        logger for key, logger in known.items() if key.startswith(f"{name}.") and isinstance(logger, logging.Logger)
    ]
