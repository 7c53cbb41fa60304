"""`index_report.html` beside the slice table."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covidct.evaluation.index_report.flow import flow
from covidct.evaluation.index_report.geometry import flags, geometry
from covidct.evaluation.index_report.intensities import intensities
from covidct.evaluation.index_report.lungs import lungs
from covidct.evaluation.index_report.material import IndexMaterial
from covidct.evaluation.index_report.mix import mix
from covidct.evaluation.index_report.people import people, unknowns
from covidct.evaluation.index_report.pictures import Look, montages
from covidct.evaluation.pages import write_page
from covidct.evaluation.wording import display, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = "index_report.html"


def write_index_report(material: IndexMaterial, look: Look, folder: Path) -> Path:
    """Write the report of an index into its folder: the same index and pictures give the same bytes.

    It shows pictures of patients and stays where the index is.

    Args:
        material: The index.
        look: Shows slices, see `pictures.Look`.
        folder: Of the slice table.

    Returns:
        Path of the page.
    """
    return write_page("index_report.html.j2", folder / NAME, view(material, look))


def view(material: IndexMaterial, look: Look) -> dict[str, Any]:
    """Everything the page shows, as text."""
    from covidct.evaluation.index_report.figures import PANELS, draw_intensities, draw_lungs

    found, areas, mixed = intensities(material), lungs(material), mix(material)
    return {
        "source": material.source,
        "digest": material.digest[:12],
        "synthetic": bool(material.counts.get("synthetic")),
        "classes": [display(name).replace("-", "\u2011") for name in material.classes],  # hyphens that do not break
        "flow": flow(material),
        "display": display,
        "mix": mixed,
        "alarms": [*_unknown_people(material), *mixed["alarms"], *found["alarms"]],
        "intensities": {
            "n": found["n"],
            "notes": found["notes"],
            "left_out": max(0, len(found["panels"]) - PANELS),
            "figure": _svg(draw_intensities(found, material.classes)) if found["panels"] else None,
        },
        "lungs": None if areas is None else _lungs(areas, _svg(draw_lungs(areas, material.classes))),
        "geometry": geometry(material),
        "flags": flags(material),
        "people": [_person(line) for line in people(material)],
        "unknowns": unknowns(material),
        "montages": montages(material, areas, look),
        "warnings": [str(text) for text in material.counts.get("label_warnings") or ()],
    }


def _unknown_people(material: IndexMaterial) -> list[str]:
    if material.counts.get("patients_known", True):
        return []
    return ["The source does not say whose a picture is: where this page counts patients it counts pictures."]


def _lungs(found: Mapping[str, Any], figure: str) -> dict[str, Any]:
    rule = found["threshold_cm2"]
    ladder = [
        {
            "least": "no rule" if step["least"] is None else f"{step['least']:g}",
            "chosen": step["least"] is not None and step["least"] == rule,
            "slices": f"{step['slices']:,}",
            "share": percent(step["share"]),
            "patients": f"{step['patients']:,}",
            "classes": [percent(share) for share in step["classes"]],
        }
        for step in found["ladder"]
    ]
    return {"figure": figure, "rule": rule, "ladder": ladder, "unknown": found["unknown"]}


def _person(line: Mapping[str, Any]) -> dict[str, Any]:
    ages = line["ages"]
    return {
        **line,
        "class": display(line["class"]),
        "ages": "–" if ages is None else f"{ages[0]:g}" + (f" ({ages[1]}–{ages[2]})" if ages[1] != ages[2] else ""),
    }


def _svg(figure: Figure) -> str:
    """A figure as a `data:` address; no date inside."""
    from covidct.evaluation.figures_style import style

    stream = io.BytesIO()
    with style():
        figure.savefig(stream, format="svg", metadata={"Date": None}, facecolor="white")
    return f"data:image/svg+xml;base64,{base64.b64encode(stream.getvalue()).decode()}"
