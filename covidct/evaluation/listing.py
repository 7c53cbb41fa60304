"""A list of runs: which of them, in which order, with which columns, and the best of them by validation."""

from __future__ import annotations

import fnmatch
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from covidct.errors import DataRefused, UsageError
from covidct.evaluation.catalogue import LEVELS, CataloguedRun

COLUMNS = ("folder", "arm", "repeat", "seed", "state", "best", "epochs", "seconds")
"""What a list shows unless it is told otherwise."""

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_CONDITION = re.compile(r"\s*([^<>=!]+?)\s*(<=|>=|!=|==|=|<|>)\s*(.*?)\s*")
_NOTHING = ("none", "null", "")


@dataclass(frozen=True)
class Condition:
    """One condition on a run.

    Args:
        key: A word of `CataloguedRun.value`.
        sign: "=", "!=", "<", "<=", ">" or ">=".
        wanted: What to compare with: for "=" and "!=" alternatives with |, where text may hold * and ?, and "none" is
            what is absent; else a number.
    """

    key: str
    sign: str
    wanted: str

    def holds(self, run: CataloguedRun) -> bool:
        """Whether the run meets the condition; what is absent is neither larger nor smaller than anything."""
        value = run.value(self.key)
        if self.sign in ("=", "!="):
            return any(_is(value, word.strip()) for word in self.wanted.split("|")) == (self.sign == "=")
        number = _number(value)
        return number is not None and _COMPARISONS[self.sign](number, float(self.wanted))


def parse_condition(text: str) -> Condition:
    """Read "arm=adam", "split.repeat<3", "state!=failed".

    Raises:
        UsageError: It is no condition, or compares with something that is no number.
    """
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise UsageError(
            f"{text!r} is no condition", where="filter", remedy='write "filter=[arm=adam,split.repeat<3]", in quotes'
        )
    key, sign, wanted = found.groups()
    if sign in _COMPARISONS and _number(wanted) is None:
        raise UsageError(f"{sign} compares with a number, not with {wanted!r}", where=f"filter: {text}")
    return Condition(key, "=" if sign == "==" else sign, wanted)


def chosen(runs: Sequence[CataloguedRun], conditions: Sequence[str]) -> list[CataloguedRun]:
    """The runs that meet every condition, in their order."""
    parsed = [parse_condition(text) for text in conditions]
    return [run for run in runs if all(condition.holds(run) for condition in parsed)]


def ordered(runs: Sequence[CataloguedRun], keys: Sequence[str]) -> list[CataloguedRun]:
    """The runs by the first key, then by the next; a minus turns a key around, what is absent comes last."""
    result = list(runs)
    for word in reversed(keys):
        key, is_turned = word.removeprefix("-"), word.startswith("-")
        ranks = {id(run): rank for run in result if (rank := _rank(run, key)) is not None}
        present = sorted((run for run in result if id(run) in ranks), key=lambda run: ranks[id(run)], reverse=is_turned)
        result = [*present, *(run for run in result if id(run) not in ranks)]
    return result


def column_names(asked: Sequence[str] | None) -> list[str]:
    """The columns of a list: those asked for, or the usual ones with those that were asked for with a plus."""
    words = [str(word) for word in asked or []]
    added = [word[1:] for word in words if word.startswith("+")]
    return list(dict.fromkeys([*(COLUMNS if added or not words else ()), *added, *(w for w in words if w[:1] != "+")]))


def best_run(runs: Sequence[CataloguedRun], by: str, *, allow_test: bool = False) -> list[tuple[CataloguedRun, float]]:
    """The runs that have a figure, the best first; of equals the first stays first.

    Args:
        runs: The candidates.
        by: A validation figure ("val.patient.macro_auc") or one by which training kept its best epoch
            ("best.val_loss"). Of losses the smallest is best, of all others the largest.
        allow_test: Choose by a test figure all the same.

    Raises:
        UsageError: The figure is none of validation.
        DataRefused: No run has the figure.
    """
    kind, *rest = by.split(".")
    if kind == "test" and not allow_test:
        raise UsageError(
            "choosing a run by a test figure turns the test set into a validation set: the figure of the chosen run is "
            "then the luckiest of many and says nothing about new patients",
            where=f"by={by}",
            remedy=f"choose by {'.'.join(['val', *[word for word in rest if not word.startswith('site')]])}, then "
            "evaluate the one you chose; or say allow_test=true",
        )
    is_figure = kind in ("val", "test") and any(level in rest for level in LEVELS)
    if not is_figure and not (kind == "best" and len(rest) == 1 and not rest[0].startswith("train")):
        raise UsageError(
            f"{by!r} is no validation figure", where="by", remedy="write val.patient.macro_auc or best.val_loss"
        )
    scored = [(run, number) for run in runs if (number := _number(run.value(by))) is not None]
    if not scored:
        raise DataRefused(f"none of {len(runs)} run(s) has the figure {by}", remedy="see covidct runs ls")
    return sorted(scored, key=lambda pair: pair[1], reverse="loss" not in by.rpartition(".")[2])


def text_of(value: Any) -> str:
    """A value for a table: figures with four digits, absent as a dash."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4f}" if 0.01 <= abs(value) < 10 else f"{value:.5g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {text_of(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ",".join(text_of(item) for item in value)
    return str(value)


def _number(value: Any) -> float | None:
    """A finite number, or None. Truth values are none; text is one when it reads as one."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _is(value: Any, wanted: str) -> bool:
    if value is None:
        return wanted.lower() in _NOTHING
    if isinstance(value, bool):
        return wanted.lower() in (("true", "yes") if value else ("false", "no"))
    mine, theirs = _number(value), _number(wanted)
    if mine is not None and theirs is not None:
        return mine == theirs
    return fnmatch.fnmatchcase(text_of(value), wanted)


def _rank(run: CataloguedRun, key: str) -> tuple[int, float, str] | None:
    value = run.value(key)
    if isinstance(value, Mapping) and len(value) == 1:  # "best": {figure: value}
        [value] = value.values()
    if value is None:
        return None
    number = _number(value)
    return (1, 0.0, str(value)) if number is None else (0, number, "")
