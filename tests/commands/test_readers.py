"""`covidct readers` through the front door, on a copy of a trained run."""

from __future__ import annotations

import shutil

import pytest

from covidct.files import read_json
from tests.conftest import run_verb


@pytest.fixture(scope="module")
def run(trained, tmp_path_factory):
    return shutil.copytree(trained, tmp_path_factory.mktemp("readers") / "run")


@pytest.fixture(scope="module")
def reads(run):
    path = run.parent / "reads.csv"
    assert run_verb("readers", f"run={run}", "simulate=3", f"output={path}", "seed=1") == 0
    return path


def test_simulated_readers_from_end_to_end(run, reads, capsys):
    before = (run / "predictions.parquet").read_bytes()
    words = ["replicates=200", "model_seconds.io=0.02", "model_seconds.inference=0.05"]
    assert run_verb("readers", f"run={run}", f"reads={reads}", *words) == 0
    shown = capsys.readouterr().out
    assert "SIMULATED" in shown
    found = read_json(run / "readers.json")
    assert found["source"]["simulated"] is True
    assert found["design"]["order"]["with_first"] > 0
    assert len(found["raters"]) == 1 + 2 * 3
    page = (run / "report.html").read_text(encoding="utf-8")
    section = page.partition('<section id="readers"')[2].partition('<section id="mistakes"')[0]
    assert "SIMULATED readers" in section
    assert "simulated-03, with AI" in section
    for name in ("readers_roc", "readers_time"):
        assert (run / "figures" / f"{name}.png").stat().st_size > 5000
        assert (run / "figures" / f"{name}.svg").is_file()
        assert (run / "tables" / f"{name}.csv").is_file()
    for name in ("accuracy", "paired", "groups", "agreement"):
        assert "True" in (run / "tables" / f"readers_{name}.csv").read_text().splitlines()[1].rpartition(",")[2]
    assert (run / "predictions.parquet").read_bytes() == before


def test_without_readers_the_report_says_how_to_get_them(trained):
    page = (trained / "report.html").read_text(encoding="utf-8")
    assert "covidct readers run=RUN reads=reads.csv" in page


def test_reads_of_people_are_not_overwritten(run, reads, tmp_path, capsys):
    mine = tmp_path / "mine.csv"
    mine.write_text("reader,case,class\nA,1,normal\n")
    assert run_verb("readers", f"run={run}", "simulate=2", f"output={mine}") == 2
    assert "not replaced" in capsys.readouterr().err
    assert mine.read_text() == "reader,case,class\nA,1,normal\n"
    assert run_verb("readers", f"run={run}", "simulate=2", f"output={reads}", "cases=10", "unit=slice") == 0
    assert len(reads.read_text().splitlines()) == 1 + 2 * 2 * 10
    assert run_verb("readers", f"run={run}", "simulate=3", f"output={reads}", "seed=1") == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "one of them"),
        (["simulate=3"], 2, "output=reads.csv"),
        (["simulate=0", "output=x.csv"], 2, "1 to 50"),
        (["reads=absent.csv"], 3, "does not exist"),
        (["reads={reads}", "positive=flu"], 2, "unknown class 'flu'"),
        (["reads={reads}", "replicates=5"], 2, "100 or more"),
        (["reads={reads}", "partition=train"], 2, "test or val"),
        (["reads={reads}", "partition=val"], 3, "are not there"),
        (["reads={reads}", "model_seconds.io=0.1"], 2, "model_seconds.inference"),
    ],
)
def test_mistakes_are_said(run, reads, words, code, said, capsys):
    assert run_verb("readers", f"run={run}", *(word.format(reads=reads) for word in words)) == code
    assert said in capsys.readouterr().err
