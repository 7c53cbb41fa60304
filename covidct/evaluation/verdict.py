"""The language ladder: what may be said about two arms, generated from the figures and never typed.

1. "A is superior to B": only if the corrected and Holm-adjusted P is below alpha, and the posterior probability of a
   difference beyond the margin of equivalence is 0.95 or more, and the interval of P(A > B) lies above one half, with
   ten or more paired repeats and nothing that stands in the way (`Evidence.obstacles`).
2. "better on this data set, not established": the mean lies beyond the margin, but not all of that holds.
3. "practically equivalent": posterior probability of 0.95 or more inside the margin.
4. "undecided", with what it would take to decide.

Every sentence says which data it is about. Nothing here says "in general".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from covidct.evaluation.comparisons import (
    LEAST_REPEATS,
    MOST_PATIENTS,
    SURE,
    Difference,
    Outlook,
    Posterior,
    Superiority,
)

Rung = Literal["superior", "better", "equivalent", "undecided", "none"]


@dataclass(frozen=True)
class Evidence:
    """What is known about one contrast. Differences are oriented: positive favours `first`.

    Args:
        first: Name of an arm.
        second: Name of the other.
        metric: What was compared, for people.
        higher_is_better: Its direction.
        difference: None without a single pair.
        p_holm: Adjusted for all contrasts, or None.
        posterior: None with fewer than two pairs.
        wins: Share of repeats in which `first` is better; None without a pair.
        rope: Margin of practical equivalence.
        alpha: Of the adjusted P.
        place: "this data set" or "these sites".
        outlook: What a firm verdict would take, or None.
        patients: Patients that the repeats split anew, or None.
        obstacles: Reasons for which the first rung is withheld, whatever the figures say.
        warnings: What the reader must know beside it.
    """

    first: str
    second: str
    metric: str
    higher_is_better: bool
    difference: Difference | None
    p_holm: float | None
    posterior: Posterior | None
    wins: Superiority | None
    rope: float
    alpha: float
    place: str = "this data set"
    outlook: Outlook | None = None
    patients: int | None = None
    obstacles: Sequence[str] = ()
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class Verdict:
    """A rung of the ladder and the sentence that goes with it.

    Args:
        rung: "superior", "better", "equivalent", "undecided" or "none" (nothing to compare).
        better: The arm the figures favour, or None.
        sentence: For people.
        reasons: What keeps it from the first rung.
    """

    rung: Rung
    better: str | None
    sentence: str
    reasons: list[str]

    def as_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        return dict(vars(self))


def judge(evidence: Evidence) -> Verdict:
    """Find the rung and write its sentence."""
    found = evidence.difference
    if found is None:
        text = f"On {evidence.place} there is no verdict on {evidence.first} and {evidence.second}: no paired repeats."
        return Verdict("none", None, text + _after(evidence), ["no paired repeats"])
    if evidence.posterior is None or evidence.wins is None:
        text = (
            f"{_undecided(evidence)}: a single pair of runs has no spread. "
            f"At least {LEAST_REPEATS - found.runs} more are needed."
        )
        return Verdict("undecided", None, text + _after(evidence), ["a single pair has no spread"])
    swapped = found.mean < 0
    winner, loser = (evidence.second, evidence.first) if swapped else (evidence.first, evidence.second)
    beyond = evidence.posterior.worse if swapped else evidence.posterior.better
    lead, reasons = f"On {evidence.place}, ", _reasons(evidence, beyond, swapped)
    figures = _figures(evidence, winner, loser)
    if not reasons:
        text = f"{lead}{winner} is superior to {loser} in {evidence.metric}: {figures}."
        return Verdict("superior", winner, text + _after(evidence), [])
    if abs(found.mean) > evidence.rope:
        text = f"{lead}{winner} is better than {loser} in {evidence.metric}, not established: {figures}. "
        text += f"Not established, because {'; '.join(reasons)}.{_outlook(evidence)}"
        return Verdict("better", winner, text + _after(evidence), reasons)
    if evidence.posterior.equal >= SURE:
        text = (
            f"{lead}{evidence.first} and {evidence.second} are practically equivalent in {evidence.metric}: {figures}; "
            f"the probability that they differ by no more than {evidence.rope:g} is {_share(evidence.posterior.equal)}."
        )
        return Verdict("equivalent", None, text + _after(evidence), reasons)
    text = f"{_undecided(evidence)}: {figures}.{_outlook(evidence)}"
    return Verdict("undecided", None, text + _after(evidence), reasons)


def _undecided(evidence: Evidence) -> str:
    question = f"whether {evidence.first} or {evidence.second} is better in {evidence.metric}"
    return f"On {evidence.place} it is undecided {question}"


def _reasons(evidence: Evidence, beyond: float, swapped: bool) -> list[str]:
    """What keeps the verdict from the first rung, in words; empty when nothing does."""
    found, wins = evidence.difference, evidence.wins
    assert found is not None
    assert wins is not None
    low, high = (1 - wins.high, 1 - wins.low) if swapped else (wins.low, wins.high)
    reasons = []
    if found.runs < LEAST_REPEATS:
        reasons.append(f"{found.runs} paired repeats are fewer than {LEAST_REPEATS}")
    if found.sd == 0:
        reasons.append("the differences have no spread, so nothing can be inferred")
    elif evidence.p_holm is None or evidence.p_holm >= evidence.alpha:
        reasons.append(f"the adjusted P is {p_text(evidence.p_holm)}, not below {evidence.alpha:g}")
    if beyond < SURE:
        reasons.append(f"the probability of a difference beyond {evidence.rope:g} is {_share(beyond)}, below {SURE:g}")
    if low <= 0.5:
        reasons.append(f"the interval of its share of won repeats ({low:.2f} to {high:.2f}) reaches one half")
    return [*reasons, *evidence.obstacles]


def _figures(evidence: Evidence, winner: str, loser: str) -> str:
    """The figures in words, from the winner's side: "higher by" or "lower by", and how often."""
    found, wins = evidence.difference, evidence.wins
    assert found is not None
    assert wins is not None
    swapped = winner == evidence.second
    direction = "higher" if evidence.higher_is_better else "lower"
    share = 1 - wins.value if swapped else wins.value
    text = f"{winner} minus {loser} is 0" if found.mean == 0 else f"{winner} is {direction} by {_size(abs(found.mean))}"
    if found.low is not None and found.high is not None and found.sd:
        low, high = (-found.high, -found.low) if swapped else (found.low, found.high)
        text += (
            f" ({100 * found.level:.0f} % interval {_size(low)} to {_size(high)}; adjusted P {p_text(evidence.p_holm)})"
        )
    return f"{text}, and ahead in {share * found.runs:g} of {found.runs} repeats"


