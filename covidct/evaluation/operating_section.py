"""The report's section "The patient rule": what was chosen on validation, what it does, and why any-slice fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from covidct.evaluation.figures_slices import short
from covidct.evaluation.operating import merit
from covidct.evaluation.operating_point import Criterion
from covidct.evaluation.record import RunRecord
from covidct.evaluation.report_results import picture
from covidct.evaluation.rule_spec import PAPER, RuleSpec
from covidct.evaluation.sentences import site_name
from covidct.evaluation.slices_per_patient import NAME
from covidct.evaluation.wording import display, interval_text, percent

SHOWN_RULES = 6
"""Rules of the list that are printed: the best by the criterion; the paper's is always among them."""


def view(record: RunRecord) -> dict[str, Any] | None:
    """What the template prints; None for a run without an operating point."""
    point = record.section("operating_point")
    if point is None:
        return None
    positive = record.scheme.positive
    rule = RuleSpec.from_dict(point["rule"])
    return {
        "rule": rule.words(),
        "chosen": _chosen(point),
        "fallback": point["fallback"],
        "digest": point["digest"][:12],
        "after_test": point["after_test"],
        "tried": _tried(point),
        "n_tried": len(point["tried"]),
        "positive": display(positive) if positive else None,
        "compared": _compared(record, chosen=point["fallback"] is None),
        "thresholds": _thresholds(record),
        "slices": _slices(record, chosen=point["fallback"] is None),
    }


def _chosen(point: Mapping[str, Any]) -> str:
    found = point["validation"]
    criterion = Criterion(**point["criterion"])
    words = {
        "macro_sensitivity": "the highest mean sensitivity over the classes, then the highest specificity of the "
        "positive class",
        "youden": "the highest sum of sensitivity and specificity of the positive class",
        "sensitivity": f"the highest specificity among rules with a sensitivity of {percent(criterion.sensitivity)} % "
        "for the positive class",
    }[criterion.name]
    text = f"{words}, on {found['patients']:,} validation patients ({found['slices']:,} slices)"
    if point["reached"] is False:
        text += "; no rule reached that sensitivity, so the most sensitive one was taken"
    return text


def _tried(point: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The best rules of the list, and the paper's, with their figures on validation."""
    criterion = Criterion(**point["criterion"])
    rows = sorted(
        enumerate(point["tried"]), key=lambda pair: (*(-value for value in merit(pair[1], criterion)), pair[0])
    )
    kept = [row for _, row in rows[:SHOWN_RULES]]
    paper = [row for _, row in rows if row["rule"] == PAPER.as_dict() and row not in kept]
    return [
        {
            "words": RuleSpec.from_dict(row["rule"]).words(),
            "chosen": row["rule"] == point["rule"],
            "cells": [percent(row[key]) for key in ("macro_sensitivity", "sensitivity", "specificity")],
            "conflicts": row["conflicts"],
        }
        for row in [*kept, *paper]
    ]


def _compared(record: RunRecord, *, chosen: bool) -> list[dict[str, Any]]:
    """Each test site by each patient rule; validation where nothing was tested."""
    blocks = [block for block in record.summary["blocks"] if block["level"] == "patient"]
    blocks = [block for block in blocks if chosen or block["aggregation"] != "validation_rule"]
    tested = [block for block in blocks if block["split"] == "test"] or blocks
    names = {"any_slice": "the paper's rule", "mean_probability": "mean probability", "validation_rule": "chosen rule"}
    positive = record.scheme.positive
    rows = []
    for block in tested:
        figures = [block["accuracy"], block["macro_sensitivity"]]
        figures += [block["per_class"][positive][key] for key in ("sensitivity", "specificity")] if positive else []
        rows.append(
            {
                "site": site_name(block["site"]) + (" (validation)" if block["split"] == "val" else ""),
                "rule": names[block["aggregation"]],
                "chosen": block["aggregation"] == "validation_rule",
                "patients": block["n_patients"],
                "cells": [_cell(figure) for figure in figures],
                "undecided": f"{block['n_conflict']} · {block['n_no_result']}",
            }
        )
    return rows


def _thresholds(record: RunRecord) -> list[dict[str, Any]]:
    rows = []
    for row in record.summary.get("binary") or []:
        if row["threshold"] is None:
            continue
        rows.append(
            {
                "site": site_name(row["site"]) + (" (validation, optimistic)" if row["split"] == "val" else ""),
                "level": row["level"],
                "criterion": {"youden": "Youden", "sensitivity": "sensitivity kept"}[row["criterion"]],
                "threshold": f"{row['threshold']:.3g}",
                "cells": [_cell(row["sensitivity"]), _cell(row["specificity"])],
            }
        )
    return sorted(rows, key=lambda row: (row["level"] != "patient", row["criterion"], "validation" not in row["site"]))


def _slices(record: RunRecord, *, chosen: bool) -> dict[str, Any] | None:
    found = record.section(NAME)
    if found is None:
        return None
    groups = list(dict.fromkeys((entry["least"], entry["most"]) for entry in found["observed"]))
    table = []
    for number, rule in enumerate(found["rules"]):
        cells = [_cell(entry["specificity"]) for entry in found["observed"] if entry["rule"] == number]
        table.append({"words": short(rule), "chosen": rule["chosen"] and chosen, "cells": cells})
    patients = [entry["specificity"]["n_patients"] for entry in found["observed"] if entry["rule"] == 0]
    heads = [
        {"slices": f"{least:,}–{most:,}" if least != most else f"{least:,}", "patients": count}
        for (least, most), count in zip(groups, patients, strict=True)
    ]
    healthy = display(found["healthy"]) if found["healthy"] else f"without {display(found['positive'])}"
    alt = f"Share of {healthy} patients judged right by each patient rule, at 1, 2, 4 and more slices per patient."
    return {
        "healthy": healthy,
        "partition": {"test": "test", "val": "validation"}[found["partition"]],
        "n_healthy": found["n_healthy"],
        "n_computed": found["n_healthy_computed"],
        "heads": heads,
        "table": table,
        "sentences": _sentences(found, healthy),
        "picture": picture(record, NAME, alt),
    }


def _sentences(found: Mapping[str, Any], healthy: str) -> list[str]:
    """Why the specificity of any-slice falls, with this run's numbers."""
    paper = next(
        (number for number, rule in enumerate(found["rules"]) if RuleSpec(rule["name"], rule["parameters"]) == PAPER),
        None,
    )
    wrong = found["false_alarms"]
    if paper is None or wrong is None:
        return []
    curve = {e["slices"]: e["specificity"]["value"] for e in found["computed"] if e["rule"] == paper}
    first, last = min(curve), max(curve)
    text = (
        "Under any-slice one false alarm in any slice makes a healthy patient ill, so each further slice is one more "
        "chance of it: specificity can only fall with the number of slices, however good the network is."
    )
    numbers = (
        f"Here {percent(wrong)} % of the slices of {healthy} patients are called ill. If slices were independent, "
        f"{percent((1 - wrong) ** last)} % of these patients would be called {healthy} at {last:,} "
        f"{'slice' if last == 1 else 'slices'} each; "
    )
    numbers += f"it is {percent(curve[last])} %, because slices of one patient resemble each other"
    numbers += f" (at {first} slice: {percent(curve[first])} %)." if last > first else "."
    rest = "A specificity by any-slice is tied to the number of slices per scan: it says little about longer scans."
    return [text, numbers, rest]


def _cell(figure: Mapping[str, Any] | None) -> dict[str, str]:
    value = percent((figure or {}).get("value"))
    return {"value": value, "interval": interval_text(figure or {}) if value != "–" else "", "mark": ""}
