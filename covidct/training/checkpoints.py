"""Checkpoints that survive a kill, a torn write and a hostile file.

A checkpoint is an ordinary torch file. Its SHA-256 stands in the comment field of the zip archive such a file is, so
that file and checksum are one, replaced in one step. Reading verifies it and never runs code (`weights_only`). Of
`last.ckpt` the generation before is kept as `last.previous.ckpt`.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import CheckpointIO
from pytorch_lightning.callbacks import Checkpoint

from covidct.errors import DataRefused, IntegrityError, ResourceError, UsageError
from covidct.files import replacing
from covidct.training.plateau import DIRECTIONS, Plateau

log = logging.getLogger(__name__)

BEST = "best.ckpt"
LAST = "last.ckpt"
PREVIOUS = "last.previous.ckpt"
NEXT = "best.next.ckpt"
_MARK = b"covidct-sha256:"
_COMMENT = len(_MARK) + 64
_END = 22  # size of zip's end-of-central-directory record; its last two bytes are the length of the comment
_FORBIDDEN = {"_target_", "_instantiator", "_class_path", "class_path", "_partial_", "_args_"}


def write_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a checkpoint and its checksum in one atomic step.

    Raises:
        ResourceError: The disk is full or cannot be written; whatever was at `path` is untouched.
    """
    try:
        with replacing(path) as temporary:
            torch.save(checkpoint, temporary)
            with temporary.open("r+b") as stream:
                size = stream.seek(0, os.SEEK_END)
                digest = _digest(stream, size)
                stream.seek(size - 2)
                stream.write(struct.pack("<H", _COMMENT) + _MARK + digest.encode())
    except (OSError, RuntimeError) as error:  # torch reports a failed write as RuntimeError
        if "DataLoader worker" in str(error):  # and a worker's death, wherever the main process happens to be
            raise
        raise ResourceError(
            f"the checkpoint could not be written: {str(error).splitlines()[0]}",
            where=path.name,
            remedy="free disk space and start again: the run resumes from the checkpoint before",
        ) from error


def _digest(stream: BinaryIO, size: int) -> str:
    """Over the file as torch wrote it: without comment, its length field zero."""
    running = hashlib.sha256()
    stream.seek(0)
    left = size - 2
    while left:
        chunk = stream.read(min(left, 1 << 20))
        if not chunk:
            break
        running.update(chunk)
        left -= len(chunk)
    running.update(b"\0\0")
    return running.hexdigest()


def verify_checkpoint(path: Path) -> None:
    """Check that a file is complete and unchanged since it was written.

    Raises:
        DataRefused: It does not exist, or never was a checkpoint of ours.
        IntegrityError: Bytes are missing or differ.
    """
    if not path.is_file():
        raise DataRefused("there is no such checkpoint", where=path.name)
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - _COMMENT - _END))
        tail = stream.read()
        written = tail[-_COMMENT:]
        if size < _COMMENT + _END or not written.startswith(_MARK):
            stream.seek(0)
            if stream.read(4) == b"PK\x03\x04" and _MARK not in tail:
                raise IntegrityError("the checkpoint is torn, or was not written by this program", where=path.name)
            raise DataRefused("not a checkpoint of this program", where=path.name)
        length = tail[-_COMMENT - 2 : -_COMMENT]
        digest = _digest(stream, size - _COMMENT).encode()
        if length != struct.pack("<H", _COMMENT) or digest != written[len(_MARK) :]:
            raise IntegrityError("the checkpoint was damaged or changed after it was written", where=path.name)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint to the CPU without running any code in it.

    Raises:
        DataRefused: No checkpoint, or one that holds objects, or hyper-parameters that name code.
        IntegrityError: Damaged.
    """
    path = Path(path)
    verify_checkpoint(path)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # UnpicklingError, RuntimeError, EOFError ...: whatever it is, it is not used
        raise DataRefused(
            f"the checkpoint is not plain tensors and values: {str(error).splitlines()[0][:200]}", where=path.name
        ) from error
    if not isinstance(loaded, dict) or "state_dict" not in loaded:
        raise DataRefused("the file holds no model state", where=path.name)
    for key in ("hyper_parameters", "datamodule_hyper_parameters"):
        for name in _names(loaded.get(key)):
            if name in _FORBIDDEN:
                raise DataRefused(f"the checkpoint's {key} name code to run ({name})", where=path.name)
    for key in loaded:
        if str(key).endswith("_instantiator"):
            raise DataRefused(f"the checkpoint names code to run ({key})", where=path.name)
    return loaded


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from _names(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _names(item)


def latest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint to resume from: `last.ckpt`, or the generation before when that one is torn. None: start anew.

    Raises:
        IntegrityError: There are checkpoints, and none is whole.
    """
    present = [path for path in (Path(folder) / LAST, Path(folder) / PREVIOUS) if path.exists()]
    problems = []
    for path in present:
        try:
            verify_checkpoint(path)
        except (IntegrityError, DataRefused) as error:
            problems.append(f"{path.name}: {error.what}")
            continue
        if problems:
            log.warning("%s; resuming from the generation before, %s", problems[0], path.name)
        return path
    if present:
        raise IntegrityError(
            "no checkpoint of this run is whole: " + "; ".join(problems), remedy="remove the run folder and start anew"
        )
    return None


