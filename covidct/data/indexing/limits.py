"""What reading one file may cost: memory, time of the processor, time on the clock. A file that wants more is refused.

Sizes in headers are checked before anything is allocated (`covidct.ct`); these limits are for what no header tells: a
decoder that runs in circles in native code, or a stream that unpacks to a thousand times its size.
"""

from __future__ import annotations

import faulthandler
import math
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

if sys.platform != "win32":
    import resource


@dataclass(frozen=True)
class Limits:
    """Limits for one file, growing with its size: a volume of 600 slices takes what 600 files take.

    Args:
        seconds: Time of the processor for a small file. A slice takes hundredths of a second.
        seconds_per_mib: More for each MiB of the file; a compressed slice has an eighth of a MiB or more.
        memory_mib: Memory for a small file, in MiB, on top of what the process has when it begins.
        memory_per_byte: More for each byte of the file.
        patience: Time on the clock, in times of the processor's: for slow disks and busy machines.
    """

    seconds: float = 20.0
    seconds_per_mib: float = 0.5
    memory_mib: int = 2048
    memory_per_byte: float = 4.0
    patience: float = 6.0

    def cpu_seconds(self, size: int) -> float:
        """Time of the processor for a file of this many bytes."""
        return self.seconds + self.seconds_per_mib * size / 2**20

    def memory_bytes(self, size: int) -> int:
        """Memory for a file of this many bytes."""
        return round(self.memory_mib * 2**20 + self.memory_per_byte * size)

    @property
    def too_long(self) -> str:
        """The reason of a file that wants more time. Like all reasons it has no number of the file, to be countable."""
        return f"reading it takes longer than {self.seconds:g} s + {self.seconds_per_mib:g} s for each MiB"

    @property
    def too_large(self) -> str:
        """The reason of a file that wants more memory."""
        return f"reading it takes more memory than {self.memory_mib} MiB + {self.memory_per_byte:g} times its size"


@contextmanager
def limited(size: int, limits: Limits, *, may_end: bool) -> Iterator[None]:
    """Read one file within its limits.

    Too much memory raises `MemoryError` inside the block (Linux; elsewhere only the sizes in headers are checked).

    Args:
        size: The bytes of the file.
        limits: The limits.
        may_end: Whether the process may be ended when its time is up: true in a worker, which reads nothing else. Code
            in a native decoder hears no exception.
    """
    seconds = limits.cpu_seconds(size)
    with _memory(limits.memory_bytes(size)):
        if not may_end:
            yield
            return
        with _processor(seconds), Path(os.devnull).open("w") as silence:
            faulthandler.dump_traceback_later(seconds * limits.patience, exit=True, file=silence)
            try:
                yield
            finally:
                faulthandler.cancel_dump_traceback_later()


def no_core_files() -> None:
    """From here on a crash of this process leaves no picture of its memory, which holds a patient's scan, on disk."""
    if sys.platform != "win32":
        _soft(resource.RLIMIT_CORE, 0)


@contextmanager
def _memory(extra: int) -> Iterator[None]:
    if (now := _data_bytes()) is None:
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_DATA)[0]
    _soft(resource.RLIMIT_DATA, now + extra)
    try:
        yield
    finally:
        _soft(resource.RLIMIT_DATA, before)


@contextmanager
def _processor(seconds: float) -> Iterator[None]:
    if sys.platform == "win32":
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_CPU)[0]
    _soft(resource.RLIMIT_CPU, math.ceil(time.process_time() + seconds))  # whole seconds; then SIGXCPU ends it
    try:
        yield
    finally:
        _soft(resource.RLIMIT_CPU, before)


def _soft(what: int, value: int) -> None:
    """Set a soft limit, as far as the hard one allows: the process can lift it again."""
    hard = resource.getrlimit(what)[1]
    if value != resource.RLIM_INFINITY and hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    with suppress(OSError, ValueError):
        resource.setrlimit(what, (value, hard))


def _data_bytes() -> int | None:
    """Private memory of this process (what RLIMIT_DATA counts since Linux 4.7), or None where it is not known."""
    try:
        found = re.search(r"VmData:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None
