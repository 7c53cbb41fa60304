"""Torn, hostile and half-written checkpoints; which one is best."""

from __future__ import annotations

import ast
import errno
import logging
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import covidct
from covidct.errors import DataRefused, IntegrityError, ResourceError, UsageError
from covidct.training.checkpoints import (
    CheckedCheckpoints,
    KeepCheckpoints,
    latest_checkpoint,
    read_checkpoint,
    verify_checkpoint,
    write_checkpoint,
)
from covidct.training.module import load_classifier
from tests.training import toy


def content(value: float = 1.0, n: int = 5000) -> dict[str, Any]:
    return {"state_dict": {"w": torch.full((n,), value)}, "hyper_parameters": {"name": "x"}, "epoch": int(value)}


class TestFile:
    def test_round_trip(self, tmp_path: Path) -> None:
        path = tmp_path / "a.ckpt"
        write_checkpoint(content(3.0), path)
        assert torch.equal(read_checkpoint(path)["state_dict"]["w"], torch.full((5000,), 3.0))
        assert torch.load(path, weights_only=True)["epoch"] == 3  # an ordinary torch file for everybody else
        assert [p.name for p in tmp_path.iterdir()] == ["a.ckpt"]

    def test_every_flipped_byte_is_noticed(self, tmp_path: Path) -> None:
        path = tmp_path / "a.ckpt"
        write_checkpoint(content(n=50), path)
        whole = path.read_bytes()
        for place in [*range(0, len(whole), 37), len(whole) - 80, len(whole) - 1]:
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            with pytest.raises((IntegrityError, DataRefused)):
                verify_checkpoint(path)

    @pytest.mark.parametrize("keep", [0, 1, 100, -1, -40, -200])
    def test_truncated(self, tmp_path: Path, keep: int) -> None:
        path = tmp_path / "a.ckpt"
        write_checkpoint(content(), path)
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises((IntegrityError, DataRefused)):
            read_checkpoint(path)

    def test_missing_and_foreign(self, tmp_path: Path) -> None:
        with pytest.raises(DataRefused, match="no such"):
            read_checkpoint(tmp_path / "a.ckpt")
        (tmp_path / "a.ckpt").write_text("hello " * 100)
        with pytest.raises(DataRefused, match="not a checkpoint"):
            read_checkpoint(tmp_path / "a.ckpt")
        torch.save(content(), tmp_path / "b.ckpt")
        with pytest.raises(IntegrityError, match="not written by this program"):
            read_checkpoint(tmp_path / "b.ckpt")

    def test_disk_full(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "last.ckpt"
        write_checkpoint(content(1.0), path)

        def full(obj: Any, target: Any) -> None:
            Path(target).write_bytes(b"half a")
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(torch, "save", full)
        with pytest.raises(ResourceError, match="No space"):
            write_checkpoint(content(2.0), path)
        assert read_checkpoint(path)["epoch"] == 1
        assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]

    def test_killed_while_writing(self, tmp_path: Path) -> None:
        """A process that does nothing but write is killed at many moments; what is there is always whole."""
        path = tmp_path / "last.ckpt"
        door = CheckedCheckpoints()
        door.save_checkpoint(content(1.0), path)
        for number in range(12):
            child = os.fork()
            if child == 0:
                for value in range(10_000):
                    door.save_checkpoint(content(float(value), n=100_000), path)
                os._exit(0)
            time.sleep(0.02 + 0.013 * number)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            assert latest_checkpoint(tmp_path) == path
            state = read_checkpoint(path)["state_dict"]["w"]
            assert bool((state == state[0]).all())


