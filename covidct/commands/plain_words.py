"""Plain words of a command line, told apart from keys and options before Hydra sees them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

_KEY = re.compile(r"[+~]{0,2}[\w.@/-]*?[\w@]=")
_WITH_VALUE = ("--cfg", "-c", "--package", "-p", "--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp")


def told_apart(words: Sequence[str], readable: Callable[[str], str] = str) -> tuple[list[str], list[str]]:
    """Keys and options, and plain words, each in their order.

    Args:
        words: The words behind the verb.
        readable: Applied to each `key=value`.
    """
    kept: list[str] = []
    plain: list[str] = []
    is_value = False
    for word in words:
        if is_value or word.startswith("-"):
            is_value = word in _WITH_VALUE
            kept.append(word)
        elif _is_key(word):
            kept.append(readable(word))
        else:
            plain.append(word)
    return kept, plain


def quoted(word: str) -> str:
    """The word so that Hydra reads it as one text, whatever is in it."""
    return "'" + re.sub(r"(\\*)'", r"\1\1\\'", word) + "'"


def _is_key(word: str) -> bool:
    """Whether a word is `key=value`, and not a folder with = in its name."""
    return bool(_KEY.match(word)) and "/" not in word.split("=", 1)[0]
