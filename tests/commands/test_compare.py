"""`covidct compare` through the front door, on a study of fabricated runs."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import yaml
from sklearn.metrics import roc_auc_score

from covidct.evaluation.catalogue import find_runs
from covidct.evaluation.comparison_cases import measured
from covidct.evaluation.comparison_plan import ComparisonPlan
from covidct.evaluation.predictions import read_predictions
from tests.conftest import run_verb
from tests.evaluation.fabricated_study import change, make_study, write

TOP = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four repeats of three arms; one run failed, one was never made."""
    folder = tmp_path_factory.mktemp("study") / "runs"
    make_study(folder, {"adam_then_sgd": 3.0, "adam": 2.0, "sgd": 1.0}, repeats=4)
    failed = folder / "study-sgd-1"
    (failed / "metrics.json").unlink()
    change(failed, "run.json", state="started")
    write(failed / "failure.json", {"reason": "the loss was NaN in epoch 3"})
    for file in (folder / "study-adam-3").iterdir():
        file.unlink()
    (folder / "study-adam-3").rmdir()
    return folder


@pytest.fixture(scope="module")
def compared(study: Path) -> Path:
    output = study.parent / "comparison"
    contrasts = "contrasts=[[adam_then_sgd,adam],[adam_then_sgd,sgd]]"
    assert run_verb("compare", f"runs=[{study}/study-*]", contrasts, f"output={output}", "replicates=200") == 0
    return output


def result_of(folder: Path) -> dict:
    return json.loads((folder / "comparison.json").read_text(encoding="utf-8"))


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "table.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_every_run_is_in_the_table_with_what_became_of_it(compared, study):
    rows = {(row["arm"], row["repeat"]): row for row in rows_of(compared)}
    assert len(rows) == 12
    assert rows["sgd", "1"]["state"] == "failed"
    assert rows["sgd", "1"]["reason"] == "the loss was NaN in epoch 3"
    assert rows["adam", "3"]["state"] == "missing"
    run = json.loads((study / "study-sgd-0" / "metrics.json").read_text(encoding="utf-8"))
    [block] = [b for b in run["blocks"] if (b["split"], b["aggregation"]) == ("val", "mean_probability")]
    assert float(rows["sgd", "0"]["val.patient.macro_auc"]) == block["macro_auc"]["value"]


def test_the_differences_are_those_of_the_table(compared):
    values = {(row["arm"], row["repeat"]): row["val.patient.macro_auc"] for row in rows_of(compared)}
    result = result_of(compared)
    assert result["test_over_train"] == pytest.approx(20 / 60)
    for contrast, expected in zip(result["contrasts"], (["0", "1", "2"], ["0", "2", "3"]), strict=True):
        assert contrast["repeats"] == expected
        by_hand = [float(values[contrast["first"], r]) - float(values[contrast["second"], r]) for r in expected]
        assert contrast["differences"] == pytest.approx(by_hand)
        assert len(contrast["excluded"]) == 1
        assert contrast["verdict"]["sentence"].startswith("On this data set")


def test_nothing_says_the_great_word_below_ten_repeats(compared):
    for file in ("comparison.json", "comparison.html", "table.csv"):
        text = re.sub(r"base64,[^\"]+|<style>.*?</style>", "", (compared / file).read_text(), flags=re.DOTALL)
        assert "superior" not in text.lower()


def test_external_patients_are_tested_by_site_and_pooled(compared, study):
    result = result_of(compared)
    found = {(s["site"], s["second"], s["metric"]): s for s in result["sites"]}
    assert len(found) == 3 * 2 * 3
    areas = []
    for repeat in (0, 1, 2, 3):
        frame = read_predictions(study / f"study-adam_then_sgd-{repeat}" / "predictions.parquet").frame
        frame = frame[frame["site"] == "site_b"].groupby("patient_key")
        areas.append(roc_auc_score(frame["label"].first() == "covid19", frame["p_covid19"].mean()))
    entry = found["site_b", "sgd", "macro_auc"]
    assert entry["first_value"] == pytest.approx(np.mean(areas))
    assert entry["difference"]["n_patients"] == 40
    assert entry["difference"]["low"] < entry["difference"]["value"] < entry["difference"]["high"]
    assert entry["p"] <= entry["p_holm"]
    assert found["(pooled)", "adam", "accuracy"]["difference"]["n_patients"] == 80


