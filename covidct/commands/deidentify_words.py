"""Plain words of `covidct deidentify`, turned into keys before Hydra sees them."""

from __future__ import annotations

from collections.abc import Sequence

from covidct.commands.plain_words import told_apart
from covidct.errors import UsageError

TASKS = ("clean", "verify")


def as_keys(words: Sequence[str]) -> list[str]:
    """Turn `verify` into `task=verify`; keys and options stay as they are.

    Raises:
        UsageError: Another plain word, or more than one.
    """
    kept, plain = told_apart(words)
    if not plain:
        return kept
    if len(plain) > 1 or plain[0] not in TASKS:
        raise UsageError(
            f"covidct deidentify cannot {' '.join(plain)!r}",
            remedy="covidct deidentify input=SCANS output=CLEAN, or covidct deidentify verify output=CLEAN",
        )
    return [f"task={plain[0]}", *kept]
