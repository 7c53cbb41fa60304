"""An operating point: the patient rule and the thresholds of a run, chosen on validation patients and then frozen.

Where a run works on its curve (the rule, its thresholds) is part of the model. Chosen on test data it makes test
figures too good, so it is a value of its own: made from validation rows only (`covidct.evaluation.operating`), written
once as `operating_point.json`, tied by a digest to the very predictions it was chosen on and by another to its own
content, and used as it is by every later evaluation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from covidct.errors import IntegrityError, UsageError
from covidct.evaluation.predictions import Predictions
from covidct.evaluation.rule_spec import RuleSpec
from covidct.files import read_json, write_json
from covidct.labels import ClassScheme
from covidct.provenance import digest_json

SCHEMA = 1
FILE = "operating_point.json"
CRITERIA = ("macro_sensitivity", "youden", "sensitivity")
CHOOSE_AGAIN = (
    f"keep the validation predictions it was chosen on; to choose again, remove {FILE} from the run folder and say in "
    "your report that it was chosen after the test set was seen"
)


@dataclass(frozen=True)
class Criterion:
    """What the best rule is.

    Args:
        name: "macro_sensitivity": the highest mean sensitivity of the classes over validation patients, then the
            highest specificity of the positive class. "youden": the highest sensitivity + specificity - 1 of the
            positive class. "sensitivity": of the rules that reach `sensitivity` for the positive class, the highest
            specificity. Of equal ones the simplest: the first in the list of rules.
        sensitivity: In 0..1: asked for by "sensitivity", and by the threshold of that name.

    Raises:
        UsageError: Another name, or a number outside 0..1.
    """

    name: str = "macro_sensitivity"
    sensitivity: float = 0.95

    def __post_init__(self) -> None:
        if self.name not in CRITERIA:
            raise UsageError(f"unknown criterion {self.name!r}", remedy=f"use one of {list(CRITERIA)}")
        if isinstance(self.sensitivity, bool) or not isinstance(self.sensitivity, int | float):
            raise UsageError(f"the sensitivity asked for is a number, not {self.sensitivity!r}")
        if not 0 < self.sensitivity <= 1:
            raise UsageError(f"the sensitivity asked for lies in 0..1, not {self.sensitivity}")


@dataclass(frozen=True)
class BinaryPoint:
    """One threshold for "the positive class or not".

    Args:
        level: "slice" (the score is the probability) or "patient" (the score is that of the chosen rule).
        criterion: "youden", or "sensitivity": the highest threshold that keeps the sensitivity asked for.
        threshold: Positive from this score on; None if it could not be chosen.
        sensitivity: On validation, in 0..1.
        specificity: On validation, in 0..1.
        reason: Why there is no threshold, or None.
    """

    level: str
    criterion: str
    threshold: float | None
    sensitivity: float | None
    specificity: float | None
    reason: str | None


@dataclass(frozen=True)
class OperatingPoint:
    """The rule and the thresholds of a run.

    Args:
        scheme: The classes.
        rule: The patient rule.
        criterion: What it was chosen by.
        fallback: Why nothing was chosen and `rule` is the paper's (without a normal class: the mean probability).
        reached: With the criterion "sensitivity": whether any rule reached it; else None.
        binary: Thresholds of the positive class; empty when the task has none.
        tried: Each rule of the list with its figures on validation.
        after_test: Whether test slices had been predicted when it was chosen. They were not looked at, but a reader may
            want to know.
        validation: What it was chosen on: `digest` of the rows, `patients`, `slices`, `patients_per_class`.
    """

    scheme: ClassScheme
    rule: RuleSpec
    criterion: Criterion
    fallback: str | None
    reached: bool | None
    binary: tuple[BinaryPoint, ...]
    tried: tuple[Mapping[str, Any], ...]
    after_test: bool
    validation: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, with the digest over all of them."""
        value = {
            "schema": SCHEMA,
            "classes": self.scheme.as_dict(),
            "rule": self.rule.as_dict(),
            "criterion": vars(self.criterion),
            "fallback": self.fallback,
            "reached": self.reached,
            "binary": [dict(vars(point)) for point in self.binary],
            "tried": [dict(row) for row in self.tried],
            "after_test": self.after_test,
            "validation": dict(self.validation),
        }
        return {**value, "digest": digest_json(value)}

    @property
    def digest(self) -> str:
        """SHA-256 over everything else."""
        return str(self.as_dict()["digest"])

    @classmethod
    def from_dict(cls, value: Any) -> Self:
        """The inverse of `as_dict`.

        Raises:
            IntegrityError: It is no operating point of this version, or its content does not match its digest.
        """
        try:
            content = {key: item for key, item in value.items() if key != "digest"}
            if value["digest"] != digest_json(content):
                raise IntegrityError(
                    "the operating point was changed after it was frozen: its content does not match its digest",
                    where=FILE,
                    remedy=f"restore the file; {CHOOSE_AGAIN}",
                )
            if content["schema"] != SCHEMA:
                raise ValueError(content["schema"])
            return cls(
                scheme=ClassScheme.from_dict(content["classes"]),
                rule=RuleSpec.from_dict(content["rule"]),
                criterion=Criterion(**content["criterion"]),
                fallback=content["fallback"],
                reached=content["reached"],
                binary=tuple(BinaryPoint(**point) for point in content["binary"]),
                tried=tuple(content["tried"]),
                after_test=content["after_test"],
                validation=content["validation"],
            )
        except (KeyError, TypeError, ValueError, AttributeError, UsageError) as error:
            raise IntegrityError(
                f"not an operating point of this version: {error}", where=FILE, remedy=CHOOSE_AGAIN
            ) from None

    def summary(self) -> dict[str, Any]:
        """What metrics.json repeats of it."""
        return {
            "rule": self.rule.as_dict(),
            "criterion": dict(vars(self.criterion)),
            "fallback": self.fallback,
            "digest": self.digest,
        }

    def check(self, predictions: Predictions) -> None:
        """Refuse predictions whose validation rows are not those that this was chosen on.

        Raises:
            IntegrityError: Classes or validation rows differ.
        """
        found = validation_digest(predictions)
        if self.scheme != predictions.scheme or found != self.validation["digest"]:
            raise IntegrityError(
                "the operating point was chosen on other validation predictions "
                f"({str(self.validation['digest'])[:12]}, these are {found[:12]})",
                where=FILE,
                remedy=CHOOSE_AGAIN,
            )


