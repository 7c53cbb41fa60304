"""Plain words of `covidct audit`, turned into keys before Hydra sees them."""

from __future__ import annotations

from collections.abc import Sequence

from covidct.commands.runs_words import WITH_VALUE, is_key, quoted
from covidct.errors import UsageError

DEFAULT = "fu2020"


def as_keys(words: Sequence[str]) -> list[str]:
    """Turn `table` into `table=fu2020` and `table FILE` into `table='FILE'`; keys and options stay as they are.

    Raises:
        UsageError: There are plain words, and they are not `table` with at most one file.
    """
    kept, plain, is_value = [], [], False
    for word in words:
        if is_value or word.startswith("-") or is_key(word):
            is_value = word in WITH_VALUE
            kept.append(word)
        else:
            plain.append(word)
    if not plain:
        return kept
    if plain[0] != "table" or len(plain) > 2:
        raise UsageError(
            f"covidct audit cannot {' '.join(plain)!r}",
            remedy="covidct audit table, covidct audit table paper.yaml, or covidct audit run=runs/NAME",
        )
    return [f"table={quoted(plain[1] if len(plain) == 2 else DEFAULT)}", *kept]
