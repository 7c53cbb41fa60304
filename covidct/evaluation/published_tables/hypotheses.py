"""Readings of a table, each with its verdict.

The stated reading is "these figures, of these cases, counted together". If it is impossible, other readings are tried.
None of them is a statement about anybody's work: a verdict is about printed numbers and assumptions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from covidct.evaluation.published_tables.averages import Unit, example, mean_figure, row_reach
from covidct.evaluation.published_tables.joint import Cell, Joint
from covidct.evaluation.published_tables.mix import mix_ranges, smallest_half_width
from covidct.evaluation.published_tables.printed import ROUNDINGS, Bounds
from covidct.evaluation.published_tables.publication import Publication, Table
from covidct.evaluation.published_tables.rows import conflicts
from covidct.evaluation.wording import display

CONSISTENT = "consistent"
INCONSISTENT = "inconsistent under stated assumptions"
ONLY_IF = "consistent only if"
NOT_EXCLUDED = "not excluded"
"""No proof against it and no example for it."""


@dataclass(frozen=True)
class Finding:
    """One reading of a table.

    Args:
        name: Short name of the reading.
        assumption: What it assumes, to follow "if".
        verdict: One of the fixed words of this module, "consistent only if" with its condition.
        why: The proof or the example, one sentence each.
        half_width: Half-width in percentage points that would make it possible (real numbers), or None.
    """

    name: str
    assumption: str
    verdict: str
    why: tuple[str, ...] = ()
    half_width: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self) | {"why": list(self.why)}


def stated(table: Table) -> list[Finding]:
    """The stated cases counted together, once for each way of rounding the file allows."""
    found = []
    for rounding in ROUNDINGS if table.rounding == "unknown" else (table.rounding,):
        joint = Joint(table.counts, table.cells(rounding))
        assumption = f"all {table.unit} of the table were counted together and figures {ROUNDINGS[rounding]}"
        possible = joint.matrix() is not None
        verdict = INCONSISTENT if not possible else CONSISTENT
        if possible and rounding != "round" and table.rounding == "unknown":
            verdict = f"{ONLY_IF} figures were {ROUNDINGS[rounding]}"
        why = () if possible else tuple(_impossible_rows(table, table.counts, table.cells(rounding)))
        width = _width(table, table.counts) if rounding == "round" else None
        found.append(Finding(f"pooled, {ROUNDINGS[rounding]}", assumption, verdict, why, width))
    return found


def alternatives(publication: Publication, table: Table, *, seed: int = 0) -> list[Finding]:
    """Other readings that the file allows to be tried (`publication.HYPOTHESES`), in that order.

    All but `other_mix` keep the counts as printed. Rounding is taken as stated, to the nearest where unknown.
    """
    makers: dict[str, Callable[[], list[Finding]]] = {
        "each_site": lambda: _each_site(publication, table),
        "patients": lambda: _patients(publication, table),
        "mean_of_models": lambda: _models(table, seed),
        "mean_over_sites": lambda: _mean_over_sites(publication, table, seed),
        "other_mix": lambda: _other_mix(publication, table),
    }
    return [finding for name in makers if name in table.hypotheses for finding in makers[name]()]


def _cells(table: Table) -> dict[Cell, Bounds]:
    return table.cells("round" if table.rounding == "unknown" else table.rounding)


def _width(table: Table, counts: tuple[int, ...] | None) -> float | None:
    half = smallest_half_width(len(table.classes), table.printed, counts)
    return None if half is None else round(100 * half, 4)


def _judged(table: Table, name: str, assumption: str, counts: tuple[int, ...]) -> Finding:
    cells = _cells(table)
    possible = Joint(counts, cells).matrix() is not None
    verdict = f"{ONLY_IF} {assumption}" if possible else INCONSISTENT
    why = () if possible else tuple(_impossible_rows(table, counts, cells))
    return Finding(name, assumption, verdict, why, _width(table, counts))


def _impossible_rows(table: Table, counts: tuple[int, ...], cells: dict[Cell, Bounds]) -> list[str]:
    names = []
    for place, label in enumerate(table.classes):
        figures = {metric: bounds for (row, metric), bounds in cells.items() if row == place}
        if conflicts(counts[place], sum(counts) - counts[place], figures):
            names.append(display(label))
    if names:
        return [f"no whole numbers of {table.unit} give the row{'s' if len(names) > 1 else ''} of {', '.join(names)}"]
    return ["each row is possible by itself, all rows together are not"]


def _each_site(publication: Publication, table: Table) -> list[Finding]:
    if len(table.sites) < 2 or table.share != 1:
        return []
    found = []
    for site in table.sites:
        counts = publication.cases((site,), table.unit)
        if counts is not None and sum(counts) > 0:
            found.append(_judged(table, f"{site} only", f"the figures are of {site} alone", counts))
    return found


def _patients(publication: Publication, table: Table) -> list[Finding]:
    """Granularity (GRIM; Brown and Heathers 2017): a share of 50 patients is a multiple of 2 %."""
    counts = publication.cases(table.sites, "patients")
    if table.unit != "images" or counts is None or table.share != 1:
        return []
    finding = _judged(replace(table, unit="patients"), "patients", "the figures are of patients", counts)
    cells, why = _cells(table), []
    for (row, metric), printed in table.printed.items():
        n, value = counts[row], printed.value
        if metric != "sensitivity" or value is None or not conflicts(n, sum(counts) - n, {metric: cells[row, metric]}):
            continue
        middle = int(value * n)
        near = sorted({k for k in (middle - 1, middle, middle + 1, middle + 2) if 0 <= k <= n},
                      key=lambda k: abs(Fraction(k, n) - value))[:3]  # fmt: skip
        values = ", ".join(f"{100 * k / n:.1f}" for k in sorted(near))
        name = display(table.classes[row])
        why.append(f"{name}: {printed.text} % of {n} patients is no whole number (near are {values})")
    # the half-width is of real numbers, and patients come whole
    return [replace(finding, half_width=None, why=(*why, *finding.why) if finding.verdict == INCONSISTENT else ())]


def _models(table: Table, seed: int) -> list[Finding]:
    if table.models is None:
        return []
    unit = Unit(table.counts, Fraction(1, table.models))
    assumption = f"the figures are means of {table.models} models on the same {table.unit}"
    return [_averaged(table, f"mean of {table.models} models", assumption, [unit] * table.models, seed, starts=4)[0]]


def _mean_over_sites(publication: Publication, table: Table, seed: int) -> list[Finding]:
    if len(table.sites) < 2 or table.share != 1:
        return []
    counts = [publication.cases((site,), table.unit) for site in table.sites]
    if any(c is None or sum(c) == 0 for c in counts):
        return []
    known = [c for c in counts if c is not None]
    total = sum(sum(c) for c in known)
    found = []
    for name, weights in (
        ("plain", [Fraction(1, len(known))] * len(known)),
        ("weighted", [Fraction(sum(c), total) for c in known]),
    ):
        assumption = f"every figure is the {name} mean of the sites' own figures"
        units = [Unit(c, w) for c, w in zip(known, weights, strict=True)]
        finding, matrices = _averaged(table, f"{name} mean of the sites", assumption, units, seed)
        if matrices is not None:
            why = _site_example(table, units, matrices)
            finding = replace(finding, why=(*finding.why, why))
        found.append(finding)
    return found


def _averaged(
    table: Table, name: str, assumption: str, units: list[Unit], seed: int, starts: int = 60
) -> tuple[Finding, list[np.ndarray] | None]:
    cells = _cells(table)
    proofs = []
    for place, label in enumerate(table.classes):
        figures = {metric: bounds for (row, metric), bounds in cells.items() if row == place}
        for metric, (low, high) in row_reach(units, place, figures).items():
            bounds = figures.get(metric)
            if bounds is None or bounds.low is None or bounds.high is None:
                continue
            text = table.printed[place, metric].text
            if float(bounds.low) > high + 1e-9:
                proofs.append(
                    f"{display(label)}: a mean {metric.upper()} is at most {100 * high:.2f}, printed is {text}"
                )
            elif float(bounds.high) < low - 1e-9:
                proofs.append(
                    f"{display(label)}: a mean {metric.upper()} is at least {100 * low:.2f}, printed is {text}"
                )
    if proofs:
        return Finding(name, assumption, INCONSISTENT, tuple(proofs)), None
    matrices = example(units, cells, starts=starts, seed=seed)
    if matrices is None:
        said = f"no row forbids it, and {starts} searches found no example: this decides nothing"
        return Finding(name, assumption, NOT_EXCLUDED, (said,)), None
    said = "whole numbers were found that give every printed figure"
    return Finding(name, assumption, f"{ONLY_IF} {assumption}", (said,)), matrices


def _site_example(table: Table, units: list[Unit], matrices: list[np.ndarray]) -> str:
    parts = []
    for row, label in enumerate(table.classes):
        if (row, "sensitivity") not in table.printed:
            continue
        alone = [mean_figure([replace(u, weight=Fraction(1))], [m], (row, "sensitivity"))
                 for u, m in zip(units, matrices, strict=True)]  # fmt: skip
        texts = ["–" if value is None else f"{float(100 * value):.1f}" for value in alone]
        parts.append(f"{display(label)} {'/'.join(texts)}")
    return f"one example, sensitivity at {' / '.join(table.sites)}: " + "; ".join(parts)


def _other_mix(publication: Publication, table: Table) -> list[Finding]:
    assumption = "the classes were mixed otherwise than the counts say"
    ranges = mix_ranges(len(table.classes), _cells(table))
    if ranges is None:
        return [
            Finding(
                "any class mix", assumption, INCONSISTENT, ("no class mix gives these figures",), _width(table, None)
            )
        ]
    total = sum(table.counts)
    parts = [
        f"{display(label)} {100 * low:.1f}–{100 * high:.1f} (the counts say {100 * n / total:.1f})"
        for label, (low, high), n in zip(table.classes, ranges, table.counts, strict=True)
    ]
    found = [
        Finding("any class mix", assumption, f"{ONLY_IF} {assumption}", ("shares in percent: " + "; ".join(parts),))
    ]
    others: dict[str, tuple[tuple[str, ...], str]] = {
        site: ((site,), table.unit) for site in publication.counts if site not in table.sites
    }
    if table.unit == "images":
        others["the patients of the table"] = (table.sites, "patients")
    half = 100 * float(max(printed.unit for printed in table.printed.values())) / 2
    for name, (sites, unit) in others.items():
        counts = publication.cases(sites, unit)
        if counts is None or not sum(counts):
            continue
        width, said = _width(table, counts), f"the classes were mixed as in {name} ({unit})"
        fits = width is not None and width <= half + 1e-9
        found.append(Finding(f"mix of {name}", said, f"{ONLY_IF} {said}" if fits else INCONSISTENT, (), width))
    return found
