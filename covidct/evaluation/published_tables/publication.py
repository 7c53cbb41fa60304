"""The tables of a publication as records: counts of cases, and figures as printed."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from covidct.errors import UsageError
from covidct.evaluation.published_tables.joint import TOP1, Cell
from covidct.evaluation.published_tables.printed import METRICS, Bounds, Printed

UNITS = ("images", "patients")
HYPOTHESES = ("each_site", "patients", "mean_of_models", "mean_over_sites", "other_mix")
"""Other readings of a table than "these figures, of these cases"; all that the file allows are tried by default."""


@dataclass(frozen=True)
class Row:
    """The printed figures of one class against the rest.

    Args:
        label: Class name.
        figures: By name (`printed.METRICS`).
        auc: The printed AUC, or None.
        line: Line of the publication's text, or None.
    """

    label: str
    figures: Mapping[str, Printed]
    auc: Printed | None = None
    line: int | None = None


@dataclass(frozen=True)
class Table:
    """One printed table and the cases it says it is about.

    Args:
        name: Its key in the file.
        title: As printed.
        classes: Class names in table order.
        counts: Cases of each class of the table, in the table's unit.
        unit: "images" or "patients".
        sites: Sites whose cases are in it.
        rows: One a class that has printed figures.
        rounding: "round", "trunc", "ceil" or "unknown".
        hypotheses: Which other readings to try (`HYPOTHESES`).
        overall: Printed top-1 accuracy, or None.
        share: The part of the sites' cases that the table is about; 1 for all.
        models: Number of models whose figures may have been averaged, or None.
        split: "val" or "test", or None.
        lines: Where the table stands in the text, or None.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    counts: tuple[int, ...]
    unit: str
    sites: tuple[str, ...]
    rows: tuple[Row, ...]
    rounding: str = "unknown"
    hypotheses: tuple[str, ...] = HYPOTHESES
    overall: Printed | None = None
    share: Fraction = Fraction(1)
    models: int | None = None
    split: str | None = None
    lines: str | None = None

    @property
    def printed(self) -> dict[Cell, Printed]:
        """All counting figures by (row of the class, name)."""
        found: dict[Cell, Printed] = {
            (self.classes.index(row.label), metric): row.figures[metric]
            for row in self.rows
            for metric in METRICS
            if metric in row.figures
        }
        if self.overall is not None:
            found[TOP1] = self.overall
        return found

    def cells(self, rounding: str) -> dict[Cell, Bounds]:
        """What each figure allows under a way of rounding (not "unknown")."""
        return {cell: printed.bounds(rounding) for cell, printed in self.printed.items()}


@dataclass(frozen=True)
class Publication:
    """What a publication says of its cases and results.

    Args:
        title: Of the publication.
        source: Authors, year, place.
        classes: Class names in table order.
        normal: The class that means "no disease", or None.
        counts: Cases by site, unit ("images", "patients") and class; a unit that is not printed is absent.
        tables: By name.
        count_lines: Line of the publication's text of each class's counts.
    """

    title: str
    source: str
    classes: tuple[str, ...]
    normal: str | None
    counts: Mapping[str, Mapping[str, tuple[int, ...]]]
    tables: Mapping[str, Table]
    count_lines: Mapping[str, int] = field(default_factory=dict)

    def cases(self, sites: tuple[str, ...], unit: str) -> tuple[int, ...] | None:
        """Cases of each class at some sites together; None where a site has none printed in this unit."""
        found = [self.counts[site].get(unit) for site in sites]
        if not found or any(counts is None for counts in found):
            return None
        return tuple(sum(numbers) for numbers in zip(*(c for c in found if c is not None), strict=True))


def find_publication(name: str) -> Path:
    """The file of a publication: a path, or the name of one that comes with covidct.

    Raises:
        UsageError: There is neither such a file nor such a name.
    """
    shipped = sorted(path.stem for path in Path(__file__).parent.glob("*.yaml"))
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise UsageError("there is no such file", where=name, remedy=f"give a YAML file, or {', '.join(shipped)}")
        return path
    if name in shipped:
        return Path(__file__).parent / f"{name}.yaml"
    close = difflib.get_close_matches(name, shipped, n=1)
    raise UsageError(
        f"no publication {name!r} comes with covidct",
        where="table",
        remedy=f"table={(close or shipped)[0]}, or a file: table=paper.yaml (docs/how-to/audit-a-table.md)",
    )
