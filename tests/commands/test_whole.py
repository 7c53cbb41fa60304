"""From scans to a result that stands, through the front door."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, roc_auc_score

from covidct.evaluation.predictions import read_predictions
from tests.conftest import TINY, run_verb

RECORD = (
    "config.yaml", "run.json", "provenance.json", "split.json", "participants.json", "metrics.csv",
    "predictions.parquet", "metrics.json", "report.html", "checkpoints/best.ckpt", "checkpoints/last.ckpt",
)  # fmt: skip


def test_a_run_folder_is_a_whole_record(trained: Path):
    assert [name for name in RECORD if not (trained / name).is_file()] == []
    assert json.loads((trained / "run.json").read_text())["state"] == "evaluated"
    assert not (trained / "run.lock").exists()


def test_both_phases_ran_in_order(trained: Path):
    epochs = pd.read_csv(trained / "metrics.csv")
    assert epochs["optimizer"].tolist() == ["adam", "adam", "sgd"]
    assert epochs["phase"].tolist() == [0, 0, 1]
    assert epochs[["train_loss", "val_loss", "val_accuracy"]].notna().all().all()


def test_the_predictions_hold_each_slice_of_validation_and_test_once(trained: Path, workshop: Path):
    predictions = read_predictions(trained / "predictions.parquet").frame
    split = json.loads((trained / "split.json").read_text())
    for part, patients in (("val", split["val"]), ("test", [p for t in split["tests"].values() for p in t])):
        rows = predictions[predictions["split"] == part]
        assert sorted(rows["patient_key"].unique()) == sorted(patients)
        assert len(rows) == 3 * len(patients)  # three slices a patient
        assert rows["slice_key"].is_unique
    assert not set(predictions["patient_key"]) & set(split["train"])


def test_metrics_agree_with_scikit_learn(trained: Path):
    predictions = read_predictions(trained / "predictions.parquet")
    summary = json.loads((trained / "metrics.json").read_text())
    names = list(predictions.scheme.names)
    block = next(b for b in summary["blocks"] if (b["split"], b["site"], b["level"]) == ("test", "site_b", "slice"))
    rows = predictions.frame[(predictions.frame["split"] == "test") & (predictions.frame["site"] == "site_b")]
    scores = rows[[f"p_{name}" for name in names]].to_numpy()
    called = np.array(names)[scores.argmax(axis=1)]
    assert block["confusion"] == confusion_matrix(rows["label"], called, labels=names).tolist()
    assert block["accuracy"]["value"] == pytest.approx(accuracy_score(rows["label"], called))
    for column, name in enumerate(names):
        expected = roc_auc_score(rows["label"] == name, scores[:, column])
        assert block["per_class"][name]["auc"]["value"] == pytest.approx(expected)


def test_a_finished_run_returns_at_once(trained: Path, workshop: Path, capsys: pytest.CaptureFixture[str]):
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*") if path.is_file()}
    assert run_verb("train", *TINY, f"data.index={workshop}/index", f"runs={workshop}/runs") == 0
    assert "finished already" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*") if path.is_file()} == before


def test_the_report_is_made_from_the_folder_alone(trained: Path, tmp_path: Path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(trained, moved)
    (moved / "report.html").unlink()
    assert run_verb("report", f"run={moved}") == 0
    assert "COVID-19" in (moved / "report.html").read_text()


def test_predict_knows_windows_size_and_classes_from_the_run(trained: Path, workshop: Path, tmp_path: Path):
    output = tmp_path / "out"
    words = (f"run={trained}", f"input={workshop}/phantom/site_b", f"output={output}", f"key={workshop}/pseudonym.key")
    assert run_verb("predict", *words) == 0
    slices = pd.read_csv(output / "slices.csv")
    known = read_predictions(trained / "predictions.parquet").frame
    known = known[known["site"] == "site_b"]
    assert len(slices) == len(known)
    # other keys (no labels file, so no site), but the same slices: the same probabilities
    columns = [c for c in slices.columns if c.startswith("p_")]
    one, two = (np.sort(frame[columns].to_numpy(), axis=0) for frame in (slices, known))
    np.testing.assert_allclose(one, two, atol=1e-5)
    patients = pd.read_csv(output / "patients.csv")
    assert len(patients) == 20
    assert (patients["n_slices"] == 3).all()


def test_predict_without_a_usable_slice_is_no_result_and_never_normal(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    empty = tmp_path / "scans"
    empty.mkdir()
    (empty / "notes.txt").write_text("not a scan")
    assert run_verb("predict", f"run={trained}", f"input={empty}", f"output={tmp_path}/out", f"key={tmp_path}/k") == 3
    shown = capsys.readouterr()
    assert "no result" in shown.err
    assert "normal" not in (tmp_path / "out" / "patients.csv").read_text()


def test_a_changed_split_is_refused(workshop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    [frozen, *_] = (workshop / "index" / "splits").glob("patient-*.json")
    split = json.loads(frozen.read_text())
    split["train"].append(split["val"][0])  # a patient on both sides
    edited = tmp_path / "edited.json"
    edited.write_text(json.dumps(split))
    words = (*TINY, f"data.index={workshop}/index", f"runs={tmp_path}/runs", f"split.file={edited}")
    assert run_verb("train", *words) == 4
    assert "changed after it was made" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_the_paper_split_says_how_many_patients_leak(workshop: Path, capsys: pytest.CaptureFixture[str]):
    words = (f"data.index={workshop}/index", "split=paper_image_level", "split.external_sites=[site_b,site_c]")
    assert run_verb("split", *words) == 0
    assert "LEAK" in capsys.readouterr().out


def weights(run: Path) -> dict[str, torch.Tensor]:
    """The network of a run's last checkpoint."""
    return dict(torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"])


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_killed_run_goes_on_to_the_same_weights(epoch: int, workshop: Path, tmp_path: Path, trained: Path):
    """kill -9 in the first phase and exactly at the border to the second; the same command then finishes the run."""
    command = [sys.executable, "-m", "covidct", "train", *TINY, f"data.index={workshop}/index", f"runs={tmp_path}/runs"]
    command.append("allow_drift=true")  # a commit made while the tests run is not what is tested here
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(f"epoch   {epoch}/3"):
                while not list(tmp_path.glob("runs/*/checkpoints/last.ckpt")):  # the line comes before the checkpoint
                    time.sleep(0.01)
                time.sleep(0.05)
                process.kill()
                break
    [run] = (tmp_path / "runs").glob("demo-*")
    assert json.loads((run / "run.json").read_text())["state"] == "started"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "resuming from" in done.stdout
    assert "cleared the lock" in done.stdout
    one, two = weights(run), weights(trained)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)
    epochs = pd.read_csv(run / "metrics.csv")
    assert epochs["epoch"].tolist() == [0, 1, 2]


