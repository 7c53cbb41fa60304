"""Pictures of slices and of refused files, made in other processes: a file that was refused may break its decoder."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import numpy.typing as npt

from covidct.ct.glimpse import glimpse
from covidct.data.indexing.limits import Limits, limited
from covidct.data.indexing.reading import clean_processes

_LIMITS = Limits()


def look(root: Path, wanted: Sequence[tuple[str, int]]) -> list[npt.NDArray[np.uint8] | None]:
    """Show slices.

    Args:
        root: The data folder.
        wanted: Path in it and frame of each.

    Returns:
        A grey picture for each; None where the file holds none, or its decoder broke or took too long.
    """
    found: list[npt.NDArray[np.uint8] | None] = []
    while len(found) < len(wanted):
        with clean_processes(1) as pool:
            for path, frame in wanted[len(found) :]:
                try:
                    found.append(pool.submit(_look, root.absolute() / path, frame).result())
                except BrokenProcessPool:
                    found.append(None)
                    break
    return found


def _look(path: Path, frame: int) -> npt.NDArray[np.uint8] | None:
    try:
        with limited(path.stat().st_size, _LIMITS, may_end=True):
            return glimpse(path, frame)
    except Exception:  # a foreign file decoded without any promise: whatever it does, there is no picture
        return None
