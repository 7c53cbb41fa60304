"""Reading a CSV table as it was meant or not at all: text, header line, cells, and the lines they stand on.

Every cell stays a string: 0012 is not 12. Nothing is mended and nothing is guessed; whatever is wrong is collected
with its line number, and `Problems.refuse` tells all of it at once.
"""

from __future__ import annotations

import csv
import re
import stat
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from covidct.data.sources.cells import suspicion
from covidct.errors import DataRefused

MOST_BYTES = 512 * 2**20
"""A larger file is no table of labels: a million slices with their UIDs are about 100 MB."""

_SHOWN = 30
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_OTHER_FORMATS = (
    (b"PK\x03\x04", "an Excel workbook (or another zip archive)"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
    (b"PAR1", "a Parquet file"),
    (b"%PDF", "a PDF"),
    (b"\xff\xfe", "UTF-16 text, which Excel calls Unicode Text"),
    (b"\xfe\xff", "UTF-16 text, which Excel calls Unicode Text"),
)
_AS_CSV = "in the spreadsheet: make the id column Text, then save as 'CSV UTF-8 (comma delimited)'"


class Problems:
    """What is wrong with a file, in the order it was found; the first 30 are told, all are counted.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.count = 0
        self._told: list[str] = []

    def add(self, words: str) -> None:
        """One more; `words` begins with its line."""
        self.count += 1
        if len(self._told) < _SHOWN:
            self._told.append(words)

    def refuse(self, remedy: str | None = None) -> None:
        """Raise `DataRefused` with everything, if there is anything."""
        if self.count:
            more = [f"... and {self.count - _SHOWN} more"] if self.count > _SHOWN else []
            raise DataRefused(
                f"{self.count} bad {'line' if self.count == 1 else 'lines'}:\n    "
                + "\n    ".join([*self._told, *more]),
                where=str(self.path),
                remedy=remedy,
            )


def read_text(path: Path, columns: Sequence[str]) -> str:
    """The text of a CSV file.

    Args:
        path: A regular file, UTF-8 with or without byte-order mark.
        columns: Columns it should have, for the messages.

    Raises:
        DataRefused: It cannot be read, is too large, or is no UTF-8 text; other formats and encodings are named.
    """
    path = Path(path)
    where, wanted = str(path), f"a CSV file with the columns {','.join(columns)}"
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):  # opening a pipe waits for ever
            raise DataRefused("the labels cannot be read: not a regular file", where=where, remedy=wanted)
        if state.st_size > MOST_BYTES:
            raise DataRefused(
                f"{state.st_size / 2**20:.0f} MiB is too large for a table of labels", where=where, remedy=wanted
            )
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: NUL in the path
        raise DataRefused(f"the labels cannot be read ({type(error).__name__})", where=where, remedy=wanted) from None
    for magic, name in _OTHER_FORMATS:
        if content.startswith(magic):
            raise DataRefused(f"not UTF-8 text but {name}", where=where, remedy=_AS_CSV)
    if (place := content.find(b"\0")) >= 0:
        every_other = content[:64].count(b"\0") >= min(64, len(content)) // 3
        like = "; it looks like UTF-16" if every_other else ""
        raise DataRefused(
            f"not a text file: line {_line_of(content, place)} has a NUL byte{like}", where=where, remedy=_AS_CSV
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataRefused(
            f"not UTF-8 text: byte 0x{content[error.start]:02X} in line {_line_of(content, error.start)}, as files in "
            "Latin-1 or Windows-1252 have",
            where=where,
            remedy=_AS_CSV,
        ) from None


def read_rows(
    text: str, needed: Sequence[str], problems: Problems, also: Sequence[str] = ()
) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a table, each with the number of the line it begins on; blank lines are passed over.

    Lines end with LF, CRLF or CR. Rows with a wrong number of cells, or with a `needed` cell that is empty or not
    what somebody typed (`cells.suspicion`), become problems.

    Args:
        text: Comma separated, with a header line; cells may be quoted.
        needed: Columns whose cells must be filled.
        problems: Takes what is wrong.
        also: Columns that must be there and may have empty cells.

    Raises:
        DataRefused: The header line lacks a column, or has it twice.
    """
    reader = csv.reader((match.group() for match in _LINE.finditer(text)), strict=True)
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            if header is None:
                _check_header([], [*needed, *also], problems.path)
            return
        except csv.Error as error:
            problems.add(f"line {line}: {_said(error, reader.line_num > line)}")
            if header is None:
                return
            continue
        if not any(cell.strip() for cell in cells):
            continue
        if header is None:
            header = [cell.strip() for cell in cells]
            _check_header(header, [*needed, *also], problems.path)
            continue
        if len(cells) != len(header):
            hint = _decimal_comma(cells) if len(cells) > len(header) else ""
            problems.add(f"line {line}: {len(cells)} cells, the header has {len(header)}{hint}")
            continue
        row = dict(zip(header, cells, strict=True))
        bad = [f"{name} {said}" for name in needed if (said := suspicion(row[name]))]
        if bad:
            problems.add(f"line {line}: {', '.join(bad)}")
        else:
            yield line, row


def _line_of(content: bytes, place: int) -> int:
    """The line, from 1, of a byte."""
    before = content[:place]
    return 1 + before.count(b"\n") + before.count(b"\r") - before.count(b"\r\n")


def _said(error: csv.Error, several_lines: bool) -> str:
    words = str(error)
    if "unexpected end of data" in words:
        return "a quotation mark opens here and is never closed"
    if "field larger" in words:
        return f"a cell of more than {csv.field_size_limit()} letters"
    return f"{words}; the cell begins on this line" if several_lines else words


def _decimal_comma(cells: list[str]) -> str:
    digits = any(a.strip().isdigit() and b.strip().isdigit() for a, b in pairwise(cells))
    return "; a decimal comma splits a cell, unless it is quoted" if digits else ""


def _check_header(header: list[str], columns: list[str], path: Path) -> None:
    """Every column exactly once, also when capitals and underscores are not told apart."""
    bare = [_bare(name) for name in header]
    wrong = [name for name in columns if header.count(name) != 1 or bare.count(_bare(name)) != 1]
    if not wrong:
        return
    hint = ""
    like = [name for name in header if name not in columns and _bare(name) in map(_bare, wrong)]
    if mark := next((mark for mark in (";", "\t", "|") if any(mark in name for name in header)), None):
        hint = f"; it seems to be separated by {mark!r}: save it with commas"
    elif like:
        hint = f"; it has {', '.join(map(ascii, like))}"
    raise DataRefused(
        f"the header line needs the column {', '.join(wrong)} once{hint}",
        where=str(path),
        remedy=f"first line: {','.join(columns)}",
    )


def _bare(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())
