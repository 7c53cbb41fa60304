"""A printed figure as what it says: bounds on a fraction, and whole-number inequalities that follow from them.

Everything here is exact (fractions and whole numbers), so that "impossible" is a proof and not a matter of rounding
errors. P and Q are the cases of a class and of all others; FN and FP its missed cases and false alarms.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from covidct.errors import DataRefused

METRICS = ("accuracy", "sensitivity", "specificity", "ppv", "npv")
"""The counting figures of a class against the rest that can be audited."""

ROUNDINGS = {"round": "rounded to the nearest", "trunc": "truncated", "ceil": "rounded up"}
"""Ways to print a number with few decimals, in words."""

UNDEFINED = ("–", "-", "—", "n/a")
"""Texts that say that a figure has no value (0 of 0)."""

_NUMBER = re.compile(r"([<>]?)\s*(\d+(?:\.(\d*))?)\s*%?")


class Bounds(NamedTuple):
    """A range of fractions; an open end does not belong to it. None, None: the figure is undefined (0 of 0)."""

    low: Fraction | None
    high: Fraction | None
    low_open: bool = False
    high_open: bool = False


@dataclass(frozen=True)
class Printed:
    """A figure as printed.

    Args:
        text: As printed.
        value: The fraction it stands for, in 0..1; None if it is printed as undefined.
        unit: One unit of its last decimal, as a fraction.
        sign: ">" or "<" where printed so, else "".
    """

    text: str
    value: Fraction | None
    unit: Fraction
    sign: str = ""

    @classmethod
    def read(cls, text: str, *, percent: bool = True) -> Printed:
        """Read a figure such as "99.20" (its decimals count), ">99.9" or "–".

        Raises:
            DataRefused: It is no number, or outside 0..100 % (0..1 for fractions).
        """
        text = text.strip()
        scale = 100 if percent else 1
        if text in UNDEFINED:
            return cls(text, None, Fraction(0))
        match = _NUMBER.fullmatch(text)
        if match is None:
            raise DataRefused(f"{text!r} is no printed figure", remedy='write it as printed, in quotes: "99.2"')
        sign, number, decimals = match.groups()
        value = Fraction(number) / scale
        if value > 1:
            raise DataRefused(f"{text!r} is above {scale}", remedy="scale: percent or scale: fraction")
        return cls(text, value, Fraction(1, scale * 10 ** len(decimals or "")), sign)

    def bounds(self, rounding: str) -> Bounds:
        """What the true fraction may be.

        Args:
            rounding: "round" (half a unit either way, both ends: ties may go up, down or to even), "trunc" or "ceil".
        """
        if self.value is None:
            return Bounds(None, None)
        if self.sign == ">":
            return Bounds(self.value, Fraction(1), low_open=True)
        if self.sign == "<":
            return Bounds(Fraction(0), self.value, high_open=True)
        if rounding == "trunc":
            return _inside(self.value, self.value + self.unit, high_open=True)
        if rounding == "ceil":
            return _inside(self.value - self.unit, self.value, low_open=True)
        return self.within(self.unit / 2)

    def within(self, half: Fraction) -> Bounds:
        """The printed value plus and minus `half` (a fraction; 0.05 points are 1/2000)."""
        if self.value is None or self.sign:
            return self.bounds("round")
        return _inside(self.value - half, self.value + half)


def _inside(low: Fraction, high: Fraction, *, low_open: bool = False, high_open: bool = False) -> Bounds:
    """Cut at 0 and 1, which are closed ends."""
    return Bounds(max(low, Fraction(0)), min(high, Fraction(1)), low_open and low >= 0, high_open and high <= 1)


class Inequality(NamedTuple):
    """p * P + q * Q + fn * FN + fp * FP <= limit, in whole numbers."""

    p: int
    q: int
    fn: int
    fp: int
    limit: int


class _Form(NamedTuple):
    """A count as a sum of P, Q, FN and FP."""

    p: int
    q: int
    fn: int
    fp: int


_RATIOS: Mapping[str, tuple[_Form, _Form]] = {
    "accuracy": (_Form(1, 1, -1, -1), _Form(1, 1, 0, 0)),
    "sensitivity": (_Form(1, 0, -1, 0), _Form(1, 0, 0, 0)),
    "specificity": (_Form(0, 1, 0, -1), _Form(0, 1, 0, 0)),
    "ppv": (_Form(1, 0, -1, 0), _Form(1, 0, -1, 1)),
    "npv": (_Form(0, 1, 0, -1), _Form(0, 1, 1, -1)),
}
"""Numerator and denominator of each figure: PPV is (P - FN) / (P - FN + FP)."""


def inequalities(metric: str, bounds: Bounds) -> list[Inequality]:
    """What bounds on a figure say of FN and FP.

    PPV and NPV are ratios of two unknowns, but with their ends fixed each end is linear: b * TP >= a * (TP + FP).
    The last one says that a figure with a value has a denominator of at least 1.
    """
    top, bottom = _RATIOS[metric]
    if bounds.low is None or bounds.high is None:
        return [_scaled(bottom, 1, 0)]
    found = []
    for end, is_open, side in ((bounds.low, bounds.low_open, 1), (bounds.high, bounds.high_open, -1)):
        a, b = end.numerator, end.denominator
        form = _Form(*(a * d - b * n for n, d in zip(top, bottom, strict=True)))
        found.append(_scaled(form, side, -int(is_open)))
    return [*found, _scaled(bottom, -1, -1)]


def _scaled(form: _Form, factor: int, limit: int) -> Inequality:
    return Inequality(factor * form.p, factor * form.q, factor * form.fn, factor * form.fp, limit)


def figure(metric: str, positives: int, negatives: int, fn: int, fp: int) -> Fraction | None:
    """The exact value of a figure; None for 0 of 0."""
    top, bottom = _RATIOS[metric]
    whole = sum(c * x for c, x in zip(bottom, (positives, negatives, fn, fp), strict=True))
    part = sum(c * x for c, x in zip(top, (positives, negatives, fn, fp), strict=True))
    return Fraction(part, whole) if whole else None
