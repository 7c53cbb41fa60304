"""The ladder: every rung, what withholds the first one, and how often simulated studies reach it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from covidct.errors import UsageError
from covidct.evaluation.comparison import Comparison, compare
from covidct.evaluation.comparison_plan import ComparisonPlan
from covidct.evaluation.comparison_table import COUNTED, Outcome, table_of
from tests.evaluation.simulated_splits import split_accuracies

WORD = "superior"
FACTS = {"digests.split": None, "digests.index": "i", "weights.state_sha256": "w", "seed": 0, "epochs": 50}


def outcomes(values: Mapping[str, Sequence[float]]) -> list[Outcome]:
    """Runs with these values, fair in every way."""
    return [
        Outcome(
            arm,
            str(repeat),
            COUNTED,
            float(value),
            run=f"{arm}-{repeat}",
            seconds=60.0,
            test_over_train=1 / 3,
            patients=300,
            facts=FACTS | {"digests.split": f"s{repeat}"},
        )
        for arm, numbers in values.items()
        for repeat, value in enumerate(numbers)
    ]


def two_arms(mean: float, sd: float, repeats: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Arm "new" over arm "old" by exactly this mean and standard deviation of the differences."""
    generator = np.random.default_rng(seed)
    raw = generator.normal(size=repeats)
    base = 0.8 + generator.normal(size=repeats) * 0.05
    return {"old": base, "new": base + mean + sd * (raw - raw.mean()) / raw.std(ddof=1)}


def verdict_of(values: Mapping[str, Sequence[float]], **plan: object):
    result = compare(table_of(outcomes(values)), ComparisonPlan(contrasts=[["new", "old"]], **plan))
    [contrast] = result.contrasts
    return contrast.verdict


@pytest.mark.parametrize(
    ("mean", "sd", "repeats", "rung", "better"),
    [
        (0.05, 0.01, 20, "superior", "new"),
        (-0.05, 0.01, 20, "superior", "old"),  # worse is the other arm's turn
        (0.05, 0.01, 9, "better", "new"),  # too few repeats, whatever the figures
        (0.02, 0.03, 20, "better", "new"),
        (-0.02, 0.03, 20, "better", "old"),
        (0.001, 0.003, 20, "equivalent", None),
        (-0.001, 0.003, 20, "equivalent", None),
        (0.006, 0.02, 20, "undecided", None),
        (0.05, 0.0, 20, "better", "new"),  # no spread: nothing can be inferred
    ],
)
def test_every_rung(mean, sd, repeats, rung, better):
    found = verdict_of(two_arms(mean, sd, repeats))
    assert (found.rung, found.better) == (rung, better)
    assert (WORD in found.sentence) == (rung == "superior")
    assert found.sentence.startswith("On this data set")
    assert "new" in found.sentence
    assert "old" in found.sentence
    if rung == "superior":
        other = "old" if better == "new" else "new"
        assert f"{better} is superior to {other} in macro AUC of validation patients" in found.sentence
        assert f"{better} is higher by 0.0500" in found.sentence
        assert "20 of 20" in found.sentence
    if rung == "better":
        assert "not established" in found.sentence
        assert found.reasons
    if rung == "undecided":
        assert "about" in found.sentence


def test_each_of_the_three_conditions_can_withhold_the_word():
    plain = verdict_of(two_arms(0.05, 0.01, 20))
    assert plain.rung == "superior"
    strict = verdict_of(two_arms(0.05, 0.01, 20), alpha=1e-12)
    margin = verdict_of(two_arms(0.05, 0.01, 20), rope=0.045)
    values = two_arms(0.05, 0.01, 12)
    # the mean is carried by a few repeats, and the share of won ones is not sure
    values["new"] = values["old"] + np.array([0.3] * 6 + [-0.001] * 6)
    few = verdict_of(values, rope=0.0, alpha=0.5)
    for found, word in ((strict, "adjusted P"), (margin, "beyond 0.045"), (few, "reaches one half")):
        assert found.rung == "better"
        assert any(word in reason for reason in found.reasons)
        assert WORD not in found.sentence


def test_a_metric_that_is_to_be_low_turns_the_verdict_round():
    values = two_arms(0.05, 0.01, 20)
    found = verdict_of(values, metric="best.val_loss")
    assert (found.rung, found.better) == ("superior", "old")
    assert "old is lower by 0.0500" in found.sentence
    assert verdict_of(values, metric="anything", better="lower").better == "old"
    with pytest.raises(UsageError, match="high or low"):
        verdict_of(values, metric="anything")


def with_one_changed(key: str, value: object) -> Comparison:
    runs = outcomes(two_arms(0.05, 0.01, 20))
    runs[3] = replace(runs[3], facts={**runs[3].facts, key: value})
    return compare(table_of(runs), ComparisonPlan())


@pytest.mark.parametrize(
    ("key", "said"), [("weights.state_sha256", "initial weights"), ("seed", "data order"), ("epochs", "epochs")]
)
def test_an_unfair_pair_withholds_the_word_and_is_said(key, said):
    [contrast] = with_one_changed(key, "other").contrasts
    assert contrast.verdict.rung == "better"
    assert "Not a fair pair" in contrast.verdict.sentence
    assert f"{said} differs in repeat 3" in contrast.verdict.sentence


def test_runs_on_different_splits_are_no_pair():
    [contrast] = with_one_changed("digests.split", "other").contrasts
    assert contrast.pairing.excluded == [("3", "new and old were trained and scored on different splits: unpaired")]
    assert len(contrast.differences) == 19


