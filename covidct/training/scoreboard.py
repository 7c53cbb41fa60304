"""An evaluation flattened for trackers: scalars by name, confusion counts and ROC points as rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Scoreboard:
    """What a tracker can show of metrics.json. Names are `split/site/level/aggregation`; null is left out.

    Attributes:
        scalars: Number by `name/measure` or `name/class/measure`; the ends of an interval as `..._low`, `..._high`.
        confusions: By name, rows (true class, predicted class or outcome, count).
        rocs: By name, rows (class, false positive rate, true positive rate), in the order of the curve.
    """

    scalars: dict[str, float] = field(default_factory=dict)
    confusions: dict[str, list[list[Any]]] = field(default_factory=dict)
    rocs: dict[str, list[list[Any]]] = field(default_factory=dict)


def flatten(summary: Mapping[str, Any]) -> Scoreboard:
    """Flatten the content of metrics.json; nothing is computed anew."""
    board = Scoreboard()
    names = list(summary["classes"]["names"])
    for block in summary["blocks"]:
        name = "/".join(str(block[key]) for key in ("split", "site", "level", "aggregation"))
        for measure, value in block.items():
            if measure == "per_class":
                for label, measures in value.items():
                    for part, number in measures.items():
                        _add(board.scalars, f"{name}/{label}/{part}", number)
            elif measure not in ("roc", "confusion"):
                _add(board.scalars, f"{name}/{measure}", value)
        if block.get("confusion"):
            board.confusions[name] = _counts(block["confusion"], names, block.get("confusion_columns") or names)
        if points := _points(block.get("roc") or {}):
            board.rocs[name] = points
    return board


def _add(scalars: dict[str, float], name: str, value: Any) -> None:
    if isinstance(value, Mapping):
        for part, suffix in (("value", ""), ("low", "_low"), ("high", "_high")):
            _add(scalars, name + suffix, value.get(part))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        scalars[name] = value


def _counts(matrix: Sequence[Sequence[int]], rows: Sequence[str], columns: Sequence[str]) -> list[list[Any]]:
    return [
        [truth, predicted, int(count)]
        for truth, counts in zip(rows, matrix, strict=True)
        for predicted, count in zip(columns, counts, strict=True)
    ]


def _points(curves: Mapping[str, Any]) -> list[list[Any]]:
    return [
        [label, fpr, tpr]
        for label, curve in curves.items()
        if curve  # a class without positives or negatives has no curve
        for fpr, tpr in zip(curve["fpr"], curve["tpr"], strict=True)
    ]
