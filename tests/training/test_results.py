"""What follows from a predictions table: made in order, made again when stale, refused when it does not fit."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covidct.data.splits import make_split
from covidct.data.table import make_table
from covidct.errors import IntegrityError
from covidct.evaluation.operating_point import FILE, Criterion, read_operating_point
from covidct.evaluation.predictions import Predictions, probability_columns, read_predictions, write_predictions
from covidct.training.results import (
    DERIVED,
    UNSEEN,
    prepare,
    read_unseen,
    refresh_report,
    settle,
    settle_before_testing,
    write_unseen,
)
from covidct.training.runs import RunFolder
from covidct.training.unseen_patients import patients_without_slices
from tests.conftest import run_verb
from tests.evaluation.factories import FIVE, simulated

UNSEEN_ROWS = pd.DataFrame(
    [("test", "north", "00ff", "viral"), ("test", "west", "00aa", "normal")],
    columns=["split", "site", "patient_key", "label"],
)


def make_run(folder: Path, *, splits=("val",), state="trained", seed=0) -> RunFolder:
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"run": "r", "state": state, "identity": "i"}))
    run = RunFolder(folder)
    write_predictions(run.predictions, predictions(splits, seed))
    return run


def predictions(splits=("val",), seed=0) -> Predictions:
    return simulated(patients=11, slices=3, splits=splits, sites=("north",), skill=2.0, seed=seed)


def moved(table: Predictions, by: float) -> Predictions:
    """Validation probabilities that another device gives."""
    columns, frame = probability_columns(FIVE), table.frame.copy()
    values = frame[columns].to_numpy() + by * np.random.default_rng(0).uniform(0, 1, (len(frame), 5))
    frame[columns] = values / values.sum(axis=1, keepdims=True)
    return Predictions(frame, table.scheme, table.meta)


# --- the operating point ----------------------------------------------------------------------------------------------


def test_it_is_chosen_once_and_before_test_slices_are_predicted(tmp_path):
    run = make_run(tmp_path / "run")
    settle_before_testing(run, None)
    written = (run.path / FILE).read_bytes()
    assert not read_operating_point(run.path).after_test
    table = predictions(("val", "test"))
    assert prepare(run, table, None).frame.equals(table.frame)
    write_predictions(run.predictions, table)
    prepare(run, table, None)
    assert (run.path / FILE).read_bytes() == written


def test_rounding_of_another_device_keeps_the_frozen_rows_and_more_is_refused(tmp_path):
    run = make_run(tmp_path / "run")
    point = settle(run, read_predictions(run.predictions))
    fresh = moved(predictions(("val", "test")), 1e-6)
    kept = prepare(run, fresh, None)
    point.check(kept)
    test = fresh.frame["split"] == "test"
    assert kept.frame[test].equals(fresh.frame[test])
    with pytest.raises(IntegrityError, match="other validation predictions"):
        prepare(run, moved(predictions(("val", "test")), 0.3), None)
    other = predictions(("val", "test"))
    with pytest.raises(IntegrityError, match="other validation predictions"):  # the same noise, but other weights
        prepare(run, Predictions(fresh.frame, FIVE, {**other.meta, "weights_digest": "x"}), None)


def test_another_criterion_only_until_the_test_set_was_seen(tmp_path):
    run = make_run(tmp_path / "run")
    settle_before_testing(run, None)
    settle_before_testing(run, Criterion("youden"))
    assert read_operating_point(run.path).criterion.name == "youden"
    write_predictions(run.predictions, predictions(("val", "test")))
    settle_before_testing(run, Criterion("youden"))
    settle_before_testing(run, None)
    with pytest.raises(IntegrityError, match="test set was seen"):
        settle_before_testing(run, Criterion("macro_sensitivity"))


def test_a_training_that_just_ended_begins_anew(tmp_path):
    run = make_run(tmp_path / "run", state="started")
    first = settle(run, read_predictions(run.predictions))
    prepare(run, predictions(seed=1), None)
    assert read_operating_point(run.path) != first


def test_a_point_chosen_after_the_test_says_so(tmp_path):
    run = make_run(tmp_path / "run", splits=("val", "test"), state="evaluated")
    assert settle(run, read_predictions(run.predictions)).after_test
    only_test = make_run(tmp_path / "other", splits=("test",))
    assert settle(only_test, read_predictions(only_test.predictions)) is None


# --- covidct report ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def old_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a version that knew nothing of all this, then reported by this one."""
    run = make_run(tmp_path_factory.mktemp("old") / "run", splits=("val", "test"), state="evaluated")
    rule = {"rule": {"slice_threshold": 0.6}, "interval": {"replicates": 7}}
    (run.path / "metrics.json").write_text(json.dumps(rule))
    write_unseen(run, UNSEEN_ROWS, add=False)
    assert run_verb("report", f"run={run.path}") == 0
    return run.path


