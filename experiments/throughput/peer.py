"""The peer: the paper's recipe with pytorch-lightning, MONAI and timm alone, as a competent user writes it.

It uses nothing of covidct. It is meant to be good plain code: frozen layers stay in evaluation mode and out of the
backward pass, workers persist between epochs, and MONAI's own `PersistentDataset` keeps what was decoded (`--cache`).

    python -m experiments.throughput.peer --slices slices.csv --folder out --epochs 50 [--cache cache]

`slices.csv` has the columns file,label,part (a path, a class number from 0, train or val). Written into `--folder`:
checkpoints, metrics of each epoch, and `peer.json` with the seconds of each epoch.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import timm
import torch
import torch.nn.functional as F
from monai.data import DataLoader, Dataset, PersistentDataset, PydicomReader
from monai.transforms import Compose, EnsureChannelFirstd, EnsureTyped, LoadImaged, Resized, ScaleIntensityRanged
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from torchmetrics.classification import MulticlassAccuracy

TUNED = ("layer4.2.conv1", "layer4.2.conv2", "layer4.2.conv3", "fc")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def preprocessing(size: int) -> Compose:
    """A file to a picture `[1, size, size]` in [0, 1]: Hounsfield units, lung window, resize."""
    return Compose(
        [
            LoadImaged("image", reader=PydicomReader(swap_ij=False), image_only=True),
            EnsureChannelFirstd("image", channel_dim="no_channel"),
            ScaleIntensityRanged("image", a_min=-1350, a_max=150, b_min=0.0, b_max=1.0, clip=True),
            Resized("image", (size, size), mode="bilinear", anti_aliasing=True),
            EnsureTyped("image", dtype=torch.float32, track_meta=False),
        ]
    )


class SliceData(pl.LightningDataModule):
    """Batches of the listed slices.

    Args:
        items: {"train" or "val": [{"image": path, "label": class number}]}.
        size: Side of the pictures.
        batch_size: Slices per batch.
        workers: Loader processes.
        cache: Folder where `PersistentDataset` keeps preprocessed pictures, or None to decode in every epoch.
    """

    def __init__(
        self, items: dict[str, list[dict[str, Any]]], size: int, batch_size: int, workers: int, cache: Path | None
    ) -> None:
        super().__init__()
        self.items, self.size, self.batch_size, self.workers, self.cache = items, size, batch_size, workers, cache

    def setup(self, stage: str) -> None:
        """Make the data sets."""
        transform = preprocessing(self.size)
        self.sets = {
            part: PersistentDataset(items, transform, self.cache) if self.cache else Dataset(items, transform)
            for part, items in self.items.items()
        }

    def train_dataloader(self) -> DataLoader:
        """Shuffled."""
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader:
        """In order."""
        return self._loader("val", shuffle=False)

    def _loader(self, part: str, *, shuffle: bool) -> DataLoader:
        return DataLoader(
            self.sets[part],
            batch_size=self.batch_size,
            shuffle=shuffle,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )


class Classifier(pl.LightningModule):
    """A ResNet whose last three convolutions and classifier are tuned, by Adam and then by SGD.

    Args:
        classes: Number of classes.
        switch: The epoch, from 0, in which SGD takes over.
        model: A timm ResNet.
        tuned: Names of the modules that are tuned.
        weights: A timm checkpoint file, or None for a random start.
    """

    def __init__(
        self,
        classes: int,
        switch: int,
        model: str = "resnet50",
        tuned: tuple[str, ...] = TUNED,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False  # two optimizers, one after the other
        self.switch = switch
        start = {"pretrained": True, "pretrained_cfg_overlay": {"file": weights}} if weights else {}
        # a random start needs branches that are not silent, or nothing in a frozen one could learn
        start = start or {"zero_init_last": False}
        self.network = timm.create_model(model, num_classes=classes, **start)
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad = any(name.startswith(f"{module}.") for module in tuned)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        self.train_accuracy = MulticlassAccuracy(classes, average="micro")
        self.val_accuracy = MulticlassAccuracy(classes, average="micro")

    @property
    def tuned(self) -> dict[str, torch.nn.Parameter]:
        """What is tuned, by name."""
        return {name: p for name, p in self.network.named_parameters() if p.requires_grad}

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (B, K) of pictures (B, 1, H, W) in [0, 1]."""
        return self.network((image.expand(-1, 3, -1, -1) - self.mean) / self.std)

    def on_train_epoch_start(self) -> None:
        """Every BatchNorm is frozen, and there is no dropout."""
        self.network.eval()

    def training_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> None:
        """One step of the optimizer whose turn it is."""
        logits = self(batch["image"])
        loss = F.cross_entropy(logits, batch["label"])
        optimizer = self.optimizers()[int(self.current_epoch >= self.switch)]
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        self.train_accuracy(logits, batch["label"])
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(logits))
        self.log("train_accuracy", self.train_accuracy, on_step=False, on_epoch=True)

    def validation_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> None:
        """Loss and accuracy."""
        logits = self(batch["image"])
        self.val_accuracy(logits, batch["label"])
        self.log("val_loss", F.cross_entropy(logits, batch["label"]), batch_size=len(logits))
        self.log("val_accuracy", self.val_accuracy)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam and SGD over the same weights."""
        weights = list(self.tuned.values())
        return [torch.optim.Adam(weights, lr=1e-4), torch.optim.SGD(weights, lr=1e-3, momentum=0.9)]


class EpochClock(Callback):
    """Wall seconds of each epoch, its validation included."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._began = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start."""
        self._began = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop; Lightning calls this after the validation of the epoch."""
        self.seconds.append(round(time.monotonic() - self._began, 3))


def read_slices(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The list of slices by part."""
    parts: dict[str, list[dict[str, Any]]] = {"train": [], "val": []}
    with path.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            parts[row["part"]].append({"image": row["file"], "label": int(row["label"])})
    return parts


def main(words: list[str] | None = None) -> None:
    """Train."""
    parser = argparse.ArgumentParser(description="The peer of the benchmark: Lightning, MONAI and timm alone.")
    parser.add_argument("--slices", type=Path, required=True, help="csv: file,label,part")
    parser.add_argument("--folder", type=Path, required=True, help="where results are written")
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--cache", type=Path, help="folder of a PersistentDataset; default: decode in every epoch")
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--tuned", nargs="+", default=list(TUNED))
    parser.add_argument("--weights")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--accelerator", default="cpu")
    options = parser.parse_args(words)

    pl.seed_everything(0, workers=True)
    items = read_slices(options.slices)
    classes = 1 + max(item["label"] for part in items.values() for item in part)
    data = SliceData(items, options.size, options.batch_size, options.workers, options.cache)
    module = Classifier(classes, options.epochs // 2, options.model, tuple(options.tuned), options.weights)
    clock = EpochClock()
    best = ModelCheckpoint(options.folder / "checkpoints", monitor="val_loss", save_last=True, filename="best")
    trainer = pl.Trainer(
        accelerator=options.accelerator,
        devices=1,
        precision=options.precision,
        max_epochs=options.epochs,
        callbacks=[best, clock],
        logger=CSVLogger(options.folder, name="metrics"),
        num_sanity_val_steps=0,
        log_every_n_steps=50,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data)
    record = {
        "epochs": clock.seconds,
        "steps": trainer.global_step,
        "tuned": sum(p.numel() for p in module.tuned.values()),
        "val_loss": float(trainer.callback_metrics["val_loss"]),
    }
    (options.folder / "peer.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