def write_operating_point(folder: Path, point: OperatingPoint) -> None:
    """Freeze an operating point in a run folder."""
    write_json(Path(folder) / FILE, point.as_dict())


def read_operating_point(folder: Path) -> OperatingPoint | None:
    """The frozen operating point of a run folder, or None when none was chosen yet.

    Raises:
        DataRefused: The file is not JSON.
        IntegrityError: See `OperatingPoint.from_dict`.
    """
    path = Path(folder) / FILE
    return OperatingPoint.from_dict(read_json(path)) if path.is_file() else None


def validation_digest(predictions: Predictions) -> str:
    """SHA-256 over the validation rows: who, which slice, which label, and each probability to the last bit.

    The order of the rows and all other partitions make no difference.
    """
    frame = predictions.frame
    inside = (frame["split"] == "val").to_numpy()
    rows = frame[inside].reset_index(drop=True)
    order = np.lexsort([rows[name].to_numpy(dtype=str) for name in ("slice_key", "patient_key", "site")])
    lines = hashlib.sha256(digest_json(predictions.scheme.as_dict()).encode())
    for name in ("site", "patient_key", "series_key", "slice_key", "slice_number", "label"):
        lines.update("\n".join(rows[name].to_numpy(dtype=str)[order]).encode())
        lines.update(b"\0")
    lines.update(np.ascontiguousarray(predictions.probabilities[inside][order], dtype="<f8").tobytes())
    return lines.hexdigest()
