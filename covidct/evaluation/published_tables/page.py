"""`table_audit.html` and `table_audit.json`: the audit of a publication for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from covidct.evaluation.pages import write_page
from covidct.evaluation.published_tables.audit import NAMES
from covidct.evaluation.published_tables.hypotheses import CONSISTENT, INCONSISTENT, ONLY_IF
from covidct.evaluation.wording import display
from covidct.files import write_json


def write_audit(found: Mapping[str, Any], folder: Path) -> Path:
    """Write table_audit.json and table_audit.html into a folder.

    Args:
        found: As `audit.audit_publication` returns it.
        folder: Made if it does not exist.

    Returns:
        Path of the page.
    """
    write_json(folder / "table_audit.json", found)
    return write_page("table_audit.html.j2", folder / "table_audit.html", view(found))


def view(found: Mapping[str, Any]) -> dict[str, Any]:
    """Everything the page shows, as text."""
    return {
        "title": found["title"],
        "source": found["source"],
        "tables": [_table(table) for table in found["tables"]],
        "columns": [_heading(name) for name in NAMES],
        "inconsistent": found["verdict"] == INCONSISTENT,
    }


def colour(verdict: str) -> str:
    """Class of the page's style sheet for a verdict."""
    if verdict == INCONSISTENT:
        return "alarm"
    return "calm" if verdict == CONSISTENT else "loud"


def figure_name(figure: Mapping[str, Any]) -> str:
    """A printed figure for people: "Normal PPV 99.1"."""
    who = "overall" if figure["class"] is None else display(figure["class"])
    return f"{who} {NAMES[figure['metric']]} {figure['printed']}"


def _heading(name: str) -> str:
    return NAMES[name][0].upper() + NAMES[name][1:]


def _table(table: Mapping[str, Any]) -> dict[str, Any]:
    total = sum(table["counts"])
    share = "" if table["share"] == "1" else f"{table['share']} of the "
    facts = [
        (
            "Cases",
            f"{share}{table['unit']} of {', '.join(table['sites'])}: {total:,}" if table["sites"] else f"{total:,}",
        ),
        ("Classes", ", ".join(f"{display(c)} {n:,}" for c, n in zip(table["classes"], table["counts"], strict=True))),
        ("Rounding", "not stated" if table["rounding"] == "unknown" else table["rounding"]),
        ("Where", f"lines {table['lines']}" if table["lines"] else "–"),
    ]
    return {
        "anchor": f"table-{table['name']}",
        "title": table["title"],
        "verdict": table["verdict"],
        "colour": colour(table["verdict"]),
        "sentences": table["sentences"],
        "facts": facts,
        "rows": [_row(row, table["unit"]) for row in table["rows"]],
        "readings": [_reading(f, table["verdict"]) for f in (*table["readings"], *table["alternatives"])],
        "wrong": _wrong(table["wrong"]),
        "fixed": _fixed(table),
        "context": _context(table),
        "unit": table["unit"],
    }


def _row(row: Mapping[str, Any], unit: str) -> dict[str, Any]:
    shown = {figure["metric"]: figure for figure in row["figures"]}
    cells = []
    for metric in NAMES:
        figure = shown.get(metric)
        if figure is None:
            cells.append({"printed": "–", "range": "", "impossible": False})
            continue
        ends = figure["attainable_percent"]
        basic = metric in ("sensitivity", "specificity")
        text = "" if ends is None or basic else f"{ends[0]:.2f}–{ends[1]:.2f}"
        cells.append({"printed": figure["printed"], "range": text, "impossible": not figure["possible"]})
    errors = row["errors"] or row["from_rates"]
    return {
        "name": display(row["class"]),
        "cases": f"{row['cases']:,}",
        "cells": cells,
        "errors": [] if errors is None else [f"{_range(errors['fn'])} missed", f"{_range(errors['fp'])} false"],
        "possible": row["verdict"] == CONSISTENT,
        "conflicts": "; ".join(" + ".join(NAMES[m] for m in group) for group in row["conflicts"]),
        "together": f"{row['together']} of {len(row['figures'])}",
        "unit": unit,
    }


def _reading(finding: Mapping[str, Any], verdict_of_table: str) -> dict[str, Any]:
    width = finding["half_width"]
    verdict = finding["verdict"]
    return {
        "assumption": finding["assumption"],
        "verdict": "consistent only if so" if verdict.startswith(ONLY_IF) else verdict,
        # a way of rounding that fails is no alarm where another one fits
        "colour": "" if verdict == INCONSISTENT != verdict_of_table else colour(verdict),
        "why": finding["why"],
        "width": "–" if width is None else f"±{width:.3f}",
    }


