"""A search space as the sweep file of Weights & Biases, whose agents call `covidct train`.

W&B chooses the values and starts the command; each of its runs is one of ours. What W&B cannot express is refused, not
bent: its sweeps have one metric, and its "grid" takes no ranges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from covidct.errors import UsageError
from covidct.training.search_parameter import Parameter, Scalar
from covidct.training.search_space import SearchSpace

METHODS = {"tpe": "bayes", "random": "random", "grid": "grid"}
"""Our sampler -> W&B's method."""

ARGUMENTS = "${args_no_hyphens}"
"""W&B's word for `key=value key=value`."""


def sweep_file(space: SearchSpace, words: Sequence[str], *, project: str, trials: int) -> dict[str, Any]:
    """The sweep as plain values.

    Args:
        space: What to search.
        words: The words of `covidct train` that all runs share.
        project: W&B's project, as the runs log to it.
        trials: W&B ends the sweep after so many runs.

    Raises:
        UsageError: Several objectives, which W&B does not have.
    """
    if len(space.objectives) > 1:
        raise UsageError(
            f"a W&B sweep has one metric, the space {space.name} has {len(space.objectives)} objectives",
            where="search.objectives",
            remedy="use `covidct search`, or a space with one objective",
        )
    sweep: dict[str, Any] = {
        "name": space.name,
        "project": project,
        "method": METHODS[space.sampler],
        "metric": {
            "name": space.figure,
            "goal": "minimize" if space.objectives[space.figure] == "min" else "maximize",
        },
        "run_cap": trials,
        "command": ["covidct", "train", *words, ARGUMENTS],
        "parameters": {p.key: _range(p, grid=space.sampler == "grid") for p in space.parameters},
    }
    if space.pruner != "none":
        sweep["early_terminate"] = {"type": "hyperband", "min_iter": max(1, space.warmup_epochs), "eta": 2}
    return sweep


def _range(parameter: Parameter, *, grid: bool) -> dict[str, Any]:
    """A parameter in W&B's words. Values of a choice that are no plain values are their typed text."""
    if parameter.kind == "choice":
        return {"values": [_plain(value, text) for value, text in parameter.options.items()]}
    if grid:
        return {"values": list(parameter.values() or [])}
    shape = {
        "float": "uniform",
        "int": "int_uniform",
        "log_float": "log_uniform_values",
        "log_int": "q_log_uniform_values",
    }[parameter.kind]
    if parameter.step is not None and parameter.step != 1:
        shape = "q_uniform"
    found: dict[str, Any] = {"distribution": shape, "min": parameter.ends()[0], "max": parameter.ends()[1]}
    if shape.startswith("q_"):
        found["q"] = parameter.step or 1
    return found


def _plain(value: Scalar, typed: str) -> Scalar:
    """W&B writes a value as Python does, so text that our command line would misread is kept as it is typed."""
    return typed if isinstance(value, str) else value


def agent_words(sweep: Mapping[str, Any], values: Mapping[str, Scalar]) -> list[str]:
    """The words behind `covidct` that an agent calls for sampled values, as W&B's own agent forms them."""
    filled = [f"{key}={value}" for key, value in values.items()]
    words: list[str] = []
    for word in sweep["command"][1:]:
        words += filled if word == ARGUMENTS else [word]
    return words


def sampled(sweep: Mapping[str, Any]) -> list[dict[str, Scalar]]:
    """Values that an agent could be given: the first and the last of every parameter."""
    options = {
        key: found["values"] if "values" in found else [found["min"], found["max"]]
        for key, found in sweep["parameters"].items()
    }
    return [{key: values[place] for key, values in options.items()} for place in (0, -1)]
