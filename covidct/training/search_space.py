"""What a search may vary, what it looks for and how: a search space, read from plain values and checked at once.

A parameter is a key of `covidct train`, so a trial is a command line: the user's words and the trial's. The objective
is a figure of the validation part, or a cost; nothing of a test set can be named.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from covidct.errors import UsageError
from covidct.training.plateau import DIRECTIONS
from covidct.training.search_parameter import Parameter, Scalar, nearest, only, read_parameter

if TYPE_CHECKING:
    import optuna

FIGURES = {name: way for name, way in DIRECTIONS.items() if name.startswith("val_")}
"""Figures of the validation part that can be looked for, and which way each gets better."""

COSTS = {"seconds": "min", "epochs": "min", "trainable_parameters": "min"}
"""What a further objective can be besides a figure."""

SAMPLERS = ("tpe", "random", "grid")
PRUNERS = ("median", "halving", "none")


@dataclass(frozen=True)
class SearchSpace:
    """A search: parameters, objectives, and how trials are drawn and ended early.

    Args:
        name: What it is called.
        parameters: Keys that vary.
        objectives: Figure -> "min" or "max"; with more than one there is no best trial but a front.
        sampler: A name of `SAMPLERS`.
        startup_trials: So many trials are drawn at random before the sampler learns from them.
        seed: Of the sampler.
        pruner: A name of `PRUNERS`; "none" with several objectives.
        pruner_startup: So many trials are never ended early.
        warmup_epochs: No trial is ended before it has done so many epochs.
        notes: What was decided on reading, for people.
    """

    name: str
    parameters: tuple[Parameter, ...]
    objectives: Mapping[str, str]
    sampler: str
    startup_trials: int
    seed: int
    pruner: str
    pruner_startup: int
    warmup_epochs: int
    notes: tuple[str, ...] = ()

    @property
    def figure(self) -> str:
        """The first objective: a figure of the validation part."""
        return next(iter(self.objectives))

    def words(self, values: Mapping[str, Scalar]) -> list[str]:
        """The words of a trial, in the order of the space."""
        return [parameter.word(values[parameter.key]) for parameter in self.parameters if parameter.key in values]

    def suggest(self, trial: optuna.trial.Trial) -> dict[str, Scalar]:
        """The values of a trial."""
        return {parameter.key: parameter.suggest(trial) for parameter in self.parameters}

    def grid(self) -> list[dict[str, Scalar]]:
        """Every combination, for the sampler "grid"."""
        axes = [parameter.values() or [] for parameter in self.parameters]
        keys = [parameter.key for parameter in self.parameters]
        return [dict(zip(keys, point, strict=True)) for point in itertools.product(*axes)]


def read_space(values: Mapping[str, Any]) -> SearchSpace:
    """Read a space from plain values, as `conf/search/` has them.

    Raises:
        UsageError: Unknown names, ranges that make no sense, a key that no search varies, or an objective that is no
            figure of the validation part.
    """
    known = ("name", "parameters", "objectives", "sampler", "pruner", "trials")
    only(values, known, "search")
    parameters = values.get("parameters")
    if not isinstance(parameters, Mapping) or not parameters:
        raise UsageError("a search space needs parameters", where="search.parameters")
    sampler = _section(values, "sampler", {"kind": "tpe", "startup_trials": 10, "seed": 0})
    pruner = _section(values, "pruner", {"kind": "median", "startup_trials": 5, "warmup_epochs": 5})
    _one_of(sampler["kind"], SAMPLERS, "search.sampler.kind")
    _one_of(pruner["kind"], PRUNERS, "search.pruner.kind")
    objectives = _objectives(values.get("objectives"))
    notes = []
    if len(objectives) > 1 and pruner["kind"] != "none":
        pruner["kind"] = "none"
        notes.append("several objectives: no trial is ended early (Optuna prunes for one objective only)")
    space = SearchSpace(
        str(values.get("name") or "search"),
        tuple(read_parameter(str(key), options) for key, options in parameters.items()),
        objectives,
        sampler["kind"],
        _count(sampler["startup_trials"], "search.sampler.startup_trials"),
        _count(sampler["seed"], "search.sampler.seed"),
        pruner["kind"],
        _count(pruner["startup_trials"], "search.pruner.startup_trials"),
        _count(pruner["warmup_epochs"], "search.pruner.warmup_epochs"),
        tuple(notes),
    )
    if space.sampler == "grid":
        for parameter in space.parameters:
            if parameter.values() is None:
                raise UsageError(
                    f"a grid needs values that can be counted, {parameter.key} is a {parameter.kind}",
                    where="search.sampler.kind",
                    remedy="give it step, make it a choice, or use sampler tpe or random",
                )
    return space


def _objectives(given: Any) -> dict[str, str]:
    where = "search.objectives"
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise UsageError("a search needs one or more objectives", where=where, remedy="[{figure: val_loss}]")
    found: dict[str, str] = {}
    ways = {"minimize": "min", "min": "min", "maximize": "max", "max": "max"}
    for item in given:
        item = {"figure": item} if isinstance(item, str) else item
        if not isinstance(item, Mapping):
            raise UsageError(f"an objective is a figure and its direction, not {item!r}", where=where)
        only(item, ("figure", "direction"), where)
        name = str(item.get("figure"))
        if name.startswith("test"):
            raise UsageError(
                f"{name} cannot be an objective: a test set that was searched on is a test set no more",
                where=where,
                remedy=f"use {' or '.join(FIGURES)}",
            )
        way = (FIGURES if not found else {**FIGURES, **COSTS}).get(name)
        if way is None:
            why = "the first objective is a figure of the validation part" if name in COSTS else "unknown figure"
            raise UsageError(f"{why}: {name!r} cannot be it", where=where, remedy=nearest(name, [*FIGURES, *COSTS]))
        if "direction" in item and ways.get(str(item["direction"])) != way:
            raise UsageError(f"{name} is better when {'smaller' if way == 'min' else 'larger'}", where=where)
        if name in found:
            raise UsageError(f"{name} stands twice", where=where)
        found[name] = way
    return found


def _section(values: Mapping[str, Any], name: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    given = values.get(name) or {}
    given = {"kind": given} if isinstance(given, str) else given
    if not isinstance(given, Mapping):
        raise UsageError(f"a section of keys is expected, not {given!r}", where=f"search.{name}")
    only(given, defaults, f"search.{name}")
    return {**defaults, **given}


def _one_of(value: Any, known: Sequence[str], where: str) -> None:
    if value not in known:
        raise UsageError(f"unknown choice {value!r}", where=where, remedy=nearest(str(value), known))


def _count(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UsageError(f"a whole number of 0 or more is expected, not {value!r}", where=where)
    return value
