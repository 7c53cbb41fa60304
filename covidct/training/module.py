"""The classifier as Lightning trains it, and as a checkpoint gives it back."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytorch_lightning as pl
import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MeanMetric

from covidct.errors import DataRefused, IntegrityError, UsageError
from covidct.labels import ClassScheme
from covidct.models.backbone import build_backbone
from covidct.models.cut import TrunkAndTail
from covidct.models.trainable import set_trainable
from covidct.models.weights import WeightsRecord, digest_state
from covidct.training.checkpoints import read_checkpoint
from covidct.training.phases import phases_of
from covidct.training.slice_predictions import SlicePredictions, slice_figures

T = TypeVar("T")
Batch = Mapping[str, Tensor]
"""image float32 (B, C, H, W) in [0, 1], or feature (B, ...): activations of the frozen trunk | label int64 (B,), absent
when unknown | row int64 (B,) into the slice table"""


class SliceClassifier(pl.LightningModule):
    """Cross-entropy training of a `Backbone` on single slices.

    Logs per epoch: train_loss, train_accuracy, val_loss (plain cross-entropy: neither smoothed nor weighted),
    val_accuracy (the most probable class; at a tie the first) and val_macro_auc (mean one-against-the-rest AUC over
    the classes that have both kinds of slices; NaN when none has). All are exact under any number of processes: slices
    that a sampler repeats to even out the processes count once, and processes may have unequal shares. A process
    without any share is refused by Lightning in validation and test; `predict_slices` does without even that.

    Args:
        name: timm model name.
        classes: `ClassScheme.as_dict()`; fixes the order of the outputs.
        channels: Image channels C.
        weights: See `build_backbone`.
        trainable: See `set_trainable`.
        drop_rate: Dropout before the classifier.
        label_smoothing: 0..1, in the training loss only.
        class_weights: One weight per class for the training loss, or None.
        channels_last: Memory layout; results agree, speed differs.
        seed: Together with epoch, step and process it fixes dropout, so that a resumed run repeats what was lost.
        weights_record: What the network started from, when a checkpoint is about to fill it: no weights are looked
            for then.
    """

    def __init__(
        self,
        name: str,
        classes: dict[str, Any],
        *,
        channels: int,
        weights: str,
        trainable: str,
        drop_rate: float = 0.0,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
        channels_last: bool = False,
        seed: int = 0,
        weights_record: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.scheme = ClassScheme.from_dict(classes)
        if not 0 <= label_smoothing < 1:
            raise UsageError(f"label_smoothing={label_smoothing} is not in [0, 1)", where="recipe.label_smoothing")
        if class_weights is not None and (len(class_weights) != len(self.scheme) or min(class_weights) < 0):
            raise UsageError(f"class_weights needs {len(self.scheme)} numbers of 0 or more, one per class")
        self.save_hyperparameters(
            {
                "name": name,
                "classes": self.scheme.as_dict(),
                "channels": channels,
                "weights": Path(weights).name,  # checkpoints travel, folder names should not
                "trainable": trainable,
                "drop_rate": float(drop_rate),
                "label_smoothing": float(label_smoothing),
                "class_weights": None if class_weights is None else [float(w) for w in class_weights],
                "channels_last": channels_last,
                "seed": int(seed),
            },
            logger=False,
        )
        start = "none" if weights_record else weights
        self.backbone = build_backbone(name, len(self.scheme), channels=channels, weights=start, drop_rate=drop_rate)
        if weights_record:
            self.backbone.weights = WeightsRecord(**weights_record)
        self.trainable = set_trainable(self.backbone, trainable)
        if channels_last:
            self.backbone.use_channels_last()
        self.label_smoothing = float(label_smoothing)
        self.seed = int(seed)
        self.class_weights: Tensor | None
        given = None if class_weights is None else torch.tensor(list(class_weights), dtype=torch.float32)
        self.register_buffer("class_weights", given, persistent=False)
        # not self.log(sync_dist=True): its weights are whole numbers, and uneven processes average wrongly
        self.train_loss = MeanMetric(nan_strategy="error")  # "disable" also drops the weights (torchmetrics 1.9)
        self.train_accuracy = MeanMetric(nan_strategy="error")
        self.parts: TrunkAndTail | None = None
        """Needed for batches of features; `covidct.training.features.use_features` sets it."""
        self.predictions: SlicePredictions | None = None
        self._shard: list[dict[str, np.ndarray]] = []

    @property
    def weights(self) -> WeightsRecord:
        """What the network started from."""
        return self.backbone.weights

    def digest(self) -> str:
        """SHA-256 of the network's present state."""
        return digest_state(self.backbone)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K)."""
        logits: Tensor = self.backbone(image)
        return logits

    def logits(self, batch: Batch) -> Tensor:
        """Logits (B, K) of a batch of pictures or of features."""
        if "feature" not in batch:
            found: Tensor = self(batch["image"])
            return found
        if self.parts is None:
            raise UsageError("a batch of features needs a network that is cut", remedy="use `use_features`")
        return self.parts.tail(batch["feature"])

    def setup(self, stage: str) -> None:
        """Lightning's preparation on every process."""
        # an empty process is fine where nothing is exchanged inside the loop; elsewhere Lightning's refusal is right
        self.allow_zero_length_dataloader_with_multiple_devices = stage == "predict"
        # what is logged without sync is computed from gathered data and equal on all processes
        warnings.filterwarnings("ignore", message=r"It is recommended to use `self\.log\(.*sync_dist=True")
        # frozen parts are in evaluation mode by design
        warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode at the start of training")

    def configure_optimizers(self) -> Any:
        """What the current phase of the trainer's recipe says, for the tuned parameters only."""
        return phases_of(self.trainer).configure([p for p in self.parameters() if p.requires_grad])

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Dropout depends on seed, epoch, step and process, and on nothing that happened before."""
        words = [self.seed, self.current_epoch, batch_idx, self.global_rank]
        torch.manual_seed(int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> np.uint64(1)))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one batch. Raises `DataRefused` as soon as it is not a finite number on any process."""
        logits = self.logits(batch).float()
        label = batch["label"]
        loss = F.cross_entropy(logits, label, weight=self.class_weights, label_smoothing=self.label_smoothing)
        finite = bool(torch.isfinite(loss))
        if not self.trainer.strategy.reduce_boolean_decision(finite, all=True):
            self._refuse(batch, batch_idx, None if finite else float(loss.detach()))
        self.train_loss.update(loss.detach(), weight=len(label))
        self.train_accuracy.update((logits.argmax(1) == label).float().mean(), weight=len(label))
        n = len(label)  # logger=False: EpochTable sends each epoch's row once
        self.log("train_loss", self.train_loss, on_step=False, on_epoch=True, prog_bar=True, logger=False, batch_size=n)
        self.log("train_accuracy", self.train_accuracy, on_step=False, on_epoch=True, logger=False, batch_size=n)
        return loss

    def _refuse(self, batch: Batch, batch_idx: int, loss: float | None) -> None:
        """Raise the same error on every process; `loss` is None where this process's own is finite."""
        found: tuple[str, list[int]] | None = None
        if loss is not None:
            seen = batch["feature"] if "feature" in batch else batch["image"]
            bad = ~torch.isfinite(seen).flatten(1).all(1)
            norm = float(torch.stack([p.detach().norm() for p in self.parameters() if p.requires_grad]).norm())
            images = f"{int(bad.sum())} image(s) hold NaN or infinity" if bad.any() else "the images are finite"
            rows = batch["row"][bad] if bad.any() else batch["row"]
            found = f"the training loss is {loss}: {images}, norm of the tuned weights {norm:.4g}", rows.tolist()
        what, rows_of_table = next(each for each in _from_all(found) if each is not None)
        raise DataRefused(
            what,
            where=f"epoch {self.current_epoch}, step {batch_idx}, {_rows(rows_of_table)} of the slice table",
            remedy="the last checkpoint is still finite; lower recipe.phases[*].lr, clip gradients, or mend these rows",
        )

    def on_validation_epoch_start(self) -> None:
        """Begin to collect."""
        self._shard = []

    def on_test_epoch_start(self) -> None:
        """Begin to collect."""
        self._shard = []

    def on_predict_epoch_start(self) -> None:
        """Begin to collect."""
        self._shard = []

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect one batch."""
        self._collect(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect one batch."""
        self._collect(batch)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Collect one batch; probabilities (B, K) of this process's share, for whoever wants them as they come."""
        return self._collect(batch)

    def on_validation_epoch_end(self) -> None:
        """Log the figures of the whole partition, the same on every process."""
        if self.trainer.sanity_checking:
            return
        self.predictions = found = self.gather()
        for figure, value in slice_figures(found).items():
            self.log(f"val_{figure}", value, prog_bar=figure == "loss", logger=False)

    def on_test_epoch_end(self) -> None:
        """Put the share of every process together; test figures are made from the predictions table alone."""
        self.predictions = self.gather()

    def _collect(self, batch: Batch) -> Tensor:
        # float32 before softmax: bfloat16 leaves a few dozen distinct scores, and AUC needs their order
        probability = torch.softmax(self.logits(batch).float(), dim=1)
        row = batch["row"]
        label = batch["label"] if "label" in batch else torch.full_like(row, -1)
        self._shard.append(
            {"row": row.cpu().numpy(), "probability": probability.cpu().numpy(), "label": label.cpu().numpy()}
        )
        return probability

    def gather(self, *, unknown: bool = False) -> SlicePredictions:
        """What all processes collected, each slice once. To be called by every process.

        Args:
            unknown: Whether probabilities that are not numbers are handed on instead of refused.

        Raises:
            DataRefused: A probability is not a number.
        """
        shards = _from_all(self._shard)
        self._shard = []
        empty: dict[str, np.ndarray] = {
            "row": np.empty(0, np.int64),
            "probability": np.empty((0, len(self.scheme)), np.float32),
            "label": np.empty(0, np.int64),
        }
        parts = [empty, *(part for shard in shards for part in shard)]
        rows, first = np.unique(np.concatenate([part["row"] for part in parts]), return_index=True)
        probabilities = np.concatenate([part["probability"] for part in parts])[first]
        labels = np.concatenate([part["label"] for part in parts])[first]
        bad = ~np.isfinite(probabilities).all(axis=1)
        if bad.any() and not unknown:
            raise DataRefused(
                f"the network gives no probabilities for {int(bad.sum())} of {len(rows)} slices (NaN)",
                where=f"epoch {self.current_epoch}, rows {rows[bad][:20].tolist()} of the slice table",
                remedy="training diverged, or these slices hold NaN; the last checkpoint is still finite",
            )
        return SlicePredictions(rows, probabilities, labels)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what a reader must know: class order and origin of the weights."""
        checkpoint["covidct"] = {"schema": 1, "classes": self.scheme.as_dict(), "weights": self.weights.as_dict()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of other classes; take over where its weights came from."""
        kept = checkpoint.get("covidct", {})
        _check_classes(kept.get("classes"), self.scheme)
        self.backbone.weights = WeightsRecord(**kept["weights"])


