"""Where a run's numbers go besides its folder: Weights & Biases (`wandb_tracker`) or TensorBoard.

The record of a run is its folder (`metrics.csv`, `metrics.json`); a tracker is a copy for people. What is sent passes
`redaction.scrub`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger, TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only

from covidct.errors import UsageError
from covidct.training.redaction import scrub
from covidct.training.scoreboard import flatten
from covidct.training.wandb_tracker import WandbTracker

KINDS = ("none", "csv", "wandb", "tensorboard")


def build_loggers(
    kind: str,
    run_folder: Path,
    *,
    run_id: str,
    name: str,
    project: str,
    group: str | None,
    job_type: str,
    tags: Sequence[str],
    config: Mapping[str, Any],
    entity: str | None = None,
    mode: str = "auto",
    artifacts: bool = True,
) -> list[Logger]:
    """The Lightning loggers of one run; metrics.csv is written by `records.EpochTable` whatever the kind.

    Nothing is started yet: W&B starts with the first number, on rank zero only.

    Args:
        kind: "wandb"; "tensorboard"; "csv" or "none": no logger besides metrics.csv.
        run_folder: W&B writes to `wandb/` in it, TensorBoard to `tensorboard/`.
        run_id: W&B's id of the run; the same after a resume, because it is derived from the run's identity.
        name: Name for people.
        project: W&B project.
        group: What belongs together, such as the repeats of one experiment.
        job_type: "train", "evaluate", ...
        tags: Short labels.
        config: Settings and digests, plain values. Scrubbed before it is sent.
        entity: W&B user or team; the key's own when None.
        mode: "auto": online where there is a key, else offline. "online" without a key is offline with a warning.
            WANDB_MODE and `wandb offline|disabled` can only make it more reserved.
        artifacts: Whether `log_files` sends anything.

    Raises:
        UsageError: Unknown kind or mode.
    """
    if kind not in KINDS:
        raise UsageError(f"unknown logger {kind!r}", where="logger.kind", remedy=f"use one of {', '.join(KINDS)}")
    if mode not in ("auto", "online", "offline"):
        raise UsageError(f"unknown mode {mode!r}", where="logger.mode", remedy="use auto, online or offline")
    run_folder = Path(run_folder)
    if kind == "tensorboard":
        return [TensorBoardLogger(run_folder, name="", version="tensorboard", default_hp_metric=False)]
    if kind == "wandb":
        options = {
            "id": run_id,
            "entity": entity,
            "project": scrub(project),
            "name": scrub(name),
            "group": scrub(group),
            "job_type": scrub(job_type),
            "tags": list(dict.fromkeys(str(scrub(tag))[:64] for tag in tags)),  # W&B refuses longer ones
            "config": scrub(config),
        }
        return [WandbTracker(run_folder, options, mode=mode, artifacts=artifacts)]
    return []


def close_loggers(loggers: Sequence[Logger], *, failed: bool = False) -> None:
    """End what the loggers began; belongs in a `finally`.

    Without it the next run in this process would be drawn into this one, and W&B would lose what it had not sent.
    """
    for logger in loggers:
        if isinstance(logger, WandbTracker):
            logger.close(failed=failed)
        elif isinstance(logger, TensorBoardLogger):
            logger.finalize("failed" if failed else "success")


def log_evaluation(
    loggers: Sequence[Logger],
    summary: Mapping[str, Any],
    figures: Mapping[str, Path] | None = None,
    *,
    step: int | None = None,
) -> None:
    """Send an evaluation: scalars, confusion matrices and ROC curves as charts of the tracker, and images.

    The charts are drawn from the numbers of the summary, never computed anew: `wandb.plot.roc_curve` is silently wrong
    when a class is absent. What is undefined (null) is not sent.

    Args:
        loggers: Of `build_loggers`; a list without a tracker is fine.
        summary: The content of metrics.json (or a part of it, such as the validation of the best epoch).
        figures: PNG files by name. Their pixels are sent, not their metadata.
        step: The global step the evaluation belongs to; 0 for TensorBoard when None.
    """
    board = flatten(summary)
    images = {f"figures/{name}": path for name, path in (figures or {}).items()}
    for logger in loggers:
        if isinstance(logger, WandbTracker):
            logger.log_evaluation(board, images, step)
        elif isinstance(logger, TensorBoardLogger):
            _to_board(logger, board.scalars, images, step or 0)


def log_files(loggers: Sequence[Logger], files: Iterable[Path]) -> None:
    """Keep copies of small files with the tracked run, and its lineage, unless `artifacts` is off.

    The copies are files of the run. The lineage is artifacts that hold digests only (`lineage.pieces_of`): the index
    and the split as inputs, the checkpoint, the predictions and the report as outputs.
    Only files without identifying content belong here: the split and the predictions table (pseudonyms).

    Args:
        loggers: Of `build_loggers`.
        files: Files of the run folder, with different names.
    """
    for logger in loggers:
        if isinstance(logger, WandbTracker):
            logger.log_files(files)


def log_study(
    loggers: Sequence[Logger],
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    figures: Mapping[str, Path] | None = None,
) -> None:
    """Send the table of a whole study: one row per cell.

    Args:
        loggers: Of `build_loggers`, with the job type "study".
        columns: Names.
        rows: Plain values, None where undefined; texts are scrubbed.
        figures: PNG files by name. Their pixels are sent, not their metadata.
    """
    for logger in loggers:
        if isinstance(logger, WandbTracker):
            logger.log_study(columns, rows, figures or {})


@rank_zero_only
def _to_board(logger: TensorBoardLogger, scalars: Mapping[str, float], images: Mapping[str, Path], step: int) -> None:
    import numpy as np
    from PIL import Image

    for key, value in scalars.items():
        logger.experiment.add_scalar(key, value, step)
    for key, path in images.items():
        logger.experiment.add_image(key, np.asarray(Image.open(path).convert("RGB")), step, dataformats="HWC")
