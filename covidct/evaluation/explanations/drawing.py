"""Pictures of explanations: a slice, its attribution over it, and where lungs and lesions are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_erosion

from covidct.errors import UsageError
from covidct.evaluation.explanations.attribution import REGIONS
from covidct.evaluation.figures_style import INK, MUTED, styled
from covidct.files import replacing

FOLDER = "explanations"
"""Below `figures/`: pictures of scans, which stay out of trackers."""

SIDE = 256
LUNG_RGB, LESION_RGB = (86, 180, 233), (255, 255, 255)
"""Outlines: lungs sky blue, lesions white."""
STRONGEST = 0.75
"""Opacity of the map at its peak; a map of 0 leaves the slice as it is."""

KINDS = {"map": ("attribution", "#D55E00", "o"), "area": ("area", MUTED, "|"), "blob": ("blob in the middle", INK, "D")}

Case = tuple[Mapping[str, Any], NDArray[np.floating], NDArray[np.floating], Mapping[str, NDArray[np.bool_] | None]]
"""Caption; slice [size, size] in 0..1; map [size, size] >= 0; region -> mask [size, size] or None."""


def overlay(
    grey: NDArray[np.floating], attribution: NDArray[np.floating], regions: Mapping[str, NDArray[np.bool_] | None]
) -> NDArray[np.uint8]:
    """A slice beside the same slice under its map, [side, 2 * side, 3]; side is 256 or the slice's own if larger.

    Args:
        grey: [size, size] in 0..1.
        attribution: [size, size] >= 0; drawn relative to its peak.
        regions: Outlines of `lung` and `lesion` are drawn where known.
    """
    if grey.ndim != 2 or grey.shape != attribution.shape or not 0 <= float(grey.min()) <= float(grey.max()) <= 1:
        raise UsageError(f"a slice to draw is square with values in 0..1, and its map as large; shape {grey.shape}")
    from matplotlib import colormaps

    side = max(SIDE, grey.shape[0])
    slice_ = _resized(grey, side)
    top = float(attribution.max())
    heat = np.clip(_resized(attribution / top if top > 0 else attribution, side), 0, 1)
    colour = colormaps["inferno"](heat)[..., :3]
    opacity = STRONGEST * np.sqrt(heat)[..., None]
    right = (1 - opacity) * slice_[..., None] + opacity * colour
    picture = np.concatenate([np.repeat(slice_[..., None], 3, axis=2), right], axis=1)
    pixels = np.round(255 * np.clip(picture, 0, 1)).astype(np.uint8)
    for name, rgb in (("lung", LUNG_RGB), ("lesion", LESION_RGB)):
        mask = regions.get(name)
        if mask is not None:
            large = _resized(mask.astype(np.float32), side) >= 0.5
            pixels[:, side:][large & ~binary_erosion(large)] = rgb
    return pixels


def _resized(values: NDArray[np.floating], side: int) -> NDArray[np.float32]:
    image = Image.fromarray(values.astype(np.float32))
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR))


def save_cases(run_folder: Path, cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Write `figures/explanations/<group>-<n>.png`; pictures of an earlier run of the verb are removed.

    Returns:
        The captions, each with its `file`.
    """
    folder = Path(run_folder) / "figures" / FOLDER
    for stale in folder.glob("*.png"):
        stale.unlink()
    captions: list[dict[str, Any]] = []
    for caption, grey, attribution, regions in cases:
        number = 1 + sum(one["group"] == caption["group"] for one in captions)
        path = folder / f"{caption['group']}-{number}.png"
        with replacing(path) as temporary:
            Image.fromarray(overlay(grey, attribution, regions)).save(temporary, format="PNG", optimize=True)
        captions.append({**caption, "file": path.name})
    return captions


def share_points(record: Mapping[str, Any]) -> pd.DataFrame:
    """The shares of explanations.json as a long table: region, kind, value, low, high, n_slices, n_patients."""
    rows = []
    for region, found in record["regions"].items():
        if found is None:
            continue
        for kind, key in (("map", "attribution"), ("area", "area"), ("blob", "blob")):
            one = found[key]
            rows.append((region, kind, one["value"], one["low"], one["high"], found["n_slices"], found["n_patients"]))
    names = ["region", "kind", "value", "low", "high", "n_slices", "n_patients"]
    return pd.DataFrame(rows, columns=names).astype({"value": float, "low": float, "high": float})


@styled
def draw_shares(points: pd.DataFrame) -> Figure:
    """Where the attribution lies, beside area and blob: one line per region, in percent.

    Args:
        points: From `share_points`.
    """
    regions = [name for name in REGIONS if name in set(points["region"])]
    figure = Figure(figsize=(6.4, 0.9 + 0.72 * len(regions)), layout="constrained")
    axis = figure.subplots()
    for place, region in enumerate(regions):
        for shift, (kind, (words, colour, marker)) in zip((-0.22, 0.0, 0.22), KINDS.items(), strict=True):
            [one] = points[(points["region"] == region) & (points["kind"] == kind)].itertuples()
            y = place + shift
            if np.isfinite(one.low):
                axis.plot([100 * one.low, 100 * one.high], [y, y], color=colour, linewidth=1.6, solid_capstyle="butt")
            axis.plot(100 * one.value, y, marker=marker, color=colour, markersize=6, markeredgewidth=1.8)
            edge = 100 * (one.high if np.isfinite(one.high) else one.value)
            axis.annotate(words, (edge, y), (7, 0), textcoords="offset points", va="center", fontsize=7, color=colour)
    axis.set_yticks(range(len(regions)), [REGIONS[name] for name in regions])
    axis.set_ylim(len(regions) - 0.5, -0.5)
    axis.set_xlim(0, 100)
    axis.set_xlabel("share of the picture's attribution (or area), %")
    axis.grid(axis="x")
    axis.tick_params(axis="y", length=0)
    return figure
