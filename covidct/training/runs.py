"""A run folder is a record: its identity, its state, and who may write to it.

The identity is a digest of what determines the result. So the same command finds the same folder: a finished run is
returned at once, a half-finished one is resumed, and two runs that differ never share one.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covidct.errors import DataRefused, IntegrityError
from covidct.files import read_json, write_json
from covidct.provenance import digest_file, digest_json

if TYPE_CHECKING:  # they need pandas, and every verb comes by here
    from covidct.data.splits import Split
    from covidct.data.table import SliceTable
    from covidct.training.settings import TrainSettings

STATES = ("started", "trained", "evaluated")


def identity(settings: TrainSettings, *, index_digest: str, split_digest: str) -> str:
    """SHA-256 over everything that determines a run's result.

    Left out: names, folders, logging, worker counts, caches and trunk features, which must not change a number. A
    weights file counts by its bytes, not its path.
    """
    return digest_json({"index": index_digest, "split": split_digest, "seed": settings.seed, **_what_counts(settings)})


def configuration(settings: TrainSettings, *, index_digest: str, start: Mapping[str, Any]) -> str:
    """SHA-256 over what is planned: an identity without seed and repeat, the same for all repeats of an arm.

    Args:
        settings: Of the run.
        index_digest: Of its index.
        start: `weights` of run.json: the weights it began with count by their bytes, wherever the file is now.
    """
    values, counts = settings.as_dict(), _what_counts(settings)
    planned = {key: values["split"][key] for key in ("kind", "train_fraction", "external_sites")}
    weights = {key: start.get(key) for key in ("source", "name", "sha256")}
    return digest_json(
        {**counts, "index": index_digest, "split": planned, "model": counts["model"] | {"weights": weights}}
    )


def _what_counts(settings: TrainSettings) -> dict[str, Any]:
    values = settings.as_dict()
    weights = Path(settings.model.weights)
    return {
        "data": {k: values["data"][k] for k in ("windows", "size", "fit", "augment", "views", "batch_size", "balance")},
        "model": values["model"] | ({"weights": digest_file(weights)} if weights.is_file() else {}),
        "recipe": {k: v for k, v in values["recipe"].items() if k != "name"},
        "trainer": {
            key: values["trainer"][key]
            for key in ("devices", "num_nodes", "precision", "accumulate_grad_batches", "gradient_clip_val")
        },
    }


@dataclass(frozen=True)
class RunFolder:
    """One run's folder.

    Args:
        path: The folder.
    """

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Folder of best.ckpt and last.ckpt."""
        return self.path / "checkpoints"

    @property
    def predictions(self) -> Path:
        """The predictions table: the product of a run."""
        return self.path / "predictions.parquet"

    def read(self) -> dict[str, Any]:
        """The record run.json.

        Raises:
            DataRefused: The folder is no run folder.
        """
        if not (self.path / "run.json").is_file():
            raise DataRefused("this is not a run folder: it has no run.json", where=str(self.path))
        record = read_json(self.path / "run.json")
        if record.get("state") not in STATES:
            raise IntegrityError(f"unknown state {record.get('state')!r}", where=str(self.path / "run.json"))
        return dict(record)

    def write(self, **values: Any) -> None:
        """Add values to run.json."""
        record = self.read() if (self.path / "run.json").is_file() else {}
        write_json(self.path / "run.json", record | values)

    def has_reached(self, state: str) -> bool:
        """Whether the run is at `state` or past it."""
        if not (self.path / "run.json").is_file():
            return False
        return STATES.index(self.read()["state"]) >= STATES.index(state)

    @contextmanager
    def lock(self, say: Callable[[str], None]) -> Iterator[None]:
        """Keep other processes out of the folder; the lock of a process that is gone is cleared with a notice.

        Raises:
            IntegrityError: Another process works in this folder.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        file = self.path / "run.lock"
        mine = json.dumps({"pid": os.getpid(), "host": socket.gethostname()})
        try:
            handle = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            owner = _owner(file)
            if owner is None or (owner["host"] == socket.gethostname() and not is_alive(int(owner["pid"]))):
                say("cleared the lock of a process that is gone")
                file.unlink(missing_ok=True)
                handle = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            else:
                raise IntegrityError(
                    f"process {owner['pid']} is working in this run folder",
                    where=str(self.path),
                    remedy="wait for it; if it is surely gone (another machine), remove run.lock",
                ) from None
        with os.fdopen(handle, "w") as stream:
            stream.write(mine)
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


def run_folder(settings: TrainSettings, table: SliceTable, split: Split) -> tuple[RunFolder, str]:
    """The folder that belongs to these settings and data, and the run's identity."""
    digest = identity(settings, index_digest=table.digest, split_digest=split.digest)
    return RunFolder(Path(settings.runs) / f"{settings.name}-{digest[:12]}"), digest


def _owner(file: Path) -> dict[str, Any] | None:
    try:
        owner = json.loads(file.read_text())
    except (OSError, ValueError):  # killed between making the file and writing to it
        return None
    return owner if isinstance(owner, dict) and {"pid", "host"} <= owner.keys() else None


def is_alive(pid: int) -> bool:
    """Whether a process of this machine works; one that is dead and not yet buried by its parent does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # alive, and somebody else's
        return True
    try:  # proc_pid_stat(5): the state follows the name, which may hold anything up to its bracket
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):  # no /proc on this system
        return True
