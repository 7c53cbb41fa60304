"""From the predictions tables of many runs to cases that every one of them scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from covidct.errors import DataRefused
from covidct.evaluation.catalogue import CataloguedRun
from covidct.evaluation.paired_patients import LEAST_PROBABILITY, PairedCases
from covidct.evaluation.patient import called_class, patient_table
from covidct.evaluation.predictions import Predictions, probability_columns, read_predictions
from covidct.labels import ClassScheme

MACRO_LOG_LOSS = "macro_log_loss"
"""A figure that metrics.json does not hold; it is computed from the predictions table."""

POOLED = "(pooled)"


@dataclass(frozen=True)
class Site:
    """One test site, or all together, as every arm saw it; or why arms cannot be compared there.

    Args:
        name: Site, or `POOLED`.
        level: "patient" (mean probability of the slices) or "slice".
        cases: The cases, or None.
        networks: Number of networks of each arm.
        problem: Why there are no cases.
    """

    name: str
    level: str
    cases: PairedCases | None
    networks: Mapping[str, int]
    problem: str | None = None


def measured(run: CataloguedRun, metric: str) -> object:
    """A metric of a run: from the catalogue, or `split[.site].level.macro_log_loss` from its predictions.

    The macro log-loss is the mean over classes of the mean of -log p(truth), so that a rare class counts like a common
    one.

    Raises:
        DataRefused: The predictions cannot be read.
    """
    split, _, rest = metric.partition(".")
    words = rest.split(".")
    if words[-1] != MACRO_LOG_LOSS:
        return run.value(metric)
    level = "slice" if "slice" in words else "patient"
    site = ".".join(words[: words.index(level)]) if level in words else ""
    file = run.path / "predictions.parquet"
    if not file.is_file():
        return None
    predictions = read_predictions(file)
    cases = _cases(predictions, split, None if site in ("", "pooled") else site, level)
    if cases.empty:
        return None
    truth = cases["truth"].to_numpy()
    chosen = _scores(cases, predictions.scheme)[np.arange(len(cases)), truth]
    losses = pd.Series(-np.log(np.maximum(chosen, LEAST_PROBABILITY)))
    return float(losses.groupby(truth).mean().mean())


def test_sites(runs: Mapping[str, Sequence[Path]], level: str) -> list[Site]:
    """The external test sites, each first, all together last when there are two or more.

    Args:
        runs: For each arm the folders of its runs that count, in the order of the repeats.
        level: "patient" or "slice".

    Returns:
        Nothing when no run has test predictions. A site that not all runs scored, or scored on other cases, has a
        `problem` instead of cases.
    """
    read: dict[str, list[tuple[str, Predictions]]] = {}
    for arm, folders in runs.items():
        read[arm] = []
        for folder in folders:
            file = folder / "predictions.parquet"
            if file.is_file():
                read[arm].append((folder.name, read_predictions(file)))
    everything = [found for arm in read.values() for found in arm]
    names = sorted({s for _, p in everything for s in p.frame.loc[p.frame["split"] == "test", "site"].unique()})
    if not names:
        return []
    scheme = everything[0][1].scheme
    for name, predictions in everything:
        if predictions.scheme != scheme:
            raise DataRefused("runs of one comparison have different classes", where=name)
    counts = {arm: len(folders) for arm, folders in runs.items()}
    sites = []
    for name in names if len(names) < 2 else [*names, POOLED]:
        parts = {
            arm: [(run, _cases(p, "test", None if name == POOLED else name, level)) for run, p in found]
            for arm, found in read.items()
        }
        parts = {arm: [(run, cases) for run, cases in found if len(cases)] for arm, found in parts.items()}
        problem = _problem(parts, counts)
        cases = None if problem else _paired(parts, scheme)
        sites.append(Site(name, level, cases, {arm: len(found) for arm, found in parts.items()}, problem))
    return sites


def _cases(predictions: Predictions, split: str, site: str | None, level: str) -> pd.DataFrame:
    """One row per slice or patient: key, site, patient, truth (class column) and `p_<class>`, in the order of keys."""
    frame, scheme = predictions.frame, predictions.scheme
    frame = frame[frame["split"] == split]
    if site is not None:
        frame = frame[frame["site"] == site]
    if frame.empty:
        return pd.DataFrame()
    columns = probability_columns(scheme)
    if level == "patient":
        table = patient_table(Predictions(frame, scheme))
        found = table[["site", "patient_key", "label"]].copy()
        found["key"] = found["patient_key"]
        found[columns] = table[[f"mean_probability_{name}" for name in scheme.names]].to_numpy(dtype=np.float64)
    else:
        found = frame[["site", "patient_key", "label", *columns]].copy()
        found["key"] = frame["slice_key"]
    found["truth"] = pd.Categorical(found["label"], categories=list(scheme.names)).codes.astype(np.int64)
    return found.sort_values(["site", "patient_key", "key"], kind="stable", ignore_index=True)


def _problem(parts: Mapping[str, list[tuple[str, pd.DataFrame]]], counts: Mapping[str, int]) -> str | None:
    """Why the arms cannot be compared on these cases, or None."""
    absent = [
        f"{counts[arm] - len(found)} of {counts[arm]} runs of {arm}"
        for arm, found in parts.items()
        if len(found) < counts[arm]
    ]
    if absent:
        return f"not evaluated: {', '.join(absent)}"
    everything = [found for arm in parts.values() for found in arm]
    name, first = everything[0]
    keys = ["site", "patient_key", "key", "truth"]
    for other, cases in everything[1:]:
        if not cases[keys].equals(first[keys]):
            return f"other patients, slices or labels in {other} than in {name}"
    return None


def _paired(parts: Mapping[str, list[tuple[str, pd.DataFrame]]], scheme: ClassScheme) -> PairedCases:
    first = next(cases for found in parts.values() for _, cases in found)
    patients = first[["site", "patient_key"]].drop_duplicates(ignore_index=True)
    row = pd.MultiIndex.from_frame(patients).get_indexer(pd.MultiIndex.from_frame(first[["site", "patient_key"]]))
    strata = first.drop_duplicates(["site", "patient_key"]).groupby(["site", "label"]).ngroup().to_numpy()
    scores = {arm: np.stack([_scores(cases, scheme) for _, cases in found]) for arm, found in parts.items()}
    called = {arm: np.stack([called_class(run, scheme) for run in found]) for arm, found in scores.items()}
    return PairedCases(first["truth"].to_numpy(), row, strata, scores, called)


def _scores(cases: pd.DataFrame, scheme: ClassScheme) -> np.ndarray:
    return cases[probability_columns(scheme)].to_numpy(dtype=np.float64)
