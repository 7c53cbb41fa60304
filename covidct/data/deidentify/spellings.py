"""The ways in which one original value may be written, and whether it is evidence at all."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator

from covidct.data.deidentify.descriptors import WORDS
from covidct.data.deidentify.originals import Original, is_of_the_standard

_FIELD = """
complete completed created version gdcm dcmtk openjpeg pydicom anonymous anonymized anonymised anonymize anon unknown
unnamed none null test patient name subject phantom control normal disease image images series study scan scans data
dicom dicomdir site train testing valid labels masks original primary secondary derived axial localizer male female
other adult default standard general hospital institution radiology department modified removed covid covid19
pneumonia tuberculosis bacterial viral true false yes auto user root admin local slice slices
"""

_COMMON = frozenset(_FIELD.split())
# DICOM's character sets (PS3.5 6.1), what programs write, and numpy's text
_CODECS = ("utf-8", "latin-1", "utf-16-le", "utf-16-be", "utf-32-le", "gb18030", "iso2022_kr", "euc_kr", "shift_jis")
_MIN_LETTERS = 4
_MIN_DIGITS = 6
_MIN_MIXED = 5
_MIN_UID = 8


def why_not_hunted(original: Original) -> str:
    """Why a value is no evidence, or ""."""
    kind, value, _ = original
    if kind == "number" and not (value.isdecimal() and len(value) >= 8):
        return "numbers without a meaning of their own"
    if kind == "time" and len(re.sub(r"\D", "", value)) <= _MIN_DIGITS:
        return "times of day: six digits are anywhere"
    if is_of_the_standard(value):
        return "UIDs of the standard"
    if kind == "uid":
        # some anonymisers write UUIDs, which are no UIDs of the standard and yet name an examination
        return "" if sum(map(str.isalnum, value)) >= _MIN_UID else "too short"
    if kind == "date":
        return "" if len(re.sub(r"\D", "", value)) >= 8 else "incomplete dates"
    if len(set(value.lower())) < 3:
        return "one or two different characters"
    folded = re.sub(r"[^a-z0-9]+", " ", value.lower()).split()
    if folded and all(word in _COMMON or word in WORDS or len(word) == 1 for word in folded):
        return "words of the field"
    digits, letters = sum(map(str.isdigit, value)), sum(map(str.isalpha, value))
    if not (
        (letters >= _MIN_LETTERS and not digits)
        or (digits >= _MIN_DIGITS and not letters)
        or (letters and digits and letters + digits >= _MIN_MIXED)
        or any(ord(character) > 0x2E7F for character in value)  # two Chinese characters are a whole name
    ):  # fmt: skip
        return "too short"
    return ""


def spellings(original: Original) -> Iterator[str]:
    """A value and the forms it may take in file names, tables and reports."""
    kind, value, _ = original
    if kind == "name":
        yield from _names(value)
    elif kind == "date":
        yield from _dates(value)
    else:
        yield value
        for line in value.splitlines():
            if len(line.strip()) >= 8:
                yield line.strip()
        if re.search(r"[^\w.-]", value):
            yield re.sub(r"[^\w.-]+", "_", value).strip("_")


def _names(value: str) -> Iterator[str]:
    """Component groups (PS3.5 6.2.1), their components in both orders, and each part of them."""
    yield value
    for group in value.split("="):
        parts = [part.strip() for part in group.split("^") if part.strip()]
        yield from {group.strip("^ "), *parts}
        for first, second in itertools.pairwise(parts):
            for a, b in ((first, second), (second, first)):
                yield from (f"{a}{between}{b}" for between in ("", " ", ", ", "_", "-", "."))
        for part in re.split(r"[\s^,._-]+", group):
            yield part
            yield _plain(part)


def _plain(text: str) -> str:
    """Without accents, the German way and the plain way agree on the rest."""
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def _dates(value: str) -> Iterator[str]:
    digits = re.sub(r"\D", "", value)[:8]
    year, month, day = digits[:4], digits[4:6], digits[6:8]
    yield from (
        value,
        digits,
        f"{year}-{month}-{day}", f"{year}.{month}.{day}", f"{year}/{month}/{day}", f"{year}_{month}_{day}",
        f"{day}.{month}.{year}", f"{day}/{month}/{year}", f"{day}-{month}-{year}", f"{month}/{day}/{year}",
        f"{month}-{day}-{year}",
    )  # fmt: skip


def encodings(spelling: str) -> Iterator[bytes]:
    """The bytes of a spelling, lower case where that is ASCII: what is searched is lowered too."""
    for form in {spelling, unicodedata.normalize("NFC", spelling), unicodedata.normalize("NFD", spelling)}:
        for codec in _CODECS:
            try:
                yield form.encode(codec).lower()
            except UnicodeError:
                continue
        escaped = form.encode("ascii", "backslashreplace")  # as JSON writes it
        yield escaped.lower()
        yield form.encode("ascii", "xmlcharrefreplace").lower()
