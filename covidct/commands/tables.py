"""Short result tables for the terminal, from a run's metrics.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from covidct.files import read_json

HEADERS = ("split", "site", "level", "rule", "patients", "slices", "accuracy", "95 % interval", "macro AUC")


def print_results(run: Path) -> None:
    """One line for each split, site, level and patient rule."""
    from rich.console import Console
    from rich.table import Table

    summary = read_json(run / "metrics.json")
    shown = Table(box=None, pad_edge=False)
    for header in HEADERS:
        shown.add_column(header, justify="left" if header in HEADERS[:4] else "right", no_wrap=True)
    for block in summary["blocks"]:
        accuracy, area = block["accuracy"], block["macro_auc"]
        shown.add_row(
            block["split"],
            block["site"],
            block["level"],
            block["aggregation"].replace("_", " "),
            str(block["n_patients"]),
            str(block["n_slices"]),
            _fraction(accuracy["value"]),
            f"{_fraction(accuracy['low'])} to {_fraction(accuracy['high'])}" if accuracy["low"] is not None else "–",
            _fraction(area["value"]),
        )
    Console(width=110).print(shown)


def _fraction(value: Any) -> str:
    return "–" if value is None else f"{value:.3f}"
