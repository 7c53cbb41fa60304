"""What was read before counts for as long as the file, the code and the record are unchanged, and never otherwise."""

import dataclasses
import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from covidct.ct.ingest import Header, Record, ingest
from covidct.ct.measures import Measures
from covidct.data.indexing import reading, reads
from covidct.data.indexing.build import build_index
from covidct.data.indexing.packing import pack, unpack
from covidct.data.pseudonyms import Pseudonymizer
from covidct.data.sources.dicom_tree import DicomTree
from covidct.data.table import write_table
from covidct.errors import Interrupted
from tests.ct.dicom_fixtures import chest, write_ct, write_series
from tests.data.tiny_slices import write_table as write_pictures

NAMES = Pseudonymizer(b"0123456789abcdef")
read_chunk = reading._read_chunk  # as it is: tests put others in its place
HOURS_AGO = 3600_000_000_000


@pytest.fixture
def scans(tmp_path) -> Path:
    """Two series of four slices and a file that is no scan, all a day old."""
    root = tmp_path / "scans"
    write_series(root / "one", range(0, 20, 5), series="1.2.10", seed=1, PatientID="0012")
    write_series(root / "two", range(0, 20, 5), series="1.2.20", seed=2, PatientID="B7")
    (root / "notes.txt").write_text("hello")
    age(root)
    return root


def age(root: Path) -> None:
    old = time.time_ns() - 24 * HOURS_AGO + 123
    for path in root.rglob("*"):
        os.utime(path, ns=(old, old))


def index(root: Path, **options):
    return build_index("dicom_tree", root, **({"pseudonyms": NAMES, "workers": 1} | options))


def same(one, other) -> bool:
    return (
        one.digest == other.digest
        and one.frame.equals(other.frame)
        and one.measured.equals(other.measured)
        and one.counts == other.counts
    )


def _noting(root, paths, kinds, limits):
    with (root.parent / "opened").open("a") as stream:
        stream.writelines(f"{path}\n" for path in paths)
    return read_chunk(root, paths, kinds, limits)


@pytest.fixture
def opened(scans, monkeypatch):
    """Tells which files were opened since it was asked last."""
    monkeypatch.setattr(reading, "_read_chunk", _noting)
    log = scans.parent / "opened"

    def since() -> set[str]:
        names = log.read_text().split() if log.exists() else []
        log.unlink(missing_ok=True)
        assert len(set(names)) == len(names)
        return set(names)

    return since


def test_only_what_changed_is_opened_and_the_index_is_that_of_a_first_reading(scans, tmp_path, opened):
    kept = tmp_path / "reads"
    told = []
    first = index(scans, reads=kept, say=told.append)
    assert len(opened()) == 9
    assert told == []
    assert same(index(scans, reads=kept, say=told.append), first)
    assert opened() == set()
    assert told == ["9 of 9 files did not change since they were read"]

    one, two, *_, last = sorted(path.relative_to(scans).as_posix() for path in scans.rglob("*.dcm"))
    write_ct(scans / one, chest(seed=77), PatientID="0012", SOPInstanceUID="1.2.10.77", SeriesInstanceUID="1.2.10.7")
    age(scans)  # same size, and an old date: the inode's own time tells
    (scans / two).rename(scans / "renamed.dcm")
    (scans / last).unlink()
    write_ct(scans / "new.dcm", chest(seed=78), PatientID="C1", SOPInstanceUID="1.9.9", SeriesInstanceUID="1.9")
    os.utime(scans / "new.dcm", (time.time() + 3600,) * 2)
    again = index(scans, reads=kept)
    assert {one, "renamed.dcm", "new.dcm"} <= opened()
    assert same(again, index(scans))
    assert again.digest != first.digest
    opened()
    (tmp_path / "link").symlink_to(scans)
    index(tmp_path / "link", reads=kept)
    assert opened() == {"new.dcm"}, "by its clock it may be written again without a change of date"
    scans.rename(tmp_path / "elsewhere")
    assert index(tmp_path / "elsewhere", reads=kept).digest == again.digest
    assert len(opened()) == 9


