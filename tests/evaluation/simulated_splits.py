"""Studies whose truth is known: equally good learners on random splits of the same patients."""

from __future__ import annotations

import numpy as np


def split_accuracies(studies: int, repeats: int, seed: int, *, arms: int = 2, patients: int = 100) -> np.ndarray:
    """Accuracies of equally good learners on random 3:1 splits: [studies, arms, repeats].

    Real learners, on shared data: each knows one of several features that carry the same amount of information, and its
    threshold is the middle of the class means of the training patients. So arms and repeats share training and test
    patients, as they do in a real study, and the differences are correlated in whatever way follows from that.
    """
    generator = np.random.default_rng(seed)
    found = np.empty((studies, arms, repeats))
    label = np.arange(patients) % 2
    for study in range(studies):
        features = generator.normal(size=(arms, patients)) + 1.2 * label
        order = generator.random((repeats, patients)).argsort(axis=1)
        train = np.zeros((repeats, patients), dtype=bool)
        np.put_along_axis(train, order[:, : 3 * patients // 4], True, axis=1)
        ill, well = (train & (label == k) for k in (1, 0))
        middle = (features @ ill.T / ill.sum(axis=1) + features @ well.T / well.sum(axis=1)) / 2
        right = (features[:, None, :] > middle[:, :, None]) == label
        found[study] = (right & ~train).sum(axis=2) / (~train).sum(axis=1)
    return found
