"""Pictures of near-duplicates for a person to look at. They show patients and stay beside the data."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from covidct.ct.read import read_slice
from covidct.ct.window import GRAY8, apply, parse_windows
from covidct.data.audit.twins import Twin, Twins
from covidct.errors import CovidctError

MOST = 24
_SIDE = 256


def specimens(root: Path, twins: Twins) -> list[dict[str, Any]]:
    """The most alike pair of each two patients, as pictures.

    Returns:
        Plain values: "patients", "labels", "sites", "likeness", "same", "png" (two PNG files as bytes).
    """
    found: list[dict[str, Any]] = []
    seen: set[frozenset[str]] = set()
    for twin in twins.pairs:
        rows = [twins.frame.iloc[row] for row in (twin.one, twin.other)]
        people = frozenset(str(row["patient_key"]) for row in rows)
        if people in seen or len(found) == MOST:
            continue
        seen.add(people)
        try:
            png = [_png(root / str(row["path"]), int(row["frame"])) for row in rows]
        except CovidctError:
            continue
        found.append(_about(twin, rows) | {"png": png})
    return found


def _about(twin: Twin, rows: list[Any]) -> dict[str, Any]:
    return {
        "patients": [str(row["patient_key"]) for row in rows],
        "labels": [row["label"] if isinstance(row["label"], str) else "–" for row in rows],
        "sites": [str(row["site"]) for row in rows],
        "likeness": twin.likeness,
        "same": twin.is_same,
    }


def _png(path: Path, frame: int) -> bytes:
    picture = read_slice(path, frame)
    window = None if picture.units == GRAY8 else parse_windows("lung")[0]
    grey: npt.NDArray[np.uint8] = np.round(apply(picture.pixels, window, units=picture.units) * 255).astype(np.uint8)
    image = Image.fromarray(grey)
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, "png")
    return stream.getvalue()
