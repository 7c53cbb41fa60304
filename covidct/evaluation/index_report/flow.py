"""The flow of exclusions, from files to patients of each class and site (STARD item 19, CONSORT's diagram)."""

from __future__ import annotations

from typing import Any

import pandas as pd

from covidct.evaluation.index_report.material import NO_LABEL, IndexMaterial, patients

_REASONS = 14
"""Reasons shown one by one; the rarest of more are put together."""

_SITES = 18


def flow(material: IndexMaterial) -> dict[str, Any]:
    """The steps.

    Returns:
        "files": files read; "ignored": files that are no scans of the layout; "refused": reasons of files and slices
        that no rule of the study refused, with counts, most frequent first; "n_refused": their sum; "readable": slices
        and patients that are left; "rules": for each rule that is on its reason, slices and patients; "accepted":
        slices, patients, series; "unlabelled": slices and patients without a class; "sites": name, patients, slices and
        patients of each class, most patients first; "others": sites not shown.
    """
    steps = list(material.rules.get("steps") or ())
    by_rule = {step["reason"] for step in steps}
    refused = material.refused
    ruled = refused["reason"].isin(by_rule)
    reasons = refused.loc[~ruled, "reason"].value_counts()
    listed = sorted(((str(reason), int(n)) for reason, n in reasons.items()), key=lambda item: (-item[1], item[0]))
    if len(listed) > _REASONS:
        rest = listed[_REASONS - 1 :]
        listed = [*listed[: _REASONS - 1], (f"{len(rest)} other reasons", sum(n for _, n in rest))]
    left = pd.concat([material.accepted, refused[ruled]])
    sites = [_site(str(name), rows, material.classes) for name, rows in material.accepted.groupby("site", sort=True)]
    sites.sort(key=lambda site: (-site["patients"], site["name"]))
    rules = [{**step, **_count(refused[refused["reason"] == step["reason"]])} for step in steps]
    unnamed = 0  # a labels file refuses these before they get a pseudonym
    for rule in rules:
        if rule["rule"] == "single_disease":
            unnamed = int(material.counts.get("patients_with_two_labels", 0))
            rule["patients"] += unnamed
    readable = _count(left)
    readable["patients"] += unnamed
    return {
        "ignored": int(material.counts.get("files_ignored", 0)),
        "files": int(material.counts.get("files_read", len(material.accepted) + len(refused))),
        "refused": listed,
        "n_refused": int((~ruled).sum()),
        "readable": readable,
        "rules": rules,
        "accepted": {**_count(material.accepted), "series": int(material.accepted["series_key"].nunique())},
        "unlabelled": _count(material.accepted[material.accepted["label"] == NO_LABEL]),
        "sites": sites[:_SITES],
        "others": sites[_SITES:],
    }  # fmt: skip


def _count(rows: pd.DataFrame) -> dict[str, int]:
    return {"slices": len(rows), "patients": patients(rows)}


def _site(name: str, rows: pd.DataFrame, classes: tuple[str, ...]) -> dict[str, Any]:
    cells = [(label, patients(rows[rows["label"] == label])) for label in classes]
    return {"name": name, **_count(rows), "classes": cells}
