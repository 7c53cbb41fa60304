"""From slices to a patient: the paper's rule, and the mean probability beside it.

The paper (Fu et al. 2020, lines 150-156; D13): a patient has a disease if even one image shows it, and is normal only
if all images are normal. The paper does not say what happens when two diseases are seen in one patient; here that is
an outcome of its own, `CONFLICT`, and it is never resolved silently. A patient without a usable slice has
`NO_RESULT`: "all slices are normal" is true of an empty list, which makes it the most dangerous way to call a patient
healthy (fault 45).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from covidct.errors import IntegrityError, UsageError
from covidct.evaluation.predictions import Predictions
from covidct.labels import ClassScheme

CONFLICT = "conflict"
NO_RESULT = "no result"
PATIENT = ["split", "site", "patient_key"]
"""One patient within a partition. The pseudonym alone is not enough: two hospitals may use the same number."""


@dataclass(frozen=True)
class Verdict:
    """What a rule says about one patient.

    Args:
        outcome: A class name, `CONFLICT` or `NO_RESULT`.
        scores: float64 [K], one score per class for ROC curves, in 0..1; NaN with `NO_RESULT`.
        slices: For each disease that was seen, the positions (rows of the input) of its slices. Empty for a normal
            patient, for no result, and for rules that do not call slices.
    """

    outcome: str
    scores: np.ndarray
    slices: dict[str, tuple[int, ...]]


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


def any_slice(probabilities: np.ndarray, scheme: ClassScheme, *, slice_threshold: float | None = None) -> Verdict:
    """The paper's rule for one patient.

    A slice is called its most probable class (`called_class`) if that probability reaches `slice_threshold`, else
    normal. No disease seen: normal. Exactly one: that disease. Two or more: `CONFLICT`, with the slices of each.

    The score of a class is the largest probability any slice gives it. For a disease this is the rule itself with a
    moving threshold; for normal it is not (the rule asks for *all* slices), so the score of normal is the smallest
    probability of normal over the slices.

    Args:
        probabilities: float [n_slices, K]. No slice, or a NaN in any slice, gives `NO_RESULT`: the rule speaks of
            all slices, and one that is not known may be the one that shows the disease.
        scheme: The classes; `normal` must be set.
        slice_threshold: In 0..1, or None for the plain most probable class.

    Raises:
        UsageError: The scheme has no normal class, or the threshold lies outside 0..1.
    """
    if scheme.normal is None:
        raise UsageError("the rule any_slice needs a class that means normal", remedy="use mean_probability")
    if slice_threshold is not None and not 0 <= slice_threshold <= 1:
        raise UsageError(f"slice_threshold is a probability in 0..1, not {slice_threshold}")
    if not _usable(probabilities, scheme):
        return _no_result(scheme)
    normal = scheme.index(scheme.normal)
    called = called_class(probabilities, scheme)
    if slice_threshold is not None:
        called = np.where(probabilities.max(axis=1) >= slice_threshold, called, normal)
    seen = {
        name: tuple(int(row) for row in np.flatnonzero(called == column))
        for column, name in enumerate(scheme.names)
        if column != normal and (called == column).any()
    }
    outcome = scheme.normal if not seen else next(iter(seen)) if len(seen) == 1 else CONFLICT
    scores = probabilities.max(axis=0).astype(np.float64)
    scores[normal] = probabilities[:, normal].min()
    return Verdict(outcome, scores, seen)


def mean_probability(probabilities: np.ndarray, scheme: ClassScheme) -> Verdict:
    """The most probable class after averaging the slices of one patient; the averages are the scores.

    Every slice counts the same. Not in the paper: it is printed beside the paper's rule because it cannot conflict.

    Args:
        probabilities: float [n_slices, K]. No slice, or a NaN in any slice, gives `NO_RESULT`.
        scheme: The classes; a normal class is not needed.
    """
    if not _usable(probabilities, scheme):
        return _no_result(scheme)
    scores = probabilities.mean(axis=0, dtype=np.float64)
    return Verdict(scheme.names[int(called_class(scores[None], scheme)[0])], scores, {})


def patient_table(
    predictions: Predictions, *, slice_threshold: float | None = None, patients: pd.DataFrame | None = None
) -> pd.DataFrame:
    """One row per (split, site, patient_key), sorted by these.

    Args:
        predictions: The slices.
        slice_threshold: See `any_slice`.
        patients: Patients that belong to a partition whether or not any of their slices could be used: columns
            split, site, patient_key, label. Those without a slice in `predictions` become rows with `NO_RESULT`.

    Returns:
        split, site, patient_key, label, n_slices; `any_slice` and `mean_probability` (the outcome of each rule);
        `any_slice_<class>` and `mean_probability_<class>` (the scores of each rule), float64, NaN without a
        result; `n_called_<class>` (int64: slices that any_slice called this disease; 0 for normal). For a task
        without a normal class the columns of any_slice are absent.

    Raises:
        IntegrityError: A patient has slices with different labels, or another label in `patients`.
        UsageError: A class is named like one of the outcomes.
    """
    scheme = predictions.scheme
    if {CONFLICT, NO_RESULT} & set(scheme.names):
        raise UsageError(f"a class may not be named {CONFLICT!r} or {NO_RESULT!r}: these are outcomes")
    # Slices in a fixed order, so that the last digit of a mean does not depend on the order of the file.
    frame = predictions.frame.sort_values([*PATIENT, "slice_key"], kind="stable", ignore_index=True)
    probabilities = Predictions(frame, scheme).probabilities
    rows: list[dict[str, object]] = []
    for key, positions in frame.groupby(PATIENT, sort=True).indices.items():
        labels = sorted(set(frame["label"].to_numpy()[positions]))
        if len(labels) > 1:
            raise IntegrityError(
                f"patient {key[2]} of site {key[1]} has slices of more than one class: {labels}",
                remedy="a patient has one label; exclude patients with two diseases when the index is made",
            )
        rows.append(_row(key, labels[0], probabilities[positions], scheme, slice_threshold))
    if patients is not None:
        labels_found = {(row["split"], row["site"], row["patient_key"]): row["label"] for row in rows}
        for split, site, patient_key, label in patients[[*PATIENT, "label"]].itertuples(index=False, name=None):
            scheme.index(label)
            known = labels_found.get((split, site, patient_key))
            if known is None:
                nothing = np.empty((0, len(scheme)))
                rows.append(_row((split, site, patient_key), label, nothing, scheme, slice_threshold))
                labels_found[split, site, patient_key] = label
            elif known != label:
                raise IntegrityError(f"patient {patient_key} of site {site} has label {label}; its slices say {known}")
    return pd.DataFrame(rows).sort_values(PATIENT, kind="stable", ignore_index=True)


def _row(
    key: tuple[str, str, str],
    label: str,
    probabilities: np.ndarray,
    scheme: ClassScheme,
    slice_threshold: float | None,
) -> dict[str, object]:
    row: dict[str, object] = {**dict(zip(PATIENT, key, strict=True)), "label": label, "n_slices": len(probabilities)}
    mean = mean_probability(probabilities, scheme)
    if scheme.normal is not None:
        rule = any_slice(probabilities, scheme, slice_threshold=slice_threshold)
        row["any_slice"] = rule.outcome
    row["mean_probability"] = mean.outcome
    if scheme.normal is not None:
        row |= {f"any_slice_{name}": rule.scores[column] for column, name in enumerate(scheme.names)}
        row |= {f"n_called_{name}": len(rule.slices.get(name, ())) for name in scheme.names}
    return row | {f"mean_probability_{name}": mean.scores[column] for column, name in enumerate(scheme.names)}


def _usable(probabilities: np.ndarray, scheme: ClassScheme) -> bool:
    if probabilities.ndim != 2 or probabilities.shape[1] != len(scheme):
        raise UsageError(f"probabilities have shape {probabilities.shape}, expected [n_slices, {len(scheme)}]")
    return len(probabilities) > 0 and not bool(np.isnan(probabilities).any())


def _no_result(scheme: ClassScheme) -> Verdict:
    return Verdict(NO_RESULT, np.full(len(scheme), np.nan), {})