class CheckedCheckpoints(CheckpointIO):
    """Lightning's reading and writing, through the functions here.

    Give it to the trainer as a plugin. `last.ckpt` is not overwritten: the file before becomes `last.previous.ckpt`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._whole: set[Path] = set()  # checked or written by this process: need not be read again before rotating

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write atomically, keeping the generation before of `last.ckpt`."""
        path = Path(path)
        if path.name == LAST and self._is_whole(path):
            _link(path, path.with_name(PREVIOUS))
        write_checkpoint(checkpoint, path)
        self._whole.add(path)

    def load_checkpoint(
        self, path: Any, map_location: Callable[..., Any] | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read with verification; always plain values only, whatever is asked for."""
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Remove one file."""
        Path(path).unlink(missing_ok=True)

    def _is_whole(self, path: Path) -> bool:
        if path in self._whole:
            return True
        try:
            verify_checkpoint(path)
        except (IntegrityError, DataRefused):
            return False  # a torn file must not push a whole one out
        return True


def _link(source: Path, target: Path) -> None:
    """Let `target` be the same file as `source`, atomically; a copy where the file system knows no hard links."""
    with replacing(target) as temporary:
        temporary.unlink()
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


class KeepCheckpoints(Checkpoint):
    """Keeps `last.ckpt` to resume from and, as `best.ckpt`, the weights of the epoch whose figure was best.

    Equal values do not replace an earlier best, and NaN is never best. The best weights wait in memory until the next
    `last.ckpt` is written; a kill between the two files leaves `best.next.ckpt`, which a resumed run gives its name or
    removes. The callback keeps no path: a run folder can move, and a checkpoint can travel.

    Args:
        folder: Where the files go.
        monitor: The figure that decides.
        mode: "min" or "max".
        every_seconds: Epochs shorter than this are not all written: that much work, at most, is repeated after a kill.
            The last epoch is always written.
    """

    def __init__(self, folder: Path, monitor: str, mode: str, *, every_seconds: float = 0.0) -> None:
        if mode not in ("min", "max") or DIRECTIONS.get(monitor, mode) != mode:
            raise UsageError(f"{monitor} does not get better towards its {mode}", where="recipe.best")
        self.folder = Path(folder)
        self.monitor = monitor
        self.every_seconds = every_seconds
        self.best_epoch: int | None = None
        self._plateau = Plateau(mode)
        self._pending: dict[str, Any] | None = None
        self._written = time.monotonic()
        self._unwritten = False

    @property
    def best_value(self) -> float | None:
        """The figure at its best; None while it was never defined."""
        return self._plateau.best

    @property
    def best_path(self) -> Path | None:
        """best.ckpt, once there is one."""
        return self.folder / BEST if self.best_epoch is not None else None

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take note of the best; save when it is time."""
        if self.monitor not in trainer.callback_metrics:
            raise UsageError(
                f"nothing called {self.monitor} was logged in this epoch",
                where="recipe.best",
                remedy=f"logged: {sorted(trainer.callback_metrics)}",
            )
        if self._plateau.update(float(trainer.callback_metrics[self.monitor])):
            self.best_epoch = trainer.current_epoch
            if trainer.is_global_zero:
                self._pending = _weights(pl_module, trainer.current_epoch)
        self._unwritten = True
        is_due = time.monotonic() - self._written >= self.every_seconds
        is_last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        # saving is done by all processes together, so one clock decides for all
        if trainer.strategy.broadcast(is_due or is_last):
            self._write(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save what was not: someone who came after us ended the run."""
        if self._unwritten:
            self._write(trainer)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Make up for a kill between the two files."""
        self._written = time.monotonic()
        waiting = self.folder / NEXT
        if trainer.is_global_zero and waiting.exists():
            try:
                epoch = read_checkpoint(waiting)["epoch"]
            except (DataRefused, IntegrityError):
                epoch = None
            if epoch is not None and epoch == self.best_epoch:
                waiting.replace(self.folder / BEST)
            else:
                waiting.unlink()
        trainer.strategy.barrier("best.ckpt")

    def _write(self, trainer: pl.Trainer) -> None:
        waiting, best = self.folder / NEXT, self._pending
        if best is not None:
            write_checkpoint(best, waiting)
        trainer.save_checkpoint(self.folder / LAST, weights_only=False)
        if best is not None:
            waiting.replace(self.folder / BEST)
        trainer.strategy.barrier("best.ckpt")  # the other processes read it next
        self._pending, self._unwritten, self._written = None, False, time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """Plain values for the checkpoint."""
        return {"monitor": self.monitor, "best_epoch": self.best_epoch, **self._plateau.state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`; refused when another figure decided."""
        if state_dict["monitor"] != self.monitor:
            raise IntegrityError(
                f"the checkpoint chose its best by {state_dict['monitor']}, not by {self.monitor}", where="recipe.best"
            )
        epoch = state_dict["best_epoch"]
        self.best_epoch = None if epoch is None else int(epoch)
        self._plateau.restore({"best": state_dict["best"], "waited": state_dict["waited"]})


def _weights(module: pl.LightningModule, epoch: int) -> dict[str, Any]:
    """A module as it is now, without what only resuming needs; frozen weights are not copied."""
    frozen = {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
    state = {name: t if name in frozen else t.detach().clone() for name, t in module.state_dict().items()}
    found: dict[str, Any] = {
        "state_dict": state,
        "epoch": epoch,
        "hyper_parameters": dict(module.hparams),
        "pytorch-lightning_version": pl.__version__,
    }
    module.on_save_checkpoint(found)
    return found
