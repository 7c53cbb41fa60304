"""Where a run's numbers go besides its folder: Weights & Biases or TensorBoard. The only module that imports wandb.

The record of a run is its folder (`metrics.csv`, `metrics.json`); a tracker is a copy for people. So tracking never
asks, never waits long and never stops a training: without a key W&B works offline, an error is said once and switches
it off for the run. What is sent passes `redaction.scrub`, and W&B's own collecting (host, user, program, command line,
git remote, console, packages, machine) is off.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pytorch_lightning.loggers import Logger, TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only, rank_zero_warn

from covidct.errors import UsageError
from covidct.training.redaction import scrub
from covidct.training.scoreboard import Scoreboard, flatten

if TYPE_CHECKING:
    from argparse import Namespace

    import wandb

KINDS = ("none", "csv", "wandb", "tensorboard")
MODES = ("disabled", "offline", "online")  # from the most reserved to the least

INIT_SECONDS = 8.0
"""How long an online start may take before the run goes on offline."""
FINISH_SECONDS = 60.0
"""How long the upload may hold up the end of a run; what is left stays on disk for `wandb sync`."""
FLUSH_SECONDS = 1.0
"""How much of the log a kill may cost. W&B's own 15 seconds lost whole runs."""
STEP = "trainer/global_step"


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
    """Keep copies of small files with the tracked run, unless `artifacts` is off.

    They are files of the run, not W&B artifacts: see the remark at the charts. Lineage is in the config, by digest.
    Only files without identifying content belong here: the split and the predictions table (pseudonyms).

    Args:
        loggers: Of `build_loggers`.
        files: Files of the run folder, with different names.
    """
    for logger in loggers:
        if isinstance(logger, WandbTracker):
            logger.log_files(files)


