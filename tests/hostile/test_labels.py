"""Labels files as people, spreadsheets and strangers make them: right, or one message with all bad lines (fault 13)."""

from __future__ import annotations

import io
import os
import unicodedata
from pathlib import Path

import openpyxl
import pytest

from covidct.data.sources import table_file
from covidct.data.sources.cells import likeness
from covidct.data.sources.labels_file import read_labels, read_slice_labels
from covidct.errors import DataRefused
from covidct.labels import ClassScheme

FIVE = ClassScheme(("normal", "covid19", "viral", "bacterial", "tuberculosis"), "normal", "covid19")
HEAD = "patient,label,site\n"
GOOD = HEAD + "0012,normal,north\nB7,covid19,south\n"


def read(folder: Path, content: str | bytes, classes: ClassScheme | None = FIVE):
    path = folder / "labels.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_labels(path, classes)


def refusal(folder: Path, content: str | bytes, classes: ClassScheme | None = FIVE) -> str:
    with pytest.raises(DataRefused) as caught:
        read(folder, content, classes)
    assert caught.value.exit_code == 3
    return str(caught.value)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_byte_order_marks_change_nothing(tmp_path, end, mark):
    text = mark + GOOD.replace("\n", end) + end * 2
    assert read(tmp_path, text).label_of == {("north", "0012"): "normal", ("south", "B7"): "covid19"}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_numbers_are_those_of_an_editor(tmp_path, end):
    """A quoted cell of three lines, blank lines, and letters that only Python takes for line ends."""
    lines = [
        "patient,label,site,note", 'A1,normal,north,"one', "two", 'three"', "", "A2,flu,north,x\u2028y\x85z",
        "A3,flu,north,", 'A4,"no', 'rmal",north,',
    ]  # fmt: skip
    text = refusal(tmp_path, end.join(lines))
    assert "3 bad lines" in text
    for part in ("line 6: unknown class 'flu'", "line 7: unknown class 'flu'", "line 8: label has a letter that"):
        assert part in text


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("Covid19", "did you mean 'covid19'?"),
        ("COVID-19", "did you mean 'covid19'?"),
        ("covid 19", "did you mean 'covid19'?"),
        ("covid-l9", "did you mean 'covid19'?"),
        ("Bacterial pneumonia", "did you mean 'bacterial'?"),
        ("tubercolosis", "did you mean 'tuberculosis'?"),
        ("\u0441\u043evid19", "did you mean 'covid19'?"),  # Cyrillic es and o
        ("\u0441\u043evid19", "cyrillic small letter es"),
        ("\uff4eormal", "did you mean 'normal'?"),  # a full-width n
        ("covid19\u200b", "label has a letter that is not seen (U+200B, zero width space)"),
        ("covid19\u00a0", "U+00A0, no-break space"),
        ("\ufeffcovid19", "U+FEFF"),
        ("covid19 ", "label has spaces around it"),
        ("=1+1", "label is a formula"),
        ("#N/A", "label is an error of a spreadsheet"),
        ("?", "unknown class '?'"),
        ("x" * 5000, "unknown class '" + "x" * 40 + "'..."),
    ],
)
def test_a_label_that_is_not_a_class_is_refused_and_never_mapped(tmp_path, label, said):
    text = refusal(tmp_path, GOOD + f'C9,"{label}",north\n')
    assert "1 bad line:" in text
    assert "line 4: " in text
    assert said in text
    assert len(text) < 700


def test_a_label_far_from_every_class_gets_no_guess(tmp_path):
    assert "did you mean" not in refusal(tmp_path, GOOD + "C9,unknown,north\n")


