"""`comparison.html` and its files: one page that says what was compared, what came out and how far to trust it.

Everything is inside the page; nothing on it names a patient, a machine or a folder above a run's own.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from covidct.evaluation.comparison import Comparison, Contrast, wall_time
from covidct.evaluation.comparison_cases import POOLED
from covidct.evaluation.comparison_table import COUNTED, MISSING, Outcome
from covidct.evaluation.comparisons import rho_of
from covidct.evaluation.figures_comparison import save_comparison_figures
from covidct.evaluation.pages import embedded, write_page
from covidct.evaluation.site_contrasts import SiteContrast
from covidct.evaluation.verdict import p_text
from covidct.files import replacing, write_json

CSV_COLUMNS = ("arm", "repeat", "state", "reason", "run", "seconds")


def write_comparison(comparison: Comparison, folder: Path) -> Path:
    """Write comparison.json, table.csv, figures/ and comparison.html into a folder.

    Returns:
        Path of the page.
    """
    write_json(folder / "comparison.json", comparison.as_dict())
    with replacing(folder / "table.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*CSV_COLUMNS[:2], comparison.plan.metric, *CSV_COLUMNS[2:]])
        for arm in comparison.table.arms:
            for cell in comparison.table.of(arm):
                row = [cell.value, *(getattr(cell, name) for name in CSV_COLUMNS[2:])]
                writer.writerow([cell.arm, cell.repeat, *("" if value is None else value for value in row)])
    names = save_comparison_figures(comparison, folder / "figures")
    shown = view(comparison)
    shown["pictures"] = dict.fromkeys(("runs", "differences", "posterior", "sites")) | {
        name: embedded(folder / "figures" / f"{name}.png", "image/png") for name in names
    }
    return write_page("comparison.html.j2", folder / "comparison.html", shown)


def view(comparison: Comparison) -> dict[str, Any]:
    """Everything the page shows, as text; the terminal shows parts of it."""
    table, plan = comparison.table, comparison.plan
    return {
        "metric": plan.metric_text,
        "digest": comparison.plan_digest,
        "warnings": [f"{text[0].upper()}{text[1:]}." for text in comparison.warnings],
        "repeats": table.repeats,
        "arms": [_arm(comparison, arm) for arm in table.arms],
        "rows": [
            {"repeat": repeat, "cells": [_cell(table.cells[arm, repeat]) for arm in table.arms]}
            for repeat in table.repeats
        ],
        "lost": [cell for arm in table.arms for cell in table.of(arm) if cell.state != COUNTED],
        "contrasts": [_contrast(contrast) for contrast in comparison.contrasts],
        "sites": [_site(entry, plan.metric.rpartition(".")[2]) for entry in comparison.sites],
        "site_problems": [(place(site), problem) for site, problem in comparison.site_problems],
        "from_table": all(cell.path is None for cell in table.cells.values()),
        "facts": _facts(comparison),
        "rope": f"{plan.rope:g}",
        "ratio": f"{comparison.test_over_train:.3g}",
        "rho": f"{rho_of(comparison.test_over_train):.3g}",
    }


def place(site: str) -> str:
    """A site for people."""
    return "all sites pooled" if site == POOLED else site


def duration(seconds: float | None) -> str:
    """Wall time for people."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _facts(comparison: Comparison) -> list[tuple[str, str]]:
    plan = comparison.plan
    rows = {
        "Question": plan.question,
        "Metric": f"{plan.metric_text} ({plan.metric}); {'higher' if plan.higher_is_better else 'lower'} is better",
        "Arms told apart by": plan.by,
        "Contrasts": ", ".join(f"{c.first} − {c.second}" for c in comparison.contrasts),
        "Margin of practical equivalence": f"± {plan.rope:g}",
        "Alpha": f"{plan.alpha:g}, after Holm",
        "Planned repeats": None if plan.repeats is None else str(plan.repeats),
        "Patients scored per patient trained on": f"{comparison.test_over_train:.4g}",
        "SHA-256 of the plan": comparison.plan_digest or "none: not pre-registered",
    }
    return [(name, text) for name, text in rows.items() if text is not None]


def _arm(comparison: Comparison, arm: str) -> dict[str, Any]:
    found = wall_time(comparison.table, arm)
    return {
        "name": arm,
        "mean": _value(found["mean"]),
        "sd": _value(found["sd"]),
        "runs": found["runs"],
        "failed": found["failed"],
        "total": duration(found["seconds"]),
        "each": duration(found["seconds_per_run"]),
    }


def _cell(cell: Outcome) -> dict[str, Any]:
    text = _value(cell.value) if cell.value is not None else "absent" if cell.state == MISSING else cell.state
    return {"text": text, "lost": cell.value is None}


def _contrast(contrast: Contrast) -> dict[str, Any]:
    found, belief, wins = contrast.difference, contrast.posterior, contrast.wins
    has_interval = found is not None and found.low is not None and found.high is not None
    return {
        "name": f"{contrast.first} − {contrast.second}",
        "rung": contrast.verdict.rung,
        "sentence": contrast.verdict.sentence,
        "pairs": len(contrast.pairing.repeats),
        "mean": f"{found.mean:+.4f}" if found else "–",
        "interval": f"{found.low:+.4f} to {found.high:+.4f}" if found and has_interval else "–",
        "p": p_text(found.p) if found and found.p is not None else "–",
        "p_holm": p_text(contrast.p_holm) if contrast.p_holm is not None else "–",
        "regions": f"{belief.worse:.3f} / {belief.equal:.3f} / {belief.better:.3f}" if belief else "–",
        "wins": f"{wins.value:.2f}" if wins else "–",
        "wins_interval": f"{wins.low:.2f} to {wins.high:.2f}" if wins else "–",
        "excluded": contrast.pairing.excluded,
        "unchecked": contrast.pairing.unchecked,
    }


def _site(entry: SiteContrast, figure: str) -> dict[str, Any]:
    test, ends = entry.test, entry.test.difference
    return {
        "site": place(entry.site),
        "name": f"{entry.first} − {entry.second}",
        "metric": test.metric.replace("_", " ").replace("auc", "AUC"),
        "patients": ends.n_patients,
        "first": _value(test.first),
        "second": _value(test.second),
        "difference": f"{ends.value:+.4f}" if ends.value is not None else "–",
        "interval": _ends(ends.low, ends.high) if ends.low is not None else f"– ({ends.method})",
        "p": p_text(test.p),
        "p_holm": p_text(entry.p_holm),
        "test": test.test,
        "sentence": entry.sentence if test.metric == figure else None,
    }


def _ends(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{low:+.4f} to {high:+.4f}"


def _value(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}" if abs(value) < 1000 else f"{value:.1f}"
