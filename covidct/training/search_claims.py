"""Who works on which trial: claiming the next one, staying alive in the eyes of others, taking over from the dead.

A trial that is worked on carries its worker's place, process and time. The place tells machines and process spaces
apart, so that a process number means something; the time, renewed by a thread, serves where it does not. A trial whose
worker is gone is queued again with the same values, and so resumes its half-finished run.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covidct.training.runs import is_alive
from covidct.training.search_storage import optuna_here

if TYPE_CHECKING:
    import optuna

HEARTBEAT_SECONDS = 30.0
STALE_SECONDS = 300.0
"""A worker on another machine that was not heard of for so long is taken for dead."""

CLAIM_SECONDS = 60.0
"""A trial that nobody put a name to for so long was claimed by a process that died at once."""

WORKER, BEAT, OUTCOME, REASON = "worker", "heartbeat", "outcome", "reason"
"""Names of the notes a trial carries. `outcome` of a failed trial: "failed" (with `reason`), "lost" (its worker died or
was stopped; queued again) or "surplus" (drawn although enough others were under way)."""


@dataclass(frozen=True)
class Progress:
    """How far a search is, in trials.

    Args:
        complete: Trained to the end.
        pruned: Ended early because they were worse than others.
        failed: Ended with a reason, such as a loss that is not finite.
        running: Being worked on.
        waiting: Queued.
    """

    complete: int
    pruned: int
    failed: int
    running: int
    waiting: int

    @property
    def done(self) -> int:
        """What counts toward the number of trials that was asked for."""
        return self.complete + self.pruned


def progress_of(study: optuna.Study) -> Progress:
    """Count the trials of a study."""
    counts = dict.fromkeys(("COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING"), 0)
    for trial in study.get_trials(deepcopy=False):
        if trial.state.name != "FAIL" or trial.user_attrs.get(OUTCOME) == "failed":
            counts[trial.state.name] += 1
    return Progress(counts["COMPLETE"], counts["PRUNED"], counts["FAIL"], counts["RUNNING"], counts["WAITING"])


def first_reason(study: optuna.Study) -> str | None:
    """Why the first failed trial failed."""
    reasons = [t.user_attrs.get(REASON) for t in study.get_trials(deepcopy=False) if t.user_attrs.get(REASON)]
    return None if not reasons else str(reasons[0])


def claim(study: optuna.Study, wanted: int) -> optuna.trial.Trial | None:
    """The next trial to work on; None when enough are done or under way.

    Several workers may ask at once. A trial that turns out to be one too many is put away, by its number, so that all
    workers agree without talking.
    """
    optuna = optuna_here()
    states = optuna.trial.TrialState
    take_over(study)
    so_far = progress_of(study)
    if so_far.done >= wanted or (not so_far.waiting and so_far.done + so_far.running >= wanted):
        return None
    trial = study.ask()
    trial.set_user_attr(WORKER, here())
    trial.set_user_attr(BEAT, time.time())
    before = [t for t in study.get_trials(deepcopy=False) if t.number < trial.number]
    counted = sum(t.state in (states.COMPLETE, states.PRUNED, states.RUNNING, states.WAITING) for t in before)
    if counted >= wanted:
        trial.set_user_attr(OUTCOME, "surplus")
        study.tell(trial, state=states.FAIL)
        return None
    return trial


def put_back(study: optuna.Study, trial: optuna.trial.Trial, values: Mapping[str, Any], why: str) -> None:
    """Give up a trial that can go on later: it is queued again with the same values."""
    optuna = optuna_here()
    trial.set_user_attr(OUTCOME, "lost")
    study.tell(trial, state=optuna.trial.TrialState.FAIL)
    study.enqueue_trial(dict(values), user_attrs={"resumes": trial.number, "because": why})


def take_over(study: optuna.Study) -> list[int]:
    """Queue the trials of dead workers again.

    Returns:
        The numbers of the trials that were given up.
    """
    optuna = optuna_here()
    states = optuna.trial.TrialState
    taken = []
    for trial in study.get_trials(deepcopy=False, states=(states.RUNNING,)):
        why = _is_dead(trial)
        if why is None:
            continue
        try:  # of several workers that find it, one succeeds
            study._storage.set_trial_user_attr(trial._trial_id, OUTCOME, "lost")
            study._storage.set_trial_state_values(trial._trial_id, states.FAIL)
        except (optuna.exceptions.UpdateFinishedTrialError, RuntimeError):
            continue
        taken.append(trial.number)
        values = trial.params or trial.system_attrs.get("fixed_params", {})
        if values:
            study.enqueue_trial(dict(values), user_attrs={"resumes": trial.number, "because": why})
    return taken


def _is_dead(trial: optuna.trial.FrozenTrial) -> str | None:
    worker, beat = trial.user_attrs.get(WORKER), trial.user_attrs.get(BEAT)
    if worker is None:  # asked for a moment ago, or its worker died at once
        began = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
        return "its worker never began" if time.time() - began > CLAIM_SECONDS else None
    mine = here()
    if worker["place"] == mine["place"]:
        return None if _runs(worker["pid"], worker["began"]) else f"its process {worker['pid']} is gone"
    if beat is None or time.time() - float(beat) > STALE_SECONDS:
        return f"nothing was heard of it for {STALE_SECONDS:.0f} s"
    return None


def here() -> dict[str, Any]:
    """This worker: place, process number, and when the process began (a number may be given out again)."""
    return {"place": _place(), "pid": os.getpid(), "began": _began(os.getpid())}


def _place() -> str:
    place = socket.gethostname()
    for fact in (Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")):
        try:
            place += ":" + (fact.readlink().name if fact.is_symlink() else fact.read_text().strip())
        except OSError:
            continue
    return sha256(place.encode()).hexdigest()[:16]  # tells places apart and names no machine


def _began(pid: int) -> str | None:
    try:  # field 22 of proc_pid_stat(5); the second field, the name, may hold anything up to its bracket
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def _runs(pid: int, began: str | None) -> bool:
    return is_alive(pid) and (began is None or began == _began(pid))


@contextmanager
def heartbeat(study: optuna.Study, trial: optuna.trial.Trial) -> Iterator[None]:
    """Renew the time on a trial for as long as it is worked on."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(HEARTBEAT_SECONDS):
            try:
                study._storage.set_trial_user_attr(trial._trial_id, BEAT, time.time())
            except Exception:  # a storage that is away for a moment ends no training
                continue

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
