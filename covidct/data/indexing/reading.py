"""Finding and reading the files of a data set with several processes, whatever lies in its folders."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import stat
import sys
import threading
import time
import types
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from covidct.ct.ingest import Record, ingest
from covidct.ct.read import OUT_OF_MEMORY
from covidct.data.indexing.limits import Limits, limited, no_core_files
from covidct.data.indexing.reads import Listed, Reading, Reads, Stamp, pack
from covidct.errors import Interrupted

Progress = Callable[[int, int], None]

VANISHED = "vanished while the folder was read"
CHANGED = "changed while it was read"

_CHUNK = 16
_LIMITS = Limits()
_ATTEMPTS = 3  # at a file that changes under the reader's eyes


def find_files(root: Path) -> Iterator[Listed]:
    """Every file below a folder, in no order; with a reason where it must not be opened.

    Links to folders are not followed (they can run in circles); a link to a file counts only inside the root. Pipes,
    sockets and devices are named, never opened.
    """
    inside = root.resolve()
    odd: list[Listed] = []

    def listed(path: Path, reason: str, stamp: Stamp | None = None) -> Listed:
        name = os.fsencode(path.relative_to(root))
        try:
            return Listed(name.decode("utf-8"), reason, None if reason else stamp)
        except UnicodeDecodeError:
            return Listed(name.decode("utf-8", "backslashreplace"), "file name is not UTF-8", None)

    def unreadable(error: OSError) -> None:
        odd.append(listed(Path(error.filename), "folder cannot be opened"))

    for folder, folders, files in os.walk(root, followlinks=False, onerror=unreadable):
        for name in folders:
            path = Path(folder, name)
            if path.is_symlink():
                yield listed(path, "link to a folder (not followed)")
        for name in files:
            path = Path(folder, name)
            yield listed(path, *_look(path, inside))
    yield from odd


def read_files(
    root: Path, reads: Reads, kinds: tuple[str, ...], *, workers: int, progress: Progress | None = None
) -> None:
    """Read the files that `reads` has no records of, and keep these there.

    All reading is done in other processes, each file within its limits of memory and time. One whose decoder crashes or
    hangs takes its process down, no more: what the broken processes had begun is read again file by file, and the
    culprit refused. Where processes cannot start, files are read in this one.

    Raises:
        Interrupted: By the keyboard, or the folder itself went away; what was read is kept.
    """
    done, total = reads.kept, reads.files - reads.closed

    def keep(readings: list[Reading]) -> None:
        nonlocal done
        reads.keep(readings)
        for _ in readings:
            done += 1
            if progress is not None:
                progress(done, total)

    root = root.absolute()
    before = _identity(root)
    processes = max(1, min(workers, -(-(total - done) // _CHUNK)))
    chunks = reads.unread(_CHUNK)
    try:
        while suspects := _read_chunks(root, chunks, kinds, processes, keep):
            if left := _read_alone(root, suspects, kinds, keep):
                for path in itertools.chain(left, itertools.chain.from_iterable(chunks)):
                    keep([_read_file(root, path, kinds, _LIMITS, may_end=False)])
    except KeyboardInterrupt:
        raise Interrupted(
            f"stopped after {done} of {total} files", remedy="the same command goes on where what is read is kept"
        ) from None
    if before is None or _identity(root) != before:
        raise Interrupted(
            "the data folder went away while it was read",
            where=str(root),
            remedy="bring it back and run the same command: what was read is kept",
        )


def _look(path: Path, inside: Path) -> tuple[str, Stamp | None]:
    """Why a file must not be opened, and its stamp."""
    try:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            target = path.resolve(strict=True)
            if not target.is_relative_to(inside):
                return "link out of the data folder", None
            status = target.stat()
    except (OSError, RuntimeError):  # RuntimeError: a loop of links, before Python 3.13
        return ("broken link" if path.is_symlink() else VANISHED), None
    return ("" if stat.S_ISREG(status.st_mode) else "not a regular file"), Stamp.of(status)


def _identity(folder: Path) -> tuple[int, int] | None:
    """What tells a folder from another one at the same place, such as the one below a disk that is gone."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _read_chunks(
    root: Path,
    chunks: Iterator[tuple[str, ...]],
    kinds: tuple[str, ...],
    processes: int,
    keep: Callable[[list[Reading]], None],
) -> list[str]:
    """Read chunks until all are read or the pool breaks; then give the files one of which broke it."""
    waiting: dict[Future[list[Reading]], tuple[str, ...]] = {}
    taken: tuple[str, ...] = ()
    with clean_processes(processes) as pool:
        try:
            while True:
                # a few ahead, so that no process waits; not all, so that memory does not grow with the folder
                for taken in itertools.islice(chunks, 2 * processes + 1 - len(waiting)):
                    waiting[_submit(pool, root, taken, kinds)] = taken
                taken = ()
                if not waiting:
                    return []
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    keep(future.result())
                    del waiting[future]
        except BrokenProcessPool:
            for future in [future for future in waiting if future.done() and future.exception() is None]:
                keep(future.result())
                del waiting[future]
        except BaseException:
            pool.shutdown(cancel_futures=True)  # what was begun is soon done: each file has its limits
            raise
    chunks_left = dict.fromkeys([*waiting.values(), *([taken] if taken else [])])  # a broken pool may refuse the last
    return [path for chunk in chunks_left for path in chunk]


