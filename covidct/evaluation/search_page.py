"""`search.html`: one file that says what a search tried, what it found, and how far to trust its winner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from covidct.evaluation.pages import embedded, write_page


def write_search_page(
    path: Path,
    facts: Mapping[str, Any],
    trials: pd.DataFrame,
    parameters: Sequence[str],
    pictures: Sequence[tuple[str, Path]],
    *,
    command: str,
    confirmation: Mapping[str, Any] | None,
) -> None:
    """Write the page, with its pictures inside.

    Args:
        path: The file.
        facts: Of `covidct.training.search_results.describe`.
        trials: Its table of trials.
        parameters: Their columns.
        pictures: Words below a picture, and its PNG file.
        command: What trains the winner; empty when there is none.
        confirmation: What fresh repeats said; None when there were none.
    """
    first, way = next(iter(facts["objectives"].items()))
    ranked = trials.sort_values(
        ["state", first, "number"], key=lambda c: c.ne("complete") if c.name == "state" else c, na_position="last",
        ascending=[True, way == "min", True],
    )  # fmt: skip
    columns = ["number", "state", *facts["objectives"], *parameters, "last_epoch", "reason"]
    rows = [[_cell(row[column], column) for column in columns] for _, row in ranked.iterrows()]
    values = {
        "facts": facts,
        "heads": [{"number": "trial", "last_epoch": "epochs"}.get(column, column) for column in columns],
        "rows": rows,
        "pictures": [(words, embedded(file, "image/png")) for words, file in pictures],
        "command": command,
        "confirmation": confirmation,
        "way": way,
        "first": first,
    }
    write_page("search.html.j2", path, values)


def _cell(value: Any, column: str) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and pd.isna(value)):
        return "–" if column != "reason" else ""
    if column == "last_epoch":
        return str(int(value) + 1)
    if column == "state":
        return {"pruned": "ended early"}.get(str(value), str(value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
