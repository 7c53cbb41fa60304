"""Counts and curves of a classification: one class against the rest, and all classes together.

Matrices face the same way everywhere: rows = truth, columns = outcome. What is undefined is None, never 0 or 1.

Outcomes that decide nothing
    At patient level an outcome may also be "conflict" (two or more diseases seen) or "no result". They are never
    dropped, and they are never to the model's credit (intention to diagnose, Schuetz et al., BMJ 2012;345:e6717):

    - truth k, outcome conflict or no result: a false negative of k, even if k is among the diseases of the conflict;
    - truth not k, k among the diseases of the conflict: a false positive of k (the alarm was raised);
    - truth not k, k not among them: a true negative of k (k was ruled out, which is right);
    - truth not k, no result: a false positive of k (k was not ruled out).

    So every patient is in exactly one cell, tp + fp + fn + tn = n, and sensitivity, specificity, PPV, NPV and
    accuracy are each the lower bound over all ways to settle the undecided patients one class at a time.
    The confusion matrix alone cannot tell which diseases were in conflict; `conflict_calls` has that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve

TP, FP, FN, TN = range(4)
"""Cells of a one-vs-rest table, as `cells` returns them."""

COUNTING = ("accuracy", "sensitivity", "specificity", "ppv", "npv")
"""The five counting metrics of the paper's supplementary tables; each is a property of `Counts`."""


