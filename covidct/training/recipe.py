"""A recipe: the list of phases training goes through, read from plain values and checked before anything starts."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from covidct.errors import UsageError
from covidct.training.plateau import direction

OPTIMIZERS: dict[str, tuple[Callable[..., torch.optim.Optimizer], tuple[str, ...]]] = {
    "adam": (torch.optim.Adam, ("betas", "eps", "weight_decay", "amsgrad")),
    "adamw": (torch.optim.AdamW, ("betas", "eps", "weight_decay", "amsgrad")),
    "nadam": (torch.optim.NAdam, ("betas", "eps", "weight_decay", "momentum_decay")),
    "radam": (torch.optim.RAdam, ("betas", "eps", "weight_decay")),
    "rmsprop": (torch.optim.RMSprop, ("alpha", "eps", "weight_decay", "momentum", "centered")),
    "sgd": (torch.optim.SGD, ("momentum", "dampening", "weight_decay", "nesterov")),
}
"""Name -> torch class and the options that may be given."""

SCHEDULERS: dict[str, dict[str, Any]] = {
    "cosine": {"epochs": None, "final_fraction": 0.0},
    "warmup_cosine": {"warmup_epochs": 3, "epochs": None, "final_fraction": 0.0},
    "step": {"every": 10, "factor": 0.1},
    "plateau": {"monitor": "val_loss", "patience": 5, "factor": 0.1, "min_delta": 0.0},
}
"""Name -> options and their defaults. All act once an epoch; `epochs` is by default what the phase has."""

PLATEAU = {"monitor": "val_loss", "patience": 5, "min_delta": 0.0}
"""Options of `plateau`, the end of a phase at which a figure no longer improves, and their defaults."""


@dataclass(frozen=True)
class Phase:
    """One stretch of training.

    Args:
        optimizer: A name of `OPTIMIZERS`.
        lr: Learning rate at full height, > 0.
        options: Further arguments of the optimizer, plain values ({"momentum": 0.9}).
        scheduler: None for a constant rate, or {"name": ..., options of `SCHEDULERS`}, complete.
        epochs: At most so many epochs; None when open-ended.
        plateau: The phase also ends when a figure has not improved for some epochs: {"monitor", "patience",
            "min_delta"}, complete; or None.
    """

    optimizer: str
    lr: float
    options: dict[str, Any] = field(default_factory=dict)
    scheduler: dict[str, Any] | None = None
    epochs: int | None = None
    plateau: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for checkpoints and reports."""
        return asdict(self)


def parse_phases(values: Sequence[Mapping[str, Any]], max_epochs: int | None = None) -> tuple[Phase, ...]:
    """Read a recipe: a list of mappings with `optimizer`, `lr`, options of the optimizer, `scheduler`, `epochs`,
    `plateau`.

    Args:
        values: Plain values, as Hydra composes them. Only the last phase may be open-ended.
        max_epochs: The longest the whole run may take; gives an open-ended phase's cosine its length.

    Raises:
        UsageError: Unknown names, values out of range, or a phase that would never end.
    """
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise UsageError(
            "a recipe needs a list of one or more phases", where="recipe.phases", remedy="[{optimizer: adam, lr: 1e-4}]"
        )
    phases = []
    passed: int | None = 0  # epochs before this phase, None where a plateau decides
    for number, value in enumerate(values):
        where = f"recipe.phases[{number}]"
        left = max_epochs - passed if max_epochs is not None and passed is not None else None
        phase = _parse(value, where, left)
        if number < len(values) - 1 and phase.epochs is None and phase.plateau is None:
            raise UsageError(
                "only the last phase may be open-ended", where=where, remedy="give it epochs: N or plateau: {...}"
            )
        phases.append(phase)
        passed = None if passed is None or phase.epochs is None or phase.plateau else passed + phase.epochs
    return tuple(phases)


