"""Trackers against what they wrote: W&B's offline log and a fake W&B server, TensorBoard's event files, metrics.csv."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
import warnings
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import covidct.training.wandb_tracker as wandb_tracker  # before pytorch_lightning: it lets torchvision import
from covidct.errors import UsageError
from covidct.training.records import EPOCH_COLUMNS, read_epochs
from covidct.training.redaction import REDACTED
from covidct.training.scoreboard import flatten
from covidct.training.tracking import build_loggers, close_loggers, log_evaluation, log_files
from covidct.training.wandb_tracker import choose_mode
from tests.training import tracked_fit, wandb_file
from tests.training.wandb_server import serving

SCRIPT = Path(tracked_fit.__file__)
ROOT = SCRIPT.parents[2]
BLOCK = "test/site_b/patient/any_slice"
NUMBERS = ("epoch", "phase", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds")
KEY = "0123456789" * 4
PLANTED = ("DOE_JANE", "MUELLER_HANS", "jane.doe", "hospital-host-17", "git.hospital.example")


def clean_environment(home: Path, **variables: str) -> dict[str, str]:
    """An environment without any W&B setting or key."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    return {**kept, "HOME": str(home), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2", **variables}


@pytest.fixture(autouse=True)
def _no_wandb_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    import wandb

    wandb.teardown()  # what an earlier test of this session told W&B, it would remember


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def a_tracker(folder: Path, kind: str = "wandb", **changes: Any) -> list[Any]:
    what: dict[str, Any] = {
        "run_id": "toy-0", "name": "toy", "project": "covidct-tests", "group": None, "job_type": "train", "tags": [],
        "config": {},
    }  # fmt: skip
    return build_loggers(kind, folder, **{**what, **changes})


def only_run(folder: Path) -> wandb_file.WandbFile:
    """The one offline run below a folder, once W&B's service has written its end (it does so a moment after close)."""
    (found,) = folder.glob("wandb/offline-run-*")
    end = time.monotonic() + 20
    while wandb_file.read(found).exit_code is None and time.monotonic() < end:
        time.sleep(0.05)
    return wandb_file.read(found)


def only_ended(folder: Path) -> None:
    """Wait until W&B's service has written the end of every attempt."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if all(wandb_file.read(found).exit_code is not None for found in folder.glob("wandb/offline-run-*")):
            return
        time.sleep(0.05)


def all_bytes(folder: Path) -> bytes:
    """Every byte of every file below a folder, names and links included."""
    parts = []
    for path in sorted(folder.rglob("*")):
        parts.append(str(path.relative_to(folder)).encode())
        if path.is_symlink():
            parts.append(str(path.readlink()).encode())
        elif path.is_file():
            parts.append(path.read_bytes())
    return b"\n".join(parts)


def planted(folder: Path) -> tuple[Path, dict[str, str]]:
    """A work place that is full of names: home, user, host, folders, program, git remote."""
    place = folder / "DOE_JANE" / "MUELLER_HANS"
    place.mkdir(parents=True)
    (folder / "home-jane.doe").mkdir()
    for command in (["init", "-q"], ["remote", "add", "origin", "https://git.hospital.example/DOE_JANE.git"]):
        subprocess.run(["git", *command], cwd=place, check=True)
    program = place / "DOE_JANE_train.py"
    program.write_text(
        "import socket, runpy, sys\n"
        "socket.gethostname = lambda: 'hospital-host-17'\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
    )
    names = {"USER": "jane.doe", "LOGNAME": "jane.doe", "HOSTNAME": "hospital-host-17"}
    return program, clean_environment(folder / "home-jane.doe", **names)


def run_planted(folder: Path, **variables: str) -> Path:
    program, environment = planted(folder)
    done = subprocess.run(
        [sys.executable, program, program.parent],
        cwd=program.parent, env={**environment, **variables}, capture_output=True, text=True, timeout=120, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return program.parent


# One process, two trainings, W&B without a key -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of two offline runs, made by a real `Trainer.fit` in a process full of names."""
    return run_planted(tmp_path_factory.mktemp("offline"))


