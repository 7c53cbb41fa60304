"""How names and numbers are written for people, in figures and report alike."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from typing import Any

from covidct.labels import DISPLAY_NAMES


def display(name: str, width: int | None = None) -> str:
    """A class name for people, broken into lines of at most `width` characters when one is given."""
    text = DISPLAY_NAMES.get(name, name)
    return "\n".join(textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)) if width else text


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction in 0..1 as percent; undefined is a dash; not quite all or nothing is never shown as 100 or 0."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{100 * value:.{digits}f}"
    if value < 1 and float(text) == 100:
        return f">{100 - 10**-digits:.{digits}f}"
    if value > 0 and float(text) == 0:
        return f"<{10**-digits:.{digits}f}"
    return text


def interval_text(figure: Mapping[str, Any] | None, digits: int = 1) -> str:
    """Bounds of an estimate in percent, "–" when there is no interval."""
    if not figure or figure.get("low") is None or figure.get("high") is None:
        return "–"
    return f"{100 * figure['low']:.{digits}f}–{100 * figure['high']:.{digits}f}"


def counted(count: int, noun: str) -> str:
    """A count with its noun: "1 patient", "1,200 slices"."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
