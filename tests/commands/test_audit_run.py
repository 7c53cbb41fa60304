"""`covidct audit run=...` both ways: a planted tag is found, a clean run stays quiet."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import TINY, run_verb

CLASSES = "data.classes={names:[normal,covid19],normal:normal,positive:covid19}"
PATIENTS = "patients={site_a:{normal:18,covid19:18},site_b:0,site_c:0}"


def audited(folder: Path, *shortcut: str) -> tuple[int, dict[str, dict], dict]:
    """Phantom, index, training and audit; the exit code, the outcomes by probe and the record."""
    (folder / "key").touch(mode=0o600)
    (folder / "key").write_text("5e" * 32 + "\n")
    phantom = ("slices_per_patient=3", "size=64", "difficulty=0", "workers=1")
    assert run_verb("phantom", f"out={folder}/phantom", PATIENTS, *phantom, *shortcut) == 0
    index = [f"data.root={folder}/phantom", f"data.index={folder}/index", f"key={folder}/key", CLASSES]
    assert run_verb("index", "data=phantom", *index) == 0
    training = (
        "data.size=64", "data.batch_size=8", "data.augment=null", CLASSES, "split.external_sites=[]",
        "split.train_fraction=0.5", "recipe.phases=[{optimizer: adam, lr: 0.003, epochs: 8}]",
        "recipe.stop={min_epochs: 8, max_epochs: 8}",
    )  # fmt: skip
    assert run_verb("train", *TINY, *training, f"data.index={folder}/index", f"runs={folder}/runs") == 0
    [run] = (folder / "runs").glob("demo-*")
    code = run_verb("audit", f"run={run}", "replicates=1000", "device=cpu")
    record = json.loads((run / "shortcuts.json").read_text())
    assert "Shortcuts" in (run / "report.html").read_text()
    return code, {outcome["probe"]: outcome for outcome in record["outcomes"]}, record


def test_a_planted_tag_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    code, found, record = audited(tmp_path, "shortcut={tag: covid19, share: 0.9}")
    assert code == 7
    assert {"marks", "border"} <= set(record["alarms"])
    assert found["marks"]["value"] == pytest.approx(16 / 18)
    assert "COVID-19" in found["marks"]["sentence"]
    assert "most clearly" not in found["border"]["sentence"]  # of two classes
    said = capsys.readouterr()
    assert "ALARM" in said.out
    assert "raised an alarm on the validation patients" in said.err


def test_a_clean_run_stays_quiet(tmp_path: Path):
    code, found, record = audited(tmp_path)
    assert record["alarms"] == []
    assert code == 0
    undone = {name for name, outcome in found.items() if outcome["status"] == "not done"}
    assert undone == {"background_retrained", "site"}
    assert found["marks"]["value"] == 0


def test_what_cannot_be_asked_for_is_refused(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    assert run_verb("audit", f"run={copy}", "probes=[boarder]") == 2
    assert run_verb("audit", f"run={copy}", "partition=train") == 2
    assert "use one of ['val', 'test', 'all']" in capsys.readouterr().err
    assert not (copy / "shortcuts.json").exists()
