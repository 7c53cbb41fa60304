"""A trained run looks at slices: the predictions table, and everything that is made from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
import yaml

from covidct.ct.read import read_slice
from covidct.ct.window import apply, parse_windows
from covidct.data.splits import Split
from covidct.data.table import SliceTable
from covidct.errors import DataRefused, IntegrityError
from covidct.evaluation.figures import save_mistakes
from covidct.evaluation.operating_point import Criterion
from covidct.evaluation.predictions import Predictions, write_predictions
from covidct.labels import ClassScheme
from covidct.training.assemble import make_datamodule, make_trainer
from covidct.training.checkpoints import BEST
from covidct.training.console import hush
from covidct.training.features import use_features
from covidct.training.module import SliceClassifier, load_classifier, predict_slices
from covidct.training.results import prepare, redo_report
from covidct.training.runs import RunFolder
from covidct.training.settings import TrainerSettings, TrainSettings, read_settings
from covidct.training.slice_predictions import SlicePredictions

CARRIED = ("slice_key", "patient_key", "series_key", "site", "slice_number", "label", "slice_label")
"""Columns of the slice table that the predictions table repeats."""


@dataclass(frozen=True)
class TrainedRun:
    """A run folder with its network: windows, size and class order come from here and from nowhere else.

    Args:
        folder: The run folder.
        settings: What it was trained with.
        split: Its frozen split.
        module: The best checkpoint, in evaluation mode.
    """

    folder: RunFolder
    settings: TrainSettings
    split: Split
    module: SliceClassifier

    @property
    def scheme(self) -> ClassScheme:
        """Classes in the order of the outputs."""
        return self.module.scheme


def origin(folder: RunFolder, split: Split, module: SliceClassifier, table: SliceTable) -> dict[str, Any]:
    """What a predictions table records about where it comes from."""
    return {
        "run": folder.read()["run"],
        "index_digest": table.digest,
        "split_digest": split.digest,
        "weights_digest": module.digest(),
    }


def open_run(path: Path) -> TrainedRun:
    """Open a finished run.

    Raises:
        DataRefused: The folder is no run, or its training is not finished.
        IntegrityError: Checkpoint and record do not belong together.
    """
    folder = RunFolder(Path(path))
    record = folder.read()
    if not folder.has_reached("trained"):
        raise DataRefused(
            "this run is not finished", where=str(path), remedy="run the command that began it again; it resumes"
        )
    config = yaml.safe_load((folder.path / "config.yaml").read_text(encoding="utf-8"))
    scheme = ClassScheme.from_dict(record["classes"])
    return TrainedRun(
        folder=folder,
        settings=read_settings(TrainSettings, config),
        split=Split.read(folder.path / "split.json"),
        module=load_classifier(folder.checkpoints / BEST, scheme),
    )


def predict_rows(
    run: TrainedRun,
    table: SliceTable,
    rows: np.ndarray,
    *,
    device: str = "auto",
    say: Callable[[str], None] | None = None,
    unknown: bool = False,
) -> SlicePredictions:
    """Probabilities for rows of any table, in evaluation mode and in the run's precision, each slice once.

    Args:
        run: The trained run.
        table: The slice table the rows count in.
        rows: Which slices.
        device: Lightning's name of the accelerator, or "auto".
        say: Prints a line. Given, a run that was trained on trunk features is also tested on them, and they are kept:
            the next run with the same trunk finds them. For tables with an index folder of their own only.
        unknown: Whether probabilities that are not numbers are handed on; by default they are refused.
    """
    data = make_datamodule(run.settings.data, table, None, seed=run.settings.seed, classes=run.scheme.names)
    trainer = evaluation_trainer(run, device)
    rows = np.asarray(rows, dtype=np.int64)
    if say is not None and run.folder.read().get("features", {}).get("used"):
        use_features(
            run.settings,
            run.module,
            data,
            {None: np.unique(rows)},
            precision=_precision(run.settings.trainer.precision, device),
            device=trainer.strategy.root_device,
            say=say,
        )
    return predict_slices(trainer, run.module, data.evaluation_loader(rows), unknown=unknown)


def evaluation_trainer(run: TrainedRun, device: str) -> pl.Trainer:
    """A trainer that only predicts: one device, the run's precision.

    Args:
        run: The trained run.
        device: Lightning's name of the accelerator, or "auto".
    """
    hush()
    settings = TrainerSettings(
        accelerator=device,
        devices=1,
        num_nodes=1,
        strategy="auto",
        precision=_precision(run.settings.trainer.precision, device),
        accumulate_grad_batches=1,
        gradient_clip_val=None,
        deterministic="warn",
    )
    return make_trainer(settings, run.folder.path, max_epochs=1, callbacks=[], loggers=[])


def _precision(trained: str, device: str) -> Any:
    """float16 exists on GPUs only; float32 loses nothing against it."""
    on_cpu = device == "cpu" or (device == "auto" and not torch.cuda.is_available())
    return "32-true" if trained == "16-mixed" and on_cpu else trained


def predictions_table(
    found: SlicePredictions,
    table: SliceTable,
    partitions: Mapping[str, np.ndarray],
    scheme: ClassScheme,
    meta: dict[str, Any],
) -> Predictions:
    """Join what the network says with what the slice table knows.

    Args:
        found: Probabilities of (at least) the rows of all partitions.
        table: The slice table the rows count in.
        partitions: "val" or "test" -> rows.
        scheme: Classes in the order of the outputs.
        meta: See `origin`.
    """
    frames = []
    for name, wanted in partitions.items():
        frame = table.accepted.iloc[wanted][list(CARRIED)].reset_index(drop=True)
        frame.insert(4, "split", name)
        # float32 rows sum to 1 within 1e-6; the table keeps float64
        probabilities = found.probabilities[np.searchsorted(found.rows, wanted)].astype(np.float64)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        for column, label in enumerate(scheme.names):
            frame[f"p_{label}"] = probabilities[:, column]
        frames.append(frame)
    return Predictions(pd.concat(frames, ignore_index=True), scheme, meta)


def publish(
    run: RunFolder,
    predictions: Predictions,
    table: SliceTable,
    settings: TrainSettings,
    *,
    slice_threshold: float | None = None,
    criterion: Criterion | None = None,
) -> tuple[dict[str, Any], dict[str, Path]]:
    """Write predictions, the pictures of the worst mistakes, and all that follows from them.

    Args:
        run: The run folder.
        predictions: What to write.
        table: The slice table, for the pictures.
        settings: What the run was trained with.
        slice_threshold: Of the paper's rule.
        criterion: By which the operating point shall be chosen if it is not yet; None: the default.

    Returns:
        The content of metrics.json, and the figures by name.

    Raises:
        IntegrityError: The operating point of the run was edited, or belongs to other validation predictions.
    """
    predictions = prepare(run, predictions, criterion)
    write_predictions(run.predictions, predictions)
    save_mistakes(run.path, worst_mistakes(predictions, table, settings))
    return redo_report(run, slice_threshold=slice_threshold)


def check_table(run: TrainedRun, table: SliceTable) -> None:
    """Refuse a table that is not the one the run's split was made for."""
    if run.split.index_digest != table.digest:
        raise IntegrityError(
            f"the run was made with index {run.split.index_digest[:12]}, this one is {table.digest[:12]}",
            remedy="restore that index; to test on another hospital's index use: covidct evaluate run=RUN index=OTHER",
        )


