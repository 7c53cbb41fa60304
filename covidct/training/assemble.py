"""What Lightning needs, from settings: data module, loggers, trainer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from covidct.data.splits import Split
from covidct.data.table import SliceTable
from covidct.errors import DataRefused, ResourceError, UsageError
from covidct.labels import ClassScheme
from covidct.training.checkpoints import CheckedCheckpoints
from covidct.training.datamodule import SliceDataModule
from covidct.training.settings import DataSettings, TrainerSettings, TrainSettings
from covidct.training.tracking import build_loggers


def scheme_of(table: SliceTable) -> ClassScheme:
    """The classes of a labelled table.

    Raises:
        DataRefused: The table was indexed without classes.
    """
    if table.classes is None:
        raise DataRefused("the index has no classes", remedy="index again with labels and data.classes")
    return table.classes


def make_datamodule(
    settings: DataSettings, table: SliceTable, split: Split | None, *, seed: int, classes: Sequence[str]
) -> SliceDataModule:
    """The data module of these settings; refused before training where pixels and windows do not fit."""
    data = SliceDataModule(
        table,
        split,
        classes=classes,
        windows=settings.windows,
        size=settings.size,
        fit=settings.fit,
        augment=settings.augment,
        views=settings.views,
        batch_size=settings.batch_size,
        workers=settings.workers,
        cache=settings.cache,
        store=beside(settings.index, "store"),
        balance="sampler" if settings.balance == "sampler" else "none",
        seed=seed,
    )
    data.setup()
    return data


def beside(index: str, name: str) -> Path:
    """A folder of this name beside a slice table."""
    path = Path(index)
    return (path if path.is_dir() else path.parent) / name


def make_trainer(
    settings: TrainerSettings, folder: Path, *, max_epochs: int, callbacks: list[pl.Callback], loggers: list[Any]
) -> pl.Trainer:
    """Lightning's trainer for these settings.

    Raises:
        UsageError: A combination the machine does not have.
    """
    # Lightning would quietly take bf16 instead
    has_gpu = settings.accelerator in ("gpu", "cuda") or (
        settings.accelerator == "auto" and (torch.cuda.is_available() or torch.backends.mps.is_available())
    )
    if settings.precision == "16-mixed" and not has_gpu:
        raise UsageError("16-mixed needs a GPU", where="trainer.precision", remedy="use bf16-mixed or 32-true")
    if settings.accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise ResourceError(
            "no GPU is visible", where="trainer.accelerator", remedy="use trainer=cpu; see covidct doctor"
        )
    try:
        return pl.Trainer(
            accelerator=settings.accelerator,
            devices=settings.devices,
            num_nodes=settings.num_nodes,
            strategy=settings.strategy,
            precision=settings.precision,
            accumulate_grad_batches=settings.accumulate_grad_batches,
            gradient_clip_val=settings.gradient_clip_val,
            deterministic=settings.deterministic,
            max_epochs=max_epochs,
            callbacks=callbacks,
            logger=loggers or False,
            plugins=[CheckedCheckpoints()],
            use_distributed_sampler=False,  # ours count every evaluated slice once
            num_sanity_val_steps=0,
            enable_checkpointing=bool(callbacks),
            enable_model_summary=False,
            enable_progress_bar=any(isinstance(c, pl.callbacks.ProgressBar) for c in callbacks),
            log_every_n_steps=10**9,  # one row an epoch, written by EpochTable
            default_root_dir=folder,
        )
    except (ValueError, MisconfigurationException) as error:
        raise UsageError(f"Lightning refuses the trainer: {error}", where="trainer") from None


def loggers_of(settings: TrainSettings, folder: Path, identity: str, repeat: int, *, job_type: str) -> list[Logger]:
    """The loggers of a run; the same W&B run after a resume and for the evaluation, because the id is the identity."""
    arm = [settings.arm] if settings.arm and settings.arm != settings.name else []
    return build_loggers(
        settings.logger.kind,
        folder,
        # the agent of a W&B sweep has made a run, and waits for what happens in that one
        run_id=os.environ.get("WANDB_RUN_ID", identity[:12]) if "WANDB_SWEEP_ID" in os.environ else identity[:12],
        name="-".join([settings.name, *arm, f"repeat{repeat}", f"seed{settings.seed}", identity[:6]]),
        project=settings.logger.project,
        group=settings.logger.group or settings.name,
        job_type=job_type,
        tags=[
            *settings.logger.tags,
            settings.profile,
            *(f"arm:{name}" for name in arm),
            f"repeat:{repeat}",
            f"model:{settings.model.name}",
            f"weights:{Path(settings.model.weights).name}",
        ],
        config=settings.as_dict() | {"run": identity[:12]},
        entity=settings.logger.entity,
        mode=settings.logger.mode,
        artifacts=settings.logger.artifacts,
    )