def _parse(value: Mapping[str, Any], where: str, left: int | None) -> Phase:
    if not isinstance(value, Mapping):
        raise UsageError(f"a phase is a section of keys, not {value!r}", where=where)
    name = value.get("optimizer")
    if not isinstance(name, str) or name not in OPTIMIZERS:
        raise UsageError(f"unknown optimizer {name!r}", where=f"{where}.optimizer", remedy=_near(name, OPTIMIZERS))
    cls, allowed = OPTIMIZERS[name]
    own = ("optimizer", "lr", "scheduler", "epochs", "plateau")
    for key in value:
        if key not in own and key not in allowed:
            raise UsageError(f"{name} has no option {key!r}", where=where, remedy=_near(key, [*own, *allowed]))
    lr = _number(value.get("lr"), f"{where}.lr", above=0)
    options = {key: _plain(value[key]) for key in allowed if key in value}
    try:  # torch checks the ranges, and that nesterov has a momentum
        made = cls([torch.nn.Parameter(torch.zeros(1))], lr=lr, **options)
        made.param_groups[0]["params"][0].grad = torch.ones(1)
        made.step()
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name} refuses its options: {error}", where=where) from None
    epochs = value.get("epochs")
    if epochs is not None:
        epochs = _whole(epochs, f"{where}.epochs")
    plateau = value.get("plateau")
    if plateau is not None:
        plateau = _section(plateau, PLATEAU, f"{where}.plateau")
        direction(plateau["monitor"])
        _whole(plateau["patience"], f"{where}.plateau.patience")
        _number(plateau["min_delta"], f"{where}.plateau.min_delta", least=0)
    scheduler = value.get("scheduler")
    if scheduler is not None:
        scheduler = _scheduler(scheduler, epochs or left, f"{where}.scheduler")
    return Phase(name, lr, options, scheduler, epochs, plateau)


def _scheduler(value: Any, epochs: int | None, where: str) -> dict[str, Any]:
    value = {"name": value} if isinstance(value, str) else value
    name = value.get("name") if isinstance(value, Mapping) else None
    if not isinstance(name, str) or name not in SCHEDULERS:
        raise UsageError(f"unknown scheduler {name!r}", where=where, remedy=_near(name, SCHEDULERS))
    chosen = _section({k: v for k, v in value.items() if k != "name"}, SCHEDULERS[name], where)
    if "epochs" in chosen:
        chosen["epochs"] = epochs if chosen["epochs"] is None else _whole(chosen["epochs"], f"{where}.epochs")
        if chosen["epochs"] is None:
            raise UsageError(f"{name} needs to know its length", where=where, remedy="give the phase or it epochs: N")
        _number(chosen["final_fraction"], f"{where}.final_fraction", least=0, most=1)
    if "warmup_epochs" in chosen and _whole(chosen["warmup_epochs"], f"{where}.warmup_epochs") >= chosen["epochs"]:
        raise UsageError("the warm-up is as long as the whole schedule", where=where, remedy="shorten warmup_epochs")
    if "factor" in chosen:
        _number(chosen["factor"], f"{where}.factor", above=0, most=1)
    if "every" in chosen:
        _whole(chosen["every"], f"{where}.every")
    if name == "plateau":
        direction(chosen["monitor"])
        _whole(chosen["patience"], f"{where}.patience")
        _number(chosen["min_delta"], f"{where}.min_delta", least=0)
    return {"name": name, **chosen}


def _section(value: Any, defaults: Mapping[str, Any], where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"a section of keys is expected, not {value!r}", where=where)
    for key in value:
        if key not in defaults:
            raise UsageError(f"unknown key {key!r}", where=where, remedy=_near(key, defaults))
    return {**defaults, **{key: _plain(item) for key, item in value.items()}}


def _near(name: object, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(name), list(known), n=2)
    return f"did you mean {' or '.join(close)}?" if close else f"use one of {sorted(known)}"


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _number(
    value: Any, where: str, *, above: float | None = None, least: float | None = None, most: float | None = None
) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        hint = "write 1.0e-4: YAML takes 1e-4 for text" if isinstance(value, str) else None
        raise UsageError(f"a number is expected, not {value!r}", where=where, remedy=hint)
    if (above is not None and value <= above) or (least is not None and value < least):
        raise UsageError(f"{value} is too small", where=where)
    if most is not None and value > most:
        raise UsageError(f"{value} is larger than {most}", where=where)
    return float(value)


def _whole(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"a whole number of 1 or more is expected, not {value!r}", where=where)
    return value


def total_epochs(phases: Sequence[Phase]) -> int | None:
    """The most epochs a recipe can take; None when its last phase, or one that ends on a plateau, is open-ended."""
    lengths = [phase.epochs for phase in phases]
    return None if None in lengths else sum(length for length in lengths if length is not None)


def rate_factor(scheduler: Mapping[str, Any]) -> Callable[[int], float]:
    """The schedule as a function: epoch of the phase, from 0 -> what the phase's learning rate is multiplied by."""
    name = scheduler["name"]
    if name == "step":
        return lambda epoch: float(scheduler["factor"] ** (epoch // scheduler["every"]))
    warmup = scheduler.get("warmup_epochs", 0)
    length = scheduler["epochs"] - warmup
    final = scheduler["final_fraction"]

    def factor(epoch: int) -> float:
        if epoch < warmup:
            return float((epoch + 1) / (warmup + 1))
        done = min(epoch - warmup, length) / length
        return float(final + (1 - final) * 0.5 * (1 + math.cos(math.pi * done)))

    return factor
