"""Plain words of `covidct audit`, turned into keys before Hydra sees them."""

from __future__ import annotations

from collections.abc import Sequence

from covidct.commands.plain_words import quoted, told_apart
from covidct.errors import UsageError

DEFAULT = "fu2020"


def as_keys(words: Sequence[str]) -> list[str]:
    """Turn `table` into `table=fu2020`, `table FILE` into `table='FILE'` and `data INDEX` into `index='INDEX'`; other
    keys and options stay as they are.

    `data=INDEX` and `split=FILE` mean the same here, but `data` and `split` are groups of Hydra's.

    Raises:
        UsageError: There are plain words, and they are neither `table` with at most one file nor `data` with an index.
    """
    kept, plain = told_apart(words)
    kept = [f"index={_text(word)}" if word.startswith("data=") else word for word in kept]
    files = [_text(word) for word in kept if word.startswith("split=")]
    kept = [word for word in kept if not word.startswith("split=")]
    if files:
        kept.append(f"splits=[{','.join(file.removeprefix('[').removesuffix(']') for file in files)}]")
    if not plain:
        return kept
    if plain[0] == "data" and len(plain) == 2:
        return [f"index={quoted(plain[1])}", *kept]
    if plain[0] != "table" or len(plain) > 2:
        raise UsageError(
            f"covidct audit cannot {' '.join(plain)!r}",
            remedy="covidct audit data indexes/NAME, covidct audit table, covidct audit table paper.yaml, or "
            "covidct audit run=runs/NAME",
        )
    return [f"table={quoted(plain[1] if len(plain) == 2 else DEFAULT)}", *kept]


def _text(word: str) -> str:
    """The value of `key=value`, quoted unless it is quoted or a list already."""
    value = word.split("=", 1)[1]
    return value if value[:1] in ("'", '"', "[") else quoted(value)
