"""What any file of ours must survive: each fuzzer feeds one reader and knows what must hold.

The invariant (faults.md D.5): a valid result or one `CovidctError`; never another exception, and never a file accepted
whose meaning has changed. `experiments/fuzzing` runs `FUZZERS` for long, `test_fuzzers.py` for seconds.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from covidct.errors import CovidctError
from tests.evaluation.factories import FIVE
from tests.hostile.mutations import mutated, nonsense, tables

SECONDS = 5.0
"""Of the processor: a reader that needs longer for a small file hangs."""


@dataclass(frozen=True)
class Fuzzer:
    """One reader under fire.

    Args:
        cases: What it is fed.
        check: Feeds one case, with a folder to write in; raises AssertionError, or whatever the reader let through.
    """

    cases: st.SearchStrategy[Any]
    check: Callable[[Path, Any], None]

    def run(self, folder: Path, examples: int, *, derandomize: bool = True) -> int:
        """Feed `examples` cases; returns how many were run.

        Args:
            folder: An empty folder, for the files.
            examples: Number of cases.
            derandomize: The same cases each time; False for long runs.
        """
        count = 0

        @settings(
            max_examples=examples, derandomize=derandomize, deadline=None, database=None,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(self.cases)
        def one(case: Any) -> None:
            nonlocal count
            count += 1
            start = time.process_time()
            self.check(folder, case)
            assert time.process_time() - start < SECONDS, "too slow"

        one()
        return count


def said(error: CovidctError) -> None:
    """One clear message: words, not too many of them, and an exit code of its own."""
    text = str(error)
    assert 5 < len(text) < 20_000, len(text)
    assert error.exit_code in (2, 3, 4, 5)
    assert "Traceback" not in text


def plain_rows(content: bytes, columns: tuple[str, ...]) -> list[dict[str, str]] | None:
    """A table without quotation marks, read in the plainest way; None where that is not enough to judge."""
    text = content.decode("utf-8").removeprefix("\ufeff")
    if '"' in text:
        return None
    lines = [line for line in re.split(r"\r\n|\r|\n", text) if line.replace(",", "").strip()]
    header = [name.strip() for name in lines[0].split(",")]
    return [{name: line.split(",")[header.index(name)] for name in columns if name in header} for line in lines[1:]]


LABELS = (
    b'patient,label,site,note\r\n0012,normal,north,a\r\nB7,covid19,south,"b, c"\r\n0012,viral,south,\r\n,,,\r\n'
    b"C9,bacterial,north,x\r\n"
)
SLICES = b"site,patient,sop_instance_uid,slice_label\nn,1,1.2.1,0\nn,1,1.2.2,1\nn,2,1.2.3,\n"
READS = (
    b"reader,case,class,session,confidence,seconds,with_ai\nA,k1,normal,1,3,10.5,no\nA,k2,covid19,1,5,20,no\n"
    b"B,k1,,1,1,30,yes\nB,0012,viral,2,4,,yes\n"
)


def check_labels(folder: Path, content: bytes) -> None:
    """Whatever is accepted stands in the file, letter by letter."""
    from covidct.data.sources.labels_file import read_labels

    path = folder / "labels.csv"
    path.write_bytes(content)
    try:
        labels = read_labels(path, FIVE)
    except CovidctError as error:
        said(error)
        return
    assert set(labels.label_of.values()) <= set(FIVE.names)
    rows = plain_rows(content, ("patient", "label", "site"))
    if rows is None:
        text = content.decode("utf-8").replace('""', '"')
        assert all(name.replace('""', '"') in text for key in labels.label_of for name in key)
        return
    found: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        found.setdefault((row["site"], row["patient"]), set()).add(row["label"])
    assert labels.label_of == {key: next(iter(names)) for key, names in found.items() if len(names) == 1}
    assert labels.excluded == {key for key, names in found.items() if len(names) > 1}


def check_slice_labels(folder: Path, content: bytes) -> None:
    """The same for lesions."""
    from covidct.data.sources.labels_file import read_slice_labels

    path = folder / "slices.csv"
    path.write_bytes(content)
    try:
        found = read_slice_labels(path)
    except CovidctError as error:
        said(error)
        return
    rows = plain_rows(content, ("sop_instance_uid", "slice_label"))
    if rows is not None:
        assert found == {r["sop_instance_uid"]: int(r["slice_label"]) for r in rows if r["slice_label"]}


def check_reads(folder: Path, content: bytes) -> None:
    """A reader's call is what the reader wrote."""
    from covidct.evaluation.readers.reads import read_reads

    path = folder / "reads.csv"
    path.write_bytes(content)
    try:
        reads = read_reads(path, FIVE)
    except CovidctError as error:
        said(error)
        return
    assert set(reads["call"]) <= {*FIVE.names, "no result"}
    if b";" in content:
        return
    rows = plain_rows(content, ("reader", "case", "class"))
    if rows is not None:
        assert reads["reader"].tolist() == [row["reader"].strip() for row in rows]
        assert reads["case"].tolist() == [row["case"].strip() for row in rows]
        assert reads["call"].tolist() == [row["class"].strip() or "no result" for row in rows]


