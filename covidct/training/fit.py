"""One run, from settings to a trained network and its predictions."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.exceptions import SIGTERMException

from covidct import __version__
from covidct.ct.window import parse_windows
from covidct.data.audit.record import refuse_failed_audit
from covidct.data.participants import participants
from covidct.data.splits import Split
from covidct.data.table import SliceTable
from covidct.errors import DataRefused, IntegrityError, Interrupted, ResourceError
from covidct.files import replacing, write_json
from covidct.provenance import code_state, environment
from covidct.training.assemble import loggers_of, make_datamodule, make_trainer, scheme_of
from covidct.training.checkpoints import KeepCheckpoints, latest_checkpoint, read_checkpoint
from covidct.training.console import console_callbacks, hush
from covidct.training.datamodule import SliceDataModule
from covidct.training.features import training_rows, use_features
from covidct.training.module import SliceClassifier, predict_slices
from covidct.training.phases import PhasedOptimizers
from covidct.training.plateau import direction
from covidct.training.ranks import is_first_process
from covidct.training.recipe import parse_phases, total_epochs
from covidct.training.records import EpochTable
from covidct.training.runs import RunFolder, run_folder
from covidct.training.scoring import origin, predictions_table, publish
from covidct.training.settings import TrainSettings
from covidct.training.stopping import StopRule
from covidct.training.tracking import close_loggers, log_evaluation, log_files

Say = Callable[[str], None]
CHECKPOINT_SECONDS = 15.0
"""How much training a kill may cost. On trunk features an epoch can be shorter than the writing of its checkpoint."""


def train(
    settings: TrainSettings, table: SliceTable, split: Split, say: Say, *, callbacks: Sequence[pl.Callback] = ()
) -> RunFolder:
    """Train a run, or go on with it, or do nothing when it is done.

    Every process of a DDP run calls this; rank zero speaks and writes.

    Args:
        settings: What to do.
        table: The slice table.
        split: The frozen split.
        say: Prints a line.
        callbacks: Onlookers, such as a search that may end the run; they come after our own.

    Raises:
        Interrupted: Stopped from outside; the same call goes on from the last finished epoch.
        IntegrityError: Another process works on this run, other code began it, or the audit of these data
            (`covidct audit data`) has found an error.
    """
    hush()
    is_first = is_first_process()
    say = say if is_first else _silent
    run, digest = run_folder(settings, table, split)
    if run.has_reached("trained"):
        say(f"finished already: {run.path}")
        return run
    if is_first:  # the first process checks, locks and writes for all
        _refuse_drift(run, settings)
        refuse_failed_audit(Path(settings.data.index), table.digest, split.digest)
    # refuses what cannot work before anything is written
    parts = _assemble(settings, table, split, run, digest, say, callbacks)
    if not is_first:
        _fit(parts, settings, table, split, run, say)
        return run
    with run.lock(say):
        began = time.monotonic()
        _begin(settings, table, split, run, digest)
        run.write(**_model_record(settings, parts.module))
        _fit(parts, settings, table, split, run, say)
        seconds = float(run.read().get("seconds", 0)) + time.monotonic() - began
        run.write(state="trained", seconds=round(seconds, 1))
    return run


def _silent(_: str) -> None:
    return


def _refuse_drift(run: RunFolder, settings: TrainSettings) -> None:
    """A run that another version of the code began is not mixed with this one's results without a word."""
    if not run.has_reached("started"):
        return
    began = run.read().get("code", {})
    here = {"version": __version__, "commit": code_state()["commit"]}
    if began and began != here and not settings.allow_drift:
        raise IntegrityError(
            f"this run was begun by covidct {began.get('version')} at commit {str(began.get('commit'))[:12]}, "
            f"here is {here['version']} at {str(here['commit'])[:12]}",
            where=str(run.path),
            remedy="remove the folder to start anew, or resume all the same with allow_drift=true (it is recorded)",
        )


