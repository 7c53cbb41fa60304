"""The logic of a search, on objectives that take no time: claiming, dying, pruning, failing, going on, the front."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml

from covidct.errors import DataRefused, IntegrityError, Interrupted, ResourceError, UsageError
from covidct.training import search_claims
from covidct.training.search import work
from covidct.training.search_claims import claim, first_reason, progress_of, take_over
from covidct.training.search_confirm import Confirmation
from covidct.training.search_results import front, importances, trials_table, winner
from covidct.training.search_space import read_space
from covidct.training.search_storage import open_storage, open_study, redacted
from covidct.training.sweep_file import agent_words, sampled, sweep_file
from tests.training.toy_search import quiet, space, study_in


def bowl(trial: optuna.trial.Trial, words: list[str]) -> list[float]:
    return [trial.params["x"] ** 2]


def states(study: optuna.Study) -> list[str]:
    return [trial.state.name for trial in study.get_trials()]


# --- the space --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"objectives": [{"figure": "test.patient.macro_auc"}]}, "test set no more"),
        ({"objectives": ["test_accuracy"]}, "test set no more"),
        ({"objectives": ["train_loss"]}, "val_loss"),
        ({"objectives": ["seconds"]}, "first objective is a figure"),
        ({"objectives": [{"figure": "val_loss", "direction": "maximize"}]}, "smaller"),
        ({"objectives": []}, "one or more objectives"),
        ({"parameters": {"seed": {"kind": "int", "low": 0, "high": 9}}}, "luck"),
        ({"parameters": {"split.repeat": {"kind": "int", "low": 0, "high": 9}}}, "cannot be compared"),
        ({"parameters": {"x": {"kind": "loguniform", "low": 0, "high": 9}}}, "log_float"),
        ({"parameters": {"x": {"kind": "log_float", "low": 0, "high": 1}}}, "no range"),
        ({"parameters": {"x": {"kind": "float", "low": "1e-4", "high": 1}}}, "1.0e-4"),
        ({"parameters": {"x": {"kind": "int", "low": 0.5, "high": 2}}}, "whole number"),
        ({"parameters": {"x": {"kind": "choice", "values": ["a", "a"]}}}, "twice"),
        ({"parameters": {"x": {"kind": "float", "low": 0, "high": 1, "steps": 3}}}, "did you mean step"),
        ({"sampler": {"kind": "tpee"}}, "did you mean tpe"),
        ({"sampler": "grid"}, "counted"),
        ({"prunner": {"kind": "none"}}, "did you mean pruner"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused_with_the_way_out(changes, hint):
    with pytest.raises(UsageError) as refused:
        space(**changes)
    assert hint in str(refused.value)


def test_the_words_of_a_trial_are_what_one_would_type():
    toy = space()
    assert toy.words({"x": 0.001, "way": "[a,b]"}) == ["x=0.001", "way=[a,b]"]
    assert toy.words({"x": 1e-05, "way": "null"}) == ["x=1e-05", "way=null"]
    stepped = space(parameters={"x": {"kind": "float", "low": 0.0, "high": 0.5, "step": 0.1}})
    assert stepped.words({"x": 0.1 + 0.2}) == ["x=0.3"]
    assert [stepped.parameters[0].holds(value) for value in (0.3, 0.5, 0.25, 0.6, "a")] == [True, True] + [False] * 3
    text = space(parameters={"x": {"kind": "choice", "values": ["it's, so", "null", True]}})
    assert text.parameters[0].word("it's, so") == "x='it\\'s, so'"
    assert text.parameters[0].word("null") == "x='null'"
    assert text.parameters[0].word(True) == "x=true"


def test_several_objectives_switch_pruning_off_and_say_so():
    both = space(objectives=["val_loss", "seconds"])
    assert both.pruner == "none"
    assert "no trial is ended early" in both.notes[0]


# --- working through trials -------------------------------------------------------------------------------------------


def test_trials_are_counted_in_total_and_a_search_that_is_done_returns_at_once(tmp_path):
    seen = []

    def objective(trial: optuna.trial.Trial, words: list[str]) -> list[float]:
        seen.append(words)
        return bowl(trial, words)

    work(study_in(tmp_path), space(), objective, 4, worker=0, say=quiet)
    assert len(seen) == 4
    again = study_in(tmp_path)  # another process would open it thus
    work(again, space(), objective, 4, worker=0, say=quiet)
    assert len(seen) == 4
    work(again, space(), objective, 6, worker=0, say=quiet)
    assert len(seen) == 6
    assert states(again) == ["COMPLETE"] * 6


def test_an_interrupted_search_gives_the_same_trials_as_one_that_ran_through(tmp_path):
    work(through := study_in(tmp_path / "a"), space(), bowl, 8, worker=0, say=quiet)
    for wanted in (3, 5, 8):
        work(study_in(tmp_path / "b"), space(), bowl, wanted, worker=0, say=quiet)
    assert [t.params for t in study_in(tmp_path / "b").get_trials()] == [t.params for t in through.get_trials()]
    assert len({t.params["x"] for t in through.get_trials()}) == 8


def test_a_stopped_trial_is_queued_again_with_its_values(tmp_path):
    study = study_in(tmp_path)

    def stopped(trial: optuna.trial.Trial, words: list[str]) -> list[float]:
        if trial.number == 1:
            raise Interrupted("stopped from outside")
        return bowl(trial, words)

    with pytest.raises(Interrupted):
        work(study, space(), stopped, 3, worker=0, say=quiet)
    work(study, space(), bowl, 3, worker=0, say=quiet)
    trials = study.get_trials()
    assert states(study) == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert trials[2].params == trials[1].params
    assert trials[2].user_attrs["resumes"] == 1
    assert list(trials_table(study, space())["state"]) == ["complete", "lost", "complete", "complete"]


def test_worse_trials_are_really_pruned_and_count(tmp_path):
    study = study_in(tmp_path)

    def slowly(trial: optuna.trial.Trial, words: list[str]) -> list[float]:
        for epoch in range(5):
            trial.report(trial.number + epoch, epoch)  # each trial worse than all before
            if trial.should_prune():
                raise optuna.TrialPruned
        return [float(trial.number)]

    work(study, space(), slowly, 6, worker=0, say=quiet)
    assert states(study) == ["COMPLETE"] * 2 + ["PRUNED"] * 4
    assert {t.last_step for t in study.get_trials()[2:]} == {1}  # not before the warm-up
    assert winner(study, space()).number == 0  # type: ignore[union-attr]


def test_a_diverging_trial_is_failed_with_its_reason_and_the_others_go_on(tmp_path):
    study = study_in(tmp_path)

    def sometimes(trial: optuna.trial.Trial, words: list[str]) -> list[float]:
        if trial.number == 1:
            raise DataRefused("the loss is not finite")
        return bowl(trial, words)

    work(study, space(), sometimes, 3, worker=0, say=quiet)
    assert states(study) == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert first_reason(study) == "the loss is not finite"


def test_a_space_in_which_all_fails_ends_with_the_first_reason(tmp_path):
    def never(trial: optuna.trial.Trial, words: list[str]) -> list[float]:
        raise DataRefused(f"the loss is not finite in trial {trial.number}")

    study = study_in(tmp_path)
    with pytest.raises(DataRefused, match=r"every trial failed .*the loss is not finite in trial 0"):
        work(study, space(), never, 30, worker=0, say=quiet)
    assert len(study.get_trials()) == 5  # not thirty
    work(study, space(), bowl, 2, worker=0, say=quiet)  # and once it is mended, it goes on


def test_the_same_values_again_are_not_trained_again(tmp_path):
    few = space(parameters={"way": {"kind": "choice", "values": ["left", "right"]}})
    trained = []

    def objective(trial: optuna.trial.Trial, words: list[str]) -> list[float]:
        trained.append(trial.params["way"])
        return [1.0 if trial.params["way"] == "left" else 2.0]

    study = study_in(tmp_path, few)
    work(study, few, objective, 6, worker=0, say=quiet)
    assert sorted(trained) == ["left", "right"]
    assert states(study) == ["COMPLETE"] * 6


def test_a_search_goes_on_only_with_what_it_was_begun_with(tmp_path):
    study_in(tmp_path, split="abc")
    study_in(tmp_path, split="abc")
    with pytest.raises(IntegrityError, match="other split"):
        study_in(tmp_path, split="def")
    with pytest.raises(IntegrityError, match="other objectives"):
        study_in(tmp_path, space(objectives=["val_accuracy"]), split="abc")


def test_a_storage_that_cannot_be_opened_is_one_message():
    with pytest.raises(UsageError, match="no URL of a database"):
        open_storage("notadatabase://me:secret@host/db")
    with pytest.raises(ResourceError) as missing:
        open_storage("postgresql://me:secret@host/db")
    assert "psycopg2" in str(missing.value)
    assert "secret" not in str(missing.value)
    assert redacted("postgresql://me:secret@host/db") == "postgresql://host/db"


def test_a_database_by_url_holds_a_search_too(tmp_path):
    study = open_study(open_storage(f"sqlite:///{tmp_path}/search.db"), "toy", space(), {})
    work(study, space(), bowl, 3, worker=0, say=quiet)
    assert states(study) == ["COMPLETE"] * 3


# --- many workers, and their deaths -----------------------------------------------------------------------------------


def start(folder: Path, number: int, wanted: int, seconds: float) -> subprocess.Popen[str]:
    """A worker process whose trials take so long; it prints the number of each."""
    words = [sys.executable, "-m", "tests.training.toy_search", str(folder), str(number), str(wanted), str(seconds)]
    top = Path(__file__).resolve().parents[2]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=top)


def test_two_workers_share_a_journal_and_a_killed_one_is_taken_over(tmp_path):
    study = study_in(tmp_path)
    first, second = start(tmp_path, 0, 10, 0.1), start(tmp_path, 1, 10, 60)
    assert second.stdout is not None
    number = int(second.stdout.readline().split()[1])  # it sleeps in the middle of a trial
    os.kill(second.pid, signal.SIGKILL)
    assert first.wait(timeout=60) == 0  # the other one does not wait for the dead
    second.wait()
    trials = study.get_trials()
    assert trials[number].state.name == "FAIL"
    [taken] = [t for t in trials if t.user_attrs.get("resumes") == number]
    assert taken.params == trials[number].params
    assert taken.state.name == "COMPLETE"
    assert progress_of(study).done == 10
    work(study, space(), bowl, 12, worker=0, say=quiet)
    assert progress_of(study).done == 12


def test_a_dead_worker_is_noticed_when_the_search_is_started_again(tmp_path):
    worker = start(tmp_path, 0, 3, 60)
    assert worker.stdout is not None
    worker.stdout.readline()
    study = study_in(tmp_path)
    assert take_over(study) == []  # it lives
    worker.kill()
    worker.wait()
    assert take_over(study) == [0]
    assert take_over(study) == []
    assert states(study) == ["FAIL", "WAITING"]


def test_a_worker_of_another_machine_is_given_time(tmp_path, monkeypatch):
    study = study_in(tmp_path)
    trial = claim(study, 3)
    assert trial is not None
    values = space().suggest(trial)
    trial.set_user_attr("worker", {"place": "elsewhere", "pid": 1, "began": None})
    assert take_over(study) == []
    now = time.time()
    monkeypatch.setattr(search_claims.time, "time", lambda: now + search_claims.STALE_SECONDS + 60)
    assert take_over(study) == [0]
    again = study.ask()
    assert space().suggest(again) == values


def test_a_trial_too_many_is_put_away_by_its_number(tmp_path, monkeypatch):
    study = study_in(tmp_path)
    assert claim(study, 1) is not None
    assert claim(study, 1) is None
    stale = search_claims.Progress(0, 0, 0, 0, 0)  # as if two workers had looked at the same moment
    monkeypatch.setattr(search_claims, "progress_of", lambda _: stale)
    assert claim(study, 1) is None
    assert study.get_trials()[1].user_attrs["outcome"] == "surplus"


# --- what comes out ---------------------------------------------------------------------------------------------------


def test_the_front_is_that_of_every_pair_compared(tmp_path):
    both = space(objectives=["val_loss", "seconds"])
    study = study_in(tmp_path, both)

    def two(trial: optuna.trial.Trial, words: list[str]) -> list[float]:
        return [trial.params["x"] ** 2, (trial.params["x"] - 1) ** 2]

    work(study, both, two, 12, worker=0, say=quiet)
    points = {t.number: t.values for t in study.get_trials()}
    beaten = {
        n
        for n, a in points.items()
        for m, b in points.items()
        if all(y <= x for x, y in zip(a, b, strict=True)) and b != a
    }
    assert front(study, both) == sorted(set(points) - beaten)
    best = winner(study, both)
    assert best is not None
    assert best.values[0] == min(values[0] for values in points.values())


def test_the_parameter_that_matters_is_found(tmp_path):
    study = study_in(tmp_path)
    work(study, space(sampler={"kind": "random"}), bowl, 25, worker=0, say=quiet)
    shares = importances(study, space())
    assert shares["x"] > 0.8
    assert sum(shares.values()) == pytest.approx(1)


@pytest.mark.parametrize(("way", "tuned", "gap"), [("min", (0.5, 0.6), 0.15), ("max", (0.8, 0.6), -0.3)])
def test_the_optimism_gap_is_how_much_better_the_winner_looked(way, tuned, gap):
    found = Confirmation("val_loss", way, 0.4, tuned, (0.7, 0.7), True)
    assert found.gap == pytest.approx(gap)
    assert ("0.15 better than it is" if gap > 0 else "no optimism") in found.sentences[0]
    better = {"min": "tuning was better in 2 of 2, by 0.15", "max": "tuning was better in 1 of 2, by 0 "}[way]
    assert better in found.sentences[1]
    assert "was searched on" in Confirmation("val_loss", way, 0.4, tuned, tuned, False).sentences[-1]


# --- W&B --------------------------------------------------------------------------------------------------------------


def of_conf(name: str) -> dict[str, Any]:
    conf = Path(__file__).resolve().parents[2] / "conf" / "search"
    values: dict[str, Any] = {}
    own = yaml.safe_load((conf / f"{name}.yaml").read_text(encoding="utf-8"))
    for parent in own.pop("defaults", []):
        if parent != "_self_":
            values = of_conf(parent)
    for key, value in own.items():
        merged = isinstance(value, dict) and isinstance(values.get(key), dict)
        values[key] = {**values[key], **value} if merged else value
    return values


@pytest.mark.parametrize("name", ["adam_then_sgd", "windows", "learning_rate"])
def test_a_sweep_file_has_what_wandb_asks_for(name):
    sweep = sweep_file(read_space(of_conf(name)), ["data.index=i"], project="p", trials=9)
    assert sweep["method"] in ("bayes", "random", "grid")
    assert sweep["metric"] == {"name": "val_loss", "goal": "minimize"}
    assert sweep["early_terminate"]["type"] == "hyperband"
    for key, parameter in sweep["parameters"].items():
        if "values" in parameter:
            assert parameter["values"]
            continue
        assert parameter["distribution"] in (
            "uniform", "int_uniform", "q_uniform", "log_uniform_values", "q_log_uniform_values",
        )  # fmt: skip
        assert parameter["min"] < parameter["max"], key
        assert ("q" in parameter) == parameter["distribution"].startswith("q_")
    assert yaml.safe_load(yaml.safe_dump(sweep)) == sweep


def test_our_idea_of_an_agent_is_that_of_wandb():
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    sweep = sweep_file(read_space(of_conf("windows")), ["data.index=i"], project="p", trials=9)
    for values in sampled(sweep):
        theirs = create_sweep_command_args({"args": {key: {"value": value} for key, value in values.items()}})
        command: list[str] = []
        for word in create_sweep_command(list(sweep["command"])):
            command += theirs["args_no_hyphens"] if word == "${args_no_hyphens}" else [word]
        assert command == ["covidct", *agent_words(sweep, values)]


def test_wandb_has_no_sweep_with_two_metrics():
    with pytest.raises(UsageError, match="one metric"):
        sweep_file(space(objectives=["val_loss", "seconds"]), [], project="p", trials=9)
