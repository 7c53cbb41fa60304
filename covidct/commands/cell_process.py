"""A cell of a study in a process of its own, which never outlives the study.

Lightning starts the other ranks of a DDP run by repeating the command line. Inside a multirun that would be the whole
study again, in every rank (Lightning #11300). So such a cell becomes one plain `covidct train` with the words of its
job. The same keeps cells apart under launchers that use their processes for several jobs.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from covidct.commands.cells import OUTCOME_VARIABLE, OutcomeFile, write_failure
from covidct.errors import Interrupted, UsageError
from covidct.training.runs import RunFolder, is_alive

PARENT_VARIABLE = "COVIDCT_PARENT"
RANK_VARIABLES = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "RANK", "GROUP_RANK", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE")
RANK_PREFIXES = ("MASTER_", "TORCHELASTIC_")
SLURM_TASK_VARIABLES = (
    "SLURM_NTASKS",
    "SLURM_NTASKS_PER_NODE",
    "SLURM_PROCID",
    "SLURM_LOCALID",
    "SLURM_NODEID",
    "SLURM_TASKS_PER_NODE",
)
"""With these Lightning would take the ranks of the cell for tasks that SLURM started."""

POLL_SECONDS = 0.5
STOP_SECONDS = 30.0
PR_SET_PDEATHSIG = 1  # prctl(2)


def needs_process(trainer: Mapping[str, Any], launcher: str) -> bool:
    """Whether a cell must have a process of its own: several ranks, or a launcher that is not the basic one.

    Raises:
        UsageError: The cell would need several machines.
    """
    if trainer["num_nodes"] != 1:
        raise UsageError(
            "a cell of a study runs on one machine",
            where=f"trainer.num_nodes={trainer['num_nodes']}",
            remedy="train it by itself, without -m, on all of them (docs: Train on several GPUs)",
        )
    if launcher != "basic" or str(trainer["strategy"]).startswith(("ddp", "fsdp", "deepspeed")):
        return True
    devices = trainer["devices"]
    if devices in ("auto", -1, "-1"):
        if trainer["accelerator"] not in ("auto", "gpu", "cuda"):
            return False
        import torch

        return torch.cuda.device_count() > 1
    return (len(devices) if isinstance(devices, list) else int(devices)) > 1


def run_in_process(words: Sequence[str], outcome: OutcomeFile, *, cwd: Path, launcher_pid: int | None) -> None:
    """Run `covidct train WORDS` and wait for it; its output is passed through, its end is in `outcome`.

    Args:
        words: Command line words of the job.
        outcome: Its outcome file; the process says there how it ended, and what it cannot say is added here.
        cwd: The folder in which the study was started.
        launcher_pid: The process of the launcher on this machine, without which the cell is to stop; None if the cell
            may go on alone.

    Raises:
        Interrupted: The study is being stopped, and the cell was.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in (*RANK_VARIABLES, *SLURM_TASK_VARIABLES) and not name.startswith(RANK_PREFIXES)
    }
    environment |= {OUTCOME_VARIABLE: str(outcome.path), PARENT_VARIABLE: str(os.getpid())}
    command = [sys.executable, "-m", "covidct", "train", *words, "hydra.mode=RUN"]
    posix: dict[str, Any] = {"process_group": 0} if os.name == "posix" else {}  # the ranks can be ended together
    process = subprocess.Popen(
        command, env=environment, cwd=cwd if cwd.is_dir() else None, stdin=subprocess.DEVNULL, **posix
    )
    try:
        while (code := _wait(process, POLL_SECONDS)) is None:
            if launcher_pid is not None and not is_alive(launcher_pid):
                _signal(process, "SIGKILL")
                raise Interrupted("the launcher of the study is gone", remedy="start the same command again")
    except KeyboardInterrupt:
        _stop(process)
        raise
    outcome.read()  # the process wrote to it
    if code != 0:
        _signal(process, "SIGKILL")  # ranks that wait for the one that is gone
    _settle(outcome, code)


def _settle(outcome: OutcomeFile, code: int) -> None:
    """Add what a process that was killed could not say itself."""
    state = outcome.outcome.state
    if state in ("done", "returned", "failed"):
        return
    if code < 0:
        name = signal.Signals(-code).name
        memory = "; most often memory ran out" if name == "SIGKILL" else ""
        values = {"reason": f"killed by {name}{memory}", "kind": "Killed", "exit_code": Interrupted.exit_code}
    elif state == "stopped":
        values = {"reason": "stopped from outside", "kind": "Interrupted", "exit_code": Interrupted.exit_code}
    else:
        values = {"reason": f"its process ended with code {code}", "kind": "Killed", "exit_code": code or 1}
    outcome.update(state="failed", **values)
    if outcome.outcome.folder is not None:
        folder = Path(outcome.outcome.folder)
        if code < 0:
            _clear_lock_of_the_dead(folder)
        write_failure(folder, values)


def _clear_lock_of_the_dead(folder: Path) -> None:
    """The lock of a cell of this machine that was just killed is nobody's any more."""
    with contextlib.suppress(Exception), RunFolder(folder).lock(lambda _: None):
        pass


def _wait(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def _stop(process: subprocess.Popen[bytes]) -> None:
    """As Ctrl-C would, for the cell has a process group of its own; after a while, or another Ctrl-C, with force."""
    _signal(process, "SIGINT")
    with contextlib.suppress(KeyboardInterrupt):
        end = time.monotonic() + STOP_SECONDS
        while time.monotonic() < end:
            if _wait(process, POLL_SECONDS) is not None:
                return
    _signal(process, "SIGKILL")
    process.wait()


def _signal(process: subprocess.Popen[bytes], name: str) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "posix":
            os.killpg(process.pid, getattr(signal, name))
        else:
            process.kill()


def launcher_here(study: Mapping[str, Any], launcher: str) -> int | None:
    """The launcher's process if it is on this machine and a cell must not outlive it; SLURM's jobs may."""
    if "slurm" in launcher or study.get("host") != socket.gethostname():
        return None
    return int(study["pid"])


def end_with_parent() -> None:
    """In a cell's process: be killed by the system when the study is killed, so that nothing keeps the run's lock.

    Only Linux can do it (prctl); elsewhere the study's process ends the cell if it lives to do so. The further ranks
    of a cell end with its first rank in the same way.
    """
    parent = os.environ.get(PARENT_VARIABLE)
    if parent is None:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(parent):  # it was killed before the line above
            sys.exit(Interrupted.exit_code)
    os.environ[PARENT_VARIABLE] = str(os.getpid())
