"""Batches for Lightning: a table, a split and how slices become pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch

from covidct.ct.window import GRAY8, parse_windows
from covidct.data.splits import Split, verify_split
from covidct.data.store import RowStore
from covidct.data.table import SliceTable, read_table
from covidct.data.transforms import SliceTransform
from covidct.errors import DataRefused, UsageError
from covidct.provenance import digest_json
from covidct.training.dataset import FeatureDataset, Features, SliceDataset, SliceLoader, as_is, collate
from covidct.training.samplers import EvaluationSampler, TrainSampler

if TYPE_CHECKING:
    from torch.utils.data import Sampler

BALANCES = ("none", "sampler", "loss")
CACHES = ("none", "memory", "disk")


class SliceDataModule(pl.LightningDataModule):
    """Training, validation and test batches of one split.

    A batch is `{"image": float32 (B, C, size, size) in [0, 1], "label": int64 (B,), "row": int64 (B,)}`: the
    backbone normalises by itself, `row` counts in `table.accepted`, and a label is -1 where the slice has none (only
    possible in `evaluation_loader`).

    Training rows are shared out evenly over the processes, all others exactly once: give the trainer
    `use_distributed_sampler=False`, or Lightning would put its own samplers, which repeat slices, in their place.

    Args:
        index: The slice table, or the path of its Parquet file or folder.
        split: The split or its file; None when only `evaluation_loader` is used.
        classes: Class names in column order.
        windows: Name or names of windows, one channel each; None for 8-bit images.
        size: Side of the pictures in pixels.
        fit: "pad", "stretch" or "crop": see `SliceTransform`.
        augment: Plain values of `Augmentation` for training pictures, or None.
        views: Number of augmented versions of a slice, the same for every seed; None: a new one each epoch.
        batch_size: Slices per batch and process.
        workers: Loader processes; 0 loads in the main one. Batches do not depend on it.
        cache: "memory" keeps decoded slices (2 bytes a pixel), "disk" keeps them in `store` for all who come after;
            results do not depend on it.
        store: Folder of kept slices; each size has a folder of its own in it.
        balance: "sampler" draws all classes equally often in training; "loss" leaves the order alone, the loss is then
            given `class_weights`.
        seed: Seed of order and augmentation.
    """

    def __init__(
        self,
        index: SliceTable | str | Path,
        split: Split | str | Path | None,
        *,
        classes: Sequence[str],
        windows: str | Sequence[str] | None = "lung",
        size: int = 224,
        fit: str = "pad",
        augment: Mapping[str, Any] | None = None,
        views: int | None = None,
        batch_size: int = 32,
        workers: int = 0,
        cache: str = "none",
        store: Path | None = None,
        balance: str = "none",
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value, known in (("balance", balance, BALANCES), ("cache", cache, CACHES)):
            if value not in known:
                raise UsageError(f"unknown {name} {value!r}", remedy=f"use one of {list(known)}")
        if batch_size < 1 or workers < 0 or seed < 0:
            raise UsageError(f"batch_size counts from 1, workers and seed from 0: {batch_size}, {workers}, {seed}")
        if views is not None and views < 1:
            raise UsageError(f"views counts from 1: {views}", where="data.views", remedy="null: a new one each epoch")
        if cache == "disk" and store is None:
            raise UsageError("cache=disk needs a folder", where="store")
        self.classes = tuple(classes)
        self.batch_size, self.workers, self.balance, self.seed = batch_size, workers, balance, seed
        self.transform = SliceTransform(
            parse_windows(windows), size, fit=fit, augment=augment, seed=0 if views else seed
        )
        self.views = views if augment else None
        self.features: Features | None = None
        """Set, batches hold `feature` in place of `image`."""
        self._index, self._split, self._cache, self._folder = index, split, cache, store
        self._dataset: SliceDataset | None = None

    def setup(self, stage: str | None = None) -> None:
        """Read table and split and check that they belong together; does nothing the second time.

        Raises:
            IntegrityError: The split does not belong to this index, was edited, or leaks.
            DataRefused: A label that is not one of the classes, a class without training slices, or mixed units.
            UsageError: A window for 8-bit images, or none for Hounsfield values.
        """
        if self._dataset is not None:
            return
        self.table = self._read_table()
        frame = self.table.accepted
        numbers = {name: number for number, name in enumerate(self.classes)}
        self.labels: npt.NDArray[np.int64] = np.array(
            [numbers.get(label, -1) for label in frame["label"]], dtype=np.int64
        )
        self.split: Split | None = None
        self.rows: dict[str, npt.NDArray[np.int64]] = {}
        if self._split is not None:
            self.split = self._split if isinstance(self._split, Split) else Split.read(Path(self._split))
            verify_split(self.split, self.table)
            self.rows = self.split.rows(self.table)
            self._check_labels()
        self._check_units()
        self._dataset = SliceDataset(self.table, self.labels, self.transform, self._store(), self.views)

    def partition(self, name: str) -> npt.NDArray[np.int64]:
        """Table rows of "train", "val", "test" (all test sets together) or "test/<name>", ascending."""
        self.setup()
        found = [rows for part, rows in self.rows.items() if part == name or part.startswith(f"{name}/")]
        if not found and name != "test":
            raise UsageError(f"no partition {name!r}", remedy=f"the split has {sorted(self.rows)}")
        return np.sort(np.concatenate([np.empty(0, dtype=np.int64), *found]))

    def train_dataloader(self) -> SliceLoader:
        """Augmented training batches in the order of seed and epoch."""
        rows = self.partition("train")
        rank, world = _place()
        labels = self.labels[rows] if self.balance == "sampler" else None
        return self._loader(TrainSampler(rows, self.seed, labels=labels, rank=rank, world=world))

    def val_dataloader(self) -> SliceLoader:
        """Validation batches, each slice once."""
        return self.evaluation_loader(self.partition("val"))

    def test_dataloader(self) -> SliceLoader:
        """Batches of all test sets in one loader, each slice once; the table's `site` tells them apart."""
        return self.evaluation_loader(self.partition("test"))

    def predict_dataloader(self) -> SliceLoader:
        """Every accepted slice of the table once, whatever its partition, labelled or not."""
        self.setup()
        return self.evaluation_loader(np.arange(len(self.table.accepted), dtype=np.int64))

    def evaluation_loader(self, rows: npt.NDArray[np.int64]) -> SliceLoader:
        """Batches of any rows without augmentation, each exactly once over all processes, in the given order."""
        self.setup()
        rank, world = _place()
        return self._loader(EvaluationSampler(rows, rank=rank, world=world))

    def class_weights(self, by: str = "slice") -> torch.Tensor:
        """Inverse-frequency weights of the classes for the loss.

        Args:
            by: "slice" or "patient": what is counted in the training set.

        Returns:
            float32 `[classes]`: total / (number of classes x count); the mean over the counted things is 1.
        """
        if by not in ("slice", "patient"):
            raise UsageError(f"unknown weighting {by!r}", remedy="use 'slice' or 'patient'")
        rows = self.partition("train")
        counted = self.table.accepted.iloc[rows].assign(number=self.labels[rows])
        if by == "patient":
            counted = counted.drop_duplicates(["patient_key", "number"])
        counts = np.bincount(counted["number"].to_numpy(), minlength=len(self.classes))
        return torch.tensor(counts.sum() / (len(self.classes) * counts), dtype=torch.float32)

    def picture_loader(self, rows: npt.NDArray[np.int64], view: int | None, *, batch_size: int) -> SliceLoader:
        """Pictures of any rows, in order and on this process alone, features or not.

        Args:
            rows: Table rows.
            view: Number of the augmented version; None for none.
            batch_size: Pictures per batch.
        """
        self.setup()
        visits = rows.tolist() if view is None else [(view, row, 0) for row in rows.tolist()]
        return self._pictures(visits, batch_size)

    def _loader(self, sampler: Sampler[Any]) -> SliceLoader:
        if self.features is None:
            return self._pictures(sampler, self.batch_size)
        return SliceLoader(
            FeatureDataset(self.features, self.labels, self.views),
            batch_size=self.batch_size,
            sampler=sampler,
            pin_memory=torch.cuda.is_available() and not self.features.in_gpu_memory,
            collate_fn=as_is,
            generator=torch.Generator().manual_seed(self.seed),
        )

    def _pictures(self, sampler: Any, batch_size: int) -> SliceLoader:
        return SliceLoader(
            self._dataset,  # type: ignore[arg-type]  # set by setup
            batch_size=batch_size,
            sampler=sampler,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
            collate_fn=collate,
            generator=torch.Generator().manual_seed(self.seed),  # without one, a loader draws from the global state
        )

    def _store(self) -> RowStore | None:
        if self._cache == "none":
            return None
        count, shape = len(self.table.accepted), (self.transform.size, self.transform.size)
        if self._cache == "memory":
            return RowStore(None, count, shape, np.int16)
        about = {k: v for k, v in self.transform.about().items() if k != "windows"} | {"index": self.table.digest}
        store = RowStore(self._folder / digest_json(about)[:16], count, shape, np.int16, about)  # type: ignore[operator]
        store.require_space(store.n_empty, "use data.cache=none, or a smaller data.size")
        return store

    def _read_table(self) -> SliceTable:
        return self._index if isinstance(self._index, SliceTable) else read_table(Path(self._index))

    def _check_labels(self) -> None:
        used = np.concatenate(list(self.rows.values()))
        strange = self.table.accepted["label"].iloc[used[self.labels[used] < 0]]
        if len(strange):
            raise DataRefused(
                f"{len(strange)} slices of the split carry classes {sorted(strange.unique())}, "
                f"the task has {list(self.classes)}",
                remedy="name all classes in data.classes, or index again without the others",
            )
        if absent := sorted(set(range(len(self.classes))) - set(self.labels[self.rows["train"]])):
            raise DataRefused(f"no training slice of {[self.classes[k] for k in absent]}", remedy="mend data.classes")

    def _check_units(self) -> None:
        units = sorted(self.table.accepted["units"].unique())
        if len(units) > 1:
            raise DataRefused(f"one table with pixels in {' and '.join(units)}", remedy="index the sources apart")
        if units and (units[0] == GRAY8) == bool(self.transform.windows):
            raise UsageError(
                f"the pixels are {units[0]} and {len(self.transform.windows)} windows were given",
                remedy="use data.windows=null for 8-bit images, and a window (lung, ...) for Hounsfield values",
            )


def _place() -> tuple[int, int]:
    """Rank of this process and number of processes."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
