"""`covidct runs` through the front door, over run folders whose every fact was written by hand."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from covidct.commands.runs_words import as_keys
from covidct.errors import UsageError
from tests.conftest import run_verb
from tests.evaluation.shelf import block, shelve


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two arms in three repeats, one of them failed and one torn. Adam is better in validation, SGD in the test."""
    for repeat in range(3):
        for arm, better in (("adam", 0.05), ("sgd", 0.0)):
            area = 0.7 + repeat / 10 + better
            blocks = [
                block("val", "site_a", "patient", "mean_probability", accuracy=0.5, macro_auc=area),
                block("val", "site_a", "slice", "argmax", accuracy=0.25),
                block("test", "site_b", "patient", "mean_probability", accuracy=0.5, macro_auc=1.4 - area),
            ]
            facts = {"name": "study", "arm": arm, "repeat": repeat, "seed": repeat, "best": {"val_loss": 1 - area}}
            shelve(tmp_path / "runs" / f"study-{arm}{repeat}", blocks=blocks, config={"seed": repeat}, **facts)
    failed = shelve(tmp_path / "runs" / "study-adam3", state="started", blocks=None, arm="adam", repeat=3, best={})
    (failed / "failure.json").write_text(json.dumps({"reason": "the GPU's memory is full: /home/jane.doe/x"}))
    (shelve(tmp_path / "runs" / "study-torn") / "run.json").write_text("{")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert run_verb("runs", *words) == code
    streams = capsys.readouterr()
    return streams.out if code == 0 else streams.err


def rows(text: str) -> list[list[str]]:
    """The lines of the table, without its header."""
    return [line.split() for line in text.split("\n\n", 1)[0].splitlines()[1:]]


def test_ls_shows_every_run_with_its_failure(shelf, capsys):
    assert run_verb("runs", "ls") == 0
    out, err = capsys.readouterr()
    assert [row[0] for row in rows(out)] == [
        *(f"study-adam{n}" for n in range(4)), *(f"study-sgd{n}" for n in range(3))
    ]  # fmt: skip
    assert rows(out)[0] == ["study-adam0", "adam", "0", "0", "evaluated", "val_loss", "0.2500", "3", "10"]
    assert rows(out)[3][:5] == ["study-adam3", "adam", "3", "0", "failed"]
    assert "failed: study-adam3 (arm adam, repeat 3): the GPU's memory is full" in out
    assert "1 folder(s) cannot be read" in err
    assert "study-torn" in err


@pytest.mark.parametrize(
    ("conditions", "found"),
    [
        ("arm=sgd", ["sgd0", "sgd1", "sgd2"]),
        ("repeat<2", ["adam0", "adam1", "sgd0", "sgd1"]),
        ("arm=adam,seed>=1,state=evaluated", ["adam1", "adam2"]),
        ("state!=evaluated", ["adam3"]),
        ("arm=a*,repeat=0|2", ["adam0", "adam2"]),
        ("val.patient.macro_auc>0.89", ["adam2", "sgd2"]),
        ("val.patient.macro_auc<=0.75", ["adam0", "sgd0"]),  # the failed one has none: neither larger nor smaller
        ("val.patient.macro_auc=none", ["adam3"]),
        ("recipe.phases.0.lr=0.003,repeat=1", ["adam1", "sgd1"]),
    ],
)
def test_filters(shelf, capsys, conditions, found):
    out = said(capsys, "ls", f"filter=[{conditions}]")
    assert [row[0].removeprefix("study-") for row in rows(out)] == found


def test_columns_and_order(shelf, capsys):
    out = said(
        capsys, "ls", "runs/study-*[0-2]", "columns=[folder,val.patient.macro_auc]", "sort=-val.patient.macro_auc"
    )
    assert rows(out) == [
        ["study-adam2", "0.9500"], ["study-sgd2", "0.9000"], ["study-adam1", "0.8500"], ["study-sgd1", "0.8000"],
        ["study-adam0", "0.7500"], ["study-sgd0", "0.7000"],
    ]  # fmt: skip
    out = said(capsys, "ls", "sort=[-arm,repeat]", "columns=[+data.size]", "limit=2")
    assert [row[0] + row[-1] for row in rows(out)] == ["study-sgd032", "study-sgd132"]
    assert "7 run(s), the first 2 shown" in out
    out = said(capsys, "ls", "sort=val.patient.macro_auc", "columns=[folder]")
    assert rows(out)[-1] == ["study-adam3"]  # what has no figure comes last


