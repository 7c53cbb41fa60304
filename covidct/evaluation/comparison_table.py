"""What each arm reached in each repeat, failures included, and which repeats make a fair pair."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from covidct.errors import DataRefused, UsageError
from covidct.evaluation.catalogue import FAILED, FINISHED, CataloguedRun
from covidct.files import read_json

COUNTED, UNFINISHED, UNDEFINED, MISSING = "counted", "unfinished", "undefined", "missing"
"""What became of a run, beside `FAILED`: its value counts, it has not ended, its metric is undefined, it is not there."""

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
    "code.commit": "version of the code",
}
"""Facts that arms of one repeat should share, or else something beside the arm may explain the difference."""


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
                remedy="give the runs of one study only, or tell them apart: by=KEY for arms, pair=[KEY,...] for repeats",
            )
        cells[place] = outcome
    arms = sorted({arm for arm, _ in cells})
    repeats = sorted({repeat for _, repeat in cells}, key=_natural)
    for arm in arms:
        for repeat in repeats:
            cells.setdefault((arm, repeat), Outcome(arm, repeat, MISSING, reason="no such run"))
    return Table(arms, repeats, cells)


def outcomes_of_runs(
    runs: Sequence[CataloguedRun],
    metric: str,
    *,
    by: str,
    pair: Sequence[str],
    measure: Callable[[CataloguedRun, str], Any] = lambda run, metric: run.value(metric),
) -> list[Outcome]:
    """One outcome for each run folder.

    Args:
        runs: The runs.
        metric: A dotted word.
        by: What tells arms apart.
        pair: What runs of a pair have in common, such as ["repeat", "seed"].
        measure: Gives the metric of a run.

    Raises:
        UsageError: A run does not say which arm or repeat it is.
        DataRefused: A file of a run cannot be read.
    """
    varying = [key for key in pair if len({str(run.value(key)) for run in runs}) > 1] or list(pair[:1])
    return [_outcome(run, metric, by, varying, measure) for run in runs]


def _outcome(
    run: CataloguedRun,
    metric: str,
    by: str,
    pair: Sequence[str],
    measure: Callable[[CataloguedRun, str], Any],
) -> Outcome:
    arm = run.value(by)
    places = [run.value(key) for key in pair]
    for key, value in ((by, arm), *zip(pair, places, strict=True)):
        if value is None:
            raise UsageError(
                f"the run does not say its {key}",
                where=str(run.path),
                remedy="leave it out, or name a key that every run has: by=KEY pair=[KEY,...]",
            )
    words = {"seed": "seed ", "repeat": ""}
    repeat = ", ".join(f"{words.get(key, key + ' ')}{value}" for key, value in zip(pair, places, strict=True))
    seconds = run.value("seconds")
    common: dict[str, Any] = {
        "arm": str(arm) if by == "arm" else f"{by.rpartition('.')[2]}={arm}",
        "repeat": repeat,
        "run": run.path.name,
        "seconds": float(seconds) if isinstance(seconds, int | float) else None,
        "path": run.path,
    }
    if run.state == FAILED:
        return Outcome(**common, state=FAILED, reason=run.reason)
    if run.state not in FINISHED:
        return Outcome(**common, state=UNFINISHED, reason=f"state {run.state}")
    value = measure(run, metric)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise UsageError(f"{metric} is no number but {value!r}", where=str(run.path))
    ratio, patients = _ratio(run.path)
    common |= {"test_over_train": ratio, "patients": patients}
    common["facts"] = {key: run.value(key) for key in (*SAME_PATIENTS, *SAME_CONDITIONS)}
    if value is None or not math.isfinite(value):
        why = "not evaluated" if metric.startswith("test.") and run.state != "evaluated" else f"{metric} is undefined"
        return Outcome(**common, state=UNDEFINED, reason=why)
    return Outcome(**common, state=COUNTED, value=float(value))


def _ratio(path: Path) -> tuple[float | None, int | None]:
    """Validation over training patients of the run's own split (or images), and the number of patients."""
    file = path / "split.json"
    if not file.is_file():
        return None, None
    split = read_json(file)
    train, val = len(split.get("train") or ()), len(split.get("val") or ())
    if not (train and val):
        return None, None
    return val / train, train + val if split.get("unit") == "patient" else None


def outcomes_of_table(path: Path, metric: str) -> list[Outcome]:
    """Outcomes from a CSV table with the columns `arm`, `repeat` and the metric; optionally `state`, `reason`, `run`
    and `seconds`. An empty metric is an undefined outcome, not a dropped one.

    Raises:
        DataRefused: The file is missing or is not such a table.
    """
    import pandas as pd

    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise DataRefused("the table does not exist", where=str(path)) from None
    except (ValueError, OSError) as error:
        raise DataRefused(f"not a CSV table: {error}", where=str(path)) from None
    missing = [name for name in ("arm", "repeat", metric) if name not in frame.columns]
    if missing:
        raise DataRefused(
            f"the table lacks the column {missing[0]!r}",
            where=str(path),
            remedy=f"it has {', '.join(map(str, frame.columns))}; metric=... names the column to compare",
        )
    outcomes = []
    for number, row in enumerate(frame.to_dict("records"), start=2):
        where = f"{path}, line {number}"
        if not row["arm"].strip() or not row["repeat"].strip():
            raise DataRefused("arm or repeat is empty", where=where)
        state, reason = row.get("state", ""), row.get("reason") or None
        value = _number(row[metric], metric, where)
        if value is not None and not math.isfinite(value):
            value, reason = None, reason or f"{metric} is {row[metric]}"
        if state in (FAILED, UNFINISHED, MISSING):
            value = None
        else:
            state = UNDEFINED if value is None else COUNTED
        if value is None and reason is None:
            reason = f"{metric} is empty"
        seconds = _number(row.get("seconds", ""), "seconds", where)
        name = row.get("run") or f"line {number}"
        outcomes.append(Outcome(row["arm"].strip(), row["repeat"].strip(), state, value, reason, name, seconds))
    return outcomes


def _number(text: str, name: str, where: str) -> float | None:
    if not text.strip():
        return None
    try:
        return float(text)
    except ValueError:
        raise DataRefused(f"{name} is no number: {text!r}", where=where) from None


@dataclass(frozen=True)
class Pairing:
    """The repeats of two arms that can be compared.

    Args:
        repeats: Those with a value in both arms, on the same patients.
        excluded: (repeat, why) of all others.
        unfair: What should be the same in each pair and is not.
        unchecked: What could not be checked, because a run does not record it.
    """

    repeats: list[str]
    excluded: list[tuple[str, str]]
    unfair: list[str]
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
            excluded.append((repeat, "; ".join(f"{c.arm}: {c.state} ({c.reason or 'no reason given'})" for c in lacking)))
            continue
        if any(_compare(cells, key) is False for key in SAME_PATIENTS):
            excluded.append((repeat, f"{first} and {second} were trained and scored on different splits: unpaired"))
            continue
        repeats.append(repeat)
        for key, name in SAME_CONDITIONS.items():
            same = _compare(cells, key)
            if same is None:
                unknown.add(name)
            elif not same and not _follows(key, by):
                differing.setdefault(name, []).append(repeat)
        unknown |= {"split" for key in SAME_PATIENTS[:1] if _compare(cells, key) is None}
    unfair = [f"{name} differs in repeat {', '.join(where)}" for name, where in differing.items()]
    return Pairing(repeats, excluded, unfair, sorted(unknown))


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