class WandbTracker(Logger):
    """A Lightning logger over one W&B run that cannot ask, hang, leak a path or fail the training.

    Lightning's own WandbLogger raises whatever W&B raises, joins a run it finds in progress and knows no way from
    online to offline. Use `build_loggers`.

    Args:
        run_folder: `wandb/` is made in it.
        options: Keywords of `wandb.init` that say what the run is; scrubbed already.
        mode: "auto", "online" or "offline".
        artifacts: Whether `log_files` sends anything.
    """

    def __init__(self, run_folder: Path, options: Mapping[str, Any], *, mode: str, artifacts: bool) -> None:
        super().__init__()
        self._folder = Path(run_folder)
        self._options = dict(options)
        self._mode = mode
        self._artifacts = artifacts
        self._run: wandb.Run | None = None
        self._off = False
        self._failed = False

    def __getstate__(self) -> dict[str, Any]:  # a spawned process begins its own connection
        return {**self.__dict__, "_run": None}

    @property
    def name(self) -> str:
        return str(self._options["project"])

    @property
    def version(self) -> str:
        return str(self._options["id"])

    @property
    def save_dir(self) -> str:
        return str(self._folder)

    @property
    def state(self) -> str:
        """ "online", "offline", "off" (disabled, closed or given up) or "not started"."""
        if self._off:
            return "off"
        if self._run is None:
            return "not started"
        return "offline" if self._run.offline else "online"

    @property
    def experiment(self) -> wandb.Run | None:
        """The W&B run, started if need be; None on other ranks, when disabled, closed or given up."""
        if self._run is None and not self._off and rank_zero_only.rank == 0:  # type: ignore[attr-defined]
            with self._harmless("starting"):
                self._run = self._begin()
                self._off = self._run is None
        return None if self._off else self._run

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if run := self.experiment:
            with self._harmless("logging"):
                run.log({**metrics, **({} if step is None else {STEP: step})})

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        if run := self.experiment:
            with self._harmless("logging hyper-parameters"):
                values = params if isinstance(params, Mapping) else vars(params)
                run.config.update({"module": scrub(values)}, allow_val_change=True)

    @rank_zero_only
    def log_evaluation(self, board: Scoreboard, images: Mapping[str, Path], step: int | None) -> None:
        """See the function `log_evaluation`."""
        if not (run := self.experiment):
            return
        at = {} if step is None else {STEP: step}
        with self._harmless("logging an evaluation"):
            import wandb
            from PIL import Image

            charts = {
                f"confusion_matrix/{name}": _confusion_chart(name, rows) for name, rows in board.confusions.items()
            }
            charts |= {f"roc/{name}": _roc_chart(name, rows) for name, rows in board.rocs.items()}
            for key, chart in charts.items():
                # Bound to a file of the run first, a table makes no artifact. An artifact's record holds an absolute
                # path in the user's home, needs that file when another machine syncs, and waits for the server.
                chart.table.bind_to_run(run, f"{key}_table", run.step)
            run.log({**board.scalars, **charts, **at})
            if images:
                drawn = {key: wandb.Image(Image.open(path).convert("RGB")) for key, path in images.items()}
                run.log({**drawn, **at})

    @rank_zero_only
    def log_files(self, files: Iterable[Path]) -> None:
        """See the function `log_files`."""
        if not self._artifacts or not (run := self.experiment):
            return
        with self._harmless("logging files"):
            for path in files:
                copy = Path(run.dir) / Path(path).name
                shutil.copyfile(path, copy)
                run.save(copy, base_path=run.dir, policy="now")

    def finalize(self, status: str) -> None:
        """Lightning calls this after every fit and test; the run stays open for the evaluation."""
        self._failed = self._failed or status == "failed"

    def close(self, *, failed: bool = False) -> None:
        """Finish the run; later calls of any method do nothing."""
        run, self._run, self._off = self._run, None, True
        if run is not None:
            with self._harmless("finishing"):
                run.finish(exit_code=int(failed or self._failed))
            _discard_logs(self._folder)

    @contextmanager
    def _harmless(self, doing: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # of whatever kind: no fault of a tracker is worth a training
            first, self._off = not self._off, True
            if first or doing == "finishing":
                _say(f"W&B failed while {doing} and is off for this run; metrics.csv has every number", error)

    def _begin(self) -> wandb.Run | None:
        mode = choose_mode(self._mode)
        if mode == "disabled":
            return None
        _discard_logs(self._folder)  # of an attempt that was killed
        if mode == "online":
            before = set(self._folder.glob("wandb/run-*"))
            try:
                return self._open("online")
            except Exception as error:
                _say("W&B cannot be reached and records offline (`wandb sync` sends it later)", error)
                import wandb

                wandb.teardown()  # or W&B calls the id "in use"
                for leftover in set(self._folder.glob("wandb/run-*")) - before:
                    shutil.rmtree(leftover, ignore_errors=True)
        return self._open("offline")

    def _open(self, mode: Literal["online", "offline"]) -> wandb.Run:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # its crash reports and telemetry, offline too
        import wandb

        settings: dict[str, Any] = {
            "reinit": "create_new",  # never join a run that someone else has open in this process
            "silent": True,
            "console": "off",
            "symlink": False,
            # Say nothing about who, where and with what: the run's own provenance.json has what matters.
            "host": "",
            "program": "covidct",
            "disable_git": True,
            "disable_code": True,
            "save_code": False,
            "disable_job_creation": True,
            "x_disable_meta": True,
            "x_disable_machine_info": True,
            "x_disable_stats": True,
            "x_save_requirements": False,
        }
        waits = {  # what the user sets for W&B stays
            "WANDB_INIT_TIMEOUT": ("init_timeout", INIT_SECONDS),
            "WANDB_FINISH_TIMEOUT": ("finish_timeout", FINISH_SECONDS),
            "WANDB__TRANSACTION_LOG_FLUSH_INTERVAL": ("x_transaction_log_flush_interval", FLUSH_SECONDS),
        }
        settings |= dict(setting for variable, setting in waits.items() if variable not in os.environ)
        self._folder.mkdir(parents=True, exist_ok=True)
        run = wandb.init(
            dir=str(self._folder), mode=mode, resume="allow", settings=wandb.Settings(**settings), **self._options
        )
        run.define_metric(STEP)
        run.define_metric("*", step_metric=STEP, step_sync=True)
        return run


def choose_mode(asked: str = "auto") -> str:
    """What W&B will do, decided without asking anyone: "online", "offline" or "disabled".

    The more reserved of what was asked and what the user told W&B (WANDB_MODE, `wandb offline`) wins; online needs a
    key (WANDB_API_KEY, an identity token, .netrc or W&B's settings).
    """
    from wandb.sdk import wandb_setup
    from wandb.sdk.lib import wbauth

    told = wandb_setup.singleton().settings
    wishes = [asked if asked in MODES else "online", told.mode, os.environ.get("WANDB_MODE") or "online"]
    synonyms = {"run": "online", "shared": "online", "dryrun": "offline"}
    known = [synonyms.get(wish, wish if wish in MODES else "offline") for wish in wishes]
    mode = min(known, key=MODES.index)
    if mode != "online":
        return mode
    try:
        key = wbauth.authenticate_session(host=told.base_url, source="covidct", prompt=False, update_session=False)
    except Exception as error:
        _say("the W&B key cannot be used; W&B records offline", error)
        return "offline"
    if key is None and asked == "online":
        _say("logger.mode=online, but there is no W&B key; W&B records offline (`wandb login` stores a key)")
    return "online" if key else "offline"


def _say(what: str, error: BaseException | None = None) -> None:
    why = f" ({type(error).__name__}: {scrub(str(error).splitlines()[0] if str(error) else '')})" if error else ""
    rank_zero_warn(what + why, category=UserWarning)


def _discard_logs(run_folder: Path) -> None:
    """W&B's debug logs hold absolute paths and can be read by nobody but W&B's developers."""
    for logs in run_folder.glob("wandb/*run-*/logs"):
        shutil.rmtree(logs, ignore_errors=True)


def _confusion_chart(name: str, counts: list[list[Any]]) -> Any:
    import wandb

    return wandb.plot_table(
        "wandb/confusion_matrix/v1",
        wandb.Table(columns=["Actual", "Predicted", "nPredictions"], data=counts),
        {"Actual": "Actual", "Predicted": "Predicted", "nPredictions": "nPredictions"},
        {"title": f"Confusion matrix, {name}"},
    )


def _roc_chart(name: str, points: list[list[Any]]) -> Any:
    import wandb

    return wandb.plot_table(
        "wandb/area-under-curve/v0",
        wandb.Table(columns=["class", "fpr", "tpr"], data=points),
        {"x": "fpr", "y": "tpr", "class": "class"},
        {
            "title": f"ROC, {name}",
            "x-axis-title": "False positive rate (1 - specificity)",
            "y-axis-title": "True positive rate (sensitivity)",
        },
    )


@rank_zero_only
def _to_board(logger: TensorBoardLogger, scalars: Mapping[str, float], images: Mapping[str, Path], step: int) -> None:
    import numpy as np
    from PIL import Image

    for key, value in scalars.items():
        logger.experiment.add_scalar(key, value, step)
    for key, path in images.items():
        logger.experiment.add_image(key, np.asarray(Image.open(path).convert("RGB")), step, dataformats="HWC")
