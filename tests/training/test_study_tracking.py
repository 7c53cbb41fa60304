"""The table of a study as one W&B run, through the front door, against what W&B wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import run_verb
from tests.evaluation.shelf import block, shelve
from tests.training.test_tracking import all_bytes, only_run
from tests.training.tracked_fit import picture


def share(folder: Path, *words: str) -> int:
    return run_verb("runs", "export", str(folder / "runs"), "tracker=wandb", "title=Two arms", *words)


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("WANDB_API_KEY", "WANDB_PROJECT", "WANDB_RUN_GROUP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    for arm, area in (("adam", 0.75), ("sgd", 0.5)):
        blocks = [block("val", "site_a", "patient", "mean_probability", macro_auc=area)]
        shelve(tmp_path / "runs" / f"two-{arm}", blocks=blocks, arm=arm, name="two")
    failed = shelve(tmp_path / "runs" / "two-failed", state="started", blocks=None, arm="adam", repeat=1, name="two")
    (failed / "failure.json").write_text(json.dumps({"reason": "no space left in /data/DOE_JANE/ct"}))
    return tmp_path


def test_the_study_is_one_run_with_a_row_for_each_cell(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figure = picture(study / "plot.png", note=f"drawn in {study}")
    assert share(study, f"figures=[{figure}]") == 0
    assert "the study is offline" in capsys.readouterr().out
    found = only_run(study / "runs" / ".studies" / "Two_arms")
    assert (found.run.run_group, found.run.job_type, found.run.display_name) == ("two", "study", "Two arms")
    assert list(found.run.tags) == ["study", "arm:adam", "arm:sgd"]
    [row] = [row for row in found.history if "study/runs" in row]
    table = json.loads((found.folder / "files" / row["study/runs"]["path"]).read_text())
    at = [table["columns"].index(name) for name in ("arm", "repeat", "state", "val.patient.macro_auc")]
    assert [[cells[place] for place in at] for cells in table["data"]] == [
        ["adam", 0, "evaluated", 0.75], ["adam", 1, "failed", None], ["sgd", 0, "evaluated", 0.5],
    ]  # fmt: skip
    assert row["study/plot"]["_type"] == "image-file"
    assert found.summary["study/n_runs"] == 3
    seen = all_bytes(study / "runs" / ".studies")
    assert b"val.patient.macro_auc" in seen  # the search looks at the right bytes
    for name in ("DOE_JANE", str(study)):
        assert name.encode() not in seen
    assert "artifact" not in found.kinds


def test_a_figure_that_is_no_picture_is_refused(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (study / "plot.svg").touch()
    assert share(study, f"figures=[{study}/plot.svg]") == 3
    assert "no PNG file" in capsys.readouterr().err
    assert not (study / "runs" / ".studies").exists()
