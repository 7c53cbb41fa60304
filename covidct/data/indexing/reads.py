"""What was read of the files of a data folder, kept: a file that did not change is not read again, and a killed index
goes on where it stopped.

Readings hold what headers say about patients in the clear. They lie in one SQLite file for each data folder, beside the
pseudonym key and like it for their owner's eyes only; never beside an index, which is shared. A reading counts for as
long as the file has its size, times and inode, and the code and the decoders that read it are those of today. Deleting
the file costs time and nothing else.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import covidct.ct
from covidct.ct.decode import decoders
from covidct.ct.ingest import Record
from covidct.data.indexing.packing import pack, unpack, whole
from covidct.errors import ResourceError

_FORMAT = 1
_READERS = ("pydicom", "numpy", "scipy", "scikit-image", "pillow", "nibabel", "python-gdcm", "pyjpegls", "pylibjpeg",
            "pylibjpeg-libjpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle")  # fmt: skip
_TABLES = """
CREATE TABLE IF NOT EXISTS about (generation TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS files (
    id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, inode INTEGER,
    listed INTEGER NOT NULL DEFAULT 0, lasting INTEGER NOT NULL DEFAULT 0, records BLOB
);
"""


class Stamp(NamedTuple):
    """What tells that a file is still the one that was read; ctime and inode find a change that hides behind an old
    date (`rsync -t`, `touch -r`).
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """Of what `stat` says."""
        # SQLite's whole numbers have 63 bits and a sign; some file systems use all 64 for an inode
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino & (1 << 63) - 1)

    def settled(self, now_ns: int) -> bool:
        """Whether a change after `now_ns` would show: not where the clock of the file system has not ticked since.

        Kernels stamp files in steps of up to 10 ms, some file systems of 2 s.
        """
        step_ns = 2_000_000_000 if self.mtime_ns % 1_000_000_000 == 0 else 20_000_000
        return self.mtime_ns + step_ns < now_ns


class Listed(NamedTuple):
    """A file that was found.

    Args:
        path: Relative to the data folder, POSIX.
        reason: Why it must not be opened; "" where it may be.
        stamp: What it was when it was listed; None where it must not be opened.
    """

    path: str
    reason: str
    stamp: Stamp | None


class Reading(NamedTuple):
    """What a file gave.

    Args:
        path: Relative to the data folder, POSIX.
        records: Its records (`pack`).
        stamp: What it was before and after it was read; None where the next index is to read it again: the file was
            changing, or the reason may be the machine's and not the file's.
    """

    path: str
    records: bytes
    stamp: Stamp | None


