"""Finding and reading the files of a data set with several processes, whatever lies in its folders."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from covidct.ct.ingest import Record, ingest

Progress = Callable[[int, int], None]

_CHUNK = 16
_MIN_FILES = 48  # below, starting processes takes longer than reading
_SECONDS = 120.0  # for a chunk; a decoder that runs longer is stuck in native code and only its process can be ended


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

    A file whose decoder crashes or hangs takes its process down, not the index: it is found by reading the files of the
    broken process one by one, and refused.
    """
    records: dict[str, list[Record]] = {}

    def done(new: Sequence[list[Record]]) -> None:
        records.update((of_file[0].path, of_file) for of_file in new)
        if progress is not None:
            progress(len(records), len(paths))

    workers = min(workers, -(-len(paths) // _CHUNK))
    if workers > 1 and len(paths) >= _MIN_FILES:
        chunks = [tuple(paths[start : start + _CHUNK]) for start in range(0, len(paths), _CHUNK)]
        _read_chunks(root, chunks, kinds, workers, done)
        left = [path for path in paths if path not in records]
        if left and _can_start():
            for path in left:
                before = len(records)
                _read_chunks(root, [(path,)], kinds, 1, done)
                if len(records) == before:
                    done([[Record(path, "the decoder crashed or hung")]])
    for path in paths:
        if path not in records:
            done([ingest(root, path, kinds)])
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
                pool.submit(_read_chunk, root, chunk, kinds, _SECONDS) for chunk in chunks
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


def _can_start() -> bool:
    """Whether processes start at all: they cannot where the main program was typed in or piped in."""
    with _pool(1) as pool:
        try:
            return pool.submit(os.getpid).result() > 0
        except BrokenProcessPool:
            return False


def _read_chunk(root: Path, paths: tuple[str, ...], kinds: tuple[str, ...], seconds: float) -> list[list[Record]]:
    """Read files in a worker process, which ends itself when it takes too long."""
    with Path(os.devnull).open("w") as silence:
        faulthandler.dump_traceback_later(seconds, exit=True, file=silence)
        try:
            return [ingest(root, path, kinds) for path in paths]
        finally:
            faulthandler.cancel_dump_traceback_later()
