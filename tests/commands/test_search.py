"""`covidct search` and `covidct sweep-config` through the front door, on a network of seconds."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pandas as pd
import pytest
import yaml

from covidct.commands.cli import main
from covidct.commands.search import train_words
from covidct.training.settings import TrainSettings, read_settings
from tests.conftest import TINY, run_verb

TOP = Path(__file__).resolve().parents[2]


def words(workshop: Path, folder: Path, *more: str) -> list[str]:
    own = [f"data.index={workshop}/index", f"runs={folder}/runs", f"searches={folder}/searches"]
    return [*TINY, *own, "allow_drift=true", *more]  # somebody may commit while the tests run


def study_in(folder: Path, name: str = "demo-learning_rate") -> optuna.Study:
    journal = optuna.storages.journal.JournalFileBackend(str(folder / "searches" / name / "journal.log"))
    return optuna.load_study(study_name=name, storage=optuna.storages.JournalStorage(journal))


def started(*more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "covidct", "search", *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        cwd=TOP,
    )


def test_a_search_from_start_to_page(workshop, tmp_path, capsys):
    """Untuned settings first; the winner confirmed on a fresh split; everything written; a second call does nothing."""
    line = words(workshop, tmp_path, "search=learning_rate", "trials=2", "confirm=1")
    assert run_verb("search", *line) == 0
    said = capsys.readouterr().out
    folder = tmp_path / "searches" / "demo-learning_rate"
    trials = pd.read_csv(folder / "trials.csv")
    assert list(trials["state"]) == ["complete"] * 2
    assert trials["recipe.phases.0.lr"][0] == 0.003  # of TINY: untuned
    assert trials["recipe.phases.0.lr"].nunique() == 2
    facts = json.loads((folder / "search.json").read_text())
    best = trials.loc[trials["val_loss"].idxmin()]
    assert facts["best"]["number"] == best["number"]
    # the value is that of the epoch whose checkpoint counts, read here from the run itself
    epochs = pd.read_csv(tmp_path / "runs" / best["run"] / "metrics.csv")
    assert best["val_loss"] == epochs["val_loss"].min()
    # fresh means a split that no trial saw
    confirmed = facts["confirmation"]
    assert confirmed["fresh_splits"]
    assert len(confirmed["tuned"]) == len(confirmed["untuned"]) == 1
    assert confirmed["gap"] == pytest.approx(confirmed["tuned"][0] - best["val_loss"])
    assert confirmed["sentences"][0] in said
    # no test set was read by anybody
    assert {record["state"] for record in map(read_run, (tmp_path / "runs").iterdir())} == {"trained"}
    assert {path.stem for path in (folder / "figures").glob("*.png")} >= {"history", "curves", "parallel"}
    page = (folder / "search.html").read_text(encoding="utf-8")
    assert "data:image/png;base64" in page
    assert "http" not in page
    # what best.yaml and the page say can be typed, and is there already
    [typed] = [row for row in (folder / "best.yaml").read_text().splitlines() if row.startswith("# covidct train")]
    before = sorted((tmp_path / "runs").iterdir())
    assert main(shlex.split(typed.removeprefix("# covidct "))) == 0
    assert "finished already" in capsys.readouterr().out
    assert run_verb("search", *line) == 0
    assert sorted((tmp_path / "runs").iterdir()) == before
    assert len(study_in(tmp_path).trials) == 2


def read_run(folder: Path) -> dict[str, str]:
    return dict(json.loads((folder / "run.json").read_text()))


def test_a_pruned_training_stops_inside_and_its_run_is_not_finished(workshop, tmp_path, monkeypatch):
    """The pruner's answer is given here; what Lightning and the run folder make of it is the question."""
    line = words(workshop, tmp_path, "search=learning_rate", "trials=2", "confirm=0", "keep_pruned=true")
    line += ["search.pruner={startup_trials: 1, warmup_epochs: 0}", "search.objectives=[{figure: val_accuracy}]"]
    reports = []

    def should_prune(trial: optuna.trial.Trial) -> bool:
        reports.append(trial.number)
        return trial.number == 1 and reports.count(1) == 2

    monkeypatch.setattr(optuna.trial.Trial, "should_prune", should_prune)
    assert run_verb("search", *line) == 0
    trials = study_in(tmp_path).trials
    assert [t.state.name for t in trials] == ["COMPLETE", "PRUNED"]
    assert list(trials[1].intermediate_values) == [0, 1]
    pruned = tmp_path / "runs" / trials[1].user_attrs["run"]
    assert read_run(pruned)["state"] == "started"
    assert not (pruned / "run.lock").exists()
    # whoever trains it later goes on from the epoch before
    monkeypatch.undo()
    [rate] = trials[1].params.values()
    own = [*train_words(line), f"name={pruned.name.rpartition('-')[0]}", f"recipe.phases.0.lr={rate!r}"]
    assert run_verb("train", *own) == 0
    assert read_run(pruned)["state"] == "trained"
    assert len(pd.read_csv(pruned / "metrics.csv")) == 3


