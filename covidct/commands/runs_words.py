"""Plain words of `covidct runs`, turned into keys before Hydra sees them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from covidct.commands.plain_words import quoted, told_apart
from covidct.errors import UsageError

ACTIONS = ("ls", "best", "show", "diff", "export")

_FIGURE = re.compile(r"(?:val|test|best)\.[\w.]+")


def as_keys(words: Sequence[str]) -> list[str]:
    """Turn `diff runs/a runs/b` into `action=diff where=['runs/a','runs/b']`, and quote what Hydra cannot read.

    Keys and options stay as they are. The first plain word is the action (`ls` when there is none); after `best`, a
    word such as val.patient.macro_auc is the figure; every other plain word is a place to look.

    Raises:
        UsageError: The first plain word is no action.
    """
    kept, plain = told_apart(words, _readable)
    if not plain:
        return kept
    action, *rest = plain
    if action not in ACTIONS:
        close = difflib.get_close_matches(action, ACTIONS, n=1)
        hint = f"covidct runs {close[0]}" if close else f"covidct runs ls {action}"
        raise UsageError(f"covidct runs cannot {action!r}", remedy=f"did you mean `{hint}`? ({', '.join(ACTIONS)})")
    keys = [f"action={action}"]
    if action == "best" and (figures := [word for word in rest if _FIGURE.fullmatch(word)]):
        rest = [word for word in rest if word not in figures]
        keys.append(f"by={figures[0]}")
    if rest:
        keys.append(f"where=[{','.join(quoted(word) for word in rest)}]")
    return [*keys, *kept]


def _readable(word: str) -> str:
    """Quote what Hydra would read as its own signs: titles, file names, and conditions with = and <."""
    key, _, value = word.partition("=")
    if key in ("title", "output") and value not in ("", "null") and value[0] not in "'\"":
        return f"{key}={quoted(value)}"
    if key != "filter" or not value:
        return word
    inside = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    conditions = [text.strip().strip("'\"") for text in inside.split(",") if text.strip()]
    return f"filter=[{','.join(quoted(text) for text in conditions)}]"
