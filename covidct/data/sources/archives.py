"""Archives where folders should be: said, never unpacked (a member's name may lead out of the folder, or never end)."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from covidct.errors import DataRefused

_UNPACK = {
    ".zip": "unzip -d {to} {this}",
    ".tar": "tar -C {to} -xf {this}",
    ".tgz": "tar -C {to} -xf {this}",
    ".tar.gz": "tar -C {to} -xf {this}",
    ".tar.bz2": "tar -C {to} -xf {this}",
    ".tar.xz": "tar -C {to} -xf {this}",
    ".7z": "7z x -o{to} {this}",
    ".rar": "unrar x {this} {to}",
}


def refuse_packed(root: Path) -> None:
    """Refuse a data folder with archives and without a folder in it, and an archive given as the data folder.

    Raises:
        DataRefused: With the command that unpacks it.
    """
    root = Path(root)
    if root.is_file():
        if ending := _ending(root.name):
            into = root.with_name(root.name[: -len(ending)])
            raise DataRefused(
                "the data folder is an archive, and archives are not opened here",
                where=str(root),
                remedy=f"unpack it first: mkdir {_word(into)} && {_command(ending, root, into)}",
            )
        return
    try:
        inside = sorted(os.scandir(root), key=lambda entry: entry.name)
    except OSError:
        return  # no such folder: build_index says so
    packed = [(root / entry.name, ending) for entry in inside if (ending := _ending(entry.name)) and entry.is_file()]
    if not packed or any(entry.is_dir() for entry in inside):
        return
    first, ending = packed[0]
    command = _command(ending, first, root)
    if len(packed) > 1:
        command += f", and the other {len(packed) - 1} in the same way"
    raise DataRefused(
        f"the data folder holds {len(packed)} archive{'s' if len(packed) > 1 else ''} and no folder; "
        "archives are not opened here",
        where=str(root),
        remedy=f"unpack it first: {command}",
    )


def _ending(name: str) -> str | None:
    return next((ending for ending in _UNPACK if name.lower().endswith(ending)), None)


def _command(ending: str, archive: Path, into: Path) -> str:
    return _UNPACK[ending].format(this=_word(archive), to=_word(into))


def _word(path: Path) -> str:
    return shlex.quote(str(path))
