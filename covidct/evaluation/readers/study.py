"""A reader study from its two tables: the run's predictions and the reads; everything that `readers.json` holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covidct.evaluation import metrics
from covidct.evaluation.predictions import Predictions
from covidct.evaluation.readers.accuracy import against_model, row_of
from covidct.evaluation.readers.agreement import cohen, fleiss, pairs, with_interval
from covidct.evaluation.readers.cases import Cases, all_cases, check_split, matched, target_of
from covidct.evaluation.readers.multireader import group_tests
from covidct.evaluation.readers.raters import NOT_READ, Rater, raters_of, repeated_calls
from covidct.evaluation.readers.reading_time import times_of
from covidct.evaluation.readers.reads import RATING, read_reads
from covidct.evaluation.rule_spec import RuleSpec
from covidct.provenance import digest_file

SCHEMA_VERSION = 1
WASHOUT_DAYS = 28
"""Days between two sessions on the same cases that reader studies commonly leave."""


def analyse(
    predictions: Predictions,
    reads: Path,
    *,
    split: str = "test",
    slice_threshold: float | None = None,
    frozen: RuleSpec | None = None,
    positive: str | None = None,
    model: Mapping[str, Any] | None = None,
    replicates: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare the readers of a table with a run.

    Args:
        predictions: Of the run.
        reads: CSV file; see `reads`.
        split: Partition that was read, "test" or "val".
        slice_threshold: Of the paper's patient rule.
        frozen: The patient rule that validation chose; None for the paper's.
        positive: Class of ROC curves and paired tests; None for the run's.
        model: The model's seconds; see `reading_time.model_seconds`.
        replicates: Of the bootstrap for kappa.
        seed: Of every random number.

    Returns:
        Plain values: `source`, `design`, `cases`, `target`, `raters`, `against_model`, `groups`, `agreement`, `time`,
        `curve` and `warnings`.

    Raises:
        DataRefused: The table has bad rows, or its cases are not those of the run.
        UsageError: A parameter is out of range.
    """
    check_split(split)
    target = target_of(predictions.scheme, positive)
    table = read_reads(reads, predictions.scheme)
    unit = str(table["unit"].iloc[0])
    everything = all_cases(predictions, split=split, unit=unit, slice_threshold=slice_threshold, frozen=frozen)
    cases, position = matched(everything, table, where=Path(reads).name)
    readers = raters_of(cases, table, position)
    design = design_of(table, position, readers)
    curve = None
    if target is not None:
        found = metrics.roc(cases.positive(target), cases.score(cases.model, target))
        if found is not None:
            kept = metrics.thin(*found)
            curve = {"fpr": found[0][kept].tolist(), "tpr": found[1][kept].tolist()}
    return {
        "schema": SCHEMA_VERSION,
        "source": {
            "sha256": digest_file(Path(reads)),
            "reads": len(table),
            "simulated": bool(table["simulated"].any()),
            "split": split,
            "unit": unit,
            "rule": cases.rule,
            "seed": seed,
            "replicates": replicates,
        },
        "design": design,
        "cases": {
            "n": len(cases),
            "n_of": len(everything),
            "n_patients": int(cases.patient.max()) + 1,
            "sites": sorted(set(cases.sites)),
            "per_class": [
                {"class": name, "n": int((cases.truth == k).sum())} for k, name in enumerate(cases.scheme.names)
            ],
        },
        "target": None if target is None else {"name": target.name, "classes": list(target.classes)},
        "raters": [row_of(cases, rater, target) for rater in (cases.model, *readers)],
        "against_model": against_model_by_condition(cases, readers, target, seed),
        "groups": group_tests(cases, readers, target),
        "agreement": agreement_of(cases, table, position, readers, replicates, seed),
        "time": times_of(cases, readers, model),
        "curve": curve,
        "warnings": warnings_of(design, target is None),
    }


def against_model_by_condition(cases: Cases, readers: Sequence[Rater], target: Any, seed: int) -> list[dict[str, Any]]:
    """The paired tests for readers without AI, then with: each condition is a family of its own for Holm."""
    found = []
    for with_ai in (False, True):
        group = [rater for rater in readers if rater.with_ai is with_ai]
        if group:
            found += [{"with_ai": with_ai, **entry} for entry in against_model(cases, group, target, seed=seed)]
    return found