def test_other_code_is_said_but_held_against_nobody():
    runs = [replace(run, facts=run.facts | {"code.commit": run.arm}) for run in outcomes(two_arms(0.05, 0.01, 12))]
    [contrast] = compare(table_of(runs), ComparisonPlan()).contrasts
    assert contrast.verdict.rung == "superior"
    assert "version of the code differs" in contrast.verdict.sentence


def test_repeats_of_one_split_are_no_sample_of_patients():
    runs = [replace(run, facts=run.facts | {"digests.split": "same"}) for run in outcomes(two_arms(0.05, 0.01, 12))]
    [contrast] = compare(table_of(runs), ComparisonPlan()).contrasts
    assert contrast.verdict.rung == "better"
    assert "only 1 split" in contrast.verdict.sentence


@pytest.mark.parametrize(
    ("place", "state", "rung", "said"),
    [
        (0, "failed", "superior", "1 of 12 runs of old failed (NaN)"),  # the loser's failure is no merit of its own
        (12, "failed", "better", "1 of 12 runs of new failed"),
        (12, "unfinished", "better", "missing or unfinished"),
        (0, "missing", "better", "missing or unfinished"),
    ],
)
def test_failed_and_unfinished_runs_are_outcomes(place, state, rung, said):
    runs = outcomes(two_arms(0.05, 0.01, 12))
    if state == "missing":
        del runs[place]
    else:
        runs[place] = replace(runs[place], state=state, value=None, reason="NaN")
    result = compare(table_of(runs), ComparisonPlan(contrasts=[["new", "old"]]))
    [contrast] = result.contrasts
    assert contrast.verdict.rung == rung
    assert said in contrast.verdict.sentence
    assert contrast.pairing.excluded[0][0] == "0"
    assert sum(o["state"] != "counted" for o in result.as_dict()["outcomes"]) == 1


def test_a_study_short_of_its_plan_is_not_finished():
    found = verdict_of(two_arms(0.05, 0.01, 12), repeats=20)
    assert found.rung == "better"
    assert "only 12 of the 20 planned repeats" in found.sentence


def test_a_metric_on_shared_test_patients_needs_an_interval_over_them():
    found = verdict_of(two_arms(0.05, 0.01, 12), metric="test.patient.macro_auc")
    assert found.rung == "better"
    assert found.sentence.startswith("On these sites")
    assert "share their test patients" in found.sentence


def test_one_pair_or_none_is_no_verdict():
    assert verdict_of(two_arms(0.05, 0.01, 12) | {"new": [0.9]}).rung == "undecided"
    runs = outcomes(two_arms(0.05, 0.01, 4))
    runs = [replace(run, repeat=f"{run.arm}{run.repeat}") for run in runs]
    [contrast] = compare(table_of(runs), ComparisonPlan()).contrasts
    assert contrast.verdict.rung == "none"
    assert "no paired repeats" in contrast.verdict.sentence


def test_contrasts_are_adjusted_together():
    values = two_arms(0.05, 0.01, 12)
    values["third"] = values["old"]
    values["new"] = values["old"] + np.random.default_rng(1).normal(0.01, 0.015, 12)
    plan = ComparisonPlan(contrasts=[["new", "old"], ["new", "third"]])
    one, two = compare(table_of(outcomes(values)), plan).contrasts
    assert one.p_holm == pytest.approx(2 * one.difference.p)
    assert two.p_holm == pytest.approx(one.p_holm)


# --- simulated studies ------------------------------------------------------------------------------------------------


def rungs(accuracies: np.ndarray, shift: float, rope: float) -> list[set[str]]:
    """The rungs that each study of arms "a" (shifted), "b" and "c" reaches, in the contrasts a-b and a-c."""
    plan = ComparisonPlan(metric="val.patient.accuracy", rope=rope, contrasts=[["a", "b"], ["a", "c"]])
    found = []
    for study in accuracies:
        values = {"a": study[0] + shift, "b": study[1], "c": study[2]}
        result = compare(table_of(outcomes(values)), plan, replicates=200)
        found.append({contrast.verdict.rung for contrast in result.contrasts})
    return found


@pytest.mark.parametrize("repeats", [10, 20])
def test_equally_good_arms_are_rarely_called_anything_else(repeats):
    """In at most five percent of 1,000 studies of two contrasts, with a margin of half a standard deviation."""
    accuracies = split_accuracies(1000, repeats, seed=repeats, arms=3)
    sd = float((accuracies[:, 0] - accuracies[:, 1]).std(axis=1, ddof=1).mean())
    found = rungs(accuracies, shift=0.0, rope=0.5 * sd)
    assert sum("superior" in reached for reached in found) / len(found) <= 0.05


def test_even_without_a_margin_the_error_is_five_percent():
    """The P value alone must then hold the line; two standard errors of 2,000 studies are 0.01."""
    found = rungs(split_accuracies(2000, 20, seed=220, arms=3), shift=0.0, rope=0.0)
    assert sum("superior" in reached for reached in found) / len(found) <= 0.06


def test_an_effect_of_three_standard_deviations_is_found():
    accuracies = split_accuracies(200, 20, seed=5, arms=3)
    sd = float((accuracies[:, 0] - accuracies[:, 1]).std(axis=1, ddof=1).mean())
    found = rungs(accuracies, shift=3 * sd, rope=0.5 * sd)
    assert sum("superior" in reached for reached in found) / len(found) >= 0.8


def test_below_ten_repeats_no_study_says_the_word():
    accuracies = split_accuracies(100, 9, seed=6, arms=3)
    assert not any("superior" in reached for reached in rungs(accuracies, shift=0.5, rope=0.0))
