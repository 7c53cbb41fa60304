"""From slices to a patient: the paper's rule, the mean probability beside it, and the rule chosen on validation.

The paper (Fu et al. 2020, lines 150-156; D13): a patient has a disease if even one image shows it, and is normal only
if all images are normal. The paper does not say what happens when two diseases are seen in one patient; here that is
an outcome of its own, `CONFLICT`, and it is never resolved silently. A patient without a usable slice has
`NO_RESULT`: "all slices are normal" is true of an empty list, which makes it the most dangerous way to call a patient
healthy (fault 45). The rules themselves are in `covidct.evaluation.rules`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from covidct.errors import IntegrityError, UsageError
from covidct.evaluation import rules
from covidct.evaluation.patient_slices import PatientSlices, slices_by
from covidct.evaluation.predictions import Predictions
from covidct.evaluation.rule_spec import MEAN, RuleSpec
from covidct.evaluation.rules import CONFLICT, NO_RESULT, Calls, called_class
from covidct.labels import ClassScheme

__all__ = [
    "CONFLICT", "NO_RESULT", "PATIENT", "Verdict", "any_slice", "called_class", "mean_probability", "patient_table",
]  # fmt: skip

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
    _check_shape(probabilities, scheme)
    found = rules.any_slice(PatientSlices.of_one(probabilities), scheme, slice_threshold=slice_threshold)
    called = rules.slice_calls(probabilities, scheme, slice_threshold)
    seen = {
        name: tuple(int(row) for row in np.flatnonzero(called == column))
        for column, name in enumerate(scheme.names)
        if found.seen[0, column]
    }
    return _verdict(found, scheme, seen)


def mean_probability(probabilities: np.ndarray, scheme: ClassScheme) -> Verdict:
    """The most probable class after averaging the slices of one patient; the averages are the scores.

    Every slice counts the same. Not in the paper: it is printed beside the paper's rule because it cannot conflict.

    Args:
        probabilities: float [n_slices, K]. No slice, or a NaN in any slice, gives `NO_RESULT`.
        scheme: The classes; a normal class is not needed.
    """
    _check_shape(probabilities, scheme)
    return _verdict(rules.mean_probability(PatientSlices.of_one(probabilities), scheme), scheme, {})


def _verdict(found: Calls, scheme: ClassScheme, seen: dict[str, tuple[int, ...]]) -> Verdict:
    return Verdict([*scheme.names, CONFLICT, NO_RESULT][found.outcome[0]], found.scores[0], seen)


def _check_shape(probabilities: np.ndarray, scheme: ClassScheme) -> None:
    if probabilities.ndim != 2 or probabilities.shape[1] != len(scheme):
        raise UsageError(f"probabilities have shape {probabilities.shape}, expected [n_slices, {len(scheme)}]")


def patient_table(
    predictions: Predictions,
    *,
    slice_threshold: float | None = None,
    patients: pd.DataFrame | None = None,
    validation_rule: RuleSpec | None = None,
) -> pd.DataFrame:
    """One row per (split, site, patient_key), sorted by these.

    Args:
        predictions: The slices.
        slice_threshold: See `any_slice`.
        patients: Patients that belong to a partition whether or not any of their slices could be used: columns
            split, site, patient_key, label. Those without a slice in `predictions` become rows with `NO_RESULT`.
        validation_rule: One rule more, chosen on validation.

    Returns:
        split, site, patient_key, label, n_slices; `any_slice` and `mean_probability` (the outcome of each rule);
        `any_slice_<class>` and `mean_probability_<class>` (the scores of each rule), float64, NaN without a
        result; `n_called_<class>` (int64: slices that any_slice called this disease; 0 for normal). For a task
        without a normal class the columns of any_slice are absent. With `validation_rule` also `validation_rule`,
        `validation_rule_<class>` and `n_seen_<class>` (int64: slices of each disease that the rule saw; 0 for rules
        that do not count).

    Raises:
        IntegrityError: A patient has slices with different labels, or another label in `patients`.
        UsageError: A class is named like one of the outcomes.
    """
    scheme = predictions.scheme
    if {CONFLICT, NO_RESULT} & set(scheme.names):
        raise UsageError(f"a class may not be named {CONFLICT!r} or {NO_RESULT!r}: these are outcomes")
    slices, frame = slices_by(predictions, PATIENT)
    people = _people(slices, frame)
    if patients is not None:
        people = _with_unseen(people, patients, scheme)
        slices = PatientSlices(slices.probabilities, slices.patient, slices.series, len(people))
    people["n_slices"] = slices.sizes
    outcomes: dict[str, Calls] = {}
    figures: dict[str, np.ndarray] = {}
    if scheme.normal is not None:
        paper = rules.any_slice(slices, scheme, slice_threshold=slice_threshold)
        outcomes["any_slice"] = paper
        figures |= {f"any_slice_{name}": paper.scores[:, column] for column, name in enumerate(scheme.names)}
        figures |= {f"n_called_{name}": paper.seen[:, column] for column, name in enumerate(scheme.names)}
    outcomes["mean_probability"] = mean = MEAN(slices, scheme)
    figures |= {f"mean_probability_{name}": mean.scores[:, column] for column, name in enumerate(scheme.names)}
    if validation_rule is not None:
        outcomes["validation_rule"] = chosen = validation_rule(slices, scheme)
        figures |= {f"validation_rule_{name}": chosen.scores[:, column] for column, name in enumerate(scheme.names)}
        figures |= {f"n_seen_{name}": chosen.seen[:, column] for column, name in enumerate(scheme.names)}
    words = np.array([*scheme.names, CONFLICT, NO_RESULT], dtype=object)
    columns = {name: words[found.outcome] for name, found in outcomes.items()} | figures
    table = pd.concat([people, pd.DataFrame(columns)], axis=1)
    return table.sort_values(PATIENT, kind="stable", ignore_index=True)


def _people(slices: PatientSlices, frame: pd.DataFrame) -> pd.DataFrame:
    """split, site, patient_key and label of each patient, in the order of their numbers."""
    people = frame.iloc[slices.first][[*PATIENT, "label"]].reset_index(drop=True)
    strange = np.flatnonzero(frame["label"].to_numpy() != people["label"].to_numpy()[slices.patient])
    if len(strange):
        row = int(slices.patient[strange[0]])
        labels = sorted(set(frame["label"].to_numpy()[slices.patient == row]))
        raise IntegrityError(
            f"patient {people['patient_key'][row]} of site {people['site'][row]} has slices of more than one class: "
            f"{labels}",
            remedy="a patient has one label; exclude patients with two diseases when the index is made",
        )
    return people


def _with_unseen(people: pd.DataFrame, patients: pd.DataFrame, scheme: ClassScheme) -> pd.DataFrame:
    """The patients with slices, then those of `patients` who have none."""
    known = {(row[0], row[1], row[2]): row[3] for row in people.itertuples(index=False, name=None)}
    unseen = []
    for split, site, patient_key, label in patients[[*PATIENT, "label"]].itertuples(index=False, name=None):
        scheme.index(label)
        if (found := known.setdefault((split, site, patient_key), label)) != label:
            raise IntegrityError(f"patient {patient_key} of site {site} has label {label}; its slices say {found}")
        unseen.append((split, site, patient_key, label))
    more = pd.DataFrame(unseen, columns=[*PATIENT, "label"])
    return pd.concat([people, more], ignore_index=True).drop_duplicates(PATIENT, ignore_index=True)
