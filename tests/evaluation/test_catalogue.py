"""The catalogue against run folders whose every fact was written by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from covidct.errors import DataRefused
from covidct.evaluation.catalogue import CataloguedRun, find_runs, read_catalogue
from tests.evaluation.shelf import block, shelve


def test_every_kind_of_word_finds_its_fact(tmp_path: Path) -> None:
    folder = shelve(tmp_path / "a-1", arm="adam", repeat=3, best={"val_loss": 0.25}, seconds=12.5)
    [run] = find_runs([folder])
    asked = {
        "arm": "adam", "repeat": 3, "state": "evaluated", "seconds": 12.5, "best.val_loss": 0.25, "folder": "a-1",
        "data.size": 32, "recipe.phases.0.lr": 0.003, "recipe.phases.1.optimizer": "sgd", "digests.index": "11" * 32,
        "code.dirty": False, "reason": None, "no.such.word": None, "recipe.phases.7.lr": None,
    }  # fmt: skip
    assert {key: run.value(key) for key in asked} == asked


def test_figures_of_every_place_are_found_by_word(tmp_path: Path) -> None:
    blocks = [
        block("val", "site_a", "slice", "argmax", accuracy=0.5),
        block("val", "site_a", "patient", "any_slice", accuracy=0.6, macro_auc=None),
        block("val", "site_a", "patient", "mean_probability", accuracy=0.7, macro_auc=0.75),
        block("test", "site.b", "patient", "mean_probability", accuracy=0.1),
        block("test", "site_c", "patient", "mean_probability", accuracy=0.2),
        block("test", "(pooled)", "patient", "mean_probability", accuracy=0.15),
    ]
    [run] = find_runs([shelve(tmp_path / "a-1", blocks=blocks)])
    asked = {
        "val.slice.accuracy": 0.5,
        "val.patient.accuracy": 0.7,
        "val.patient.accuracy.low": 0.6,
        "val.patient.any_slice.accuracy": 0.6,
        "val.patient.any_slice.macro_auc": None,
        "val.patient.covid19.auc": 0.875,
        "val.site_a.patient.mean_probability.macro_auc": 0.75,
        "val.patient.n_patients": 30,
        "test.patient.accuracy": 0.15,
        "test.pooled.patient.accuracy": 0.15,
        "test.site.b.patient.accuracy": 0.1,
        "test.site_c.patient.mean_probability.accuracy": 0.2,
        "test.site_d.patient.accuracy": None,
        "test.slice.accuracy": None,
        "val.patient": None,
    }
    assert {key: run.value(key) for key in asked} == pytest.approx(asked, nan_ok=False)


def test_without_a_pooled_block_several_sites_have_no_common_figure(tmp_path: Path) -> None:
    blocks = [block("test", site, "patient", "mean_probability", accuracy=0.5) for site in ("site_b", "site_c")]
    [run] = find_runs([shelve(tmp_path / "a-1", blocks=blocks)])
    assert run.value("test.patient.accuracy") is None


def test_a_run_that_was_not_evaluated_has_no_figures(tmp_path: Path) -> None:
    [run] = find_runs([shelve(tmp_path / "a-1", state="started", blocks=None)])
    assert run.metrics is None
    assert run.value("val.patient.macro_auc") is None


def test_runs_are_found_by_folder_shelf_and_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["a-1", "a-2", "b-1"]
    for name in names:
        shelve(tmp_path / "runs" / name)
    (tmp_path / "runs" / "not a run").mkdir()
    monkeypatch.chdir(tmp_path)

    def found(*where: str) -> list[str]:
        return [run.path.name for run in find_runs(where)]

    assert found("runs") == names
    assert found("runs/b-1", "runs/a-1") == ["a-1", "b-1"]
    assert found("runs/a-*") == ["a-1", "a-2"]
    assert found("runs", "runs/a-1") == names  # once each
    assert found("r*") == names


def test_a_torn_folder_is_counted_among_others_and_refused_by_name(tmp_path: Path) -> None:
    shelve(tmp_path / "a-1")
    (shelve(tmp_path / "a-2") / "run.json").write_text('{"state": "trai')
    (shelve(tmp_path / "a-3") / "run.json").write_text("[1, 2]")
    catalogue = read_catalogue([tmp_path])
    assert [run.path.name for run in catalogue.runs] == ["a-1"]
    assert [path.name for path, _ in catalogue.unreadable] == ["a-2", "a-3"]
    assert "not a JSON file" in catalogue.unreadable[0][1]
    with pytest.raises(DataRefused, match="not a JSON file"):
        find_runs([tmp_path / "a-2"])
    with pytest.raises(DataRefused, match="no such folder"):
        find_runs([tmp_path / "nowhere"])
    with pytest.raises(DataRefused, match="no such folder"):
        find_runs([f"{tmp_path}/x-*"])


def test_a_failed_cell_is_a_run_with_a_reason_until_it_is_made_good(tmp_path: Path) -> None:
    reason = json.dumps({"reason": "the GPU's memory is full", "arm": "adam"})
    for name, state in (("a-1", None), ("a-2", "started"), ("a-3", "evaluated")):
        folder = shelve(tmp_path / name, state=state or "started", arm="sgd")
        (folder / "failure.json").write_text(reason)
        if state is None:
            (folder / "run.json").unlink()
    early, late, mended = find_runs([tmp_path])
    assert [run.state for run in (early, late, mended)] == ["failed", "failed", "evaluated"]
    assert [run.value("reason") for run in (early, late, mended)] == ["the GPU's memory is full"] * 2 + [None]
    assert [run.value("arm") for run in (early, late, mended)] == ["adam", "sgd", "sgd"]


def test_a_run_can_be_written_by_hand() -> None:
    facts: dict[str, Any] = {"state": "trained", "arm": "adam"}
    run = CataloguedRun(Path("x"), facts, {"arm": "another", "seed": 4}, None, {})
    assert (run.value("arm"), run.value("seed"), run.value("folder")) == ("adam", 4, "x")


def test_a_real_run_is_read(trained: Path) -> None:
    [run] = find_runs([trained])
    summary = json.loads((trained / "metrics.json").read_text())
    [block] = [b for b in summary["blocks"] if (b["split"], b["aggregation"]) == ("val", "mean_probability")]
    assert run.value("val.patient.macro_auc") == block["macro_auc"]["value"]
    assert run.value("repeat") == 0
    assert run.value("data.size") == 32


def test_the_catalogue_is_light() -> None:
    code = "import sys, covidct.evaluation.catalogue; print({'torch', 'pandas', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
