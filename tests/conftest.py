"""One small hospital network and one trained run, made through the front door and shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("WANDB_MODE", "offline")
# beside other test processes, threads wait for each other longer than they compute
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")

SHARED = Path(__file__).resolve().parents[2] / "shared"
"""Real data and weights, beside the checkout where they are at hand; never part of the project."""


def run_verb(*words: str) -> int:
    """A verb through the command line, in this process."""
    from covidct.commands.cli import main

    return main(list(words))


def shared(*parts: str) -> Path:
    """A real file or folder; the test is skipped where it is not at hand."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs the real data {'/'.join(parts)} beside the checkout")
    return path


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `phantom`, `index` and a frozen split of it."""
    folder = tmp_path_factory.mktemp("workshop")
    assert run_verb("phantom", f"out={folder}/phantom", "patients=4", "slices_per_patient=3", "size=64") == 0
    # keys order the patients of a split: with a secret of its own, every session would test another split
    (folder / "pseudonym.key").touch(mode=0o600)
    (folder / "pseudonym.key").write_text("5e" * 32 + "\n")
    index = [f"data.root={folder}/phantom", f"data.index={folder}/index", f"key={folder}/pseudonym.key"]
    assert run_verb("index", "data=phantom", *index) == 0
    return folder


TINY = (
    "experiment=demo",
    "model.name=test_resnet",
    "model.weights=none",
    "data.size=32",
    "data.batch_size=16",
    "recipe.phases=[{optimizer: adam, lr: 0.003, epochs: 2}, {optimizer: sgd, lr: 0.01, momentum: 0.9}]",
    "recipe.stop={min_epochs: 3, max_epochs: 3}",
    "logger=csv",
)
"""A training that takes seconds and has every part of a real one."""


@pytest.fixture(scope="session")
def trained(workshop: Path) -> Path:
    """The run folder of a finished, evaluated tiny run."""
    assert run_verb("train", *TINY, f"data.index={workshop}/index", f"runs={workshop}/runs") == 0
    [run] = (workshop / "runs").glob("demo-*")
    assert run_verb("evaluate", f"run={run}") == 0
    return run
