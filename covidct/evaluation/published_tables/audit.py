"""The audit of a publication's tables: verdicts, what contradicts what, what is fixed all the same, and sentences.

A verdict is about printed numbers and stated assumptions. It is never about a person's work.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from covidct.evaluation.published_tables.context import beside, summary_of_pairs
from covidct.evaluation.published_tables.hypotheses import (
    CONSISTENT,
    INCONSISTENT,
    NOT_EXCLUDED,
    ONLY_IF,
    alternatives,
    stated,
)
from covidct.evaluation.published_tables.joint import Cell, Joint
from covidct.evaluation.published_tables.printed import METRICS, Bounds
from covidct.evaluation.published_tables.publication import Publication, Table
from covidct.evaluation.published_tables.rows import Pairs, conflicts, most_together, pairs_that_fit
from covidct.evaluation.published_tables.wrong_cells import MOST, smallest_wrong_sets
from covidct.evaluation.wording import display

NAMES = {"accuracy": "accuracy", "sensitivity": "sensitivity", "specificity": "specificity", "ppv": "PPV", "npv": "NPV"}
"""Figures for people."""


def audit_publication(publication: Publication, *, seed: int = 0) -> dict[str, Any]:
    """Audit every table of a publication.

    Args:
        publication: As read from its file.
        seed: Of the search for an average over sites or models; nothing else is random.

    Returns:
        Plain values for JSON: "title", "source", "verdict" (the worst of the tables'), and "tables", each with its
        verdict, rows, joint bounds, hypotheses, context and sentences. Percent where a name says so, else fractions.
    """
    tables = [audit_table(publication, table, seed=seed) for table in publication.tables.values()]
    order = (INCONSISTENT, ONLY_IF, CONSISTENT)
    verdicts = [table["verdict"] for table in tables]
    worst = next((v for word in order for v in verdicts if v.startswith(word)), CONSISTENT)
    return {"schema": 1, "title": publication.title, "source": publication.source, "verdict": worst, "tables": tables}


def audit_table(publication: Publication, table: Table, *, seed: int = 0) -> dict[str, Any]:
    """Audit one table; see `audit_publication`."""
    readings = stated(table)
    verdict = _verdict([finding.verdict for finding in readings])
    others = alternatives(publication, table, seed=seed) if verdict == INCONSISTENT else []
    rounding = _rounding(table, verdict)
    cells = table.cells(rounding)
    joint = Joint(table.counts, cells)
    sets = smallest_wrong_sets(joint)
    kept = None if not sets else min(sets, key=_least_loss)
    found = {
        "name": table.name, "title": table.title, "lines": table.lines, "split": table.split, "unit": table.unit,
        "sites": list(table.sites), "share": str(table.share), "rounding": table.rounding, "examined": rounding,
        "classes": list(table.classes), "counts": list(table.counts), "cells": len(cells), "verdict": verdict,
        "rows": [_row(table, cells, place) for place in _places(table)],
        "readings": [finding.as_dict() for finding in readings],
        "alternatives": [finding.as_dict() for finding in others],
        "wrong": _wrong(table, sets),
        "fixed": None if kept is None else _fixed(publication, table, joint, kept),
        "context": beside(publication, table),
    }  # fmt: skip
    found["sentences"] = _sentences(found)
    return found


def _wrong(table: Table, sets: list[tuple[Cell, ...]] | None) -> dict[str, Any] | None:
    if sets is None:
        return None
    return {"least": len(sets[0]), "sets": [[_named(table, cell) for cell in cells] for cells in sets]}


def _verdict(verdicts: list[str]) -> str:
    """Of the stated reading over the ways of rounding: the best of them."""
    return next((v for word in (CONSISTENT, ONLY_IF) for v in verdicts if v.startswith(word)), INCONSISTENT)


def _rounding(table: Table, verdict: str) -> str:
    """The way of rounding that the details are worked out under."""
    if table.rounding != "unknown":
        return table.rounding
    return next(
        (mode for mode, word in (("trunc", "truncated"), ("ceil", "rounded up")) if verdict.endswith(word)), "round"
    )


def _places(table: Table) -> list[int]:
    return [table.classes.index(row.label) for row in table.rows]


def _named(table: Table, cell: Cell) -> dict[str, Any]:
    row, metric = cell
    return {"class": None if row < 0 else table.classes[row], "metric": metric, "printed": table.printed[cell].text}


def _least_loss(cells: Collection[Cell]) -> tuple[int, list[Cell]]:
    """Of several sets of figures to give up, the one that keeps most sensitivities, specificities and accuracies."""
    return sum(metric not in ("ppv", "npv") for _, metric in cells), sorted(cells)


def _row(table: Table, cells: dict[Cell, Bounds], place: int) -> dict[str, Any]:
    cases = table.counts[place]
    others = sum(table.counts) - cases
    figures = {metric: cells[place, metric] for metric in METRICS if (place, metric) in cells}
    groups = conflicts(cases, others, figures)
    basic = pairs_that_fit(cases, others, {m: b for m, b in figures.items() if m in ("sensitivity", "specificity")})
    own = pairs_that_fit(cases, others, figures)
    modes = [mode for mode in ("round", "trunc", "ceil")
             if pairs_that_fit(cases, others, {m: table.cells(mode)[place, m] for m in figures})]  # fmt: skip
    printed = []
    for metric in METRICS:
        if metric not in figures:
            continue
        text, allowed = table.printed[place, metric].text, figures[metric]
        rest = pairs_that_fit(cases, others, {m: b for m, b in figures.items() if m != metric})
        from_basic = basic.attainable(metric) if basic else None
        printed.append({
            "metric": metric, "printed": text,
            "attainable_percent": _percent(from_basic),
            "from_the_rest_percent": _percent(rest.attainable(metric) if rest else None),
            "possible": from_basic is None or allowed.low is None or allowed.high is None
            or not (from_basic[1] < allowed.low or from_basic[0] > allowed.high),
        })  # fmt: skip
    return {
        "class": table.classes[place], "cases": cases, "verdict": INCONSISTENT if groups else CONSISTENT,
        "roundings": modes, "figures": printed, "conflicts": [list(group) for group in groups],
        "together": most_together(cases, others, figures), "from_rates": _errors(basic), "errors": _errors(own),
    }  # fmt: skip


def _percent(ends: Any) -> list[float] | None:
    return None if ends is None else [float(100 * ends[0]), float(100 * ends[1])]


def _errors(pairs: Pairs) -> dict[str, Any] | None:
    return {"fn": list(pairs.fn_range), "fp": list(pairs.fp_range), "pairs": len(pairs)} if pairs else None


def _corners(cases: int, others: int, fn: Collection[int], fp: Collection[int]) -> dict[str, list[float]]:
    """Range of MCC and F1: both fall with FN and with FP wherever a class is found better than by chance."""
    corners = [summary_of_pairs(cases, others, a, b) for a in fn for b in fp]
    found = {name: [value for c in corners if (value := c[name]) is not None] for name in ("mcc", "f1")}
    return {name: [min(values), max(values)] for name, values in found.items() if values}


def _fixed(publication: Publication, table: Table, joint: Joint, without: Collection[Cell]) -> dict[str, Any]:
    """What every confusion matrix behind the figures has in common."""
    size, counts = len(table.classes), table.counts
    total = sum(counts)

    def ends(true: Collection[int], called: Collection[int], same: bool) -> list[int]:
        weights = np.zeros((size, size), dtype=int)
        weights[np.ix_(list(true), list(called))] = 1
        if not same:
            np.fill_diagonal(weights, 0)
        found = joint.extremes(weights, without)
        assert found is not None  # the set was chosen so that a matrix exists
        return list(found)

    every = range(size)
    right = joint.extremes(np.eye(size, dtype=int), without)
    assert right is not None
    entries = [[ends([true], [called], True) for called in every] for true in every]
    missed = [[counts[k] - entries[k][k][1], counts[k] - entries[k][k][0]] for k in every]
    false = [ends(every, [k], False) for k in every]
    ill = [k for k in every if table.classes[k] != publication.normal]
    return {
        "without": [_named(table, cell) for cell in without],
        "figures": len(joint.cells) - len(without),
        "entries": entries, "missed": missed, "false": false,
        "right": list(right), "errors": [total - right[1], total - right[0]],
        "top1_percent": [100 * right[0] / total, 100 * right[1] / total],
        "disease_for_disease": ends(ill, ill, False) if publication.normal is not None else None,
        "scores": [_corners(counts[k], total - counts[k], missed[k], false[k]) for k in every],
    }  # fmt: skip


def _sentences(found: dict[str, Any]) -> list[str]:
    """What may be said of a table, in words; the first is the verdict."""
    counted = f"{sum(found['counts']):,} {found['unit']}"
    where = f"{found['title']} ({counted}, {len(found['classes'])} classes, {found['cells']} figures)"
    said = [f"{where}: {found['verdict']}."]
    bad = [row for row in found["rows"] if row["verdict"] == INCONSISTENT]
    for row in bad:
        said.append(_row_sentence(row, found["unit"]))
    if found["verdict"] == INCONSISTENT:
        if not bad:
            said.append("Each row is possible by itself; no confusion matrix has all rows at once.")
        width = found["readings"][0]["half_width"]
        if width is not None:
            said.append(f"All figures are possible together only if each may be off by ±{width:.3f} points.")
        wrong = found["wrong"]
        if wrong is None:
            said.append(f"More than {MOST} figures would have to be wrong for the others to be true together.")
        else:
            n = len(wrong["sets"])
            said.append(
                f"At least {wrong['least']} of the {found['cells']} figures must be wrong for the others to be true "
                "together" + (f"; there are {n} such sets." if n > 1 else "; there is one such set.")
            )
        ways = [f["assumption"] for f in found["alternatives"] if f["verdict"].startswith(ONLY_IF)]
        undecided = [f["assumption"] for f in found["alternatives"] if f["verdict"] == NOT_EXCLUDED]
        if ways:
            said.append(f"The table would be consistent if {_or(ways)}.")
        if undecided:
            said.append(f"It could not be excluded that {', or that '.join(undecided)}.")
    fixed = found["fixed"]
    if fixed:
        low, high = fixed["top1_percent"]
        said.append(
            f"The {fixed['figures']} figures that go together fix the share of all {found['unit']} called rightly to "
            f"{low:.2f}–{high:.2f} % ({fixed['right'][0]:,}–{fixed['right'][1]:,} of {sum(found['counts']):,})."
        )
    return said


def _row_sentence(row: dict[str, Any], unit: str) -> str:
    out = [f for f in row["figures"] if not f["possible"] and f["attainable_percent"]]
    name = display(row["class"])
    if row["from_rates"] and out:
        texts = [
            "{} of {:.2f}–{:.2f}, printed is {}".format(NAMES[f["metric"]], *f["attainable_percent"], f["printed"])
            for f in out
        ]
        return f"{name}: with {row['cases']:,} {unit}, sensitivity and specificity give {_and(texts)}."
    groups = [" and ".join(NAMES[m] for m in group) for group in row["conflicts"][:3]]
    return f"{name}: no whole numbers of {unit} give {', nor '.join(groups)} as printed."


def _or(parts: Iterable[str]) -> str:
    return ", or if ".join(parts)


def _and(parts: Iterable[str]) -> str:
    return "; ".join(parts)
