"""Slices of a table as samples, and memory for those that were decoded already."""

from __future__ import annotations

import mmap
import os
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from covidct.data.table import SliceTable
from covidct.data.transforms import SliceTransform
from covidct.errors import DataRefused, ResourceError
from covidct.training.samplers import Visit


class BaseCache:
    """Base images in anonymous memory that loader workers share with the process that made them.

    It is not /dev/shm, so a small one (containers) does not matter, and pages are taken only as they are filled. A
    checksum marks a filled place: a picture that is being written at the same moment, or was left half written by a
    killed worker, is decoded again. Under a start method other than fork each worker fills one of its own.

    Args:
        count: Number of table rows.
        shape: `(channels, size, size)`.

    Raises:
        ResourceError: The machine has not that much memory.
    """

    def __init__(self, count: int, shape: tuple[int, int, int]) -> None:
        self._count, self._shape = count, shape
        bytes_needed = count * int(np.prod(shape)) * 2
        bytes_there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        remedy = "use data.cache=none, a smaller size, or fewer windows"
        if bytes_needed > bytes_there:
            raise ResourceError(
                f"keeping {count} slices needs {bytes_needed / 2**30:.1f} GiB, this machine has "
                f"{bytes_there / 2**30:.1f} GiB",
                remedy=remedy,
            )
        try:
            pictures, marks = mmap.mmap(-1, max(1, bytes_needed)), mmap.mmap(-1, max(1, count * 4))
        except OSError as error:
            raise ResourceError(
                f"no memory for {bytes_needed / 2**30:.1f} GiB: {error.strerror}", remedy=remedy
            ) from None
        self._pictures = np.frombuffer(pictures, dtype=np.uint16, count=bytes_needed // 2).reshape(count, *shape)
        self._marks = np.frombuffer(marks, dtype=np.uint32, count=count)

    def get(self, row: int) -> npt.NDArray[np.uint16] | None:
        """The picture of a row, or None when it is not there (yet)."""
        mark = int(self._marks[row])
        if not mark or mark != _mark(self._pictures[row]):
            return None
        return self._pictures[row]

    def put(self, row: int, picture: npt.NDArray[np.uint16]) -> None:
        """Keep the picture of a row."""
        self._pictures[row] = picture
        self._marks[row] = _mark(picture)

    def __reduce__(self) -> tuple[Any, ...]:  # a spawned worker starts with an empty one
        return BaseCache, (self._count, self._shape)


def _mark(picture: npt.NDArray[np.uint16]) -> int:
    return zlib.crc32(picture.data) | 1  # 0 means empty


class SliceDataset(Dataset[dict[str, Any]]):
    """Every accepted slice of a table; a sampler says which ones are used.

    An item is `{"image": float32 [C, size, size] in [0, 1], "label": int, "row": int}`; the label is -1 where the
    slice has none of the classes. A file that cannot be read is handed on as the error, not raised: `SliceLoader`
    raises it in the main process, with its own message instead of a worker's traceback.

    Args:
        table: The slice table; `row` counts in `table.accepted`.
        labels: `[rows]` class numbers, -1 for none.
        transform: File to tensor.
        cache: Memory for base images, or None.
    """

    def __init__(
        self,
        table: SliceTable,
        labels: npt.NDArray[np.int64],
        transform: SliceTransform,
        cache: BaseCache | None = None,
    ) -> None:
        frame = table.accepted
        self._root = table.root
        self._paths = frame["path"].to_numpy()
        self._frames = frame["frame"].fillna(0).to_numpy(dtype=np.int64)
        self._names = frame[["slice_key", "patient_key"]].to_numpy()
        self._labels = labels
        self._transform = transform
        self._cache = cache

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, visit: Visit | int) -> dict[str, Any] | DataRefused:  # type: ignore[override]
        """One sample; a `Visit` of training is augmented, a bare row number is not."""
        chance = visit if isinstance(visit, tuple) else None
        row = visit[1] if isinstance(visit, tuple) else visit
        try:
            base = self._base(row)
        except (DataRefused, OSError) as error:
            slice_key, patient_key = self._names[row]
            reason = error.what if isinstance(error, DataRefused) else f"cannot be read ({type(error).__name__})"
            return DataRefused(
                f"a slice that was accepted when the index was made is now refused: {reason}",
                where=f"slice {slice_key} of patient {patient_key}",
                remedy="restore the file, or run `covidct index` and `covidct split` again",
            )
        image = self._transform.finish(base, chance)
        return {"image": image, "label": int(self._labels[row]), "row": row}

    def _base(self, row: int) -> npt.NDArray[np.uint16]:
        kept = self._cache.get(row) if self._cache is not None else None
        if kept is not None:
            return kept
        base = self._transform.base(self._root / self._paths[row], int(self._frames[row]))
        if self._cache is not None:
            self._cache.put(row, base)
        return base


class SliceLoader(DataLoader[dict[str, torch.Tensor]]):
    """A `DataLoader` that raises what its workers refused."""

    def __iter__(self) -> Any:
        for batch in super().__iter__():
            if isinstance(batch, DataRefused):
                raise batch
            yield batch


def collate(samples: list[dict[str, Any] | DataRefused]) -> dict[str, torch.Tensor] | DataRefused:
    """Stack samples to a batch, or hand on the first refusal among them.

    Returns:
        `image` float32 (B, C, H, W) in [0, 1]; `label` int64 (B,); `row` int64 (B,).
    """
    for sample in samples:
        if isinstance(sample, DataRefused):
            return sample
    return default_collate(samples)
