"""One attribution map in numbers: its share in each region, and whether its peak hits the lesion.

A share is compared with two that need no network: the region's share of the picture (attribution spread evenly) and
that of a blob in the middle of the picture (attribution that always sits where chests are).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity

Map = NDArray[np.floating]
Mask = NDArray[np.bool_]

BORDER = 0.1
"""Width of the border along each edge, as a share of the picture's side."""

BLOB_SIGMA = 0.2
"""Standard deviation of the blob in the middle, as a share of the picture's side."""

REGIONS = {
    "lung": "inside the lungs",
    "outside_body": "outside the body",
    "border": "within a tenth of the side from an edge",
    "lesion": "inside the lesions",
}
"""Region -> words. `lesion` counts only slices that show one."""


def border_mask(size: int) -> Mask:
    """[size, size] True in the outer tenth along each edge."""
    width = max(1, round(BORDER * size))
    mask = np.ones((size, size), bool)
    mask[width:-width, width:-width] = False
    return mask


@cache
def centred_blob(size: int) -> NDArray[np.float64]:
    """[size, size] a Gaussian in the middle of the picture."""
    axis = (np.arange(size) - (size - 1) / 2) / (BLOB_SIGMA * size)
    blob: NDArray[np.float64] = np.exp(-0.5 * (axis[:, None] ** 2 + axis[None] ** 2))
    blob.setflags(write=False)
    return blob


def share(attribution: Map, mask: Mask) -> float | None:
    """Part of the attribution that lies in a mask, 0..1; None for a map that is 0 everywhere or not finite.

    Args:
        attribution: [rows, cols], >= 0.
        mask: [rows, cols].
    """
    total = float(attribution.sum(dtype=np.float64))
    if not np.isfinite(total) or total <= 0:
        return None
    return float(attribution[mask].sum(dtype=np.float64)) / total


def hits(attribution: Map, mask: Mask) -> bool | None:
    """The pointing game without tolerance (Zhang et al. 2018, doi 10.1007/s11263-017-1059-x): is the peak in the mask?

    None for a map without a peak. Of several equal peaks the first in reading order counts.
    """
    if share(attribution, mask) is None or float(np.ptp(attribution)) == 0:
        return None
    return bool(mask.flat[int(attribution.argmax())])


def scores(attribution: Map, regions: Mapping[str, Mask | None]) -> dict[str, float | bool | None]:
    """All that is counted of one map.

    Args:
        attribution: [size, size], >= 0.
        regions: Region -> [size, size]; None where the region does not exist or cannot be known in this slice.

    Returns:
        `<region>_map`, `<region>_area`, `<region>_blob` (shares 0..1) for each region, None where undefined; for the
        lesion also `lesion_hit` and `lesion_hit_blob`.
    """
    blob = centred_blob(attribution.shape[0])
    found: dict[str, float | bool | None] = {}
    for name, mask in regions.items():
        found[f"{name}_map"] = None if mask is None else share(attribution, mask)
        # all three over the same slices: a slice whose map is empty has no part in the comparison
        seen = mask if found[f"{name}_map"] is not None else None
        found[f"{name}_area"] = None if seen is None else float(seen.mean())
        found[f"{name}_blob"] = None if seen is None else share(blob, seen)
        if name == "lesion":
            found["lesion_hit"] = None if seen is None else hits(attribution, seen)
            found["lesion_hit_blob"] = None if found["lesion_hit"] is None or seen is None else hits(blob, seen)
    return found


def rank_correlation(one: Map, other: Map) -> float | None:
    """Spearman's rank correlation of two maps, cell by cell; None where one of them is the same everywhere."""
    if not (np.isfinite(one).all() and np.isfinite(other).all()) or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(spearmanr(one.ravel(), other.ravel()).statistic)


def similarity(one: Map, other: Map) -> float | None:
    """Structural similarity (SSIM) of two maps, each scaled to a largest value of 1; None where one is 0 or not finite.

    Args:
        one: [rows, cols], >= 0, at least 7 x 7.
        other: The same shape.
    """
    scaled = []
    for each in (one, other):
        top = float(each.max())
        if not np.isfinite(top) or top <= 0:
            return None
        scaled.append(each.astype(np.float64) / top)
    return float(structural_similarity(*scaled, data_range=1.0))