def test_an_interrupted_index_goes_on(scans, tmp_path, opened, monkeypatch):
    whole = index(scans)
    opened()
    monkeypatch.setattr(reading, "_CHUNK", 2)

    def stop(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="stopped after 4 of 9 files") as caught:
        index(scans, reads=tmp_path / "reads", progress=stop)
    assert caught.value.exit_code == 6
    before, told = opened(), []
    table = index(scans, reads=tmp_path / "reads", progress=lambda done, total: told.append((done, total)))
    assert len(before) >= 4
    assert len(opened()) == 5
    assert told == [(n, 9) for n in range(5, 10)]
    assert same(table, whole)


def test_a_killed_index_goes_on(scans, tmp_path, opened):
    """SIGKILL, with several processes reading; these end too."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os, signal\nfrom pathlib import Path\nfrom covidct.data.indexing import reading\n"
        "from covidct.data.indexing.build import build_index\nfrom covidct.data.pseudonyms import Pseudonymizer\n"
        "if __name__ == '__main__':\n"
        "    reading._CHUNK = 1\n"
        "    stop = lambda done, total: os.kill(os.getpid(), signal.SIGKILL) if done == 4 else None\n"
        f"    build_index('dicom_tree', Path({str(scans)!r}), pseudonyms=Pseudonymizer(b'0' * 16), workers=2,\n"
        f"                reads=Path({str(tmp_path / 'reads')!r}), progress=stop)\n"
    )
    ended = subprocess.run([sys.executable, script], check=False, timeout=60, capture_output=True)
    # capture_output waits until every process that holds the pipe is gone
    assert ended.returncode == -signal.SIGKILL
    table = index(scans, reads=tmp_path / "reads")
    assert len(opened()) == 5
    assert same(table, index(scans))


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_order_and_readings_do_not_matter(scans, tmp_path, monkeypatch, workers):
    whole = index(scans)
    monkeypatch.setattr(reading, "_CHUNK", 2)
    found = list(reading.find_files(scans))
    random.Random(workers).shuffle(found)
    monkeypatch.setattr("covidct.data.indexing.build.find_files", lambda _: iter(found))
    for _ in range(2):
        assert same(index(scans, reads=tmp_path / "reads", workers=workers), whole)


def test_readings_are_for_their_owner_and_not_beside_the_index(scans, tmp_path):
    table = index(scans, reads=tmp_path / "reads")
    [path] = (tmp_path / "reads").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "reads").stat().st_mode) == 0o700
    write_table(table, tmp_path / "index")
    for path in (tmp_path / "index").iterdir():
        assert b"0012" not in path.read_bytes()
        assert b"1.2.10" not in path.read_bytes()


def kept_file(folder: Path) -> Path:
    [path] = folder.glob("*.sqlite")
    return path


def test_no_damaged_byte_gets_into_an_index(scans, tmp_path):
    """Fault 53: whatever SQLite makes of a flipped bit, the table is that of a first reading."""
    kept = tmp_path / "reads"
    whole = index(scans, reads=kept)
    good = kept_file(kept).read_bytes()
    rng = random.Random(53)
    records = [good.find(part) for part in (b"notes.txt", b"one/", b"two/")]
    for place in [*(at + rng.randrange(300) for at in records for _ in range(4)), *rng.sample(range(len(good)), 12)]:
        damaged = bytearray(good)
        damaged[place] ^= 1 << rng.randrange(8)
        kept_file(kept).write_bytes(damaged)
        assert same(index(scans, reads=kept), whole), place


@pytest.mark.parametrize("content", [b"", b"not a database", bytes(range(256)) * 64])
def test_a_foreign_file_is_replaced(scans, tmp_path, opened, content):
    kept, told = tmp_path / "reads", []
    whole = index(scans, reads=kept)
    kept_file(kept).write_bytes(content)
    opened()
    assert same(index(scans, reads=kept, say=told.append), whole)
    assert len(opened()) == 9
    assert len(told) == bool(content)
    assert all("damaged" in line for line in told)
    index(scans, reads=kept)
    assert opened() == set()


def test_another_generation_reads_everything_anew(scans, tmp_path, opened, monkeypatch):
    index(scans, reads=tmp_path / "reads")
    opened()
    now, told = reads.generation(), []
    monkeypatch.setattr(reads, "generation", lambda: "another")
    index(scans, reads=tmp_path / "reads", say=told.append)
    assert len(opened()) == 9
    assert told == ["covidct or a decoder changed since the files were read: every file is read anew"]
    monkeypatch.undo()
    monkeypatch.setattr("importlib.metadata.version", lambda name: "99")
    assert reads.generation() != now


def test_where_nothing_can_be_kept_the_index_is_made_all_the_same(scans, tmp_path):
    whole, told = index(scans), []
    (tmp_path / "file").touch()
    assert same(index(scans, reads=tmp_path / "file" / "reads", say=told.append), whole)
    assert [line.split(":")[0] for line in told] == ["what is read will not be kept (NotADirectoryError)"]
    with reads.open_reads(tmp_path / "reads", scans, DicomTree.kinds):
        assert same(index(scans, reads=tmp_path / "reads", say=told.append), whole)
    assert "another index of this folder is at work" in told[-1]


def _crash(root, paths, kinds, limits):
    if any("notes" in path for path in paths):
        os._exit(1)
    return read_chunk(root, paths, kinds, limits)


def _change(root, paths, kinds, limits):
    def changing(root, path, kinds):
        with (root / path).open("ab") as stream:
            stream.write(b"more")
        return ingest(root, path, kinds)

    reading.ingest = changing
    return read_chunk(root, paths, kinds, limits)


def _unlink(root, paths, kinds, limits):
    for path in paths:
        (root / path).unlink()
    return read_chunk(root, paths, kinds, limits)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [(_crash, "the decoder crashed"), (_change, reading.CHANGED), (_unlink, reading.VANISHED)],
)
def test_what_may_be_another_time_is_not_kept(scans, tmp_path, monkeypatch, fault, reason):
    """Faults 6 and 23: a crash, a file that is being written, a file that vanishes; the others are read."""
    shutil.rmtree(scans / "two")
    monkeypatch.setattr(reading, "_CHUNK", 1)
    monkeypatch.setattr(reading, "_read_chunk", fault)
    table = index(scans, reads=tmp_path / "reads")
    assert table.refusals[reason] == (1 if fault is _crash else 5)
    with sqlite3.connect(kept_file(tmp_path / "reads")) as connection:
        [(lasting,)] = connection.execute("SELECT count(*) FROM files WHERE lasting")
    assert lasting == (4 if fault is _crash else 0)


def _unplug(root, paths, kinds, limits):
    answer = read_chunk(root, paths, kinds, limits)
    if not (gone := root.with_name("unplugged")).exists():
        root.rename(gone)
        root.mkdir()  # the mount point below the disk that is gone
    return answer


def test_a_folder_that_goes_away_makes_no_index(scans, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_CHUNK", 2)
    monkeypatch.setattr(reading, "_read_chunk", _unplug)
    with pytest.raises(Interrupted, match="went away"):
        index(scans, reads=tmp_path / "reads")


def test_records_come_back_as_they_were(scans, tmp_path):
    """With every field of a header set, and of a picture without a header."""
    [record] = ingest(scans, next(scans.rglob("*.dcm")).relative_to(scans).as_posix(), ("dicom",))
    values = {
        field.name: getattr(record.header, field.name)
        or {"str": "x", "float": 0.1 + 0.2, "int": 7}[field.type[:5].strip(" |N")]
        for field in dataclasses.fields(Header)
        if isinstance(getattr(record.header, field.name), str | float | int | None)
        and not isinstance(getattr(record.header, field.name), bool)
    }
    full = dataclasses.replace(record, header=dataclasses.replace(record.header, **values), frame=3)
    (tmp_path / "pictures").mkdir()
    write_pictures(tmp_path / "pictures", patients=1, slices=1)
    name = next((tmp_path / "pictures").iterdir()).name
    odd = Record("p", "refused", patient_id="Ä\udcff\0\"'")
    for one in ([record], [full, record], ingest(tmp_path / "pictures", name, ("png",)), [odd]):
        assert unpack(one[0].path, pack(one)) == [dataclasses.replace(r, path=one[0].path) for r in one]
    assert isinstance(full.measures, Measures)