def test_the_page_is_whole_and_names_no_folder(compared, study):
    page = (compared / "comparison.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 4
    assert str(study.parent) not in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "the loss was NaN in epoch 3" in page
    assert "Not pre-registered" in page
    for name in ("runs", "differences", "posterior", "sites"):
        assert (compared / "figures" / f"{name}.png").stat().st_size > 5000


def test_the_table_it_writes_gives_the_same_verdict(compared, tmp_path):
    words = ["contrasts=[[adam_then_sgd,adam],[adam_then_sgd,sgd]]", "replicates=200"]
    table = compared / "table.csv"
    assert run_verb("compare", f"table={table}", "test_over_train=0.3333333333", f"output={tmp_path}", *words) == 0
    for one, other in zip(result_of(compared)["contrasts"], result_of(tmp_path)["contrasts"], strict=True):
        assert one["oriented"]["p"] == pytest.approx(other["oriented"]["p"])
        assert one["excluded"][0]["repeat"] == other["excluded"][0]["repeat"]


def test_arms_may_be_told_apart_by_any_key(study, tmp_path):
    words = ["by=recipe.phases.0.lr", "reference=0.003", "metric=best.val_loss", "replicates=200"]
    assert run_verb("compare", f"runs=[{study}]", *words, f"output={tmp_path}") == 0
    result = result_of(tmp_path)
    assert set(result["arms"]) == {"lr 0.001", "lr 0.002", "lr 0.003"}
    assert all(contrast["verdict"]["better"] == "lr 0.003" for contrast in result["contrasts"])
    assert not result["higher_is_better"]


def test_log_loss_is_computed_from_the_predictions(study):
    frame = read_predictions(study / "study-sgd-0" / "predictions.parquet").frame
    [run] = find_runs([study / "study-sgd-0"])
    for metric, mine in (
        ("val.patient.macro_log_loss", frame["split"] == "val"),
        ("test.site_c.patient.macro_log_loss", frame["site"] == "site_c"),
    ):
        mean = frame[mine].groupby("patient_key")[["p_normal", "p_covid19"]].mean()
        label = frame[mine].groupby("patient_key")["label"].first()
        by_class = [-np.log(mean.loc[label == name, f"p_{name}"]).mean() for name in ("normal", "covid19")]
        assert measured(run, metric) == pytest.approx(np.mean(by_class))


# --- plan -------------------------------------------------------------------------------------------------------------

PLAN = {"metric": "val.patient.accuracy", "rope": 0.02, "contrasts": [["adam_then_sgd", "sgd"]], "repeats": 4}


def test_a_plan_decides_and_its_digest_is_kept(study, tmp_path, capsys):
    plan = tmp_path / "plan.yaml"
    plan.write_text(yaml.safe_dump(PLAN), encoding="utf-8")
    assert run_verb("compare", f"runs=[{study}]", f"plan={plan}", f"output={tmp_path}/out", "replicates=200") == 0
    result, digest = result_of(tmp_path / "out"), hashlib.sha256(plan.read_bytes()).hexdigest()
    assert (result["pre_registered"], result["plan_sha256"]) == (True, digest)
    assert result["plan"]["rope"] == 0.02
    assert len(result["contrasts"]) == 1
    shown = capsys.readouterr().out
    assert digest in shown
    assert "not pre-registered" not in shown
    assert "superior" not in shown
    assert "the loss was NaN in epoch 3" in shown


def test_the_command_may_not_contradict_the_plan(study, tmp_path, capsys):
    plan = tmp_path / "plan.yaml"
    plan.write_text(yaml.safe_dump(PLAN), encoding="utf-8")
    assert run_verb("compare", f"runs=[{study}]", f"plan={plan}", "rope=0.05") == 2
    assert "contradicts the plan" in capsys.readouterr().err


def test_the_defaults_live_in_one_place():
    conf = yaml.safe_load((TOP / "conf" / "compare.yaml").read_text(encoding="utf-8"))
    assert {key: conf[key] for key in asdict(ComparisonPlan())} == asdict(ComparisonPlan())


# --- what cannot be compared ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "give the runs or a table"),
        (["runs=[nowhere]"], 3, "no such folder"),
        (["runs=[STUDY]", "reference=adan"], 2, "the arms are adam, adam_then_sgd, sgd"),
        (["runs=[STUDY]", "metric=val.patient.makro_auc", "better=higher"], 2, "none of the 11 runs has a value"),
        (["runs=[STUDY]", "metric=something"], 2, "better=higher or better=lower"),
        (["runs=[STUDY/study-sgd-*]"], 2, "needs two arms"),
        (["runs=[STUDY]", "by=color"], 2, "does not say its color"),
        (["runs=[STUDY]", "rope=-1"], 2, "0 or more"),
        (["runs=[STUDY]", "contrasts=[[adam,adam]]"], 2, "pairs of different arms"),
        (["runs=[STUDY]", "reference=sgd", "contrasts=[[adam,sgd]]"], 2, "keep one of them"),
        (["runs=[STUDY]", "plan=nowhere.yaml"], 3, "the plan does not exist"),
        (["table=nowhere.csv"], 3, "the table does not exist"),
        (["runs=[STUDY]", "pair=[]"], 2, "list of keys"),
        (["runs=[STUDY]", "by=name"], 2, "two runs of arm"),
        (["table=TABLE", "metric=accuracy"], 2, "test_over_train=0.333"),
        (["table=TABLE", "metric=recall", "better=higher"], 3, "lacks the column 'recall'"),
        (["table=TABLE", "metric=words", "better=higher"], 3, "line 2"),
    ],
)
def test_what_cannot_be_compared_is_one_message(words, code, said, study, tmp_path, capsys):
    table = tmp_path / "table.csv"
    table.write_text("arm,repeat,accuracy,words\na,0,0.8,x\nb,0,0.9,y\n", encoding="utf-8")
    words = [word.replace("STUDY", str(study)).replace("TABLE", str(table)) for word in words]
    assert run_verb("compare", *words, f"output={tmp_path}/out") == code
    shown = capsys.readouterr()
    assert said in shown.err
    assert "Traceback" not in shown.err
    assert not (tmp_path / "out").exists()


def test_a_key_of_a_plan_that_does_not_exist_is_refused(study, tmp_path, capsys):
    (tmp_path / "plan.yaml").write_text("rop: 0.02\n", encoding="utf-8")
    assert run_verb("compare", f"runs=[{study}]", f"plan={tmp_path}/plan.yaml") == 2
    assert "did you mean rope" in capsys.readouterr().err


def test_sites_seen_by_some_runs_only_are_not_tested(tmp_path):
    make_study(tmp_path / "runs", {"a": 2.0, "b": 1.0}, repeats=2, tests=("site_b",))
    make_study(tmp_path / "other", {"a": 2.0}, repeats=2, tests=("site_b",), seed=1)
    moved = tmp_path / "runs" / "study-a-0" / "predictions.parquet"
    moved.unlink()
    assert run_verb("compare", f"runs=[{tmp_path}/runs]", f"output={tmp_path}/out") == 0
    [problem] = result_of(tmp_path / "out")["site_problems"]
    assert problem == {"site": "site_b", "problem": "not evaluated: 1 of 2 runs of a"}
