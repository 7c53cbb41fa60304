"""The report's section on explanations: what the maps show, in numbers and pictures, and what they cannot show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from covidct.evaluation.explanations.attribution import REGIONS
from covidct.evaluation.explanations.drawing import FOLDER
from covidct.evaluation.explanations.sanity import STAGES
from covidct.evaluation.explanations.writing import FIGURE
from covidct.evaluation.pages import embedded
from covidct.evaluation.record import RunRecord
from covidct.evaluation.report_results import picture
from covidct.evaluation.wording import counted, display, interval_text, percent

GROUPS = {
    "mistake": "Worst mistakes: the most confident wrong calls",
    "best": "Most confident right calls",
    "typical": "Each class in its middle: the slices nearest to the median probability of their class",
}
PARTITIONS = {"test": "test", "val": "validation"}
MARKS = {"too few patients": "f", "no spread between patients": "s"}

Found = Mapping[str, Any]


def view(record: RunRecord) -> dict[str, Any] | None:
    """What the template prints; None where `covidct explain` was not run."""
    found = record.section("explanations")
    if found is None:
        return None
    regions = {name: found["regions"][name] for name in REGIONS if found["regions"].get(name) is not None}
    return {
        "stale": found["predictions_sha256"] != record.predictions["sha256"],
        "alarm": alarm(found["sanity"]),
        "sentences": sentences(found),
        "rows": [_row(name, one) for name, one in regions.items()],
        "pointing": _pointing(regions.get("lesion")),
        "sanity": _stages(found["sanity"]),
        "limit": f"{found['sanity']['limit']:.1f}" if found["sanity"] else "",
        "cannot": cannot(found),
        "chart": picture(record, FIGURE, " ".join(sentences(found))),
        "groups": _groups(record, found["cases"]),
        "n_slices": found["n_slices"],
        "n_patients": found["n_patients"],
        "partition": PARTITIONS.get(found["partition"], found["partition"]),
        "blob": percent(found["blob_sigma"], 0),
    }


def sentences(found: Found) -> list[str]:
    """What was seen, in words made from the numbers.

    Args:
        found: The content of explanations.json.
    """
    said = [
        f"Grad-CAM of the called class was computed for {counted(found['n_slices'], 'slice')} of "
        f"{counted(found['n_patients'], 'patient')} ({PARTITIONS.get(found['partition'], found['partition'])} "
        f"partition, drawn by chance, each patient once before any twice), from the network's last layer that still "
        f"has places: a grid of {found['grid'][0]} × {found['grid'][1]} cells."
    ]
    if found["n_empty_maps"]:
        said.append(
            f"In {counted(found['n_empty_maps'], 'slice')} nothing spoke for the called class: the map is empty and "
            "counts in no share."
        )
    said += [_sentence(name, found["regions"][name]) for name in REGIONS if found["regions"].get(name) is not None]
    if (found.get("sanity") or {}).get("stages") and not found["sanity"]["alarm"]:
        last = found["sanity"]["stages"][-1]["rank_correlation"]["value"]
        if last is not None:
            said.append(
                f"With the weights of {STAGES['all']} shuffled the maps lose their likeness (mean rank correlation "
                f"{last:.2f}; the alarm is at {found['sanity']['limit']:.1f}): they depend on what the network learnt."
            )
    return said


def alarm(sanity: Found | None) -> str | None:
    """The alarm of the sanity check in words, or None."""
    if not sanity or not sanity["alarm"]:
        return None
    if sanity["reason"] == "constant":
        return "No map differs from place to place: these explanations say nothing, whatever the pictures look like."
    last = sanity["stages"][-1]
    value = last["rank_correlation"]["value"]
    return (
        f"The maps hardly change when the weights of {STAGES['all']} are shuffled (mean rank correlation {value:.2f}, "
        f"alarm from {sanity['limit']:.1f}). They show the picture's own shape, not what the network learnt: do not "
        "use them to say where the network looks."
    )


def _sentence(name: str, one: Found) -> str:
    mine, area, rise = one["attribution"], one["area"], one["enrichment"]
    words = REGIONS[name]
    text = (
        f"{percent(mine['value'])} % of the attribution{_bounds(mine)} lies {words}, a region of "
        f"{percent(area['value'])} % of the picture"
    )
    if rise["low"] is None or rise["value"] is None:
        text += "; there are too few patients to say whether that is more or less than chance"
    elif rise["low"] > 1:
        text += f": {rise['value']:.2f} times what its area would give ({rise['low']:.2f}–{rise['high']:.2f})"
    elif rise["high"] < 1:
        text += f": less than its area would give ({rise['value']:.2f} times; {rise['low']:.2f}–{rise['high']:.2f})"
    else:
        text += f": no more and no less than its area would give ({rise['low']:.2f}–{rise['high']:.2f} times)"
    over = one["over_blob"]
    if name in ("lung", "lesion") and over["low"] is not None:
        if over["low"] > 0:
            text += ", and more than a blob in the middle of every picture would reach"
        elif over["high"] < 0:
            text += ", but a blob in the middle of every picture would reach more"
        else:
            text += "; a blob in the middle of every picture would do as well"
    return text + "."


def _bounds(figure: Found) -> str:
    return "" if figure["low"] is None else f" (95 % interval {interval_text(figure)})"


def cannot(found: Found) -> list[str]:
    """What may not be concluded."""
    cell = found["size"] / min(found["grid"])
    said = [
        f"A cell of the map is about {percent(cell / found['size'], 0)} % of the picture's side: the map cannot tell "
        "structures apart that are closer than that, and it spills over the edge of any lung.",
        "Attribution inside the lungs does not show that a disease was recognised, and attribution outside does not "
        "prove a shortcut: the audit of shortcuts (covidct audit run=RUN) tests that by taking regions away.",
        "The pictures were chosen by rule and not because they look right; a convincing map is no evidence that a call "
        "is correct.",
    ]
    if found["units"] != "HU":
        said.insert(1, "The pictures are 8-bit grey without a scale: lungs and body cannot be found, only the border.")
    if not found["has_lesion_masks"]:
        said.append("There are no lesion masks: whether the maps find lesions was not measured.")
    return said


def _row(name: str, one: Found) -> dict[str, Any]:
    rise, over = one["enrichment"], one["over_blob"]
    return {
        "name": REGIONS[name],
        "n": one["n_slices"],
        "patients": one["n_patients"],
        "cells": [_percent(one["attribution"]), _fixed(one["area"]), _fixed(one["blob"])],
        "enrichment": _number(rise, 2),
        "over": _points(over),
    }


def _percent(figure: Found) -> dict[str, str]:
    return {"value": percent(figure["value"]), "interval": interval_text(figure), "mark": _mark(figure)}


def _fixed(figure: Found) -> dict[str, str]:
    """An area that is the same in every picture (the border) needs no interval and no excuse for having none."""
    cell = _percent(figure)
    return {"value": cell["value"], "interval": "", "mark": ""} if cell["mark"] == "s" else cell


def _number(figure: Found, digits: int) -> dict[str, str]:
    if figure["value"] is None:
        return {"value": "–", "interval": "", "mark": ""}
    low = figure["low"]
    bounds = "–" if low is None else f"{low:.{digits}f} to {figure['high']:.{digits}f}"
    return {"value": f"{figure['value']:.{digits}f}", "interval": bounds, "mark": _mark(figure)}


def _points(figure: Found) -> dict[str, str]:
    scaled = {key: None if figure[key] is None else 100 * figure[key] for key in ("value", "low", "high")}
    return _number({**scaled, "method": figure["method"]}, 1)


def _mark(figure: Found) -> str:
    return MARKS.get(str(figure["method"]), "")


def _pointing(lesion: Found | None) -> str | None:
    if lesion is None or lesion["hit"]["value"] is None:
        return None
    hit, blob = lesion["hit"], lesion["hit_blob"]
    return (
        f"Pointing game: the map's peak lies inside a lesion in {percent(hit['value'])} % of "
        f"{counted(lesion['n_slices'], 'slice')} with lesions{_bounds(hit)}. A "
        f"peak put anywhere by chance would hit in {percent(lesion['hit_chance'])} %, one in the middle of the picture "
        f"in {percent(blob['value'])} %."
    )


def _stages(sanity: Found | None) -> list[dict[str, Any]]:
    rows = []
    for one in (sanity or {}).get("stages", []):
        first = one["stage"] not in STAGES
        rows.append(
            {
                "name": "Another slice, network unchanged" if first else f"Shuffled: {STAGES[one['stage']]}",
                "reference": first,
                "cells": [_number(one["rank_correlation"], 2), _number(one["ssim"], 2)],
                "compared": one["compared"],
                "undefined": one["undefined"],
            }
        )
    return rows


def _groups(record: RunRecord, cases: list[Found]) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = []
    for name, title in GROUPS.items():
        shown = []
        for case in cases:
            file = record.folder / "figures" / FOLDER / str(case["file"])
            if case["group"] != name or not file.is_file():
                continue
            words = f"true {display(case['true'])}, called {display(case['called'])}"
            lines = []
            if case["lung_map"] is not None:
                lines.append(f"in the lungs {percent(case['lung_map'], 0)} % (area {percent(case['lung_area'], 0)} %)")
            if case["lesion_map"] is not None:
                lines.append(
                    f"in lesions {percent(case['lesion_map'], 0)} % (area {percent(case['lesion_area'], 0)} %)"
                )
            shown.append(
                {
                    **case,
                    "true": display(case["true"]),
                    "called": display(case["called"]),
                    "probability": percent(case["probability"], 0),
                    "shares": "; ".join(lines),
                    "picture": {"data": embedded(file, "image/png"), "alt": f"Slice and its Grad-CAM map: {words}"},
                }
            )
        if shown:
            groups.append({"title": title, "cases": shown})
    return groups
