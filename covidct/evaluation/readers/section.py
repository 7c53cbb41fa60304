"""The report's section on readers: readers.json as tables ready to print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from covidct.evaluation.readers.figures import ROC_NAME, TIME_NAME, alt_text, roc_points
from covidct.evaluation.readers.mrmc import RANDOM
from covidct.evaluation.readers.words import (
    MERITS,
    p_text,
    points,
    points_interval,
    ratio_text,
    sentences,
    target_words,
)
from covidct.evaluation.record import RunRecord
from covidct.evaluation.report_results import picture
from covidct.evaluation.wording import display, interval_text, percent

NAME = "readers"


def view(record: RunRecord) -> dict[str, Any] | None:
    """Everything that the template shows; None where no readers were compared with this run."""
    found = record.section(NAME)
    if found is None:
        return None
    said = sentences(found)
    simulated = found["source"]["simulated"]
    return {
        "simulated": said[0] if simulated else None,
        "sentences": said[1:] if simulated else said,
        "warnings": found["warnings"],
        "facts": _facts(found),
        "target": target_words(found),
        "accuracy": _accuracy(found),
        "per_class": _per_class(found),
        "roc": picture(record, ROC_NAME, alt_text(roc_points(found))) if found["curve"] else None,
        "paired": _paired(found["against_model"]),
        "cochran": _cochran(found["against_model"]),
        "groups": _groups(found["groups"]),
        "omitted": _omitted(found["groups"]),
        "kappas": _kappas(found),
        "same_reader": [(row["reader"], str(row["n_cases"]), _kappa(row)) for row in found["agreement"]["same_reader"]],
        "time": _time(found["time"]),
        "times": picture(
            record, TIME_NAME, "Time a case of each reader and the model, log scale; numbers in the table."
        )
        if found["time"]
        else None,
    }


def rater_name(name: str, with_ai: bool | None) -> str:
    """A rater for people."""
    return f"{name}, with AI" if with_ai else name


def _facts(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    design, cases, source = found["design"], found["cases"], found["source"]
    mix = ", ".join(f"{row['n']} {display(row['class'])}" for row in cases["per_class"])
    order = design["order"]
    turns = None
    if order:
        turns = f"of all pairs of reader and case {order['without_first']} first without AI"
        turns += f", {order['with_first']} first with AI"
        turns += f", {order['same_session']} in one session" if order["same_session"] else ""
    rating = {
        "ratings": "a number for each class",
        "confidence": "confidence in the class that was called",
        "call alone": "the call alone",
    }[design["rating"]]
    washout = design["washout_days"]
    rows = {
        "Readers": f"{len(design['readers'])}{', simulated' if source['simulated'] else ''}",
        "Cases": f"{cases['n']} of {cases['n_of']} {source['unit']}s of the {source['split']} set ({mix})",
        "Sites": ", ".join(cases["sites"]),
        "Reads": f"{source['reads']}, {design['no_result']} without a result, {design['repeats']} repeated",
        "Every reader read every case": "yes" if design["crossed"] else "no",
        "Sessions": str(design["sessions"]),
        "Order of the conditions": turns,
        "Shortest washout": None if washout is None else f"{washout:g} days",
        "What a reader's ROC is made of": rating,
        "How the model calls": source["rule"],
        "SHA-256 of the table of reads": source["sha256"],
    }
    return [(name, text or "not recorded") for name, text in rows.items() if text or name != "Order of the conditions"]


def _cell(interval: Mapping[str, Any] | None) -> dict[str, str]:
    value = percent((interval or {}).get("value"))
    mark = {"too few patients": "f", "no spread between patients": "s"}.get((interval or {}).get("method", ""), "")
    undefined = value == "–"
    return {
        "value": value,
        "interval": "" if undefined else interval_text(interval),
        "mark": "" if undefined else mark,
    }


def _accuracy(found: Mapping[str, Any]) -> dict[str, Any]:
    heads = ["Sensitivity", "Specificity", "AUC", "Right class"] if found["target"] else ["Right class"]
    rows = []
    for rater in found["raters"]:
        target = rater["target"]
        cells = [_cell(target[key]) for key in ("sensitivity", "specificity", "auc")] if target else []
        rows.append(
            {
                "name": rater_name(rater["name"], rater["with_ai"]),
                "model": rater["with_ai"] is None,
                "n": rater["n_cases"],
                "undecided": rater["n_no_result"] + rater["n_conflict"],
                "cells": [*cells, _cell(rater["accuracy"])],
            }
        )
    return {"heads": heads, "rows": rows}


def _per_class(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A table of sensitivities and one of specificities: a row for each rater, a column for each class."""
    first = found["raters"][0]["per_class"]
    return [
        {
            "title": metric.capitalize(),
            "heads": [display(entry["class"]) for entry in first],
            "rows": [
                (
                    rater_name(rater["name"], rater["with_ai"]),
                    rater["with_ai"] is None,
                    [_cell(entry[metric]) for entry in rater["per_class"]],
                )
                for rater in found["raters"]
            ],
        }
        for metric in ("sensitivity", "specificity")
    ]


