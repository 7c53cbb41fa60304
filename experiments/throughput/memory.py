"""Time and peak memory of a piece of work in this process (Linux; elsewhere the memory is not known)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_STATUS = Path("/proc/self/status")
_PERIOD_SECONDS = 0.02


@dataclass
class Cost:
    """What a piece of work took.

    Attributes:
        seconds: Wall time.
        cpu_seconds: Processor time of this process and its threads: the steadier figure on a busy machine.
        private_mib: Peak of the memory that is this process's own (RssAnon); NaN where the system does not say.
        mapped_mib: Peak of resident pages of mapped files. The kernel takes them back when it needs them, so they may
            grow with a store without harm.
    """

    seconds: float = float("nan")
    cpu_seconds: float = float("nan")
    private_mib: float = float("nan")
    mapped_mib: float = float("nan")


@contextmanager
def measured() -> Iterator[Cost]:
    """Time the body and sample its memory; the result is filled in when the body ends."""
    cost, over = Cost(), threading.Event()
    peaks = {"RssAnon": float("nan"), "RssFile": float("nan")}

    def sample() -> None:
        while True:
            for name, mib in _resident().items():
                peaks[name] = mib if peaks[name] != peaks[name] else max(peaks[name], mib)
            if over.wait(_PERIOD_SECONDS):
                return

    watcher = threading.Thread(target=sample, daemon=True)
    watcher.start()
    began, began_cpu = time.perf_counter(), time.process_time()
    try:
        yield cost
    finally:
        cost.seconds, cost.cpu_seconds = time.perf_counter() - began, time.process_time() - began_cpu
        over.set()
        watcher.join()
        cost.private_mib, cost.mapped_mib = peaks["RssAnon"], peaks["RssFile"]


def _resident() -> dict[str, float]:
    try:
        lines = _STATUS.read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return {name: int(fields[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile") if name in fields}
