"""A toy task in random tensors, and a trainer around it: what the tests of training share.

Run as a script it is one training run in a process of its own, which a test can kill or spread over two processes.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import covidct  # noqa: F401 (first: it lets torchvision import)  # isort: skip

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset

from covidct.labels import ClassScheme
from covidct.training.checkpoints import CheckedCheckpoints, KeepCheckpoints, latest_checkpoint
from covidct.training.dataset import SliceLoader
from covidct.training.module import SliceClassifier, predict_slices
from covidct.training.phases import PhasedOptimizers, parse_phases
from covidct.training.samplers import EvaluationSampler, TrainSampler, Visit
from covidct.training.stopping import StopRule

SCHEME = ClassScheme(("normal", "covid19", "viral"), normal="normal", positive="covid19")
RECIPE: list[dict[str, Any]] = [
    {"optimizer": "adam", "lr": 1e-3, "epochs": 2, "scheduler": {"name": "cosine", "final_fraction": 0.1}},
    {
        "optimizer": "sgd",
        "lr": 1e-2,
        "momentum": 0.9,
        "epochs": 3,
        "scheduler": {"name": "step", "every": 2, "factor": 0.5},
    },
]
SIZE = 32


class Slices(Dataset[dict[str, torch.Tensor]]):
    """n random slices; the class shows as the brightness of a quadrant. Item i is the same on every machine.

    The slice of row `spoilt` holds a NaN.
    """

    def __init__(self, n: int, first_row: int = 0, labelled: bool = True, spoilt: int | None = None) -> None:
        self.n, self.first_row, self.labelled, self.spoilt = n, first_row, labelled, spoilt

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int | Visit) -> dict[str, torch.Tensor]:
        row = self.first_row + (i[1] if isinstance(i, tuple) else i)
        label = row % len(SCHEME)
        image = np.random.default_rng(row).random((1, SIZE, SIZE), dtype=np.float32)
        half = SIZE // 2
        corner = [(0, 0), (0, half), (half, 0)][label]
        image[0, corner[0] : corner[0] + half, corner[1] : corner[1] + half] *= 0.5
        if row == self.spoilt:
            image[0, 0, 0] = np.nan
        item = {"image": torch.from_numpy(image), "row": torch.tensor(row)}
        return {**item, "label": torch.tensor(label)} if self.labelled else item


class Toy(pl.LightningDataModule):
    """24 training and 13 validation slices by default."""

    def __init__(
        self, train: int = 24, val: int = 13, batch_size: int = 6, workers: int = 0, spoilt: int | None = None
    ) -> None:
        super().__init__()
        self.spoilt = spoilt
        self.n_train, self.n_val, self.batch_size, self.workers = train, val, batch_size, workers

    def train_dataloader(self) -> DataLoader[Any]:
        assert self.trainer is not None
        sampler = TrainSampler(np.arange(self.n_train), 0, rank=self.trainer.global_rank, world=self.trainer.world_size)
        slices = Slices(self.n_train, spoilt=self.spoilt)
        return SliceLoader(slices, self.batch_size, sampler=sampler, num_workers=self.workers)

    def val_dataloader(self) -> DataLoader[Any]:
        assert self.trainer is not None
        return evaluation_loader(self.n_val, 1000, self.trainer.global_rank, self.trainer.world_size)


def evaluation_loader(n: int, first_row: int, rank: int = 0, world: int = 1) -> DataLoader[Any]:
    """Each slice once over all processes, so with unequal shares."""
    sampler = EvaluationSampler(np.arange(n), rank=rank, world=world)
    return DataLoader(Slices(n, first_row), 6, sampler=sampler)


def classifier(**changes: Any) -> SliceClassifier:
    """A small residual network with BatchNorm; its random start is the same every time."""
    torch.manual_seed(7)
    values: dict[str, Any] = {
        "name": "test_resnet",
        "classes": SCHEME.as_dict(),
        "channels": 1,
        "weights": "none",
        "trainable": "last_stage",
        "drop_rate": 0.2,
        "seed": 3,
    }
    return SliceClassifier(**{**values, **changes})


def trainer(folder: Path | None, recipe: Any = None, *, stop: StopRule | None = None, **changes: Any) -> pl.Trainer:
    """A silent trainer on the CPU that runs a recipe and keeps checkpoints in `folder`."""
    callbacks: list[pl.Callback] = [PhasedOptimizers(parse_phases(recipe or RECIPE))]
    if stop:
        callbacks.append(stop)
    if folder:
        callbacks.append(KeepCheckpoints(folder, "val_loss", "min"))
    values: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": 50,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": folder is not None,
        "num_sanity_val_steps": 0,
        "use_distributed_sampler": False,
        "deterministic": True,
        "plugins": [CheckedCheckpoints()] if folder else None,
        "log_every_n_steps": 1,
    }
    extra = changes.pop("callbacks", [])
    plugins = [*(values["plugins"] or []), *changes.pop("plugins", [])]
    return pl.Trainer(**{**values, **changes, "plugins": plugins or None}, callbacks=[*callbacks, *extra])


class Stop(pl.Callback):
    """Ends a run as a kill would: at a step of an epoch (`step`), or once the epoch's checkpoint is written (None)."""

    def __init__(self, epoch: int, step: int | None) -> None:
        self.epoch, self.step = epoch, step

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if self.step is not None and (trainer.current_epoch, trainer.fit_loop.batch_idx) == (self.epoch, self.step):
            self.end()

    def on_train_epoch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if self.step is None and trainer.current_epoch == self.epoch + 1:
            self.end()

    def end(self) -> None:
        raise Killed


class Kill(Stop):
    """The real thing."""

    def end(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Killed(Exception):
    """Stands for a kill within the test's own process."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--kill", type=int, nargs=2, default=None)
    parser.add_argument("--predict", type=int, nargs="*", default=[])
    parser.add_argument("--val", type=int, default=13)
    parser.add_argument("--spoilt", type=int, default=None)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    module = classifier()
    kill = [Kill(asked.kill[0], None if asked.kill[1] < 0 else asked.kill[1])] if asked.kill else []
    runner = trainer(
        asked.folder,
        devices=asked.devices,
        strategy="ddp" if asked.devices > 1 else "auto",
        callbacks=kill,
    )
    latest = latest_checkpoint(asked.folder)
    data = Toy(val=asked.val, spoilt=asked.spoilt)
    runner.fit(module, data, ckpt_path=str(latest) if latest else None, weights_only=True)
    phases = next(c for c in runner.callbacks if isinstance(c, PhasedOptimizers))
    result: dict[str, Any] = {
        "digest": module.digest(),
        "changes": phases.changes,
        "val": {k: float(v) for k, v in runner.callback_metrics.items()},
        "val_rows": module.predictions.rows.tolist(),
        "predicted": [],
    }
    for n in asked.predict:
        found = predict_slices(
            trainer(None, devices=asked.devices, strategy="ddp" if asked.devices > 1 else "auto"),
            module,
            evaluation_loader(n, 5000, runner.global_rank, asked.devices),
        )
        result["predicted"].append({"rows": found.rows.tolist(), "p": found.probabilities.tolist()})
    (asked.folder / f"result{runner.global_rank}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    sys.exit(main())
