"""What differs between two runs: settings, data, weights, code, packages and figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from covidct.evaluation.catalogue import NATURAL_AGGREGATION, POOLED, CataloguedRun

SECTIONS = ("settings", "data", "weights", "code", "packages", "figures")
MEASURES = ("accuracy", "macro_auc", "macro_sensitivity")


@dataclass(frozen=True)
class Difference:
    """One fact that two runs do not share.

    Args:
        section: One of `SECTIONS`.
        key: A word of `CataloguedRun.value`, where there is one.
        first: Of the first run; None is absent.
        second: Of the second run.
    """

    section: str
    key: str
    first: Any
    second: Any

    @property
    def change(self) -> float | None:
        """Second minus first, of numbers."""
        numbers = (self.first, self.second)
        if any(isinstance(number, bool) or not isinstance(number, int | float) for number in numbers):
            return None
        return float(self.second) - float(self.first)


def differences(first: CataloguedRun, second: CataloguedRun) -> list[Difference]:
    """Every fact that differs, by section.

    Raises:
        DataRefused: A file of a run cannot be read.
    """
    found = []
    for section in SECTIONS:
        one, other = _facts(first, section), _facts(second, section)
        for key in dict.fromkeys([*one, *other]):
            if one.get(key) != other.get(key):
                found.append(Difference(section, key, one.get(key), other.get(key)))
    return found


def figure_words(run: CataloguedRun) -> list[str]:
    """The words of every overall figure of a run: "val.patient.macro_auc", "test.site_b.slice.accuracy", ..."""
    words = []
    for block in run.blocks:
        split, site, level, rule = (str(block[key]) for key in ("split", "site", "level", "aggregation"))
        is_only = len({other["site"] for other in run.blocks if other["split"] == split}) == 1
        place = [split, *([] if is_only or site == POOLED else [site]), level]
        place += [] if rule == NATURAL_AGGREGATION[level] else [rule]
        words += [".".join([*place, measure]) for measure in MEASURES if measure in block]
    return words


def _facts(run: CataloguedRun, section: str) -> dict[str, Any]:
    came_from, record = run.provenance, run.record
    if section == "settings":
        return dict(_leaves(run.config))
    if section == "data":
        return dict(_leaves({"digests": came_from.get("digests"), "classes": record.get("classes")}))
    if section == "weights":
        return dict(_leaves({"weights": record.get("weights")}))
    if section == "code":
        code = {**(record.get("code") or {}), **(came_from.get("code") or {})}
        return dict(_leaves({"code": code, "drift": record.get("drift") or None}))
    if section == "packages":
        return dict(_leaves({"environment": came_from.get("environment")}))
    words = ["state", "epochs", "best_epoch", "seconds", *(f"best.{name}" for name in record.get("best") or {})]
    return {word: run.value(word) for word in [*words, *figure_words(run)] if run.value(word) is not None}


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every end of nested mappings and lists with its dotted name; a list of plain values is one end."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value):
        for position, item in enumerate(value):
            yield from _leaves(item, f"{name}.{position}")
    elif value is not None:
        yield name, value
