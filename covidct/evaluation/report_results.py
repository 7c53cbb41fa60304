"""The results of a run as plain values ready to print: tables, figures with their words, what to see first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from covidct.evaluation import published, sentences
from covidct.evaluation.figures import POOLED, class_colours, figure_name
from covidct.evaluation.pages import embedded
from covidct.evaluation.record import RunRecord
from covidct.evaluation.wording import display, interval_text, percent
from covidct.labels import FU2020, ClassScheme

Block = Mapping[str, Any]

COLUMNS = {
    "auc": "AUC",
    "accuracy": "Accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "ppv": "PPV",
    "npv": "NPV",
}
"""Columns of the paper's supplementary tables, with the AUC that they lack in front."""

METHODS = {
    "korn_graubard": ("", "Korn–Graubard (patients as clusters)"),
    "logit_t_by_patient": ("", "logit t on the spread between patients (AUC: DeLong by patient)"),
    "patient_bootstrap_bca": ("", "BCa bootstrap of patients"),
    "clopper_pearson": ("", "Clopper–Pearson (each patient counts once)"),
    "too few patients": ("f", "no interval: too few patients"),
    "no spread between patients": ("s", "no interval: no spread between patients"),
    "undefined": ("", "undefined"),
}
"""Mark and words for each way an interval is made, or is not."""


def results_table(summary: Mapping[str, Any]) -> pd.DataFrame:
    """Every estimate of metrics.json as one long table; fractions, empty where undefined."""
    rows = []
    for block in summary["blocks"]:
        place = (block["split"], block["site"], block["level"], block["aggregation"])
        for name in ("accuracy", "macro_auc", "macro_sensitivity"):
            rows.append((*place, "(all)", name, block[name]))
        for label, figures in block["per_class"].items():
            rows += [(*place, label, metric, figures[metric]) for metric in COLUMNS]
    keys = ["value", "low", "high", "method", "n_patients"]
    flat = [(*row[:-1], *((row[-1] or {}).get(key) for key in keys)) for row in rows]
    return pd.DataFrame(flat, columns=["split", "site", "level", "aggregation", "class", "metric", *keys])


def _blocks(record: RunRecord, split: str) -> list[Block]:
    return [block for block in record.summary["blocks"] if block["split"] == split]


def site_results(record: RunRecord, split: str) -> list[dict[str, Any]]:
    """One entry per site of a partition, pooled last, each with its tables and figures in reading order."""
    blocks = _blocks(record, split)
    sites = list(dict.fromkeys(block["site"] for block in blocks))
    order = list(sentences.LEVELS)
    entries = []
    for site in sorted(sites, key=lambda name: (name == POOLED, sites.index(name))):
        here = sorted(
            (b for b in blocks if b["site"] == site),
            key=lambda b: (
                (b["level"], b["aggregation"]) == ("slice", "argmax"),
                order.index((b["level"], b["aggregation"])),
            ),
        )
        here, chosen_too = _without_twins(here)
        compare = record.scheme.names == FU2020 and (site == POOLED or len(sites) == 1)
        entries.append(
            {
                "name": sentences.site_name(site),
                "anchor": f"{split}-{figure_name('site', here[0]).split('_')[2]}",
                "pooled": site == POOLED,
                "patients": max(block["n_patients"] for block in here),
                "slices": max(block["n_slices"] for block in here),
                "blocks": [
                    {
                        **_block(record, block, compare and block["level"] == "slice"),
                        "chosen_too": block["aggregation"] == chosen_too,
                    }
                    for block in here
                ],
            }
        )
    return entries


def _without_twins(blocks: list[Block]) -> tuple[list[Block], str | None]:
    """The blocks, without that of the chosen rule where it says the same as another, and the name of that other."""
    for chosen in (block for block in blocks if block["aggregation"] == "validation_rule"):
        for block in blocks:
            if block is not chosen and block["level"] == "patient" and block["per_class"] == chosen["per_class"]:
                return [kept for kept in blocks if kept is not chosen], str(block["aggregation"])
    return blocks, None


