"""Histograms of Hounsfield units: air and water are known, so a wrong scale shows without any truth beside it."""

from __future__ import annotations

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
        "panels": site, class -> share of pixels in each of 64 bins (mean of its patients), air and tissue peak in HU;
        "alarms": sentences about sites where peaks are off; "n": slices with a histogram of Hounsfield units.
    """
    rows = material.accepted[(material.accepted["units"] == HU) & material.accepted["histogram"].notna()]
    panels, alarms = [], []
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
        alarms += _alarms(str(site), shares)
    return {"panels": panels, "alarms": alarms, "n": len(rows)}


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


def _alarms(site: str, people: Shares) -> list[str]:
    said = []
    checks = (("air", AIR_HU, -1024, -704), ("the body", TISSUE_HU, -320, 320))
    for what, (least, most), low, high in checks:
        places = [peak(one, low, high) for one in people]
        off = [place for place in places if place is None or not least <= place <= most]
        if not off:
            continue
        seen = sorted(place for place in off if place is not None)
        where = f"the highest place is at {np.median(seen):.0f} HU" if seen else "there is none"
        said.append(
            f"Site {site}: in {len(off)} of {counted(len(people), 'patient')} the peak of {what} is not between "
            f"{least} and {most} HU; {where}"
            + (" (median)" if len(seen) > 1 else "")
            + ". "
            + ("Either the field of view leaves no air around the body, or the scale is wrong." if what == "air"
               else "Look at the pictures: the scale may be wrong.")
        )  # fmt: skip
    return said
