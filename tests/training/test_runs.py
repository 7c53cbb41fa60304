"""Run folders: what makes two runs the same run, and who may write."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys

import pytest

from covidct.errors import DataRefused, IntegrityError
from covidct.training.runs import RunFolder, identity
from covidct.training.settings import TrainSettings, read_settings
from tests.training.test_settings import compose


def settings(*overrides: str) -> TrainSettings:
    return read_settings(TrainSettings, compose("experiment=demo", *overrides))


def digest(*overrides: str) -> str:
    return identity(settings(*overrides), index_digest="i", split_digest="s")


@pytest.mark.parametrize(
    "same", ["data.workers=7", "logger=csv", "name=other", "runs=elsewhere", "data.cache=none", "logger.tags=[a]"]
)
def test_what_cannot_change_a_number_does_not_change_the_identity(same):
    assert digest(same) == digest()


@pytest.mark.parametrize(
    "other",
    ["seed=1", "data.size=64", "data.windows=[lung,bone]", "recipe=adam", "model.trainable=head",
     "trainer.precision=bf16-mixed", "data.batch_size=8", "recipe.phases.0.lr=0.1"],
)  # fmt: skip
def test_what_changes_the_result_changes_the_identity(other):
    assert digest(other) != digest()


def test_identity_follows_index_split_and_the_bytes_of_the_weights(tmp_path):
    assert len({identity(settings(), index_digest=i, split_digest=s) for i in "ab" for s in "cd"}) == 4
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    one.write_bytes(b"weights")
    two.write_bytes(b"weights")
    assert digest(f"model.weights={one}") == digest(f"model.weights={two}")
    two.write_bytes(b"other")
    assert digest(f"model.weights={one}") != digest(f"model.weights={two}")


def test_state_is_kept(tmp_path):
    run = RunFolder(tmp_path)
    assert not run.has_reached("started")
    run.write(state="trained", epochs=3)
    run.write(note="x")
    assert run.has_reached("started")
    assert run.has_reached("trained")
    assert not run.has_reached("evaluated")
    assert run.read() == {"state": "trained", "epochs": 3, "note": "x"}


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(DataRefused, match="not a run folder"):
        RunFolder(tmp_path).read()


def test_a_second_process_is_refused(tmp_path):
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        (tmp_path / "run.lock").write_text(json.dumps({"pid": other.pid, "host": socket.gethostname()}))
        with pytest.raises(IntegrityError, match=str(other.pid)), RunFolder(tmp_path).lock(print):
            pass
    finally:
        other.kill()
        other.wait()
    said: list[str] = []
    with RunFolder(tmp_path).lock(said.append):  # the process is gone: cleared, and said
        assert json.loads((tmp_path / "run.lock").read_text())["pid"] == os.getpid()
    assert said
    assert not (tmp_path / "run.lock").exists()


@pytest.mark.parametrize("text", ["", "{", '{"pid": 1}', "[]"])
def test_a_torn_lock_is_cleared(tmp_path, text):
    (tmp_path / "run.lock").write_text(text)
    with RunFolder(tmp_path).lock(lambda _: None):
        pass


def test_a_lock_of_another_machine_stands(tmp_path):
    (tmp_path / "run.lock").write_text(json.dumps({"pid": 2**22 + 1, "host": "some-other-machine"}))
    with pytest.raises(IntegrityError), RunFolder(tmp_path).lock(print):
        pass


def test_settings_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings().seed = 2  # type: ignore[misc]
