"""How often "95 %" intervals hold the truth, in studies whose truth is known because they are drawn.

    python -m experiments.intervals.coverage --studies 400 --jobs 2 --out experiments/intervals/coverage.csv

Slices of a patient share a part of their noise: `icc` is that part of the variance (of the score for AUCs, of right and
wrong for proportions: beta-binomial). Everything goes through the functions that `covidct evaluate` calls.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import ndtri

from covidct.evaluation.class_means import Way, class_areas, mean_sensitivity
from covidct.evaluation.intervals import Interval, clopper_pearson, proportion

PRINTED = ("korn_graubard", "logit_t")
NOT_PRINTED = ("slices as if independent", "bootstrap")
UNEVEN = 0
"""Stands for 1 to 300 slices a patient, log-normal around 30."""


@dataclass(frozen=True)
class Design:
    """A study to be repeated.

    Args:
        figure: "proportion", "auc", "macro_auc" or "macro_sensitivity".
        patients: Of each class.
        slices: Of each patient; 0 is uneven.
        icc: Likeness of the slices of a patient, in 0..1.
        truth: The probability or AUC of each class; one for all, or one each.
    """

    figure: str
    patients: tuple[int, ...]
    slices: int
    icc: float
    truth: tuple[float, ...]


DESIGNS = [
    *(Design("proportion", (n,), 98, icc, (0.982,)) for n in (50, 100, 13) for icc in (0.05, 0.1, 0.2, 0.5)),
    *(Design("proportion", (50,), 98, icc, (0.85,)) for icc in (0.05, 0.2)),
    *(Design("proportion", (50,), UNEVEN, icc, (0.95,)) for icc in (0.05, 0.2)),
    *(
        Design("auc", patients, 30, icc, (truth,))
        for patients in ((40, 10), (25, 25), (50, 50))
        for icc in (0.05, 0.2, 0.5)
        for truth in (0.8, 0.95, 0.99)
    ),
    *(Design("auc", patients, UNEVEN, 0.2, (0.95,)) for patients in ((40, 10), (25, 25))),
    *(Design("auc", patients, 1, 0.0, (truth,)) for patients in ((40, 10), (25, 25)) for truth in (0.8, 0.95)),
    *(
        Design("macro_auc", (10,) * 5, slices, icc, (truth,))
        for slices, icc in ((30, 0.05), (30, 0.2), (1, 0.0))
        for truth in (0.8, 0.95)
    ),
    *(
        Design("macro_sensitivity", (10,) * 5, slices, icc, (0.98, 0.95, 0.9, 0.85, 0.7))
        for slices, icc in ((98, 0.05), (98, 0.2), (98, 0.5), (1, 0.0))
    ),
    *(Design("macro_sensitivity", (25, 25), 98, icc, (0.982, 0.9)) for icc in (0.05, 0.2)),
    *(Design("macro_sensitivity", (25, 25), 98, icc, (0.982, 0.982)) for icc in (0.05, 0.2)),
]


@dataclass(frozen=True)
class Coverage:
    """What became of one design and one method.

    Args:
        figure: As in `Design`, with its patients, slices, icc and truth.
        method: Of the interval.
        studies: Repetitions.
        without: Share of them in which there was no interval (no spread between patients).
        coverage: Share of the intervals that hold the truth.
        below: Share that lie wholly below it.
        width: Mean width.
    """

    figure: str
    patients: str
    slices: str
    icc: float
    truth: str
    method: str
    studies: int
    without: float
    coverage: float
    below: float
    width: float


def simulate(design: Design, studies: int, seed: int, *, replicates: int = 1000, ways: str = "both") -> list[Coverage]:
    """Repeat a study and count.

    Args:
        design: The study.
        studies: Repetitions.
        seed: Of everything that is drawn.
        replicates: Of the bootstrap.
        ways: "both", or "default" for the intervals that a report prints.
    """
    generator = np.random.default_rng(seed)
    truth = math.fsum(design.truth) / len(design.truth)
    found: dict[str, list[tuple[float, float] | None]] = {}
    for study in range(studies):
        for method, interval in _draw(design, generator, replicates, study, ways == "both"):
            found.setdefault(method, []).append(interval)
    place = (design.figure, " + ".join(map(str, design.patients)), str(design.slices or "uneven"), design.icc)
    rows = []
    for method, intervals in found.items():
        ends = np.array([pair for pair in intervals if pair is not None]).reshape(-1, 2)
        inside = (ends[:, 0] <= truth) & (truth <= ends[:, 1])
        shown = " ".join(f"{value:g}" for value in design.truth)
        shares = [math.nan] * 3
        if len(ends):
            shares = [float(inside.mean()), float((ends[:, 1] < truth).mean()), float(np.diff(ends, axis=1).mean())]
        rows.append(Coverage(*place, shown, method, studies, 1 - len(ends) / studies, *shares))
    return rows


def _draw(
    design: Design, generator: np.random.Generator, replicates: int, study: int, both: bool
) -> Iterator[tuple[str, tuple[float, float] | None]]:
    """One study: its methods with their intervals."""
    label = np.repeat(np.arange(len(design.patients)), design.patients)
    slices = np.full(len(label), design.slices)
    if design.slices == UNEVEN:
        slices = np.clip(np.round(np.exp(generator.normal(3.4, 0.7, len(label)))), 1, 300).astype(int)
    patient = np.repeat(np.arange(len(label)), slices)
    truth = label[patient]
    ways = [Way(name, replicates, [study]) for name in (("logit_t", "bootstrap") if both else ("logit_t",))]
    if design.figure in ("auc", "macro_auc"):
        classes = max(len(design.patients), 2)
        height = math.sqrt(2) * float(ndtri(design.truth[0]))
        own = generator.normal(size=(len(label), classes))[patient] * math.sqrt(design.icc)
        scores = own + generator.normal(size=own.shape) * math.sqrt(1 - design.icc)
        scores[np.arange(len(truth)), truth] += height
        if design.figure == "auc":  # one score; the other column mirrors it
            scores[:, 0] = -scores[:, 1]
        for way in ways:
            areas, mean, _ = class_areas(truth, scores, patient, label, way)
            yield way.name, _ends(areas[1] if design.figure == "auc" else mean)
        return
    p = np.array(design.truth)[label]
    chance = generator.beta(p * (1 / design.icc - 1), (1 - p) * (1 / design.icc - 1)) if design.icc else p
    right = generator.random(len(patient)) < chance[patient]
    if design.figure == "macro_sensitivity":
        for way in ways:
            yield way.name, _ends(mean_sensitivity(truth, right, patient, label, way)[0])
        return
    yield "korn_graubard", _ends(proportion(np.bincount(patient[right], minlength=len(label)), slices))
    if both:
        yield "slices as if independent", clopper_pearson(int(right.sum()), len(right))


def _ends(interval: Interval) -> tuple[float, float] | None:
    return None if interval.low is None or interval.high is None else (interval.low, interval.high)


def markdown(table: pd.DataFrame) -> str:
    """The table of a manual: a line for each design, the printed interval beside the one that is not."""
    names = {
        "proportion": "proportion",
        "auc": "AUC",
        "macro_auc": "macro AUC",
        "macro_sensitivity": "macro sensitivity",
    }
    lines = [
        "| figure | patients of each class | slices each | truth | ICC | printed | width | not printed | width |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for place, rows in table.groupby(["figure", "patients", "slices", "truth", "icc"], sort=False):
        figure, patients, slices, truth, icc = place
        ours, other = (next(rows[rows["method"].isin(kind)].itertuples()) for kind in (PRINTED, NOT_PRINTED))
        cells = [names[str(figure)], patients, slices, truth, f"{icc:g}"]
        cells += [f"**{ours.coverage:.3f}**", f"{ours.width:.3f}", f"{other.coverage:.3f}", f"{other.width:.3f}"]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main() -> None:
    """Simulate every design and write one table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--studies", type=int, default=400)
    parser.add_argument("--jobs", type=int, default=1, help="processes; the table does not depend on it")
    parser.add_argument("--out", type=Path, default=Path("experiments/intervals/coverage.csv"))
    given = parser.parse_args()
    rows: list[Coverage] = []
    settings = (DESIGNS, [given.studies] * len(DESIGNS), range(len(DESIGNS)))
    with ProcessPoolExecutor(given.jobs) if given.jobs > 1 else nullcontext() as pool:
        for found in map(simulate, *settings) if pool is None else pool.map(simulate, *settings):
            rows += found
            for row in found:
                place = f"{row.figure} {row.patients} icc {row.icc:g} {row.truth}"
                print(f"{place}: {row.method} {row.coverage:.3f}", flush=True)
    columns = [field.name for field in fields(Coverage)]
    table = pd.DataFrame([astuple(row) for row in rows], columns=columns).round(4)
    table.to_csv(given.out, index=False)
    print(markdown(table))


if __name__ == "__main__":
    main()
