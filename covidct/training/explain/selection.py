"""Which slices are explained: cases to look at, and a sample to count in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from covidct.evaluation.predictions import Predictions

MISTAKE, BEST, TYPICAL = "mistake", "best", "typical"
"""Groups of cases: the most confident wrong calls; the most confident right ones; for each class the slices whose
probability of it is nearest to the middle."""


@dataclass(frozen=True)
class Chosen:
    """What is explained.

    Args:
        frame: Every slice that is explained, once: columns of the predictions, `row` (in the slice table), `called`,
            `probability` (of the called class, 0..1).
        cases: (group, position in `frame`), in the order of the report.
        sample: Positions in `frame` that are counted.
    """

    frame: pd.DataFrame
    cases: list[tuple[str, int]]
    sample: np.ndarray


def choose(predictions: Predictions, place: dict[str, int], *, slices: int, cases: int, seed: int) -> Chosen:
    """Choose slices; the same for the same predictions and seed.

    The sample takes one slice of each patient before it takes a second one of any. Cases have at most one slice of a
    patient in each group.

    Args:
        predictions: Of one partition.
        place: slice_key -> row of the slice table; slices without one cannot be shown.
        slices: Size of the sample.
        cases: Slices among the mistakes and among the best; of each class half as many, rounded up.
        seed: Of the sample.
    """
    names = np.array(predictions.scheme.names)
    probabilities = predictions.probabilities
    frame = predictions.frame.assign(called=names[probabilities.argmax(axis=1)], probability=probabilities.max(axis=1))
    frame = frame[frame["slice_key"].isin(list(place))].sort_values("slice_key").reset_index(drop=True)
    frame = frame.assign(row=[place[key] for key in frame["slice_key"]])
    generator = np.random.default_rng(seed)
    mixed = frame.iloc[generator.permutation(len(frame))]
    turn = mixed.groupby(["site", "patient_key"]).cumcount()
    sample = mixed.assign(turn=turn).sort_values("turn", kind="stable").index[:slices].to_numpy()
    right = frame["called"] == frame["label"]
    found = [(MISTAKE, k) for k in _first(frame[~right], "probability", cases, ascending=False)]
    each = -(-cases // 2)
    found += [(BEST, k) for k in _first(frame[right], "probability", cases, ascending=False)]
    for name in names:
        own = frame[frame["label"] == name]
        if name != predictions.scheme.normal and (own["slice_label"] == 1).any():
            own = own[own["slice_label"] == 1]  # a diseased patient's slice without a lesion is not typical
        distance = (own[f"p_{name}"] - own[f"p_{name}"].median()).abs()
        found += [(TYPICAL, k) for k in _first(own.assign(distance=distance), "distance", each, ascending=True)]
    used = np.unique([*sample.tolist(), *(k for _, k in found)]).astype(int)
    new = {int(old): position for position, old in enumerate(used)}
    return Chosen(
        frame=frame.iloc[used].reset_index(drop=True),
        cases=[(group, new[k]) for group, k in found],
        sample=np.array([new[int(k)] for k in sample], dtype=int),
    )


def _first(frame: pd.DataFrame, column: str, count: int, *, ascending: bool) -> list[int]:
    ordered = frame.sort_values([column, "slice_key"], ascending=[ascending, True])
    return [int(k) for k in ordered.drop_duplicates(["site", "patient_key"]).index[:count]]
