"""The hunt: opens what was written again and looks for what was there before."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pydicom

from covidct.data.deidentify.hunt import Hit, Quarry
from covidct.data.deidentify.members import members
from covidct.data.deidentify.options import Options
from covidct.data.deidentify.originals import Original, of_path, originals
from covidct.data.deidentify.tables import TABLES, values_of_tables
from covidct.data.indexing.reading import find_files

HIDDEN = "(a name that holds a value)"
_WHOLE = 2**30  # larger files are searched in windows and not unpacked
_WINDOW = 2**26
_OVERLAP = 4096


@dataclass(frozen=True)
class Finding:
    """One value in one file.

    Args:
        file: Path below the folder searched; a part of it that holds a value itself is hidden.
        where: The way into the file; "file name" for its name.
        kind: What sort of value.
        value: The value, in the clear: for its owner's terminal only.
    """

    file: str
    where: str
    kind: str
    value: str


@dataclass
class Hunt:
    """What a hunt saw.

    Args:
        findings: Empty when clean.
        files: Files opened.
        bytes: Bytes searched, unpacked ones included.
        seconds: The time it took.
        notes: What could not be opened -> how often.
    """

    findings: list[Finding] = field(default_factory=list)
    files: int = 0
    bytes: int = 0
    seconds: float = 0.0
    notes: Counter[str] = field(default_factory=Counter)


def hunt(folders: Iterable[Path], quarry: Quarry, progress: Callable[[int, int], None] | None = None) -> Hunt:
    """Search every byte of every file, and every name, below some folders.

    Args:
        folders: Folders or single files; the first part of a path in the first folder is taken as its patient.
        quarry: What to look for.
        progress: Told (files done, files in all).
    """
    started = time.monotonic()
    seen = Hunt()
    listed = [(folder, path) for folder in folders for path in _files(folder)]
    for number, (folder, path) in enumerate(listed):
        _one(folder, path, quarry, seen)
        if progress is not None:
            progress(number + 1, len(listed))
    seen.seconds = time.monotonic() - started
    return seen


def collect(root: Path, labels: Path | None, options: Options) -> Iterator[Original]:
    """The original values of a folder of scans, read anew from all headers."""
    if labels is not None:
        yield from values_of_tables(labels, options)
    for path, reason, *_ in find_files(root):
        if path in TABLES:
            continue
        yield from of_path(path)
        if reason:
            continue
        try:
            dataset = pydicom.dcmread(root / path, stop_before_pixels=True)
            yield from originals(dataset, path, options)
        except Exception:  # not DICOM, or damaged: de-identification refused it
            continue


def _files(folder: Path) -> list[str]:
    """Names of files below a folder, links not followed; a file stands for itself."""
    if folder.is_file():
        return [""]
    found = []
    for place, folders, files in os.walk(folder):
        folders.sort()
        here = Path(place).relative_to(folder)
        found += [(here / name).as_posix() for name in sorted(files)]
        found += [(here / name).as_posix() for name in folders if not any(Path(place, name).iterdir())]
    return found


def _one(folder: Path, path: str, quarry: Quarry, seen: Hunt) -> None:
    file = folder / path if path else folder
    parts = path.split("/") if path else [folder.name]
    names = [quarry.search(os.fsencode(part)) for part in parts]
    shown = "/".join(HIDDEN if hits else part for part, hits in zip(parts, names, strict=True))
    seen.findings += [Finding(shown, "file name", hit.kind, hit.value) for hits in names for hit in hits]
    try:
        if file.is_symlink():
            hits = quarry.search(os.fsencode(file.readlink()))
            seen.findings += [Finding(shown, "link", hit.kind, hit.value) for hit in hits]
            return
        if not file.is_file():
            return
        seen.files += 1
        found: dict[tuple[str, str], Finding] = {}
        for where, hit in _hits(file, parts[0], quarry, seen):
            found.setdefault((hit.kind, hit.value), Finding(shown, where or "bytes", hit.kind, hit.value))
        seen.findings += found.values()
    except OSError as error:
        seen.notes[f"cannot be opened ({type(error).__name__})"] += 1


def _hits(file: Path, owner: str, quarry: Quarry, seen: Hunt) -> Iterator[tuple[str, Hit]]:
    size = file.stat().st_size
    if size > _WHOLE:
        seen.notes["larger than 1 GiB: searched, but not unpacked"] += 1
        with file.open("rb") as stream:
            tail = b""
            while window := stream.read(_WINDOW):
                seen.bytes += len(window)
                for hit in quarry.search(tail + window, noise=[True] * (_WINDOW // 65536 + 2)):
                    yield "", hit
                tail = window[-_OVERLAP:]
        return
    data = file.read_bytes()
    # dates are a patient's own only in a clean picture: another's shifted date may be the same day
    scope = owner if data[128:132] == b"DICM" else None
    for member in members(data):
        seen.bytes += len(member.data)
        for hit in quarry.search(member.data, noise=member.noise, owner=scope):
            yield member.where, hit