def test_the_logged_numbers_are_those_of_metrics_csv(offline: Path) -> None:
    logged = [row for row in only_run(offline / "run1").history if "train_loss" in row]
    table = read_epochs(offline / "run1" / "metrics.csv")
    assert len(logged) == len(table) == 3
    for seen, written in zip(logged, table, strict=True):
        assert {name: float(seen[name]) for name in NUMBERS} == {name: float(written[name]) for name in NUMBERS}
        assert seen["trainer/global_step"] == 3 * (int(written["epoch"]) + 1)  # three batches an epoch
        assert written["val_macro_auc"] == ""  # undefined, not 0
        assert "val_macro_auc" not in seen


def test_metrics_csv_says_what_happened(offline: Path) -> None:
    rows = read_epochs(offline / "run1" / "metrics.csv")
    assert tuple(rows[0]) == EPOCH_COLUMNS
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert [row["phase"] for row in rows] == ["0", "0", "1"]
    assert [row["lr"] for row in rows] == ["0.01", "0.005", "0.0025"]  # the rate of the epoch, not of the next one
    assert {row["optimizer"] for row in rows} == {"adam"}


def test_what_the_run_is_called_is_recorded(offline: Path) -> None:
    found = only_run(offline / "run2")
    assert found.run.run_id == "toy-000000000002"
    assert found.run.display_name == "toy 2"
    assert found.run.project == "covidct-tests"
    assert found.run.run_group == "repeats"
    assert found.run.job_type == "train"
    assert list(found.run.tags) == ["toy", "repeat2", f"from {REDACTED}"]
    settings = {key: value for key, value in found.config.items() if key != "_wandb"}
    assert settings == {
        "lr": 0.01,
        "classes": tracked_fit.CLASSES,
        "data": {"root": REDACTED, "index": REDACTED, "note": f"copied from {REDACTED}"},
        "split_digest": "ab" * 32,
        "resume": None,
        "lineage": {
            "index": "1d" * 32,
            "split": "5b" * 32,
            "model": sha256(b"weights of run 2").hexdigest(),
            "predictions": sha256(b"predictions of run 2").hexdigest(),
            "report": sha256(b"a picture of DOE_JANE's scan").hexdigest(),
        },
    }
    assert found.exit_code == 0


def test_two_runs_of_one_process_are_two_runs(offline: Path) -> None:
    for number in (1, 2):
        found = only_run(offline / f"run{number}")
        assert found.run.run_id == f"toy-00000000000{number}"
        assert sum("train_loss" in row for row in found.history) == 3


def test_the_confusion_matrix_is_a_chart_with_our_counts(offline: Path) -> None:
    found = only_run(offline / "run1")
    assert found.chart(f"confusion_matrix/{BLOCK}")["panelDefId"] == "wandb/confusion_matrix/v1"
    table = found.table(f"confusion_matrix/{BLOCK}")
    assert table["columns"] == ["Actual", "Predicted", "nPredictions"]
    counts = {(truth, predicted): n for truth, predicted, n in table["data"]}
    columns = [*tracked_fit.CLASSES, "conflict"]
    rebuilt = [[counts[truth, predicted] for predicted in columns] for truth in tracked_fit.CLASSES]
    assert rebuilt == tracked_fit.CONFUSION


def test_the_roc_curves_are_a_chart_with_our_points(offline: Path) -> None:
    found = only_run(offline / "run1")
    chart = found.chart(f"roc/{BLOCK}")
    assert chart["panelDefId"] == "wandb/area-under-curve/v0"
    assert chart["fieldSettings"] == {"x": "fpr", "y": "tpr", "class": "class"}
    table = found.table(f"roc/{BLOCK}")
    assert table["columns"] == ["class", "fpr", "tpr"]
    for name in tracked_fit.CLASSES:
        points = [(fpr, tpr) for label, fpr, tpr in table["data"] if label == name]
        curve = tracked_fit.ROC[name]
        assert points == ([] if curve is None else list(zip(curve["fpr"], curve["tpr"], strict=True)))


