"""The smallest cohort there can be, and a split that was edited with care, through the front door."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd

from covidct.data.splits import Split
from covidct.provenance import digest_json
from tests.conftest import TINY, run_verb


def test_one_slice_a_patient_and_one_patient_a_class_go_through_everything(tmp_path: Path):
    """Two patients of each class where training is done, so one on each side; no tuberculosis at one other hospital."""
    folder, labels = tmp_path / "phantom", tmp_path / "phantom" / "labels.csv"
    assert run_verb("phantom", f"out={folder}", "patients=2", "slices_per_patient=3", "size=64") == 0
    for series in {path.parent for path in folder.glob("site_*/**/*") if path.is_file()}:
        for path in sorted(series.iterdir())[1:]:
            path.unlink()
    table = pd.read_csv(labels, dtype=str)
    table[~((table["site"] == "site_b") & (table["label"] == "tuberculosis"))].to_csv(labels, index=False)
    assert (
        run_verb("index", "data=phantom", f"data.root={folder}", f"data.index={tmp_path}/index", f"key={tmp_path}/k")
        == 0
    )
    assert run_verb("train", *TINY, f"data.index={tmp_path}/index", f"runs={tmp_path}/runs") == 0
    [run] = (tmp_path / "runs").glob("demo-*")
    split = json.loads((run / "split.json").read_text())
    assert {label: n["patients"] for label, n in split["counts"]["train"].items()} == dict.fromkeys(
        ("normal", "covid19", "viral", "bacterial", "tuberculosis"), 1
    )
    assert run_verb("evaluate", f"run={run}") == 0
    assert run_verb("report", f"run={run}") == 0
    text = (run / "metrics.json").read_text()
    assert "NaN" not in text
    blocks = {(b["split"], b["site"], b["level"]): b for b in json.loads(text)["blocks"]}
    absent = blocks["test", "site_b", "slice"]["per_class"]["tuberculosis"]
    assert absent["sensitivity"]["value"] is None
    assert absent["auc"]["value"] is None
    assert blocks["test", "site_b", "slice"]["per_class"]["normal"]["auc"]["value"] is not None
    assert (run / "report.html").stat().st_size > 10_000


def test_a_split_edited_by_somebody_who_knows_the_digest_is_refused(workshop: Path, tmp_path: Path, capsys):
    shutil.copytree(workshop / "index", tmp_path / "index")
    facts = json.loads((tmp_path / "index" / "index.json").read_text())
    facts["root"] = str(workshop / "phantom")
    (tmp_path / "index" / "index.json").write_text(json.dumps(facts))
    words = (f"data.index={tmp_path}/index", "split.external_sites=[site_b,site_c]")
    assert run_verb("split", *words) == 0
    [path, *_] = (tmp_path / "index" / "splits").glob("patient-*.json")
    value = json.loads(path.read_text())
    value.pop("digest")
    value["train"] = sorted([*value["train"], value["val"][0]])
    edited = tmp_path / "edited.json"
    edited.write_text(json.dumps(value | {"digest": digest_json(value)}))
    Split.read(edited)  # a file that is whole in itself
    train = (*TINY, f"data.index={tmp_path}/index", f"runs={tmp_path}/runs", f"split.file={edited}")
    assert run_verb("train", *train) == 4
    assert "in train and val" in capsys.readouterr().err
    assert not list(tmp_path.glob("runs/*/checkpoints/*"))