@dataclass(frozen=True)
class Counts:
    """One class against the rest, in slices or patients. Each metric is a fraction in 0..1, or None if undefined."""

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def n(self) -> int:
        return self.tp + self.fp + self.fn + self.tn

    @property
    def accuracy(self) -> float | None:
        return _fraction(self.tp + self.tn, self.n)

    @property
    def sensitivity(self) -> float | None:
        """Undefined without a case of the class."""
        return _fraction(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> float | None:
        """Undefined if every case is of the class."""
        return _fraction(self.tn, self.tn + self.fp)

    @property
    def ppv(self) -> float | None:
        """Undefined if nothing was called the class."""
        return _fraction(self.tp, self.tp + self.fp)

    @property
    def npv(self) -> float | None:
        """Undefined if everything was called the class."""
        return _fraction(self.tn, self.tn + self.fn)


DENOMINATOR = {
    "accuracy": (TP, FP, FN, TN),
    "sensitivity": (TP, FN),
    "specificity": (TN, FP),
    "ppv": (TP, FP),
    "npv": (TN, FN),
}
NUMERATOR = {"accuracy": (TP, TN), "sensitivity": (TP,), "specificity": (TN,), "ppv": (TP,), "npv": (TN,)}
"""Which cells of `cells` a metric is a proportion of: what an interval needs, patient by patient."""


def confusion(truth: np.ndarray, outcome: np.ndarray, n_classes: int, n_outcomes: int | None = None) -> np.ndarray:
    """Confusion matrix: rows = truth, columns = outcome.

    Args:
        truth: int [n] in 0..n_classes-1.
        outcome: int [n] in 0..n_outcomes-1; those from n_classes on are outcomes that decide nothing.
        n_classes: K.
        n_outcomes: Number of columns; None means K.

    Returns:
        int64 [K, n_outcomes].
    """
    columns = n_classes if n_outcomes is None else n_outcomes
    return np.bincount(truth * columns + outcome, minlength=n_classes * columns).reshape(n_classes, columns)


def cells(
    truth: np.ndarray,
    outcome: np.ndarray,
    k: int,
    *,
    conflict: int | None = None,
    no_result: int | None = None,
    called: np.ndarray | None = None,
) -> np.ndarray:
    """The one-vs-rest cell of every case, by the rule in the module's docstring.

    Args:
        truth: int [n], class columns.
        outcome: int [n], columns of the confusion matrix.
        k: The class that is "positive".
        conflict: Column of the outcome conflict, if there is one. It needs `called`.
        no_result: Column of the outcome no result, if there is one.
        called: bool [n, K], the diseases seen in each case.

    Returns:
        int [n]: `TP`, `FP`, `FN` or `TN`.
    """
    alarm = outcome == k
    if no_result is not None:
        alarm = alarm | (outcome == no_result)
    if conflict is not None:
        if called is None:
            raise ValueError("a conflict needs the diseases that were seen")
        alarm = alarm | ((outcome == conflict) & called[:, k])
    return np.where(truth == k, np.where(outcome == k, TP, FN), np.where(alarm, FP, TN))


def counts(cell: np.ndarray) -> Counts:
    """Count the cells of `cells`."""
    tp, fp, fn, tn = (int(number) for number in np.bincount(cell, minlength=4))
    return Counts(tp, fp, fn, tn)


def counts_from_confusion(
    matrix: np.ndarray,
    k: int,
    *,
    conflict: int | None = None,
    no_result: int | None = None,
    conflict_calls: np.ndarray | None = None,
) -> Counts:
    """The same counts from a confusion matrix, as a reader of the report would make them.

    Args:
        matrix: int [K, columns], rows = truth.
        k: The class that is "positive".
        conflict: Column of the outcome conflict, if there is one. It needs `conflict_calls`.
        no_result: Column of the outcome no result, if there is one.
        conflict_calls: int [K, K]: of the cases of each true class (row) with a conflict, how many had each disease
            (column) among those seen.
    """
    rest = np.arange(matrix.shape[0]) != k
    tp = int(matrix[k, k])
    fn = int(matrix[k].sum()) - tp
    fp = int(matrix[rest, k].sum())
    if no_result is not None:
        fp += int(matrix[rest, no_result].sum())
    if conflict is not None:
        if conflict_calls is None:
            raise ValueError("a conflict needs the diseases that were seen")
        fp += int(conflict_calls[rest, k].sum())
    return Counts(tp, fp, fn, int(matrix.sum()) - tp - fn - fp)


def top1(matrix: np.ndarray) -> float | None:
    """Share of cases whose outcome is their class. Conflict and no result are errors. None without cases."""
    return _fraction(int(np.trace(matrix)), int(matrix.sum()))


def macro(values: Sequence[float | None]) -> tuple[float | None, int]:
    """Plain mean over the classes in which a metric is defined, and how many these are (fault 10)."""
    defined = [value for value in values if value is not None]
    return (float(np.mean(defined)) if defined else None), len(defined)


def auc(positive: np.ndarray, scores: np.ndarray) -> float | None:
    """Area under the ROC curve; ties count half. None unless both groups have a case.

    Args:
        positive: bool [n].
        scores: float [n], higher means more positive. A NaN (no result) cannot be ranked: that case is left out, and
            the caller shows how many there were.
    """
    known = ~np.isnan(scores)
    positive, scores = positive[known], scores[known]
    if positive.all() or not positive.any():
        return None
    return float(roc_auc_score(positive, scores))


def roc(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """ROC curve as (fpr, tpr), both rising from 0 to 1, corners only. None unless both groups have a case.

    Args:
        positive: bool [n].
        scores: float [n]; NaN as in `auc`.
    """
    known = ~np.isnan(scores)
    positive, scores = positive[known], scores[known]
    if positive.all() or not positive.any():
        return None
    fpr, tpr, _ = roc_curve(positive, scores)
    return fpr, tpr


def thin(fpr: np.ndarray, tpr: np.ndarray, *, keep: tuple[float, float] | None = None, points: int = 200) -> np.ndarray:
    """Choose points of a ROC curve for drawing, evenly along its length.

    Args:
        fpr: float [m], rising.
        tpr: float [m], rising.
        keep: (fpr, tpr) of an operating point; the points of the curve on both sides of it are kept. The point
            itself need not lie on the curve: the most probable of K classes is no single threshold (flaw 20).
        points: Largest number of points.

    Returns:
        int [<= points]: positions to keep, rising; the first and last are always among them.
    """
    if len(fpr) <= points:
        return np.arange(len(fpr))
    travelled = fpr + tpr  # length along the curve in city blocks; rises from 0 to 2
    kept = {0, len(fpr) - 1}
    if keep is not None:
        beside = int(np.searchsorted(travelled, sum(keep)))
        kept |= {max(beside - 1, 0), min(beside, len(fpr) - 1)}
    spread = np.searchsorted(travelled, np.linspace(0, 2, points - len(kept)))
    return np.array(sorted(kept | {int(min(position, len(fpr) - 1)) for position in spread}))


def _fraction(numerator: int, denominator: int) -> float | None:
    return numerator / denominator if denominator else None
