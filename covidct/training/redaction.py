"""What may leave the machine with a run: numbers, names and settings, but no place on a file system.

Folder names of hospitals hold patients' names, and a home folder holds a user's. So a path is dropped whole: its last
part may be the worst one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

REDACTED = "(path)"

PLACES = frozenset(
    {"root", "path", "paths", "folder", "folders", "dir", "dirs", "directory", "file", "files", "index", "runs"}
    | {"output", "input", "store", "cwd", "home"}
)
"""A text under a key whose last word is one of these names a place, whatever it looks like."""

_ABSOLUTE = re.compile(r"(?:file:|~[\w.-]*[/\\]|/|\\\\|[A-Za-z]:[/\\]|\.{1,2}[/\\])")
_INSIDE = re.compile(r"(?:(?<![\w./\\-])(?:~[\w.-]*/|\.{0,2}/)(?=\S)|(?<!\w)[A-Za-z]:[/\\]|\\\\|file:).*", re.DOTALL)


def scrub(value: Any, key: str = "") -> Any:
    """A copy of plain values without paths, safe to hand to a tracking service.

    A text is replaced when it is an absolute or dotted path, stands under a key that names a place, or is a relative
    path that exists here. A path inside a sentence takes the rest of the sentence with it, because a folder's name
    may hold spaces. Keys of mappings are treated like values. Anything that is not plain becomes its scrubbed text.

    Args:
        value: None, bool, number, text, or lists and mappings of them.
        key: The key the value stands under.
    """
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {_scrub_text(str(k), ""): scrub(v, str(k)) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [scrub(v, key) for v in value]
    if isinstance(value, PathLike):
        return REDACTED
    return _scrub_text(str(value), key)


def _scrub_text(text: str, key: str) -> str:
    place = re.split(r"[^a-z]+", key.lower())[-1] in PLACES
    if text and (place or _ABSOLUTE.match(text.strip()) or _exists(text)):
        return REDACTED
    return _INSIDE.sub(REDACTED, text)


def _exists(text: str) -> bool:
    if "/" not in text and "\\" not in text:
        return False
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # too long, or holds a NUL: not a path
        return False
