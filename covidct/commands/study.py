"""A study is a multirun: its jobs, whichever launcher runs them, and the table of how they ended.

What Hydra hands to a launcher is `compose.job`, a function that is found by its name, so any of them can send it to
another process. Each job writes an outcome file into the sweep folder; the launcher reads them at the end.
"""

from __future__ import annotations

import importlib
import os
import shutil
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from covidct.commands import cells
from covidct.commands.cell_process import launcher_here, needs_process, run_in_process
from covidct.commands.cells import Outcome, OutcomeFile, read_outcome
from covidct.commands.compose import module_of, plain, report_failure
from covidct.commands.progress import say
from covidct.errors import CovidctError, Interrupted, UsageError
from covidct.files import read_json, write_json

STUDY = "study.json"
OUTCOMES = "outcomes"

_begun: Path | None = None
"""The sweep folder of the multirun that this process launched."""


class Study(Callback):
    """What Hydra calls before the first job (conf/command.yaml)."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Write down who launches what, and forget the outcomes of an earlier sweep in the same folder."""
        global _begun
        folder = Path(str(config.hydra.sweep.dir)).absolute()
        shutil.rmtree(folder / OUTCOMES, ignore_errors=True)
        jobs = _jobs(config)
        write_json(folder / STUDY, {"pid": os.getpid(), "host": socket.gethostname(), "jobs": jobs})
        _begun = folder


def run_job(config: DictConfig, command_line: list[str]) -> dict[str, Any]:
    """One job of a multirun; it never fails, its outcome says whether it did.

    Raises:
        KeyboardInterrupt: The study is being stopped.
    """
    about = HydraConfig.get()
    verb = str(about.job.config_name)
    started_in = Path(about.runtime.cwd)
    folder = started_in / str(about.sweep.dir)
    study = read_json(folder / STUDY)
    number = int(about.job.num)
    title = study["jobs"][number] if number < len(study["jobs"]) else [str(w) for w in about.overrides.task]
    file = OutcomeFile(folder / OUTCOMES / f"{number:04d}.json", Outcome(number, title))
    say(f"== job {number + 1} of {max(len(study['jobs']), number + 1)}: {' '.join(title)}")
    launcher = str(about.runtime.choices["hydra/launcher"])
    hydra_argv, sys.argv = sys.argv, command_line or sys.argv
    try:
        values = plain(config)
        if "TORCHELASTIC_RUN_ID" in os.environ:
            raise UsageError("a study under torchrun would run once in every rank", remedy="leave out torchrun")
        if verb == "train" and needs_process(values["trainer"], launcher):
            run_in_process(_words(about), file, cwd=started_in, launcher_pid=launcher_here(study, launcher))
        else:
            with cells.recording(file):
                importlib.import_module(module_of(verb)).run(values)
            file.end()
    except (Interrupted, KeyboardInterrupt) as error:
        file.end(error)
        raise KeyboardInterrupt from error
    except CovidctError as error:
        report_failure(error)
        file.end(error)
    except Exception as error:
        traceback.print_exc()
        file.end(error)
    finally:
        sys.argv = hydra_argv
    return {"state": file.outcome.state, "exit_code": file.outcome.exit_code}


def summary_of_multirun(stopped: bool, broken: BaseException | None) -> int | None:
    """Print how the jobs of the multirun ended, if there was one.

    Args:
        stopped: Whether somebody stopped it.
        broken: What ended the launcher itself, if something did.

    Returns:
        The exit code: that of the first job that failed, 6 if it was stopped, else 0. None without a multirun.
    """
    global _begun
    folder, _begun = _begun, None
    if folder is None:
        return None
    jobs = read_json(folder / STUDY)["jobs"]
    found = [read_outcome(folder / OUTCOMES / f"{number:04d}.json") for number in range(len(jobs))]
    outcomes = [_settled(number, jobs[number], found[number], stopped) for number in range(len(jobs))]
    say(_table(outcomes))
    if broken is not None:
        report_failure(
            CovidctError(
                f"the launcher itself failed: {type(broken).__name__}: {broken}",
                where=str(folder),
                remedy="the same command goes on with what is left; see docs/how-to/sweep.md for launchers",
            )
        )
    codes = [outcome.exit_code for outcome in outcomes if outcome.exit_code]
    if stopped:
        return Interrupted.exit_code
    return codes[0] if codes else int(broken is not None)


def _settled(number: int, words: list[str], outcome: Outcome | None, stopped: bool) -> Outcome:
    """The outcome of a job that said nothing, or not its end: not started yet, or killed."""
    if outcome is not None and outcome.state != "running":
        return outcome
    folder = outcome.folder if outcome else None
    if stopped:
        reason = "stopped from outside" if outcome else "not started"
        return Outcome(number, words, "stopped", folder, reason, "Interrupted", Interrupted.exit_code)
    return Outcome(number, words, "failed", folder, "killed: it left no outcome", "Killed", Interrupted.exit_code)


def _table(outcomes: list[Outcome]) -> str:
    names = {
        "done": "done",
        "returned": "returned at once",
        "failed": "failed",
        "stopped": "to be gone on with",
        "running": "running",
    }
    width = max(len(" ".join(outcome.words)) for outcome in outcomes)
    lines = ["", f"study of {len(outcomes)} jobs:"]
    for outcome in outcomes:
        line = f"  {outcome.job + 1:>3}  {' '.join(outcome.words).ljust(width)}  {names[outcome.state]}"
        if outcome.state == "failed":
            line += f" ({outcome.kind}, exit code {outcome.exit_code}): {outcome.reason}"
        elif outcome.folder is not None:
            line += f"  {outcome.folder}"
        lines.append(line)
    counts = {state: sum(outcome.state == state for outcome in outcomes) for state in names}
    lines.append("  " + ", ".join(f"{n} {names[state]}" for state, n in counts.items() if n))
    return "\n".join(lines)


def _jobs(config: DictConfig) -> list[list[str]]:
    """For each job the words that tell it from the others, in the order of Hydra's own sweeper."""
    params = config.hydra.sweeper.get("params") or {}
    words = [f"{key}={value}" for key, value in params.items()] + list(config.hydra.overrides.task)
    overrides = OverridesParser.create().parse_overrides(words)
    [jobs] = BasicSweeper.split_arguments(overrides, None)
    swept = {override.get_key_element() for override in overrides if override.is_sweep_override()}
    return [[word for word in job if word.split("=", 1)[0] in swept] for job in jobs]


def _words(about: Any) -> list[str]:
    """The words of this job as one could type them, with the folders of configs that were given beside ours."""
    words = [str(word) for word in about.overrides.task]
    words += [str(word) for word in about.overrides.hydra if str(word).startswith("hydra.searchpath=")]
    for source in about.runtime.config_sources:
        if source.provider == "command-line":
            words += ["--config-dir", str(source.path)]
    return words
