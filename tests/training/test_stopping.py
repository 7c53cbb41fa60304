"""When training ends."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import covidct  # noqa: F401 (first: it lets torchvision import)  # isort: skip

import pytest

from covidct.errors import UsageError
from covidct.training.phases import PhasedOptimizers, parse_phases
from covidct.training.plateau import Plateau, direction
from covidct.training.stopping import StopRule
from tests.training import toy

NAN = float("nan")


def stops_after(
    rule: StopRule, figures: list[tuple[float, float]], phases: PhasedOptimizers | None = None, change: int = 0
) -> int | None:
    """Epochs that are done when the rule stops a run with these (accuracy, loss); None when it does not."""
    trainer = SimpleNamespace(callbacks=[phases] if phases else [], should_stop=False)
    for epoch, (accuracy, loss) in enumerate(figures):
        if phases:
            phases.index = int(epoch >= change)
        trainer.current_epoch = epoch
        trainer.callback_metrics = {"val_accuracy": accuracy, "val_loss": loss}
        rule.on_train_epoch_end(trainer, None)  # type: ignore[arg-type]
        if trainer.should_stop:
            return epoch + 1
    return None


FLAT = [(0.5, 1.0)] * 100


class TestRule:
    def test_patience_counts_from_the_best(self) -> None:
        assert stops_after(StopRule(0, 3, 100), FLAT) == 4
        assert stops_after(StopRule(0, 3, 100), [(0.5, 1.0), (0.6, 1.0), *FLAT]) == 5

    def test_not_before_min_epochs_but_then_at_once(self) -> None:
        assert stops_after(StopRule(50, 3, 100), FLAT) == 50

    def test_min_epochs_does_not_latch(self) -> None:
        """A pause before epoch 50 is forgotten when things improve again (Lightning would stop at exactly 50)."""
        late = [*FLAT[:45], *[(0.5, 1.0 - 0.001 * i) for i in range(1, 20)], *[(0.5, 2.0)] * 30]
        assert stops_after(StopRule(50, 10, 100), late) == 45 + 19 + 10

    def test_either_figure_keeps_it_going(self) -> None:
        falling = [(0.5, 1.0 - 0.01 * i) for i in range(30)]
        rising = [(0.01 * i, 1.0 + i) for i in range(30)]
        assert stops_after(StopRule(0, 2, 100), falling) is None
        assert stops_after(StopRule(0, 2, 100), rising) is None

    def test_nan_is_no_improvement(self) -> None:
        assert stops_after(StopRule(0, 3, 100), [(0.5, 1.0), *[(NAN, NAN)] * 9]) == 4
        assert stops_after(StopRule(0, 3, 100), [(NAN, NAN)] * 9) == 3
        assert stops_after(StopRule(0, 3, 100), [(NAN, float("-inf"))] * 9) == 3

    def test_min_delta(self) -> None:
        slow = [(0.5, 1.0 - 0.001 * i) for i in range(30)]
        assert stops_after(StopRule(0, 3, 100, min_delta=0.01), slow) is not None
        assert stops_after(StopRule(0, 11, 100, min_delta=0.0099), slow) is None

    def test_max_epochs(self) -> None:
        rule = StopRule(0, 30, 12)
        assert stops_after(rule, FLAT) == 12
        assert "max_epochs" in str(rule.reason)

    def test_the_last_phase_has_its_turn(self) -> None:
        recipe = [{"optimizer": "adam", "lr": 1e-3, "epochs": 20}, {"optimizer": "sgd", "lr": 1e-3}]
        assert stops_after(StopRule(0, 3, 100), FLAT, PhasedOptimizers(parse_phases(recipe)), change=20) == 23

    def test_goes_on_where_it_was(self) -> None:
        first, second = StopRule(0, 5, 100), StopRule(0, 5, 100)
        assert stops_after(first, FLAT[:4]) is None
        second.load_state_dict(first.state_dict())
        assert stops_after(second, FLAT) == 2

    @pytest.mark.parametrize("values", [(0, 0, 5), (6, 1, 5), (-1, 1, 5), (0, 1, 0), (0, 1, 5, -0.1)])
    def test_nonsense(self, values: tuple[float, ...]) -> None:
        with pytest.raises(UsageError):
            StopRule(*values)  # type: ignore[arg-type]


def test_plateau_directions() -> None:
    assert (direction("val_loss"), direction("val_macro_auc")) == ("min", "max")
    with pytest.raises(UsageError):
        direction("val_acc")
    follow = Plateau("max")
    assert [follow.update(v) for v in (NAN, 0.5, 0.5, 0.6, NAN)] == [False, True, False, True, False]
    assert (follow.best, follow.waited) == (0.6, 1)


def test_in_a_run(tmp_path: Path) -> None:
    """Stops by itself in the second phase; started again it does nothing more; a trainer's own minimum is refused."""
    recipe = [{"optimizer": "adam", "lr": 1e-3, "epochs": 2}, {"optimizer": "sgd", "lr": 1e-3}]
    module = toy.classifier()
    trainer = toy.trainer(tmp_path, recipe, stop=StopRule(0, 2, 40, min_delta=50.0))
    trainer.fit(module, toy.Toy())
    assert trainer.current_epoch == 4
    again, rule = toy.classifier(), StopRule(0, 2, 40, min_delta=50.0)
    trainer = toy.trainer(tmp_path, recipe, stop=rule)
    trainer.fit(again, toy.Toy(), ckpt_path=str(tmp_path / "last.ckpt"))
    assert trainer.current_epoch == 4
    assert again.digest() == module.digest()
    assert "neither" in str(rule.reason)
    with pytest.raises(UsageError, match="min_epochs"):
        toy.trainer(None, recipe, stop=StopRule(0, 2, 40), min_epochs=10).fit(toy.classifier(), toy.Toy())