def _begin(settings: TrainSettings, table: SliceTable, split: Split, run: RunFolder, digest: str) -> None:
    """Write down what is about to be done, before it is done."""
    state = code_state()
    code = {"version": __version__, "commit": state["commit"]}
    before = run.read() if run.has_reached("started") else {}
    drift = [*before.get("drift", []), *([before["code"]] if before.get("code", code) != code else [])]
    run.write(
        schema=1,
        run=digest[:12],
        identity=digest,
        name=settings.name,
        experiment=settings.name,
        arm=settings.arm,
        repeat=split.repeat,
        seed=settings.seed,
        profile=settings.profile,
        state="started",
        synthetic=bool(table.counts.get("synthetic", False)),
        classes=scheme_of(table).as_dict(),
        code=code,
        drift=drift,
    )
    with replacing(run.path / "config.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(settings.as_dict(), sort_keys=False), encoding="utf-8")
    split.write(run.path / "split.json")
    write_json(run.path / "participants.json", participants(table, split))
    write_json(
        run.path / "provenance.json",
        {
            "code": state,
            "environment": environment() | _accelerators(),
            "digests": {"index": table.digest, "split": split.digest},
            "seeds": {"run": settings.seed, "split": split.seed, "repeat": split.repeat},
        },
    )


def _accelerators() -> dict[str, Any]:
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {"accelerators": names} if names else {"accelerators": ["CPU"]}


@dataclass(frozen=True)
class _Parts:
    """What one training consists of."""

    data: SliceDataModule
    module: SliceClassifier
    trainer: pl.Trainer
    recipe: PhasedOptimizers
    keep: KeepCheckpoints
    loggers: list[Logger]


def _assemble(
    settings: TrainSettings,
    table: SliceTable,
    split: Split,
    run: RunFolder,
    digest: str,
    say: Say,
    onlookers: Sequence[pl.Callback],
) -> _Parts:
    pl.seed_everything(settings.seed, verbose=False)
    scheme = scheme_of(table)
    stop = settings.recipe.stop
    phases = parse_phases(settings.recipe.phases, stop.max_epochs)
    max_epochs = min(stop.max_epochs, total_epochs(phases) or stop.max_epochs)
    data = make_datamodule(settings.data, table, split, seed=settings.seed, classes=scheme.names)
    module = SliceClassifier(
        settings.model.name,
        scheme.as_dict(),
        channels=max(1, len(parse_windows(settings.data.windows))),
        weights=settings.model.weights,
        trainable=settings.model.trainable,
        drop_rate=settings.model.drop_rate,
        label_smoothing=settings.recipe.label_smoothing,
        class_weights=data.class_weights().tolist() if settings.data.balance == "loss" else None,
        channels_last=settings.model.channels_last,
        seed=settings.seed,
    )
    recipe = PhasedOptimizers(phases)
    best = settings.recipe.best
    keep = KeepCheckpoints(run.checkpoints, best, direction(best), every_seconds=CHECKPOINT_SECONDS)
    callbacks: list[pl.Callback] = [
        recipe,
        StopRule(stop.min_epochs, stop.patience, stop.max_epochs, stop.min_delta),
        EpochTable(run.path / "metrics.csv", lambda _: recipe.index),
        *console_callbacks(say, max_epochs),
        keep,
        *onlookers,
    ]
    loggers = loggers_of(settings, run.path, digest, split.repeat, job_type="train")
    trainer = make_trainer(settings.trainer, run.path, max_epochs=max_epochs, callbacks=callbacks, loggers=loggers)
    _say_start(settings, module, phases, say)
    return _Parts(data, module, trainer, recipe, keep, loggers)


def _fit(parts: _Parts, settings: TrainSettings, table: SliceTable, split: Split, run: RunFolder, say: Say) -> None:
    trainer, module, data, keep = parts.trainer, parts.module, parts.data, parts.keep
    failed = True
    try:
        resume_from = latest_checkpoint(run.checkpoints)
        if resume_from is not None:
            say(f"resuming from {resume_from.name}")
            module.load_state_dict(read_checkpoint(resume_from)["state_dict"])  # the trunk that features are made with
        features = use_features(
            settings,
            module,
            data,
            training_rows(data),
            precision=settings.trainer.precision,
            device=trainer.strategy.root_device,
            say=say,
        )
        _call(lambda: trainer.fit(module, datamodule=data, ckpt_path=resume_from), trainer)
        if keep.best_path is None:
            raise DataRefused(
                f"{settings.recipe.best} was never defined, so no checkpoint is the best one",
                remedy="choose recipe.best=val_loss, or a validation set with every class",
            )
        # every process predicts its share of the validation set, with the weights that count
        module.load_state_dict(read_checkpoint(keep.best_path)["state_dict"])
        found = predict_slices(trainer, module, data.val_dataloader())
        if is_first_process():
            run.write(
                **_model_record(settings, module),  # a resumed run's weights are those it began with
                best_epoch=keep.best_epoch,
                best={settings.recipe.best: keep.best_value},
                epochs=trainer.current_epoch,
                phases=parts.recipe.changes,
                features=features,
            )
            predictions = predictions_table(
                found, table, {"val": data.partition("val")}, module.scheme, origin(run, split, module, table)
            )
            summary, figures = publish(run, predictions, table, settings)
            log_evaluation(parts.loggers, summary, figures, step=trainer.global_step)
            log_files(parts.loggers, [run.path / "split.json", run.predictions])
        failed = False
    finally:
        close_loggers(parts.loggers, failed=failed)


def _call(fit: Callable[[], Any], trainer: pl.Trainer) -> None:
    """Run Lightning, and turn its ways of being stopped into ours."""
    stopped = Interrupted("stopped from outside", remedy="the same command goes on from the last checkpoint")
    try:
        fit()
    except SIGTERMException:
        raise stopped from None
    except SystemExit:  # Lightning's answer to the keyboard
        if trainer.interrupted:
            raise stopped from None
        raise
    except torch.OutOfMemoryError:
        raise ResourceError(
            "the GPU's memory is full",
            where="data.batch_size",
            remedy="halve data.batch_size and double trainer.accumulate_grad_batches; or trainer.precision=bf16-mixed",
        ) from None
    except RuntimeError as error:
        if not re.search(r"DataLoader worker .*(killed|exited)", str(error)):
            raise
        raise ResourceError(
            "a data worker was killed, most often because memory ran out",
            where="data.workers",
            remedy="use fewer data.workers or data.cache=none; the same command goes on from the last checkpoint",
        ) from None
    if trainer.interrupted:
        raise stopped


def _say_start(settings: TrainSettings, module: SliceClassifier, phases: Sequence[Any], say: Say) -> None:
    tuned = module.trainable
    if settings.profile == "paper":
        say("!! PROFILE paper: does what Fu et al. 2020 describe, flaws included; its figures prove nothing alone")
    loud = "!! " if module.weights.source == "none" else ""
    say(f"{loud}{settings.model.name}: {module.weights.note}")
    say(f"tuned: {settings.model.trainable}, {tuned.n_trainable:,} of {tuned.n_total:,} weights")
    if module.weights.source == "none" and settings.model.trainable != "all":
        say("!! what is frozen stays random: expect little; give model.weights, or use model.trainable=all")
    say("recipe: " + ", then ".join(f"{phase.optimizer} at {phase.lr:g}" for phase in phases))
    lengths = [phase.epochs or 0 for phase in phases]
    for number, phase in enumerate(phases):
        if sum(lengths[:number]) >= settings.recipe.stop.max_epochs:
            say(f"!! {phase.optimizer} never begins: the run ends after {settings.recipe.stop.max_epochs} epochs")


def _model_record(settings: TrainSettings, module: SliceClassifier) -> dict[str, Any]:
    """What the report says about network and recipe."""
    return {
        "model": {
            "name": settings.model.name,
            "trainable": settings.model.trainable,
            "trainable_parameters": module.trainable.n_trainable,
            "parameters": module.trainable.n_total,
            "input": f"{settings.data.size} x {settings.data.size}",
            "windows": settings.data.windows or ["8-bit image"],
            "batchnorm": "frozen layers keep their statistics",
        },
        "weights": module.weights.as_dict() | {"random_start": module.weights.source == "none"},
        "recipe": {"phases": settings.recipe.phases, "stop": settings.as_dict()["recipe"]["stop"]},
    }
