"""A run that is killed and resumed gives the weights of one that never stopped, bit for bit."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.plugins import MixedPrecision

from covidct.errors import IntegrityError
from covidct.training.checkpoints import latest_checkpoint
from covidct.training.phases import phases_of
from tests.training import toy

LOWERED = [  # a rate that really falls in both phases, and a phase that ends on a plateau
    {
        "optimizer": "adamw",
        "lr": 1e-3,
        "plateau": {"monitor": "train_loss", "patience": 1, "min_delta": 10.0},
        "scheduler": {"name": "plateau", "monitor": "val_loss", "patience": 1, "min_delta": 10.0, "factor": 0.3},
    },
    {
        "optimizer": "sgd",
        "lr": 1e-2,
        "momentum": 0.9,
        "epochs": 4,
        "scheduler": {"name": "plateau", "monitor": "val_loss", "patience": 1, "min_delta": 10.0, "factor": 0.3},
    },
]


def settings(kind: str) -> dict[str, Any]:
    """Trainer settings by name, made anew each time: a gradient scaler has a state."""
    if kind == "accumulate and clip":
        return {"accumulate_grad_batches": 3, "gradient_clip_val": 0.5}  # 4 batches: an uneven rest at each border
    if kind == "bf16":
        return {"precision": "bf16-mixed"}
    if kind == "fp16":  # Lightning has no gradient scaler for the CPU, torch has: it stands in for CUDA
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=3)
        return {"plugins": [MixedPrecision("16-mixed", "cpu", scaler)]}
    return {}


@cache
def straight(kind: str = "plain", recipe: str = "RECIPE") -> str:
    """Digest after a run without interruption."""
    module = toy.classifier()
    trainer = toy.trainer(None, toy.RECIPE if recipe == "RECIPE" else LOWERED, **settings(kind))
    trainer.fit(module, toy.Toy())
    assert trainer.current_epoch == (5 if recipe == "RECIPE" else 6)
    return module.digest()


def interrupted(folder: Path, at: tuple[int, int | None], kind: str = "plain", recipe: Any = None, workers: int = 0):
    """Stop a run, start it anew from what lies in its folder; the module and trainer of the second run."""
    with pytest.raises(toy.Killed):
        toy.trainer(folder, recipe, callbacks=[toy.Stop(*at)], **settings(kind)).fit(toy.classifier(), toy.Toy())
    latest = latest_checkpoint(folder)
    trainer = toy.trainer(folder, recipe, **settings(kind))
    module = toy.classifier()
    trainer.fit(module, toy.Toy(workers=workers), ckpt_path=latest and str(latest))
    return module, trainer


# the recipe: epochs 0 and 1 Adam, 2 to 4 SGD, four steps each
@pytest.mark.parametrize("at", [(0, 1), (1, 2), (1, None), (2, 0), (3, None), (4, 3)])
def test_killed_anywhere(tmp_path: Path, at: tuple[int, int | None]) -> None:
    module, trainer = interrupted(tmp_path, at)
    assert module.digest() == straight()
    assert [change["first_epoch"] for change in phases_of(trainer).changes] == [0, 2]
    assert isinstance(trainer.optimizers[0], torch.optim.SGD)


def test_the_comparison_can_fail() -> None:
    """The digest sees a run in which only the momentum was lost."""
    recipe = [toy.RECIPE[0], {**toy.RECIPE[1], "momentum": 0.8}]
    module = toy.classifier()
    toy.trainer(None, recipe).fit(module, toy.Toy())
    assert module.digest() != straight()


@pytest.mark.parametrize("kind", ["accumulate and clip", "bf16", "fp16"])
@pytest.mark.parametrize("at", [(0, None), (1, None), (3, 1)])
def test_every_precision(tmp_path: Path, kind: str, at: tuple[int, int | None]) -> None:
    module, trainer = interrupted(tmp_path, at, kind)
    assert module.digest() == straight(kind)
    assert module.digest() != straight()
    if kind == "fp16":
        assert trainer.precision_plugin.scaler.get_scale() > 2.0**10  # it grew, so it scaled


# plateaus at min_delta 10 come by the calendar: phase 0 ends after epoch 1, rates fall every second bad epoch
@pytest.mark.parametrize("at", [(1, None), (3, None), (4, None)])
def test_plateaus(tmp_path: Path, at: tuple[int, int | None]) -> None:
    module, trainer = interrupted(tmp_path, at, recipe=LOWERED)
    assert module.digest() == straight(recipe="LOWERED")
    assert trainer.optimizers[0].param_groups[0]["lr"] < 1e-2


def test_workers_have_not_begun_with_the_wrong_epoch(tmp_path: Path) -> None:
    """Lightning makes the loader's iterator before it tells the sampler which epoch it is."""
    module, _ = interrupted(tmp_path, (2, None), workers=1)
    assert module.digest() == straight()


def test_another_recipe_is_refused(tmp_path: Path) -> None:
    toy.trainer(tmp_path, toy.RECIPE, max_epochs=1).fit(toy.classifier(), toy.Toy())
    other = [{**toy.RECIPE[0], "lr": 2e-3}, toy.RECIPE[1]]
    with pytest.raises(IntegrityError, match="another recipe"):
        toy.trainer(tmp_path, other).fit(toy.classifier(), toy.Toy(), ckpt_path=str(tmp_path / "last.ckpt"))


def test_a_finished_run_does_nothing_more(tmp_path: Path) -> None:
    module = toy.classifier()
    toy.trainer(tmp_path).fit(module, toy.Toy())
    again = toy.classifier()
    trainer = toy.trainer(tmp_path)
    trainer.fit(again, toy.Toy(), ckpt_path=str(tmp_path / "last.ckpt"))
    assert again.digest() == module.digest() == straight()
    assert trainer.current_epoch == 5


@pytest.mark.slow
def test_sigkill(tmp_path: Path) -> None:
    """Real kills, at the border and in the middle of the second phase, then the end."""
    for kill in (["1", "-1"], ["3", "1"], None):
        command = [sys.executable, "-m", "tests.training.toy", str(tmp_path), *(["--kill", *kill] if kill else [])]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == (-signal.SIGKILL if kill else 0), done.stderr[-2000:]
    assert json.loads((tmp_path / "result0.json").read_text())["digest"] == straight()
