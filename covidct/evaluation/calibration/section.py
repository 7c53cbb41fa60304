"""The report's section on calibration: calibration.json as sentences, tables and figures ready to print."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from covidct.evaluation.calibration.words import POOLED, sentences
from covidct.evaluation.record import RunRecord
from covidct.evaluation.report_results import picture
from covidct.evaluation.sentences import site_name
from covidct.evaluation.wording import display, interval_text, percent

NAME = "calibration"
UNITS = {"patient": "Patients", "slice": "Slices"}
MARKS = {"too few patients": "f", "no spread between patients": "s", "perfect separation": "p"}
MARK_WORDS = {
    "f": "no interval: too few patients",
    "s": "no interval: no spread between patients",
    "p": "undefined: the probability separates the patients without error",
}
FIGURES = {
    "reliability": (
        "Reliability of the highest probability. On the diagonal the probabilities keep their word; above it they are "
        "too modest, below it too confident. Grey bars: where 95 % of perfectly calibrated models of this size would "
        "lie; a point inside its bar says nothing against the model.",
        "Reliability diagrams of the highest probability for each test site, patients above, slices below.",
    ),
    "reliability_classes": (
        "Reliability of each class's probability, all test sites together.",
        "Reliability diagrams of each class, patients above, slices below.",
    ),
    "referral": (
        "Error among the cases the model keeps, the most certain first. Further left, more goes to a radiologist. A "
        "curve that does not rise says that the model does not know when it is wrong.",
        "Risk-coverage curves for each test site, patients and slices.",
    ),
    "decision": (
        "Net benefit of calling by the model's probability. The threshold is the probability from which one would act: "
        "at 10 % one accepts nine false alarms for one case found. It holds at the class mix of these test sets.",
        "Decision curves for each test site, with treating all and treating none.",
    ),
    "conformal": (
        "How often the set of classes held the true one, with 95 % intervals; the promise is about all classes "
        "together, and about each only with a limit per class.",
        "Coverage of the prediction sets by class and site.",
    ),
}


def view(record: RunRecord) -> dict[str, Any] | None:
    """Everything that the template shows, with the figures drawn; None where the run has no calibration.json."""
    found = record.section(NAME)
    if found is None:
        return None
    from covidct.evaluation.calibration.figures import save_calibration_figures

    blocks = found["blocks"]
    drawn = save_calibration_figures(record.folder, found)
    pictures = {
        name: {"picture": picture(record, f"calibration_{name}", alt), "caption": caption}
        for name, (caption, alt) in FIGURES.items()
        if f"calibration_{name}" in drawn
    }
    patients = [block for block in blocks if block["level"] == "patient"]
    marks: set[str] = set()
    tables = {
        "agreement": [_agreement(block, marks) for block in blocks],
        "classes": [_classes(block, marks) for block in patients],
        "referral": [_referral(block, marks) for block in patients],
        "conformal": [row for block in blocks for row in _conformal(block, marks)],
        "prevalence": _prevalence(blocks, marks),
    }
    return {
        "sentences": sentences(found),
        "pictures": pictures,
        **tables,
        "temperature": [_temperature(level, found["temperature"][level]) for level in ("patient", "slice")],
        "refused": _refused(found["conformal"]),
        "promise": percent(1 - found["conformal"]["patient"]["alpha"], 0),
        "positive": display(found["classes"]["positive"]) if found["classes"].get("positive") else None,
        "marks": "; ".join(f"{mark}: {words}" for mark, words in MARK_WORDS.items() if mark in marks),
        "simulations": found["interval"]["simulations"],
    }


def _cell(found: Mapping[str, Any] | None, marks: set[str], digits: int = 1) -> dict[str, str]:
    """A share as percent with its interval."""
    found = found or {}
    mark = MARKS.get(str(found.get("method")), "")
    marks.update(mark)
    value = percent(found.get("value"), digits)
    return {"value": value, "interval": interval_text(found, digits) if value != "–" else "", "mark": mark}


def _number(found: Mapping[str, Any] | None, marks: set[str], digits: int = 2) -> dict[str, str]:
    """A plain number with its interval."""
    found = found or {}
    mark = MARKS.get(str(found.get("method")), "")
    marks.update(mark)
    if found.get("value") is None:
        return {"value": "–", "interval": "", "mark": mark}
    bounds = "–" if found["low"] is None else f"{found['low']:z.{digits}f} to {found['high']:z.{digits}f}"
    return {"value": f"{found['value']:z.{digits}f}", "interval": bounds, "mark": mark}


def _ideal(part: Mapping[str, Any]) -> dict[str, str]:
    ideal = part["ideal"]
    if ideal is None:
        return {"value": "–", "interval": "", "mark": ""}
    return {
        "value": percent(ideal["mean"]),
        "interval": f"{percent(ideal['low'])}–{percent(ideal['high'])}",
        "mark": "",
    }


def _temperature(level: str, found: Mapping[str, Any]) -> dict[str, Any]:
    missing = found["value"] is None
    return {
        "level": UNITS[level],
        "patients": found["n_patients"],
        "value": "–" if missing else f"{found['value']:.2f}",
        "interval": "–" if found["low"] is None else f"{found['low']:.2f}–{found['high']:.2f}",
        "before": "–" if found["nll_before"] is None else f"{found['nll_before']:.3f}",
        "after": "–" if found["nll_after"] is None else f"{found['nll_after']:.3f}",
    }


def _agreement(block: Mapping[str, Any], marks: set[str]) -> dict[str, Any]:
    raw, after = block["raw"], block["scaled"]
    nothing = {"value": "–", "interval": "", "mark": ""}
    return {
        "site": site_name(block["site"]),
        "pooled": block["site"] == POOLED,
        "level": UNITS[block["level"]],
        "n": f"{block['n_cases']:,}",
        "stated": percent(raw["mean_confidence"]),
        "right": percent(raw["accuracy"]),
        "cells": [
            _cell(raw["top_label"]["ece"], marks),
            _ideal(raw["top_label"]),
            _cell(after["top_label"]["ece"], marks) if after else nothing,
            _ideal(after["top_label"]) if after else nothing,
            _number(raw["brier"], marks, 3),
            _number(after["brier"], marks, 3) if after else nothing,
            _number(raw["nll"], marks, 3),
            _number(after["nll"], marks, 3) if after else nothing,
        ],
    }


def _classes(block: Mapping[str, Any], marks: set[str]) -> dict[str, Any]:
    return {
        "site": site_name(block["site"]),
        "rows": [
            {
                "name": display(name),
                "cells": [
                    _cell(part["ece"], marks),
                    _ideal(part),
                    _number(part["slope"], marks),
                    _number(part["intercept"], marks),
                    _number(part["brier"], marks, 3),
                ],
            }
            for name, part in block["raw"]["per_class"].items()
        ],
    }


def _referral(block: Mapping[str, Any], marks: set[str]) -> dict[str, Any]:
    found = block["referral"]
    rows = [
        {
            "share": percent(choice["share"], 0),
            "threshold": percent(choice["threshold"]),
            "cells": [_cell(choice[key], marks) for key in ("referred", "error_kept", "error_referred")],
            "missed": "–" if choice["missed"] is None else f"{choice['missed']} of {choice['positives']}",
        }
        for choice in found["choices"]
    ]
    return {
        "site": site_name(block["site"]),
        "rows": rows,
        "error": _cell(found["error"], marks),
        "aurc": _cell(found["aurc"], marks),
        "best": percent(found["aurc_best"]),
        "blind": percent(found["aurc_blind"]),
    }


def _conformal(block: Mapping[str, Any], marks: set[str]) -> list[dict[str, Any]]:
    rows = []
    for kind, words in (("marginal", "one limit"), ("by_class", "a limit per class")):
        found = block["conformal"][kind]
        if found is not None:
            sizes = found["sizes"]
            rows.append(
                {
                    "site": site_name(block["site"]),
                    "pooled": block["site"] == POOLED,
                    "what": f"{UNITS[block['level']]} · {words}",
                    "cells": [_cell(found["coverage"], marks), _cell(found["single_right"], marks)],
                    "size": f"{found['mean_size']:.2f}",
                    "none": percent(sizes[0]),
                    "one": percent(sizes[1]),
                    "more": percent(sum(sizes[2:])),
                }
            )
    return rows


def _refused(chosen: Mapping[str, Any]) -> list[str]:
    words = {"marginal": "one limit for all classes", "by_class": "a limit for each class"}
    return list(
        dict.fromkeys(
            f"Not made, with {words[kind]}: {chosen[level][kind]['refused']}."
            for level in ("patient", "slice")
            for kind in words
            if "refused" in chosen[level][kind]
        )
    )


def _prevalence(blocks: list[Mapping[str, Any]], marks: set[str]) -> dict[str, Any] | None:
    rows, heads = [], []
    for block in blocks:
        found = block["prevalence"]
        if found is None:
            continue
        heads = [percent(row["prevalence"]) for row in found["rows"]]
        rows.append(
            {
                "site": site_name(block["site"]),
                "pooled": block["site"] == POOLED,
                "level": UNITS[block["level"]],
                "given": [_cell(found[key], marks) for key in ("sensitivity", "specificity")],
                "ppv": [_cell(row["ppv"], marks) for row in found["rows"]],
                "npv": [_cell(row["npv"], marks, 2) for row in found["rows"]],
            }
        )
    return {"heads": heads, "rows": rows} if rows else None