def clean_processes(processes: int) -> ProcessPoolExecutor:
    """Processes that are copies of a clean one with all imports done, which is started once: a new one takes 10 ms.

    Copies of this process would not do: one that runs threads (progress bars, torch) may hang when it is forked.
    """
    context: multiprocessing.context.BaseContext
    if sys.platform == "win32":
        context = multiprocessing.get_context("spawn")
    else:
        from multiprocessing import forkserver

        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        with _without_working_folder():
            forkserver.ensure_running()
    return ProcessPoolExecutor(processes, mp_context=context, initializer=_begin)


@contextmanager
def _without_working_folder() -> Iterator[None]:
    """A Python started inside imports nothing from the folder we are in, which may hold a `dl` or a `numpy`."""
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before


@contextmanager
def _without_main() -> Iterator[None]:
    """Processes that are started inside do not run the main program again, as they would by default: it has nothing
    that they need, may import torch, and may be a script that was not written for it.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _begin() -> None:
    no_core_files()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that the user interrupts ends these
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed parent cannot end its processes, and they would wait for it for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _submit(
    pool: ProcessPoolExecutor, root: Path, chunk: tuple[str, ...], kinds: tuple[str, ...]
) -> Future[list[Reading]]:
    try:
        with _without_main():  # processes are started here
            return pool.submit(_read_chunk, root, chunk, kinds, _LIMITS)
    except (EOFError, OSError) as error:  # what starts processes is gone
        raise BrokenProcessPool from error


def _read_alone(
    root: Path, paths: Iterable[str], kinds: tuple[str, ...], keep: Callable[[list[Reading]], None]
) -> list[str]:
    """Read files one by one in a process of their own, and refuse those that end it; give those that are left because
    processes do not start.
    """
    left = list(paths)
    while left:
        with clean_processes(1) as pool:
            try:
                _submit(pool, root, (), kinds).result()
            except BrokenProcessPool:
                return left
            while left:
                path, began = left.pop(0), time.monotonic()
                try:
                    keep(_submit(pool, root, (path,), kinds).result())
                except BrokenProcessPool:
                    late = time.monotonic() - began >= _LIMITS.cpu_seconds(_size(root / path))
                    reason = _LIMITS.too_long if late else "the decoder crashed"
                    keep([Reading(path, pack([Record(path, reason)]), None)])
                    break
    return []


def _read_chunk(root: Path, paths: tuple[str, ...], kinds: tuple[str, ...], limits: Limits) -> list[Reading]:
    """Read files in a worker process, which is ended when one takes too long."""
    return [_read_file(root, path, kinds, limits, may_end=True) for path in paths]


def _read_file(root: Path, path: str, kinds: tuple[str, ...], limits: Limits, *, may_end: bool) -> Reading:
    """Read one file within its limits, and see that it is the same before and after."""
    file = root / path
    for _ in range(_ATTEMPTS):
        began_ns, before = time.time_ns(), _stamp(file)
        with limited(before.size if before else 0, limits, may_end=may_end):
            records = ingest(root, path, kinds)
        after = _stamp(file)
        if before == after:
            break
    else:
        records, after = [Record(path, CHANGED)], None
    if after is None and not os.path.lexists(file):
        records = [Record(path, VANISHED)]
    records = [replace(one, reason=limits.too_large) if one.reason == OUT_OF_MEMORY else one for one in records]
    lasting = after is not None and after.settled(began_ns) and all(map(_lasting, records))
    return Reading(path, pack(records), after if lasting else None)


def _lasting(record: Record) -> bool:
    """Whether it is the file that was refused, as far as one can tell: an exception or a limit may be the machine's."""
    return not record.reason.endswith("Error)") and not record.reason.startswith("reading it takes")


def _stamp(path: Path) -> Stamp | None:
    try:
        return Stamp.of(path.stat())
    except (OSError, ValueError):  # gone, or a name that no system call takes
        return None


def _size(path: Path) -> int:
    stamp = _stamp(path)
    return stamp.size if stamp else 0