def _wrong(wrong: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if wrong is None or wrong["least"] == 0:
        return None
    return {"least": wrong["least"], "sets": [[figure_name(f) for f in figures] for figures in wrong["sets"]]}


def _fixed(table: Mapping[str, Any]) -> dict[str, Any] | None:
    fixed = table["fixed"]
    if fixed is None:
        return None
    names = [display(name) for name in table["classes"]]
    rows = []
    for k, name in enumerate(names):
        scores = fixed["scores"][k]
        cells = [{"text": _range(ends), "own": k == c} for c, ends in enumerate(fixed["entries"][k])]
        rows.append({
            "name": name, "cells": cells, "missed": _range(fixed["missed"][k]), "false": _range(fixed["false"][k]),
            "mcc": _range(scores["mcc"], "{:.3f}") if "mcc" in scores else "–",
            "f1": _range(scores["f1"], "{:.3f}") if "f1" in scores else "–",
        })  # fmt: skip
    low, high = fixed["top1_percent"]
    said = [f"Called rightly: {_range(fixed['right'])} of {sum(table['counts']):,}, {low:.2f}–{high:.2f} %."]
    said.append(f"Errors: {_range(fixed['errors'])}"
                + (f", of which {_range(fixed['disease_for_disease'])} one disease for another."
                   if fixed["disease_for_disease"] else "."))  # fmt: skip
    return {
        "names": names,
        "rows": rows,
        "said": said,
        "without": [figure_name(figure) for figure in fixed["without"]],
        "figures": fixed["figures"],
    }


def _context(table: Mapping[str, Any]) -> dict[str, Any]:
    context = table["context"]
    rows = []
    for row in context["rows"]:
        naive, patients, design = row["sensitivity_naive"], row["sensitivity_patients"], row["design"]
        at = row["ppv_at"]
        rows.append({
            "name": display(row["class"]),
            "never": f"{100 * row['never_accuracy']:.1f}",
            "naive": "–" if naive is None else _percent(naive["interval"]),
            "patients": [] if patients is None else
                        [f"{p['successes']}/{p['n']}: {_percent(p['interval'])}" for p in patients],
            "effective": [] if design is None else
                         [f"ICC {e['icc']:g}: {e['effect']:.1f}, n {e['effective']:,.0f}" for e in design["effects"]],
            "ppv": [] if at is None else
                   [f"{100 * float(p):g} %: {'–' if v is None else f'{100 * v:.1f}'}" for p, v in at.items()],
        })  # fmt: skip
    return {"rows": rows, "said": _context_sentences(table)}


def _context_sentences(table: Mapping[str, Any]) -> list[str]:
    context, said = table["context"], []
    for row in context["rows"]:
        auc = row["auc"]
        if auc is not None:
            low, high, concave = (f"{100 * auc[key]:.2f}" for key in ("low", "high", "concave_low"))
            said.append(
                f"{display(row['class'])}: an AUC of {100 * auc['printed']:.1f} % is "
                f"{'admissible' if auc['admissible'] else 'not admissible'} for a curve through the printed "
                f"sensitivity and specificity ({low}–{high} %; a concave one has at least {concave} %)."
            )
    link = context["site_association"]
    if link is not None and link["p"] < 0.05:
        p = f"{link['p']:.4f}" if link["p"] >= 0.0001 else "< 0.0001"
        said.append(
            f"Patients' classes differ between the sites (chi2 {link['chi2']:.2f}, df {link['df']:.0f}, P {p}, "
            f"Cramér's V {link['cramers_v']:.2f}): pooled figures depend on that mix."
        )
    rule = context["patient_rule"]
    if rule is not None:
        wrong = _range([rule["wrong_images_fewest"], rule["wrong_images_most"]])
        said.append(
            f"If a patient is normal only when every image is, {wrong} wrong images among {rule['normal_patients']} "
            f"normal patients leave {rule['least_right']} to {rule['most_right']} of them right; "
            f"{100 * rule['right_if_independent']:.1f} % if images erred independently."
        )
    return said


def _percent(interval: list[float]) -> str:
    return f"{100 * interval[0]:.1f}–{100 * interval[1]:.1f}"


def _range(ends: list[float], form: str = "{:,}") -> str:
    low, high = (form.format(end) for end in ends)
    return low if low == high else f"{low}–{high}"
