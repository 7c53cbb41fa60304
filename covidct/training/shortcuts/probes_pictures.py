"""Probes that show the network pictures with a part taken away, or pictures that show nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from covidct.data.transforms import GRAY_STEPS
from covidct.evaluation.intervals import LEAST_PATIENTS, PatientBootstrap, WeightedAUC
from covidct.evaluation.patient import called_class
from covidct.evaluation.shortcuts.chance import against_chance, auc_interval, patient_means, sign_flip
from covidct.evaluation.shortcuts.judges import (
    judge_corners,
    judge_empty,
    judge_lesion_free,
    judge_lung_only,
    judge_marks,
    judge_told,
)
from covidct.evaluation.shortcuts.outcome import Outcome, not_done
from covidct.training.shortcuts.looking import Looker, Sight
from covidct.training.shortcuts.material import Material, People

NOISE_PICTURES = 16


@dataclass(frozen=True)
class Seen:
    """What an audit has shown the network: views of the audited slices, and marks.

    Args:
        material: Who is audited.
        people: The audited patients.
        sights: View -> what the network said, in the order of `material.audited`.
        replicates: Permutations and bootstrap replicates.
        seed: Of both.
    """

    material: Material
    people: People
    sights: dict[str, Sight]
    replicates: int
    seed: int

    @property
    def names(self) -> tuple[str, ...]:
        return self.material.run.scheme.names

    def generator(self, number: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, number])


def told(seen: Seen, view: str, remark: str) -> Outcome:
    """Background and border: AUCs of patients under a view."""
    sight = seen.sights[view]
    if not sight.seen.any():
        return not_done(view, "no lung was found in any slice")
    means = patient_means(sight.probabilities[sight.seen], seen.people.of_slice[sight.seen], len(seen.people))
    there = ~np.isnan(means[:, 0])
    labels, sites, generator = seen.people.labels[there], seen.people.sites[there], seen.generator(2)
    chance = against_chance(labels, means[there], sites, seen.replicates, generator)
    bounds = auc_interval(labels, means[there], sites, seen.replicates, generator)
    return judge_told(view, chance, bounds, seen.names, int(there.sum()), remark)


def lung_only(seen: Seen, remark: str) -> Outcome:
    """The gap between the whole picture and the lungs alone, on the slices where lungs were found."""
    whole, lungs = seen.sights["whole"], seen.sights["lung_only"]
    use = lungs.seen
    if not use.any():
        return not_done("lung_only", "no lung was found in any slice")
    both = [patient_means(s.probabilities[use], seen.people.of_slice[use], len(seen.people)) for s in (whole, lungs)]
    there = ~np.isnan(both[0][:, 0])
    labels, sites = seen.people.labels[there], seen.people.sites[there]
    count, place = np.bincount(labels, minlength=len(seen.names)), np.arange(len(labels))
    defined = [k for k in range(len(seen.names)) if 0 < count[k] < len(labels)]
    if not defined:
        return not_done("lung_only", "the audited patients are all of one class")
    areas = [[WeightedAUC(labels == k, means[there][:, k], place) for k in defined] for means in both]

    def gap(weights: np.ndarray) -> np.ndarray:
        full, part = (np.mean([area(weights) for area in group], axis=0) for group in areas)
        return (full - part)[:, None]

    ones = np.ones((1, len(labels)))
    full, part = (float(np.mean([area(ones)[0] for area in group])) for group in areas)
    bounds = None
    if len(labels) >= LEAST_PATIENTS:
        cells = np.unique(np.column_stack([sites, labels]), axis=0, return_inverse=True)[1].reshape(-1)
        bounds = PatientBootstrap.draw(cells, seen.replicates, seen.generator(3)).intervals([full - part], gap)[0]
    return judge_lung_only(full, part, bounds, len(labels), remark)


def corners(seen: Seen) -> Outcome:
    """Patients' share of right slices, whole and with the corners blanked, paired by patient."""
    labels = seen.people.labels[seen.people.of_slice]
    right = [
        patient_means(
            (called_class(seen.sights[view].probabilities, seen.material.run.scheme) == labels).astype(float),
            seen.people.of_slice,
            len(seen.people),
        )
        for view in ("whole", "no_corners")
    ]
    fall = right[0] - right[1]
    generator = seen.generator(4)
    p = sign_flip(fall, seen.replicates, generator)
    bounds = None
    if len(fall) >= LEAST_PATIENTS:
        weights = PatientBootstrap.draw(seen.people.labels, seen.replicates, generator)
        bounds = weights.intervals([float(fall.mean())], lambda drawn: (drawn @ fall / drawn.sum(axis=1))[:, None])[0]
    return judge_corners(float(right[0].mean()), float(right[1].mean()), bounds, p, len(fall))


