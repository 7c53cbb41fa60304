"""Searching bytes for many values at once (Aho-Corasick; the automaton is pyahocorasick's, BSD-3)."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from covidct.data.deidentify.originals import Original
from covidct.data.deidentify.spellings import encodings, spellings, why_not_hunted

_MIN_BYTES = 4
_MAY_COINCIDE = ("text", "binary", "path", "site")
_MIN_IN_NOISE = 8  # eight given letters in either case: once in 70 million gigabytes of noise
_TIME = re.compile(r"(?:[01]\d|2[0-3])[0-5]\d[0-5]\d(?!\d)")  # a date may be followed by its time (DT)
BLOCK = 65536
"""Bytes that are told from noise together."""

_HEX = frozenset("0123456789abcdef")
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz")
_DIGITS = frozenset("0123456789")
_ALNUM = _LETTERS | _DIGITS


class Hit(NamedTuple):
    """A value that was found.

    Args:
        kind: Of the original value.
        value: The original value, in the clear.
        offset: In the bytes searched.
    """

    kind: str
    value: str
    offset: int


class Quarry:
    """The values to hunt, ready to be searched for.

    Args:
        values: Original values.
    """

    def __init__(self, values: Iterable[Original]) -> None:
        import ahocorasick

        self.left_out: Counter[str] = Counter()
        """Why values are not hunted -> how many."""
        self.hunted = 0
        """Number of values hunted."""
        owners: dict[Original, set[str]] = defaultdict(set)
        stays: set[str] = set()
        for value in values:
            if value.kind == "stays":
                stays.add(value.value.lower())
            else:
                owners[value._replace(owner="")].add(value.owner)
        staying = "\n".join(sorted(stays))
        forms: dict[str, Original] = {}
        for original in sorted(owners):
            stands = original.kind in _MAY_COINCIDE and original.value.lower() in staying
            if reason := "part of a value that may stay" if stands else why_not_hunted(original):
                self.left_out[reason] += 1
                continue
            self.hunted += 1
            for spelling in spellings(original):
                if why_not_hunted(Original("date" if original.kind == "date" else "text", spelling)):
                    continue
                for encoded in encodings(spelling):
                    if len(encoded) >= _MIN_BYTES:
                        forms.setdefault(encoded.decode("latin-1"), original)
        self._owners = dict(owners)
        self._automaton: Any = None
        if forms:
            self._automaton = ahocorasick.Automaton()
            for form, original in forms.items():
                self._automaton.add_word(form, (len(form), original))
            self._automaton.make_automaton()

    def search(self, data: bytes, *, noise: Sequence[bool] = (), owner: str | None = None) -> list[Hit]:
        """Find values, each at its first place.

        Args:
            data: What is searched; ASCII letters in either case.
            noise: For each `BLOCK` of bytes: whether it is pixels, weights or compressed, where short values occur by
                chance and are not counted.
            owner: Count only this patient's dates, and those of which it is not known whose they are.
        """
        if self._automaton is None or not data:
            return []
        text = data.lower().decode("latin-1")
        hits: dict[Original, Hit] = {}
        for end, (length, original) in self._automaton.iter(text):
            start = end - length + 1
            if original in hits or (length < _MIN_IN_NOISE and noise and noise[start // BLOCK]):
                continue
            if owner is not None and original.kind == "date" and not {owner, ""} & self._owners[original]:
                continue
            if _stands_alone(text, start, end + 1):
                hits[original] = Hit(original.kind, original.value, start)
        return list(hits.values())


def _stands_alone(text: str, start: int, stop: int) -> bool:
    """Digits must not be part of a longer number or of a hexadecimal digest; short words not of a longer word."""
    form = text[start:stop]
    before, after = text[max(start - 1, 0) : start], text[stop : stop + 1]
    if form.isdigit() or all(c.isdigit() or c in ".-/_" for c in form):
        if before in _DIGITS or (after in _DIGITS and not (len(form) == 8 and _TIME.match(text, stop))):
            return False
        if (before == "." and text[start - 2 : start - 1] in _DIGITS) or (
            after == "." and text[stop + 1 : stop + 2] in _DIGITS
        ):
            return len(form) >= 12
    if all(c in _HEX for c in form) and len(form) < 16:
        left, right = start, stop
        while left and text[left - 1] in _ALNUM and start - left < 64:
            left -= 1
        while right < len(text) and text[right] in _ALNUM and right - stop < 64:
            right += 1
        token = text[left:right]
        return not (len(token) >= len(form) + 4 and all(c in _HEX for c in token))
    if form.isalpha() and len(form) < 7:
        return not (before in _LETTERS or after in _LETTERS)
    return True
