"""The cases of a reader study: each with its truth, the model's call, and the reads that belong to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from covidct.errors import DataRefused, UsageError
from covidct.evaluation import metrics
from covidct.evaluation.patient import CONFLICT, NO_RESULT, called_class, patient_table
from covidct.evaluation.predictions import Predictions
from covidct.evaluation.readers.raters import NOT_READ, Rater
from covidct.evaluation.rule_spec import RuleSpec
from covidct.labels import ClassScheme


@dataclass(frozen=True)
class Target:
    """What counts as positive in ROC curves and paired tests.

    Args:
        name: For people and files: a class, or "diseased".
        classes: The classes that are positive together: one, or all but the normal one.
    """

    name: str
    classes: tuple[str, ...]


def target_of(scheme: ClassScheme, positive: str | None = None) -> Target | None:
    """The target: the class asked for, else the scheme's positive class, else disease against normal, else None.

    Raises:
        UsageError: There is no such class.
    """
    chosen = positive or scheme.positive
    if chosen is not None:
        scheme.index(chosen)
        return Target(chosen, (chosen,))
    if scheme.normal is None:
        return None
    return Target("diseased", tuple(name for name in scheme.names if name != scheme.normal))


@dataclass(frozen=True)
class Cases:
    """The cases of a reader study, in the order of site and key.

    Args:
        scheme: The classes.
        unit: "patient" or "slice".
        keys: [n], pseudonyms of the cases.
        sites: [n].
        truth: int [n], class columns.
        patient: int [n], 0..patients-1; equal to the position where the unit is patient.
        slices: int [n], slices that the model looked at for the case.
        rule: How the model's call came about, for people.
        model: The model as a rater.
    """

    scheme: ClassScheme
    unit: str
    keys: np.ndarray
    sites: np.ndarray
    truth: np.ndarray
    patient: np.ndarray
    slices: np.ndarray
    rule: str
    model: Rater

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def outcomes(self) -> tuple[str, ...]:
        """What a call can be: the classes, then the outcomes that decide nothing."""
        return (*self.scheme.names, CONFLICT, NO_RESULT)

    @property
    def strata(self) -> np.ndarray:
        """int [patients], site and class of each patient: what a bootstrap keeps fixed."""
        frame = pd.DataFrame({"patient": self.patient, "site": self.sites, "truth": self.truth})
        first = frame.drop_duplicates("patient").sort_values("patient")
        return np.asarray(first.groupby(["site", "truth"]).ngroup(), dtype=np.int64)

    def positive(self, target: Target) -> np.ndarray:
        """bool [n], cases of the target."""
        return np.isin(self.truth, [self.scheme.index(name) for name in target.classes])

    def cell(self, rater: Rater, label: str) -> np.ndarray:
        """int [n], `metrics.TP` and so on of one class against the rest; only meaningful where the case was read."""
        names = self.outcomes
        return metrics.cells(
            self.truth,
            rater.call,
            self.scheme.index(label),
            conflict=names.index(CONFLICT),
            no_result=names.index(NO_RESULT),
            called=rater.seen,
        )

    def correct(self, rater: Rater, target: Target | None) -> np.ndarray:
        """bool [n]: rightly called the target or rightly not; the right class where there is no target.

        Conflict and no result are never to a rater's credit (see `metrics`), except that a conflict between two
        diseases does say "diseased".
        """
        if target is None:
            return np.asarray(rater.call == self.truth)
        if len(target.classes) == 1:
            return np.isin(self.cell(rater, target.classes[0]), (metrics.TP, metrics.TN))
        normal = next(k for k, name in enumerate(self.scheme.names) if name not in target.classes)
        silent = self.outcomes.index(NO_RESULT)
        ill = (rater.call != normal) & (rater.call != silent)
        return np.where(self.positive(target), ill, rater.call == normal)

    def score(self, rater: Rater, target: Target) -> np.ndarray:
        """float [n], higher means more of the target; NaN without a rating. Disease is the reverse of normal."""
        if len(target.classes) == 1:
            return np.asarray(rater.scores[:, self.scheme.index(target.classes[0])])
        normal = next(k for k, name in enumerate(self.scheme.names) if name not in target.classes)
        return np.asarray(-rater.scores[:, normal])


def all_cases(
    predictions: Predictions,
    *,
    split: str,
    unit: str,
    slice_threshold: float | None = None,
    frozen: RuleSpec | None = None,
) -> Cases:
    """Every case of a partition with its truth and the model's call.

    Args:
        predictions: Of the run.
        split: "test" or "val".
        unit: "patient" or "slice".
        slice_threshold: Of the paper's patient rule; see `patient.any_slice`.
        frozen: The patient rule that validation chose; None for the paper's rule, or for the mean probability where
            no class means normal.

    Raises:
        DataRefused: The partition is empty.
    """
    scheme = predictions.scheme
    frame = predictions.frame[predictions.frame["split"] == split]
    if frame.empty:
        raise DataRefused(
            f"the run has no predictions of its {split} partition",
            remedy="covidct evaluate run=RUN, or covidct readers partition=val",
        )
    key = "patient_key" if unit == "patient" else "slice_key"
    frame = frame.sort_values(["site", "patient_key", "slice_key"], kind="stable", ignore_index=True)
    outcomes = [*scheme.names, CONFLICT, NO_RESULT]
    if unit == "slice":
        table = frame
        scores = Predictions(frame, scheme).probabilities
        call, slices = called_class(scores, scheme), np.ones(len(frame), dtype=np.int64)
        seen, rule = np.zeros((len(frame), len(scheme)), dtype=bool), "the class of the highest probability"
    else:
        table = patient_table(Predictions(frame, scheme), slice_threshold=slice_threshold, validation_rule=frozen)
        paper = "any_slice" if scheme.normal is not None else "mean_probability"
        name = paper if frozen is None else "validation_rule"
        rule = (
            "the paper's rule (diseased if any slice is)" if paper == "any_slice" else "mean probability of the slices"
        )
        if slice_threshold is not None:
            rule += f", a slice from a probability of {slice_threshold:g} on"
        if frozen is not None:
            rule = f"the rule chosen on validation: {frozen.words()}"
        call = np.array([outcomes.index(outcome) for outcome in table[name]], dtype=np.int64)
        scores = table[[f"{name}_{label}" for label in scheme.names]].to_numpy(dtype=np.float64)
        seen = np.zeros((len(table), len(scheme)), dtype=bool)
        if name != "mean_probability":
            counted = "n_called" if name == "any_slice" else "n_seen"
            called = table[[f"{counted}_{label}" for label in scheme.names]].to_numpy() > 0
            seen = called & (call == outcomes.index(CONFLICT))[:, None]
        slices = table["n_slices"].to_numpy(dtype=np.int64)
    patient = table.groupby(["site", "patient_key"], sort=True).ngroup().to_numpy()
    truth = np.array([scheme.index(label) for label in table["label"]], dtype=np.int64)
    model = Rater("model", None, call, seen, scores, np.full(len(table), np.nan))
    keys, sites = table[key].to_numpy(dtype=object), table["site"].to_numpy(dtype=object)
    return Cases(scheme, unit, keys, sites, truth, patient, slices, rule, model)


def matched(cases: Cases, reads: pd.DataFrame, *, where: str | None = None) -> tuple[Cases, np.ndarray]:
    """The cases that were read, and the case of each read.

    Args:
        cases: All cases of the partition.
        reads: As from `read_reads`.
        where: File name for the message.

    Returns:
        The cases that somebody read, and int [reads], positions among them.

    Raises:
        DataRefused: A case is not in the partition, or its key belongs to two sites and no site is given. Cases are
            counted and their lines named; what stands in the file is not repeated, for it may be a patient's number.
    """
    places: dict[tuple[str, str], int] = {}
    alone: dict[str, list[int]] = {}
    for position, (site, key) in enumerate(zip(cases.sites, cases.keys, strict=True)):
        places[site, key] = position
        alone.setdefault(key, []).append(position)
    found = np.full(len(reads), NOT_READ)
    torn = np.zeros(len(reads), dtype=bool)
    for row, (site, case) in enumerate(zip(reads["site"], reads["case"], strict=True)):
        if site:
            found[row] = places.get((site, case), NOT_READ)
        else:
            there = alone.get(case, [])
            torn[row] = len(there) > 1
            found[row] = there[0] if len(there) == 1 else NOT_READ
    problems = []
    for bad, words in ((torn, "exist at two sites, and no site is given"), ((found < 0) & ~torn, "are not there")):
        if bad.any():
            lines = reads["line"].to_numpy()[bad]
            number = len(reads.loc[bad, ["site", "case"]].drop_duplicates())
            shown = ", ".join(str(line) for line in lines[:10]) + (", …" if len(lines) > 10 else "")
            problems.append(f"{number} {words} ({len(lines)} reads, lines {shown})")
    if problems:
        total = len(reads[["site", "case"]].drop_duplicates())
        raise DataRefused(
            f"of {total} cases in the table of reads, {'; '.join(problems)}; the run has {len(cases)} {cases.unit}s",
            where=where,
            remedy=f"case is {cases.unit}_key (and site) of the run's predictions.parquet, in the partition asked for",
        )
    twice = reads.assign(place=found).duplicated(["reader", "place", "session", "with_ai"]).to_numpy()
    if twice.any():  # with its hospital in one row and without it in the other
        lines = ", ".join(str(line) for line in reads["line"].to_numpy()[twice][:10])
        raise DataRefused(f"a reader has the same case twice in a session: lines {lines}", where=where)
    kept, row_of_case = np.unique(found, return_inverse=True)
    return chosen(cases, kept), row_of_case


def chosen(cases: Cases, kept: np.ndarray) -> Cases:
    """Some of the cases, by position."""
    model = cases.model
    shorter = Rater(
        model.name, model.with_ai, model.call[kept], model.seen[kept], model.scores[kept], model.seconds[kept]
    )
    patient = np.unique(cases.patient[kept], return_inverse=True)[1]
    return Cases(
        cases.scheme,
        cases.unit,
        cases.keys[kept],
        cases.sites[kept],
        cases.truth[kept],
        patient,
        cases.slices[kept],
        cases.rule,
        shorter,
    )


def check_split(split: str) -> None:
    """Refuse a partition that a reader study cannot be about."""
    if split not in ("test", "val"):
        raise UsageError(f"partition is {split!r}, not test or val")
