"""One run at Weights & Biases, from its first number to its end. The only module that imports wandb.

Tracking never asks, never waits long and never stops a training: without a key W&B works offline, an error is said
once and switches it off for the run. W&B's own collecting (host, user, program, command line, git remote, console,
packages, machine) is off.

Artifacts name their files by SHA-256 and hold no bytes and no place. W&B's own way (`add_file`, `log_artifact`) writes
an absolute path of the user's home into the offline log, needs that very file when the log is synced later, and asks
the server before it returns; `use_artifact` raises offline. A manifest entry that is a reference has none of this, is
the same version wherever it is logged, and may be an input offline too.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only, rank_zero_warn

from covidct.training.lineage import Piece, pieces_of
from covidct.training.redaction import scrub
from covidct.training.scoreboard import Scoreboard

if TYPE_CHECKING:
    from argparse import Namespace

    import wandb

MODES = ("disabled", "offline", "online")  # from the most reserved to the least

INIT_SECONDS = 8.0
"""How long an online start may take before the run goes on offline."""
FINISH_SECONDS = 60.0
"""How long the upload may hold up the end of a run; what is left stays on disk for `wandb sync`."""
FLUSH_SECONDS = 1.0
"""How much of the log a kill may cost. W&B's own 15 seconds lost whole runs."""
STEP = "trainer/global_step"


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
            pieces = pieces_of(self._folder)
            if pieces:
                run.config.update({"lineage": {piece.kind: piece.digest for piece in pieces}}, allow_val_change=True)
            for piece in pieces:
                _log_piece(run, piece)

    @rank_zero_only
    def log_study(self, columns: Sequence[str], rows: Sequence[Sequence[Any]], images: Mapping[str, Path]) -> None:
        """See the function `log_study`."""
        if not (run := self.experiment):
            return
        with self._harmless("logging a study"):
            import wandb
            from PIL import Image

            table = wandb.Table(columns=list(columns), data=[[scrub(cell) for cell in row] for row in rows])
            table.bind_to_run(run, "study/runs", run.step)  # see the remark at the charts
            drawn = {f"study/{key}": wandb.Image(Image.open(path).convert("RGB")) for key, path in images.items()}
            run.log({"study/runs": table, **drawn})
            run.summary["study/n_runs"] = len(rows)

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


def _log_piece(run: wandb.Run, piece: Piece) -> None:
    """Record a piece as made or used by the run; sent in the background, offline as well as online."""
    import wandb
    from wandb.sdk.artifacts.artifact_manifest_entry import ArtifactManifestEntry
    from wandb.sdk.lib.paths import LogicalPath

    artifact = wandb.Artifact(piece.name, piece.kind, metadata={"sha256": piece.digest, **scrub(piece.metadata)})
    reference = f"covidct:{piece.kind}/sha256:{piece.digest}"
    artifact.manifest.add_entry(
        ArtifactManifestEntry(path=LogicalPath(piece.file), ref=reference, digest=piece.digest, size=piece.n_bytes)
    )
    artifact.finalize()
    # run.log_artifact asks the server first, run.use_artifact does and refuses offline; both end in this call
    assert run._interface is not None
    run._interface.publish_artifact(run, artifact, ["latest"], is_user_created=True, use_after_commit=piece.is_input)


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
