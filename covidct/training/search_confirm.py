"""How much of the best trial's value was luck: the winner and the untuned settings on repeats the search never saw.

The best of many trials is the best partly because its noise was kind on the one validation part that all of them were
judged by. Trained again on other splits and with other seeds, it falls back by the optimism gap.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from covidct.errors import DataRefused
from covidct.training.search_space import SearchSpace
from covidct.training.search_trial import Ground, values_of


@dataclass(frozen=True)
class Confirmation:
    """The winner and the untuned settings on fresh repeats, in the first objective.

    Args:
        figure: The objective.
        way: "min" or "max".
        searched: The winner's value in the search.
        tuned: Its values on the fresh repeats.
        untuned: The values of the settings without the trial's words, on the same repeats.
        fresh_splits: Whether the repeats have splits of their own, or only seeds.
    """

    figure: str
    way: str
    searched: float
    tuned: tuple[float, ...]
    untuned: tuple[float, ...]
    fresh_splits: bool

    @property
    def gap(self) -> float:
        """How much better the winner looked in the search than on the fresh repeats; positive is the usual case."""
        difference = statistics.fmean(self.tuned) - self.searched
        return difference if self.way == "min" else -difference

    @property
    def sentences(self) -> list[str]:
        """What that says, for people."""
        name, n = self.figure, len(self.tuned)
        what = (
            ("split and seed" if self.fresh_splits else "seed")
            if n == 1
            else ("splits and seeds" if self.fresh_splits else "seeds")
        )
        found = [
            f"The winner's {name} was {self.searched:.4g} in the search and {_mean(self.tuned)} on {n} fresh {what}: "
            + (
                f"it looked {self.gap:.3g} better than it is."
                if self.gap > 0
                else f"no optimism was seen ({-self.gap:.3g} better than in the search)."
            )
        ]
        if self.tuned == self.untuned:
            found.append("That is what the untuned settings gave, too: the search found nothing better than them.")
        elif len(self.untuned) == n:
            better = [t < u if self.way == "min" else t > u for t, u in zip(self.tuned, self.untuned, strict=True)]
            difference = statistics.fmean(self.untuned) - statistics.fmean(self.tuned)
            difference = difference if self.way == "min" else -difference
            found.append(
                f"Untuned, the same repeats gave {_mean(self.untuned)}: tuning was better in {sum(better)} of {n}, "
                f"by {round(difference, 12) + 0:.3g} on average. "
                "So few repeats are a check, not a proof; `covidct compare` judges."
            )
        if not self.fresh_splits:
            found.append(
                "The split has no repeats, so the validation part is the one that was searched on: the gap leaves out "
                "the part of the luck that lies in its patients."
            )
        return found

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "figure": self.figure,
            "searched": self.searched,
            "tuned": list(self.tuned),
            "untuned": list(self.untuned),
            "fresh_splits": self.fresh_splits,
            "gap": self.gap,
            "sentences": self.sentences,
        }


def _mean(values: Sequence[float]) -> str:
    spread = f" (SD {statistics.stdev(values):.2g})" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.4g}{spread}"


def confirm(
    space: SearchSpace, ground: Ground, words: Sequence[str], searched: float, repeats: int, say: Callable[[str], None]
) -> Confirmation:
    """Train the winner and the untuned settings on fresh repeats; runs that are there are taken as they are.

    Args:
        space: What was searched.
        ground: What its trials shared.
        words: The winner's.
        searched: Its value of the first objective.
        repeats: How many, 1 or more.
        say: Prints a line.

    Raises:
        DataRefused: A training of the winner failed.
        Interrupted: Stopped from outside; the same call goes on.
    """
    base = ground.compose([])
    here = ground.split_of(base.split).digest
    tuned: list[float] = []
    untuned: list[float] = []
    fresh_splits = True
    for number in range(1, repeats + 1):
        fresh = [f"split.repeat={base.split.repeat + number}", f"seed={base.seed + number}"]
        try:
            fresh_splits &= ground.split_of(ground.compose(fresh).split).digest != here
        except DataRefused:  # a split that knows no such repeat
            fresh, fresh_splits = fresh[1:], False
        for name, own, values in (("winner", list(words), tuned), ("untuned", [], untuned)):
            value = values_of(ground.train([*own, *fresh], _quiet), space)[0]
            values.append(value)
            say(f"confirming, {name}, {' '.join(fresh)}: {space.figure} {value:.4g}")
    way = space.objectives[space.figure]
    return Confirmation(space.figure, way, searched, tuple(tuned), tuple(untuned), fresh_splits)


def _quiet(_: str) -> None:
    return