def test_the_best_is_chosen_by_validation_alone(shelf, capsys):
    assert said(capsys, "best", "val.patient.macro_auc").strip() == "runs/study-adam2"
    assert said(capsys, "best").strip() == "runs/study-adam2"
    assert said(capsys, "best", "best.val_loss").strip() == "runs/study-adam2"  # the smallest loss
    assert said(capsys, "best", "filter=[arm=sgd]").strip() == "runs/study-sgd2"
    refused = said(capsys, "best", "test.site_b.patient.macro_auc", code=2)
    assert "turns the test set into a validation set" in refused
    assert "choose by val.patient.macro_auc" in refused
    assert said(capsys, "best", "test.patient.macro_auc", "allow_test=true").strip() == "runs/study-sgd0"
    assert "no validation figure" in said(capsys, "best", "by=seconds", code=2)
    assert "no validation figure" in said(capsys, "best", "best.train_loss", code=2)
    assert "none of 7 run(s)" in said(capsys, "best", "val.patient.kappa", code=3)


def test_diff_names_what_differs_and_nothing_else(shelf, capsys):
    recipe = {"phases": [{"optimizer": "adam", "lr": 0.03}, {"optimizer": "sgd", "lr": 0.01}]}
    other = {"digests": {"index": "11" * 32, "split": "33" * 32}, "code": {"commit": "cd" * 20, "dirty": True}}
    other["environment"] = {"python": "3.11.7", "packages": {"torch": "2.14.0", "timm": "1.0.31"}}
    blocks = [block("val", "site_a", "patient", "mean_probability", accuracy=0.5, macro_auc=0.875)]
    facts = {"name": "study", "best": {"val_loss": 0.25}}
    shelve(shelf / "study-a", blocks=blocks, config={"recipe": recipe}, provenance=other, **facts)
    out = said(capsys, "diff", "runs/study-a", "runs/study-adam0")
    sections = dict(re.findall(r"^(\w+): .*\n((?:  .*\n)*)", out, re.MULTILINE))
    words = {name: [line.split() for line in text.splitlines()[1:]] for name, text in sections.items()}
    assert words["settings"] == [["recipe.phases.0.lr", "0.0300", "0.003"], ["seed", "–", "0"]]
    assert words["data"] == [["digests.split", "33" * 32, "22" * 32]]
    assert [row[0] for row in words["code"]] == ["code.commit", "code.dirty"]
    assert words["packages"] == [["environment.packages.torch", "2.14.0", "2.13.0"]]
    assert words["weights"] == []
    assert ["val.patient.macro_auc", "0.8750", "0.7500", "-0.1250"] in words["figures"]
    assert "The splits differ" in out
    assert out.startswith("first:  runs/study-a\n")
    same = said(capsys, "diff", "runs/study-a", "runs/study-a/../study-sgd0")
    assert "weights: the same" in same
    assert "two run folders" in said(capsys, "diff", "runs", code=2)
    assert "two run folders" in said(capsys, "diff", "runs/study-a", "runs/study-a", code=2)
    assert "no such folder" in said(capsys, "diff", "runs/study-a", "runs/nowhere", code=3)


def test_show(shelf, capsys):
    out = said(capsys, "show", "runs/study-adam3", "runs/study-sgd1")
    assert "the GPU's memory is full" in out
    [line] = [line for line in out.splitlines() if line.startswith("val.patient.macro_auc")]
    assert line.split() == ["val.patient.macro_auc", "0.8000", "0.7000", "0.9000", "30"]


@pytest.mark.parametrize("ending", ["csv", "parquet", "json"])
def test_a_wide_table_is_what_compare_reads(shelf, capsys, ending):
    said(capsys, "export", f"output=study.{ending}", "sort=[arm,repeat]")
    read = {
        "csv": pd.read_csv,
        "parquet": pd.read_parquet,
        "json": lambda file: pd.DataFrame(json.loads(file.read_text())),
    }
    table = read[ending](Path(f"study.{ending}"))
    assert {"arm", "repeat", "seed", "run"} <= set(table.columns)
    assert list(table["arm"]) == ["adam"] * 4 + ["sgd"] * 3
    assert table["val.patient.macro_auc"].dropna().tolist() == pytest.approx([0.75, 0.85, 0.95, 0.7, 0.8, 0.9])
    assert table["test.patient.macro_auc"].isna().tolist() == [False] * 3 + [True] + [False] * 3
    [reason] = table["reason"].dropna()
    assert "jane.doe" not in reason
    assert "memory is full" in reason


def test_a_long_table_has_a_row_for_each_figure(shelf, capsys):
    said(capsys, "export", "output=long.parquet", "table=long", "filter=[arm=sgd,repeat=2]")
    table = pd.read_parquet("long.parquet")
    [row] = table[(table["split"] == "val") & (table["measure"] == "macro_auc")].to_dict("records")
    assert (row["value"], row["low"], row["high"]) == pytest.approx((0.9, 0.8, 1.0))
    assert (row["arm"], row["repeat"], row["site"], row["level"]) == ("sgd", 2, "site_a", "patient")
    assert set(table["class"].dropna()) == {"covid19"}


