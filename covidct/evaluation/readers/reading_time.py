"""How long a verdict takes: readers without and with AI, and the model with reading of files apart from inference.

Times are compared on the log scale, because a case that takes twice as long is as far off as one that takes half, and
in pairs: the same reader and case under both conditions, or reader and model on the same case. The patient is the unit:
the log ratios of a patient are averaged over its cases and readers first. Reads that failed took time too and count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from covidct.errors import UsageError
from covidct.evaluation.intervals import FEW_PATIENTS, LEVEL
from covidct.evaluation.readers.cases import Cases
from covidct.evaluation.readers.raters import Rater

LEAST_PAIRS = 3
"""Patients below which a ratio of times has neither interval nor test."""

MODEL_KEYS = ("io", "inference", "hardware", "batch_size", "slices")
"""What may be said of the model's time: seconds a slice for reading and preparing it, and for the network."""


def spread(seconds: np.ndarray) -> dict[str, Any]:
    """Median and quartiles of the times that were taken; None without one."""
    known = seconds[~np.isnan(seconds)]
    low, middle, high = (float(q) for q in np.quantile(known, [0.25, 0.5, 0.75])) if len(known) else (None, None, None)
    return {"n": len(known), "median": middle, "q1": low, "q3": high}


def ratio(first: np.ndarray, second: np.ndarray, patient: np.ndarray) -> dict[str, Any]:
    """Geometric mean of first / second over patients, with Student's t on the log scale and Wilcoxon's test.

    Args:
        first: float [m] seconds; NaN where there is none.
        second: float [m], paired with it.
        patient: int [m]; whose case it is.

    Returns:
        `ratio`, `low`, `high` (95 %; None below three patients or without spread), `p` (Wilcoxon signed rank on the
        patients' mean log ratios; None where it is undefined), `n_patients`, `n_pairs`, `few_patients`.
    """
    known = ~np.isnan(first) & ~np.isnan(second)
    logs = np.log(first[known]) - np.log(second[known])
    unit = np.unique(patient[known], return_inverse=True)[1]
    number = int(unit.max()) + 1 if len(unit) else 0
    found: dict[str, Any] = {"ratio": None, "low": None, "high": None, "p": None}
    found |= {"n_patients": number, "n_pairs": int(known.sum()), "few_patients": number < FEW_PATIENTS}
    if not number:
        return found
    means = np.bincount(unit, weights=logs) / np.bincount(unit)
    middle = float(means.mean())
    found["ratio"] = float(np.exp(middle))
    if number < LEAST_PAIRS or np.ptp(means) < 1e-12:
        return found
    half = float(stats.t.ppf((1 + LEVEL) / 2, number - 1)) * float(means.std(ddof=1)) / np.sqrt(number)
    found["low"], found["high"] = float(np.exp(middle - half)), float(np.exp(middle + half))
    found["p"] = float(stats.wilcoxon(means).pvalue)
    return found


def model_seconds(given: Mapping[str, Any]) -> dict[str, Any] | None:
    """The model's seconds a slice, checked; None where none are given.

    Raises:
        UsageError: A time is not a number above 0, or there is one without the other.
    """
    times = {name: given.get(name) for name in ("io", "inference")}
    if all(value is None for value in times.values()):
        return None
    for name, value in times.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise UsageError(
                f"model_seconds.{name} is {value!r}, not a number of seconds a slice above 0",
                remedy="give both: model_seconds.io=0.02 model_seconds.inference=0.05",
            )
    about = {name: given.get(name) for name in MODEL_KEYS[2:]}
    return {"io": float(given["io"]), "inference": float(given["inference"]), **about}


def times_of(cases: Cases, readers: Sequence[Rater], model: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Everything about time; None where no read has one.

    Args:
        cases: The cases.
        readers: Readers without and with AI.
        model: As from `model_seconds`.

    Returns:
        `readers`: for each its spread, its reads and how many failed or have no time; `with_ai`: time with AI over
        without, for each reader and for all together; `model`: its seconds a case and, for each condition, the
        readers' time over the model's whole time and over inference alone.
    """
    if all(np.isnan(rater.seconds).all() for rater in readers):
        return None
    silent = len(cases.outcomes) - 1
    rows = [
        {
            "reader": rater.name,
            "with_ai": rater.with_ai,
            **spread(rater.seconds),
            "reads": int(rater.read.sum()),
            "failed": int((rater.call == silent).sum()),
            "untimed": int((rater.read & np.isnan(rater.seconds)).sum()),
        }
        for rater in readers
    ]
    alone = {rater.name: rater for rater in readers if not rater.with_ai}
    pairs = [(rater, alone[rater.name]) for rater in readers if rater.with_ai and rater.name in alone]
    assisted = None
    if pairs:
        each = [{"reader": a.name, **ratio(a.seconds, b.seconds, cases.patient)} for a, b in pairs]
        together = ratio(
            np.concatenate([a.seconds for a, _ in pairs]),
            np.concatenate([b.seconds for _, b in pairs]),
            np.tile(cases.patient, len(pairs)),
        )
        assisted = {"each": each, "all": together}
    return {"readers": rows, "with_ai": assisted, "model": _beside_model(cases, readers, model) if model else None}


def _beside_model(cases: Cases, readers: Sequence[Rater], model: Mapping[str, Any]) -> dict[str, Any]:
    inference = cases.slices * model["inference"]
    whole = cases.slices * (model["io"] + model["inference"])
    against = []
    for with_ai in (False, True):
        group = [rater for rater in readers if rater.with_ai is with_ai]
        if not group:
            continue
        seconds, patient = np.concatenate([r.seconds for r in group]), np.tile(cases.patient, len(group))
        for name, times in (("whole", whole), ("inference", inference)):
            against.append({"with_ai": with_ai, "of": name, **ratio(seconds, np.tile(times, len(group)), patient)})
    a_case = {"inference": spread(inference), "whole": spread(whole)}
    return {"a_slice": dict(model), "a_case": a_case, "readers_over_model": against}