def test_scalars_of_the_evaluation_are_in_the_summary(offline: Path) -> None:
    summary = only_run(offline / "run1").summary
    assert summary[f"{BLOCK}/accuracy"] == 0.8
    assert (summary[f"{BLOCK}/accuracy_low"], summary[f"{BLOCK}/accuracy_high"]) == (0.625, 0.9375)
    assert summary[f"{BLOCK}/covid19/auc"] == 0.9375
    assert summary[f"{BLOCK}/n_conflict"] == 2
    assert f"{BLOCK}/viral/auc" not in summary  # undefined
    assert summary["trainer/global_step"] == 9


def test_figures_are_there_as_images_without_their_metadata(offline: Path) -> None:
    from PIL import Image

    found = only_run(offline / "run1")
    (logged,) = [row["figures/roc"] for row in found.history if "figures/roc" in row]
    assert logged["_type"] == "image-file"
    with Image.open(found.folder / "files" / logged["path"]) as image:
        assert image.size == (4, 3)
        assert image.getpixel((1, 2)) == (200, 100, 50)
        assert not image.info


def test_files_of_the_run_are_copied(offline: Path) -> None:
    found = only_run(offline / "run1")
    copy = json.loads((found.folder / "files" / "split.json").read_text())
    assert copy["train"] == ["0123456789abcdef"]
    assert not list(found.folder.glob("files/*.parquet"))  # only what was asked for


def test_the_lineage_is_artifacts_that_name_digests_and_hold_no_place(offline: Path) -> None:
    first, second = (only_run(offline / f"run{number}").artifacts for number in (1, 2))
    assert [(one.type, one.use_after_commit) for one in first] == [
        ("index", True), ("split", True), ("model", False), ("predictions", False), ("report", False),
    ]  # fmt: skip
    for one in first:
        [entry] = one.manifest.contents
        assert entry.local_path == ""
        assert entry.ref == f"covidct:{one.type}/sha256:{entry.digest}"
    index, split, model, *_ = first
    assert index.name == f"index-{'1d' * 6}"
    assert json.loads(index.metadata) == {
        "sha256": "1d" * 32, "patients": 20, "slices": 100, "files_read": 101, "synthetic": True,
    }  # fmt: skip
    assert json.loads(split.metadata)["index_digest"] == "1d" * 32
    assert model.manifest.contents[0].digest == sha256(b"weights of run 1").hexdigest()
    assert model.manifest.contents[0].size == len(b"weights of run 1")
    # what two runs share is one version of one artifact, what they make is not
    same = [(one.name, one.digest) == (other.name, other.digest) for one, other in zip(first, second, strict=True)]
    assert same == [True, True, False, False, False]


def test_without_artifacts_neither_files_nor_lineage_leave(tmp_path: Path) -> None:
    (tracker,) = loggers = a_tracker(tmp_path, artifacts=False)
    tracker.log_metrics({"value": 0.5}, 0)
    (tmp_path / "checkpoints").mkdir()
    tracked_fit.records(tmp_path, 1)
    log_files(loggers, [tmp_path / "split.json"])
    close_loggers(loggers)
    found = only_run(tmp_path)
    assert not found.artifacts
    assert not (found.folder / "files" / "split.json").exists()
    assert "lineage" not in found.config


def test_a_cell_of_a_study_has_a_name_that_a_person_can_read(tmp_path: Path) -> None:
    from covidct.commands.compose import compose_again
    from covidct.training.assemble import loggers_of
    from covidct.training.settings import TrainSettings, read_settings

    words = ["name=five_arms", "recipe=sgd", "split.repeat=3", "logger.tags=[pilot]", "data.index=x", "seed=2"]
    settings = read_settings(TrainSettings, compose_again("train", words))
    (tracker,) = loggers = loggers_of(settings, tmp_path, "ab" * 32, 3, job_type="train")
    tracker.log_metrics({"value": 0.5}, 0)
    close_loggers(loggers)
    run = only_run(tmp_path).run
    assert (run.display_name, run.run_group) == ("five_arms-sgd-repeat3-seed2-ababab", "five_arms")
    assert {"pilot", "arm:sgd", "repeat:3", "model:resnet50"} <= set(run.tags)
    assert run.run_id == "ab" * 6