def worst_mistakes(
    predictions: Predictions, table: SliceTable, settings: TrainSettings, count: int = 12
) -> list[tuple[np.ndarray, dict[str, Any]]]:
    """The most confident wrong calls, at most one per patient, as pictures in the run's first window.

    Test slices where there are any, else validation slices.
    """
    frame = predictions.frame
    part = "test" if (frame["split"] == "test").any() else "val"
    place = {key: row for row, key in enumerate(table.accepted["slice_key"])}
    frame = frame[(frame["split"] == part) & frame["slice_key"].isin(list(place))].reset_index(drop=True)
    names = np.array(predictions.scheme.names)
    probabilities = frame[[f"p_{name}" for name in names]].to_numpy()
    called = names[probabilities.argmax(axis=1)]
    frame = frame.assign(called=called, probability=probabilities.max(axis=1))
    wrong = frame[frame["called"] != frame["label"]].sort_values(["probability", "slice_key"], ascending=[False, True])
    wrong = wrong.drop_duplicates("patient_key").head(count)
    windows = parse_windows(settings.data.windows)
    pictures = []
    for slice_ in wrong.itertuples(index=False):
        row = place[slice_.slice_key]
        source = read_slice(table.file(row), int(table.accepted["frame"].iloc[row]))
        picture = apply(source.pixels, windows[0] if windows else None, units=source.units)
        caption = {
            "patient_key": slice_.patient_key,
            "site": slice_.site,
            "slice_number": int(slice_.slice_number),
            "true": slice_.label,
            "called": slice_.called,
            "probability": float(slice_.probability),
        }
        pictures.append((picture, caption))
    return pictures