@pytest.mark.parametrize(
    ("patient", "said"),
    [
        ("1.2E+05", "a long number that a spreadsheet has cut"),
        ("1,20E+15", "a long number that a spreadsheet has cut"),
        ("1-Feb", "a date that a spreadsheet has made"),
        ("Mar-05", "a date that a spreadsheet has made"),
        ('=""0012""', "is a formula"),
        ("#REF!", "an error of a spreadsheet"),
        ("########", "an error of a spreadsheet"),
        ("00\u200b12", "not seen"),
        ("00\n12", "not seen"),
        ("00\t12", "not seen"),
        (" 0012", "spaces around it"),
        ("\u00a0", "is empty"),
    ],
)
def test_ids_that_a_spreadsheet_has_spoilt_are_refused(tmp_path, patient, said):
    """Fault 52. The id is not repeated: messages are copied into mails and tickets."""
    text = refusal(tmp_path, HEAD + f'"{patient}",normal,north\n')
    assert "line 2: patient " in text
    assert said in text
    if patient.strip() and patient not in ("1.2E+05", "1-Feb"):
        assert patient not in text


@pytest.mark.parametrize(
    "patient", ["1e5", "12E3", "2-1", "1.2.840.10008", "12/7", "-5", "\u00c4rzte", "John Doe", "\u4e2d\u6587"]
)
def test_ids_that_hospitals_do_use_stay_as_they_are(tmp_path, patient):
    labels = read(tmp_path, HEAD + f"{patient},normal,north\n")
    assert labels.label_of == {("north", patient): "normal"}
    assert labels.warnings == ()


def test_doubtful_ids_are_kept_and_said_with_their_lines(tmp_path):
    rows = [
        "0012,normal,n",
        "12,covid19,n",
        "12.0,viral,n",
        "2020-02-01,normal,n",
        "ab,normal,n",
        "AB,normal,n",
        "A B,normal,N",
    ]
    labels = read(tmp_path, HEAD + "\n".join(rows))
    assert len(labels.label_of) == 7, "similar is not equal"
    told = "\n".join(labels.warnings)
    assert "2 groups of patients whose ids differ only by leading zeros" in told
    assert "lines 2, 3, 4, 6, 7" in told
    assert "a decimal number (like 12.0); has a spreadsheet changed them? lines 4" in told
    assert "a date (like 2020-02-01); has a spreadsheet changed them? lines 5" in told
    assert "['n', 'N']" in told


def test_ordinary_labels_are_not_doubted(tmp_path):
    assert read(tmp_path, GOOD + "".join(f"{n:04},normal,north\n" for n in range(20, 200))).warnings == ()


def test_every_bad_line_is_counted_and_thirty_are_shown(tmp_path):
    text = refusal(tmp_path, HEAD + "".join(f"P{n},flu,north\n" for n in range(1000)))
    assert "1000 bad lines" in text
    assert text.count("unknown class") == 30
    assert "... and 970 more" in text


def test_one_unclosed_quote_is_said_where_it_opens(tmp_path):
    text = refusal(tmp_path, GOOD + 'C1,"normal,north\nC2,flu,north\n')
    assert "line 4: a quotation mark opens here and is never closed" in text


def test_lines_after_a_broken_quote_are_still_read(tmp_path):
    text = refusal(tmp_path, GOOD + '"C1"x,normal,north\nC2,flu,north\n')
    assert "2 bad lines" in text
    assert "line 4: " in text
    assert "line 5: unknown class" in text


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("patient;label;site", "separated by ';'"),
        ("patient\tlabel\tsite", r"separated by '\t'"),
        ("patient,label,label,site", "needs the column label once"),
        ("patient,label,Label,site", "needs the column label once; it has 'Label'"),
        ("Patient ,LABEL,site", "needs the column patient, label once; it has 'Patient', 'LABEL'"),
        ("patient\u200b,label,site", r"needs the column patient once; it has 'patient\u200b'"),
        ("0012,normal,north", "needs the column patient, label, site once"),
        ('"patient,label,site', "quotation mark"),
    ],
)
def test_headers(tmp_path, header, said):
    assert said in refusal(tmp_path, f"{header}\n1,normal,north\n")


