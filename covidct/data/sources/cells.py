"""Single cells of a table: what nobody typed, what looks alike, and which word was meant.

Nothing here changes a cell. Similar is never equal: what is found becomes a message for people.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Mapping

_MONTH = "(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
_SPREADSHEET = (
    (re.compile(r"[=]"), "is a formula, not a value"),
    (re.compile(r"#(n/a|ref!|name\?|value!|div/0!|null!|num!|#+)", re.I), "is an error of a spreadsheet"),
    (re.compile(r"\d([.,]\d+)?e[+-]\d{2,3}$", re.I), "is a long number that a spreadsheet has cut (like 1.2E+05)"),
    (
        re.compile(rf"(\d{{1,2}}-{_MONTH}|{_MONTH}-\d{{1,4}}|\d{{1,2}}-{_MONTH}-\d{{2,4}})$", re.I),
        "is a date that a spreadsheet has made (like 1-Feb)",
    ),
)
_DOUBTFUL = (
    (re.compile(r"\d+[.,]0+$"), "a decimal number (like 12.0)"),
    (re.compile(r"\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2})?)?$"), "a date (like 2020-02-01)"),
    (re.compile(r"\d{1,2}[/.]\d{1,2}[/.]\d{2,4}$"), "a date (like 1/2/2020)"),
)
# Letters of other alphabets that print like Latin ones; the commonest, not all of Unicode's list (UTS 39)
_LATIN = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u043a\u043c\u0442\u0432\u043d"
    "\u03b1\u03bf\u03c1\u03bd\u03b9\u03ba\u03c4\u03c7\u03c5\u0131",
    "aeopcyxijskmtbhaopviktxui",
)


def suspicion(cell: str) -> str | None:
    """Why a cell cannot be what somebody meant to write, in words that follow its column's name; None if it can.

    Empty, spaces around it, letters that are not seen, line breaks, formulas, spreadsheet errors, and what spreadsheets
    are known to make of identifiers. The cell itself is not repeated: it may be a patient's number.
    """
    if not cell.strip():
        return "is empty"
    if hidden := [letter for letter in cell if _is_hidden(letter)]:
        what = unicodedata.name(hidden[0], "a control character").lower()
        return f"has a letter that is not seen (U+{ord(hidden[0]):04X}, {what})"
    if cell != cell.strip():
        return "has spaces around it"
    return next((words for pattern, words in _SPREADSHEET if pattern.match(cell)), None)


def doubt(cell: str) -> str | None:
    """What an identifier looks like that may have gone through a spreadsheet, and may be right; else None."""
    return next((words for pattern, words in _DOUBTFUL if pattern.match(cell)), None)


def _is_hidden(letter: str) -> bool:
    """Format and control characters, and every space but the plain one."""
    return unicodedata.category(letter) in {"Cf", "Cc", "Zl", "Zp", "Cs", "Co", "Cn"} or (
        unicodedata.category(letter) == "Zs" and letter != " "
    )


def likeness(cell: str) -> str:
    """The same for two cells that people may take for each other.

    Without capitals, spaces, hidden letters, letters of other alphabets that print like Latin ones, leading zeros, and
    a trailing ".0".
    """
    plain = unicodedata.normalize("NFKC", cell).casefold().translate(_LATIN)
    plain = "".join(letter for letter in plain if not _is_hidden(letter) and not letter.isspace())
    return re.sub(r"[.,]0+$", "", plain).lstrip("0") or "0"


def foreign_letters(cell: str) -> str:
    """The letters of a cell that are not ASCII, by their names, for people who cannot see the difference."""
    strange = sorted({letter for letter in cell if ord(letter) > 127})
    return ", ".join(f"U+{ord(c):04X} {unicodedata.name(c, 'unnamed').lower()}" for c in strange[:3])


def meant(word: str, known: Mapping[str, str]) -> str | None:
    """The known word that was probably meant.

    Args:
        word: What stands in the cell.
        known: Spelling -> word; several spellings may stand for one.
    """
    bare = {_letters(spelling): right for spelling, right in known.items()}
    close = difflib.get_close_matches(_letters(word[:200]), list(bare), n=1, cutoff=0.75)
    return bare[close[0]] if close else None


def _letters(word: str) -> str:
    return "".join(letter for letter in likeness(word) if letter.isalnum())
