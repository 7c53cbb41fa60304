"""Kept rows: whatever was killed, torn or flipped is not there, and never wrong."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
import time

import numpy as np
import pytest

from covidct.data import store as module
from covidct.data.store import RowStore
from covidct.errors import IntegrityError, ResourceError

ROW = np.arange(12, dtype=np.int16).reshape(3, 4)


def on_disk(folder, count=5):
    return RowStore(folder / "store", count, (3, 4), np.int16, {"why": "test"})


@pytest.mark.parametrize("where", ["disk", "memory"])
def test_a_row_is_there_once_it_was_put(tmp_path, where):
    store = on_disk(tmp_path) if where == "disk" else RowStore(None, 5, (3, 4), np.int16)
    assert store.get(2) is None
    assert store.missing([4, 2, 2]).tolist() == [2, 4]
    store.put(2, ROW)
    np.testing.assert_array_equal(store.get(2), ROW)
    assert store.missing([0, 2]).tolist() == [0]
    assert store.n_empty == 4


def test_another_process_finds_it(tmp_path):
    on_disk(tmp_path).put(3, ROW)
    np.testing.assert_array_equal(on_disk(tmp_path).get(3), ROW)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(on_disk(tmp_path))).get(3), ROW)
    in_memory = RowStore(None, 5, (3, 4), np.int16)
    in_memory.put(3, ROW)
    assert pickle.loads(pickle.dumps(in_memory)).get(3) is None  # a spawned worker starts with an empty one


def test_a_flipped_byte_makes_a_row_missing(tmp_path):
    store = on_disk(tmp_path)
    for row in range(5):
        store.put(row, ROW + row)
    del store
    with (tmp_path / "store" / "rows.bin").open("r+b") as file:
        file.seek(3 * ROW.nbytes + 5)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 4]))
    again = on_disk(tmp_path)
    assert again.missing(range(5)).tolist() == [3]
    again.put(3, ROW + 3)
    np.testing.assert_array_equal(on_disk(tmp_path).get(3), ROW + 3)


def test_a_half_written_row_in_memory_is_not_used():
    """Another worker may be writing at this moment, so memory is verified at every reading."""
    store = RowStore(None, 3, (3, 4), np.int16)
    store.put(1, ROW)
    assert store.get(1) is not None
    store.array[1, 0, 0] = 99
    assert store.get(1) is None


def test_a_file_takes_no_space_before_it_is_filled(tmp_path):
    store = RowStore(tmp_path / "store", 1000, (256, 256), np.int16)
    used = sum(file.stat().st_blocks * 512 for file in (tmp_path / "store").iterdir())
    assert used < 1 << 20 < 1000 * store.row_bytes


def test_a_full_disk_is_said_and_does_not_kill(tmp_path, monkeypatch):
    store = on_disk(tmp_path)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.os, "posix_fallocate", full)
    with pytest.raises(ResourceError, match="full"):
        store.put(0, ROW)
    assert on_disk(tmp_path).get(0) is None
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: module.shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(ResourceError, match=r"5 rows .* the disk has"):
        store.require_space(5, "free some")


def test_more_memory_than_the_machine_has_is_refused():
    with pytest.raises(ResourceError, match="this machine has"):
        RowStore(None, 10**9, (512, 512), np.int16)


def test_a_store_of_another_shape_is_refused(tmp_path):
    on_disk(tmp_path)
    with pytest.raises(IntegrityError, match="count"):
        on_disk(tmp_path, count=6)


BUILDER = """
import sys, time
from pathlib import Path
import numpy as np
from covidct.data.store import RowStore
store = RowStore(Path(sys.argv[1]), 5, (3, 4), np.int16)
with store.building(lambda: print("waits", flush=True)):
    store.put(int(sys.argv[2]), np.full((3, 4), 7))
    print("builds", flush=True)
    time.sleep(60)
"""


def builder(folder, row):
    return subprocess.Popen([sys.executable, "-c", BUILDER, str(folder), str(row)], stdout=subprocess.PIPE, text=True)


def test_a_second_builder_waits_and_a_killed_one_lets_it_in(tmp_path):
    folder = tmp_path / "store"
    first = builder(folder, row=0)
    assert first.stdout.readline() == "builds\n"
    second = builder(folder, row=1)  # not the same row: the kill below could tear it while it is written over
    assert second.stdout.readline() == "waits\n"
    time.sleep(0.2)
    assert second.poll() is None
    first.kill()
    assert second.stdout.readline() == "builds\n"
    second.kill()
    first.wait(), second.wait()
    assert RowStore(folder, 5, (3, 4), np.int16).get(0) is not None  # what the killed one had made
