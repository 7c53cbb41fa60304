"""Recipes: what is accepted, what the rates are, and which optimizer runs when."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import covidct  # noqa: F401 (first: it lets torchvision import)  # isort: skip

import pytest
import pytorch_lightning as pl
import torch

from covidct.errors import UsageError
from covidct.training.phases import Phase, parse_phases, phases_of, total_epochs
from covidct.training.recipe import rate_factor
from tests.training import toy

PAPER = [{"optimizer": "adam", "lr": 1e-4, "epochs": 25}, {"optimizer": "sgd", "lr": 1e-3, "momentum": 0.9}]


class Witness(pl.Callback):
    """Notes what the first step of each epoch is taken with."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, float]] = []
        self.logged: list[dict[str, float]] = []

    def on_before_optimizer_step(self, trainer: pl.Trainer, module: Any, optimizer: torch.optim.Optimizer) -> None:
        if trainer.fit_loop.batch_idx == 0:
            self.seen.append((type(optimizer).__name__, optimizer.param_groups[0]["lr"]))

    def on_train_epoch_end(self, trainer: pl.Trainer, module: Any) -> None:
        self.logged.append({key: float(value) for key, value in trainer.callback_metrics.items()})


def run(recipe: Any, **changes: Any) -> tuple[pl.Trainer, Witness]:
    witness = Witness()
    trainer = toy.trainer(None, recipe, callbacks=[witness], **changes)
    trainer.fit(toy.classifier(), toy.Toy(train=12, val=6))
    return trainer, witness


class TestParse:
    def test_the_paper(self) -> None:
        adam, sgd = parse_phases(PAPER, max_epochs=100)
        assert adam == Phase("adam", 1e-4, {}, None, 25, None)
        assert sgd == Phase("sgd", 1e-3, {"momentum": 0.9}, None, None, None)
        assert total_epochs((adam, sgd)) is None
        assert total_epochs((adam, adam)) == 50

    def test_a_schedule_spans_its_phase(self) -> None:
        phases = parse_phases(
            [
                {"optimizer": "adam", "lr": 1e-3, "epochs": 8, "scheduler": "cosine"},
                {**PAPER[1], "scheduler": "cosine"},
            ],
            max_epochs=20,
        )
        assert [phase.scheduler and phase.scheduler["epochs"] for phase in phases] == [8, 12]

    @pytest.mark.parametrize(
        ("phases", "says"),
        [
            ([], "one or more"),
            ({"optimizer": "adam"}, "one or more"),
            (["adam"], "section"),
            ([{"optimizer": "adm", "lr": 1e-3}], "adam"),
            ([{"lr": 1e-3}], "optimizer"),
            ([{"optimizer": "adam"}], "number"),
            ([{"optimizer": "adam", "lr": "1e-4"}], "1.0e-4"),
            ([{"optimizer": "adam", "lr": 0}], "too small"),
            ([{"optimizer": "adam", "lr": float("nan")}], "number"),
            ([{"optimizer": "adam", "lr": True}], "number"),
            ([{"optimizer": "adam", "lr": 1e-3, "momentum": 0.9}], "no option 'momentum'"),
            ([{"optimizer": "sgd", "lr": 1e-3, "momentun": 0.9}], "momentum"),
            ([{"optimizer": "sgd", "lr": 1e-3, "nesterov": True}], "[Nn]esterov"),
            ([{"optimizer": "sgd", "lr": 1e-3, "momentum": -1}], "momentum"),
            ([{"optimizer": "adam", "lr": 1e-3, "betas": [0.9, 1.5]}], "beta"),
            ([{"optimizer": "adam", "lr": 1e-3, "betas": 0.9}], "refuses"),
            ([{"optimizer": "adam", "lr": 1e-3, "epochs": 0}], "whole number"),
            ([{"optimizer": "adam", "lr": 1e-3, "epochs": 1.5}], "whole number"),
            ([{"optimizer": "adam", "lr": 1e-3}, PAPER[1]], "open-ended"),
            ([{"optimizer": "adam", "lr": 1e-3, "plateau": {"monitor": "val_los"}}], "watch"),
            ([{"optimizer": "adam", "lr": 1e-3, "plateau": {"patience": 0}}], "whole number"),
            ([{"optimizer": "adam", "lr": 1e-3, "plateau": {"wait": 3}}], "wait"),
            ([{"optimizer": "adam", "lr": 1e-3, "scheduler": "cosin"}], "cosine"),
            ([{"optimizer": "adam", "lr": 1e-3, "scheduler": "cosine"}], "length"),
            ([{"optimizer": "adam", "lr": 1e-3, "scheduler": {"name": "step", "factor": 2}}], "larger than 1"),
            ([{"optimizer": "adam", "lr": 1e-3, "epochs": 3, "scheduler": "warmup_cosine"}], "warm-up"),
        ],
    )
    def test_refused_with_a_reason(self, phases: Any, says: str) -> None:
        with pytest.raises(UsageError) as caught:
            parse_phases(phases)
        assert re.search(says, str(caught.value))

    @pytest.mark.parametrize("file", sorted((Path(__file__).parents[2] / "conf" / "recipe").glob("*.yaml")), ids=str)
    def test_every_recipe_that_is_shipped(self, file: Path) -> None:
        import yaml

        values = yaml.safe_load(file.read_text())
        if values["phases"] != "???":
            assert parse_phases(values["phases"], max_epochs=100)


