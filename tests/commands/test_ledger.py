"""`covidct ledger` and the seal in `covidct evaluate`, through the front door."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from covidct.commands.ledger_words import as_keys
from covidct.data.ledger import FILE, HEAD, LOCK
from tests.conftest import run_verb


@pytest.fixture
def place(workshop: Path, trained: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A copy of the index, whose ledger is empty, and one of the run."""
    index, run = tmp_path / "index", tmp_path / "run"
    shutil.copytree(workshop / "index", index, ignore=shutil.ignore_patterns(FILE, HEAD, LOCK))
    facts = json.loads((index / "index.json").read_text())
    facts["root"] = str(workshop / "phantom")
    (index / "index.json").write_text(json.dumps(facts))
    shutil.copytree(trained, run)
    (run / "evaluations.json").unlink()
    return index, run


def lines(index: Path) -> list[dict]:
    return [json.loads(line) for line in (index / FILE).read_text().splitlines()]


def evaluate(place: tuple[Path, Path], *words: str) -> int:
    index, run = place
    return run_verb("evaluate", f"run={run}", f"index={index}", "device=cpu", *words)


def test_a_sealed_site_is_refused_until_a_run_is_frozen_and_every_look_is_a_line(place, capsys, tmp_path):
    """One story, because each evaluation takes seconds."""
    index, run = place
    before = (run / "predictions.parquet").read_bytes()
    assert run_verb("ledger", "seal", f"index={index}", "site=site_b") == 0
    for words in ([], [f"ledger.folder={tmp_path}/elsewhere"]):  # another ledger is no way around the seal
        assert evaluate(place, *words) == 4
        said = capsys.readouterr().err
        assert "the test set site_b is sealed" in said
        assert f"covidct ledger open index={index} site=site_b run=" in said
    assert (run / "predictions.parquet").read_bytes() == before
    assert not (run / "evaluations.json").exists()

    assert run_verb("ledger", "open", str(run), f"index={index}", "site=site_b") == 0
    assert evaluate(place) == 0
    assert evaluate(place, "ledger.who=team-a") == 0
    record, split = (json.loads((run / name).read_text()) for name in ("run.json", "split.json"))
    found = [line for line in lines(index) if line["kind"] == "evaluation"]
    assert [line["site"] for line in found] == sorted(split["tests"]) * 2
    for line in found:
        counts = split["counts"][f"test/{line['site']}"]
        assert [line[key] for key in ("run", "identity", "index")] == [
            record["run"], record["identity"], split["index_digest"]
        ]  # fmt: skip
        assert line["patients"] == sum(one["patients"] for one in counts.values())
        assert line["slices"] == sum(one["slices"] for one in counts.values())
    half = len(found) // 2
    assert [line["who"] for line in found] == [None] * half + ["team-a"] * half
    assert [line["result"] for line in found[:half]] == [line["result"] for line in found[half:]]

    kept = json.loads((run / "evaluations.json").read_text())
    assert [[one[key] for key in ("evaluations", "runs", "configurations", "repeats")] for one in kept["sets"]] == [
        [2, 1, 1, 1]
    ] * half
    assert "team-a" not in json.dumps(kept)
    seals = {one["site"]: one["seal"] for one in kept["sets"]}
    assert [seals["site_b"][key] for key in ("looks_before", "openings", "frozen")] == [0, 1, 1]
    assert seals["site_c"] is None
    capsys.readouterr()
    assert run_verb("ledger", "show", f"index={index}") == 0
    shown = capsys.readouterr().out
    assert "site_b: evaluated 2 time(s), 1 run(s) of 1 configuration(s), 1 repeat(s)" in shown
    assert record["run"] in shown

    assert run_verb("ledger", "open", f"index={index}", "site=site_b", f"run=[{run}]") == 2
    assert "opened before" in capsys.readouterr().err
    assert run_verb("ledger", "open", f"index={index}", "site=site_b", f"run={run}", "reason=it's a test, really") == 0
    assert lines(index)[-1]["reason"] == "it's a test, really"

    path = index / FILE
    path.write_text(path.read_text().replace("site_b", "site_x"))
    assert evaluate(place) == 4
    assert run_verb("ledger", "show", f"index={index}") == 4
    assert "changed by hand" in capsys.readouterr().err


def test_a_sealed_site_is_not_audited_or_explained_either(place, capsys):
    """Other looks at test slices; a copy of the run that has the copied index for its own."""
    index, run = place
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["data"]["index"] = str(index)
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert run_verb("ledger", "seal", f"index={index}", "site=site_b") == 0
    for verb in ("audit", "explain"):
        assert run_verb(verb, f"run={run}", "partition=test", "device=cpu") == 4
        said = capsys.readouterr().err
        assert "the test set site_b is sealed" in said
        assert "partition=val" in said


def test_where_a_look_cannot_be_written_down_none_is_taken(place, capsys):
    index, run = place
    (index / LOCK).mkdir()  # no line can be added, whoever runs the tests
    before = (run / "predictions.parquet").read_bytes()
    assert evaluate(place) == 5
    assert "ledger.folder=FOLDER" in capsys.readouterr().err
    assert (run / "predictions.parquet").read_bytes() == before


def test_a_sealed_site_is_not_split_into_training(place, capsys):
    index, _ = place
    assert run_verb("ledger", "seal", f"index={index}", "site=site_b") == 0
    keys = [f"data.index={index}", "data=phantom", "split.train_fraction=0.6"]
    assert run_verb("split", *keys) == 4
    assert "site_b is a sealed test set" in capsys.readouterr().err
    assert run_verb("split", *keys, "split.external_sites=[site_b]") == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["seal"], 2, "index"),
        (["seal", "index=INDEX", "site=nowhere"], 2, "the sites are site_"),
        (["open", "index=INDEX", "site=site_b"], 2, "run=runs/NAME"),
        (["open", "index=INDEX", "site=site_b", "run=RUN"], 2, "not sealed"),
        (["show", "index=nowhere"], 3, "no such index"),
        (["opn"], 2, "covidct ledger open"),
        (["ledger.folders=x"], 2, "ledger.folder"),
        (["open", "index=INDEX", "run=INDEX"], 3, "not a run folder"),
    ],
)
def test_mistakes_get_the_way_out(place, capsys, words, code, said):
    index, run = place
    words = [word.replace("INDEX", str(index)).replace("RUN", str(run)) for word in words]
    assert run_verb("ledger", *words) == code
    assert said in capsys.readouterr().err


def test_show_without_an_index_looks_through_indexes(place, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert run_verb("ledger") == 0
    assert "nothing was evaluated" in capsys.readouterr().out
    assert run_verb("ledger", "seal", f"index={place[0]}") == 0
    (tmp_path / "indexes").mkdir()
    shutil.copytree(place[0], tmp_path / "indexes" / "one")
    capsys.readouterr()
    assert run_verb("ledger") == 0
    assert "every site" in capsys.readouterr().out


def test_words_become_keys():
    assert as_keys([]) == []
    assert as_keys(["open", "runs/a=1", "runs/b", "site=x"]) == ["action=open", "run=['runs/a=1','runs/b']", "site='x'"]
    assert as_keys(["--help"]) == ["--help"]
    assert as_keys(["open", "run=[a,b]", "reason=a, b", "site=null"]) == [
        "action=open", "run=[a,b]", "reason='a, b'", "site=null"
    ]  # fmt: skip