def _outlook(evidence: Evidence) -> str:
    """What it would take, as a sentence with a space before it; empty when it cannot be said or nothing is missing."""
    found, future = evidence.difference, evidence.outlook
    if found is None or future is None:
        return ""
    if future.more_runs == 0:  # what is missing is something else
        return ""
    if future.more_runs is not None:
        more = max(future.more_runs, LEAST_REPEATS - found.runs)
        word = "run" if more == 1 else "runs"
        return f" It needs about {more} more {word} of each arm, if mean and spread stay as they are."
    floor = (
        f" More splits of these patients cannot settle it: endlessly many would still leave an interval of "
        f"± {_size(future.floor)}."
    )
    if future.patients_factor is None:
        return floor + f" Nor would {MOST_PATIENTS} times the patients: the mean lies too near the margin."
    if evidence.patients:
        more = max(1, round(evidence.patients * (future.patients_factor - 1)))
        return f"{floor} It needs about {more:,} more patients beside the {evidence.patients:,}."
    return f"{floor} It needs about {future.patients_factor:.1f} times the patients."


def _after(evidence: Evidence) -> str:
    return "".join(f" {warning[0].upper()}{warning[1:]}." for warning in evidence.warnings)


def p_text(p: float | None) -> str:
    """A P value for people."""
    if p is None:
        return "undefined"
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}" if p < 0.1 else f"{p:.2f}"


def _size(value: float) -> str:
    """A difference for people: four decimals, more where these would show nothing."""
    return f"{value:.4f}" if value == 0 or abs(value) >= 0.001 else f"{value:.2g}"


def _share(value: float) -> str:
    return ">0.999" if value > 0.9995 else "<0.001" if value < 0.0005 else f"{value:.3f}"
