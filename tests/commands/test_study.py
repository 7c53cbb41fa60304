"""Studies through the front door: every launcher, cells that fail, are killed, or go on, and equal numbers always."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import covidct  # noqa: F401 (first: it lets torchvision import)  # isort: skip

import pandas as pd
import pytest
import torch

from covidct.commands import cell_process
from covidct.commands.cells import Outcome, OutcomeFile
from covidct.commands.compose import job
from covidct.errors import DataRefused, UsageError
from tests.conftest import run_verb

WORDS = (
    "experiment=optimizer_strategies",
    "data=phantom",
    "trainer=cpu",
    "logger=csv",
    "model.name=test_resnet",
    "model.weights=none",
    "model.trainable=all",
    "data.size=32",
    "data.batch_size=16",
    "data.workers=0",
    "split.external_sites=[site_b,site_c]",
    "recipe.stop={min_epochs: 3, max_epochs: 3}",
    "allow_drift=true",  # a commit beside the tests is no news
)
"""The study of optimizer strategies, small: a cell takes a second."""


def words(workshop: Path, *more: str) -> list[str]:
    given = {word.split("=")[0] for word in more}
    kept = [word for word in WORDS if word.split("=")[0] not in given]
    return ["train", "-m", *kept, f"data.index={workshop}/index", *more]


def start(workshop: Path, folder: Path, *more: str, **environment: str) -> subprocess.Popen[str]:
    """The study in a process of its own, in a session of its own, so that a kill hits nobody else."""
    command = [sys.executable, "-m", "covidct", *words(workshop, *more)]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a test run in the background ignores it
    )


def records(folder: Path) -> list[dict[str, Any]]:
    """run.json of every run below, by repeat and arm."""
    found = [json.loads(path.read_text()) | {"path": path.parent} for path in (folder / "runs").glob("*/run.json")]
    return sorted(found, key=lambda record: (record["repeat"], record["arm"]))


def outcomes(folder: Path) -> list[dict[str, Any]]:
    """The outcome files of the latest study below."""
    latest = max((folder / "runs/.multirun").iterdir())
    return [json.loads(path.read_text()) for path in sorted((latest / "outcomes").glob("*.json"))]


def numbers(run: Path) -> tuple[dict[str, torch.Tensor], pd.DataFrame]:
    """Weights of the last epoch and predictions."""
    state = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    return state, pd.read_parquet(run / "predictions.parquet")


def assert_same_numbers(one: Path, other: Path) -> None:
    """Bit for bit."""
    (weights, predictions), (weights_too, predictions_too) = numbers(one), numbers(other)
    assert all(torch.equal(weights_too[name], value) for name, value in weights.items())
    drop = [column for column in predictions if column in ("run", "arm", "model")]
    pd.testing.assert_frame_equal(predictions.drop(columns=drop), predictions_too.drop(columns=drop), check_exact=True)


def wait_for_an_epoch(launcher: subprocess.Popen[str], folder: Path) -> None:
    """Until a cell that this launcher began has finished an epoch."""
    began = time.time()
    while not any(path.stat().st_mtime > began for path in folder.glob("runs/*/metrics.csv")):
        assert launcher.poll() is None, launcher.communicate()[0]
        assert time.time() < began + 240
        time.sleep(0.02)


def assert_nobody_left(folder: Path) -> None:
    """No process works below a folder; given three seconds, for the system has to tell them."""
    if sys.platform != "linux":
        return
    for _ in range(30):
        left = []
        for status in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line, cwd = status.read_bytes(), (status.parent / "cwd").resolve()
            except OSError:
                continue
            if b"covidct" in line and cwd == folder.resolve():
                left.append(line.replace(b"\0", b" "))
        if not left:
            return
        time.sleep(0.1)
    raise AssertionError(left)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Here and in what is started here: sums are then rounded in the same places."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def study(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three arms on two repeats with the basic launcher; never interrupted."""
    folder = tmp_path_factory.mktemp("study")
    launcher = start(workshop, folder, "recipe=adam_then_sgd,adam,sgd", "split.repeat=range(2)")
    shown, _ = launcher.communicate(timeout=400)
    assert launcher.returncode == 0, shown
    return folder


def test_arms_by_repeats(study):
    found = records(study)
    arms = ["adam", "adam_then_sgd", "sgd"]
    assert [(r["repeat"], r["arm"]) for r in found] == [(n, arm) for n in (0, 1) for arm in arms]
    assert [r["seed"] for r in found] == [r["repeat"] for r in found]
    assert {r["name"] for r in found} == {"optimizer_strategies"}
    assert {r["epochs"] for r in found} == {3}  # nobody stopped early
    told = [outcome["words"] for outcome in outcomes(study)]  # slow, outer: repeats; fast, inner: arms
    assert told == [[f"split.repeat={n}", f"recipe={arm}"] for n in (0, 1) for arm in ("adam_then_sgd", "adam", "sgd")]


