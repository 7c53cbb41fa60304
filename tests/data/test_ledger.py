"""The ledger's file: what is written stays written, and what was changed is seen."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from covidct.data.ledger import FILE, HEAD, Ledger, open_ledger
from covidct.errors import IntegrityError, ResourceError


def seal(ledger: Ledger, site: str) -> None:
    ledger.append("seal", lambda _: [{"site": site}])


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(tmp_path, who="team-a")
    for site in ("a", "b", "c"):
        seal(ledger, site)
    return ledger


def lines_of(ledger: Ledger) -> list[bytes]:
    return ledger.path.read_bytes().splitlines(keepends=True)


def test_lines_come_back_in_order_with_who_wrote_them(ledger):
    entries = ledger.entries()
    assert [(e.number, e.kind, e.facts, e.who) for e in entries] == [
        (n, "seal", {"site": site}, "team-a") for n, site in enumerate("abc", start=1)
    ]
    assert all(e.time.endswith("+00:00") for e in entries)
    assert [json.loads(line)["before"] for line in lines_of(ledger)] == [None, entries[0].digest, entries[1].digest]


def test_a_folder_without_a_ledger_has_no_lines(tmp_path):
    assert Ledger(tmp_path).entries() == []


@pytest.mark.parametrize("line", [0, 1, 2])
def test_an_edited_line_is_seen(ledger, line):
    lines = lines_of(ledger)
    lines[line] = lines[line].replace(b'"site":"', b'"site":"x')
    ledger.path.write_bytes(b"".join(lines))
    with pytest.raises(IntegrityError, match="changed by hand"):
        ledger.entries()


@pytest.mark.parametrize("kept", [[1, 2], [0, 2], [0, 1], [0], [], [1, 0, 2]])
def test_a_line_taken_out_or_moved_is_seen(ledger, kept):
    lines = lines_of(ledger)
    ledger.path.write_bytes(b"".join(lines[at] for at in kept))
    with pytest.raises(IntegrityError, match="changed by hand"):
        ledger.entries()


def test_a_lost_file_is_seen(ledger):
    ledger.path.unlink()
    with pytest.raises(IntegrityError, match="3 lines were written, 0 are there"):
        ledger.entries()


def test_a_line_put_in_is_seen(ledger):
    lines = lines_of(ledger)
    ledger.path.write_bytes(b"".join([*lines[:1], lines[0], *lines[1:]]))
    with pytest.raises(IntegrityError, match="line 2 does not follow"):
        ledger.entries()


def test_nothing_is_added_to_a_broken_ledger(ledger):
    ledger.path.write_bytes(b"".join(lines_of(ledger)[:2]))
    with pytest.raises(IntegrityError):
        seal(ledger, "d")
    assert len(lines_of(ledger)) == 2


def test_half_a_line_of_a_killed_writer_is_no_line_and_is_in_nobodys_way(ledger):
    before = ledger.entries()
    with ledger.path.open("ab") as stream:
        stream.write(b'{"before":"12')
    assert ledger.entries() == before
    seal(ledger, "d")
    assert [e.facts["site"] for e in ledger.entries()] == list("abcd")


def test_a_writer_killed_before_the_head_loses_nothing(ledger):
    head = (ledger.folder / HEAD).read_bytes()
    seal(ledger, "d")
    (ledger.folder / HEAD).write_bytes(head)
    assert [e.facts["site"] for e in ledger.entries()] == list("abcd")


def test_a_refusal_while_the_others_wait_writes_nothing(ledger):
    def refuse(entries):
        assert len(entries) == 3
        raise IntegrityError("no")

    with pytest.raises(IntegrityError, match="no"):
        ledger.append("seal", refuse)
    seal(ledger, "d")  # the lock is free again
    assert len(ledger.entries()) == 4


def test_several_processes_lose_no_line(tmp_path):
    script = (
        "import sys; from pathlib import Path; from covidct.data.ledger import Ledger\n"
        "ledger = Ledger(Path(sys.argv[1]))\n"
        "for n in range(20): ledger.append('seal', lambda _: [{'site': f'{sys.argv[2]}{n}'}])\n"
    )
    workers = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path), name]) for name in "abc"]
    assert [worker.wait(60) for worker in workers] == [0, 0, 0]
    sites = [entry.facts["site"] for entry in Ledger(tmp_path).entries()]
    assert sorted(sites) == sorted(f"{name}{n}" for name in "abc" for n in range(20))


def test_where_no_line_can_be_added_one_is_told_before_any_work(tmp_path):
    with pytest.raises(ResourceError) as found:
        Ledger(tmp_path / "nowhere").make_ready()
    assert "ledger.folder=FOLDER" in str(found.value)
    (tmp_path / FILE).mkdir()
    with pytest.raises(ResourceError):
        seal(Ledger(tmp_path), "a")


def test_the_ledger_lies_beside_the_index_or_where_it_is_put(tmp_path):
    (tmp_path / "index").mkdir()
    beside = tmp_path / "index"
    assert open_ledger(beside) == open_ledger(beside / "index.parquet") == Ledger(beside)
    assert open_ledger(beside, folder=str(beside), who="x") == Ledger(beside, "x")
    assert open_ledger(beside, folder=str(tmp_path / "other")) == Ledger(tmp_path / "other", None, beside)
