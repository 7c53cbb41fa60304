"""Rules that turn the slices of a patient into one outcome: small functions, all of one shape, over many patients.

The paper (Fu et al. 2020, lines 150-156) has one rule, `any_slice`, without a tie-break (flaw 10). The others are the
usual alternatives. Each says what it does when two diseases compete:

- `any_slice` and `k_of_n` call slices and count. Two diseases with enough slices each are a `conflict`, never settled
  in silence; with `tie="most_slices"` the disease with more slices wins (then the higher score, then the first in
  scheme order).
- `mean_probability`, `top_k` and `noisy_or` compare one score per class: the highest wins, of equal ones the first
  disease in scheme order. They cannot conflict.

In all of them a tie between a disease and normal is the disease: a tie is never a reason to call somebody healthy. A
patient without a slice, or with a slice that has no probabilities, has no result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from covidct.errors import UsageError
from covidct.evaluation.patient_slices import PatientSlices
from covidct.labels import ClassScheme

CONFLICT = "conflict"
NO_RESULT = "no result"
TIES = ("conflict", "most_slices")

ROUNDING = 12
"""Decimals to which scores are compared: what differs less is a tie, whatever the order of the sum was."""


@dataclass(frozen=True)
class Calls:
    """What a rule says about P patients.

    Args:
        outcome: int64 [P]: a class column, K for `CONFLICT`, K + 1 for `NO_RESULT`.
        scores: float64 [P, K] in 0..1, one score per class for ROC curves; NaN without a result.
        seen: int64 [P, K]: for rules that count slices, how many show each disease that was seen, else 0.
    """

    outcome: np.ndarray
    scores: np.ndarray
    seen: np.ndarray


def called_class(probabilities: np.ndarray, scheme: ClassScheme) -> np.ndarray:
    """The class of the highest probability in each row.

    Tie-break: of equal highest probabilities, the first in scheme order that is not `scheme.normal`. So a tie is
    deterministic, and never a reason to call something healthy.

    Args:
        probabilities: float [n, K] without NaN.
        scheme: The classes.

    Returns:
        int64 [n], columns of `scheme`.
    """
    best = probabilities == probabilities.max(axis=1, keepdims=True)
    if scheme.normal is not None:
        normal = scheme.index(scheme.normal)
        best[:, normal] &= best.sum(axis=1) == 1
    return np.asarray(best.argmax(axis=1), dtype=np.int64)


def slice_calls(probabilities: np.ndarray, scheme: ClassScheme, slice_threshold: float | None) -> np.ndarray:
    """Each slice's class: the most probable one if it reaches `slice_threshold`, else normal. int64 [n].

    Raises:
        UsageError: The scheme has no normal class, or the threshold lies outside 0..1.
    """
    if scheme.normal is None:
        raise UsageError("a rule that counts slices needs a class that means normal", remedy="use mean_probability")
    _check_probability("slice_threshold", slice_threshold)
    called = called_class(probabilities, scheme) if len(probabilities) else np.zeros(0, dtype=np.int64)
    if slice_threshold is None:
        return called
    sure = probabilities.max(axis=1, initial=0) >= slice_threshold
    return np.where(sure, called, scheme.index(scheme.normal))


def any_slice(
    slices: PatientSlices,
    scheme: ClassScheme,
    *,
    slice_threshold: float | None = None,
    min_run: int = 1,
    tie: str = "conflict",
) -> Calls:
    """The paper's rule: a disease is seen if one slice shows it; normal is for patients in whom none is seen.

    `min_run` asks for that many consecutive slices of one series that show the same disease: neighbours among the
    slices at hand, so a thinned scan can be judged too. A series with fewer slices needs all of them.

    The score of a disease is the highest level that a whole run reaches: the largest, over all runs of `min_run`
    slices, of the smallest probability in the run (with `min_run=1` the largest probability). That of normal mirrors
    it: the smallest, over all runs, of the largest probability of normal.

    Raises:
        UsageError: There is no normal class, or a parameter is out of range.
    """
    _check_count("min_run", min_run)
    called = slice_calls(slices.probabilities, scheme, slice_threshold)
    usable, known, called = _known(slices, called)
    normal = scheme.index(str(scheme.normal))
    low, high, owner = known.runs(known.probabilities, min_run)
    scores = known.largest(low, owner)
    scores[:, normal] = -known.largest(-high, owner)[:, normal]
    shown = (called[:, None] == np.arange(len(scheme))).astype(np.float64)
    shown[:, normal] = 0
    whole = known.largest(known.runs(shown, min_run)[0], owner) > 0
    return _counted(np.where(whole, known.sums(shown), 0).astype(np.int64), scores, usable, scheme, tie)


def k_of_n(
    slices: PatientSlices,
    scheme: ClassScheme,
    *,
    count: int | None = None,
    share: float | None = None,
    slice_threshold: float | None = None,
    tie: str = "conflict",
) -> Calls:
    """A disease is seen if at least `count` slices show it, or that `share` of the patient's slices (one at least).

    A patient with fewer slices than `count` needs all of them. `count=1` is the paper's rule.

    The score of a disease is its k-th largest probability, that of normal the k-th smallest.

    Raises:
        UsageError: There is no normal class, not exactly one of count and share, or a parameter is out of range.
    """
    if (count is None) == (share is None):
        raise UsageError("k_of_n needs either count or share")
    if count is not None:
        _check_count("count", count)
    _check_probability("share", share)
    called = slice_calls(slices.probabilities, scheme, slice_threshold)
    usable, known, called = _known(slices, called)
    normal, sizes = scheme.index(str(scheme.normal)), known.sizes
    # 0.1 * 30 is 3.0000000000000004 in binary: a share of 3 slices shall be 3
    need = np.ceil(sizes * share - 1e-9) if share is not None else np.full(len(sizes), count)
    need = np.minimum(np.maximum(need, 1), sizes).astype(np.int64)
    seen = known.sums((called[:, None] == np.arange(len(scheme))).astype(np.float64)).astype(np.int64)
    seen[:, normal] = 0
    seen[seen < need[:, None]] = 0
    scores = np.zeros((slices.n_patients, len(scheme)))
    present = np.flatnonzero(sizes)
    for column in range(len(scheme)):
        ordered = known.ranked(column, largest_first=column != normal)
        scores[present, column] = ordered[known.first[present] + need[present] - 1]
    return _counted(seen, scores, usable, scheme, tie)


def mean_probability(slices: PatientSlices, scheme: ClassScheme, *, threshold: float | None = None) -> Calls:
    """The class of the highest mean probability over the slices; every slice counts the same.

    With `threshold`, the disease of the highest mean from that mean on, else normal.
    """
    usable, known, _ = _known(slices)
    means = known.sums(known.probabilities) / np.maximum(known.sizes, 1)[:, None]
    return _ranked_calls(means, usable, scheme, threshold)


def top_k(slices: PatientSlices, scheme: ClassScheme, *, k: int, threshold: float | None = None) -> Calls:
    """The class of the highest score: the mean of a disease's `k` largest probabilities; for normal, its `k` smallest.

    A patient with fewer slices is judged by all of them. `threshold` as for `mean_probability`.
    """
    _check_count("k", k)
    usable, known, _ = _known(slices)
    taken = np.arange(len(known.patient)) - known.first[known.patient] < k
    ordered = np.column_stack(
        [known.ranked(column, largest_first=name != scheme.normal) for column, name in enumerate(scheme.names)]
    )
    means = known.sums(np.where(taken[:, None], ordered, 0)) / np.clip(known.sizes, 1, k)[:, None]
    return _ranked_calls(means, usable, scheme, threshold)


def noisy_or(slices: PatientSlices, scheme: ClassScheme, *, threshold: float | None = None) -> Calls:
    """The class of the highest score: for a disease 1 - product of (1 - p), for normal the product of its p.

    That is the chance that at least one slice shows the disease (that no slice shows any), were slices independent.
    They are not, so the scores are extreme; with many slices they reach 1 and rank patients no more. `threshold` as
    for `mean_probability`. (Maron and Lozano-Perez 1998 use this model for sets of instances.)
    """
    usable, known, _ = _known(slices)
    p = np.clip(known.probabilities, 0, 1)
    with np.errstate(divide="ignore"):
        absent, present = known.sums(np.log1p(-p)), known.sums(np.log(p))
    scores = -np.expm1(absent)
    if scheme.normal is not None:
        normal = scheme.index(scheme.normal)
        scores[:, normal] = np.exp(present[:, normal])
    # where two diseases round to 1, the logarithms still tell them apart
    return _ranked_calls(scores, usable, scheme, threshold, order=-absent)


def _counted(seen: np.ndarray, scores: np.ndarray, usable: np.ndarray, scheme: ClassScheme, tie: str) -> Calls:
    """Outcomes of rules that count slices."""
    if tie not in TIES:
        raise UsageError(f"a tie between diseases is settled by one of {list(TIES)}, not {tie!r}")
    normal = scheme.index(str(scheme.normal))
    several = (seen > 0).sum(axis=1)
    best = seen == seen.max(axis=1, keepdims=True)
    best = np.where(best, scores, -1.0)
    outcome = np.where(several == 0, normal, best.argmax(axis=1))
    if tie == "conflict":
        outcome = np.where(several > 1, len(scheme), outcome)
    return _without_result(outcome, scores, seen, usable)


def _ranked_calls(
    scores: np.ndarray,
    usable: np.ndarray,
    scheme: ClassScheme,
    threshold: float | None,
    order: np.ndarray | None = None,
) -> Calls:
    """Outcomes of rules that compare one score per class.

    Args:
        scores: float64 [P, K].
        usable: bool [P].
        scheme: The classes.
        threshold: Least score of a disease, or None.
        order: float64 [P, K] that ranks the diseases where `scores` are too coarse, or None.
    """
    _check_probability("threshold", threshold)
    ranks, rounded = np.round(scores if order is None else order, ROUNDING), np.round(scores, ROUNDING)
    if scheme.normal is None:
        if threshold is not None:
            raise UsageError("a threshold needs a class that means normal for what lies below it")
        outcome = ranks.argmax(axis=1)
    else:
        normal = scheme.index(scheme.normal)
        ranks[:, normal] = -np.inf
        best = ranks.argmax(axis=1)
        ill = rounded[np.arange(len(scores)), best] >= (rounded[:, normal] if threshold is None else threshold)
        outcome = np.where(ill, best, normal)
    return _without_result(outcome, scores, np.zeros(scores.shape, dtype=np.int64), usable)


def _without_result(outcome: np.ndarray, scores: np.ndarray, seen: np.ndarray, usable: np.ndarray) -> Calls:
    outcome = np.where(usable, outcome, scores.shape[1] + 1).astype(np.int64)
    return Calls(outcome, np.where(usable[:, None], scores, np.nan), np.where(usable[:, None], seen, 0))


def _known(slices: PatientSlices, called: np.ndarray | None = None) -> tuple[np.ndarray, PatientSlices, np.ndarray]:
    """Patients with a result (bool [P]), and of these alone the slices and their calls.

    One slice that is not known may be the one that shows the disease, so it takes the whole patient out.
    """
    usable = slices.sizes > 0
    usable[slices.patient[np.isnan(slices.probabilities).any(axis=1)]] = False
    kept = usable[slices.patient]
    return usable, slices.take(kept), np.zeros(0, dtype=np.int64) if called is None else called[kept]


def _check_probability(name: str, value: float | None) -> None:
    if value is not None and not 0 <= value <= 1:
        raise UsageError(f"{name} is a probability in 0..1, not {value}")


def _check_count(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"{name} is a whole number from 1 on, not {value!r}")