class TestGenerations:
    def fill(self, folder: Path) -> CheckedCheckpoints:
        door = CheckedCheckpoints()
        for value in (1.0, 2.0, 3.0):
            door.save_checkpoint(content(value), folder / "last.ckpt")
        return door

    def test_two_are_kept(self, tmp_path: Path) -> None:
        self.fill(tmp_path)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["last.ckpt", "last.previous.ckpt"]
        assert read_checkpoint(tmp_path / "last.ckpt")["epoch"] == 3
        assert read_checkpoint(tmp_path / "last.previous.ckpt")["epoch"] == 2

    def test_a_torn_last_falls_back_and_says_so(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        self.fill(tmp_path)
        last = tmp_path / "last.ckpt"
        last.write_bytes(last.read_bytes()[:-3000])
        with caplog.at_level(logging.WARNING):
            assert latest_checkpoint(tmp_path) == tmp_path / "last.previous.ckpt"
        assert "generation before" in caplog.text

    def test_none_and_nothing_whole(self, tmp_path: Path) -> None:
        assert latest_checkpoint(tmp_path) is None
        assert latest_checkpoint(tmp_path / "absent") is None
        self.fill(tmp_path)
        for path in tmp_path.iterdir():
            path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(IntegrityError, match="no checkpoint of this run is whole"):
            latest_checkpoint(tmp_path)

    def test_a_torn_file_does_not_push_out_a_whole_one(self, tmp_path: Path) -> None:
        self.fill(tmp_path)
        last = tmp_path / "last.ckpt"
        last.write_bytes(last.read_bytes()[:-3000])
        CheckedCheckpoints().save_checkpoint(content(4.0), last)  # the process that resumed
        assert read_checkpoint(last)["epoch"] == 4
        assert read_checkpoint(tmp_path / "last.previous.ckpt")["epoch"] == 2

    def test_without_hard_links(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: Any) -> None:
            raise OSError(errno.EPERM, "no links here")

        monkeypatch.setattr(os, "link", refuse)
        self.fill(tmp_path)
        assert read_checkpoint(tmp_path / "last.previous.ckpt")["epoch"] == 2

    def test_a_run_resumes_from_the_generation_before(self, tmp_path: Path) -> None:
        straight = toy.classifier()
        toy.trainer(None).fit(straight, toy.Toy())
        toy.trainer(tmp_path, max_epochs=4).fit(toy.classifier(), toy.Toy())
        last = tmp_path / "last.ckpt"
        last.write_bytes(last.read_bytes()[:-3000])
        module = toy.classifier()
        toy.trainer(tmp_path).fit(module, toy.Toy(), ckpt_path=str(latest_checkpoint(tmp_path)))
        assert module.digest() == straight.digest()


class Payload:
    """Unpickling it runs code."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.canary,))


class TestHostile:
    def test_pickled_code_does_not_run(self, tmp_path: Path) -> None:
        """With a right checksum: whoever can write the file can also compute that."""
        canary, path = tmp_path / "canary", tmp_path / "last.ckpt"
        write_checkpoint({**content(), "callbacks": {"x": Payload(canary)}}, path)
        torch.load(path, weights_only=False)
        assert canary.exists()  # the payload works
        canary.unlink()
        for read in (
            lambda: read_checkpoint(path),
            lambda: load_classifier(path),
            lambda: CheckedCheckpoints().load_checkpoint(path, weights_only=False),
            lambda: toy.trainer(tmp_path).fit(toy.classifier(), toy.Toy(), ckpt_path=str(path), weights_only=False),
        ):
            with pytest.raises(DataRefused, match="plain tensors"):
                read()
        assert not canary.exists()

    @pytest.mark.parametrize(
        "values",
        [
            {"_target_": "os.system"},
            {"_instantiator": "os.system"},
            {"_class_path": "x.Y"},
            {"classes": {"names": [{"_target_": "os.system", "_args_": ["true"]}]}},
        ],
    )
    def test_names_of_code(self, tmp_path: Path, values: dict[str, Any]) -> None:
        path = tmp_path / "last.ckpt"
        write_checkpoint({**content(), "hyper_parameters": values}, path)
        with pytest.raises(DataRefused, match="name code"):
            read_checkpoint(path)
        write_checkpoint({**content(), "hparams_instantiator": "os.system"}, path)
        with pytest.raises(DataRefused, match="name"):
            read_checkpoint(path)

    def test_a_checkpoint_of_something_else(self, tmp_path: Path) -> None:
        path = tmp_path / "x.ckpt"
        write_checkpoint(content(), path)
        with pytest.raises(DataRefused, match="not a checkpoint of this program"):
            load_classifier(path)
        write_checkpoint({"weights": torch.zeros(1)}, path)
        with pytest.raises(DataRefused, match="no model state"):
            load_classifier(path)

    def test_no_other_way_to_load(self) -> None:
        """Nowhere in the package is torch.load called without weights_only=True, nor pickle imported."""
        loads = 0
        for file in Path(covidct.__file__).parent.rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, (ast.Import, ast.ImportFrom)):
                    names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
                    assert not {"pickle", "dill", "cloudpickle", "joblib"} & set(names), file
                if isinstance(node, ast.Call) and ast.unparse(node.func) in {"torch.load", "load_from_checkpoint"}:
                    loads += 1
                    assert any(
                        k.arg == "weights_only" and getattr(k.value, "value", None) is True for k in node.keywords
                    ), file
        assert loads == 1


class TestBest:
    def feed(self, keep: KeepCheckpoints, figures: list[float]) -> list[int | None]:
        """Epochs whose checkpoint best.ckpt is, after each of these figures."""
        found = []
        for epoch, value in enumerate(figures):
            trainer = SimpleNamespace(
                callback_metrics={keep.monitor: torch.tensor(value)},
                current_epoch=epoch,
                is_global_zero=True,
                should_stop=False,
                max_epochs=99,
                strategy=SimpleNamespace(broadcast=lambda value: value, barrier=lambda name: None),
                save_checkpoint=lambda path, weights_only, epoch=epoch: CheckedCheckpoints().save_checkpoint(
                    content(float(epoch)), path
                ),
            )
            keep.on_train_epoch_end(trainer, toy.classifier())  # type: ignore[arg-type]
            best = keep.best_path
            found.append(read_checkpoint(best)["epoch"] if best else None)
            assert read_checkpoint(keep.folder / "last.ckpt")["epoch"] == epoch
        return found

    def test_strictly_better_and_never_nan(self, tmp_path: Path) -> None:
        nan = float("nan")
        keep = KeepCheckpoints(tmp_path, "val_loss", "min")
        assert isinstance(keep, KeepCheckpoints)
        assert self.feed(keep, [nan, 0.9, nan, 0.9, 0.5, float("-inf"), 0.7]) == [None, 1, 1, 1, 4, 4, 4]
        assert (keep.best_epoch, round(keep.best_value or 0, 6)) == (4, 0.5)
        high = KeepCheckpoints(tmp_path / "b", "val_macro_auc", "max")
        assert isinstance(high, KeepCheckpoints)
        assert self.feed(high, [0.6, nan, float("inf"), 0.8, 0.7]) == [0, 0, 0, 3, 3]

    def test_wrong_direction_or_figure(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="better"):
            KeepCheckpoints(tmp_path, "val_loss", "max")
        keep = KeepCheckpoints(tmp_path, "val_accuracy", "max")
        with pytest.raises(UsageError, match="val_accuracy"):
            keep.on_train_epoch_end(SimpleNamespace(callback_metrics={"x": 1}), None)  # type: ignore[arg-type]

    def test_best_is_known_after_a_resume(self, tmp_path: Path) -> None:
        trainer = toy.trainer(tmp_path, max_epochs=3)
        trainer.fit(toy.classifier(), toy.Toy())
        first = trainer.checkpoint_callback
        second = toy.trainer(tmp_path, max_epochs=3)
        second.fit(toy.classifier(), toy.Toy(), ckpt_path=str(tmp_path / "last.ckpt"))
        assert isinstance(first, KeepCheckpoints)
        assert isinstance(second.checkpoint_callback, KeepCheckpoints)
        assert second.checkpoint_callback.best_epoch == first.best_epoch
        assert second.checkpoint_callback.best_value == first.best_value
        with pytest.raises(IntegrityError, match="chose its best"):
            KeepCheckpoints(tmp_path, "val_accuracy", "max").load_state_dict(first.state_dict())

    @pytest.mark.parametrize("of_this_epoch", [True, False])
    def test_killed_between_last_and_best(self, tmp_path: Path, of_this_epoch: bool) -> None:
        toy.trainer(tmp_path, max_epochs=1).fit(toy.classifier(), toy.Toy())  # epoch 0 is always the best so far
        best = read_checkpoint(tmp_path / "best.ckpt")
        waiting = tmp_path / "best.next.ckpt"
        if of_this_epoch:  # last.ckpt was written, and the new best had not yet got its name
            (tmp_path / "best.ckpt").rename(waiting)
        else:  # the new best was written, and last.ckpt, which knows of it, was not
            write_checkpoint({**best, "epoch": 7}, waiting)
        toy.trainer(tmp_path, max_epochs=1).fit(toy.classifier(), toy.Toy(), ckpt_path=str(tmp_path / "last.ckpt"))
        assert not waiting.exists()
        assert read_checkpoint(tmp_path / "best.ckpt")["epoch"] == best["epoch"] == 0

    def test_short_epochs_are_not_all_written_and_nothing_else_changes(self, tmp_path: Path) -> None:
        states = []
        for seconds in (0.0, 1e9):
            folder = tmp_path / str(seconds)
            trainer = toy.trainer(folder, max_epochs=4)
            trainer.checkpoint_callback.every_seconds = seconds  # type: ignore[union-attr]
            trainer.fit(toy.classifier(), toy.Toy())
            states.append([read_checkpoint(folder / name) for name in ("best.ckpt", "last.ckpt")])
            assert (folder / "last.previous.ckpt").exists() == (seconds == 0)
        for often, once in zip(*states, strict=True):
            assert often["epoch"] == once["epoch"]
            assert all(torch.equal(often["state_dict"][k], v) for k, v in once["state_dict"].items())
        assert "optimizer_states" not in states[0][0]  # only what a prediction needs
