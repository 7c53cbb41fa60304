"""metrics.csv: one row per epoch, the record of a training that needs no service and survives kill and resume."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_only

from covidct.errors import IntegrityError
from covidct.files import replacing

EPOCH_COLUMNS = (
    "epoch", "phase", "optimizer", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_macro_auc",
    "seconds",
)  # fmt: skip
"""Columns of metrics.csv. `epoch` and `phase` count from 0; `lr` is the rate of the epoch's first step; `seconds` is
the wall time of training and validation. An empty field is undefined (or was not measured in that epoch)."""


def read_epochs(path: Path) -> list[dict[str, str]]:
    """The rows of a metrics.csv as written, in order; no file is no rows.

    Raises:
        IntegrityError: The file has other columns than this version writes, or is out of order.
    """
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        if tuple(reader.fieldnames or ()) != EPOCH_COLUMNS:
            raise IntegrityError(
                f"the columns are {reader.fieldnames}, expected {list(EPOCH_COLUMNS)}",
                where=path.name,
                remedy="start a new run folder, or resume with the version that began this one",
            )
        rows = list(reader)
    epochs = [row["epoch"] for row in rows]
    if not all(epoch.isdecimal() for epoch in epochs) or epochs != sorted(set(epochs), key=int):
        raise IntegrityError(
            "the epochs are not in order", where=path.name, remedy="restore the file as it was written"
        )
    return rows


class EpochTable(pl.Callback):
    """Writes metrics.csv in the run folder and sends the same row to the loggers of the trainer.

    The numbers are `trainer.callback_metrics` at the end of the training epoch: the module logs them under the column
    names with `self.log(..., on_epoch=True, logger=False)` (and `sync_dist=True` or torchmetrics under DDP) in its
    steps or in `on_validation_epoch_end`. Only what callbacks can see counts: Lightning calls a module's
    `on_train_epoch_end` after theirs.

    Each row is on disk before a checkpoint saved with `save_on_train_epoch_end=True` knows of the epoch, so a kill
    between the two costs nothing: on resume, rows of epochs that will be trained again are dropped, all others stay.

    Args:
        path: The file.
        phase_of: Gives the number of the running optimizer phase, from 0; always 0 when None.
    """

    def __init__(self, path: Path, phase_of: Callable[[pl.Trainer], int] | None = None) -> None:
        self.path = Path(path)
        self.phase_of = phase_of
        self._rows: list[dict[str, str]] = []
        self._began = 0.0
        self._validated = False
        self._step: dict[str, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            self._rows = [row for row in read_epochs(self.path) if int(row["epoch"]) < trainer.current_epoch]
            self._write()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._began = time.monotonic()
        self._validated = False
        self._step = {}

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if not self._step and trainer.optimizers:  # after every epoch-start hook: a phase may just have begun
            optimizer = trainer.optimizers[0]
            self._step = {
                "phase": self.phase_of(trainer) if self.phase_of else 0,
                "optimizer": type(optimizer).__name__.lower(),
                "lr": float(optimizer.param_groups[0]["lr"]),
            }

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        row: dict[str, Any] = {"epoch": trainer.current_epoch, **self._step}
        for name in EPOCH_COLUMNS:
            stale = name.startswith("val_") and not self._validated  # Lightning keeps the last validation's values
            if name in trainer.callback_metrics and not stale:
                row[name] = float(trainer.callback_metrics[name])
        row["seconds"] = round(time.monotonic() - self._began, 3)
        row = {name: value for name, value in row.items() if not _is_nan(value)}
        self._rows.append({name: _text(row.get(name)) for name in EPOCH_COLUMNS})
        self._write()
        _send(trainer, row)

    def _write(self) -> None:
        with replacing(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, EPOCH_COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self._rows)


@rank_zero_only
def _send(trainer: pl.Trainer, row: Mapping[str, Any]) -> None:
    numbers = {name: value for name, value in row.items() if isinstance(value, int | float)}
    for logger in trainer.loggers:
        logger.log_metrics(numbers, step=trainer.global_step)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _text(value: Any) -> str:
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)