def test_an_older_run_gets_what_it_lacks_with_its_own_settings(old_run):
    summary = json.loads((old_run / "metrics.json").read_text())
    assert summary["rule"]["slice_threshold"] == 0.6
    assert summary["interval"]["replicates"] == 7
    assert {b["aggregation"] for b in summary["blocks"]} >= {"validation_rule", "any_slice", "mean_probability"}
    for name in (FILE, "slices_per_patient.json", "calibration.json", DERIVED, "tables/slices_per_patient.csv"):
        assert (old_run / name).is_file()
    page = (old_run / "report.html").read_text()
    assert "any-slice one false alarm" in page
    assert "Test slices of this run had been predicted before" in page
    assert not (old_run / "run.lock").exists()


def test_patients_without_slices_reach_the_metrics(old_run):
    blocks = json.loads((old_run / "metrics.json").read_text())["blocks"]
    found = {(b["site"], b["aggregation"]): b["n_no_result"] for b in blocks if b["split"] == "test"}
    for rule in ("any_slice", "mean_probability", "validation_rule"):
        assert (found["north", rule], found["west", rule], found["(pooled)", rule]) == (1, 1, 2)


def test_what_is_up_to_date_is_not_made_again(old_run, tmp_path):
    run = RunFolder(Path(shutil.copytree(old_run, tmp_path / "run")))
    marked = json.loads((run.path / "metrics.json").read_text()) | {"mark": 1}
    (run.path / "metrics.json").write_text(json.dumps(marked))
    page = (run.path / "report.html").read_bytes()
    refresh_report(run)
    assert (run.path / "metrics.json").read_text() == json.dumps(marked)
    assert (run.path / "report.html").read_bytes() == page


@pytest.mark.parametrize("change", ["predictions", "unseen", "calibration"])
def test_what_is_stale_is_made_again(old_run, tmp_path, change):
    run = RunFolder(Path(shutil.copytree(old_run, tmp_path / "run")))
    before = (run.path / "metrics.json").read_text()
    if change == "predictions":
        table = read_predictions(run.predictions)
        write_predictions(run.predictions, Predictions(table.frame.iloc[:-3], table.scheme, table.meta))
    elif change == "unseen":
        (run.path / UNSEEN).unlink()
    else:
        (run.path / "calibration.json").unlink()
    refresh_report(run)
    assert (run.path / "calibration.json").is_file()
    assert ((run.path / "metrics.json").read_text() == before) == (change == "calibration")


def test_an_edited_operating_point_is_refused_by_report(old_run, tmp_path, capsys):
    copy = shutil.copytree(old_run, tmp_path / "run")
    value = json.loads((copy / FILE).read_text())
    value["rule"] = {"name": "noisy_or", "parameters": {}}
    (copy / FILE).write_text(json.dumps(value))
    assert run_verb("report", f"run={copy}") == 4
    assert "changed after it was frozen" in capsys.readouterr().err


# --- patients without a slice -----------------------------------------------------------------------------------------


def test_the_list_is_kept_and_added_to(tmp_path):
    run = RunFolder(tmp_path)
    assert read_unseen(run) is None
    write_unseen(run, UNSEEN_ROWS.iloc[:1], add=True)
    write_unseen(run, UNSEEN_ROWS.iloc[1:], add=True)
    assert read_unseen(run).equals(UNSEEN_ROWS)
    write_unseen(run, UNSEEN_ROWS.iloc[:0], add=False)
    assert len(read_unseen(run)) == 0
    (tmp_path / UNSEEN).write_text('{"schema": 1, "patients": [{"name": "x"}]}')
    with pytest.raises(IntegrityError, match="not a list"):
        read_unseen(run)


