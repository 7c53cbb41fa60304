"""What the network says of a partition, put together from all processes, and the figures of an epoch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torchmetrics.functional.classification import binary_auroc


@dataclass(frozen=True)
class SlicePredictions:
    """What the network says of a partition: every slice once, ordered by row, the same on every process.

    Args:
        rows: int64 (N,), strictly rising: positions in the slice table.
        probabilities: float32 (N, K), softmax in class order.
        labels: int64 (N,) class numbers, -1 where the batch had none.
    """

    rows: np.ndarray
    probabilities: np.ndarray
    labels: np.ndarray


def slice_figures(predictions: SlicePredictions) -> dict[str, float]:
    """{"loss", "accuracy", "macro_auc"} of labelled slices; NaN where undefined."""
    known = predictions.labels >= 0
    labels, probabilities = predictions.labels[known], predictions.probabilities[known]
    if not len(labels):
        return {"loss": float("nan"), "accuracy": float("nan"), "macro_auc": float("nan")}
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    areas = []
    for column in range(probabilities.shape[1]):
        truth = labels == column
        if truth.any() and not truth.all():
            area = binary_auroc(torch.from_numpy(probabilities[:, column]), torch.from_numpy(truth.astype(np.int64)))
            areas.append(float(area))
    return {
        # float32 softmax rounds to 0 near 1e-45; the floor keeps one hopeless slice from making the mean infinite
        "loss": float(-np.log(np.maximum(own, np.finfo(np.float32).tiny)).mean()),
        "accuracy": float((probabilities.argmax(1) == labels).mean()),
        "macro_auc": float(np.mean(areas)) if areas else float("nan"),
    }
