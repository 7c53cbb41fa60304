"""Which class came from which site, scanner and year: where one tells the other, a network can learn either."""

from __future__ import annotations

from typing import Any

import pandas as pd

from covidct.evaluation.index_report.material import NO_LABEL, IndexMaterial, patients
from covidct.evaluation.wording import counted, display

NOT_STATED = "not stated"

_ROWS = 60


def mix(material: IndexMaterial) -> dict[str, Any]:
    """Patients and slices by site, scanner, year and class.

    Returns:
        "rows": site, scanner, year, per class (patients, slices); "left_out": rows beyond the sixty largest;
        "alarms": sentences about sites and scanners with one class.
    """
    rows = material.accepted.assign(scanner=scanners(material.accepted))
    rows["year"] = rows["acquired_year"].astype("Int64").astype(object).where(rows["acquired_year"].notna(), NOT_STATED)
    found = []
    for (site, scanner, year), group in rows.groupby(["site", "scanner", "year"], sort=False):
        cells = [_cell(group[group["label"] == label]) for label in material.classes]
        found.append({"site": site, "scanner": scanner, "year": str(year), "cells": cells, "slices": len(group)})
    shown = sorted(found, key=lambda row: (-row["slices"], row["site"], row["scanner"], row["year"]))[:_ROWS]
    shown.sort(key=lambda row: (row["site"], row["scanner"], row["year"]))
    return {"rows": shown, "left_out": len(found) - len(shown), "alarms": _alarms(rows)}


def scanners(rows: pd.DataFrame) -> pd.Series:
    """Manufacturer and model of each row as one text; `NOT_STATED` where neither is known."""
    maker, model = rows["manufacturer"].fillna(""), rows["scanner"].fillna("")
    text = (maker + " " + model).str.strip()
    return text.where(text != "", NOT_STATED)


def _cell(group: pd.DataFrame) -> tuple[int, int]:
    return patients(group), len(group)


def _alarms(rows: pd.DataFrame) -> list[str]:
    """Sentences about single-class sites and scanners; none where the whole index has one class."""
    labelled = rows[rows["label"] != NO_LABEL]
    if labelled["label"].nunique() < 2:
        return []
    said = []
    sites = labelled.groupby("site")["label"].nunique()
    single = [str(site) for site in sites.index[sites == 1]]
    if len(single) == len(sites):
        said.append(
            "Every site has one class only: whatever tells the sites apart (scanner, kernel, table, field of view) "
            "tells the classes apart, and no figure from these data can say which of the two was learnt."
        )
    for site in single:
        part = labelled[labelled["site"] == site]
        said.append(f"{site} has one class only: {_what(part)}.")
    for scanner, part in labelled.groupby("scanner", sort=True):
        sites_of = set(part["site"])
        said_already = len(sites_of) == 1 and sites_of <= set(single)
        if scanner != NOT_STATED and len(set(part["label"])) == 1 and not said_already:
            said.append(f"The scanner {scanner} has one class only: {_what(part)}.")
    return said


def _what(part: pd.DataFrame) -> str:
    return f"{display(str(part['label'].iloc[0]))}, {counted(patients(part), 'patient')}"
