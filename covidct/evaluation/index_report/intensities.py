"""Histograms of Hounsfield units: air and water are known, so a wrong scale shows without any truth beside it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from covidct.ct.measures import BIN_HU, BINS
from covidct.ct.window import HU
from covidct.evaluation.index_report.material import IndexMaterial
from covidct.evaluation.wording import counted

Shares = npt.NDArray[np.float64]

EDGES_HU = -1024 + BIN_HU * np.arange(BINS + 1)

AIR_HU = (-1024, -960)
"""Where the peak of air around a patient belongs: air is -1000 HU, scanners cut at -1024."""

TISSUE_HU = (-160, 128)
"""Where the peak of the body belongs: fat is -120 to -80, water 0, muscle 40 to 60."""

_LEAST_AIR = 0.01
"""Share of pixels that must be near the peak of air to call it one; less may be lung."""


def intensities(material: IndexMaterial) -> dict[str, Any]:
    """Histograms by site and class.

    Returns:
        "panels": site, class -> share of pixels in each bin (mean of its patients), air and tissue peak in HU;
        "alarms": sentences about sites where the scale is doubtful; "notes": where only air is not seen; "n": slices
        with a histogram of Hounsfield units.
    """
    rows = material.accepted[(material.accepted["units"] == HU) & material.accepted["histogram"].notna()]
    panels: list[dict[str, Any]] = []
    alarms: list[str] = []
    notes: list[str] = []
    for site, group in rows.groupby("site", sort=True):
        people = _by_patient(group)
        shares = np.stack(people["shares"].to_list())
        labels = people["label"].to_numpy()
        curves = {name: shares[labels == name].mean(axis=0) for name in material.classes if (labels == name).any()}
        whole = shares.mean(axis=0)
        panels.append({
            "site": str(site), "curves": curves, "patients": len(people), "air_hu": peak(whole, -1024, -704),
            "tissue_hu": peak(whole, -320, 320),
        })  # fmt: skip
        found = _remarks(str(site), shares)
        alarms += found[0]
        notes += found[1]
    return {"panels": panels, "alarms": alarms, "notes": notes, "n": len(rows)}


def peak(shares: Shares, low: int, high: int) -> float | None:
    """The highest place of a histogram between two Hounsfield values.

    Args:
        shares: Share of pixels per bin.
        low: Where to begin, HU.
        high: Where to end, HU.

    Returns:
        Middle of the highest bin, moved towards the heavier neighbour (by the mean of the three), HU; None where fewer
        than a hundredth of the pixels are in those three.
    """
    first, last = (low + 1024) // BIN_HU, (high + 1024) // BIN_HU
    top = first + int(np.argmax(shares[first:last]))
    near = np.arange(max(top - 1, 0), min(top + 2, BINS))
    weights = shares[near]
    if weights.sum() < _LEAST_AIR:
        return None
    return float(np.average(EDGES_HU[near] + BIN_HU / 2, weights=weights))


def _by_patient(rows: pd.DataFrame) -> pd.DataFrame:
    """One histogram for each patient, of all slices; every patient counts alike."""
    found = []
    for _, group in rows.groupby(["site", "patient_key"], sort=True):
        total = np.zeros(BINS)
        for counts in group["histogram"]:
            total += counts
        found.append({"label": group["label"].iloc[0], "shares": total / max(total.sum(), 1)})
    return pd.DataFrame(found)


def _remarks(site: str, people: Shares) -> tuple[list[str], list[str]]:
    """Alarms, and what is odd but explained: how many patients of a site have a peak of air or body off its place."""
    air = [peak(one, -1024, -704) for one in people]
    body = [peak(one, -320, 320) for one in people]
    air_off = np.array([_off(place, AIR_HU) for place in air], bool)
    body_off = np.array([_off(place, TISSUE_HU) for place in body], bool)
    alarms, notes = [], []
    if body_off.any():
        both = " Air is off too: the scale is wrong." if (air_off >= body_off).all() else ""
        alarms.append(_sentence(site, "the body", TISSUE_HU, body, body_off) + (both or " Look at their pictures."))
    if (air_off & ~body_off).any():
        notes.append(
            _sentence(site, "air", AIR_HU, air, air_off & ~body_off) + " The body is where it belongs, so probably no "
            "air is left around it: a small field of view, or a background that somebody cut out."
        )
    return alarms, notes


def _off(place: float | None, where: tuple[int, int]) -> bool:
    return place is None or not where[0] <= place <= where[1]


def _sentence(
    site: str, what: str, where: tuple[int, int], places: list[float | None], off: npt.NDArray[np.bool_]
) -> str:
    seen = [place for place, is_off in zip(places, off, strict=True) if is_off and place is not None]
    text = (
        f"{site}: the peak of {what} is not between {where[0]} and {where[1]} HU in {off.sum()} of "
        f"{counted(len(off), 'patient')}"
        + (f"; it is at {np.median(seen):.0f} HU" + (" (median)." if len(seen) > 1 else ".") if seen else ": none.")
    )
    return re.sub(r"-(?=\d)", "−", text)
