"""Run folders written by hand, small and whole enough for the catalogue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml


def block(split: str, site: str, level: str, aggregation: str, **figures: float | None) -> dict[str, Any]:
    """A block of metrics.json; every figure has an interval of 0.1 to each side."""

    def measure(value: float | None) -> dict[str, Any]:
        ends = (None, None) if value is None else (value - 0.1, value + 0.1)
        return {"value": value, "low": ends[0], "high": ends[1], "n_patients": 30}

    return {
        "split": split, "site": site, "level": level, "aggregation": aggregation, "n_patients": 30, "n_slices": 180,
        **{name: measure(value) for name, value in figures.items()},
        "per_class": {"covid19": {"auc": measure(0.875)}},
    }  # fmt: skip


BLOCKS = (
    block("val", "site_a", "patient", "mean_probability", accuracy=0.7, macro_auc=0.8),
    block("test", "site_b", "patient", "mean_probability", accuracy=0.5, macro_auc=0.6),
)


def shelve(
    folder: Path,
    *,
    blocks: Any = BLOCKS,
    config: dict[str, Any] | None = None,
    provenance: dict[str, Any] | None = None,
    **facts: Any,
) -> Path:
    """Write a run folder; `facts` go to run.json."""
    folder.mkdir(parents=True)
    record = {
        "run": folder.name.rpartition("-")[2], "name": folder.name.rpartition("-")[0], "arm": "adam", "repeat": 0,
        "seed": 0, "state": "evaluated", "seconds": 10.0, "best": {"val_loss": 0.5}, "epochs": 3, "drift": [],
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(record | facts))
    phases = [{"optimizer": "adam", "lr": 0.003}, {"optimizer": "sgd", "lr": 0.01}]
    settings = {"name": record["name"], "data": {"size": 32, "windows": ["lung"]}, "recipe": {"phases": phases}}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings | (config or {})))
    came_from = {
        "code": {"commit": "ab" * 20, "dirty": False},
        "digests": {"index": "11" * 32, "split": "22" * 32},
        "environment": {"python": "3.11.7", "packages": {"torch": "2.13.0", "timm": "1.0.31"}},
    }
    (folder / "provenance.json").write_text(json.dumps(came_from | (provenance or {})))
    if blocks is not None:
        (folder / "metrics.json").write_text(json.dumps({"schema": 1, "blocks": list(blocks)}))
    return folder