def test_the_agent_of_a_sweep_finds_its_own_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It sets both variables; without a sweep an id that lies around in the environment joins no runs."""
    from covidct.commands.compose import compose_again
    from covidct.training.assemble import loggers_of
    from covidct.training.settings import TrainSettings, read_settings

    settings = read_settings(TrainSettings, compose_again("train", ["data.index=x", "recipe=sgd"]))
    monkeypatch.setenv("WANDB_RUN_ID", "fromagent")
    for sweep, wanted in ((None, "ab" * 6), ("sweep123", "fromagent")):
        if sweep:
            monkeypatch.setenv("WANDB_SWEEP_ID", sweep)
        (tracker,) = loggers_of(settings, tmp_path, "ab" * 32, 0, job_type="train")
        assert tracker.version == wanted


def test_nothing_that_was_planted_is_in_any_byte_of_the_offline_run(offline: Path) -> None:
    for number in (1, 2):
        seen = all_bytes(offline / f"run{number}" / "wandb")
        assert b"train_loss" in seen  # the search looks at the right bytes
        for name in (*PLANTED, str(offline), str(ROOT), sys.prefix, "Jane"):
            assert name.encode() not in seen, name


def test_wandbs_own_reader_agrees(offline: Path) -> None:
    (log,) = offline.glob("run1/wandb/offline-run-*/*.wandb")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(log)]
    done = subprocess.run(
        command, env=clean_environment(offline), capture_output=True, text=True, timeout=60, check=True
    )
    assert len(done.stdout.splitlines()) == sum(1 for _ in wandb_file.records(log.read_bytes()))


# Online: a server that says yes, one that never answers, one that dies -----------------------------------------------


def test_online_the_same_numbers_arrive_and_no_name_leaves(tmp_path: Path) -> None:
    with serving() as server:
        place = run_planted(tmp_path, WANDB_API_KEY=KEY, WANDB_BASE_URL=server.url)
        arrived = [row for row in server.history() if "train_loss" in row]
        sent = b"\n".join(path.encode() + body for path, body in server.requests)
        used = [asked["input"]["artifactID"].split(":")[0] for asked in server.asked("UseArtifact")]
        made = {asked["artifactTypeName"] for asked in server.artifacts.values()}
    assert sorted(used) == sorted([f"index-{'1d' * 6}", f"split-{'5b' * 6}"] * 2)
    assert made == {"index", "split", "model", "predictions", "report"}
    assert len(server.artifacts) == 2 + 2 * 3  # the two runs share index and split
    tables = [read_epochs(place / f"run{number}" / "metrics.csv") for number in (1, 2)]
    assert [row["train_loss"] for row in arrived] == [float(row["train_loss"]) for table in tables for row in table]
    assert b"wandb/area-under-curve/v0" in sent
    for name in (*PLANTED, str(place), str(ROOT), sys.prefix, "Jane"):
        assert name.encode() not in sent, name
    assert not any("otel" in path for path, _ in server.requests)  # W&B's telemetry is off


TRACK = """
import sys, time
from pathlib import Path
from covidct.training import wandb_tracker
from covidct.training.tracking import build_loggers, close_loggers
wandb_tracker.FINISH_SECONDS = 2.0
folder, began = Path(sys.argv[1]), time.monotonic()
(tracker,) = loggers = build_loggers("wandb", folder, run_id="toy-0", name="toy", project="p", group=None,
                                     job_type="train", tags=[], config={})
for step in range(20):
    tracker.log_metrics({"value": step / 8}, step)