def design_of(table: pd.DataFrame, position: np.ndarray, readers: Sequence[Rater]) -> dict[str, Any]:
    """What was done: readers, conditions, sessions, washout, crossing, repeats, failures."""
    names = sorted(set(table["reader"]))
    seen = table.assign(position=position)
    first = seen.groupby(["reader", "position", "with_ai"])["session"].min().reset_index()
    first = first.pivot_table(index=["reader", "position"], columns="with_ai", values="session")
    order = None
    if True in first.columns and False in first.columns:
        both = first.dropna()
        order = {
            "without_first": int((both[False] < both[True]).sum()),
            "with_first": int((both[False] > both[True]).sum()),
            "same_session": int((both[False] == both[True]).sum()),
        }
    washout = table["washout_days"].dropna()
    later = table[table["session"] > 1]
    repeated = int(len(seen) - len(seen.drop_duplicates(["reader", "position", "with_ai"])))
    given = any(name.startswith(RATING) for name in table)
    return {
        "readers": names,
        "conditions": sorted({bool(rater.with_ai) for rater in readers}),
        "sessions": int(table["session"].max()),
        "order": order,
        "order_recorded": bool(table["order"].notna().all()),
        "washout_days": None if washout.empty else float(washout.min()),
        "washout_recorded": bool(later.empty or later["washout_days"].notna().all()),
        "crossed": all(bool(rater.read.all()) for rater in readers),
        "repeats": repeated,
        "no_result": int((table["call"] == "no result").sum()),
        "rating": "ratings" if given else "confidence" if table["confidence"].notna().any() else "call alone",
    }


def agreement_of(
    cases: Cases, table: pd.DataFrame, position: np.ndarray, readers: Sequence[Rater], replicates: int, seed: int
) -> dict[str, Any]:
    """Fleiss' kappa of the readers of each condition, Cohen's of every two raters, and of each reader with itself."""
    answers, several, two = len(cases.outcomes), [], []
    settings: dict[str, int] = {"replicates": replicates, "seed": seed}
    for with_ai in (False, True):
        group = [rater for rater in readers if rater.with_ai is with_ai]
        if not group:
            continue
        all_read = np.logical_and.reduce([rater.read for rater in group])
        if len(group) > 1 and all_read.any():
            patient, strata = _inside(cases, all_read)
            kappa = fleiss(np.stack([rater.call[all_read] for rater in group]), patient, answers)
            entry = {"with_ai": with_ai, "readers": len(group), "n_cases": int(all_read.sum())}
            several.append({**entry, **with_interval(kappa, strata, **settings).as_dict()})
        raters = [*group, cases.model]
        for one, other in pairs([rater.name for rater in raters]):
            found = _kappa(cases, raters[one].call, raters[other].call, settings)
            if found:
                two.append({"with_ai": with_ai, "first": raters[one].name, "second": raters[other].name, **found})
    itself = []
    for reader, (before, after) in repeated_calls(cases, table, position).items():
        found = _kappa(cases, before, after, settings)
        if found:
            itself.append({"reader": reader, **found})
    return {"fleiss": several, "cohen": two, "same_reader": itself}


def _kappa(cases: Cases, first: np.ndarray, second: np.ndarray, settings: Mapping[str, int]) -> dict[str, Any] | None:
    both = (first != NOT_READ) & (second != NOT_READ)
    if not both.any():
        return None
    patient, strata = _inside(cases, both)
    kappa = cohen(first[both], second[both], patient, len(cases.outcomes))
    agreed = float((first[both] == second[both]).mean())
    return {"n_cases": int(both.sum()), "agreed": agreed, **with_interval(kappa, strata, **settings).as_dict()}


def _inside(cases: Cases, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Patients of the chosen cases, renumbered, and their strata."""
    patients, patient = np.unique(cases.patient[chosen], return_inverse=True)
    return patient, cases.strata[patients]


def warnings_of(design: Mapping[str, Any], no_target: bool) -> list[str]:
    """What makes this study weaker than it looks."""
    found = []
    order = design["order"]
    if len(design["readers"]) == 1:
        found.append("One reader: nothing can be said about readers in general.")
    if order and not (order["without_first"] and order["with_first"]):
        before = "without AI first" if order["without_first"] else "with AI first"
        if order["same_session"] and not order["without_first"] and not order["with_first"]:
            found.append("Cases were read without and with AI in one session: the second reading knows the first.")
        else:
            found.append(f"Every case was read {before}: a habit gained between the sessions looks like AI.")
    if design["sessions"] > 1:
        if not design["washout_recorded"]:
            found.append("The time between the sessions (washout_days) is not recorded for every read.")
        elif (design["washout_days"] or 0) < WASHOUT_DAYS:
            found.append(
                f"Only {design['washout_days']:g} days lie between two sessions; {WASHOUT_DAYS} are usual, so that "
                "cases are forgotten."
            )
    if not design["order_recorded"]:
        found.append("The order of the cases is not recorded: fatigue and habit cannot be looked at.")
    if not design["crossed"]:
        found.append("Not every reader read every case: figures of the group are about the cases that all read.")
    if design["rating"] == "call alone":
        found.append(
            "Neither confidence nor rating is given: a reader's AUC is the mean of sensitivity and specificity."
        )
    if no_target:
        found.append(
            "The run has neither a positive nor a normal class: readers and model are compared by the share of right "
            "classes; there is no ROC curve. Name a class with positive=CLASS."
        )
    return found
