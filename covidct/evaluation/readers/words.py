"""What a reader study shows, in sentences made from its numbers that say no more than they allow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from covidct.evaluation.readers.mrmc import RANDOM
from covidct.evaluation.wording import display, percent

ALPHA = 0.05
SIMULATED = (
    "SIMULATED readers: a program drew these reads from the truth. They say nothing about any person, and nothing here "
    "compares the model with radiologists."
)
MERITS = {
    "auc": "AUC",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "accuracy": "share of right classes",
}


def p_text(p: float | None) -> str:
    """A P value for people."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def points(value: float | None) -> str:
    """A difference of fractions in percentage points, signed."""
    if value is None:
        return "–"
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def points_interval(low: float | None, high: float | None) -> str:
    """The interval of a difference in percentage points."""
    return "–" if low is None or high is None else f"{points(low)} to {points(high)}"


def target_words(found: Mapping[str, Any]) -> str:
    """What the target is, for a sentence."""
    target = found["target"]
    if target is None:
        return "the right class"
    return "any disease against normal" if len(target["classes"]) > 1 else f"{display(target['name'])} against the rest"


def sentences(found: Mapping[str, Any]) -> list[str]:
    """The study, the mean reader against the model, AI, agreement, time."""
    design, cases = found["design"], found["cases"]
    simulated = found["source"]["simulated"]
    noun = "simulated reader" if simulated else "reader"
    who = f"{len(design['readers'])} {noun}" + ("" if len(design["readers"]) == 1 else "s")
    unit = found["source"]["unit"]
    what = f"{cases['n']} {unit}" + ("" if cases["n"] == 1 else "s")
    if unit == "slice":
        what += f" of {cases['n_patients']} patients"
    failed = design["no_result"]
    said = [SIMULATED] if simulated else []
    said.append(
        f"{who} read {what} of the {found['source']['split']} set ({found['source']['reads']} reads"
        + (f", {failed} of them without a result, which count as errors" if failed else "")
        + f"); the question is {target_words(found)}."
    )
    wanted = ("auc", "sensitivity", "specificity") if found["target"] else ("accuracy",)
    for merit in wanted:
        said += [text for entry in found["groups"] if entry["merit"] == merit and (text := _contrast(entry))]
    said += _agreement(found["agreement"])
    said += _time(found["time"])
    return said


def _contrast(entry: Mapping[str, Any]) -> str | None:
    if entry["contrast"] == "mean of readers" or not entry.get("tests"):
        return None
    test, number = entry["tests"][0], entry["n_readers"]
    merit = MERITS[entry["merit"]]
    if entry["contrast"] == "readers - model":
        if entry["with_ai"]:
            return None  # a table has it; the model is part of the reader there
        subject = f"The mean {merit} of {number} readers" if number > 1 else f"The {merit} of the reader"
        text = f"{subject} was {percent(entry['first'])} %, the model's {percent(entry['second'])} %"
        higher, lower = "the readers were better", "the model was better"
    else:
        text = f"With AI the {'mean ' if number > 1 else ''}{merit} was {percent(entry['first'])} %, without "
        text += f"{percent(entry['second'])} %"
        higher, lower = "AI helped", "AI harmed"
    bounds = points_interval(test["low"], test["high"])
    text += f": {points(test['difference'])} points (95 % interval {bounds}; P = {p_text(test['p'])})".replace(
        "P = <", "P <"
    )
    if entry["dropped"]:
        text += f", on the {entry['n_cases']} cases that all of them {'rated' if entry['merit'] == 'auc' else 'read'}"
    whom = "readers like these" if test["readers"] == RANDOM else "these readers"
    if test["p"] is None:
        return f"{text}. The difference does not vary between cases and was not tested."
    if test["p"] >= ALPHA:
        return f"{text}. No difference is shown for {whom}; the interval says what cannot be excluded."
    return f"{text}. For {whom} on cases like these, {higher if test['difference'] > 0 else lower}."


def _agreement(found: Mapping[str, Any]) -> list[str]:
    said = []
    for entry in found["fleiss"]:
        if entry["value"] is None:
            continue
        bounds = f" (95 % interval {entry['low']:.2f} to {entry['high']:.2f})" if entry["low"] is not None else ""
        condition = "with AI" if entry["with_ai"] else "without AI"
        said.append(
            f"The {entry['readers']} readers {condition} agreed on the class with Fleiss' kappa "
            f"{entry['value']:.2f}{bounds}; 1 is complete agreement, 0 what chance gives."
        )
    return said


def _time(found: Mapping[str, Any] | None) -> list[str]:
    if not found:
        return []
    said = []
    if found["with_ai"] and found["with_ai"]["all"]["ratio"] is not None:
        entry = found["with_ai"]["all"]
        said.append(f"A read with AI took {ratio_text(entry)} times as long as one without, paired by case and reader.")
    if found["model"]:
        whole = next((r for r in found["model"]["readers_over_model"] if r["of"] == "whole" and not r["with_ai"]), None)
        if whole and whole["ratio"] is not None:
            said.append(f"A reader took {ratio_text(whole)} times as long as the model, reading of its files included.")
    return said


def ratio_text(entry: Mapping[str, Any]) -> str:
    """A ratio of times with its interval."""
    if entry["ratio"] is None:
        return "–"
    bounds = f" (95 % interval {_three(entry['low'])}–{_three(entry['high'])})" if entry["low"] is not None else ""
    return f"{_three(entry['ratio'])}{bounds}"


def _three(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value >= 10 else f"{value:.2f}"
