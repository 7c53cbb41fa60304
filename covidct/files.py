"""Writing files so that a crash leaves either the old one or the new one, never half of one."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from covidct.errors import DataRefused


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on leaving without an error it takes `path`'s place, durably.

    The temporary file lies in the same folder, because a rename is only atomic within one file system; file and
    folder are synced, because a rename alone survives a kill but not a power cut.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes 0600; a team shares its run folders
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file with sorted keys, atomically. NaN is refused: undefined is written as null."""
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DataRefused: The file is missing, cannot be read or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataRefused("the file does not exist", where=str(path)) from None
    except OSError as error:
        raise DataRefused(f"the file cannot be read ({type(error).__name__})", where=str(path)) from None
    except RecursionError:
        raise DataRefused("not a JSON file of ours: nested too deeply", where=str(path)) from None
    except ValueError as error:  # UnicodeDecodeError is one
        raise DataRefused(f"not a JSON file: {error}", where=str(path)) from None