class Page(HTMLParser):
    """Cells of the table and everything a page loads from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.loaded: list[str] = []
        self._in_cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loaded += [str(value) for name, value in attrs if name in ("src", "href", "srcset", "action")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self._in_cell = True
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = self._in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.rows[-1][-1] += data


def test_the_leaderboard_is_one_file_whole_without_script_and_loads_nothing(shelf, capsys):
    said(capsys, "export", "output=board.html", "title=Arms <b>of</b> one study")
    html = Path("board.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(html)
    header, *body = page.rows
    at = header.index("val.patient.macro_auc")
    assert [(row[0], row[1], row[at]) for row in body] == [
        ("1", "study-adam2", "0.9500"), ("2", "study-sgd2", "0.9000"), ("3", "study-adam1", "0.8500"),
        ("4", "study-sgd1", "0.8000"), ("5", "study-adam0", "0.7500"), ("6", "study-sgd0", "0.7000"),
        ("–", "study-adam3", "–"),
    ]  # fmt: skip
    assert page.loaded == []
    assert "url(" not in html
    assert "Arms &lt;b&gt;of&lt;/b&gt; one study" in html
    assert "memory is full" in html
    assert "jane.doe" not in html
    assert "1 folder could not be read" in html
    assert "Not a medical device" in html


def test_refusals_of_export(shelf, capsys):
    assert "nothing to export to" in said(capsys, "export", code=2)
    assert "no table is written" in said(capsys, "export", "output=study.xlsx", code=2)
    assert "no run to export" in said(capsys, "export", "output=study.csv", "filter=[arm=adamw]", code=3)
    assert "turns the test set" in said(capsys, "export", "output=study.html", "by=test.patient.macro_auc", code=2)


def test_refusals_of_words(shelf, capsys):
    assert "did you mean `covidct runs ls`?" in said(capsys, "lss", code=2)
    assert "is no condition" in said(capsys, "ls", "filter=[arm]", code=2)
    assert "compares with a number" in said(capsys, "ls", "filter=[arm<adam]", code=2)
    assert "no such folder" in said(capsys, "ls", "elsewhere", code=3)
    assert "did you mean columns?" in said(capsys, "ls", "colums=[arm]", code=2)
    assert "limit" in said(capsys, "ls", "limit=none", code=2)


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        ("", []),
        ("ls", ["action=ls"]),
        ("sort=arm", ["sort=arm"]),
        ("diff runs/a runs/b", ["action=diff", "where=['runs/a','runs/b']"]),
        ("best val.patient.macro_auc runs", ["action=best", "by=val.patient.macro_auc", "where=['runs']"]),
        ("show runs/lr=0.1/a --cfg job", ["action=show", "where=['runs/lr=0.1/a']", "--cfg", "job"]),
        ("ls filter=[arm=adam,repeat<3]", ["action=ls", "filter=['arm=adam','repeat<3']"]),
        ("ls filter=arm=it's", ["action=ls", "filter=['arm=it\\'s']"]),
        ("--help", ["--help"]),
    ],
)
def test_plain_words_become_keys(typed, keys):
    assert as_keys(typed.split(" ") if typed else []) == keys


def test_the_first_plain_word_is_an_action():
    with pytest.raises(UsageError, match="cannot 'runs/a'"):
        as_keys(["runs/a"])


def test_a_torn_metrics_file_is_counted(shelf, capsys):
    (shelf / "study-sgd0" / "metrics.json").write_text('{"blocks": [')
    assert run_verb("runs", "ls", "columns=[folder,val.patient.macro_auc]") == 0
    out, err = capsys.readouterr()
    assert len(rows(out)) == 6
    assert "2 folder(s) cannot be read" in err
    assert "metrics.json: not a JSON file" in err


def test_nothing_heavy_is_imported(shelf):
    code = (
        "import sys; from covidct.commands.cli import main; main(['runs', 'ls']);"
        "print('HEAVY', {'torch', 'pandas', 'numpy', 'wandb', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=shelf.parent)
    assert "HEAVY set()" in done.stdout


def test_real_runs_are_listed_and_exported(trained, tmp_path, capsys):
    out = said(capsys, "ls", str(trained.parent), "columns=[folder,state,val.patient.macro_auc]")
    assert [trained.name, "evaluated"] in [row[:2] for row in rows(out)]
    said(capsys, "export", str(trained), f"output={tmp_path}/one.html")
    html = (tmp_path / "one.html").read_text(encoding="utf-8")
    assert "Synthetic patients" in html
    assert str(trained.parent) not in html
