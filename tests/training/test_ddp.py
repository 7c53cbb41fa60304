"""Two processes on the CPU: every slice once, and a kill that is made up for."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import covidct  # noqa: F401 (first: it lets torchvision import)  # isort: skip

import numpy as np
import pytest

from covidct.training.checkpoints import read_checkpoint
from covidct.training.module import load_classifier, predict_slices
from covidct.training.slice_predictions import slice_figures
from tests.training import toy

pytestmark = pytest.mark.slow


def start(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The toy training over two processes."""
    command = [sys.executable, "-m", "tests.training.toy", str(folder), "--devices", "2", "--val", "97", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)


def run(folder: Path, *words: str) -> int:
    """Its exit status, when nothing went wrong but what was asked for."""
    done = start(folder, *words)
    if done.returncode > 0:
        raise AssertionError(done.stderr[-4000:])
    return done.returncode


def results(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / f"result{rank}.json").read_text()) for rank in (0, 1)]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("straight")
    assert run(folder, "--predict", "97", "2", "1") == 0
    return folder


def test_both_processes_agree(straight: Path) -> None:
    first, second = results(straight)
    assert first == second  # weights, figures, predictions: bit for bit
    assert [change["first_epoch"] for change in first["changes"]] == [0, 2]
    kept = {k.removeprefix("backbone."): v for k, v in read_checkpoint(straight / "last.ckpt")["state_dict"].items()}
    assert kept.keys() == toy.classifier().backbone.state_dict().keys()
    assert load_classifier(straight / "last.ckpt").digest() == first["digest"]


def test_validation_counts_each_of_97_slices_once(straight: Path) -> None:
    shared = results(straight)[0]
    assert shared["val_rows"] == list(range(1000, 1097))
    alone = predict_slices(toy.trainer(None), load_classifier(straight / "last.ckpt"), toy.evaluation_loader(97, 1000))
    for name, value in slice_figures(alone).items():
        assert shared["val"][f"val_{name}"] == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize(("place", "n"), [(0, 97), (1, 2), (2, 1)])  # 49 and 48, 1 and 1, 1 and none
def test_predictions_are_exact(straight: Path, place: int, n: int) -> None:
    found = results(straight)[0]["predicted"][place]
    assert found["rows"] == list(range(5000, 5000 + n))
    alone = predict_slices(toy.trainer(None), load_classifier(straight / "last.ckpt"), toy.evaluation_loader(n, 5000))
    np.testing.assert_allclose(np.array(found["p"]), alone.probabilities, rtol=1e-3, atol=1e-6)


def test_killed_in_the_second_phase(straight: Path, tmp_path: Path) -> None:
    assert run(tmp_path, "--kill", "3", "1") == -signal.SIGKILL
    assert run(tmp_path) == 0
    first, second = results(tmp_path)
    assert first["digest"] == second["digest"] == results(straight)[0]["digest"]


def test_a_bad_slice_of_one_process_stops_both(tmp_path: Path) -> None:
    done = start(tmp_path, "--spoilt", "7")
    assert done.returncode > 0
    for rank in (0, 1):
        said = [line for line in done.stderr.splitlines() if line.startswith(f"[rank{rank}]")]
        assert any("1 image(s) hold NaN" in line for line in said)
        assert any("rows 7 of the slice table" in line for line in said)
