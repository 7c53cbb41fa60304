"""Plain words of `covidct ledger`, turned into keys before Hydra sees them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from covidct.commands.plain_words import quoted, told_apart
from covidct.errors import UsageError

ACTIONS = ("show", "seal", "open")
_TEXTS = ("index", "site", "reason", "ledger.folder", "ledger.who")


def as_keys(words: Sequence[str]) -> list[str]:
    """Turn `open runs/NAME index=indexes/a` into `action=open run=['runs/NAME'] index='indexes/a'`.

    The first plain word is the action; every other one is a run folder. Texts are quoted, so that a reason may hold
    any sign.

    Raises:
        UsageError: The first plain word is no action.
    """
    kept, plain = told_apart(words, _readable)
    if not plain:
        return kept
    action, *runs = plain
    if action not in ACTIONS:
        close = difflib.get_close_matches(action, ACTIONS, n=1)
        hint = f"did you mean `covidct ledger {close[0]}`?" if close else "say what to do first"
        raise UsageError(f"covidct ledger cannot {action!r}", remedy=f"{hint} ({', '.join(ACTIONS)})")
    keys = [f"action={action}"]
    if runs:
        keys.append(f"run=[{','.join(quoted(word) for word in runs)}]")
    return [*keys, *kept]


def _readable(word: str) -> str:
    key, _, value = word.partition("=")
    if value in ("", "null") or value[0] in "'\"[":
        return word
    return f"{key}={quoted(value)}" if key in _TEXTS or key == "run" else word
