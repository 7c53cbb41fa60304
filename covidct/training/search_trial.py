"""One trial of a search: a training that reports every epoch and may be ended early."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytorch_lightning as pl

from covidct.data.splits import Split
from covidct.data.table import SliceTable
from covidct.errors import DataRefused, UsageError
from covidct.training.fit import Say, run_folder, train
from covidct.training.phases import figure
from covidct.training.recipe import parse_phases, total_epochs
from covidct.training.records import read_epochs
from covidct.training.runs import RunFolder
from covidct.training.search_space import SearchSpace
from covidct.training.search_storage import optuna_here
from covidct.training.settings import SplitSettings, TrainSettings

if TYPE_CHECKING:
    import optuna


class TrialReporter(pl.Callback):
    """Reports a figure of every epoch to a trial, and ends the training when the pruner says so.

    It ends by `optuna.TrialPruned`, before the epoch's checkpoint: the run stays "started", and anyone who trains it
    later goes on from the epoch before.

    Args:
        trial: The trial.
        name: The figure.
        prunes: Whether the pruner is asked.
        reported: Epochs that were reported before, by an earlier part of the same run.
    """

    def __init__(self, trial: optuna.trial.Trial, name: str, *, prunes: bool, reported: Sequence[int] = ()) -> None:
        self.trial = trial
        self.name = name
        self.prunes = prunes
        self.reported = set(reported)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report, then ask."""
        epoch, value = trainer.current_epoch, figure(trainer, self.name)
        if math.isfinite(value) and epoch not in self.reported:
            self.trial.report(value, epoch)
            self.reported.add(epoch)
        if self.prunes and self.trial.should_prune():
            raise optuna_here().TrialPruned(f"after epoch {epoch + 1}")


@dataclass(frozen=True)
class Ground:
    """What the trials of a search share.

    Args:
        compose: The settings of `covidct train` for the user's words and these.
        table: The slice table.
        split_of: The frozen split that settings ask for.
        keep_pruned: Whether the folder of a run that was ended early stays.
    """

    compose: Callable[[Sequence[str]], TrainSettings]
    table: SliceTable
    split_of: Callable[[SplitSettings], Split]
    keep_pruned: bool = False

    def train(self, words: Sequence[str], say: Say, callbacks: Sequence[pl.Callback] = ()) -> RunFolder:
        """Train what the words ask for, or return it when it is there."""
        settings = self.compose(words)
        return train(settings, self.table, self.split_of(settings.split), say, callbacks=callbacks)

    def folder(self, words: Sequence[str]) -> RunFolder:
        """The folder of the run that the words ask for."""
        settings = self.compose(words)
        return run_folder(settings, self.table, self.split_of(settings.split))[0]


def run_trial(
    trial: optuna.trial.Trial, words: Sequence[str], space: SearchSpace, ground: Ground, say: Say
) -> list[float]:
    """Do a trial: train with its words, or go on with a run that was begun.

    Returns:
        A value for each objective.

    Raises:
        optuna.TrialPruned: The pruner ended it.
        CovidctError: As `train`.
    """
    folder = ground.folder(words)
    trial.set_user_attr("run", folder.path.name)
    rows = _curve(folder, space.figure)  # of a run that was begun before
    for epoch, value in rows.items():
        trial.report(value, epoch)
    reporter = TrialReporter(trial, space.figure, prunes=space.pruner != "none", reported=list(rows))
    try:
        run = ground.train(words, say, [reporter])
    except optuna_here().TrialPruned:
        if not ground.keep_pruned:
            shutil.rmtree(folder.path, ignore_errors=True)
        raise
    record = run.read()
    for key in ("seconds", "epochs", "best_epoch"):
        trial.set_user_attr(key, record.get(key))
    return values_of(run, space)


def values_of(run: RunFolder, space: SearchSpace) -> list[float]:
    """The objectives of a finished run; a figure is that of the epoch whose checkpoint counts.

    Raises:
        DataRefused: A figure is undefined, such as the area under the curve of a class that is not there.
    """
    record = run.read()
    found = []
    for name in space.objectives:
        if name == "trainable_parameters":
            value = record.get("model", {}).get(name)
        elif name in ("seconds", "epochs"):
            value = record.get(name)
        else:
            value = _curve(run, name).get(int(record["best_epoch"]))
        if value is None:
            raise DataRefused(
                f"{name} is undefined in the epoch that counts",
                where=run.path.name,
                remedy="look for val_loss, or use a validation part with every class",
            )
        found.append(float(value))
    return found


def _curve(run: RunFolder, name: str) -> dict[int, float]:
    """Epoch -> a figure of the epoch, where it is defined."""
    return {int(row["epoch"]): float(row[name]) for row in read_epochs(run.path / "metrics.csv") if row[name]}


def check_space(space: SearchSpace, compose: Callable[[Sequence[str]], TrainSettings]) -> TrainSettings:
    """Try the ends of every parameter, one at a time, and all at their largest; nothing is trained.

    Returns:
        The settings without any word of the space.

    Raises:
        UsageError: A key is unknown, a value is refused, or a change of optimizer can come after the last epoch.
    """
    settings = compose([])
    _check(settings, "the settings that the space starts from")
    devices = settings.trainer.devices
    if settings.trainer.strategy not in ("auto", "single_device") or devices not in ("auto", "1", 1):
        raise UsageError(
            f"a trial trains on one device, not with strategy {settings.trainer.strategy} on {devices}",
            where="trainer.devices",
            remedy="use trainer=auto, trainer=cpu or trainer=gpu with trainer.devices=1; one worker for each GPU",
        )
    for parameter in space.parameters:
        for value in parameter.ends():
            word = parameter.word(value)
            _check(compose([word]), word)
    largest = [p.word(p.ends()[-1]) for p in space.parameters if p.kind != "choice"]
    if len(largest) > 1:
        _check(compose(largest), " ".join(largest))
    return settings


def _check(settings: TrainSettings, words: str) -> None:
    stop = settings.recipe.stop
    where = f"search space, at {words}"
    try:
        phases = parse_phases(settings.recipe.phases, stop.max_epochs)
    except UsageError as error:
        raise UsageError(error.what, where=where, remedy=error.remedy) from None
    before_last = total_epochs(phases[:-1]) if len(phases) > 1 else 0
    if before_last is not None and before_last >= stop.max_epochs:
        raise UsageError(
            f"the last change of optimizer would come after {before_last} epochs, but training ends after "
            f"{stop.max_epochs} (recipe.stop.max_epochs)",
            where=where,
            remedy=f"let the epochs of the phases before the last add up to {stop.max_epochs - 1} at most",
        )
