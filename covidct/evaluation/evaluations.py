"""How often the run's test sets were looked at, from its `evaluations.json`, in words that say what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from covidct.evaluation.record import RunRecord
from covidct.evaluation.wording import counted

UNKNOWN = (
    "How often these patients were looked at is not known: the run has no record of it (no evaluations.json). "
    "covidct evaluate run=RUN writes one."
)


def view(record: RunRecord) -> dict[str, Any] | None:
    """What the report says beside the test results; None where nothing was tested.

    Returns:
        "tone" ("calm" or "loud"), "verdict" (one sentence), "rows" (site, evaluations, runs, configurations, earlier,
        seal: text) and "as_of".
    """
    if not any(block["split"] == "test" for block in record.summary["blocks"]):
        return None
    found = record.section("evaluations")
    if not found or not found.get("sets"):
        return {"tone": "loud", "verdict": UNKNOWN, "rows": [], "as_of": None}
    sets = found["sets"]
    return {
        "tone": "loud" if found.get("lost") or max(one["configurations"] for one in sets) > 1 else "calm",
        "verdict": verdict(found),
        "rows": [
            {
                **{key: one[key] for key in ("site", "evaluations", "runs", "configurations", "repeats")},
                "earlier": one["earlier_configurations"],
                "seal": seal_text(one["seal"]),
            }
            for one in sets
        ],
        "as_of": day(found["as_of"]),
    }


def verdict(found: Mapping[str, Any]) -> str:
    """What may be concluded from the counts, in one or two sentences."""
    sets = found["sets"]
    most = max(one["configurations"] for one in sets)
    if most > 1:
        where = next(one["site"] for one in sets if one["configurations"] == most)
        text = (
            f"{most} configurations were evaluated on the patients of {where}. If this run was chosen because it did "
            "well there, its figures are too good: report all of them, or confirm on patients nobody has looked at."
        )
    elif all(one["seal"] and one["seal"]["looks_before"] == 0 and one["seal"]["openings"] == 1 for one in sets):
        text = (
            "The test sets were sealed before anyone looked, and opened once, for frozen weights: these figures were "
            "not chosen among several."
        )
    else:
        text = (
            "No other configuration was evaluated on these patients, as far as the ledger knows: these figures were "
            "not chosen among several."
        )
    if lost := len(found.get("lost") or []):
        text += (
            f" But the run remembers {counted(lost, 'evaluation')} that the ledger does not have: it was begun anew or "
            "changed, and the counts are too low."
        )
    return text


def seal_text(seal: Mapping[str, Any] | None) -> str:
    """What happened to the seal of a set."""
    if seal is None:
        return "never sealed"
    before = f"after {counted(seal['looks_before'], 'evaluation')}" if seal["looks_before"] else "before any evaluation"
    text = f"sealed {day(seal['sealed'])} {before}"
    if seal["opened"]:
        times = "" if seal["openings"] == 1 else f" (opening {seal['openings']})"
        text += f", opened {day(seal['opened'])}{times} for {counted(seal['frozen'], 'frozen run')}"
    if seal.get("reason"):
        text += f"; reason given: {seal['reason']}"
    return text


def day(time: str) -> str:
    """The day of an ISO time."""
    return str(time)[:10]