class Reads:
    """The readings of one data folder. Made by `open_reads`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._sql = connection
        self.files = 0
        """Files that were listed."""
        self.closed = 0
        """Files among them that must not be opened."""
        self.kept = 0
        """Files among them that were read before and did not change."""

    def list_files(self, found: Iterable[Listed]) -> None:
        """Take in what lies in the folder; readings of files that changed, or are gone, are forgotten."""
        self._sql.execute("UPDATE files SET listed = 0")
        self._sql.execute("UPDATE files SET records = NULL WHERE NOT lasting")
        for path, reason, stamp in found:
            self.files += 1
            known = self._sql.execute(
                "SELECT size, mtime_ns, ctime_ns, inode, records FROM files WHERE path = ?", (path,)
            ).fetchone()
            records = None
            if reason:
                self.closed += 1
                records = pack([Record(path, reason)])
            elif known and known[:4] == stamp and known[4] is not None and whole(known[4]):
                self._sql.execute("UPDATE files SET listed = 1 WHERE path = ?", (path,))
                self.kept += 1
                continue
            self._sql.execute(
                "INSERT OR REPLACE INTO files (id, path, listed, records)"
                " VALUES ((SELECT id FROM files WHERE path = ?), ?, 1, ?)",
                (path, path, records),
            )
        if self.files:
            self._sql.execute("DELETE FROM files WHERE NOT listed")
        self._sql.commit()

    def unread(self, count: int) -> Iterator[tuple[str, ...]]:
        """Paths of files that are still to be read, `count` at a time; files that are kept meanwhile do not come."""
        last = ""
        while paths := [
            path
            for (path,) in self._sql.execute(
                "SELECT path FROM files WHERE records IS NULL AND path > ? ORDER BY path LIMIT ?", (last, count)
            )
        ]:
            last = paths[-1]
            yield tuple(paths)

    def keep(self, readings: Iterable[Reading]) -> None:
        """Keep what files gave, at once and durably."""
        self._sql.executemany(
            "UPDATE files SET records = ?, lasting = ?, size = ?, mtime_ns = ?, ctime_ns = ?, inode = ? WHERE path = ?",
            [
                (records, stamp is not None, *(stamp or (None,) * 4), path)
                for path, records, stamp in readings
            ],
        )  # fmt: skip
        self._sql.commit()

    def records(self) -> Iterator[tuple[int, Record]]:
        """Every record with the number of its file, by path and frame."""
        for file, path, packed in self._sql.execute("SELECT id, path, records FROM files ORDER BY path"):
            for record in unpack(path, packed):
                yield file, record

    def path_of(self, file: int) -> str:
        """The path of a file by its number."""
        [(path,)] = self._sql.execute("SELECT path FROM files WHERE id = ?", (file,))
        return str(path)

    def of_file(self, file: int) -> list[Record]:
        """The records of one file by its number, by frame."""
        [(path, packed)] = self._sql.execute("SELECT path, records FROM files WHERE id = ?", (file,))
        return unpack(path, packed)


@contextmanager
def open_reads(
    folder: Path | None, root: Path, kinds: tuple[str, ...], say: Callable[[str], None] | None = None
) -> Iterator[Reads]:
    """The readings of a data folder.

    Args:
        folder: Where readings are kept; made with mode 0700. None, or a folder that cannot be written to: they are kept
            in a temporary file that goes with the process.
        root: The data folder.
        kinds: What the source consists of; a source of other kinds has readings of its own.
        say: Told in one line where earlier readings cannot be used.

    Raises:
        ResourceError: The disk is full, or the file was damaged meanwhile (then it is removed).
    """
    path = None if folder is None else folder / f"{_name(root, kinds)}.sqlite"
    say = say or _nothing
    connection = None
    if path is not None:
        try:
            connection = _open(path, say)
        except (OSError, sqlite3.Error) as error:
            why = "another index of this folder is at work" if "locked" in str(error) else type(error).__name__
            say(f"what is read will not be kept ({why}): {path}")
            path = None
    if connection is None:
        connection = sqlite3.connect("")  # a file that SQLite makes in the temporary folder and unlinks at once
        _prepare(connection)
    try:
        yield Reads(connection)
    except sqlite3.OperationalError as error:
        raise ResourceError(
            f"what is read cannot be kept ({error})",
            where=str(path) if path else "the temporary folder",
            remedy="free some space and run the same command again" + (", or add reads=false" if path else ""),
        ) from None
    except sqlite3.DatabaseError as error:
        connection.close()
        if path is None:
            raise
        _remove(path)
        raise ResourceError(
            f"the file of what was read is damaged ({error}); it was removed",
            where=str(path),
            remedy="run the same command again",
        ) from None
    finally:
        connection.close()


def generation() -> str:
    """A digest of all that decides what a file gives: the code of `covidct.ct`, its libraries and the decoders."""
    digest = hashlib.sha256(f"{_FORMAT}".encode())
    for folder in sorted(map(Path, covidct.ct.__path__)):
        for path in sorted(folder.glob("*.py")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    versions = []
    for name in _READERS:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"{name} -")
    digest.update(json.dumps([versions, decoders()]).encode())
    return digest.hexdigest()


def _open(path: Path, say: Callable[[str], None]) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.parent.chmod(0o700)
    for attempt in (1, 2):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite gives its side files the same mode
        path.chmod(0o600)
        connection = sqlite3.connect(path, timeout=1.0)
        try:
            _prepare(connection)
            return connection
        except sqlite3.OperationalError:  # locked, or no room
            connection.close()
            raise
        except sqlite3.DatabaseError:
            connection.close()
            if attempt == 2:
                raise
            _remove(path)
            say(f"the file of what was read before is damaged: every file is read anew ({path})")
        except _Outdated:
            connection.close()
            _remove(path)
            say("covidct or a decoder changed since the files were read: every file is read anew")
    raise AssertionError("unreachable")


class _Outdated(Exception):
    """Made by another generation."""


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")  # one index at a time; no shared memory beside the file
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may cost the last readings, never the file
    [(sound,)] = connection.execute("PRAGMA quick_check(1)").fetchall()
    if sound != "ok":
        raise sqlite3.DatabaseError(sound)
    connection.executescript(_TABLES)
    now = generation()
    made = connection.execute("SELECT generation FROM about").fetchall()
    if not made:
        connection.execute("INSERT INTO about VALUES (?)", (now,))
    elif made != [(now,)]:
        raise _Outdated
    connection.commit()


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _name(root: Path, kinds: tuple[str, ...]) -> str:
    return hashlib.sha256(os.fsencode(root.resolve()) + "\0".join(("", *kinds)).encode()).hexdigest()[:16]


def _nothing(line: str) -> None:
    """Who is told when nobody is."""
