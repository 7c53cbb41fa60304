"""What `ingest` must do with any bytes: accept or refuse with one of a fixed set of reasons, soon, in little memory.

The invariant of faults.md D.5. Each case is read in a process of the index's own pool, because a native decoder may end
the process that calls it; that is an answer too (the index says "the decoder crashed"), but only of a compressed file.
"""

from __future__ import annotations

import ast
import math
import re
import resource
import time
from collections import Counter
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import covidct.ct
from covidct.ct.ingest import Record, ingest
from covidct.data.indexing import limits, reading
from tests.hostile.scans import PLANTED

KINDS = ("dicom", "nifti", "png", "jpeg")
SECONDS, MIB = 2.0, 512
CRASHED = "the decoder crashed"


@lru_cache(maxsize=1)
def reasons() -> re.Pattern[str]:
    """What `covidct.ct` can say, from its source: each text that is raised, with gaps where a word is filled in."""
    texts = {CRASHED, re.escape(limits.Limits().too_long), re.escape(limits.Limits().too_large)}
    for path in [*Path(covidct.ct.__path__[0]).glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "DataRefused" and node.args:
                texts.add(_pattern(node.args[0]))
    texts.discard(".{0,200}")
    return re.compile("|".join(f"(?:{text})" for text in sorted(texts)), re.DOTALL)


def _pattern(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return re.escape(str(node.value))
    if isinstance(node, ast.JoinedStr):
        return "".join(
            re.escape(p.value) if isinstance(p, ast.Constant) else r"[\w .,:;()\[\]/&-]{0,160}" for p in node.values
        )
    return ".{0,200}"


def probe(folder: Path, name: str) -> tuple[list[Record], float, float]:
    """Read a file; its records, seconds of the processor and MiB at the peak."""
    resource.setrlimit(resource.RLIMIT_CPU, (resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_CPU)[1]))
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, start = _mib("VmRSS"), time.process_time()
    with limits.limited((folder / name).stat().st_size, limits.Limits(), may_end=True):
        records = ingest(folder, name, KINDS)
    return records, time.process_time() - start, _mib("VmHWM") - before


def _mib(what: str) -> float:
    try:
        return int(re.search(rf"{what}:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024  # type: ignore[index]
    except (OSError, TypeError):
        return 0.0


@dataclass
class ScanFuzzer:
    """Feeds scans to a reading process and counts what it says.

    Attributes:
        outcomes: Reason, or "accepted" -> files.
        seconds: The most that a file took.
        mib: The most memory that a file took.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    mib: float = 0.0
    _pool: Any = None

    def check(self, folder: Path, content: bytes) -> None:
        """Feed one case; AssertionError where the invariant is broken."""
        (folder / "case.dcm").write_bytes(content)
        records, seconds, mib = self._read(folder, "case.dcm")
        self.seconds, self.mib = max(self.seconds, seconds), max(self.mib, mib)
        self.outcomes.update({record.reason or "accepted" for record in records})
        assert records, "a file without a record"
        for record in records:
            judge(record)
        if any(record.reason == CRASHED for record in records):
            assert b"1.2.840.10008.1.2.4." in content, "a crash without a native decoder"
        assert seconds < SECONDS, f"{seconds:.1f} s"
        assert mib < MIB, f"{mib:.0f} MiB"

    def close(self) -> None:
        """End the process."""
        if self._pool is not None:
            self._pool.shutdown()

    def _read(self, folder: Path, name: str) -> tuple[list[Record], float, float]:
        if self._pool is None:
            self._pool = reading.clean_processes(1)
        try:
            return self._pool.submit(probe, folder, name).result()  # type: ignore[no-any-return]
        except BrokenProcessPool:
            self._pool = None
            return [Record(name, CRASHED)], 0.0, 0.0


def judge(record: Record) -> None:
    """Accepted with all that an index needs, or refused with a reason from the set that repeats no header."""
    if record.reason:
        assert reasons().fullmatch(record.reason), f"no reason of ours: {record.reason!r}"
        assert not record.reason.startswith("cannot be read"), f"not foreseen: {record.reason!r}"
        assert not any(word in record.reason for word in PLANTED), f"repeats the header: {record.reason!r}"
        assert record.pixel_hash is None
        return
    assert record.pixel_hash
    assert record.measures is not None
    assert 0 < record.rows <= 4096
    assert 0 < record.cols <= 4096
    assert 0 <= sum(record.measures.histogram) <= record.rows * record.cols
    assert (record.units == "HU") == (record.header is not None)
    if record.header is not None:
        header = record.header
        assert all(map(math.isfinite, (*header.row, *header.col, *header.position, header.row_mm, header.col_mm)))
        assert header.series_uid
        assert len(header.patient_id) <= 128