class TestRates:
    def against(self, schedule: dict[str, Any], oracle: Any, epochs: int) -> None:
        parameter = torch.nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.SGD([parameter], lr=0.1)
        theirs = oracle(optimizer)
        factor = rate_factor(schedule)
        for epoch in range(epochs):
            assert 0.1 * factor(epoch) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-6)
            optimizer.step()
            theirs.step()

    def test_cosine(self) -> None:
        self.against(
            {"name": "cosine", "epochs": 7, "final_fraction": 0.2},
            lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=7, eta_min=0.02),
            8,
        )
        factor = rate_factor({"name": "cosine", "epochs": 7, "final_fraction": 0.2})
        assert factor(30) == pytest.approx(0.2)  # it stays down, unlike torch's

    def test_step(self) -> None:
        self.against(
            {"name": "step", "every": 3, "factor": 0.5}, lambda o: torch.optim.lr_scheduler.StepLR(o, 3, 0.5), 10
        )

    def test_warmup(self) -> None:
        factor = rate_factor({"name": "warmup_cosine", "warmup_epochs": 3, "epochs": 5, "final_fraction": 0.0})
        assert [round(factor(epoch), 6) for epoch in range(6)] == [0.25, 0.5, 0.75, 1.0, 0.5, 0.0]


class TestRun:
    def test_who_steps_when_with_which_rate(self) -> None:
        trainer, witness = run(toy.RECIPE)
        # cosine over 2 epochs down to a tenth: 1, then 0.1 + 0.9 / 2; step: halved after 2 epochs
        expected = [("Adam", 1e-3), ("Adam", 5.5e-4), ("SGD", 1e-2), ("SGD", 1e-2), ("SGD", 5e-3)]
        assert [name for name, _ in witness.seen] == [name for name, _ in expected]
        assert [rate for _, rate in witness.seen] == pytest.approx([rate for _, rate in expected])
        assert [row["lr"] for row in witness.logged] == pytest.approx([rate for _, rate in expected])
        assert [row["phase"] for row in witness.logged] == [0, 0, 1, 1, 1]
        assert phases_of(trainer).changes == [
            {"phase": 0, "optimizer": "adam", "lr": 1e-3, "first_epoch": 0},
            {"phase": 1, "optimizer": "sgd", "lr": 1e-2, "first_epoch": 2},
        ]
        assert trainer.current_epoch == 5

    def test_only_tuned_parameters(self) -> None:
        trainer, _ = run([{"optimizer": "adam", "lr": 1e-3, "epochs": 1}])
        module = trainer.lightning_module
        held = {id(p) for group in trainer.optimizers[0].param_groups for p in group["params"]}
        assert held == {id(p) for p in module.parameters() if p.requires_grad}
        assert len(held) == len(module.trainable.names) < len(list(module.parameters()))

    def test_a_phase_ends_on_a_plateau(self) -> None:
        never_better = {"monitor": "val_loss", "patience": 2, "min_delta": 100.0}
        _, witness = run([{**PAPER[0], "epochs": 9, "plateau": never_better}, {**PAPER[1], "epochs": 1}])
        # epoch 0 is the best, 1 and 2 are not better: the third phase epoch is the last
        assert [name for name, _ in witness.seen] == ["Adam", "Adam", "Adam", "SGD"]

    def test_a_rate_falls_on_a_plateau(self) -> None:
        falls = {"name": "plateau", "monitor": "val_accuracy", "patience": 1, "min_delta": 2.0, "factor": 0.5}
        _, witness = run([{"optimizer": "sgd", "lr": 0.1, "epochs": 6, "scheduler": falls}])
        # torch: epoch 0 is the best; patience 1 forgives epoch 1; after epoch 2 the rate falls, after 4 again
        assert [rate for _, rate in witness.seen] == pytest.approx([0.1, 0.1, 0.1, 0.05, 0.05, 0.025])

    def test_one_recipe_is_needed(self) -> None:
        bare = pl.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", enable_progress_bar=False)
        with pytest.raises(UsageError, match="one recipe"):
            bare.fit(toy.classifier(), toy.Toy())