@pytest.mark.slow
def test_two_workers_one_killed_one_stopped_and_the_rest_done_later(workshop, tmp_path):
    line = words(workshop, tmp_path, "search=learning_rate", "trials=4", "confirm=0", "recipe.stop.min_epochs=2")
    search = started(*line, "workers=2")
    journal = tmp_path / "searches" / "demo-learning_rate" / "journal.log"
    deadline = time.monotonic() + 240
    pid = None
    while pid is None and time.monotonic() < deadline:  # until some worker has a run of its own
        time.sleep(0.1)
        for note in journal.read_text().splitlines() if journal.is_file() else []:
            worker = json.loads(note).get("user_attr", {}).get("worker") if note.endswith("}") else None
            pid = worker["pid"] if worker and pid is None else pid
    assert pid is not None
    assert pid != search.pid  # a process of its own
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.5)
    search.send_signal(signal.SIGTERM)  # as Ctrl-C
    out = search.communicate(timeout=240)[0]
    assert search.returncode in (0, 6), out
    assert search.returncode == 0 or "the same command goes on" in out
    assert run_verb("search", *line) == 0
    study = study_in(tmp_path)
    done = [t for t in study.trials if t.state.name in ("COMPLETE", "PRUNED")]
    assert len(done) == 4
    lost = [t for t in study.trials if t.user_attrs.get("outcome") == "lost"]
    taken = [t for t in study.trials if "resumes" in t.user_attrs]
    assert lost
    assert {t.params["recipe.phases.0.lr"] for t in lost if t.params} <= {t.params["recipe.phases.0.lr"] for t in done}
    assert {t.user_attrs["resumes"] for t in taken} <= {t.number for t in lost}


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        (["search.objectives=[{figure: test_accuracy}]"], "test set no more"),
        (["+search.parameters={data.sise: {kind: int, low: 16, high: 32}}"], "data.size"),
        (["+search.parameters={recipe.phases.0.lrr: {kind: float, low: 0.1, high: 0.2}}"], "recipe.phases.0.lr"),
        (["+search.parameters={recipe.phases.4.lr: {kind: float, low: 0.1, high: 0.2}}"], "recipe.phases.0.lr"),
        (["+search.parameters={recipe.phases.0.epochs: {kind: int, low: 1, high: 3}}"], "add up to 2"),
        (["+search.parameters={model.trainable: {kind: choice, values: [all, heads]}}"], "did you mean head"),
        (["+search.parameters={recipe: {kind: choice, values: [adam, adamx]}}"], "adamw"),
        (["trials=0"], "1 or more"),
        (["trials=many"], "1 or more"),
        (["trainer.devices=2"], "one worker for each GPU"),
        (["search=learning_rat"], "learning_rate"),
        (["trails=3"], "trials"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_trained(workshop, tmp_path, capsys, changes, hint):
    line = words(workshop, tmp_path, "search=learning_rate")
    assert run_verb("search", *line, *changes) == 2
    shown = capsys.readouterr().err
    assert hint in shown
    assert "Traceback" not in shown
    assert not (tmp_path / "runs").exists()


def test_a_sweep_file_whose_agents_call_what_composes(workshop, tmp_path, capsys):
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

    from covidct.commands.compose import compose_again

    line = [f"data.index={workshop}/index", "experiment=fu2020", "search=windows", f"output={tmp_path}/sweep.yaml"]
    assert run_verb("sweep-config", *line) == 0
    sweep = yaml.safe_load((tmp_path / "sweep.yaml").read_text())
    assert sweep["command"][:2] == ["covidct", "train"]
    values = {
        "recipe.phases.0.lr": 1e-05,
        "recipe.phases.0.epochs": 7,
        "recipe.phases.1.lr": 0.02,
        "model.trainable": "head",
        "model.drop_rate": 0.2,
        "data.windows": "[lung,mediastinal]",
    }
    assert set(values) == set(sweep["parameters"])
    theirs = create_sweep_command_args({"args": {key: {"value": value} for key, value in values.items()}})
    settings = read_settings(
        TrainSettings, compose_again("train", [*sweep["command"][2:-1], *theirs["args_no_hyphens"]])
    )
    assert settings.recipe.phases[0] == {"optimizer": "adam", "lr": 1e-05, "epochs": 7}
    assert settings.recipe.phases[1]["lr"] == 0.02
    assert settings.data.windows == ["lung", "mediastinal"]
    assert settings.profile == "paper"
    assert run_verb("sweep-config", *line[:2], "search=recipes", f"output={tmp_path}/two.yaml") == 2
    assert "one metric" in capsys.readouterr().err


def test_every_space_that_comes_with_it_fits_some_training():
    """As the first lines of the files say."""
    from covidct.commands.search import composer
    from covidct.training.search_space import read_space
    from covidct.training.search_trial import check_space

    for name in ("adam_then_sgd", "learning_rate", "recipes", "windows"):
        first = (TOP / "conf" / "search" / f"{name}.yaml").read_text().splitlines()[0]
        typed = shlex.split(first.removeprefix("# ").split("      ")[0].replace("data.index=INDEX", ""))
        assert typed[:3] == ["covidct", "search", f"search={name}"]
        from covidct.commands.compose import compose_again

        space = read_space(compose_again("search", typed[2:])["search"])
        check_space(space, composer(typed[3:]))
