"""What a comparison is going to ask, written down before the answer is known.

A plan is a short YAML file. Its SHA-256 is kept in the result, so that a reader can see that question and answer belong
together. Without one the same values come from the command line, and the result says "not pre-registered".
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from covidct.errors import DataRefused, UsageError

LOWER_WORDS = ("loss", "brier", "ece", "error", "seconds")
"""A metric whose last word holds one of these is to be low."""

HIGHER_WORDS = ("auc", "accuracy", "sensitivity", "specificity", "ppv", "npv")


@dataclass(frozen=True)
class ComparisonPlan:
    """The question of a comparison. Its defaults are those of `covidct compare`.

    Args:
        metric: What is compared: a dotted word of the catalogue, such as "val.patient.macro_auc", or one of the columns
            of a table.
        better: "higher" or "lower"; None where the metric's name says it.
        rope: Half-width of the region of practical equivalence, in units of the metric: a smaller difference would
            change nothing.
        by: What tells the arms apart: "arm", or a dotted config key.
        reference: An arm that every other is compared with; None with `contrasts`, or for all pairs.
        contrasts: Pairs (first arm, second arm); the difference is first minus second.
        repeats: Paired repeats that were planned, or None.
        alpha: Of the P values after Holm.
        question: In words, for the reader.
    """

    metric: str = "val.patient.macro_auc"
    better: Literal["higher", "lower"] | None = None
    rope: float = 0.01
    by: str = "arm"
    reference: str | None = None
    contrasts: list[list[str]] | None = None
    repeats: int | None = None
    alpha: float = 0.05
    question: str | None = None

    @classmethod
    def from_values(cls, values: Mapping[str, Any], where: str) -> ComparisonPlan:
        """Check plain values.

        Raises:
            UsageError: A key is unknown or a value is out of range.
        """
        known = [entry.name for entry in fields(cls)]
        for key in values:
            if key not in known:
                close = difflib.get_close_matches(str(key), known, n=1)
                hint = f"did you mean {close[0]}?" if close else f"the keys are {', '.join(known)}"
                raise UsageError(f"unknown key {key!r}", where=where, remedy=hint)
        plan = cls(**{**values, **{key: _named(values[key]) for key in ("reference", "contrasts") if key in values}})
        for key, good, wanted in (
            ("metric", isinstance(plan.metric, str) and bool(plan.metric), "the name of a metric"),
            ("better", plan.better in (None, "higher", "lower"), "higher, lower or null"),
            ("rope", _is_number(plan.rope) and plan.rope >= 0, "a number, 0 or more"),
            ("by", isinstance(plan.by, str) and bool(plan.by), "arm or a dotted config key"),
            ("reference", plan.reference is None or isinstance(plan.reference, str), "the name of an arm"),
            ("contrasts", _is_pairs(plan.contrasts), "a list of pairs of different arms, [[a, b], [a, c]]"),
            ("repeats", plan.repeats is None or (type(plan.repeats) is int and plan.repeats > 0), "a whole number"),
            ("alpha", _is_number(plan.alpha) and 0 < plan.alpha < 1, "a number between 0 and 1"),
            ("question", plan.question is None or isinstance(plan.question, str), "text"),
        ):
            if not good:
                raise UsageError(f"{key}={getattr(plan, key)!r} must be {wanted}", where=where)
        if plan.reference is not None and plan.contrasts is not None:
            raise UsageError("reference and contrasts say the same thing twice", where=where, remedy="keep one of them")
        return plan

    @property
    def higher_is_better(self) -> bool:
        """The direction of the metric.

        Raises:
            UsageError: Its name does not say.
        """
        if self.better is not None:
            return self.better == "higher"
        last = self.metric.rpartition(".")[2]
        for words, answer in ((LOWER_WORDS, False), (HIGHER_WORDS, True)):
            if any(word in last for word in words):
                return answer
        raise UsageError(f"is {self.metric} better high or low?", remedy="say better=higher or better=lower")

    @property
    def metric_text(self) -> str:
        """The metric for people: "macro AUC of validation patients"; a word of another kind is left as it is."""
        words = self.metric.split(".")
        level = next((place for place, word in enumerate(words) if word in ("patient", "slice")), None)
        if words[0] not in ("val", "test") or not level or level == len(words) - 1:
            return self.metric
        site = ".".join(words[1:level])
        group = f"{'validation' if words[0] == 'val' else 'test'} {words[level]}s"
        figure = " ".join(words[level + 1 :]).replace("_", " ").replace("auc", "AUC")
        return f"{figure} of {group}{f' at {site}' if site and site != 'pooled' else ''}"

    def pairs(self, arms: Sequence[str]) -> list[tuple[str, str]]:
        """The contrasts among the arms that were found.

        Raises:
            UsageError: There are fewer than two arms, or a planned one is missing.
        """
        if len(arms) < 2:
            found = f"the only one is {arms[0]!r}" if arms else "there is none"
            raise UsageError(
                f"a comparison needs two arms; {found}",
                where=f"by={self.by}",
                remedy="give the runs of the other arm too, or tell arms apart by another key: by=recipe.phases.0.lr",
            )
        full = {arm.removeprefix(f"{self.by.rpartition('.')[2]} "): arm for arm in arms} | {arm: arm for arm in arms}
        wanted = [arm for pair in self.contrasts or [] for arm in pair] + ([self.reference] if self.reference else [])
        for arm in wanted:
            if arm not in full:
                raise UsageError(f"no run of the arm {arm!r}", remedy=f"the arms are {', '.join(arms)}")
        if self.contrasts is not None:
            return [(full[first], full[second]) for first, second in self.contrasts]
        if self.reference is not None:
            return [(arm, full[self.reference]) for arm in arms if arm != full[self.reference]]
        return list(combinations(arms, 2))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def read_plan(path: Path, typed: ComparisonPlan) -> tuple[ComparisonPlan, str]:
    """Read a plan file.

    Args:
        path: YAML with some of the keys of `ComparisonPlan`.
        typed: What the command line says. Where it is not the default it must agree with the plan.

    Returns:
        The plan and the SHA-256 of the file.

    Raises:
        DataRefused: The file is missing or is not YAML.
        UsageError: It has an unknown key or a value out of range, or the command line contradicts it.
    """
    import yaml

    try:
        content = Path(path).read_bytes()
        values = yaml.safe_load(content)
    except FileNotFoundError:
        raise DataRefused("the plan does not exist", where=str(path)) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataRefused(f"the plan cannot be read: {type(error).__name__}", where=str(path)) from None
    if not isinstance(values, Mapping):
        raise DataRefused("the plan holds no keys", where=str(path), remedy="write it as `metric: ...`, one key a line")
    plan = ComparisonPlan.from_values(values, str(path))
    for name, default in ComparisonPlan().as_dict().items():
        said, planned = getattr(typed, name), getattr(plan, name)
        if said not in (default, planned):
            raise UsageError(
                f"{name}={said} contradicts the plan, which says {planned}",
                where=str(path),
                remedy=f"leave {name} out, or compare without plan= (the result then says: not pre-registered)",
            )
    return replace(plan), hashlib.sha256(content).hexdigest()


def _named(value: Any) -> Any:
    """Arms told apart by a number may be typed as that number."""
    if isinstance(value, list):
        return [_named(item) for item in value]
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _is_pairs(value: Any) -> bool:
    if value is None:
        return True
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(pair, list) and len(pair) == 2 and all(isinstance(arm, str) for arm in pair)
            and pair[0] != pair[1]
            for pair in value
        )
    )  # fmt: skip
