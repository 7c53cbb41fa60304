"""`leaderboard.html`: all runs of a study on one page that needs nothing but a browser.

No picture, font or script comes from elsewhere; the few lines of script inside only sort the table, which is whole
without them. Nothing names a patient, a machine or a folder above the run's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from covidct.evaluation.catalogue import CataloguedRun
from covidct.evaluation.differences import figure_words
from covidct.evaluation.listing import best_run, text_of
from covidct.evaluation.pages import write_page
from covidct.evaluation.record import without_folders

FACTS = ("folder", "name", "arm", "repeat", "seed", "state", "epochs", "seconds")
FIGURES = 6
"""How many figures a page shows unless it is told which: the first of validation, then of test."""


def write_leaderboard(
    runs: Sequence[CataloguedRun],
    path: Path,
    *,
    title: str,
    columns: Sequence[str] | None = None,
    by: str,
    unreadable: int = 0,
) -> Path:
    """Write the page.

    Args:
        runs: The runs; those that failed are listed with their reason.
        path: The .html file.
        title: Heading of the page.
        columns: Words of `CataloguedRun.value`; by default some facts and the patients' figures.
        by: The validation figure that ranks the runs.
        unreadable: Folders that could not be read.

    Raises:
        UsageError: `by` is no validation figure.
        DataRefused: No run has it.
    """
    ranked = best_run(runs, by)
    scores = [score for _, score in ranked]
    rank = {id(run): 1 + scores.index(score) for run, score in ranked}  # equals share a rank
    rest = [run for run in runs if id(run) not in rank]
    studies = sorted({str(run.value("name")) for run in runs if run.value("name") is not None})
    facts = [name for name in FACTS if name != "name" or len(studies) > 1]
    columns = list(columns or [*facts, *_figures(runs, by)])
    rows = [_row(run, rank.get(id(run)), columns) for run in [*(run for run, _ in ranked), *rest]]
    values = {
        "title": title,
        "by": by,
        "columns": [
            {"parts": name.split("."), "is_text": any(row["cells"][at]["is_text"] for row in rows)}
            for at, name in enumerate(columns)
        ],
        "has_tests": any(name.startswith("test.") for name in columns),
        "rows": rows,
        "failed": [(run.path.name, without_folders(str(run.reason))) for run in runs if run.reason is not None],
        "unreadable": unreadable,
        "synthetic": any(run.value("synthetic") is True for run in runs),
        "studies": studies,
        "indexes": len({run.value("digests.index") for run in runs} - {None}),
    }
    return write_page("leaderboard.html.j2", path, values)


def _figures(runs: Sequence[CataloguedRun], by: str) -> list[str]:
    words = [by, *(word for run in runs for word in figure_words(run) if ".patient." in word)]
    words = [word for word in words if word == by or not {"any_slice", "validation_rule"} & set(word.split("."))]
    overall = [word for word in dict.fromkeys(words) if word.count(".") == 2 or word == by]
    return sorted(overall[:FIGURES], key=lambda word: (word != by, word.startswith("test.")))


def _row(run: CataloguedRun, rank: int | None, columns: Sequence[str]) -> dict[str, Any]:
    cells = []
    for name in columns:
        value = run.value(name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        # full digits for the script to sort by; "" is absent
        sort_by = "" if value is None else repr(value) if is_number else without_folders(text_of(value))
        is_text = value is not None and not is_number
        cells.append({"text": without_folders(text_of(value)), "sort": sort_by, "is_text": is_text})
    return {"rank": rank, "cells": cells, "failed": run.reason is not None}
