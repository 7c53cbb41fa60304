"""How right is the lung area that the index measures? See README.md.

python -m experiments.lung_area.area [COVID-CT-MD folder] --output experiments/lung_area
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covidct.ct.lungs import lung_mask
from covidct.ct.measures import measure
from covidct.ct.phantom import DEFAULT_SCANNERS
from covidct.ct.phantom.patient import Patient
from covidct.ct.phantom.section import cut
from covidct.ct.read import Slice, read_slice
from covidct.labels import FU2020

SIZE, SLICES, PATIENTS = 512, 16, 2
LEAST_CM2 = (40, 60, 100)


def areas(picture: Slice) -> dict[str, float]:
    """Lung area in cm2 as the index measures it and at full size, and the seconds of each."""
    assert picture.row_mm is not None
    assert picture.col_mm is not None
    began = time.process_time()
    reduced = measure(picture).lung_mm2
    middle = time.process_time()
    pixels = picture.pixels.astype(np.int16, copy=False)
    full = lung_mask(pixels, (picture.row_mm, picture.col_mm)).sum() * picture.row_mm * picture.col_mm
    return {
        "index_cm2": (reduced or 0) / 100,
        "full_cm2": float(full) / 100,
        "index_s": middle - began,
        "full_s": time.process_time() - middle,
    }


def phantom() -> Iterator[dict[str, Any]]:
    """Slices of phantoms of each class in each scanner, with the area that was drawn."""
    for scanner in DEFAULT_SCANNERS:
        for label in FU2020:
            for number in range(PATIENTS):
                one = Patient(np.random.SeedSequence([5, number]), label, scanner, SIZE, SLICES, 0.3, 0.6)
                pixel = one.grid.pixel_mm
                for level in range(SLICES):
                    seen = one.slice(level)
                    drawn = cut(one.chest, seen.depth_mm, scanner.thickness_mm, one.disease)
                    true = float((drawn.lung > 0.5).sum()) * pixel**2 / 100
                    lesion = float(seen.lesion.sum()) * pixel**2 / 100
                    yield {"data": "phantom", "class": label, "true_cm2": true, "lesion_cm2": lesion,
                           **areas(Slice(seen.hu, "HU", pixel, pixel))}  # fmt: skip


def real(root: Path) -> Iterator[dict[str, Any]]:
    """Slices of COVID-CT-MD."""
    for path in sorted(root.glob("*/*/*.dcm")):
        yield {"data": "COVID-CT-MD", "class": path.parts[-3].split()[0].lower(), **areas(read_slice(path))}


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """Differences in cm2 and calls that flip, by data and class."""
    rows = []
    for (data, label), group in [*found.groupby(["data", "class"], sort=True),
                                 *(((d, "all"), g) for d, g in found.groupby("data"))]:  # fmt: skip
        for what in ("full_cm2", "true_cm2"):
            if group[what].isna().all():
                continue
            off = group["index_cm2"] - group[what]
            flips = {f"flips_{t}": int(((group["index_cm2"] >= t) != (group[what] >= t)).sum()) for t in LEAST_CM2}
            rows.append({
                "data": data, "class": label, "against": what.removesuffix("_cm2"), "slices": len(group),
                "mean_cm2": off.mean(), "median_abs_cm2": off.abs().median(), "p95_abs_cm2": off.abs().quantile(0.95),
                "worst_cm2": off.loc[off.abs().idxmax()], **flips,
            })  # fmt: skip
    return pd.DataFrame(rows).round(2)


def main() -> None:
    """Measure, print and write `areas.csv`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", nargs="?", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    found = pd.DataFrame([*phantom(), *(real(given.root) if given.root else ())])
    table = summary(found)
    table.to_csv(given.output / "areas.csv", index=False)
    print(table.to_string(index=False))
    print(found.groupby("data")[["index_s", "full_s"]].median().mul(1000).round(1).to_string())


if __name__ == "__main__":
    main()