def test_two_processes_count_each_slice_once(workshop: Path, tmp_path: Path, trained: Path):
    command = [sys.executable, "-m", "covidct", "train", *TINY, f"data.index={workshop}/index", f"runs={tmp_path}/runs"]
    done = subprocess.run(
        [*command, "trainer=ddp_cpu", "trainer.devices=2"], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    [run] = (tmp_path / "runs").glob("demo-*")
    ours = read_predictions(run / "predictions.parquet").frame
    theirs = read_predictions(trained / "predictions.parquet").frame
    theirs = theirs[theirs["split"] == "val"]
    assert sorted(ours["slice_key"]) == sorted(theirs["slice_key"])
    assert done.stdout.count("epoch   1/3") == 1  # one of the two speaks


def test_nothing_that_names_a_patient_leaves(trained: Path, workshop: Path):
    """Patient numbers, UIDs and folders of the phantom, hunted in every byte of the run folder."""
    labels = pd.read_csv(workshop / "phantom" / "labels.csv", dtype=str)
    uids = pd.read_csv(workshop / "phantom" / "slices.csv", dtype=str)["sop_instance_uid"]
    planted = [*labels["patient"], *uids.head(20)]
    for path in trained.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            found = [word for word in planted if word.encode() in content or word in path.name]
            assert not found, (path.name, found[:3])


def test_a_killed_data_worker_is_one_message(workshop: Path, tmp_path: Path):
    """What the OOM killer does to a worker (fault 40): no hang, no traceback, and the run can go on."""
    words = ["data.workers=1", "recipe.stop={min_epochs: 50, max_epochs: 50}", "allow_drift=true"]
    command = [sys.executable, "-m", "covidct", "train", *TINY, f"data.index={workshop}/index", f"runs={tmp_path}/runs"]
    with subprocess.Popen([*command, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("epoch   1/50"):
                break
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert children, "no worker to kill"
        for child in children:
            os.kill(int(child), signal.SIGKILL)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 5, errors
    assert "a data worker was killed" in errors
    assert "Traceback" not in errors


def test_pictures_of_scans_stay_in_the_run_folder(trained: Path, tmp_path: Path):
    """Text burned into a scan could name a patient: trackers get charts only."""
    from covidct.training.runs import RunFolder
    from covidct.training.scoring import redo_report

    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    assert (copy / "figures" / "mistakes.png").is_file()
    _, charts = redo_report(RunFolder(copy))
    assert charts
    assert not [name for name in charts if "mistake" in name]


def test_an_index_made_anew_is_not_taken_for_another_hospital(
    trained: Path, workshop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Under another key the trained patients have new names; counting them as a test set would be a leak."""
    words = ("data=phantom", f"data.root={workshop}/phantom", f"data.index={tmp_path}/index", f"key={tmp_path}/key")
    assert run_verb("index", *words) == 0
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    config = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(config.replace(f"{workshop}/index", f"{tmp_path}/index"))
    before = (copy / "predictions.parquet").read_bytes()
    assert run_verb("evaluate", f"run={copy}") == 4
    assert "the run was made with index" in capsys.readouterr().err
    assert (copy / "predictions.parquet").read_bytes() == before
