"""The report's section on shortcuts, and its figure: every probe beside its pass line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from covidct.evaluation.record import RunRecord
from covidct.evaluation.report_results import picture
from covidct.evaluation.shortcuts.outcome import LEAK, PROBES, TELLS, TELLS_SITE
from covidct.files import replacing

FIGURE = "shortcuts"
LINES = {"shuffle": LEAK, "site": TELLS_SITE}
"""Pass lines of the figure that are not `TELLS`."""
WORDS = {"alarm": "alarm", "noted": "noted", "quiet": "quiet", "not done": "not done"}


def view(record: RunRecord) -> dict[str, Any] | None:
    """What the template prints; None where the run was not audited."""
    found = record.section("shortcuts")
    if not isinstance(found, Mapping):
        return None
    rows = [_row(outcome) for outcome in found["outcomes"] if outcome["status"] != "not done"]
    weights = record.predictions.get("weights_digest")
    return {
        "verdict": found["verdict"],
        "alarms": len(found["alarms"]),
        "rows": sorted(rows, key=lambda row: ("alarm", "noted", "quiet").index(row["status"])),
        "not_done": [(PROBES[o["probe"]].title, o["sentence"]) for o in found["outcomes"] if o["status"] == "not done"],
        "lines": [(probe.title, probe.alarm) for name, probe in PROBES.items() if name in {r["probe"] for r in rows}],
        "stale": weights is not None and weights != found["weights_digest"],
        "n_patients": found["n_patients"],
        "n_slices": found["n_slices"],
        "audited": found["audited"],
        "family": f"{100 * found['family']:g}",
        "each": f"{found['each']:g}",
        "figure": picture(record, FIGURE, _words(found["outcomes"])),
    }


def _row(outcome: Mapping[str, Any]) -> dict[str, Any]:
    probe = PROBES[outcome["probe"]]
    value, low, high, chance = (outcome[key] for key in ("value", "low", "high", "chance"))
    digits = 0 if outcome["unit"] == "pictures" else 2
    return {
        "probe": outcome["probe"],
        "title": probe.title,
        "question": probe.question,
        "status": outcome["status"],
        "result": {
            "value": "–" if value is None else f"{value:.{digits}f}",
            "interval": "–" if low is None or high is None else f"{low:.2f}–{high:.2f}",
            "mark": "",
        },
        "unit": outcome["unit"],
        "chance": "–" if chance is None else f"{chance:.2f}",
        "patients": "–" if outcome["n_patients"] is None else f"{outcome['n_patients']:,}",
        "sentence": outcome["sentence"],
    }


def _words(outcomes: Sequence[Mapping[str, Any]]) -> str:
    listed = [
        f"{PROBES[o['probe']].title} {o['value']:.2f}, {o['status']}"
        for o in outcomes
        if o["unit"] == "AUC" and o["value"] is not None
    ]
    return f"Mean AUC of each probe beside its pass line: {'; '.join(listed)}."


def save_figure(run_folder: Path, outcomes: Sequence[Mapping[str, Any]]) -> None:
    """Write figures/shortcuts.png and .svg, and tables/shortcuts.csv with every probe's numbers.

    Args:
        run_folder: The run folder.
        outcomes: As in shortcuts.json.
    """
    keys = ["probe", "status", "unit", "value", "low", "high", "chance", "p", "n_patients", "sentence"]
    table = pd.DataFrame([{key: outcome[key] for key in keys} for outcome in outcomes], columns=keys)
    with replacing(Path(run_folder) / "tables" / f"{FIGURE}.csv") as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
    drawn = table[(table["unit"] == "AUC") & table["value"].notna()]
    if drawn.empty:
        for kind in ("png", "svg"):
            (Path(run_folder) / "figures" / f"{FIGURE}.{kind}").unlink(missing_ok=True)
        return
    from covidct.evaluation.figures_style import write_figure

    write_figure(draw(drawn), Path(run_folder) / "figures", FIGURE)


def draw(table: pd.DataFrame) -> Any:
    """Dots with intervals on the scale of AUC; grey: what chance reaches; a stroke: the pass line."""
    from matplotlib.figure import Figure

    from covidct.evaluation.figures_style import GRID, INK, MUTED, style

    with style():
        figure = Figure(figsize=(6.8, 0.75 + 0.32 * len(table)), layout="constrained")
        axis = figure.subplots()
        for place, row in enumerate(table.to_dict("records")):
            alarmed = row["status"] == "alarm"
            colour = "#b42318" if alarmed else INK
            reach = row["chance"]
            if reach is not None and pd.notna(reach):
                axis.barh(place, reach - 0.5, left=0.5, height=0.62, color=GRID, zorder=0)
            line = LINES.get(row["probe"], TELLS)
            axis.plot([line, line], [place - 0.34, place + 0.34], color=MUTED, lw=1.2, zorder=1)
            if pd.notna(row["low"]) and pd.notna(row["high"]):
                axis.plot([row["low"], row["high"]], [place, place], color=colour, lw=1.6, zorder=2)
            axis.plot(row["value"], place, marker="D" if alarmed else "o", color=colour, ms=5, zorder=3)
            axis.text(1.015, place, row["status"], va="center", color=colour, transform=axis.get_yaxis_transform(),
                      fontweight="bold" if alarmed else "normal", fontsize=8)  # fmt: skip
        axis.axvline(0.5, color=MUTED, lw=0.8, ls=":")
        axis.set_yticks(range(len(table)), [PROBES[name].title for name in table["probe"]])
        axis.invert_yaxis()
        axis.set_xlim(min(0.35, float(table["value"].min()) - 0.05), 1.0)
        axis.set_xlabel("Mean AUC of patients; 0.5 is chance")
        axis.tick_params(axis="y", length=0)
        axis.spines["left"].set_visible(False)
    return figure
