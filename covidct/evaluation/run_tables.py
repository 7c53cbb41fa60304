"""Runs as tables for other programs: one row per run, or one row per figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covidct.errors import UsageError
from covidct.evaluation.catalogue import CataloguedRun
from covidct.evaluation.differences import MEASURES, figure_words
from covidct.evaluation.listing import text_of
from covidct.files import replacing

if TYPE_CHECKING:
    import pandas as pd

FACTS = ("run", "name", "arm", "repeat", "seed", "state", "epochs", "best_epoch", "seconds", "reason")
"""The first columns of a wide table: whose figures they are, and how they came about."""

FORMATS = (".csv", ".parquet", ".json")


def wide_table(runs: Sequence[CataloguedRun], columns: Sequence[str] | None = None) -> pd.DataFrame:
    """One row per run: `FACTS`, then every overall figure, or the columns asked for.

    Folders are cut off all text, so that the table can be given away.
    """
    import pandas as pd

    words = list(columns) if columns else list(dict.fromkeys(word for run in runs for word in figure_words(run)))
    names = list(dict.fromkeys([*FACTS, *words]))
    rows = [[_plain(run.value(name)) for name in names] for run in runs]
    return pd.DataFrame(rows, columns=names).convert_dtypes()


def long_table(runs: Sequence[CataloguedRun]) -> pd.DataFrame:
    """One row per figure: run, name, arm, repeat, seed, split, site, level, aggregation, class (None: overall),
    measure, value, low, high, n_patients. What is undefined is an empty cell."""
    import pandas as pd

    names = ["run", "name", "arm", "repeat", "seed"]
    place = ["split", "site", "level", "aggregation"]
    rows = []
    for run in runs:
        who = [_plain(run.value(name)) for name in names]
        for block in run.blocks:
            where = [block[key] for key in place]
            figures = [(None, measure, block.get(measure)) for measure in MEASURES]
            figures += [
                (label, measure, figure)
                for label, measures in (block.get("per_class") or {}).items()
                for measure, figure in measures.items()
            ]
            rows += [
                [*who, *where, label, measure, *(figure.get(key) for key in ("value", "low", "high", "n_patients"))]
                for label, measure, figure in figures
                if isinstance(figure, dict)
            ]
    header = [*names, *place, "class", "measure", "value", "low", "high", "n_patients"]
    return pd.DataFrame(rows, columns=header).convert_dtypes()


def write_table(table: pd.DataFrame, path: Path) -> Path:
    """Write a table as .csv, .parquet or .json (a list of rows), atomically.

    Raises:
        UsageError: Another ending.
    """
    if path.suffix not in FORMATS:
        raise UsageError(f"no table is written as {path.name!r}", where="output", remedy=f"use {', '.join(FORMATS)}")
    with replacing(path) as temporary:
        if path.suffix == ".csv":
            table.to_csv(temporary, index=False, lineterminator="\n")
        elif path.suffix == ".parquet":
            table.to_parquet(temporary, index=False)
        else:
            table.to_json(temporary, orient="records", indent=2, double_precision=15)
    return path


def _plain(value: Any) -> Any:
    from covidct.evaluation.record import without_folders

    if value is None or isinstance(value, bool | int | float):
        return value
    return without_folders(text_of(value))
