"""A whole study at a tracker: one run that holds the table of all cells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from covidct.errors import DataRefused
from covidct.evaluation.catalogue import CataloguedRun
from covidct.evaluation.run_tables import wide_table
from covidct.provenance import digest_json
from covidct.training.tracking import build_loggers, close_loggers, log_study


def share_study(
    runs: Sequence[CataloguedRun],
    *,
    folder: Path,
    title: str,
    columns: Sequence[str] | None,
    project: str,
    figures: Sequence[Path],
    entity: str | None = None,
    mode: str = "auto",
) -> str:
    """Send or record the table of a study as one W&B run of its group, with the job type "study".

    The run's id is made of project and title, so that sharing again renews the same run.

    Args:
        runs: The cells.
        folder: Where W&B keeps its files (`wandb/` in it).
        title: The study's name: name of the run, and the group in which its cells are.
        columns: Columns of the table; by default every overall figure.
        project: W&B project.
        figures: PNG files without identifying content.
        entity: W&B user or team.
        mode: As for `build_loggers`.

    Returns:
        "online", "offline" or "off": what became of it.

    Raises:
        DataRefused: A figure is no PNG file.
    """
    for path in figures:
        if not path.is_file() or path.suffix.lower() != ".png":
            raise DataRefused("this is no PNG file", where=str(path), remedy="give PNG files: figures=[a.png,b.png]")
    table = wide_table(runs, columns)
    rows = table.astype(object).where(table.notna(), None).to_numpy().tolist()
    groups = sorted({str(run.value("name")) for run in runs if run.value("name") is not None})
    loggers = build_loggers(
        "wandb",
        folder,
        run_id=f"study-{digest_json([project, title])[:12]}",
        name=title,
        project=project,
        group=groups[0] if len(groups) == 1 else title,
        job_type="study",
        tags=["study", *(f"arm:{arm}" for arm in sorted({str(run.value("arm")) for run in runs}))],
        config={"cells": sorted(str(run.value("run")) for run in runs)},
        entity=entity,
        mode=mode,
    )
    state = "off"
    try:
        log_study(loggers, list(table.columns), rows, {path.stem: path for path in figures})
        state = "off" if not loggers else loggers[0].state  # type: ignore[attr-defined]
    finally:
        close_loggers(loggers)
    return state
