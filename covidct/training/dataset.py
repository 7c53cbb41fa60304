"""Slices of a table as samples: pictures, or what the frozen part of a network says of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from covidct.data.store import RowStore
from covidct.data.table import SliceTable
from covidct.data.transforms import SliceTransform
from covidct.errors import CovidctError, DataRefused, IntegrityError
from covidct.training.samplers import Visit


class SliceDataset(Dataset[dict[str, Any]]):
    """Every accepted slice of a table; a sampler says which ones are used.

    An item is `{"image": float32 [C, size, size] in [0, 1], "label": int, "row": int}`; the label is -1 where the
    slice has none of the classes. A file that cannot be read, or that holds other pixels than the index says (looked at
    once by each process, for it takes a millisecond), is handed on as the error, not raised: `SliceLoader` raises it in
    the main process, with its own message instead of a worker's traceback.

    Args:
        table: The slice table; `row` counts in `table.accepted`.
        labels: `[rows]` class numbers, -1 for none.
        transform: File to tensor.
        store: Keeps base images, or None.
        views: Number of augmented versions of a slice; None: another one at each visit.
    """

    def __init__(
        self,
        table: SliceTable,
        labels: npt.NDArray[np.int64],
        transform: SliceTransform,
        store: RowStore | None = None,
        views: int | None = None,
    ) -> None:
        frame = table.accepted
        self._root = table.root
        self._paths = frame["path"].to_numpy()
        self._frames = frame["frame"].fillna(0).to_numpy(dtype=np.int64)
        self._names = frame[["slice_key", "patient_key"]].to_numpy()
        self._hashes = frame["pixel_hash"].to_numpy(dtype=object).copy()
        self._labels = labels
        self._transform = transform
        self._store = store
        self._views = views

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, visit: Visit | int) -> dict[str, Any] | CovidctError:  # type: ignore[override]
        """One sample; a `Visit` of training is augmented, a bare row number is not."""
        row = visit[1] if isinstance(visit, tuple) else visit
        view = view_of(visit, self._views)
        chance = visit if self._views is None and isinstance(visit, tuple) else None if view is None else (view, row)
        try:
            base = self._base(row)
        except (DataRefused, IntegrityError, OSError) as error:
            slice_key, patient_key = self._names[row]
            reason = f"cannot be read ({type(error).__name__})" if isinstance(error, OSError) else error.what
            kind = IntegrityError if isinstance(error, IntegrityError) else DataRefused
            return kind(
                f"a slice that was accepted when the index was made is now refused: {reason}",
                where=f"slice {slice_key} of patient {patient_key}",
                remedy="restore the file, or run `covidct index` and `covidct split` again",
            )
        image = self._transform.finish(base, chance)
        return {"image": image, "label": int(self._labels[row]), "row": row}

    def _base(self, row: int) -> npt.NDArray[np.int16]:
        kept = self._store.get(row) if self._store is not None else None
        if kept is not None:
            return kept
        path, frame = self._root / self._paths[row], int(self._frames[row])
        base = self._transform.base(path, frame, pixel_hash=self._hashes[row])
        self._hashes[row] = None
        if self._store is not None:
            self._store.put(row, base)
        return base


def view_of(visit: Visit | int, views: int | None) -> int | None:
    """Which of the augmented versions of a slice a visit of training sees; None: the slice as it is, or no versions."""
    if views is None or not isinstance(visit, tuple):
        return None
    epoch, _, earlier = visit
    return (epoch + earlier) % views


class Features(Protocol):
    """What `covidct.training.features` gives: activations of rows of the table, per augmented view."""

    @property
    def in_gpu_memory(self) -> bool:
        """Whether batches come from GPU memory."""

    def batch(self, view: int | None, rows: npt.NDArray[np.int64]) -> torch.Tensor:
        """Activations (B, ...) of rows."""


class FeatureDataset(Dataset[Any]):
    """Trunk features in place of pictures: `{"feature": (B, ...), "label": int64 (B,), "row": int64 (B,)}`.

    Whole batches are fetched at once, so a batch costs one copy.

    Args:
        features: Where they are.
        labels: `[rows]` class numbers, -1 for none.
        views: See `SliceDataset`.
    """

    def __init__(self, features: Features, labels: npt.NDArray[np.int64], views: int | None) -> None:
        self._features, self._labels, self._views = features, labels, views

    def __len__(self) -> int:
        return len(self._labels)

    def __getitems__(self, visits: Sequence[Visit | int]) -> dict[str, torch.Tensor]:
        """One batch; torch's loader asks for it under this name."""
        rows = np.array([visit[1] if isinstance(visit, tuple) else visit for visit in visits], dtype=np.int64)
        views = [view_of(visit, self._views) for visit in visits]
        if len(set(views)) == 1:
            feature = self._features.batch(views[0], rows)
        else:  # a sampler that draws with replacement meets several views in one epoch
            each = [self._features.batch(view, rows[i : i + 1]) for i, view in enumerate(views)]
            feature = torch.cat(each)
        return {"feature": feature, "label": torch.from_numpy(self._labels[rows]), "row": torch.from_numpy(rows)}


def as_is(batch: Any) -> Any:
    """The collate function of batches that are whole already."""
    return batch


class SliceLoader(DataLoader[dict[str, torch.Tensor]]):
    """A `DataLoader` that raises what its workers refused."""

    def __iter__(self) -> Any:
        for batch in super().__iter__():
            if isinstance(batch, CovidctError):
                raise batch
            yield batch


def collate(samples: list[dict[str, Any] | CovidctError]) -> dict[str, torch.Tensor] | CovidctError:
    """Stack samples to a batch, or hand on the first refusal among them.

    Returns:
        `image` float32 (B, C, H, W) in [0, 1]; `label` int64 (B,); `row` int64 (B,).
    """
    for sample in samples:
        if isinstance(sample, CovidctError):
            return sample
    return default_collate(samples)
