"""The table of reads: who read which case when, what they said, how sure they were and how long it took.

A CSV file, one row per read. The paper compares its network with radiologists and reports neither how many there were
nor what they read, in which order, how long, or with what result (flaw 22); this table has a place for each of these.

`reader`
    A code, not a name: it is printed in the report.
`case`
    `patient_key` of the run's predictions, or `slice_key` where `unit` is slice.
`site`
    Hospital of the case; only needed where two hospitals use the same patient key.
`session`, `order`
    Whole numbers from 1: the reading session of this reader, and the place of the case in it.
`class`
    What the reader called it; empty is "no result": a read that failed, which counts.
`confidence`
    How sure the reader was of that class, on any scale whose higher values mean surer.
`rating_<class>`
    Instead of class and confidence, or beside them: one number for each class, higher means more likely. Without
    `class` the highest rating is the call.
`seconds`
    From opening the case to the verdict.
`with_ai`
    yes or no: whether the reader saw the model's output.
`washout_days`
    Days between this session and the reader's session before.
`unit`
    patient (also when the column is absent) or slice, the same in the whole table.
`simulated`
    yes in a table that a program wrote. The report then says so.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covidct.errors import DataRefused
from covidct.evaluation.patient import NO_RESULT, called_class
from covidct.labels import ClassScheme

REQUIRED = ("reader", "case")
OPTIONAL = (
    "site", "session", "order", "class", "confidence", "seconds", "with_ai", "washout_days", "unit", "simulated",
)  # fmt: skip
RATING = "rating_"
UNITS = ("patient", "slice")
SHOWN = 20
"""Bad rows that a message lists; the rest are counted."""

_FLAGS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False, "": False}


def read_reads(path: Path, scheme: ClassScheme) -> pd.DataFrame:
    """Read and check a table of reads.

    Args:
        path: The CSV file (UTF-8; commas, or semicolons).
        scheme: The classes of the run.

    Returns:
        One row per read: `line` (of the file), `reader`, `case`, `site` (text; site is "" where not given), `session`
        (int), `order` (float, NaN where not given), `call` (a class, or `NO_RESULT`), `confidence`, `seconds`,
        `washout_days` (float, NaN), `rating_<class>` (float, NaN; all columns or none), `with_ai`, `simulated`
        (bool), `unit`.

    Raises:
        DataRefused: The file is missing, is no such table, or has bad rows; all of them are named by line at once.
    """
    rows, columns = _rows(Path(path))
    where = Path(path).name
    _check_columns(columns, scheme, where)
    problems: list[tuple[int, str]] = []
    found = [_parsed(line, row, columns, scheme, problems) for line, row in rows]
    if not found:
        raise DataRefused("the table of reads has no rows", where=where)
    table = pd.DataFrame(found)
    _check_whole(table, problems)
    if problems:
        raise DataRefused(
            f"{len({line for line, _ in problems})} of {len(table)} rows of the table of reads cannot be used:\n"
            + _listed(problems),
            where=where,
            remedy="mend these rows; a read that failed is a row with an empty class",
        )
    return table


def _rows(path: Path) -> tuple[list[tuple[int, list[str]]], list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            head = file.readline()
            file.seek(0)
            lines = csv.reader(file, delimiter=";" if ";" in head and "," not in head else ",", strict=True)
            columns = [name.strip() for name in next(lines, [])]
            rows = [
                (lines.line_num, [cell.strip() for cell in row]) for row in lines if any(cell.strip() for cell in row)
            ]
    except FileNotFoundError:
        raise DataRefused("the table of reads does not exist", where=str(path)) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataRefused(f"not a CSV table in UTF-8: {error}", where=str(path)) from None
    return rows, columns


def _check_columns(columns: list[str], scheme: ClassScheme, where: str) -> None:
    ratings = [f"{RATING}{name}" for name in scheme.names]
    known = [*REQUIRED, *OPTIONAL, *ratings]
    wrong = []
    if missing := [name for name in REQUIRED if name not in columns]:
        wrong.append(f"lacks {', '.join(missing)}")
    if strange := [name for name in columns if name not in known]:
        wrong.append(f"has columns that mean nothing here: {', '.join(map(repr, strange))}")
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        wrong.append(f"has {', '.join(twice)} twice")
    rated = [name for name in ratings if name in columns]
    if rated and len(rated) < len(ratings):
        wrong.append(f"rates some classes only; it lacks {', '.join(name for name in ratings if name not in columns)}")
    if not rated and "class" not in columns:
        wrong.append("has neither class nor ratings")
    if wrong:
        raise DataRefused(
            f"the table of reads {'; '.join(wrong)}", where=where, remedy=f"the columns are {', '.join(known)}"
        )


def _parsed(
    line: int, cells: list[str], columns: list[str], scheme: ClassScheme, problems: list[tuple[int, str]]
) -> dict[str, Any]:
    """One row as values; what is wrong with it is added to `problems`."""

    def refuse(what: str) -> None:
        problems.append((line, what))

    if len(cells) != len(columns):
        refuse(f"{len(cells)} cells for {len(columns)} columns")
    row = dict(zip(columns, cells, strict=False))

    def number(name: str, *, accept: Callable[[float], bool], words: str) -> float:
        text = row.get(name, "")
        if not text:
            return math.nan
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or not accept(value):
            refuse(f"{name} is {text!r}, not {words}")
            return math.nan
        return value

    def flag(name: str) -> bool:
        text = row.get(name, "").lower()
        if text not in _FLAGS:
            refuse(f"{name} is {text!r}, not yes or no")
        return _FLAGS.get(text, False)

    def whole(value: float) -> bool:
        return value >= 1 and value == int(value)

    for name in REQUIRED:
        if not row.get(name):
            refuse(f"no {name}")
    unit = row.get("unit", "").lower() or "patient"
    if unit not in UNITS:
        refuse(f"unit is {unit!r}, not patient or slice")
    session = number("session", accept=whole, words="a whole number from 1")
    values: dict[str, Any] = {
        "line": line,
        "reader": row.get("reader", ""),
        "case": row.get("case", ""),
        "site": row.get("site", ""),
        "session": 1 if math.isnan(session) else int(session),
        "order": number("order", accept=whole, words="a whole number from 1"),
        "confidence": number("confidence", accept=lambda _: True, words="a number"),
        "seconds": number("seconds", accept=lambda value: value > 0, words="a number above 0"),
        "washout_days": number("washout_days", accept=lambda value: value >= 0, words="a number from 0"),
        "with_ai": flag("with_ai"),
        "simulated": flag("simulated"),
        "unit": unit,
    }
    ratings = [f"{RATING}{name}" for name in scheme.names if f"{RATING}{name}" in columns]
    values |= {name: number(name, accept=lambda _: True, words="a number") for name in ratings}
    given = [name for name in ratings if row.get(name)]
    if given and len(given) < len(ratings):
        refuse("rates some classes only")
    values["call"] = _call(row, values, ratings, scheme, refuse)
    return values


def _call(
    row: dict[str, str], values: dict[str, Any], ratings: list[str], scheme: ClassScheme, refuse: Callable[[str], None]
) -> str:
    """What the reader called the case: the class given, else the highest rating, else no result."""
    given = row.get("class", "")
    if given:
        if given not in scheme.names:
            refuse(f"class is {given!r}, not one of {', '.join(scheme.names)}")
            return NO_RESULT
        return given
    if not ratings or "class" in row:
        return NO_RESULT
    numbers = np.array([[values[name] for name in ratings]])
    return NO_RESULT if np.isnan(numbers).any() else scheme.names[int(called_class(numbers, scheme)[0])]


def _check_whole(table: pd.DataFrame, problems: list[tuple[int, str]]) -> None:
    """What only shows when rows are seen together."""
    key = ["reader", "site", "case", "session", "with_ai"]
    first = table.groupby(key)["line"].transform("min")
    for line, before in zip(table["line"], first, strict=True):
        if line != before:
            problems.append((line, f"the same reader, case and session as line {before}"))
    for name, words in (("unit", "units"), ("simulated", "simulated and real reads")):
        values = table[name].value_counts()
        if len(values) > 1:
            problems += [
                (line, f"{words} are mixed in one table") for line in table["line"][table[name] == values.index[-1]]
            ]


def _listed(problems: list[tuple[int, str]]) -> str:
    return "\n".join(_lines(sorted(problems)))


def _lines(problems: list[tuple[int, str]]) -> Iterator[str]:
    for line, what in problems[:SHOWN]:
        yield f"  line {line}: {what}"
    if len(problems) > SHOWN:
        yield f"  and {len(problems) - SHOWN} more"