def test_the_arms_of_a_repeat_begin_alike(study):
    """Before its change of optimizer (epoch 25), Adam-then-SGD is Adam: the same patients, weights and order."""
    found = {(r["repeat"], r["arm"]): r["path"] for r in records(study)}
    for repeat in (0, 1):
        splits = {(found[repeat, arm] / "split.json").read_text() for arm in ("adam", "adam_then_sgd", "sgd")}
        assert len(splits) == 1
        weights, others = (numbers(found[repeat, arm])[0] for arm in ("adam", "adam_then_sgd"))
        assert all(torch.equal(others[name], value) for name, value in weights.items())
    assert (found[0, "adam"] / "split.json").read_text() != (found[1, "adam"] / "split.json").read_text()


def test_again_returns_at_once_and_failures_are_told(study, workshop, monkeypatch, capsys):
    """A usage error, a bug, and a cell that was done: all three are told, and the exit code is the first failure's."""
    from covidct.training import fit

    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("of a patient's slices")

    monkeypatch.chdir(study)
    again = words(workshop, "recipe=adam,sgd_then_adam,adamw,sgd", "split.repeat=0")
    again.remove("-m")  # the experiment is a study by itself
    with monkeypatch.context() as patch:
        patch.setattr(fit, "train", broken)
        assert run_verb(*words(workshop, "recipe=adam,sgd_then_adam,sgd", "split.repeat=0")) == 1
    assert [o["state"] for o in outcomes(study)] == ["returned", "failed", "returned"]
    folder = Path(outcomes(study)[1]["folder"])
    failure = json.loads((folder / "failure.json").read_text())
    assert failure == {
        "reason": "a bug: ZeroDivisionError: of a patient's slices",
        "kind": "ZeroDivisionError",
        "exit_code": 1,
    }
    assert "in broken" in (folder / "traceback.txt").read_text()

    # AdamW warms up for three epochs, which is all there are; sgd_then_adam is well again
    assert run_verb(*again) == UsageError.exit_code
    shown = capsys.readouterr().out
    assert [o["state"] for o in outcomes(study)] == ["returned", "done", "failed", "returned"]
    assert "recipe=adamw" in shown
    assert "failed (UsageError, exit code 2): the warm-up is as long as the whole schedule" in shown
    assert "2 returned at once" in shown
    assert not (folder / "failure.json").exists()
    assert not (folder / "traceback.txt").exists()
    refused = json.loads((study / outcomes(study)[2]["folder"] / "failure.json").read_text())
    assert (refused["kind"], refused["exit_code"]) == ("UsageError", 2)
    for record in records(study):  # later tests count the runs of the fixture
        if record["arm"] == "sgd_then_adam":
            (record["path"] / "run.json").unlink()


