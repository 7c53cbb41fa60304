"""What must not travel with the clean files: which file became which, what was set aside, and the original values."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from covidct.data.deidentify.one_file import CLEAN, QUARANTINE, Outcome
from covidct.data.deidentify.originals import Original
from covidct.errors import DataRefused

OUTCOMES, VALUES, LIST, ASIDE = "outcomes.jsonl", "values.jsonl", "files.csv", "quarantine"


class Private:
    """The private folder of a de-identification; owner's eyes only.

    Args:
        folder: Made where it does not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder.chmod(0o700)
        self._seen = set(read_values(self.folder)) if (self.folder / VALUES).is_file() else set()
        self._outcomes = _appending(self.folder / OUTCOMES)
        self._values = _appending(self.folder / VALUES)

    def known(self, root: Path, output: Path) -> dict[str, Outcome]:
        """What was done before and still stands: the file has not changed and its clean one is there."""
        found: dict[str, Outcome] = {}
        for row in _lines(self.folder / OUTCOMES):
            found.pop(row["path"], None)
            outcome = Outcome(row["path"], row["outcome"], row["reason"], row["output"])
            there = outcome.outcome != CLEAN or (output / outcome.output).is_file()
            if there and _state(root / outcome.path) == row["state"]:
                found[outcome.path] = outcome
        return found

    def add_values(self, values: Iterable[Original]) -> None:
        """Note values to hunt."""
        for original in sorted(set(values) - self._seen):
            self._values.write(json.dumps(list(original)) + "\n")
            self._seen.add(original)
        self._values.flush()

    def add(self, root: Path, outcome: Outcome) -> None:
        """Note what became of a file, after its values: a run cut off between the two does it again."""
        self.add_values(outcome.values)
        if outcome.outcome == QUARANTINE:
            self._set_aside(root / outcome.path, outcome.path)
        row = {"path": outcome.path, "outcome": outcome.outcome, "reason": outcome.reason, "output": outcome.output,
               "state": _state(root / outcome.path)}  # fmt: skip
        self._outcomes.write(json.dumps(row) + "\n")
        self._outcomes.flush()

    def finish(self) -> None:
        """Write the list of files for people, and close."""
        self._outcomes.close()
        self._values.close()
        last = {row["path"]: row for row in _lines(self.folder / OUTCOMES)}
        with _private(self.folder / LIST, os.O_TRUNC) as stream:
            table = csv.writer(stream, lineterminator="\n")
            table.writerow(["path", "outcome", "reason", "output"])
            table.writerows([row[name] for name in ("path", "outcome", "reason", "output")]
                            for _, row in sorted(last.items()))  # fmt: skip

    def _set_aside(self, path: Path, name: str) -> None:
        folder = self.folder / ASIDE
        folder.mkdir(mode=0o700, exist_ok=True)
        # not under its own path: that may be as hostile as its header
        digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:12]
        target = folder / f"{digest}.dcm"
        shutil.copyfile(path, target)
        target.chmod(0o600)


def read_values(folder: Path) -> Iterator[Original]:
    """The original values of a de-identification.

    Raises:
        DataRefused: They are not there.
    """
    path = Path(folder) / VALUES
    if not path.is_file():
        raise DataRefused(
            "the original values are not there, so nothing can be hunted",
            where="private",
            remedy="give private=FOLDER of the de-identification, or the scans as input=FOLDER",
        )
    for row in _lines(path):
        yield Original(*row)


def _appending(path: Path) -> TextIO:
    return _private(path, os.O_APPEND)


def _private(path: Path, flag: int) -> TextIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | flag, 0o600), "w", encoding="utf-8")


def _lines(path: Path) -> Iterator[Any]:
    """Lines of JSON; a last one that was cut off is left out."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            try:
                yield json.loads(line)
            except ValueError:
                continue


def _state(path: Path) -> list[int]:
    try:
        status = path.lstat()
    except (OSError, ValueError):
        return []
    return [status.st_size, status.st_mtime_ns]