def _paired(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Each reader against the model: one row a reader, a group of columns for each figure."""
    merits = list(dict.fromkeys(entry["merit"] for entry in entries))
    names: dict[tuple[str, bool], dict[str, Any]] = {}
    tests: dict[str, None] = {}
    for entry in entries:
        for row in entry["rows"]:
            tests[row["test"]] = None
            names.setdefault((row["reader"], row["with_ai"]), {})[entry["merit"]] = {
                "difference": points(row["difference"]),
                "interval": points_interval(row["low"], row["high"]),
                "discordant": f"{row['model_only']} : {row['reader_only']}",
                "p": p_text(row["p_holm"]),
            }
    rows = [{"name": rater_name(*who), "cells": [cells.get(merit) for merit in merits]} for who, cells in names.items()]
    return {"merits": [MERITS[merit].capitalize() for merit in merits], "rows": rows, "tests": "; ".join(tests)}


def _cochran(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    said = []
    for entry in entries:
        test = entry["cochran"]
        condition = "with AI" if entry["with_ai"] else "without AI"
        merit = MERITS[entry["merit"]]
        if test.get("omitted"):
            continue
        if test["p"] is None:
            said.append(f"{merit}, {condition}: the readers were right on the same cases")
        else:
            said.append(f"{merit}, {condition}: Q {test['statistic']:.2f}, df {test['df']}, P {p_text(test['p'])}")
    return said


CONTRASTS = {
    "mean of readers": "mean of the readers",
    "readers - model": "readers minus model",
    "with AI - without AI": "with AI minus without",
}


def _groups(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    order = list(MERITS)
    for entry in sorted(entries, key=lambda entry: order.index(entry["merit"])):
        if not entry.get("tests"):
            continue
        tests = {test["readers"]: test for test in entry["tests"]}
        fixed, main = tests.get("fixed readers"), entry["tests"][0]
        alone = entry["contrast"] == "mean of readers"
        condition = {True: ", with AI", False: "", None: ""}[entry["with_ai"]]
        rows.append(
            {
                "merit": MERITS[entry["merit"]],
                "contrast": CONTRASTS[entry["contrast"]] + condition,
                "n": entry["n_cases"],
                "first": percent(entry["first"]),
                "second": percent(entry["second"]),
                "difference": "" if alone else points(main["difference"]),
                "interval": interval_text({**main}) if alone else points_interval(main["low"], main["high"]),
                "df": "∞" if main["df"] is None else f"{main['df']:.1f}",
                "p": "" if alone else p_text(main["p"]) if main["readers"] == RANDOM else "–",
                "fixed": "" if alone or fixed is None else p_text(fixed["p"]),
            }
        )
    return rows


def _omitted(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    reasons: dict[str, list[str]] = {}
    for entry in entries:
        if entry.get("omitted") and entry["contrast"] != "mean of readers":
            what = f"{MERITS[entry['merit']]}, {CONTRASTS[entry['contrast']]}"
            reasons.setdefault(entry["omitted"], []).append(what + (", with AI" if entry["with_ai"] else ""))
    return [f"Not tested ({'; '.join(what)}): {reason}." for reason, what in reasons.items()]


def _kappa(row: Mapping[str, Any] | None) -> dict[str, str]:
    if row is None or row["value"] is None:
        return {"value": "–", "interval": "", "mark": ""}
    interval = "" if row["low"] is None else f"{row['low']:.2f}–{row['high']:.2f}"
    return {"value": f"{row['value']:.2f}", "interval": interval, "mark": ""}


def _kappas(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Cohen's kappas of each condition as a triangle, the model last, with Fleiss' above it."""
    tables = []
    for with_ai in (False, True):
        rows = [row for row in found["agreement"]["cohen"] if row["with_ai"] is with_ai]
        if not rows:
            continue
        names = list(dict.fromkeys([*(row["first"] for row in rows), *(row["second"] for row in rows)]))
        cells = {(row["first"], row["second"]): row for row in rows}
        several = next((row for row in found["agreement"]["fleiss"] if row["with_ai"] is with_ai), None)
        tables.append(
            {
                "title": "Readers with AI" if with_ai else "Readers without AI",
                "fleiss": None if several is None else _kappa(several),
                "heads": names[:-1],
                "rows": [
                    (low, [_kappa(cells.get((high, low))) if place < number else None
                           for place, high in enumerate(names[:-1])])
                    for number, low in enumerate(names) if number
                ],
            }
        )  # fmt: skip
    return tables


def _time(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not found:
        return None
    each = {row["reader"]: row for row in (found["with_ai"] or {}).get("each", [])}
    rows = []
    for row in found["readers"]:
        ratio = each.get(row["reader"]) if row["with_ai"] else None
        rows.append(
            (
                rater_name(row["reader"], row["with_ai"]),
                str(row["n"]),
                f"{row['failed']} · {row['untimed']}",
                _seconds(row["median"]),
                f"{_seconds(row['q1'])} – {_seconds(row['q3'])}",
                ratio_text(ratio) if ratio else "",
                p_text(ratio["p"]) if ratio else "",
            )
        )
    together = (found["with_ai"] or {}).get("all")
    return {
        "rows": rows,
        "paired": bool(each),
        "all": (ratio_text(together), p_text(together["p"]), together["n_patients"]) if together else None,
        "model": _model_time(found["model"]),
    }


def _model_time(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not found:
        return None
    slice_, case = found["a_slice"], found["a_case"]
    where = [str(slice_["hardware"])] if slice_.get("hardware") else ["hardware not stated"]
    batch = slice_.get("batch_size")
    where.append(f"{batch} slices at once" if batch else "batch size not stated")
    words = {"whole": "the model, reading of files included", "inference": "its inference alone"}
    return {
        "where": "; ".join(where),
        "a_slice": f"{_seconds(slice_['io'])} to read and prepare a slice, "
        f"{_seconds(slice_['inference'])} in the network",
        "a_case": f"{_seconds(case['whole']['median'])} a case, of which inference "
        f"{_seconds(case['inference']['median'])} (medians)",
        "ratios": [
            ("readers with AI" if row["with_ai"] else "readers without AI", words[row["of"]], ratio_text(row),
             p_text(row["p"]))
            for row in found["readers_over_model"]
        ],
    }  # fmt: skip


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3g} s" if value >= 1 else f"{1000 * value:.3g} ms"
