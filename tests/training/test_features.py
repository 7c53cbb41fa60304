"""Training on trunk features is training: the same weights and predictions, whatever is kept, flipped or shared."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from covidct.training import features as module
from covidct.training.checkpoints import read_checkpoint
from tests.conftest import TINY, run_verb

FROZEN = (*TINY, "data.augment=null", "model.trainable=last3conv", "model.drop_rate=0.2")


class Bench:
    """Runs trainings on one index whose features start empty."""

    def __init__(self, folder: Path, workshop: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.workshop, self.capsys = folder, workshop, capsys

    def train(self, name: str, *words: str, code: int = 0) -> str:
        own = [
            f"name={name}",
            f"runs={self.folder}/runs",
            f"features.folder={self.folder}/features",
            "allow_drift=true",
        ]
        self.capsys.readouterr()
        assert run_verb("train", *FROZEN, f"data.index={self.workshop}/index", *own, *words) == code
        shown = self.capsys.readouterr()
        return shown.out + shown.err

    def run(self, name: str) -> Path:
        [found] = (self.folder / "runs").glob(f"{name}-*")
        return found

    def weights(self, name: str) -> dict[str, torch.Tensor]:
        return read_checkpoint(self.run(name) / "checkpoints" / "best.ckpt")["state_dict"]

    def probabilities(self, name: str) -> np.ndarray:
        frame = pd.read_parquet(self.run(name) / "predictions.parquet").sort_values("slice_key")
        return frame.filter(like="p_").to_numpy()

    def same(self, one: str, other: str, atol: float) -> None:
        for (key, a), b in zip(self.weights(one).items(), self.weights(other).values(), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=atol, msg=lambda text, key=key: f"{key}: {text}")
        np.testing.assert_allclose(self.probabilities(one), self.probabilities(other), atol=atol)


@pytest.fixture
def bench(tmp_path, workshop, capsys) -> Bench:
    return Bench(tmp_path, workshop, capsys)


def test_the_same_answer_in_float32(bench):
    """Adam, then SGD, with dropout: to the rounding of float32."""
    bench.train("off", "features.use=off")
    shown = bench.train("on", "features.use=on")
    assert "to compute" in shown
    bench.same("off", "on", atol=2e-6)
    assert not np.array_equal(bench.weights("on")["backbone.net.fc.weight"], np.zeros(1))
    record = json.loads((bench.run("on") / "run.json").read_text())["features"]
    assert record["used"]
    assert 0 < record["frozen_share"] < 1
    assert json.loads((bench.run("off") / "run.json").read_text())["features"]["used"] is False


def test_the_same_answer_in_bfloat16(bench):
    """The trunk's own type is kept, so what the tail is given has no rounding of its own."""
    bench.train("off", "features.use=off", "trainer.precision=bf16-mixed")
    bench.train("on", "features.use=on", "trainer.precision=bf16-mixed")
    bench.same("off", "on", atol=1e-3)


def test_fixed_views_are_the_same_pictures_with_and_without_features(bench):
    views = ("data.augment={flip: 0.5, rotate_degrees: 20, noise_std: 0.1}", "data.views=2")
    bench.train("off", "features.use=off", *views)
    shown = bench.train("on", "features.use=on", *views)
    assert shown.count("augmented view") == 2
    bench.same("off", "on", atol=2e-6)
    plain = bench.train("plain", "features.use=on")
    assert "augmented view" not in plain
    assert not np.allclose(bench.probabilities("on"), bench.probabilities("plain"), atol=1e-4)


def test_arms_and_repeats_share_what_was_computed(bench):
    first = bench.train("a", "features.use=on")
    assert ", 0 to compute" not in first
    again = bench.train("b", "features.use=on", "recipe.phases=[{optimizer: sgd, lr: 0.01}]")
    assert ", 0 to compute" in again
    other = bench.train("c", "features.use=on", "data.windows=[mediastinal]")
    assert ", 0 to compute" not in other  # another picture
    assert len(list((bench.folder / "features").iterdir())) == 2
    run_verb("evaluate", f"run={bench.run('a')}")
    bench.capsys.readouterr()
    run_verb("evaluate", f"run={bench.run('b')}")
    assert ", 0 to compute" in bench.capsys.readouterr().out  # test slices too
    before = pd.read_parquet(bench.run("b") / "predictions.parquet")
    assert set(before["split"]) == {"val", "test"}


