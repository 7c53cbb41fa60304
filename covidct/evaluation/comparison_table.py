"""What each arm reached in each repeat, failures included, and which repeats make a fair pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from covidct.errors import UsageError

COUNTED, UNFINISHED, UNDEFINED, MISSING = "counted", "unfinished", "undefined", "missing"
"""What became of a run, beside `FAILED`: it has a value, has not ended, has no defined value, or is not there."""

SAME_PATIENTS = ("digests.split", "digests.index")
"""Runs that differ in one of these were scored on other patients: they are no pair."""

SAME_CONDITIONS = {
    "weights.state_sha256": "initial weights",
    "seed": "seed of the data order",
    "epochs": "number of epochs",
    "data.batch_size": "batch size",
    "trainer.accumulate_grad_batches": "accumulated batches",
    "trainer.devices": "devices",
    "trainer.precision": "precision",
}
"""Facts that arms of one repeat must share, or else something beside the arm may explain the difference."""

NOTED_CONDITIONS = {"code.commit": "version of the code"}
"""Facts that are better shared; a difference is said, and is not held against the pair."""


@dataclass(frozen=True)
class Outcome:
    """One run of one arm.

    Args:
        arm: Its arm.
        repeat: What pairs it with the runs of other arms.
        state: `COUNTED`, `FAILED`, `UNFINISHED`, `UNDEFINED` or `MISSING`.
        value: Of the metric, when counted.
        reason: Why it does not count.
        run: Name of its folder.
        seconds: Wall time of training, or None.
        test_over_train: Patients scored over patients trained on, or None.
        patients: Patients scored and trained on together, or None.
        facts: What must or should be the same in a pair.
        path: Its folder, or None when it came from a table.
    """

    arm: str
    repeat: str
    state: str
    value: float | None = None
    reason: str | None = None
    run: str | None = None
    seconds: float | None = None
    test_over_train: float | None = None
    patients: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and CSV."""
        names = ("arm", "repeat", "state", "value", "reason", "run", "seconds")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Table:
    """All outcomes: every arm has one in every repeat.

    Args:
        arms: In order.
        repeats: In order.
        cells: By (arm, repeat).
    """

    arms: list[str]
    repeats: list[str]
    cells: Mapping[tuple[str, str], Outcome]

    def of(self, arm: str) -> list[Outcome]:
        """The outcomes of an arm, in the order of the repeats."""
        return [self.cells[arm, repeat] for repeat in self.repeats]


def table_of(outcomes: Sequence[Outcome]) -> Table:
    """Arrange outcomes; what is not there becomes `MISSING`.

    Raises:
        UsageError: Two runs claim the same arm and repeat.
    """
    cells: dict[tuple[str, str], Outcome] = {}
    for outcome in outcomes:
        place = (outcome.arm, outcome.repeat)
        if place in cells:
            raise UsageError(
                f"two runs of arm {outcome.arm} in repeat {outcome.repeat}: {cells[place].run} and {outcome.run}",
                remedy="give the runs of one study, or tell them apart: by=KEY for arms, pair=[KEY,...] for repeats",
            )
        cells[place] = outcome
    arms = sorted({arm for arm, _ in cells})
    repeats = sorted({repeat for _, repeat in cells}, key=_natural)
    for arm in arms:
        for repeat in repeats:
            cells.setdefault((arm, repeat), Outcome(arm, repeat, MISSING, reason="no such run"))
    return Table(arms, repeats, cells)


@dataclass(frozen=True)
class Pairing:
    """The repeats of two arms that can be compared.

    Args:
        repeats: Those with a value in both arms, on the same patients.
        excluded: (repeat, why) of all others.
        unfair: What must be the same in each pair and is not.
        noted: What had better be the same and is not.
        unchecked: What could not be checked, because a run does not record it.
    """

    repeats: list[str]
    excluded: list[tuple[str, str]]
    unfair: list[str]
    noted: list[str]
    unchecked: list[str]


def pair_up(table: Table, first: str, second: str, *, by: str = "arm") -> Pairing:
    """Find the pairs of two arms, and what is not fair about them.

    Args:
        table: All outcomes.
        first: An arm.
        second: Another.
        by: What tells arms apart; a condition that follows from it may differ.
    """
    repeats: list[str] = []
    excluded: list[tuple[str, str]] = []
    differing: dict[str, list[str]] = {}
    unknown: set[str] = set()
    for repeat in table.repeats:
        cells = [table.cells[arm, repeat] for arm in (first, second)]
        lacking = [cell for cell in cells if cell.state != COUNTED]
        if lacking:
            excluded.append(
                (repeat, "; ".join(f"{c.arm}: {c.state} ({c.reason or 'no reason given'})" for c in lacking))
            )
            continue
        if any(_compare(cells, key) is False for key in SAME_PATIENTS):
            excluded.append((repeat, f"{first} and {second} were trained and scored on different splits: unpaired"))
            continue
        repeats.append(repeat)
        for key, name in (SAME_CONDITIONS | NOTED_CONDITIONS).items():
            same = _compare(cells, key)
            if same is None:
                unknown.add(name)
            elif not same and not _follows(key, by):
                differing.setdefault(name, []).append(repeat)
        unknown |= {"split" for key in SAME_PATIENTS[:1] if _compare(cells, key) is None}
    said = {name: f"{name} differs in repeat {', '.join(where)}" for name, where in differing.items()}
    unfair = [text for name, text in said.items() if name in SAME_CONDITIONS.values()]
    return Pairing(repeats, excluded, unfair, [text for text in said.values() if text not in unfair], sorted(unknown))


def _compare(cells: Sequence[Outcome], key: str) -> bool | None:
    one, other = (cell.facts.get(key) for cell in cells)
    return None if one is None or other is None else one == other


def _follows(key: str, by: str) -> bool:
    """Whether a difference in `key` is what the arms are about."""
    if by == key:
        return True
    if key == "weights.state_sha256":
        return by.startswith(("model.", "data.windows"))
    return key == "epochs" and by.startswith(("recipe.stop", "recipe.phases"))


def _natural(repeat: str) -> tuple[tuple[int, float, str], ...]:
    """Sorts "10" after "9"."""
    key: list[tuple[int, float, str]] = []
    for word in repeat.replace(",", " ").split():
        key.append((0, float(word), "") if word.replace(".", "", 1).isdigit() else (1, 0.0, word))
    return tuple(key)
