"""Where nothing is known nobody is called healthy: refused slices, NaN, conflicts and ties (faults 45, 46, 47)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from covidct.data.measures import read_measures
from covidct.data.table import make_table
from covidct.labels import ClassScheme
from covidct.training.checkpoints import BEST, read_checkpoint, write_checkpoint
from covidct.training.predict import judge
from tests.conftest import run_verb
from tests.ct.dicom_fixtures import write_ct, write_series

THREE = ClassScheme(("normal", "covid19", "viral"), "normal", "covid19")
NAN = float("nan")


def table(patients: dict[str, int], refused: dict[str, list[str]]):
    """Slices of each patient, and the reasons for which others were refused."""
    accepted = [
        {
            "slice_key": f"{key}{number}", "patient_key": key, "site": "s", "path": f"{key}/{number}", "frame": 0,
            "rows": 8, "cols": 8, "units": "HU", "pixel_hash": f"{key}{number}", "accepted": True, "reason": "",
            "series_key": f"series {key}", "slice_number": number, "position_mm": 5.0 * number, "label": None,
        }
        for key, count in patients.items() for number in range(count)
    ]  # fmt: skip
    rejected = [
        {"path": f"{key}/bad{n}", "frame": 0, "accepted": False, "reason": reason, "patient_key": key, "site": "s"}
        for key, reasons in refused.items() for n, reason in enumerate(reasons)
    ]  # fmt: skip
    return make_table(accepted + rejected, root=Path("/nowhere"), source="dicom_tree", classes=None)


def test_each_patient_gets_what_is_known_and_why():
    scans = table({"a": 2, "b": 3, "c": 2, "d": 1}, {"b": ["blank"], "z": ["blank", "blank", "cut short"]})
    probabilities = np.array(
        [
            [0.8, 0.1, 0.1], [0.7, 0.2, 0.1],  # a: normal
            [0.1, 0.8, 0.1], [0.9, 0.1, 0.0], [0.1, 0.2, 0.7],  # b: two diseases
            [0.9, 0.1, 0.0], [NAN, NAN, NAN],  # c: a slice is not known
            [NAN, 0.5, 0.5],  # d
        ]
    )  # fmt: skip
    found = judge(scans, probabilities, THREE)
    patients = found.patients.set_index("patient_key")
    assert patients["any_slice"].to_dict() == {
        "a": "normal", "b": "conflict", "c": "no result", "d": "no result", "z": "no result"
    }  # fmt: skip
    assert patients["mean_probability"].to_dict() == {
        "a": "normal", "b": "covid19", "c": "no result", "d": "no result", "z": "no result"
    }  # fmt: skip
    assert patients["why"].to_dict() == {
        "a": "",
        "b": "covid19 in 1 of 3 slices, viral in 1 of 3 slices",
        "c": "1 of 2 slices without probabilities",
        "d": "1 of 1 slices without probabilities",
        "z": "no usable slice: blank (2); cut short (1)",
    }
    assert patients["n_refused"].to_dict() == {"a": 0, "b": 1, "c": 0, "d": 0, "z": 3}
    assert patients.loc[["c", "d", "z"], ["p_normal", "p_covid19", "p_viral"]].isna().all(axis=None)
    assert found.slices["called"].tolist()[-3:] == ["normal", "no result", "no result"], "argmax of NaN is column 0"
    columns = ["patient_key", "disease", "slice_key", "slice_number", "probability"]
    assert found.conflicts[columns].to_numpy().tolist() == [
        ["b", "covid19", "b0", 0, 0.8], ["b", "viral", "b2", 2, 0.7]
    ]  # fmt: skip
    assert found.without_result == 3


def test_infinite_probabilities_are_no_probabilities():
    found = judge(table({"a": 1}, {}), np.array([[np.inf, 0.0, 0.0]]), THREE)
    assert found.slices["called"].tolist() == ["no result"]
    assert found.patients["any_slice"].tolist() == ["no result"]


@pytest.fixture
def scans(tmp_path) -> Path:
    """Two patients: four good slices of one, of the other a scout, a raw and a cut file."""
    folder = tmp_path / "scans"
    write_series(folder / "good", range(0, 20, 5), series="1.2.1", seed=1, PatientID="P1")
    options = {"PatientID": "P2", "SeriesInstanceUID": "1.2.2"}
    write_ct(folder / "scout", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], SOPInstanceUID="1.3.1", **options)
    write_ct(folder / "raw", RescaleSlope=None, SOPInstanceUID="1.3.2", **options)
    cut = write_ct(folder / "cut", SOPInstanceUID="1.3.3", **options)
    cut.write_bytes(cut.read_bytes()[:-900])
    return folder


def with_head(trained: Path, folder: Path, weight: float, bias: float) -> Path:
    """A copy of the run whose last layer is replaced."""
    shutil.copytree(trained, folder)
    path = folder / "checkpoints" / BEST
    checkpoint = read_checkpoint(path)
    classes = 5
    for name, values in checkpoint["state_dict"].items():
        if values.ndim and values.shape[0] == classes:
            checkpoint["state_dict"][name] = torch.full_like(values, weight if values.ndim > 1 else bias)
    write_checkpoint(checkpoint, path)
    return folder


def predict(run: Path, scans: Path, tmp_path: Path) -> tuple[int, pd.DataFrame]:
    code = run_verb("predict", f"run={run}", f"input={scans}", f"output={tmp_path}/out", f"key={tmp_path}/key")
    return code, pd.read_csv(tmp_path / "out" / "patients.csv", keep_default_na=False)


def test_one_patient_whose_slices_are_all_refused_is_unknown(trained, scans, tmp_path, capsys):
    code, patients = predict(trained, scans, tmp_path)
    said = capsys.readouterr().out
    assert code == 0
    [good] = patients[patients["n_slices"] == 4].index
    [bad] = patients[patients["n_slices"] == 0].index
    assert len(patients) == 2
    assert patients.loc[bad, ["n_refused", "any_slice", "mean_probability"]].tolist() == [3, "no result", "no result"]
    assert patients.loc[bad, "why"].startswith("no usable slice: ")
    assert "image type says localizer (1)" in patients.loc[bad, "why"]
    assert patients.loc[good, "mean_probability"] != "no result"
    assert "NO RESULT for 1 of 2 patients: that is not normal" in said


def test_files_that_name_no_patient_are_said(trained, scans, tmp_path, capsys):
    (scans / "broken.dcm").write_bytes(b"\0" * 500)
    assert predict(trained, scans, tmp_path)[0] == 0
    assert "1 refused files name no patient" in capsys.readouterr().out


def test_a_network_of_nan_gives_no_result(trained, scans, tmp_path, capsys):
    run = with_head(trained, tmp_path / "nan", NAN, NAN)
    code, patients = predict(run, scans, tmp_path)
    assert code == 3
    assert "no result for any patient" in capsys.readouterr().err
    assert set(patients["any_slice"]) == set(patients["mean_probability"]) == {"no result"}
    assert set(pd.read_csv(tmp_path / "out" / "slices.csv")["called"]) == {"no result"}


def test_evaluating_a_network_of_nan_is_refused_and_the_record_stays(trained, workshop, tmp_path, capsys):
    run = with_head(trained, tmp_path / "nan", NAN, NAN)
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    assert run_verb("evaluate", f"run={run}") == 3
    assert "the network gives no probabilities for 135 of 135 slices" in capsys.readouterr().err
    for name in ("predictions.parquet", "metrics.json", "report.html"):
        assert (run / name).read_bytes() == before[name]


def test_a_tie_of_all_classes_is_the_first_disease_and_never_normal(trained, scans, tmp_path):
    code, patients = predict(with_head(trained, tmp_path / "tie", 0.0, 0.0), scans, tmp_path)
    assert code == 0
    called = patients[patients["n_slices"] > 0]
    assert called["p_normal"].astype(float).tolist() == pytest.approx([0.2])
    assert called["any_slice"].tolist() == called["mean_probability"].tolist() == ["covid19"]


def test_conflicts_are_listed_slice_by_slice(trained, workshop, tmp_path, capsys):
    """Expected from slices.csv in plain Python."""
    code, patients = predict(trained, workshop / "phantom" / "site_b", tmp_path)
    assert code == 0
    slices = pd.read_csv(tmp_path / "out" / "slices.csv")
    expected = {}
    for key, own in slices.groupby("patient_key"):
        ill = sorted(set(own["called"]) - {"normal"})
        expected[key] = "normal" if not ill else ill[0] if len(ill) == 1 else "conflict"
    assert patients.set_index("patient_key")["any_slice"].to_dict() == expected
    torn = {key for key, outcome in expected.items() if outcome == "conflict"}
    assert torn, "the tiny network is unsure enough"
    conflicts = pd.read_csv(tmp_path / "out" / "conflicts.csv")
    wanted = slices[slices["patient_key"].isin(torn) & (slices["called"] != "normal")]
    assert set(zip(conflicts["slice_key"], conflicts["disease"], strict=True)) == set(
        zip(wanted["slice_key"], wanted["called"], strict=True)
    )
    assert f"CONFLICT in {len(torn)} of 20 patients" in capsys.readouterr().out


def test_predict_asks_what_the_index_of_the_run_asked(trained, workshop, tmp_path, capsys):
    """A run whose index left out slices with little lung is not asked about necks, unless somebody insists."""
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    measures = read_measures(workshop / "index")
    threshold = float(measures["lung_mm2"].median()) / 100
    below = int((measures["lung_mm2"] < 100 * threshold).sum())
    assert 0 < below < len(measures)
    flow = json.loads((run / "participants.json").read_text())
    flow["study"] |= {"lungs_cm2": threshold}
    (run / "participants.json").write_text(json.dumps(flow))
    words = [f"run={run}", f"input={workshop}/phantom", f"key={workshop}/pseudonym.key", "workers=1"]
    assert run_verb("predict", *words, f"output={tmp_path}/study") == 0
    assert "as in the run's study, refused: lung area below" in capsys.readouterr().out
    refused = pd.read_csv(tmp_path / "study" / "refused.csv")
    assert refused["reason"].str.startswith("lung area below").sum() == below
    assert run_verb("predict", *words, f"output={tmp_path}/all", "rules=none") == 0
    everything = pd.read_csv(tmp_path / "all" / "slices.csv")
    assert len(everything) == len(pd.read_csv(tmp_path / "study" / "slices.csv")) + below
    assert run_verb("predict", *words, f"output={tmp_path}/x", "rules=some") == 2