def _block(record: RunRecord, block: Block, compare: bool) -> dict[str, Any]:
    scheme = record.scheme
    rows = published.published_rows(block["split"]) if compare else {}
    impossible = published.impossible_test_rows() if block["split"] == "test" else ()
    unit = "slices" if block["level"] == "slice" else "patients"
    total, colours = block[f"n_{unit}"], class_colours(scheme.names)
    methods: dict[str, None] = {}
    classes = []
    for name in scheme.names:
        figures = block["per_class"][name]
        number = figures[f"n_positive_{unit}"]
        cells = []
        for metric in COLUMNS:
            found = figures.get(metric) or {}
            methods[str(found.get("method"))] = None
            printed = getattr(rows[name], metric, None) if name in rows else None
            if rows and metric == "auc" and name == "covid19" and block["split"] == "test":
                printed = published.TEST_AUC_COVID19
            cells.append({**_cell(found), "published": None if printed is None else f"{printed:.1f}"})
        classes.append(
            {
                "name": display(name),
                "colour": colours[name],
                "number": number,
                "patients": figures["n_positive_patients"],
                "share": percent(number / total) if total else "–",
                "cells": cells,
                "impossible": bool(rows) and name in impossible,
            }
        )
    overall = [
        ("True class found (top-1)", _cell(block["accuracy"])),
        ("Mean sensitivity over classes", _cell(block["macro_sensitivity"])),
        ("Mean AUC over classes", _cell(block["macro_auc"])),
    ]
    methods.update(
        dict.fromkeys(str((block[key] or {}).get("method")) for key in ("accuracy", "macro_sensitivity", "macro_auc"))
    )
    counted = (block["macro_auc"] or {}).get("classes_counted")
    notes = [
        "; ".join(
            f"{mark}: {words}" if mark else words
            for method, (mark, words) in METHODS.items()
            if method in methods and method != "undefined"
        )
    ]
    if counted is not None and counted < len(scheme):
        notes.append(f"Mean AUC over the {counted} of {len(scheme)} classes in which it is defined.")
    scale = sentences.baseline(block, scheme.positive)
    title = sentences.LEVELS.get((block["level"], block["aggregation"]), f"{block['level']} · {block['aggregation']}")
    return {
        "title": title,
        "unit": unit,
        "n_patients": block["n_patients"],
        "n_slices": block["n_slices"],
        "n_conflict": block["n_conflict"] if "conflict" in block["confusion_columns"] else None,
        "n_no_result": block["n_no_result"] if block["level"] == "patient" else None,
        "columns": list(COLUMNS.values()),
        "classes": classes,
        "overall": overall,
        "compared": bool(rows),
        "table_number": {"val": "Supplementary Table 1", "test": "Supplementary Table 2"}.get(block["split"]),
        "intervals": notes[0],
        "notes": [*notes[1:], *([scale] if scale else [])],
        "confusion": picture(record, figure_name("confusion", block), _confusion_alt(block, scheme, title)),
        "roc": picture(record, figure_name("roc", block), _roc_alt(block, scheme, title)),
    }


def _cell(found: Mapping[str, Any] | None) -> dict[str, str]:
    found = found or {}
    value = percent(found.get("value"))
    mark = METHODS.get(str(found.get("method")), ("", ""))[0] if value != "–" else ""
    return {"value": value, "interval": interval_text(found) if value != "–" else "", "mark": mark}


def glance(record: RunRecord) -> dict[str, Any]:
    """The few numbers to see first: each test site at patient level."""
    positive = record.scheme.positive
    rows: list[dict[str, Any]] = []
    blocks = sentences.primary_blocks(record.summary)
    for block in blocks:
        figures = block["per_class"][positive] if positive else {}
        cells = [_cell(block["accuracy"]), _cell(block["macro_auc"])]
        cells += [_cell(figures[metric]) for metric in ("auc", "sensitivity", "specificity")] if positive else []
        undecided = f"{block['n_conflict']} · {block['n_no_result']}"
        rows.append({"site": sentences.site_name(block["site"]), "patients": block["n_patients"],
                     "ill": figures.get("n_positive_patients"), "cells": cells, "undecided": undecided})  # fmt: skip
    name = display(positive) if positive else ""
    heads = ["True class found", "Mean AUC"]
    heads += [f"{name}: {metric}" for metric in ("AUC", "sensitivity", "specificity")] if positive else []
    rule = sentences.LEVELS["patient", blocks[0]["aggregation"]] if blocks else ""
    shown = {cell["mark"] for row in rows for cell in row["cells"]}
    marks = "; ".join(f"{mark}: {words}" for mark, words in METHODS.values() if mark and mark in shown)
    return {"rows": rows, "heads": heads, "rule": rule, "positive": name, "marks": marks}


def picture(record: RunRecord, name: str, alt: str) -> dict[str, str] | None:
    path = record.folder / "figures" / f"{name}.svg"
    if not path.is_file():
        return None
    return {"data": embedded(path, "image/svg+xml"), "alt": alt}


def _confusion_alt(block: Block, scheme: ClassScheme, title: str) -> str:
    right = sum(row[k] for k, row in enumerate(block["confusion"]))
    total = sum(sum(row) for row in block["confusion"])
    rows = "; ".join(
        f"true {display(name)}: " + ", ".join(str(count) for count in row)
        for name, row in zip(scheme.names, block["confusion"], strict=True)
    )
    columns = ", ".join(display(name) for name in block.get("confusion_columns") or scheme.names)
    return f"Confusion matrix, {title}: {right} of {total} on the diagonal. Columns called {columns}. {rows}."


def _roc_alt(block: Block, scheme: ClassScheme, title: str) -> str:
    areas = ", ".join(
        f"{display(name)} {percent((block['per_class'][name]['auc'] or {}).get('value'))}" for name in scheme.names
    )
    return f"ROC curves, {title}; AUC in percent: {areas}."


def sites_compared(record: RunRecord) -> list[dict[str, Any]]:
    """The figures with all test sites side by side; empty with fewer than two sites."""
    found: list[dict[str, Any]] = []
    for (level, aggregation), title in sentences.LEVELS.items():
        if aggregation == "validation_rule" or (aggregation == "mean_probability" and record.scheme.normal is not None):
            continue  # two pictures are enough to look at; the others are in the folder
        alt = f"Sites side by side, {title}: AUC, sensitivity, specificity and PPV of each class with intervals."
        image = picture(record, f"sites_test_{level}_{aggregation}", alt)
        if image and any((b["level"], b["aggregation"]) == (level, aggregation) for b in _blocks(record, "test")):
            found.append({"title": title, "level": level, "picture": image})
    return sorted(found, key=lambda entry: entry["level"] == "slice")
