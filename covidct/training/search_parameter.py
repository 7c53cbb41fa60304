"""A key that a search varies, and the values it takes, as they are kept and as they are typed."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from covidct.errors import UsageError

if TYPE_CHECKING:
    import optuna

Scalar = str | int | float | bool

KINDS = {
    "float": ("low", "high", "step"),
    "log_float": ("low", "high"),
    "int": ("low", "high", "step"),
    "log_int": ("low", "high"),
    "choice": ("values",),
}
"""Kind of a parameter and its options."""

FIXED = {
    "seed": "choosing among seeds is choosing luck",
    "split": "trials on different validation parts cannot be compared",
    "data.source": "trials on different data cannot be compared",
    "data.root": "trials on different data cannot be compared",
    "data.index": "trials on different data cannot be compared",
    "data.labels": "trials on different data cannot be compared",
    "data.classes": "trials with different classes cannot be compared",
    "data": "trials on different data cannot be compared; vary keys below it, such as data.windows",
    "experiment": "it sets data and split too; vary recipe, model or keys below them",
    "profile": "it is what the report says of the method",
    "name": "it names the study",
    "arm": "it is a name",
    "runs": "it is a folder",
    "logger": "it does not change a result",
    "features": "it does not change a result",
    "allow_drift": "it does not change a result",
    "recipe.name": "it is a name",
    "trainer.accelerator": "it does not change a result",
    "trainer.devices": "a trial trains on one device",
    "trainer.num_nodes": "a trial trains on one device",
    "trainer.strategy": "a trial trains on one device",
    "search": "a search cannot search itself",
}
"""Keys of `covidct train` that no search varies, and why."""


@dataclass(frozen=True)
class Parameter:
    """One key that is varied.

    Args:
        key: As it is typed for `covidct train`: `recipe.phases.0.lr`, or a group such as `recipe`.
        kind: A name of `KINDS`.
        low: Smallest value of a number.
        high: Largest.
        step: Distance of the values, None for any.
        options: Of a choice: value as a search keeps it -> as it is typed.
    """

    key: str
    kind: str
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    options: Mapping[Scalar, str] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether its values are whole numbers."""
        return self.kind in ("int", "log_int")

    @property
    def is_log(self) -> bool:
        """Whether it is drawn evenly in the logarithm."""
        return self.kind.startswith("log_")

    def suggest(self, trial: optuna.trial.Trial) -> Scalar:
        """The value of a trial."""
        if self.kind == "choice":
            chosen = trial.suggest_categorical(self.key, list(self.options))
            assert chosen is not None  # null is kept as its text
            return chosen
        if self.is_whole:
            low, high, step = int(self.low), int(self.high), int(self.step or 1)
            return trial.suggest_int(self.key, low, high, step=step, log=self.is_log)
        return trial.suggest_float(self.key, self.low, self.high, step=self.step, log=self.is_log)

    def word(self, value: Scalar) -> str:
        """`key=value`, as it is typed."""
        if self.kind == "choice":
            return f"{self.key}={self.options[value]}"
        # steps add up to 0.30000000000000004
        shown: Scalar = float(f"{value:.12g}") if isinstance(value, float) and self.step else value
        return f"{self.key}={shown!r}"

    def holds(self, value: Any) -> bool:
        """Whether a value lies in the space."""
        if self.kind == "choice":
            return as_kept(value) in self.options
        if isinstance(value, bool) or not isinstance(value, int | float) or (self.is_whole and value != int(value)):
            return False
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        on_step = math.isclose(steps, round(steps), abs_tol=1e-9)
        return self.low <= value <= self.high and on_step

    def ends(self) -> list[Scalar]:
        """All values of a choice, the smallest and the largest of a number."""
        if self.kind == "choice":
            return list(self.options)
        return [int(self.low), int(self.high)] if self.is_whole else [self.low, self.high]

    def values(self) -> list[Scalar] | None:
        """Every value, for a grid; None when there are too many to count."""
        if self.kind == "choice":
            return list(self.options)
        if self.kind == "int":
            return list(range(int(self.low), int(self.high) + 1, int(self.step or 1)))
        if self.kind == "float" and self.step:
            return [self.low + i * self.step for i in range(round((self.high - self.low) / self.step) + 1)]
        return None


def read_parameter(key: str, options: Any) -> Parameter:
    """Read a parameter from plain values.

    Raises:
        UsageError: No search varies the key, or kind or range make no sense.
    """
    where = f"search.parameters.{key}"
    plain_key = key.lstrip("+")
    for fixed, why in FIXED.items():
        if plain_key == fixed or (plain_key.startswith(f"{fixed}.") and fixed != "data"):
            raise UsageError(f"{plain_key} cannot be searched: {why}", where=where)
    if not isinstance(options, Mapping) or options.get("kind") not in KINDS:
        kind = options.get("kind") if isinstance(options, Mapping) else options
        raise UsageError(f"unknown kind {kind!r}", where=where, remedy=f"kind: {' | '.join(KINDS)}")
    kind = str(options["kind"])
    only(options, ("kind", *KINDS[kind]), where)
    if kind == "choice":
        values = options.get("values")
        if not isinstance(values, Sequence) or isinstance(values, str) or not values:
            raise UsageError("a choice needs a list of values", where=where, remedy="values: [a, b]")
        typed = {as_kept(value): as_typed(value) for value in values}
        if len(typed) != len(values):
            raise UsageError("a value stands twice among the choices", where=where)
        return Parameter(key, kind, options=typed)
    low, high, step = (options.get(name) for name in ("low", "high", "step"))
    whole = kind.endswith("int")
    for name, value in (("low", low), ("high", high), ("step", step)):
        right = isinstance(value, int) if whole else isinstance(value, int | float) and math.isfinite(value)
        if isinstance(value, bool) or not (right or (name == "step" and value is None)):
            wanted = "a whole number" if whole else "a number"
            hint = "write 1.0e-4: YAML takes 1e-4 for text" if isinstance(value, str) else None
            raise UsageError(f"{name} must be {wanted}, not {value!r}", where=where, remedy=hint)
    assert isinstance(low, int | float)
    assert isinstance(high, int | float)
    if not low < high or (kind.startswith("log_") and low <= 0) or (step is not None and not 0 < step <= high - low):
        raise UsageError(f"no range: low {low}, high {high}, step {step}", where=where)
    if step is not None:
        high = low + math.floor((high - low) / step + 1e-9) * step
    return Parameter(key, kind, low if whole else float(low), high if whole else float(high), step)


def as_kept(value: Any) -> Scalar:
    """A choice as a search keeps it: a plain value as it is, a list, section or null as its typed text."""
    return value if isinstance(value, str | int | float | bool) else as_typed(value)


def as_typed(value: Any) -> str:
    """A value as it is typed behind `key=`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {as_typed(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(as_typed(item) for item in value) + "]"
    text = str(value)
    if re.fullmatch(r"[A-Za-z_/][\w./+-]*", text) and text.lower() not in ("null", "true", "false", "nan", "inf"):
        return text
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def only(values: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """Raises `UsageError` for a key that is not known, with the nearest that is."""
    known = list(known)
    for key in values:
        if key not in known:
            raise UsageError(f"unknown key {key!r}", where=where, remedy=nearest(str(key), known))


def nearest(name: str, known: Sequence[str]) -> str:
    """What was probably meant, as a remedy."""
    close = difflib.get_close_matches(name, known, n=2)
    return f"did you mean {' or '.join(close)}?" if close else f"one of {', '.join(known)}"
