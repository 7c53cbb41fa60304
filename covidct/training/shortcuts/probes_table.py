"""Probes that need nothing but the slice table: metadata, duplicates, position."""

from __future__ import annotations

from typing import Any

import numpy as np

from covidct.evaluation.shortcuts.chance import against_chance, auc_interval, patient_means
from covidct.evaluation.shortcuts.judges import judge_duplicates, judge_metadata, judge_told
from covidct.evaluation.shortcuts.outcome import Outcome, not_done
from covidct.training.shortcuts.facts import WORDS, as_numbers, associated, patients_metadata
from covidct.training.shortcuts.linear import out_of_fold
from covidct.training.shortcuts.material import Material


def metadata(material: Material, seed: int, replicates: int) -> Outcome:
    """Logistic regression on metadata, patients in cross-validation; every patient of the split."""
    rows = material.labelled
    people = material.people(rows)
    facts = patients_metadata(material.frame.iloc[rows].assign(patient=people.of_slice))
    varying = [name for name in WORDS if len(facts[name].unique()) > 1]
    absent = [WORDS[name] for name in WORDS if facts[name].isna().all()] + ["tube voltage (not in the slice table)"]
    if not varying:
        return not_done("metadata", "no column of metadata differs between the patients")
    scores = out_of_fold(
        as_numbers(facts, varying), people.labels, np.arange(len(people)), len(material.run.scheme), seed
    )
    if scores is None:
        return not_done("metadata", "fewer than two classes have two patients")
    generator = np.random.default_rng(seed)
    found = against_chance(people.labels, scores, np.zeros(len(people), int), 1, generator)
    bounds = auc_interval(people.labels, scores, people.sites, replicates, generator)
    if found is None or bounds is None:
        return not_done("metadata", f"too few patients for an interval ({len(people)})")
    columns: list[dict[str, Any]] = [
        {
            "column": WORDS[name],
            **dict(zip(("cramers_v", "p", "values"), associated(facts[name], people.labels), strict=True)),
        }
        for name in varying
    ]
    columns.sort(key=lambda row: -row["cramers_v"])
    return judge_metadata(found.value, bounds, columns, len(people), absent)


def duplicates(material: Material) -> Outcome:
    """Equal pixels under two patients, or in two partitions."""
    frame = material.frame
    parts = np.full(len(frame), "", dtype=object)
    for name, rows in material.parts.items():
        parts[rows] = name.split("/")[0]
    used = frame.assign(part=parts).iloc[material.labelled]
    groups = used.groupby("pixel_hash")
    return judge_duplicates(
        int(groups["patient"].nunique().ge(2).sum()),
        int(groups["part"].nunique().ge(2).sum()),
        len(np.unique(used["patient"])),
    )


def position(material: Material, seed: int, replicates: int) -> Outcome:
    """Logistic regression on the place of a slice in its series, patients in cross-validation."""
    frame = material.frame.iloc[material.labelled]
    length = frame.groupby("series_key")["slice_number"].transform("max").to_numpy(dtype=float)
    known = frame["position_mm"].notna().to_numpy() & (length >= 1)
    if not known.any():
        return not_done("position", "the pictures have no place in a series")
    rows = material.labelled[known]
    people = material.people(rows)
    place = frame["slice_number"].to_numpy(dtype=float)[known] / length[known]
    numbers = np.column_stack([place, *[np.maximum(place - knot, 0) for knot in (0.2, 0.4, 0.6, 0.8)]])
    scores = out_of_fold(numbers, people.labels[people.of_slice], people.of_slice, len(material.run.scheme), seed)
    if scores is None:
        return not_done("position", "fewer than two classes have two patients")
    means = patient_means(scores, people.of_slice, len(people))
    generator = np.random.default_rng([seed, 1])
    chance = against_chance(people.labels, means, people.sites, replicates, generator)
    bounds = auc_interval(people.labels, means, people.sites, replicates, generator)
    return judge_told("position", chance, bounds, material.run.scheme.names, len(people))
