"""Probes that ask what can be learnt from the features of the network: linear classifiers on its last layer's input."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import chi2_contingency
from scipy.stats.contingency import association

from covidct.evaluation.shortcuts.chance import against_chance, auc_interval, patient_means
from covidct.evaluation.shortcuts.judges import judge_shuffle, judge_site, judge_told
from covidct.evaluation.shortcuts.outcome import EACH, Outcome, not_done
from covidct.training.shortcuts.linear import fitted, out_of_fold
from covidct.training.shortcuts.looking import Sight
from covidct.training.shortcuts.material import Material, People
from covidct.training.shortcuts.probes_pictures import Seen

SHUFFLES = 20
LEAST = 5
"""Patients of a class that two sites must each have."""


def retrained(seen: Seen, train: Sight, remark: str) -> Outcome:
    """A linear probe fitted on training pictures without lungs, tested on audited ones."""
    test = seen.sights["background"]
    people = seen.material.people(seen.material.train)
    if train.features is None or test.features is None:
        return not_done("background_retrained", "the network has no single last layer whose input could be taken")
    if not train.seen.any() or not test.seen.any():
        return not_done("background_retrained", "no lung was found in any slice")
    labels = people.labels[people.of_slice][train.seen]
    if len(np.unique(labels)) < 2:
        return not_done("background_retrained", "fewer than two classes have slices with lungs")
    scores = fitted(train.features[train.seen], labels, test.features[test.seen], len(seen.names))
    means = patient_means(scores, seen.people.of_slice[test.seen], len(seen.people))
    there = ~np.isnan(means[:, 0])
    audited, sites, generator = seen.people.labels[there], seen.people.sites[there], seen.generator(8)
    chance = against_chance(audited, means[there], sites, seen.replicates, generator)
    bounds = auc_interval(audited, means[there], sites, seen.replicates, generator)
    return judge_told("background_retrained", chance, bounds, seen.names, int(there.sum()), remark)


def shuffle(seen: Seen, train: Sight) -> Outcome:
    """Labels shuffled among all patients, training and audited; a probe fitted on the ones, tested on the others.

    A patient on both sides keeps one shuffled label on both: that is how a leak shows.
    """
    test = seen.sights["whole"]
    if train.features is None or test.features is None:
        return not_done("shuffle", "the network has no single last layer whose input could be taken")
    rows = np.concatenate([seen.material.train, seen.material.audited])
    people = seen.material.people(rows)
    if len(people) < 2 * LEAST:
        return not_done("shuffle", f"too few patients ({len(people)})")
    areas = shuffled_areas(
        train.features, test.features, people.of_slice, people.labels, len(seen.names), seen.generator(9)
    )
    if len(areas) < SHUFFLES / 2:
        return not_done("shuffle", "shuffled labels leave one class alone on a side")
    return judge_shuffle(areas, len(seen.people))


def shuffled_areas(
    train: np.ndarray,
    test: np.ndarray,
    patient: np.ndarray,
    labels: np.ndarray,
    n_classes: int,
    generator: np.random.Generator,
) -> list[float]:
    """Mean AUCs of slices after fits on shuffled labels; shuffles that leave one class alone are left out.

    Args:
        train: float [n, D], features of training slices.
        test: float [m, D], of audited ones.
        patient: int [n + m], patient of each slice, training first.
        labels: int [P], of the patients.
        n_classes: K.
        generator: Of the shuffles.
    """
    areas: list[float] = []
    for _ in range(SHUFFLES):
        shuffled = generator.permutation(labels)[patient]
        if len(np.unique(shuffled[: len(train)])) < 2:
            continue
        scores = fitted(train, shuffled[: len(train)], test, n_classes)
        found = against_chance(shuffled[len(train) :], scores, np.zeros(len(test), int), 1, generator)
        if found is not None:
            areas.append(found.value)
    return areas


def site(material: Material, people: People, sight: Sight, replicates: int, seed: int) -> Outcome:
    """Within each class, a probe from mean features of patients to their site; every patient the network was shown."""
    if sight.features is None:
        return not_done("site", "the network has no single last layer whose input could be taken")
    if len(people.site_names) < 2:
        return not_done("site", "there is one site only")
    means = patient_means(sight.features.astype(np.float64), people.of_slice, len(people))
    generator = np.random.default_rng([seed, 10])
    rows: list[dict[str, object]] = []
    draws = []
    for k, name in enumerate(material.run.scheme.names):
        mine = people.labels == k
        counts = np.bincount(people.sites[mine], minlength=len(people.site_names))
        mine &= counts[people.sites] >= LEAST
        scores = out_of_fold(means[mine], people.sites[mine], np.flatnonzero(mine), len(people.site_names), seed)
        if scores is None:
            continue
        found = against_chance(people.sites[mine], scores, np.zeros(int(mine.sum()), int), replicates, generator)
        if found is not None:
            rows.append({"class": name, "auc": found.value, "patients": int(mine.sum())})
            draws.append(found.draws)
    if not rows:
        return not_done("site", f"no class has {LEAST} patients or more at two sites")
    drawn = np.mean(draws, axis=0)
    value = float(np.mean([float(str(row["auc"])) for row in rows]))
    p = float((1 + (drawn >= value - 1e-12).sum()) / (1 + len(drawn)))
    patients = sum(int(str(row["patients"])) for row in rows)
    return judge_site(rows, value, p, float(np.quantile(drawn, 1 - EACH)), _linked(material), patients)


def _linked(material: Material) -> tuple[float, float] | None:
    """Cramér's V and P of site and label among training patients; None with one site."""
    people = material.people(material.train)
    if len(people.site_names) < 2:
        return None
    counts = pd.crosstab(people.sites, people.labels).to_numpy()
    if min(counts.shape) < 2:
        return 0.0, 1.0
    return float(association(counts, method="cramer")), float(chi2_contingency(counts).pvalue)