@cache
def _split() -> tuple[Any, bytes]:
    from covidct.data.splits import make_split
    from tests.data.test_splits import TWO, cohort

    split = make_split(cohort(TWO, slices=1))
    return split, json.dumps(split._content() | {"digest": split.digest}, indent=2).encode()


def check_split(folder: Path, content: bytes) -> None:
    """A split that is accepted is the one that was made."""
    from covidct.data.splits import Split

    path = folder / "split.json"
    path.write_bytes(content)
    try:
        found = Split.read(path)
    except CovidctError as error:
        said(error)
        return
    assert found == _split()[0]


def _index(folder: Path) -> Any:
    """A small slice table and its folder, written anew."""
    import pyarrow as pa

    from covidct.data.measures import SCHEMA
    from covidct.data.table import make_table, write_table
    from tests.data.test_table import CLASSES, refused, row

    made = make_table(
        [*(row(n) for n in range(6)), refused("a", "no pixel data")],
        root=folder / "data", source="dicom_tree", classes=CLASSES, counts={"files_read": 7},
        measures=pa.Table.from_pylist(
            [{"slice_key": f"{n:016x}", "path": f"x/{n}.dcm", "frame": 0, "body_mm2": 1.0 * n, "lung_mm2": 2.0 * n,
              "histogram": [n, 2], "fingerprint": "00", "age_years": 40, "sex": "F", "kvp": 120.0, "thickness_mm": 5.0}
             for n in range(6)], schema=SCHEMA),
    )  # fmt: skip
    write_table(made, folder)
    return made


@cache
def _index_once() -> tuple[Any, dict[str, bytes], Any]:
    """The table, its files, and its measures."""
    from covidct.data.measures import read_measures

    with tempfile.TemporaryDirectory() as place:
        made = _index(Path(place))
        return made, {path.name: path.read_bytes() for path in Path(place).iterdir()}, read_measures(Path(place))


def check_index(folder: Path, case: tuple[str, float, bytes]) -> None:
    """A change in any file of an index is refused, or changes nothing that counts; the data may have moved."""
    from covidct.data.measures import read_measures
    from covidct.data.table import read_table

    name, place, piece = case
    made, files, before = _index_once()
    for own, content in files.items():
        (folder / own).write_bytes(content)
    content = files[name]
    start = int(place * len(content))
    (folder / name).write_bytes(content[:start] + piece + content[start + len(piece) :])
    try:
        found = read_table(folder)
        measures = read_measures(folder)
    except CovidctError as error:
        said(error)
        return
    assert (found.digest, found.source, found.classes, found.counts) == (
        made.digest, made.source, made.classes, made.counts
    )  # fmt: skip
    assert measures.equals(before)


def check_publication(folder: Path, content: bytes) -> None:
    """A publication is read and audited, or refused."""
    from covidct.evaluation.published_tables.reader import read_publication

    path = folder / "publication.yaml"
    path.write_bytes(content)
    try:
        read_publication(path)
    except CovidctError as error:
        said(error)


@cache
def _publication() -> bytes:
    from covidct.evaluation.published_tables import reader

    return (Path(reader.__file__).with_name("fu2020.yaml")).read_bytes()


