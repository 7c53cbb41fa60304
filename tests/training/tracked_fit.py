"""A real, tiny training that is tracked; run as a script, it is one process with two runs in it.

python tracked_fit.py FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import covidct  # noqa: F401 (first: it lets torchvision import)  # isort: skip

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

from covidct.training.records import EpochTable
from covidct.training.tracking import build_loggers, close_loggers, log_evaluation, log_files

CLASSES = ["normal", "covid19", "viral"]
CONFUSION = [[7, 1, 0, 2], [0, 9, 1, 0], [0, 0, 0, 0]]
ROC = {
    "normal": {"fpr": [0.0, 0.125, 1.0], "tpr": [0.0, 0.75, 1.0], "operating_point": {"fpr": 0.125, "tpr": 0.75}},
    "covid19": {"fpr": [0.0, 0.0, 1.0], "tpr": [0.0, 0.875, 1.0], "operating_point": {"fpr": 0.0, "tpr": 0.875}},
    "viral": None,  # no case of it: no curve
}


def measure(value: float | None, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "method": "by hand", "n_patients": 20, "few": False}


SUMMARY: dict[str, Any] = {
    "schema": 1,
    "classes": {"names": CLASSES, "normal": "normal", "positive": "covid19"},
    "rule": {"name": "any_slice", "slice_threshold": None, "source": "fixed", "omitted": None},
    "blocks": [
        {
            "split": "test",
            "site": "site_b",
            "level": "patient",
            "aggregation": "any_slice",
            "n_patients": 20,
            "n_slices": 100,
            "n_no_result": 0,
            "n_conflict": 2,
            "class_mix": {"normal": {"patients": 10, "slices": 50}},
            "confusion": CONFUSION,
            "confusion_columns": [*CLASSES, "conflict"],
            "conflict_calls": [[1, 1, 0], [0, 0, 0], [0, 0, 0]],
            "accuracy": measure(0.8, 0.625, 0.9375),
            "macro_auc": {**measure(0.90625), "classes_counted": 2},
            "macro_sensitivity": measure(0.8, 0.7, 0.9),
            "per_class": {
                "covid19": {
                    "auc": measure(0.9375, 0.8125, 1.0),
                    "sensitivity": measure(0.9),
                    "n_positive_patients": 10,
                },
                "viral": {"auc": measure(None), "sensitivity": measure(None), "n_positive_patients": 0},
            },
            "roc": ROC,
        }
    ],
}


class ToyNetwork(pl.LightningModule):
    """Ten numbers in, three classes out; logs under the column names of metrics.csv."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(10, 3)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.layer.weight.copy_(torch.randn(3, 10, generator=generator) * 0.1)
            self.layer.bias.zero_()

    def _step(self, batch: Any, stage: str) -> torch.Tensor:
        images, labels = batch
        logits = self.layer(images)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        how = {"on_step": False, "on_epoch": True, "logger": False, "batch_size": len(labels)}
        self.log(f"{stage}_loss", loss, **how)
        self.log(f"{stage}_accuracy", (logits.argmax(1) == labels).float().mean(), **how)
        return loss

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        return self._step(batch, "train")

    def validation_step(self, batch: Any, _: int) -> None:
        self._step(batch, "val")
        self.log("val_macro_auc", float("nan"), logger=False)  # undefined: a class is absent

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.01)
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)}


def loader(seed: int) -> DataLoader:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(24, 10, generator=generator)
    return DataLoader(TensorDataset(images, images[:, :3].argmax(1)), batch_size=8)


def fit(
    folder: Path,
    loggers: list[Any],
    *,
    epochs: int = 3,
    callbacks: list[pl.Callback] | None = None,
    resume: bool = False,
    validate_every: int = 1,
) -> pl.Trainer:
    """Train in `folder` as `covidct train` does: table, last checkpoint at the end of each epoch, loggers."""
    checkpoint = ModelCheckpoint(folder / "checkpoints", save_last=True, save_on_train_epoch_end=True)
    table = EpochTable(folder / "metrics.csv", phase_of=lambda trainer: int(trainer.current_epoch >= 2))
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, max_epochs=epochs, logger=loggers, num_sanity_val_steps=1,
        check_val_every_n_epoch=validate_every,
        callbacks=[table, checkpoint, *(callbacks or [])], enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    last = folder / "checkpoints" / "last.ckpt"
    trainer.fit(ToyNetwork(), loader(0), loader(1), ckpt_path=str(last) if resume else None)
    return trainer


def picture(path: Path, note: str = "") -> Path:
    """A PNG with two known pixels and a comment among its metadata."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    image = Image.new("RGB", (4, 3), (10, 20, 30))
    image.putpixel((1, 2), (200, 100, 50))
    info = PngInfo()
    info.add_text("Comment", note)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, pnginfo=info)
    return path


def records(run_folder: Path, number: int) -> None:
    """What `covidct train` leaves beside the numbers: the same data in every run, another network in each."""
    made = {
        "run.json": {"run": f"{number}" * 12, "arm": "adam", "repeat": number, "synthetic": True, "best_epoch": 2},
        "provenance.json": {"digests": {"index": "1d" * 32, "split": "5b" * 32}},
        "participants.json": {"accepted": {"patients": 20, "slices": 100}, "files_read": 101, "classes": ["DOE_JANE"]},
        "split.json": {"train": ["0123456789abcdef"], "unit": "patient", "repeat": number, "name": "patient"},
    }
    for name, values in made.items():
        (run_folder / name).write_text(json.dumps(values))
    (run_folder / "checkpoints" / "best.ckpt").write_bytes(b"weights of run %d" % number)
    (run_folder / "predictions.parquet").write_bytes(b"predictions of run %d" % number)
    (run_folder / "report.html").write_text("a picture of DOE_JANE's scan")


def main(folder: Path) -> None:
    for number in (1, 2):
        run_folder = folder / f"run{number}"
        loggers = build_loggers(
            "wandb",
            run_folder,
            run_id=f"toy-00000000000{number}",
            name=f"toy {number}",
            project="covidct-tests",
            group="repeats",
            job_type="train",
            tags=["toy", f"repeat{number}", f"from {folder}"],
            config={
                "lr": 0.01,
                "classes": CLASSES,
                "data": {"root": str(folder), "index": "DOE_JANE", "note": f"copied from {folder}/ct of Jane"},
                "split_digest": "ab" * 32,
                "resume": None,
            },
        )
        try:
            trainer = fit(run_folder, loggers)
            figure = picture(run_folder / "figures" / "roc.png", note=f"drawn for DOE_JANE in {folder}")
            log_evaluation(loggers, SUMMARY, {"roc": figure}, step=trainer.global_step)
            records(run_folder, number)
            log_files(loggers, [run_folder / "split.json"])
        finally:
            close_loggers(loggers)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
