"""The ledger of test sets: a file beside the data that says who looked at which set, with what, and when.

A test set is spent by looking: the best of many models on the same patients is good by chance too (paper flaw 17: that
the test patients "were employed to develop the model" cannot be told apart from a slip of the pen). So every look is
written down before its result can be seen, in a file that is only ever added to.

`ledger.jsonl` holds one JSON object per line. Each carries the SHA-256 of the line before it, and `ledger.head.json`
says how many lines there are and what the last one is, so a line that was edited, moved or taken out is noticed. This
is a seal of paper, not a lock: who may write to the folder can make both files anew. Runs remember their own looks
(`evaluations.json`), which is how a ledger that was cut or replaced is noticed.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from covidct.errors import IntegrityError, ResourceError
from covidct.files import read_json, write_json

FILE, HEAD, LOCK = "ledger.jsonl", "ledger.head.json", "ledger.lock"
KINDS = ("evaluation", "seal", "open")
SCHEMA = 1


@dataclass(frozen=True)
class Entry:
    """One line of a ledger.

    Args:
        number: From 1.
        digest: SHA-256 of the line.
        kind: One of `KINDS`.
        time: UTC, ISO 8601 to the second.
        who: Handle of a team, where one was configured.
        facts: Everything else that the line says.
    """

    number: int
    digest: str
    kind: str
    time: str
    who: str | None
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Ledger:
    """A ledger in a folder; there need not be one yet.

    Args:
        folder: Where `ledger.jsonl` lies.
        who: Handle written into new lines, or None. Nothing about user or machine is written by itself.
        index: The index folder where `folder` is another one (read-only data): the seals there hold as well.
    """

    folder: Path
    who: str | None = None
    index: Path | None = None

    @property
    def path(self) -> Path:
        """The file of lines."""
        return self.folder / FILE

    def entries(self) -> list[Entry]:
        """Every line, verified.

        Raises:
            IntegrityError: A line was edited, moved or taken out.
        """
        return self._read()[0]

    def all_entries(self) -> list[list[Entry]]:
        """The lines of this ledger and, where it is another one, of the one in the index folder."""
        beside = Ledger(self.index) if self.index is not None else None
        return [self.entries(), *([beside.entries()] if beside is not None else [])]

    def make_ready(self) -> None:
        """Find out before any work whether lines can be added.

        Raises:
            ResourceError: The folder is missing or cannot be written to.
        """
        with self._locked():
            pass

    def append(self, kind: str, make: Callable[[Sequence[Entry]], Sequence[Mapping[str, Any]]]) -> list[Entry]:
        """Add lines durably; other processes wait meanwhile.

        Args:
            kind: One of `KINDS`.
            make: From the lines there are to the facts of the new ones; it may refuse by raising.

        Returns:
            Every line, the new ones last.

        Raises:
            IntegrityError: A line was edited, moved or taken out.
            ResourceError: The folder is missing or cannot be written to.
        """
        assert kind in KINDS
        with self._locked():
            entries, size = self._read()
            time = datetime.now(UTC).isoformat(timespec="seconds")
            added: list[Entry] = []
            raw = b""
            before = entries[-1].digest if entries else None
            for facts in make(entries):
                value = {**facts, "schema": SCHEMA, "kind": kind, "time": time, "who": self.who, "before": before}
                line = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
                raw += line + b"\n"
                entry = _entry(len(entries) + len(added) + 1, line, value)
                before = entry.digest
                added.append(entry)
            if added:
                self._write(raw, size)
                write_json(self.folder / HEAD, {"lines": len(entries) + len(added), "last": before})
            return [*entries, *added]

    def _write(self, raw: bytes, size: int) -> None:
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            os.ftruncate(handle, size)  # half a line of a writer that was killed was never said to be written
            os.lseek(handle, 0, os.SEEK_END)
            while raw:
                raw = raw[os.write(handle, raw) :]
            os.fsync(handle)
        finally:
            os.close(handle)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            with (self.folder / LOCK).open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if self.path.exists() and not os.access(self.path, os.W_OK):
                    raise PermissionError(f"{FILE} is read-only")
                yield
        except OSError as error:
            raise ResourceError(
                f"the ledger of test sets cannot be written here: {error.strerror or error}",
                where=str(self.folder),
                remedy="a test set is not looked at unseen; give ledger.folder=FOLDER, the same for the whole team",
            ) from None

    def _read(self) -> tuple[list[Entry], int]:
        """The verified lines, and how many bytes they take."""
        raw = self.path.read_bytes() if self.path.is_file() else b""
        complete = raw[: raw.rfind(b"\n") + 1]
        entries: list[Entry] = []
        for number, line in enumerate(complete.splitlines(), start=1):
            try:
                value = json.loads(line)
                entry = _entry(number, line, value)
                before, schema = value["before"], value["schema"]
            except (ValueError, KeyError, TypeError, AttributeError):
                raise self._broken(f"line {number} cannot be read") from None
            if schema != SCHEMA or entry.kind not in KINDS:
                raise IntegrityError(
                    f"line {number} is of a kind this version does not know",
                    where=str(self.path),
                    remedy="use the version of covidct that wrote it, or a newer one",
                )
            if before != (entries[-1].digest if entries else None):
                raise self._broken(f"line {number} does not follow from the line before it")
            entries.append(entry)
        self._compare_with_head(entries)
        return entries, len(complete)

    def _compare_with_head(self, entries: Sequence[Entry]) -> None:
        head = self.folder / HEAD
        if not head.is_file():
            # a writer may have been killed between its first line and the head, no later
            if len(entries) > 1 and len({entry.time for entry in entries}) > 1:
                raise self._broken(f"{HEAD} is gone")
            return
        value = read_json(head)
        lines, last = (value.get("lines"), value.get("last")) if isinstance(value, dict) else (None, None)
        if not isinstance(lines, int) or lines < 1:
            raise self._broken(f"{HEAD} cannot be read")
        if lines > len(entries):
            raise self._broken(f"{lines} lines were written, {len(entries)} are there")
        if entries[lines - 1].digest != last:
            raise self._broken(f"line {lines} is not the one that was written")

    def _broken(self, what: str) -> IntegrityError:
        return IntegrityError(
            f"the ledger of test sets was changed by hand: {what}",
            where=str(self.path),
            remedy=f"restore {FILE} and {HEAD} from a backup; without one move both aside and say so where you report: "
            "the count begins anew, and runs that were evaluated before will remember it",
        )


def _entry(number: int, line: bytes, value: Mapping[str, Any]) -> Entry:
    frame = {"schema", "kind", "time", "who", "before"}
    facts = {key: item for key, item in value.items() if key not in frame}
    return Entry(number, sha256(line).hexdigest(), str(value["kind"]), str(value["time"]), value["who"], facts)


def open_ledger(index: Path, *, folder: str | None = None, who: str | None = None) -> Ledger:
    """The ledger of an index: in its folder, or in the one that is given for data that cannot be written to.

    Args:
        index: Folder of the index, or its `index.parquet`.
        folder: Another folder for the ledger.
        who: Handle of the team.
    """
    beside = index if index.is_dir() else index.parent
    if folder is None or Path(folder).resolve() == beside.resolve():
        return Ledger(beside, who)
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Ledger(Path(folder), who, beside)