@pytest.mark.slow
def test_two_processes_read_the_same_features(bench):
    """DDP: the first process computes them, the other finds them; the answer is that of two processes without."""
    own = [f"runs={bench.folder}/runs", f"features.folder={bench.folder}/features", "allow_drift=true"]
    words = [*FROZEN, f"data.index={bench.workshop}/index", *own, "trainer=ddp_cpu", "data.batch_size=8"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for use in ("off", "on"):
        command = [sys.executable, "-m", "covidct", "train", *words, f"name=ddp_{use}", f"features.use={use}"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr
    assert done.stdout.count("to compute") == 1
    bench.same("ddp_off", "ddp_on", atol=2e-6)


def test_a_flipped_byte_is_found_and_made_again(bench):
    bench.train("first", "features.use=on")
    [rows] = (bench.folder / "features").glob("*/rows.bin")
    marks = np.fromfile(rows.with_name("marks.bin"), dtype=np.uint32)
    size = rows.stat().st_size // len(marks)
    filled = int(np.flatnonzero(marks)[1])
    with rows.open("r+b") as file:
        file.seek(filled * size + 3)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 64]))
    assert ", 1 to compute" in bench.train("again", "features.use=on")
    bench.same("first", "again", atol=0)


def test_a_killed_builder_goes_on_where_it_was(bench, monkeypatch):
    put, count = module.RowStore.put, 0

    def killed(store, row, values):
        nonlocal count
        count += store.folder is not None  # pictures are kept in memory, by the same class
        if count > 7:
            raise KeyboardInterrupt
        put(store, row, values)

    monkeypatch.setattr(module.RowStore, "put", killed)
    assert "the same command goes on" in bench.train("one", "features.use=on", code=6)
    monkeypatch.undo()
    shown = bench.train("one", "features.use=on")
    assert "60 slices" in shown
    assert ", 53 to compute" in shown
    bench.train("whole", "features.use=on", f"features.folder={bench.folder}/others")
    bench.same("whole", "one", atol=0)


def test_where_they_cannot_hold_they_are_off_and_the_reason_is_said(bench):
    assert "draws another picture in every epoch" in bench.train("a", "data.augment={flip: 0.5}")
    assert "nothing of the network is frozen" in bench.train("b", "model.trainable=all")
    shown = bench.train("c", "data.augment={flip: 0.5}", "features.use=on", code=2)
    assert "data.views=K" in shown
    assert "features.use=auto" in shown


def test_a_disk_that_cannot_hold_them_is_refused_with_the_sizes(bench, monkeypatch):
    usage = module.RowStore.require_space.__globals__["shutil"]
    monkeypatch.setattr(usage, "disk_usage", lambda _: usage._ntuple_diskusage(10**6, 10**6, 1000))
    shown = bench.train("full", "features.use=on", code=5)
    assert "the disk has 0.0 GiB" in shown
    assert "features.use=off" in shown


def test_memory_of_the_accelerator_gives_the_same_batches(bench, monkeypatch):
    """The road of a GPU, driven on the CPU: batches from a bank in memory are batches from the file."""
    seen = {}

    def held(self, wanted, say):
        rows = wanted[None]
        from_file = self.batch(None, rows[::-1].copy())
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (10**12, 10**12))
        self._device = type("Device", (), {"type": "cuda"})()
        monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *_: tensor)
        original(self, wanted, say)
        monkeypatch.undo()
        assert self.in_gpu_memory
        seen["equal"] = torch.equal(self.batch(None, rows[::-1].copy()), from_file)
        self._resident = {}
        self._device = torch.device("cpu")

    original = module.TrunkFeatures._hold
    monkeypatch.setattr(module.TrunkFeatures, "_hold", held)
    assert "held in GPU memory" in bench.train("gpu", "features.use=on", "trainer.precision=bf16-mixed")
    assert seen["equal"]
