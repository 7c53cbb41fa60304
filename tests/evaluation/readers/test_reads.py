"""The table of reads: what is accepted, and how bad rows are refused, all at once and without repeating them."""

from __future__ import annotations

import pytest

from covidct.errors import DataRefused
from covidct.evaluation.readers.cases import all_cases, matched
from covidct.evaluation.readers.reads import read_reads
from tests.evaluation.factories import FIVE, by_hand, simulated
from tests.evaluation.readers.tables import perfect, write


def table(tmp_path, text):
    path = tmp_path / "reads.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_row_is_read_as_it_is_written(tmp_path):
    path = table(
        tmp_path,
        "reader,case,site,session,order,class,confidence,seconds,with_ai,washout_days\n"
        "007,0012,north,2,3,viral,4,61.5,Yes,30\n"
        "1e5,NA,,,,,,,,\n",
    )
    first, second = read_reads(path, FIVE).to_dict("records")
    assert (first["reader"], first["case"], first["site"]) == ("007", "0012", "north")  # ids stay text
    assert (first["session"], first["order"], first["confidence"], first["seconds"]) == (2, 3, 4, 61.5)
    assert (first["call"], first["with_ai"], first["washout_days"], first["line"]) == ("viral", True, 30, 2)
    assert (second["reader"], second["case"], second["call"]) == ("1e5", "NA", "no result")
    assert (second["session"], second["with_ai"], second["simulated"], second["unit"]) == (1, False, False, "patient")


def test_excel_in_europe(tmp_path):
    path = tmp_path / "reads.csv"
    path.write_bytes("\ufeffreader;case;class\r\nA;k1;normal\r\n".encode())
    assert read_reads(path, FIVE)["call"].tolist() == ["normal"]


def test_the_highest_rating_is_the_call_and_a_tie_is_never_health(tmp_path):
    head = "reader,case," + ",".join(f"rating_{name}" for name in FIVE.names)
    path = table(tmp_path, f"{head}\nA,k1,1,2,9,0,0\nA,k2,5,5,0,0,0\nA,k3,,,,,\n")
    assert read_reads(path, FIVE)["call"].tolist() == ["viral", "covid19", "no result"]


def test_all_bad_rows_are_named_at_once(tmp_path):
    path = table(
        tmp_path,
        "reader,case,session,order,class,confidence,seconds,with_ai\n"
        "A,k1,1,1,normal,3,10,no\n"
        ",k2,1,2,normal,3,10,no\n"
        "A,,1,3,normal,3,10,no\n"
        "A,k4,0,4,normal,3,10,no\n"
        "A,k5,1,1.5,normal,3,10,no\n"
        "A,k6,1,6,flu,3,10,no\n"
        "A,k7,1,7,normal,sure,10,no\n"
        "A,k8,1,8,normal,3,0,maybe\n"
        "A,k1,1,9,viral,3,10,no\n"
        "A,k9,1,10,normal,3,10\n",
    )
    with pytest.raises(DataRefused) as refusal:
        read_reads(path, FIVE)
    message = str(refusal.value)
    assert "9 of 10 rows" in message
    for line, words in (
        (3, "no reader"), (4, "no case"), (5, "session is '0'"), (6, "order is '1.5'"), (7, "class is 'flu'"),
        (8, "confidence is 'sure'"), (9, "seconds is '0'"), (9, "with_ai is 'maybe'"),
        (10, "same reader, case and session as line 2"), (11, "7 cells for 8 columns"),
    ):  # fmt: skip
        assert any(text.startswith(f"  line {line}:") and words in text for text in message.splitlines()), (line, words)


def test_a_flood_of_bad_rows_is_counted(tmp_path):
    path = table(tmp_path, "reader,case,class\n" + "".join(f"A,k{n},flu\n" for n in range(50)))
    with pytest.raises(DataRefused, match="and 30 more"):
        read_reads(path, FIVE)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("reader,class", "lacks case"),
        ("reader,case,class,diagnosis", "'diagnosis'"),
        ("reader,case,class,class", "class twice"),
        ("reader,case,rating_normal,rating_viral", "rates some classes only"),
        ("reader,case,confidence", "neither class nor ratings"),
    ],
)
def test_columns_that_cannot_be_meant_are_refused(tmp_path, head, words):
    with pytest.raises(DataRefused, match=words):
        read_reads(table(tmp_path, f"{head}\n"), FIVE)


def test_simulated_and_real_reads_do_not_mix(tmp_path):
    path = table(tmp_path, "reader,case,class,simulated\nA,k1,normal,yes\nA,k2,normal,yes\nB,k1,normal,no\n")
    with pytest.raises(DataRefused, match="line 4: simulated and real reads are mixed"):
        read_reads(path, FIVE)


def test_a_table_that_is_none(tmp_path):
    with pytest.raises(DataRefused, match="does not exist"):
        read_reads(tmp_path / "no.csv", FIVE)
    with pytest.raises(DataRefused, match="no rows"):
        read_reads(table(tmp_path, "reader,case,class\n"), FIVE)
    (tmp_path / "reads.csv").write_bytes(b"reader,case,class\nA,\xff\xfe,normal\n")
    with pytest.raises(DataRefused, match="UTF-8"):
        read_reads(tmp_path / "reads.csv", FIVE)


def test_cases_that_are_not_in_the_run_are_counted_and_not_repeated(tmp_path):
    predictions = simulated(patients=2)
    rows = perfect(predictions)
    rows[1]["case"], rows[4]["case"] = "Doe John 1950", "Doe John 1950"
    rows[4]["site"] = "south"  # another case, then
    path = write(tmp_path / "reads.csv", rows)
    cases = all_cases(predictions, split="test", unit="patient")
    with pytest.raises(DataRefused) as refusal:
        matched(cases, read_reads(path, FIVE))
    assert "of 20 cases in the table of reads, 2 are not there" in str(refusal.value)
    assert "2 reads, lines 3, 6" in str(refusal.value)
    assert "Doe" not in str(refusal.value)


def test_a_key_of_two_hospitals_needs_its_hospital(tmp_path):
    parts = [by_hand([("p1", "viral", [0, 0, 1, 0, 0])], site=site) for site in ("north", "south")]
    parts[1].frame["slice_key"] = "other"
    import pandas as pd

    from covidct.evaluation.predictions import Predictions

    both = Predictions(pd.concat([part.frame for part in parts], ignore_index=True), FIVE)
    cases = all_cases(both, split="test", unit="patient")
    path = table(tmp_path, "reader,case,class\nA,p1,viral\n")
    with pytest.raises(DataRefused, match="exist at two sites"):
        matched(cases, read_reads(path, FIVE))
    path = table(tmp_path, "reader,case,site,class\nA,p1,south,viral\n")
    chosen, position = matched(cases, read_reads(path, FIVE))
    assert chosen.sites.tolist() == ["south"]
    assert position.tolist() == [0]


def test_a_case_named_with_and_without_its_hospital_is_one_case(tmp_path):
    cases = all_cases(by_hand([("p1", "viral", [0, 0, 1, 0, 0])]), split="test", unit="patient")
    path = table(tmp_path, "reader,case,site,class\nA,p1,north,viral\nA,p1,,normal\n")
    with pytest.raises(DataRefused, match=r"twice in a session: lines 3"):
        matched(cases, read_reads(path, FIVE))
