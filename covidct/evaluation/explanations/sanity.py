"""Does an explanation depend on what the network learnt? Its map against that of a network of shuffled weights.

Adebayo et al. 2018 (arXiv:1810.03292): weights are made random from the output backwards, and the map of the same
slice and class must lose its likeness to the first. One that stays describes the picture, not the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from covidct.evaluation.explanations.attribution import rank_correlation, similarity
from covidct.evaluation.explanations.estimates import mean_value, patients_of

UNCHANGED = 0.5
"""Mean rank correlation from which on maps count as unchanged."""

STAGES = {
    "classifier": "the classifier",
    "last_stage": "the classifier and the last stage",
    "all": "the whole network",
}
"""What is made random, one after the other; the last one decides."""


def compared(
    original: tuple[np.ndarray, np.ndarray], randomised: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]]
) -> pd.DataFrame:
    """Likeness of maps before and after, one row per slice, stage and draw.

    Args:
        original: Maps as cells [n, h, w] and as pictures [n, size, size].
        randomised: Stage -> the same pair for each draw of random weights.

    Returns:
        Columns slice (0..n-1), stage, draw, rank_correlation, ssim (NaN where undefined). The stage "other slice"
        compares each slice's map with that of the next slice, the network unchanged.
    """
    cells, pictures = original
    n = len(cells)
    rows: list[tuple[int, str, int, float | None, float | None]] = []
    if n > 1:
        for k in range(n):
            other = (k + 1) % n
            pair = rank_correlation(cells[k], cells[other]), similarity(pictures[k], pictures[other])
            rows.append((k, "other slice", 0, *pair))
    for stage, draws in randomised.items():
        for draw, (other_cells, other_pictures) in enumerate(draws):
            for k in range(n):
                pair = rank_correlation(cells[k], other_cells[k]), similarity(pictures[k], other_pictures[k])
                rows.append((k, stage, draw, *pair))
    frame = pd.DataFrame(rows, columns=["slice", "stage", "draw", "rank_correlation", "ssim"])
    return frame.astype({"rank_correlation": "float64", "ssim": "float64"})


def judged(comparisons: pd.DataFrame, slices: pd.DataFrame) -> dict[str, Any]:
    """The verdict on an explainer.

    Args:
        comparisons: From `compared`.
        slices: Row k is slice k: site and patient_key.

    Returns:
        `stages`: for each stage rank_correlation and ssim (means with intervals), compared, undefined (numbers of
        pairs); `alarm`: whether the map of a network of shuffled weights is still like the first, or no map varies;
        `limit`, `reason` ("unchanged", "constant" or None).
    """
    patient = patients_of(slices)
    stages: list[dict[str, Any]] = []
    for stage, part in comparisons.groupby("stage", sort=False):
        who = patient[part["slice"].to_numpy()]
        ranks = part["rank_correlation"].to_numpy(dtype=np.float64)
        stages.append(
            {
                "stage": str(stage),
                "rank_correlation": mean_value(ranks, who).as_dict(),
                "ssim": mean_value(part["ssim"].to_numpy(dtype=np.float64), who).as_dict(),
                "compared": int(np.isfinite(ranks).sum()),
                "undefined": int((~np.isfinite(ranks)).sum()),
            }
        )
    last = next((found for found in reversed(stages) if found["stage"] in STAGES), None)
    reason = None
    if last is not None and last["stage"] == "all":
        value = last["rank_correlation"]["value"]
        if value is None and not any(found["compared"] for found in stages):
            reason = "constant"
        elif value is not None and value >= UNCHANGED:
            reason = "unchanged"
    return {"stages": stages, "limit": UNCHANGED, "reason": reason, "alarm": reason is not None}
