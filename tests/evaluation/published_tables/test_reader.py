"""A publication's file, and the verb from the command line."""

import copy
import json

import pytest
import yaml

from covidct.errors import DataRefused, UsageError
from covidct.evaluation.published_tables.audit import audit_publication
from covidct.evaluation.published_tables.hypotheses import CONSISTENT, INCONSISTENT, ONLY_IF
from covidct.evaluation.published_tables.publication import find_publication
from covidct.evaluation.published_tables.reader import read_publication
from tests.conftest import run_verb

SMALL = {
    "title": "A small study",
    "classes": ["normal", "ill"],
    "counts": {"here": {"images": {"normal": 200, "ill": 100}}},
    "tables": {
        "test": {"rows": {"ill": {"sensitivity": "90.0", "specificity": "95.0", "ppv": "90.0", "accuracy": "93.3"}}}
    },
}


def _written(tmp_path, change=None, text=None):
    values = copy.deepcopy(SMALL)
    if change:
        change(values)
    path = tmp_path / "paper.yaml"
    path.write_text(text if text is not None else yaml.safe_dump(values))
    return path


def test_a_small_table(tmp_path):
    publication = read_publication(_written(tmp_path))
    table = publication.tables["test"]
    assert (table.counts, table.rounding, table.unit, table.sites) == ((200, 100), "unknown", "images", ("here",))
    assert audit_publication(publication)["verdict"] == CONSISTENT  # 90 of 100 found, 10 of 200 wrong


def test_every_problem_at_once(tmp_path):
    def spoil(values):
        values["countz"] = 1
        values["normal"] = "healthy"
        values["counts"]["here"]["images"]["ill"] = -3
        values["counts"]["there"] = {"patients": {"normal": 4}}
        table = values["tables"]["test"]
        table |= {"rounding": "up", "sites": ["elsewhere"], "models": 1, "share": "3/2", "hypotheses": ["magic"]}
        table["rows"]["ill"]["ppv"] = 90.0
        table["rows"]["ill"]["npv"] = "999"
        table["rows"]["flu"] = {"sensitivity": "about 9"}

    with pytest.raises(DataRefused) as refused:
        read_publication(_written(tmp_path, spoil))
    said = str(refused.value)
    for part in ("countz: unknown key; did you mean counts", "normal: 'healthy'", "counts.here.images.ill: -3",
                 "counts.there.patients.ill: missing", "tables.test.rounding: 'up'", "tables.test.sites",
                 "tables.test.models: 1", "tables.test.share: '3/2'", "hypotheses: ['magic']", "ppv: 90.0 must be in",
                 "npv: '999' is above 100", "rows.flu: none of the", "'about 9' is no printed"):  # fmt: skip
        assert part in said
    assert "14 problems" in said


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "no keys"),
        ("- 1\n", "no keys"),
        ("a: [", "not a YAML file"),
        ("classes: [a, b]\nclasses: [b, a]\n", "stands twice"),
        ("? [a, b]\n: 1\n", "must be one word"),
        ("classes: [a, b]\n", "tables: "),
        ("!!python/object:os.system {}\n", "not a YAML file"),
    ],
)
def test_files_that_are_refused(tmp_path, text, part):
    with pytest.raises(DataRefused, match=part):
        read_publication(_written(tmp_path, text=text))


def test_a_name_that_is_not_shipped():
    with pytest.raises(UsageError, match="fu2021") as refused:
        find_publication("fu2021")
    assert "table=fu2020" in str(refused.value)


def test_rounding_that_only_truncation_explains(tmp_path):
    """96 of 100 and 199 of 200 give 99.9X figures that differ when cut off."""

    def cut(values):  # accuracy 290/300 = 96.67, PPV 94/98 = 95.92
        values["tables"]["test"]["rows"]["ill"] = {
            "sensitivity": "94.0",
            "specificity": "98.0",
            "accuracy": "96.6",
            "ppv": "95.9",
        }

    found = audit_publication(read_publication(_written(tmp_path, cut)))
    assert found["verdict"] == f"{ONLY_IF} figures were truncated"
    assert found["tables"][0]["examined"] == "trunc"

    def cut_and_said(values):
        cut(values)
        values["tables"]["test"]["rounding"] = "round"

    assert audit_publication(read_publication(_written(tmp_path, cut_and_said)))["verdict"] == INCONSISTENT


def test_the_verb(tmp_path, capsys):
    good = _written(tmp_path)
    assert run_verb("audit", "table", str(good), f"table_output={tmp_path}/out") == 0
    assert "test: consistent" in capsys.readouterr().out
    assert (tmp_path / "out" / "table_audit.html").is_file()

    def wrong(values):
        values["tables"]["test"]["rows"]["ill"]["ppv"] = "96.0"

    assert run_verb("audit", f"table={_written(tmp_path, wrong)}", f"table_output={tmp_path}/bad") == 7
    shown = capsys.readouterr()
    assert f"test: {INCONSISTENT}" in shown.err
    found = json.loads((tmp_path / "bad" / "table_audit.json").read_text())
    assert found["tables"][0]["wrong"]["sets"] == [[{"class": "ill", "metric": "ppv", "printed": "96.0"}]]
    for words in (
        ["table", "a.yaml", "b.yaml"],
        ["tables"],
        ["table", "nowhere.yaml"],
        ["table=fu2020", "table_seed=x"],
    ):
        assert run_verb("audit", *words, f"table_output={tmp_path}/no") == 2
    assert not (tmp_path / "no").exists()
    assert "Traceback" not in capsys.readouterr().err