def marks(people: People, marked: np.ndarray, names: tuple[str, ...], replicates: int, seed: int) -> Outcome:
    """Share of each patient's slices with a bright mark in a corner, against the label; both directions count."""
    shares = patient_means(marked.astype(float), people.of_slice, len(people))
    generator = np.random.default_rng([seed, 5])
    p = np.ones(len(names))
    for sign in (1.0, -1.0):
        found = against_chance(
            people.labels, np.tile(sign * shares[:, None], (1, len(names))), people.sites, replicates, generator
        )
        if found is not None:
            p = np.fmin(p, np.minimum(1.0, 2 * found.p_class))
    return judge_marks(people.labels, shares, p, names)


def lesion_free(seen: Seen) -> Outcome:
    """Sensitivity on slices of diseased patients with and without a lesion."""
    frame = seen.material.frame.iloc[seen.material.audited]
    lesion = frame["slice_label"].fillna(-1).to_numpy(dtype=np.int64)
    if not (lesion == 0).any() or not (lesion == 1).any():
        return not_done("lesion_free", "no slice labels say which slices show a lesion")
    scheme, probabilities = seen.material.run.scheme, seen.sights["whole"].probabilities
    labels, patient, count = seen.people.labels, seen.people.of_slice, len(seen.people)
    free = lesion == 0
    means = patient_means(probabilities[free], patient[free], count)
    there = ~np.isnan(means[:, 0])
    chance = against_chance(labels[there], means[there], seen.people.sites[there], seen.replicates, seen.generator(6))
    called = (called_class(probabilities, scheme) == labels[patient]).astype(float)
    found = [patient_means(called[lesion == kind], patient[lesion == kind], count) for kind in (1, 0)]
    both = ~np.isnan(found[0]) & ~np.isnan(found[1])
    rates = {}
    for k, name in enumerate(scheme.names):
        mine = both & (labels == k)
        if name != scheme.normal and mine.any():
            rates[k] = (float(found[0][mine].mean()), float(found[1][mine].mean()), int(mine.sum()))
    return judge_lesion_free(chance, rates, scheme.names, int(there.sum()))


def empty(seen: Seen, looker: Looker) -> Outcome:
    """Air, water (or black and grey), noise, and the audited slices inverted."""
    scheme = seen.material.run.scheme
    if scheme.positive is None:
        return not_done("empty", "the task has no positive class")
    column, transform, is_hu = scheme.index(scheme.positive), looker.data.transform, looker.viewer.is_hu
    shape = (transform.size, transform.size)
    generator = seen.generator(7)
    blank = {"air": -1000, "water": 0} if is_hu else {"black": 0, "grey": 128 * GRAY_STEPS}
    pictures = {name: [np.full(shape, value, dtype=np.int16)] for name, value in blank.items()}
    low, high = (-1000, 400) if is_hu else (0, 255 * GRAY_STEPS)
    pictures["noise"] = [generator.integers(low, high, shape, dtype=np.int16) for _ in range(NOISE_PICTURES)]
    found = {
        name: float(looker.show(torch.stack([transform.finish(base) for base in bases]))[0][:, column].mean())
        for name, bases in pictures.items()
    }
    inverted = seen.sights["inverted"].probabilities[:, column]
    found["inverted"] = float(patient_means(inverted, seen.people.of_slice, len(seen.people)).mean())
    return judge_empty(found, scheme.positive)