KEYS = (
    "data", "data.size", "data.index", "data.windows", "data.classes", "model", "model.name", "recipe", "recipe.phases",
    "recipe.phases.0.lr", "recipe.stop.min_epochs", "split", "split.seed", "trainer", "trainer.devices", "logger",
    "seed", "experiment", "runs", "optimzer.lr", "model._target_", "hydra.run.dir", "hydra/launcher", "",
)  # fmt: skip
VALUES = (
    "1", "-1", "0.5", "1e999", "nan", "null", "true", "[]", "{}", "[1,", "{a: 1}", "{a: {b: {c: 1}}}", "'x", "${seed}",
    "${data}", "${oc.env:HOME}", "${", "${a.b}", "???", "os.system", "../../etc/passwd", "resnet18", "patient",
    "9" * 5000, "a=b", "\u200b", "\u0441", "[" * 200, "1,2", "choice(1,2)", "range(3)", "*", "\n", "\\",
)  # fmt: skip


@st.composite
def words(draw: st.DrawFn) -> list[str]:
    """Overrides as people type them, mistype them, or try them on."""
    word = st.builds(
        lambda sign, key, equals, value: f"{sign}{key}{equals}{value}",
        st.sampled_from(["", "", "", "+", "++", "~"]),
        st.sampled_from(KEYS) | st.text(max_size=5),
        st.sampled_from(["=", "=", "=", "", "=="]),
        st.sampled_from(VALUES) | st.text(max_size=6),
    )
    return draw(st.lists(word, min_size=1, max_size=3))


def check_words(folder: Path, overrides: list[str]) -> None:
    """A config that is composed has settings of the right types, or is refused; nothing runs."""
    from covidct.commands.compose import compose_again
    from covidct.training.settings import TrainSettings, read_settings

    given_words = [f"data.index={folder}/index", *overrides]
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            values = compose_again("train", given_words)
            read_settings(TrainSettings, values)
    except CovidctError as error:
        said(error)


def check_command(folder: Path, overrides: list[str]) -> None:
    """The same through the command line: `covidct train ... --cfg job` ends with 0 or 2 and without a traceback."""
    from covidct.commands.cli import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["train", *overrides, "--cfg", "job"])
    assert code in (0, 2), (code, err.getvalue()[-500:])
    assert "Traceback" not in err.getvalue()


FUZZERS: dict[str, Fuzzer] = {
    "labels": Fuzzer(
        mutated(LABELS, (b"Covid19 ", b"normal", b"0012", b"1.2E+05", b"north"))
        | tables(("patient", "label", "site"), [*FIVE.names, "0012", "12", "north", "Covid19"])
        | nonsense(),
        check_labels,
    ),
    "slice labels": Fuzzer(
        mutated(SLICES, (b"1", b"0", b"1.2.1"))
        | tables(("sop_instance_uid", "slice_label"), ["1.2", "1.3", "0", "1", ""]),
        check_slice_labels,
    ),
    "reads": Fuzzer(
        mutated(READS, (b"A", b"k1", b"viral", b"yes"))
        | tables(("reader", "case", "class"), [*FIVE.names, "A", "B", "k1", ""])
        | nonsense(),
        check_reads,
    ),
    "split": Fuzzer(st.deferred(lambda: mutated(_split()[1], (b"train", b"val", b"0"))) | nonsense(), check_split),
    "index": Fuzzer(
        st.tuples(
            st.sampled_from(["index.json", "index.json", "index.parquet", "measures.parquet"]),
            st.floats(0, 1, exclude_max=True),
            st.binary(min_size=1, max_size=4) | st.sampled_from([b"1", b"null", b'"', b"normal", b"}"]),
        ),
        check_index,
    ),
    "publication": Fuzzer(st.deferred(lambda: mutated(_publication())) | nonsense(), check_publication),
    "words": Fuzzer(words(), check_words),
    "command": Fuzzer(
        words().filter(lambda found: not any(word.startswith("-") for word in found)), check_command
    ),
}  # fmt: skip
"""Name -> fuzzer."""
