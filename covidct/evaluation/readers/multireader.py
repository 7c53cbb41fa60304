"""The readers as a group: their mean, the mean against the model, and with AI against without, each figure of merit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from covidct.errors import UsageError
from covidct.evaluation.readers.accuracy import groups_of
from covidct.evaluation.readers.cases import Cases, Target
from covidct.evaluation.readers.mrmc import (
    FIXED,
    RANDOM,
    Merits,
    MrmcTest,
    against_fixed,
    average_covariances,
    compare_modalities,
    jackknife,
    shares,
    single_modality,
)
from covidct.evaluation.readers.raters import Rater
from covidct.evaluation.significance.delong import areas, placements

AUC = "auc"
LEAST_PATIENTS = 5
"""Patients in each group below which covariances between readers are noise and nothing is tested."""


def group_tests(cases: Cases, readers: Sequence[Rater], target: Target | None) -> list[dict[str, Any]]:
    """Obuchowski and Rockette's tests for every figure of merit, on the cases that all raters concerned have read.

    Returns:
        A list of tests. Each has `merit` (auc, sensitivity, specificity or accuracy), `contrast` ("mean of readers",
        "readers - model", "with AI - without AI"), `with_ai`, `n_readers`, `n_cases`, `n_patients`, `dropped` (cases
        that not everyone read or rated), and either `omitted` (why there is no test) or `first`, `second` (the means;
        second is None for a mean alone), `tests` (see `MrmcTest`: random readers first where there are two) and, for
        the AUC, `jackknife` (the same with jackknife covariances).
    """
    found = []
    merits = [*([AUC] if target else []), *groups_of(cases, target)]
    by_condition = [[rater for rater in readers if bool(rater.with_ai) is condition] for condition in (False, True)]
    for merit in merits:
        for group in by_condition:
            if group:
                found.append(_entry(cases, group, [], target, merit, "mean of readers"))
                found.append(_entry(cases, group, [cases.model], target, merit, "readers - model"))
    both = {rater.name for rater in by_condition[0]} & {rater.name for rater in by_condition[1]}
    if both:
        alone, assisted = ([rater for rater in group if rater.name in both] for group in by_condition)
        found += [_entry(cases, assisted, alone, target, merit, "with AI - without AI") for merit in merits]
    return found


def _entry(
    cases: Cases, first: Sequence[Rater], second: Sequence[Rater], target: Target | None, merit: str, contrast: str
) -> dict[str, Any]:
    raters = [*first, *second]
    among = np.logical_and.reduce([rater.read for rater in raters])
    if merit == AUC:
        assert target is not None
        among &= ~np.isnan(np.stack([cases.score(rater, target) for rater in raters])).any(axis=0)
        groups = [among & group for group in groups_of(cases, target).values()]
    else:
        among &= groups_of(cases, target)[merit]
        groups = [among]
    relevant = groups_of(cases, target).get(merit, np.ones(len(cases), dtype=bool))
    touched = relevant & np.logical_or.reduce([rater.read for rater in raters if rater.with_ai is not None])
    entry: dict[str, Any] = {
        "merit": merit,
        "contrast": contrast,
        "with_ai": None if contrast.startswith("with AI") else bool(first[0].with_ai),
        "n_readers": len(first),
        "n_cases": int(among.sum()),
        "n_patients": len(np.unique(cases.patient[among])),
        "dropped": int((touched & ~among).sum()),
    }
    patients = [len(np.unique(cases.patient[group])) for group in groups]
    if min(patients) < LEAST_PATIENTS:
        needed = f"{LEAST_PATIENTS} patients" + (" in each group" if len(groups) > 1 else "")
        return entry | {"omitted": f"it needs {needed} that every rater has read; there are {min(patients)}"}

    if merit == AUC:
        assert target is not None
        scores = np.stack([cases.score(rater, target)[among] for rater in raters])
        truth, patient = cases.positive(target)[among], cases.patient[among]
        found = areas(scores, truth, patient)
        resampled = jackknife(lambda inside: _areas(scores[:, inside], truth[inside]), patient)
        return (
            entry
            | _tested(Merits(found.values, found.covariance), first, second)
            | {"jackknife": _tested(resampled, first, second)["tests"]}
        )
    correct = np.stack([cases.correct(rater, target)[among] for rater in raters])
    return entry | _tested(shares(correct, cases.patient[among]), first, second)


def _areas(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return np.array([placements(row, truth)[truth].mean() for row in scores])


def _tested(found: Merits, first: Sequence[Rater], second: Sequence[Rater]) -> dict[str, Any]:
    number = len(first)
    means = [float(found.values[:number].mean()), float(found.values[number:].mean()) if second else None]
    tests = []
    for readers in (RANDOM, FIXED):
        try:
            tests.append(_one(found, number, len(second), readers))
        except UsageError:  # one reader is no sample of readers
            continue
    if not second:  # a mean alone has an interval, and zero is no hypothesis about it
        tests = [MrmcTest(**{**vars(test), "statistic": None, "p": None, **_inside(test)}) for test in tests]
    return {"first": means[0], "second": means[1], "tests": [dict(vars(test)) for test in tests]}


def _one(found: Merits, number: int, others: int, readers: str) -> MrmcTest:
    if not others:
        return single_modality(found, readers=readers)
    if others == 1 and number != 1:
        return against_fixed(found, readers=readers)
    if number == 1:  # one reader: DeLong's or the paired z test, of this reader only
        return against_fixed(found, readers=readers)
    cov = average_covariances(found.covariance, 2, number)
    return compare_modalities(found.values.reshape(2, number), cov, readers=readers)


def _inside(test: MrmcTest) -> dict[str, float]:
    return {"low": max(0.0, test.low), "high": min(1.0, test.high)}