def test_who_has_no_slice(tmp_path):
    """Sites a (developed on) and b (external); of each a patient with slices of both kinds, and one with none."""
    rows = []
    for site in "ab":
        for number, label in enumerate(["normal", "covid19"] * 4):
            key = f"{site}{number}"
            good = {"slice_key": f"s{key}", "patient_key": key, "site": site, "series_key": key, "slice_number": 0,
                    "label": label, "units": "HU", "pixel_hash": key, "accepted": True, "reason": ""}  # fmt: skip
            rows.append({**good, "path": f"{key}/1"})
            rows.append({"path": f"{key}/2", "patient_key": key, "site": site, "label": label, "reason": "torn"})
        for key, label in ((f"{site}x", "normal"), (f"{site}y", None), (f"{site}z", "viral")):
            rows += [{"path": f"{key}/{n}", "patient_key": key, "site": site, "label": label, "reason": "torn"}
                     for n in range(2)]  # fmt: skip
        for label in ("normal", "covid19"):  # excluded on purpose
            rows.append({"path": f"{site}w/{label}", "patient_key": f"{site}w", "site": site, "label": label,
                         "reason": "two labels"})  # fmt: skip
    table = make_table([{"accepted": False, **row} for row in rows], root=tmp_path, source="x")
    split = make_split(table, external_sites=["b"])
    own = patients_without_slices(table, split, ("normal", "covid19"))
    assert own.to_numpy().tolist() == [["test", "b", "bx", "normal"]]
    foreign = patients_without_slices(table, None, ("normal", "covid19", "viral"))
    assert foreign["patient_key"].tolist() == ["ax", "az", "bx", "bz"]
    assert set(foreign["split"]) == {"test"}


def test_the_official_partition_tells_where_a_patient_belongs(tmp_path):
    rows = []
    for part in ("train", "val", "test"):
        for number, label in enumerate(["normal", "covid19"]):
            key = f"{part}{number}"
            rows.append({"slice_key": key, "patient_key": key, "site": "a", "series_key": key, "slice_number": 0,
                         "label": label, "units": "HU", "pixel_hash": key, "accepted": True, "reason": "", "path": key,
                         "official_split": part})  # fmt: skip
        rows.append({"path": f"{part}x", "patient_key": f"{part}x", "site": "a", "label": "normal", "reason": "torn",
                     "official_split": part, "accepted": False})  # fmt: skip
    table = make_table(rows, root=tmp_path, source="x")
    found = patients_without_slices(table, make_split(table, kind="official"), ("normal", "covid19"))
    assert found[["split", "patient_key"]].to_numpy().tolist() == [["test", "testx"], ["val", "valx"]]


def test_through_the_front_door(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A patient of an external hospital all of whose files are broken is in the figures of `covidct evaluate`."""
    assert json.loads((trained / UNSEEN).read_text()) == {"schema": 1, "patients": []}
    assert read_operating_point(trained).after_test is False
    scans = tmp_path / "phantom"  # other people than those of the run, whose pictures are known under any key
    assert run_verb("phantom", f"out={scans}", "patients=2", "slices_per_patient=3", "size=64", "seed=1") == 0
    broken = sorted(path for path in (scans / "site_b").iterdir() if path.is_dir())[0]
    for file in broken.rglob("*.dcm"):
        file.write_bytes(file.read_bytes()[:-100])
    words = (f"data.root={scans}", f"data.index={tmp_path}/index", f"key={tmp_path}/key")
    assert run_verb("index", "data=phantom", *words) == 0
    run = shutil.copytree(trained, tmp_path / "run")
    operating = (run / FILE).read_bytes()
    assert run_verb("evaluate", f"run={run}", f"index={tmp_path}/index") == 0, capsys.readouterr().err
    [row] = json.loads((run / UNSEEN).read_text())["patients"]
    assert row["site"] == "site_b"
    assert row["label"] in FIVE.names
    blocks = json.loads((run / "metrics.json").read_text())["blocks"]
    block = next(b for b in blocks if (b["split"], b["site"], b["aggregation"]) == ("test", "site_b", "any_slice"))
    assert block["n_no_result"] == 1
    assert (run / FILE).read_bytes() == operating
    assert run_verb("evaluate", f"run={run}", "operating.criterion=youden") == 4
    assert "test set was seen" in capsys.readouterr().err
