"""A linear probe: logistic regression on given numbers, fitted and tested on different patients."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FOLDS = 5


def fitted(train: np.ndarray, labels: np.ndarray, test: np.ndarray, n_classes: int) -> np.ndarray:
    """Probabilities float64 [m, K] for `test` [m, D] after fitting on `train` [n, D] with labels int [n].

    Classes that do not occur in training get probability 0.
    """
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300, class_weight="balanced"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a probe may stop early; its answer is still a fit
        model.fit(train, labels)
    found = np.zeros((len(test), n_classes))
    found[:, model[-1].classes_] = model.predict_proba(test)
    return found


def out_of_fold(
    numbers: np.ndarray, labels: np.ndarray, groups: np.ndarray, n_classes: int, seed: int
) -> np.ndarray | None:
    """Probabilities of rows from fits that have not seen their group.

    Args:
        numbers: float [n, D].
        labels: int [n].
        groups: int [n], patients; folds keep them whole and the classes in proportion.
        n_classes: K.
        seed: Of the folds.

    Returns:
        float64 [n, K]; None where fewer than two classes have two groups.
    """
    sizes = [len(np.unique(groups[labels == k])) for k in range(n_classes)]
    repeated = [size for size in sizes if size >= 2]
    if len(repeated) < 2:
        return None
    found = np.zeros((len(labels), n_classes))
    folds = StratifiedGroupKFold(min(FOLDS, max(repeated)), shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class with fewer patients than folds is left out of some
        parts = list(folds.split(numbers, labels, groups))
    for train, test in parts:
        if len(np.unique(labels[train])) < 2:
            return None
        found[test] = fitted(numbers[train], labels[train], numbers[test], n_classes)
    return found
