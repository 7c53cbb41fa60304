"""Plain words of `covidct audit`, turned into keys before Hydra sees them."""

from __future__ import annotations

from collections.abc import Sequence

from covidct.commands.plain_words import quoted, told_apart
from covidct.errors import UsageError

DEFAULT = "fu2020"


def as_keys(words: Sequence[str]) -> list[str]:
    """Turn `table` into `table=fu2020` and `table FILE` into `table='FILE'`; keys and options stay as they are.

    Raises:
        UsageError: There are plain words, and they are not `table` with at most one file.
    """
    kept, plain = told_apart(words)
    if not plain:
        return kept
    if plain[0] != "table" or len(plain) > 2:
        raise UsageError(
            f"covidct audit cannot {' '.join(plain)!r}",
            remedy="covidct audit table, covidct audit table paper.yaml, or covidct audit run=runs/NAME",
        )
    return [f"table={quoted(plain[1] if len(plain) == 2 else DEFAULT)}", *kept]