def test_a_decimal_comma_is_recognised(tmp_path):
    text = refusal(tmp_path, "patient,label,site,age\nA,normal,north,44,5\nB,normal,north,44\nC,normal\n")
    assert "line 2: 5 cells, the header has 4; a decimal comma splits a cell" in text
    assert "line 4: 2 cells, the header has 4" in text


def workbook() -> bytes:
    book = openpyxl.Workbook()
    for line in (["patient", "label", "site"], [12, "normal", "north"]):
        book.active.append(line)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (workbook(), "an Excel workbook"),
        (b"\xd0\xcf\x11\xe0rest", "an old Excel workbook"),
        (GOOD.encode("utf-16"), "UTF-16"),
        (GOOD.encode("utf-16-be"), "line 1 has a NUL byte; it looks like UTF-16"),
        (GOOD.encode("utf-16-le"), "line 1 has a NUL byte; it looks like UTF-16"),
        (GOOD.encode() + b"C9,nor\0mal,north\n", "line 4 has a NUL byte"),
        (GOOD.encode() + "\u00c4,normal,north\n".encode("latin-1"), "not UTF-8 text: byte 0xC4 in line 4"),
        (b"%PDF-1.7", "a PDF"),
    ],
)  # fmt: skip
def test_other_formats_and_encodings_are_named(tmp_path, content, said):
    text = refusal(tmp_path, content)
    assert said in text
    assert "CSV UTF-8" in text
    if said.endswith("NUL byte"):
        assert "UTF-16" not in text


def test_what_is_no_regular_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "gone", Path("/dev/zero"), tmp_path / "x\0y"):
        with pytest.raises(DataRefused, match="cannot be read"):
            read_labels(path, FIVE)


def test_huge_files_and_cells_are_refused_before_they_fill_the_memory(tmp_path, monkeypatch):
    with (tmp_path / "huge.csv").open("wb") as file:
        file.truncate(table_file.MOST_BYTES + 1)  # a hole in the disk, not half a gigabyte
    with pytest.raises(DataRefused, match="512 MiB is too large"):
        read_labels(tmp_path / "huge.csv", FIVE)
    text = refusal(tmp_path, GOOD + "y" * 200_000 + ",normal,north\nC9,flu,north\n")
    assert "line 4: a cell of more than 131072 letters" in text
    assert "line 5: unknown class" in text


def test_a_row_that_stands_twice_is_one_patient(tmp_path):
    assert read(tmp_path, GOOD + "B7,covid19,south\n").label_of == read(tmp_path, GOOD).label_of


def test_without_classes_labels_that_look_alike_are_refused(tmp_path):
    assert set(read(tmp_path, GOOD, None).label_of.values()) == {"normal", "covid19"}
    text = refusal(tmp_path, GOOD + "C1,Covid19,south\nC2,c\u043evid19,south\n", None)
    assert "'covid19' (line 3), 'Covid19' (line 4), 'c\\u043evid19' (line 5)" in text


def test_latin_look_alikes_are_folded_letter_by_letter():
    """Oracle: the names that Unicode gives the letters."""
    for strange, plain in (
        ("\u0430", "a"),
        ("\u0440", "p"),
        ("\u0441", "c"),
        ("\u0445", "x"),
        ("\u03bf", "o"),
        ("\u0456", "i"),
    ):
        assert unicodedata.name(strange).split()[0] in ("CYRILLIC", "GREEK")
        assert likeness(f"1{strange}") == f"1{plain}"


def test_slice_labels(tmp_path):
    path = tmp_path / "slices.csv"
    path.write_text("sop_instance_uid,slice_label\n1.2.3,1\n1.2.4,\n1.2.5,1.0\n1.2E+30,1\n1.2.3,1\n1.2.6,\n1.2.3,0\n")
    with pytest.raises(DataRefused) as caught:
        read_slice_labels(path)
    text = str(caught.value)
    for part in (
        "3 bad lines", "line 4: slice_label '1.0' is not", "line 5: sop_instance_uid is a long number",
        "line 8: this slice was listed before",
    ):  # fmt: skip
        assert part in text
