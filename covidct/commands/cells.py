"""How each cell of a study ended: an outcome file for each job, failure.json in the run folder of one that failed.

Files, not a list in memory, because a launcher may run the jobs in other processes and on other machines.
"""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from covidct.errors import CovidctError, Interrupted
from covidct.files import read_json, replacing, write_json
from covidct.training.ranks import is_first_process

FAILURE = "failure.json"
TRACEBACK = "traceback.txt"
OUTCOME_VARIABLE = "COVIDCT_OUTCOME"
"""By this variable a cell in a process of its own is told where its outcome file is."""

State = Literal["running", "done", "returned", "failed", "stopped"]


@dataclass(frozen=True)
class Outcome:
    """How one job stands.

    Attributes:
        job: Its number in the study, from 0.
        words: The command line words that tell it from the other jobs.
        state: "done" now, or "returned" at once because it had been done before; "stopped" from outside, to be gone
            on with.
        folder: Its run folder, as soon as that is known.
        reason: Why it failed, in one line.
        kind: The class of the error, or "Killed".
        exit_code: What `covidct` would have answered for this job alone.
    """

    job: int
    words: list[str] = field(default_factory=list)
    state: State = "running"
    folder: str | None = None
    reason: str | None = None
    kind: str | None = None
    exit_code: int = 0


class OutcomeFile:
    """The file that holds the outcome of one job.

    Args:
        path: The file.
        outcome: What is known at the start, written at once; read from the file when it is not given.
    """

    def __init__(self, path: Path, outcome: Outcome | None = None) -> None:
        self.path = path
        if outcome is None:
            self.read()
        else:
            self.outcome = outcome
            self.update()

    def read(self) -> None:
        """Take over what another process wrote."""
        self.outcome = Outcome(**read_json(self.path))

    def update(self, **values: Any) -> None:
        """Change the outcome, in memory and in the file."""
        self.outcome = replace(self.outcome, **values)
        write_json(self.path, asdict(self.outcome))

    def end(self, error: BaseException | None = None) -> None:
        """Write how the job ended: by `error`, or well."""
        if error is None:
            if self.outcome.state == "running":
                self.update(state="done")
        elif isinstance(error, Interrupted | KeyboardInterrupt):
            self.update(state="stopped", reason="stopped from outside", kind="Interrupted", exit_code=6)
        else:
            self.update(state="failed", **described(error))


_current: OutcomeFile | None = None


@contextmanager
def recording(file: OutcomeFile | None) -> Iterator[None]:
    """Write into `file` what the verb says of its job inside."""
    global _current
    before, _current = _current, file
    try:
        yield
    finally:
        _current = before


def outcome_of_parent() -> OutcomeFile | None:
    """The outcome file that a study gave to this process; asked once, so that further ranks of it get none."""
    path = os.environ.pop(OUTCOME_VARIABLE, None)
    return OutcomeFile(Path(path)) if path else None


def is_cell() -> bool:
    """Whether this is one job of a study."""
    return _current is not None


def returned_at_once() -> None:
    """Say that the job had been done before."""
    if _current is not None:
        _current.update(state="returned")


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Say which run folder the job is about, and leave the reason there if it fails.

    A run by itself leaves a reason only in a folder that it had begun; a cell of a study always, for the study lists
    it. Nothing is left where another process is at work, nor by somebody who stops a run to go on later.
    """
    if _current is not None:
        _current.update(folder=str(folder))
    try:
        yield
    except Interrupted:
        raise
    except Exception as error:
        if is_first_process() and (_current is not None or (folder / "run.json").is_file()):
            write_failure(folder, described(error), None if isinstance(error, CovidctError) else error)
        raise
    if is_first_process():
        (folder / FAILURE).unlink(missing_ok=True)
        (folder / TRACEBACK).unlink(missing_ok=True)


def write_failure(folder: Path, values: dict[str, Any], error: BaseException | None = None) -> None:
    """Write failure.json, and traceback.txt for a bug, into a run folder that nobody works in."""
    if (folder / "run.lock").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / FAILURE, values)
    if error is not None:
        with replacing(folder / TRACEBACK) as temporary:
            temporary.write_text("".join(traceback.format_exception(error)), encoding="utf-8")


def described(error: BaseException) -> dict[str, Any]:
    """An error as `reason`, `kind` and `exit_code`."""
    kind = type(error).__name__
    if isinstance(error, CovidctError):
        where = f" ({error.where})" if error.where else ""
        return {"reason": f"{error.what}{where}", "kind": kind, "exit_code": error.exit_code}
    lines = str(error).strip().splitlines()
    return {"reason": f"a bug: {kind}: {lines[0] if lines else 'no message'}", "kind": kind, "exit_code": 1}


def read_outcome(path: Path) -> Outcome | None:
    """An outcome, or None where there is no readable one: its job was killed before it could say anything."""
    try:
        return Outcome(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
