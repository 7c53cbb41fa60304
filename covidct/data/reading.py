"""Finding and reading the files of a data set with several processes, whatever lies in its folders."""

from __future__ import annotations

import multiprocessing
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

from covidct.ct.ingest import Record, ingest
from covidct.ct.read import OUT_OF_MEMORY, needs_decoder
from covidct.data.limits import Limits, limited, no_core_files

Progress = Callable[[int, int], None]

_CHUNK = 16
_MIN_FILES = 48  # below, starting processes takes longer than reading
_LIMITS = Limits()


def find_files(root: Path) -> Iterator[tuple[str, str]]:
    """Every file below a folder as (relative POSIX path, reason), sorted; the reason is "" where it may be opened.

    Links to folders are not followed (they can run in circles); a link to a file counts only inside the root. Pipes,
    sockets and devices are named, never opened.
    """
    inside = root.resolve()
    found: list[tuple[str, str]] = []

    def note(path: Path, reason: str) -> None:
        name = os.fsencode(path.relative_to(root))
        try:
            found.append((name.decode("utf-8"), reason))
        except UnicodeDecodeError:
            found.append((name.decode("utf-8", "backslashreplace"), "file name is not UTF-8"))

    def unreadable(error: OSError) -> None:
        note(Path(error.filename), "folder cannot be opened")

    for folder, folders, files in os.walk(root, followlinks=False, onerror=unreadable):
        for name in folders:
            path = Path(folder, name)
            if path.is_symlink():
                note(path, "link to a folder (not followed)")
        for name in files:
            path = Path(folder, name)
            note(path, _why_not(path, inside))
    yield from sorted(found)


def read_files(
    root: Path, paths: Sequence[str], kinds: tuple[str, ...], *, workers: int, progress: Progress | None = None
) -> list[Record]:
    """Read files; the records are in the order of `paths`, then of frames, and do not depend on the number of workers.

    Each file has its limits of memory and time. One whose decoder crashes or hangs takes its process down, not the rest:
    what the broken processes had begun is read again file by file, and the culprit refused. Few files are read in this
    process, but never with a native decoder, which could take it down.
    """
    records: dict[str, list[Record]] = {}

    def done(new: Sequence[list[Record]]) -> None:
        records.update((of_file[0].path, of_file) for of_file in new)
        if progress is not None:
            progress(len(records), len(paths))

    workers = min(workers, -(-len(paths) // _CHUNK))
    if workers > 1 and len(paths) >= _MIN_FILES:
        chunks = [tuple(paths[start : start + _CHUNK]) for start in range(0, len(paths), _CHUNK)]
        while chunks:
            _read_chunks(root, chunks, kinds, workers, done)
            left = [chunk for chunk in chunks if chunk[0] not in records]
            begun = left[: 2 * workers + 1]  # a pool takes its work in order, and one piece more than it has processes
            if not _read_alone(root, [path for chunk in begun for path in chunk], kinds, done):
                break
            chunks = left[len(begun) :]
    else:
        _read_alone(root, [path for path in paths if needs_decoder(root / path)], kinds, done)
    for path in paths:
        if path not in records:
            done([_read_file(root, path, kinds, _LIMITS, may_end=False)])
    return [record for path in paths for record in records[path]]


def _why_not(path: Path, inside: Path) -> str:
    try:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            target = path.resolve(strict=True)
            if not target.is_relative_to(inside):
                return "link out of the data folder"
            status = target.stat()
    except (OSError, RuntimeError):  # RuntimeError: a loop of links, before Python 3.13
        return "broken link"
    return "" if stat.S_ISREG(status.st_mode) else "not a regular file"


def _read_chunks(
    root: Path,
    chunks: list[tuple[str, ...]],
    kinds: tuple[str, ...],
    workers: int,
    done: Callable[[Sequence[list[Record]]], None],
) -> None:
    """Read chunks until all are read or the pool breaks."""
    with _pool(workers) as pool:
        try:
            futures: list[Future[list[list[Record]]]] = [
                pool.submit(_read_chunk, root, chunk, kinds, _LIMITS) for chunk in chunks
            ]
            for future in as_completed(futures):
                done(future.result())
        except BrokenProcessPool:
            for future in futures:
                if future.done() and future.exception() is None:
                    done(future.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _pool(workers: int) -> ProcessPoolExecutor:
    # spawn: forking a process that runs threads (progress bars, torch) may hang it
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def _read_alone(
    root: Path, paths: list[str], kinds: tuple[str, ...], done: Callable[[Sequence[list[Record]]], None]
) -> bool:
    """Read files one by one in a process of their own, and refuse those that end it.

    Returns:
        Whether processes start at all: they cannot where the main program was typed in or piped in.
    """
    left = list(paths)
    while left:
        with _pool(1) as pool:
            try:
                pool.submit(os.getpid).result()
            except BrokenProcessPool:
                return False
            while left:
                path, began = left.pop(0), time.monotonic()
                try:
                    done(pool.submit(_read_chunk, root, (path,), kinds, _LIMITS).result())
                except BrokenProcessPool:
                    late = time.monotonic() - began >= _LIMITS.cpu_seconds(_size(root / path))
                    done([[Record(path, _LIMITS.too_long if late else "the decoder crashed")]])
                    break
    return True


def _read_chunk(root: Path, paths: tuple[str, ...], kinds: tuple[str, ...], limits: Limits) -> list[list[Record]]:
    """Read files in a worker process, which is ended when one takes too long."""
    no_core_files()
    return [_read_file(root, path, kinds, limits, may_end=True) for path in paths]


def _read_file(root: Path, path: str, kinds: tuple[str, ...], limits: Limits, *, may_end: bool) -> list[Record]:
    """Read one file within its limits."""
    with limited(_size(root / path), limits, may_end=may_end):
        records = ingest(root, path, kinds)
    return [replace(one, reason=limits.too_large) if one.reason == OUT_OF_MEMORY else one for one in records]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except (OSError, ValueError):  # gone, or a name that no system call takes
        return 0