def test_a_failed_run_by_itself_leaves_no_folder(workshop, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    alone = [word for word in words(workshop, "recipe=adamw", "split.repeat=0", "hydra.mode=RUN") if word != "-m"]
    assert run_verb(*alone) == UsageError.exit_code
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_joblib_killed_and_gone_on_with(study, workshop, tmp_path):
    """SIGKILL of the launcher ends its cells; the same command completes the study with the same numbers."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    more = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "recipe=adam,sgd", "split.repeat=0")
    launcher = start(workshop, tmp_path, *more)
    wait_for_an_epoch(launcher, tmp_path)
    launcher.kill()
    launcher.wait()
    assert_nobody_left(tmp_path)
    assert "started" in [record["state"] for record in records(tmp_path)]
    launcher = start(workshop, tmp_path, *more)
    shown, _ = launcher.communicate(timeout=400)
    assert launcher.returncode == 0, shown
    straight = {(r["repeat"], r["arm"]): r["path"] for r in records(study)}
    for record in records(tmp_path):
        assert_same_numbers(straight[0, record["arm"]], record["path"])
    assert [r["arm"] for r in records(tmp_path)] == ["adam", "sgd"]


@pytest.mark.slow
def test_the_keyboard_stops_the_study_and_a_kill_does_no_harm(study, workshop, tmp_path):
    more = ("recipe=adam_then_sgd,sgd", "split.repeat=0")
    for how, code in ((signal.SIGINT, 6), (signal.SIGKILL, -9)):
        launcher = start(workshop, tmp_path, *more)
        wait_for_an_epoch(launcher, tmp_path)
        launcher.send_signal(how)
        shown, _ = launcher.communicate(timeout=120)
        assert launcher.returncode == code, shown
        if how == signal.SIGINT:
            assert "the same command continues" in shown
            assert "to be gone on with" in shown
            assert not list(tmp_path.glob("runs/*/failure.json"))
    launcher = start(workshop, tmp_path, *more)
    shown, _ = launcher.communicate(timeout=240)
    assert launcher.returncode == 0, shown
    straight = {(r["repeat"], r["arm"]): r["path"] for r in records(study)}
    for record in records(tmp_path):
        assert_same_numbers(straight[0, record["arm"]], record["path"])


@pytest.mark.slow
def test_submitit_on_this_machine(study, workshop, tmp_path):
    pytest.importorskip("submitit")
    more = ("hydra/launcher=submitit_local", "recipe=adam,sgd", "split.repeat=1")
    launcher = start(workshop, tmp_path, *more)
    shown, _ = launcher.communicate(timeout=400)
    assert launcher.returncode == 0, shown
    assert "2 done" in shown
    straight = {(r["repeat"], r["arm"]): r["path"] for r in records(study)}
    for record in records(tmp_path):
        assert_same_numbers(straight[1, record["arm"]], record["path"])


@pytest.mark.slow
def test_two_processes_in_each_cell(workshop, tmp_path, monkeypatch, capfd):
    """Every rank is on its cell; the first cell is killed, the second goes on, the same command mends."""
    monkeypatch.chdir(tmp_path)
    ddp = words(workshop, "trainer=ddp_cpu", "recipe=adam,sgd", "split.repeat=0", "logger=wandb", "data.batch_size=8")
    killed = threading.Thread(target=kill_first, args=(tmp_path,), daemon=True)
    killed.start()
    assert run_verb(*ddp) == 6
    killed.join()
    first, second = outcomes(tmp_path)
    assert (first["state"], first["kind"], second["state"]) == ("failed", "Killed", "done")
    failure = json.loads((tmp_path / first["folder"] / "failure.json").read_text())
    assert failure["reason"].startswith("killed by SIGKILL")
    assert_nobody_left(tmp_path)
    assert run_verb(*ddp) == 0
    assert [o["state"] for o in outcomes(tmp_path)] == ["done", "returned"]
    assert [(r["arm"], r["state"]) for r in records(tmp_path)] == [("adam", "trained"), ("sgd", "trained")]
    assert len(list((tmp_path / "runs/.multirun").iterdir())) == 2  # one for each command, none for a second rank
    assert not list(tmp_path.glob("runs/*/failure.json"))
    for record in records(tmp_path):  # each cell is a W&B run of its own
        kept = {path.stem for path in (tmp_path / record["path"]).glob("wandb/**/run-*.wandb")}
        assert kept == {f"run-{record['run']}"}
    assert capfd.readouterr().out.count("returned at once  runs/") == 1


def kill_first(folder: Path) -> None:
    while not (locks := list(folder.glob("runs/*/run.lock"))):
        time.sleep(0.02)
    time.sleep(0.5)
    os.kill(json.loads(locks[0].read_text())["pid"], signal.SIGKILL)


@pytest.mark.slow
def test_a_local_ray(study, workshop, tmp_path):
    pytest.importorskip(
        "hydra_plugins.hydra_ray_launcher", reason="the extra `ray` is not installed (heavy, cloudpickle<3)"
    )
    more = ("hydra/launcher=ray", "recipe=adam,sgd", "split.repeat=0")
    shown, _ = start(workshop, tmp_path, *more).communicate(timeout=400)
    assert "2 done" in shown


TRAINER = {"num_nodes": 1, "strategy": "auto", "devices": 1, "accelerator": "cpu"}


@pytest.mark.parametrize(
    ("change", "launcher", "expected"),
    [
        ({}, "basic", False),
        ({}, "joblib", True),
        ({"strategy": "ddp"}, "basic", True),
        ({"devices": 2}, "basic", True),
        ({"devices": [0, 1]}, "basic", True),
        ({"devices": "auto"}, "basic", False),
    ],
)
def test_who_needs_a_process(change, launcher, expected):
    assert cell_process.needs_process(TRAINER | change, launcher) is expected
    with pytest.raises(UsageError, match="one machine"):
        cell_process.needs_process(TRAINER | change | {"num_nodes": 2}, launcher)


def test_a_launcher_can_send_the_job_by_its_name():
    import pickle

    assert pickle.loads(pickle.dumps(job)) is job


def test_a_missing_launcher_says_what_to_install(capsys):
    assert run_verb("train", "-m", "experiment=demo", "hydra/launcher=rq", "seed=0,1") == 2
    assert "covidct[launchers]" in capsys.readouterr().err


def test_an_outcome_survives(tmp_path):
    file = OutcomeFile(tmp_path / "0.json", Outcome(0, ["seed=1"]))
    file.end(DataRefused("torn", where="a.dcm"))
    assert OutcomeFile(tmp_path / "0.json").outcome == Outcome(
        0, ["seed=1"], "failed", None, "torn (a.dcm)", "DataRefused", 3
    )