def _rows(rows: Sequence[int]) -> str:
    more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
    return f"rows {', '.join(str(row) for row in rows[:5])}{more}"


def _from_all(own: T) -> list[T]:
    """The values of all processes; to be called by every one of them."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [own]
    found = [own] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, own)
    return found


def _check_classes(kept: Any, scheme: ClassScheme) -> None:
    if kept != scheme.as_dict():
        names = kept.get("names") if isinstance(kept, dict) else kept
        raise IntegrityError(
            f"the checkpoint was trained for the classes {names}, not for {list(scheme.names)}",
            where="classes and their order",
            remedy="use the classes of the run that wrote it",
        )


def predict_slices(
    trainer: pl.Trainer, module: SliceClassifier, dataloaders: Any, *, unknown: bool = False
) -> SlicePredictions:
    """Predictions of a loader, exact under any sampler and any number of processes, one without slices included.

    To be called by every process. The result is also `module.predictions`. `unknown` is that of `gather`.
    """
    module._shard = []  # a process without slices skips the loop and its hooks
    trainer.predict(module, dataloaders, return_predictions=False)
    module.predictions = module.gather(unknown=unknown)
    return module.predictions


def load_classifier(path: Path, scheme: ClassScheme | None = None) -> SliceClassifier:
    """A trained classifier from a checkpoint, in evaluation mode, on the CPU. Downloads nothing, runs no code of it.

    Args:
        path: best.ckpt or last.ckpt of a run.
        scheme: The classes the caller works with, when it has any; another order is refused.

    Raises:
        DataRefused: No checkpoint of ours, or damaged.
        IntegrityError: Its classes are not `scheme`'s.
    """
    checkpoint = read_checkpoint(path)
    kept, values = checkpoint.get("covidct"), checkpoint.get("hyper_parameters")
    if not isinstance(kept, dict) or kept.get("schema") != 1 or not isinstance(values, dict):
        raise DataRefused("not a checkpoint of this program, or one of another version", where=Path(path).name)
    if scheme is not None:
        _check_classes(kept["classes"], scheme)
    try:
        module = SliceClassifier(**values, weights_record=kept["weights"])
        module.load_state_dict(checkpoint["state_dict"])
    except (TypeError, KeyError, RuntimeError) as error:
        lines = str(error).splitlines()
        raise DataRefused(f"the checkpoint does not fit this program: {lines[0]}", where=Path(path).name) from error
    return module.eval()
