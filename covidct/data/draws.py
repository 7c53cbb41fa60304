"""Drawing training patients at random, in fixed proportions, the same on every machine.

Keys are ordered by a SHA-256 of seed, repeat and key: no random generator, whose stream could change with its version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import pandas as pd


def by_patient(slices: pd.DataFrame, fraction: float, order: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Whole patients, the share `fraction` of each class to training, spread in proportion over its sites.

    Args:
        slices: Labelled slices with `patient_key`, `label` and `site`; each patient has one label.
        fraction: Share of training patients, inside (0, 1).
        order: Seed and repeat, as text.

    Returns:
        Training and validation slices. A class of two or more patients is on both sides.
    """
    patients = slices.groupby("patient_key").agg(label=("label", "first"), site=("site", "first"))
    strata = {
        label: {site: _shuffled(rows.index, order) for site, rows in group.groupby("site")}
        for label, group in patients.groupby("label")
    }
    sizes = {label: sum(map(len, sites.values())) for label, sites in strata.items()}
    # two sides need two patients; the caller refuses a smaller class by name
    bounds = {label: (min(1, n), max(min(1, n), n - 1)) for label, n in sizes.items()}
    quota = _apportion(sizes, fraction, bounds, order)
    train: set[str] = set()
    for label, sites in strata.items():
        here = {site: len(keys) for site, keys in sites.items()}
        wanted = _apportion(here, quota[label] / sizes[label], {s: (0, n) for s, n in here.items()}, order)
        for site, keys in sites.items():
            train.update(keys[: wanted[site]])
    chosen = slices["patient_key"].isin(train)
    return slices[chosen], slices[~chosen]


def by_image(slices: pd.DataFrame, fraction: float, order: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Slices at random, whoever they belong to; not stratified, for the paper does not say so (L236-237)."""
    keys = _shuffled(slices["slice_key"], order)
    chosen = slices["slice_key"].isin(keys[: round(fraction * len(keys))])
    return slices[chosen], slices[~chosen]


def _apportion(
    sizes: Mapping[str, int], fraction: float, bounds: Mapping[str, tuple[int, int]], order: str
) -> dict[str, int]:
    """`fraction * size` rounded up or down so that the sum is the rounded sum (largest remainders), inside bounds.

    Rounding each stratum by itself would drift: a hundred strata of two patients would give all of them to training.
    Equal remainders are ordered by hash, so that over the repeats no stratum is favoured by its name.
    """
    exact = {name: size * fraction for name, size in sizes.items()}
    given = {name: min(max(int(exact[name]), bounds[name][0]), bounds[name][1]) for name in sizes}
    total = int(sum(exact.values()) + 0.5 + 1e-9)
    names = _shuffled(sizes, order)
    while (missing := total - sum(given.values())) != 0:
        step = 1 if missing > 0 else -1
        free = [
            n
            for n in names
            if bounds[n][0] <= given[n] + step <= bounds[n][1] and abs(given[n] + step - exact[n]) < 1 - 1e-9
        ]
        if not free:
            break  # bounds, and the share of each stratum, win over the total
        given[max(free, key=lambda n: round(step * (exact[n] - given[n]), 9))] += step
    return given


def _shuffled(keys: Iterable[str], order: str) -> list[str]:
    """Distinct keys in a random order that only `order` and the keys decide."""
    return sorted(set(keys), key=lambda key: hashlib.sha256(f"{order}/{key}".encode()).digest())
