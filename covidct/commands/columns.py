"""A plain aligned table on standard output: fast with a thousand rows, and no width cuts a value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from covidct.evaluation.listing import text_of


def print_columns(header: Sequence[str] | None, rows: Sequence[Sequence[Any]], *, indent: int = 0) -> None:
    """Print rows of values; columns of numbers stand to the right.

    Args:
        header: Names of the columns; None prints none.
        rows: As long as the header.
        indent: Spaces before each line.
    """
    cells = [[text_of(value) for value in row] for row in rows]
    lines = [*([list(header)] if header else []), *cells]
    if not lines:
        return
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    is_number = [
        all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in column)
        for column in (zip(*rows, strict=True) if rows else [[""]] * len(widths))
    ]
    for line in lines:
        padded = [
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, is_number, strict=True)
        ]
        print(" " * indent + "  ".join(padded).rstrip())
