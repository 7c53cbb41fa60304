"""Which slices are shown: few, evenly over patients and along the body, and the same for the same index."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from covidct.evaluation.index_report.material import IndexMaterial
from covidct.evaluation.wording import counted, display

Picture = npt.NDArray[np.uint8]
Look = Callable[[Sequence[tuple[str, int]]], Sequence[Picture | None]]
"""Gives for each (path, frame) a small grey picture, or None where the file cannot be shown."""

SHOWN = 8
_REASONS = 14


@dataclass(frozen=True)
class _Strip:
    """A row of pictures that is planned."""

    group: str
    title: str
    note: str
    rows: pd.DataFrame
    caption: Callable[[Any], str]
    of: int = 0


def montages(material: IndexMaterial, lungs: dict[str, Any] | None, look: Look) -> dict[str, list[dict[str, Any]]]:
    """Rows of pictures.

    Args:
        material: The index.
        lungs: Of `lungs.lungs`.
        look: Shows slices; asked once for all.

    Returns:
        "classes", "reasons", "threshold": each a list of {"title", "note", "tiles": [{"data", "alt", "caption"}]}.
    """
    strips = [*_of_classes(material), *_of_reasons(material), *_of_threshold(lungs)]
    wanted = [(str(row.path), int(row.frame)) for strip in strips for row in strip.rows.itertuples()]
    seen = iter(look(wanted))
    found: dict[str, list[dict[str, Any]]] = {"classes": [], "reasons": [], "threshold": []}
    for strip in strips:
        tiles = [
            {"data": _embedded(picture), "alt": f"{strip.title}: {strip.caption(row)}", "caption": strip.caption(row)}
            for row in strip.rows.itertuples()
            if (picture := next(seen)) is not None
        ]
        note = strip.note if strip.group != "reasons" else _of_reason(strip.of, len(strip.rows), len(tiles))
        found[strip.group].append({"title": strip.title, "note": note, "tiles": tiles})
    return found


def _of_classes(material: IndexMaterial) -> Iterator[_Strip]:
    for name in material.classes:
        rows = material.accepted[material.accepted["label"] == name]
        yield _Strip("classes", display(name), counted(len(rows), "slice"), _over_patients(rows), _site)


def _of_reasons(material: IndexMaterial) -> Iterator[_Strip]:
    groups = [(str(reason), rows) for reason, rows in material.refused.groupby("reason", sort=True)]
    for reason, rows in sorted(groups, key=lambda group: -len(group[1]))[:_REASONS]:
        yield _Strip("reasons", reason, "", _evenly(rows, SHOWN), _site, len(rows))


def _of_threshold(lungs: dict[str, Any] | None) -> Iterator[_Strip]:
    if lungs is not None and lungs["threshold_cm2"]:
        for name, words in (("below", "Refused: just below"), ("above", "Accepted: just above")):
            yield _Strip("threshold", f"{words} {lungs['threshold_cm2']:g} cm²", "", lungs[name], _area)


def _of_reason(count: int, tried: int, decoded: int) -> str:
    if decoded == tried:
        return f"{count:,}"
    if decoded:
        return f"{count:,}; {tried - decoded} of {tried} tried cannot be shown"
    return f"{count:,}; no picture can be made" + (f" of {tried} tried" if tried < count else "")


def _over_patients(rows: pd.DataFrame) -> pd.DataFrame:
    """A slice of each of several patients, at rising heights of their scans, so that a row shows a whole chest."""
    groups = [group for _, group in rows.groupby(["site", "patient_key"], sort=True)]
    if not groups:
        return rows
    picks = []
    for number in range(SHOWN):
        group = groups[number * len(groups) // SHOWN]
        picks.append(group.iloc[int((number + 0.5) / SHOWN * len(group))].name)
    return rows.loc[list(dict.fromkeys(picks))]


def _evenly(rows: pd.DataFrame, count: int) -> pd.DataFrame:
    return rows if len(rows) <= count else rows.iloc[np.arange(count) * len(rows) // count]


def _site(row: Any) -> str:
    return row.site if isinstance(row.site, str) else "–"


def _area(row: Any) -> str:
    return f"{row.cm2:.1f} cm²"


def _embedded(picture: Picture) -> str:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format="JPEG", quality=84, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
