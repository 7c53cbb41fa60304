"""The fuzzers for a few seconds, the same cases each time; what they found before stays found."""

from __future__ import annotations

import json

import pytest

from covidct.data.measures import read_measures
from covidct.data.splits import Split
from covidct.data.table import read_table
from covidct.errors import DataRefused, IntegrityError, UsageError
from covidct.files import read_json
from covidct.labels import ClassScheme
from tests.conftest import run_verb
from tests.hostile.fuzzers import FUZZERS, _index, _split

EXAMPLES = {"labels": 300, "slice labels": 150, "reads": 150, "split": 100, "index": 60, "publication": 60, "words": 15,
            "command": 6}  # fmt: skip


def test_each_fuzzer_is_run():
    assert FUZZERS.keys() == EXAMPLES.keys()


@pytest.mark.parametrize("name", FUZZERS)
def test_a_result_or_one_message(name, tmp_path):
    assert FUZZERS[name].run(tmp_path, EXAMPLES[name]) >= EXAMPLES[name] // 2


def test_valid_files_are_accepted(tmp_path):
    """A reader that refuses everything would pass every fuzzer."""
    from covidct.data.sources.labels_file import read_labels, read_slice_labels
    from covidct.evaluation.published_tables.reader import read_publication
    from covidct.evaluation.readers.reads import read_reads
    from tests.evaluation.factories import FIVE
    from tests.hostile import fuzzers

    (tmp_path / "a").write_bytes(fuzzers.LABELS)
    assert len(read_labels(tmp_path / "a", FIVE).label_of) == 4
    (tmp_path / "b").write_bytes(fuzzers.SLICES)
    assert read_slice_labels(tmp_path / "b") == {"1.2.1": 0, "1.2.2": 1}
    (tmp_path / "c").write_bytes(fuzzers.READS)
    assert len(read_reads(tmp_path / "c", FIVE)) == 4
    (tmp_path / "d").write_bytes(_split()[1])
    assert Split.read(tmp_path / "d") == _split()[0]
    (tmp_path / "e").write_bytes(fuzzers._publication())
    assert read_publication(tmp_path / "e").tables
    made = _index(tmp_path)
    assert read_table(tmp_path).digest == made.digest
    assert len(read_measures(tmp_path)) == 6


@pytest.mark.parametrize("word", ["data=1", "~data=1", "model={a: 1}", "split=[[[["])
def test_a_group_that_is_given_something_else_is_a_usage_error(word, capsys):
    """Was a traceback and "this is a bug": Hydra answers with ValueError."""
    assert run_verb("train", word, "data.index=x") == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        lambda facts: facts.pop("source"),
        lambda facts: facts.update(classes={"names": "normal"}),
        lambda facts: facts.update(classes={"names": ["covid19", "normal"], "normal": "normal"}),
        lambda facts: facts.update(counts={**facts["counts"], "files_read": 8}),
        lambda facts: facts.update(root="\0"),
    ],
)
def test_an_edited_index_json_is_refused(tmp_path, change):
    """Was KeyError; or the other order of classes was taken in silence."""
    _index(tmp_path)
    facts = json.loads((tmp_path / "index.json").read_text())
    change(facts)
    (tmp_path / "index.json").write_text(json.dumps(facts))
    with pytest.raises((DataRefused, IntegrityError)):
        read_table(tmp_path)


def test_the_data_of_an_index_may_move(tmp_path):
    made = _index(tmp_path)
    facts = json.loads((tmp_path / "index.json").read_text())
    facts["root"] = "../elsewhere"
    (tmp_path / "index.json").write_text(json.dumps(facts))
    assert read_table(tmp_path).root.name == "elsewhere"
    assert read_table(tmp_path).digest == made.digest


def test_measures_with_a_flipped_byte_or_of_another_index_are_refused(tmp_path):
    """Was accepted: a Parquet page has no checksum."""
    _index(tmp_path)
    path = tmp_path / "measures.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match="measures"):
        read_measures(tmp_path)


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, "{"])
def test_json_that_breaks_the_parser_is_refused(tmp_path, text):
    """Was RecursionError."""
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataRefused):
        read_json(tmp_path / "x.json")
    with pytest.raises(DataRefused, match="cannot be read"):
        read_json(tmp_path)


@pytest.mark.parametrize("names", [None, "normal", [1, 2], {"a": 1}])
def test_classes_that_are_no_names_are_refused(names):
    """Was an assertion, or the letters of a word."""
    with pytest.raises(UsageError, match="list of names"):
        ClassScheme.from_dict({"names": names})