state = tracker.state
AFTER
close_loggers(loggers)
print("STATE", state, "SECONDS", time.monotonic() - began)
"""


def track(folder: Path, after: str = "") -> list[str]:
    return [sys.executable, "-c", TRACK.replace("AFTER", after), str(folder)]


def values(folder: Path) -> list[float]:
    return [row["value"] for row in only_run(folder).history if "value" in row]


@pytest.mark.slow
def test_a_key_and_a_server_that_never_answers_is_offline_within_15_seconds(tmp_path: Path, home: Path) -> None:
    with serving(silent=True) as server:
        environment = clean_environment(home, WANDB_API_KEY=KEY, WANDB_BASE_URL=server.url)
        done = subprocess.run(
            track(tmp_path / "run"), env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert server.requests  # it did try
    assert done.returncode == 0, done.stderr
    _, state, _, seconds = done.stdout.split()
    assert (state, float(seconds) < 15) == ("offline", True)
    assert values(tmp_path / "run") == [step / 8 for step in range(20)]
    assert done.stderr.count("W&B cannot be reached") == 1
    assert not list((tmp_path / "run" / "wandb").glob("run-*"))  # the failed attempt would be synced as well


@pytest.mark.slow
def test_a_server_that_stops_answering_does_not_hold_up_the_end(tmp_path: Path, home: Path) -> None:
    with serving() as server:
        environment = clean_environment(home, WANDB_API_KEY=KEY, WANDB_BASE_URL=server.url, STOP=str(tmp_path / "stop"))
        after = "import os; Path(os.environ['STOP']).touch(); time.sleep(0.5)"
        process = subprocess.Popen(track(tmp_path / "run", after), env=environment, stdout=subprocess.PIPE, text=True)
        while not (tmp_path / "stop").exists() and process.poll() is None:
            time.sleep(0.05)
        server.silent = True
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out.split()[1] == "online"
    assert float(out.split()[3]) < 12


def test_without_a_key_nobody_is_asked_even_at_a_terminal(tmp_path: Path, home: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        track(tmp_path / "run"), env=clean_environment(home), stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True
    )
    os.close(theirs)
    heard, end = b"", time.monotonic() + 60
    while time.monotonic() < end:
        if select.select([ours], [], [], 0.2)[0]:
            try:
                chunk = os.read(ours, 4096)
            except OSError:  # the other side is gone
                break
            heard += chunk
        elif process.poll() is not None:
            break
    os.close(ours)
    assert process.wait(timeout=30) == 0, heard
    assert b"STATE offline" in heard
    assert float(heard.split()[-1]) < 12
    for question in (b"API key", b"choice", b"wandb.me", b"login"):
        assert question not in heard
    assert values(tmp_path / "run") == [step / 8 for step in range(20)]


@pytest.mark.slow
def test_a_kill_costs_about_a_second_and_the_next_attempt_has_the_same_id(tmp_path: Path, home: Path) -> None:
    folder, environment = tmp_path / "run", clean_environment(home)
    kill = "import os, signal; time.sleep(2.5); os.kill(os.getpid(), signal.SIGKILL)"
    killed = subprocess.run(track(folder, kill), env=environment, capture_output=True, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    (first,) = folder.glob("wandb/offline-run-*")
    assert [row["value"] for row in wandb_file.read(first).history] == [step / 8 for step in range(20)]
    time.sleep(1.0)  # W&B names the folder of an attempt after the second
    again = a_tracker(folder)
    again[0].log_metrics({"value": 0.5}, 0)
    close_loggers(again)
    both = [wandb_file.read(path) for path in sorted(folder.glob("wandb/offline-run-*"))]
    assert [found.run.run_id for found in both] == ["toy-0", "toy-0"]
    assert not list(folder.glob("wandb/*/logs"))  # those of the killed attempt hold absolute paths


SYNC = [sys.executable, "-m", "wandb", "sync"]


@pytest.mark.slow
def test_attempts_that_were_recorded_offline_are_one_run_after_a_sync(tmp_path: Path, home: Path) -> None:
    """Killed after an epoch, resumed, evaluated: three logs of one id, sent in one command, and sent again."""
    folder = tmp_path / "run"
    for steps in ((3, 6), (9, 12), (12,)):
        (tracker,) = loggers = a_tracker(folder)
        for step in steps:
            tracker.log_metrics({"value": step / 8}, step)
        (folder / "checkpoints").mkdir(exist_ok=True)
        tracked_fit.records(folder, 1)
        log_files(loggers, [folder / "split.json"])
        close_loggers(loggers)
        only_ended(folder)
        time.sleep(1.1)  # W&B names the folder of an attempt after the second
    logs = sorted(folder.glob("wandb/offline-run-*"))
    assert len(logs) == 3
    with serving() as server:
        environment = clean_environment(home, WANDB_API_KEY=KEY, WANDB_BASE_URL=server.url)
        environment["WANDB_ERROR_REPORTING"] = "false"  # else W&B's own telemetry holds paths; the manual says so
        for _ in range(2):
            done = subprocess.run(
                [*SYNC, *logs], env=environment, cwd=home, capture_output=True, text=True, timeout=60, check=False
            )
            assert done.returncode == 0, done.stderr
        lines = server.lines("toy-0")
    assert [lines[number]["trainer/global_step"] for number in sorted(lines)] == [3, 6, 9, 12, 12]
    assert {asked["name"] for asked in server.asked("UpsertBucket")} == {"toy-0"}
    assert len(server.artifacts) == 5  # three attempts, one version of each
    assert {asked["input"]["runName"] for asked in server.asked("UseArtifact")} == {"toy-0"}
    assert "already exists" not in done.stdout + done.stderr  # the second time nothing was sent
    places = [(path, body) for path, body in server.requests if tmp_path.name.encode() in body]
    assert not places


# Deciding ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "key", "told", "expected"),
    [
        ("auto", False, None, "offline"),
        ("auto", True, None, "online"),
        ("auto", True, "offline", "offline"),
        ("auto", True, "dryrun", "offline"),
        ("auto", True, "disabled", "disabled"),
        ("auto", False, "online", "offline"),
        ("online", True, None, "online"),
        ("online", True, "offline", "offline"),
        ("offline", True, None, "offline"),
        ("offline", True, "online", "offline"),
        ("offline", False, "disabled", "disabled"),
        ("auto", True, "nonsense", "offline"),
    ],
)
def test_the_more_reserved_wish_wins(
    monkeypatch: pytest.MonkeyPatch, asked: str, key: bool, told: str | None, expected: str
) -> None:
    if key:
        monkeypatch.setenv("WANDB_API_KEY", KEY)
    choose_mode(asked)  # W&B reads the environment once, and refuses words that it does not know
    if told:
        monkeypatch.setenv("WANDB_MODE", told)
    assert choose_mode(asked) == expected


def test_a_key_in_netrc_counts(tmp_path: Path) -> None:
    from wandb.sdk import wandb_setup

    host = wandb_setup.singleton().settings.base_url.split("//")[1]
    (tmp_path / "netrc").write_text(f"machine {host}\n  login user\n  password {KEY}\n")
    (tmp_path / "netrc").chmod(0o600)
    assert choose_mode("auto") == "online"


def test_asking_for_online_without_a_key_is_said(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="no W&B key"):
        assert choose_mode("online") == "offline"


def test_a_malformed_key_is_said_and_works_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "short")
    with pytest.warns(UserWarning, match="key cannot be used"):
        assert choose_mode("auto") == "offline"


def test_disabled_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    (tracker,) = loggers = a_tracker(tmp_path / "run")
    tracker.log_metrics({"value": 1.0}, 0)
    log_evaluation(loggers, tracked_fit.SUMMARY)
    close_loggers(loggers)
    assert tracker.state == "off"
    assert not (tmp_path / "run").exists()


def test_wrong_words_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown logger 'wandbb'"):
        build_loggers(
            "wandbb", tmp_path, run_id="r", name="n", project="p", group=None, job_type="t", tags=[], config={}
        )
    with pytest.raises(UsageError, match="unknown mode 'sometimes'"):
        a_tracker(tmp_path, mode="sometimes")


@pytest.mark.parametrize("kind", ["none", "csv"])
def test_without_a_tracker_everything_else_is_a_no_op(tmp_path: Path, kind: str) -> None:
    loggers = a_tracker(tmp_path, kind)
    assert loggers == []
    log_evaluation(loggers, tracked_fit.SUMMARY, {})
    log_files(loggers, [])
    close_loggers(loggers)
    assert not list(tmp_path.iterdir())


# Failing and closing -------------------------------------------------------------------------------------------------


def test_an_error_of_wandb_is_said_once_and_the_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tracker,) = loggers = a_tracker(tmp_path / "run")
    run = tracker.experiment

    def no_space(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "/data/DOE_JANE/wandb")

    monkeypatch.setattr(type(run), "log", no_space)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        tracked_fit.fit(tmp_path / "run", loggers)
        log_evaluation(loggers, tracked_fit.SUMMARY)
        close_loggers(loggers)
    ours = [str(warning.message) for warning in said if "W&B" in str(warning.message)]
    assert len(ours) == 1
    assert "off for this run" in ours[0]
    assert "DOE_JANE" not in ours[0]
    assert len(read_epochs(tmp_path / "run" / "metrics.csv")) == 3
    assert only_run(tmp_path / "run").exit_code == 0  # finished all the same


def test_a_failed_training_is_marked_failed_and_closing_twice_is_harmless(tmp_path: Path) -> None:
    (tracker,) = loggers = a_tracker(tmp_path)
    tracker.log_metrics({"value": 0.5}, 0)
    tracker.finalize("failed")  # what Lightning calls when fit raises
    close_loggers(loggers)
    close_loggers(loggers)
    tracker.log_metrics({"value": 0.75}, 1)
    found = only_run(tmp_path)
    assert found.exit_code == 1
    assert [row["value"] for row in found.history] == [0.5]


def test_a_run_that_someone_else_has_open_is_left_alone(tmp_path: Path) -> None:
    import wandb

    other = wandb.init(mode="offline", dir=str(tmp_path), project="other")
    try:
        loggers = a_tracker(tmp_path / "run")
        loggers[0].log_metrics({"value": 0.5}, 0)
        close_loggers(loggers)
        other.log({"theirs": 1})
    finally:
        other.finish()
    assert [row["value"] for row in only_run(tmp_path / "run").history] == [0.5]
    assert [row["theirs"] for row in only_run(tmp_path).history] == [1]


def test_only_rank_zero_tracks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb_tracker.rank_zero_only, "rank", 1)
    (tracker,) = loggers = a_tracker(tmp_path / "run")
    tracker.log_metrics({"value": 1.0}, 0)
    tracker.log_hyperparams({"lr": 1})
    log_evaluation(loggers, tracked_fit.SUMMARY)
    close_loggers(loggers)
    assert not (tmp_path / "run").exists()


def test_hyperparameters_that_lightning_sends_are_scrubbed_too(tmp_path: Path) -> None:
    (tracker,) = loggers = a_tracker(tmp_path)
    tracker.log_hyperparams({"lr": 0.1, "weights": "/home/jane.doe/weights.safetensors"})
    close_loggers(loggers)
    assert only_run(tmp_path).config["module"] == {"lr": 0.1, "weights": REDACTED}
    assert b"jane.doe" not in all_bytes(tmp_path / "wandb")


# TensorBoard ---------------------------------------------------------------------------------------------------------


def test_tensorboard_has_the_epochs_the_scalars_and_the_images(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    loggers = a_tracker(tmp_path, kind="tensorboard")
    trainer = tracked_fit.fit(tmp_path, loggers)
    figures = {"roc": tracked_fit.picture(tmp_path / "roc.png")}
    log_evaluation(loggers, tracked_fit.SUMMARY, figures, step=trainer.global_step)
    close_loggers(loggers)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    table = read_epochs(tmp_path / "metrics.csv")
    for name in NUMBERS:
        seen = events.Scalars(name)
        assert [event.value for event in seen] == pytest.approx([float(row[name]) for row in table], rel=1e-6)
        assert [event.step for event in seen] == [3, 6, 9]
    assert events.Scalars(f"{BLOCK}/covid19/auc")[0].value == 0.9375
    (image,) = events.Images("figures/roc")
    assert (image.width, image.height) == (4, 3)


def test_a_scoreboard_has_no_number_that_the_summary_does_not_have() -> None:
    board = flatten(tracked_fit.SUMMARY)
    block = tracked_fit.SUMMARY["blocks"][0]
    assert board.scalars[f"{BLOCK}/macro_sensitivity_low"] == block["macro_sensitivity"]["low"] == 0.7
    assert not any("viral/auc" in name or "macro_auc_low" in name for name in board.scalars)
    assert sum(count for *_, count in board.confusions[BLOCK]) == 20
