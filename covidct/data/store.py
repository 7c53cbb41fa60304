"""Rows of numbers that are expensive to make, kept in a file that many processes map: decoded slices, trunk features.

A row counts as kept when its checksum fits its bytes, so nobody has to trust that a builder finished: a killed builder,
two builders at once, a torn write and a flipped byte all leave rows that are simply made again.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from covidct.errors import IntegrityError, ResourceError
from covidct.files import read_json, write_json

ROWS, MARKS, ABOUT = "rows.bin", "marks.bin", "about.json"


class RowStore:
    """An array `[count, *shape]` of which any row may be missing.

    Args:
        folder: Where the files are or will be; None keeps the rows in memory that loader workers share with the process
            that made them (not /dev/shm, which is small in containers). Pages of memory and disk are taken only as
            they are filled. Under a start method other than fork each worker fills a memory of its own.
        count: Number of rows.
        shape: Shape of one row.
        dtype: NumPy type of the numbers.
        about: What the rows depend on, plain values; kept beside them for people.

    Raises:
        ResourceError: The machine has not that much memory, or the folder cannot be written.
        IntegrityError: The folder holds rows of another shape or number.
    """

    def __init__(
        self,
        folder: Path | None,
        count: int,
        shape: Sequence[int],
        dtype: npt.DTypeLike,
        about: dict[str, Any] | None = None,
    ) -> None:
        self.folder = None if folder is None else Path(folder)
        self.count, self.shape, self.dtype = int(count), tuple(int(n) for n in shape), np.dtype(dtype)
        self.row_bytes = int(np.prod(self.shape)) * self.dtype.itemsize
        self._about = about or {}
        self._file: int | None = None
        rows, marks = self._in_memory() if self.folder is None else self._on_disk(self.folder)
        self._rows = np.frombuffer(rows, dtype=self.dtype, count=count * int(np.prod(shape))).reshape(count, *shape)
        self._marks = np.frombuffer(marks, dtype=np.uint32, count=count)
        self._trusted = np.zeros(count, dtype=bool)

    @property
    def array(self) -> npt.NDArray[Any]:
        """All rows as they are, filled or not."""
        return self._rows

    def get(self, row: int) -> npt.NDArray[Any] | None:
        """One row, or None when it is not (wholly) there. On disk a row is verified once per process."""
        if self._trusted[row]:
            return self._rows[row]
        mark = int(self._marks[row])
        if not mark or mark != _mark(self._rows[row]):
            return None
        # a row in memory may be written over by another worker at any moment, so it is verified each time
        self._trusted[row] = self.folder is not None
        return self._rows[row]

    def put(self, row: int, values: npt.NDArray[Any]) -> None:
        """Keep one row.

        Raises:
            ResourceError: The disk is full.
        """
        if self._file is not None:
            try:  # writing to a mapped page that the disk has no room for would kill the process
                os.posix_fallocate(self._file, row * self.row_bytes, self.row_bytes)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise ResourceError(
                    "the disk is full", where=str(self.folder), remedy="free space, or use another folder"
                ) from None
        self._marks[row] = 0
        self._rows[row] = values
        self._marks[row] = _mark(self._rows[row])

    def missing(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Those of `rows` that are not there, every other one having been read and verified."""
        return np.array(
            [row for row in np.unique(np.asarray(rows, dtype=np.int64)) if self.get(int(row)) is None], dtype=np.int64
        )

    def require_space(self, n_rows: int, remedy: str) -> None:
        """Refuse when the disk cannot take so many more rows.

        Raises:
            ResourceError: With the sizes.
        """
        if self.folder is None:
            return
        free, needed = shutil.disk_usage(self.folder).free, n_rows * self.row_bytes
        if needed > 0.95 * free:
            raise ResourceError(
                f"{n_rows} rows of {self.row_bytes / 2**10:.0f} KiB need {needed / 2**30:.1f} GiB, the disk has "
                f"{free / 2**30:.1f} GiB",
                where=str(self.folder),
                remedy=remedy,
            )

    @property
    def n_empty(self) -> int:
        """Number of rows never filled; a quick look that verifies nothing."""
        return int(np.count_nonzero(self._marks == 0))

    @contextmanager
    def building(self, wait: Callable[[], None]) -> Iterator[None]:
        """Keep other builders out while rows are made; a builder that dies lets the next one in.

        Args:
            wait: Called once when another process is at work and has to be waited for.
        """
        if self.folder is None:
            yield
            return
        with (self.folder / "builder.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                wait()
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _in_memory(self) -> tuple[mmap.mmap, mmap.mmap]:
        needed, there = self.count * self.row_bytes, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        remedy = "use data.cache=disk or none, or a smaller data.size"
        if needed > there:
            raise ResourceError(
                f"keeping {self.count} slices needs {needed / 2**30:.1f} GiB, this machine has {there / 2**30:.1f} GiB",
                remedy=remedy,
            )
        try:
            return mmap.mmap(-1, max(1, needed)), mmap.mmap(-1, max(1, self.count * 4))
        except OSError as error:
            raise ResourceError(f"no memory for {needed / 2**30:.1f} GiB: {error.strerror}", remedy=remedy) from None

    def _on_disk(self, folder: Path) -> tuple[mmap.mmap, mmap.mmap]:
        layout = {"count": self.count, "shape": list(self.shape), "dtype": self.dtype.name}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / ABOUT).is_file():
                write_json(folder / ABOUT, {"layout": layout, "about": self._about})
            rows = _mapped(folder / ROWS, self.count * self.row_bytes)
            marks = _mapped(folder / MARKS, self.count * 4)
        except OSError as error:
            raise ResourceError(f"no store can be kept here: {error.strerror}", where=str(folder)) from None
        if (kept := read_json(folder / ABOUT)["layout"]) != layout:
            raise IntegrityError(f"the store holds {kept}, not {layout}", where=str(folder), remedy="remove the folder")
        self._file = os.open(folder / ROWS, os.O_RDWR)
        return rows, marks

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            os.close(self._file)  # type: ignore[arg-type]

    def __reduce__(self) -> tuple[Any, ...]:  # a spawned worker maps the same file, or starts with empty memory
        return RowStore, (self.folder, self.count, self.shape, self.dtype.name, self._about)


def _mapped(path: Path, size: int) -> mmap.mmap:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if os.fstat(handle).st_size < size:
            os.ftruncate(handle, size)  # sparse: nothing is taken from the disk yet
        return mmap.mmap(handle, max(1, size))
    finally:
        os.close(handle)


def _mark(row: npt.NDArray[Any]) -> int:
    return zlib.crc32(np.ascontiguousarray(row).data) | 1  # 0 means empty
