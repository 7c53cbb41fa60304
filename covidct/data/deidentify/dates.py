"""Dates and times moved by one interval, so that what lies between two of them stays."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_DT = re.compile(r"(\d{4})(\d{2})?(\d{2})?(\d{2})?(\d{2})?(\d{2})?(?:\.(\d{1,6}))?([+-]\d{4})?")
_TM = re.compile(r"(\d{2})(\d{2})?(\d{2})?(?:\.(\d{1,6}))?")


def shifted_date(date: str, time: str | None, seconds: int) -> str:
    """A DA value moved; with its TM the pair moves as one moment, without it by whole days. "" where it is malformed.

    Args:
        date: YYYYMMDD, or YYYY.MM.DD of the standard before 1993 (PS3.5 6.2).
        time: HHMMSS.FFFFFF, as short as TM may be, or None.
        seconds: The interval.
    """
    moment = _moment(date, time)
    if moment is None:
        return ""
    if time is None:
        seconds = seconds // 86400 * 86400
    return _safe(moment, seconds, "%Y%m%d")


def shifted_time(time: str, date: str | None, seconds: int) -> str:
    """A TM value moved, to the whole second; around the clock where it has no date. "" where it is malformed."""
    moment = _moment(date or "20000101", time)
    if moment is None or not time:
        return ""
    return _safe(moment, seconds, "%H%M%S")


def shifted_datetime(value: str, seconds: int) -> str:
    """A DT value moved, to the whole second and without its time zone; a bare year or month becomes "" ."""
    match = _DT.fullmatch(value.strip())
    if match is None or match[3] is None:
        return ""
    time = "".join(part or "" for part in match.groups()[3:6])
    moved = _moment("".join(match.groups()[:3]), time or None)
    if moved is None:
        return ""
    return _safe(moved, seconds, "%Y%m%d%H%M%S" if time else "%Y%m%d")


def _moment(date: str, time: str | None) -> datetime | None:
    digits = date.strip().replace(".", "").replace("-", "")
    match = _TM.fullmatch(time.strip().replace(":", "")) if time else None
    if len(digits) != 8 or not digits.isascii() or not digits.isdigit() or (time and match is None):
        return None
    hour, minute, second = (int(part or 0) for part in match.groups()[:3]) if match else (0, 0, 0)
    try:
        # second 60 is a leap second (PS3.5 6.2)
        return datetime(int(digits[:4]), int(digits[4:6]), int(digits[6:]), hour, minute, min(second, 59))
    except ValueError:
        return None


def _safe(moment: datetime, seconds: int, form: str) -> str:
    try:
        moved = moment + timedelta(seconds=seconds)
    except OverflowError:
        return ""
    return "" if moved.year < 1000 else moved.strftime(form)
