"""A patient rule as a value: its name and parameters, as they stand in a frozen file and in a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from covidct.errors import UsageError
from covidct.evaluation import rules
from covidct.evaluation.patient_slices import PatientSlices
from covidct.labels import ClassScheme

RULES: dict[str, Callable[..., rules.Calls]] = {
    "any_slice": rules.any_slice,
    "k_of_n": rules.k_of_n,
    "mean_probability": rules.mean_probability,
    "top_k": rules.top_k,
    "noisy_or": rules.noisy_or,
}
PARAMETERS: dict[str, tuple[str, ...]] = {
    "any_slice": ("slice_threshold", "min_run", "tie"),
    "k_of_n": ("count", "share", "slice_threshold", "tie"),
    "mean_probability": ("threshold",),
    "top_k": ("k", "threshold"),
    "noisy_or": ("threshold",),
}
"""The only rules and parameters that a file may name."""

COUNTING = ("any_slice", "k_of_n")
"""Rules that call slices: they need a class that means normal, and may end in a conflict."""


@dataclass(frozen=True)
class RuleSpec:
    """A rule of `covidct.evaluation.rules` with its parameters.

    Args:
        name: One of `RULES`.
        parameters: Plain numbers and words; one that is left out has the rule's own default.

    Raises:
        UsageError: An unknown rule or parameter, or a value out of range.
    """

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in RULES:
            raise UsageError(f"unknown patient rule {self.name!r}", remedy=f"use one of {list(RULES)}")
        if unknown := sorted(set(self.parameters) - set(PARAMETERS[self.name])):
            raise UsageError(
                f"the rule {self.name} has no parameter {', '.join(unknown)}",
                remedy=f"it has {list(PARAMETERS[self.name])}",
            )
        for name, value in self.parameters.items():
            whole, share = name in ("min_run", "count", "k"), name in ("slice_threshold", "threshold", "share")
            if value is None and not whole:
                continue
            fits = isinstance(value, int) if whole else isinstance(value, int | float) if share else value in rules.TIES
            if isinstance(value, bool) or not fits or (whole and value < 1) or (share and not 0 <= value <= 1):
                raise UsageError(f"{name} of the rule {self.name} may not be {value!r}")
        if self.name == "k_of_n" and (self._get("count") is None) == (self._get("share") is None):
            raise UsageError("k_of_n needs either count or share")
        if self.name == "top_k" and self._get("k") is None:
            raise UsageError("top_k needs k")

    @classmethod
    def from_dict(cls, value: Any) -> Self:
        """The inverse of `as_dict`.

        Raises:
            UsageError: It is no rule, or one that is not known.
        """
        if not isinstance(value, Mapping) or set(value) != {"name", "parameters"}:
            raise UsageError(f"a patient rule is a name and parameters, not {value!r}")
        if not isinstance(value["parameters"], Mapping):
            raise UsageError(f"the parameters of a patient rule are names with values, not {value['parameters']!r}")
        return cls(str(value["name"]), dict(value["parameters"]))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"name": self.name, "parameters": dict(self.parameters)}

    def __call__(self, slices: PatientSlices, scheme: ClassScheme) -> rules.Calls:
        """Apply the rule."""
        return RULES[self.name](slices, scheme, **self.parameters)

    @property
    def may_conflict(self) -> bool:
        """Whether two diseases in one patient are an outcome of its own."""
        return self.name in COUNTING and self._get("tie", "conflict") == "conflict"

    def words(self) -> str:
        """The rule as a phrase: "at least 3 slices that show it"."""
        text = {
            "any_slice": self._any_slice_words,
            "k_of_n": self._k_of_n_words,
            "mean_probability": lambda: "mean probability of the slices",
            "top_k": lambda: f"mean of the {self._get('k')} most suspicious slices",
            "noisy_or": lambda: "noisy-or of the slices",
        }[self.name]()
        if (threshold := self._get("threshold")) is not None:
            text += f", ill from {threshold:g} on"
        if (threshold := self._get("slice_threshold")) is not None:
            text += f" with a probability of {threshold:g} or more"
        if self._get("tie") == "most_slices":
            text += "; of two diseases the one with more slices"
        return text

    def _any_slice_words(self) -> str:
        run = self._get("min_run", 1)
        return "ill if any slice is" if run == 1 else f"ill if {run} consecutive slices are"

    def _k_of_n_words(self) -> str:
        count, share = self._get("count"), self._get("share")
        return f"ill if {count} slices are" if count is not None else f"ill if {100 * share:g} % of the slices are"

    def _get(self, name: str, default: Any = None) -> Any:
        return self.parameters.get(name, default)


PAPER = RuleSpec("any_slice")
"""Fu et al. 2020, lines 150-156."""

MEAN = RuleSpec("mean_probability")
