"""Readers and model as raters: what each said about every case of a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from covidct.evaluation.patient import NO_RESULT
from covidct.evaluation.readers.reads import RATING

if TYPE_CHECKING:
    from covidct.evaluation.readers.cases import Cases

NOT_READ = -1
"""In `Rater.call`: this rater never saw the case. No result is something else: the rater saw it and said nothing."""


@dataclass(frozen=True)
class Rater:
    """What one rater said about every case of a study.

    Args:
        name: The reader's code, or "model".
        with_ai: Whether the reader saw the model's output; None for the model itself.
        call: int [n], column of `Cases.outcomes`, or `NOT_READ`.
        seen: bool [n, K], the diseases that a conflict is made of; False where there is none.
        scores: float [n, K], higher means more of that class; NaN where there is no rating.
        seconds: float [n], NaN where no time was taken.
    """

    name: str
    with_ai: bool | None
    call: np.ndarray
    seen: np.ndarray
    scores: np.ndarray
    seconds: np.ndarray

    @property
    def read(self) -> np.ndarray:
        """bool [n], the cases this rater saw."""
        return np.asarray(self.call != NOT_READ)


def raters_of(cases: Cases, reads: pd.DataFrame, position: np.ndarray) -> list[Rater]:
    """Each reader without and with AI as a rater; of several sessions on one case the first counts.

    Args:
        cases: The cases that were read.
        reads: As from `read_reads`.
        position: int [reads], the case of each read.

    Returns:
        In the order of the readers' codes; without AI before with AI.
    """
    reads = reads.assign(position=position).sort_values(["session", "order", "line"], kind="stable")
    lowest = float(np.nanmin(reads["confidence"])) if reads["confidence"].notna().any() else 0.0
    found = []
    for (reader, with_ai), rows in reads.groupby(["reader", "with_ai"], sort=True):
        found.append(_rater(cases, str(reader), bool(with_ai), rows.drop_duplicates("position"), lowest))
    return found


def repeated_calls(cases: Cases, reads: pd.DataFrame, position: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For each reader the calls of the first and of the second session on the same cases under the same condition.

    Returns:
        reader -> (int [n] first, int [n] second), `NOT_READ` where there are not two; readers without a repeat are
        absent. Where a reader repeated under both conditions, those without AI.
    """
    reads = reads.assign(position=position).sort_values(["session", "order", "line"], kind="stable")
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for (reader, _), rows in reads.groupby(["reader", "with_ai"], sort=True):
        turn = rows.groupby("position").cumcount()
        if str(reader) in found or not (turn == 1).any():
            continue
        calls = [_calls(cases, rows[turn == number]) for number in (0, 1)]
        calls[0] = np.where(calls[1] == NOT_READ, NOT_READ, calls[0])
        found[str(reader)] = (calls[0], calls[1])
    return found


def _calls(cases: Cases, rows: pd.DataFrame) -> np.ndarray:
    call = np.full(len(cases), NOT_READ)
    call[rows["position"].to_numpy()] = [cases.outcomes.index(outcome) for outcome in rows["call"]]
    return call


def _rater(cases: Cases, reader: str, with_ai: bool, rows: pd.DataFrame, lowest: float) -> Rater:
    n, names = len(cases), cases.scheme.names
    place = rows["position"].to_numpy()
    scores, seconds = np.full((n, len(names)), np.nan), np.full(n, np.nan)
    seconds[place] = rows["seconds"].to_numpy(dtype=np.float64)
    call = _calls(cases, rows)
    scores[place] = _scores(rows, names, lowest)
    scores[call == cases.outcomes.index(NO_RESULT)] = np.nan
    return Rater(reader, with_ai, call, np.zeros((n, len(names)), dtype=bool), scores, seconds)


def _scores(rows: pd.DataFrame, names: Sequence[str], lowest: float) -> np.ndarray:
    """The ratings; else the confidence, upwards for the class that was called and downwards for every other.

    Without either, the call alone: the AUC is then the mean of sensitivity and specificity.
    """
    columns = [f"{RATING}{name}" for name in names]
    if columns[0] in rows and rows[columns].notna().to_numpy().all(axis=1).any():
        return rows[columns].to_numpy(dtype=np.float64)
    sure = rows["confidence"].to_numpy(dtype=np.float64)
    answered = (rows["call"] != NO_RESULT).to_numpy()
    if np.isnan(sure[answered]).any():  # a scale with holes is no scale: this reader's calls alone
        sure = np.full(len(sure), lowest)
    called = rows["call"].to_numpy()[:, None] == np.array(names, dtype=object)[None, :]
    return np.where(called, 1, -1) * (1 + sure - lowest)[:, None]
