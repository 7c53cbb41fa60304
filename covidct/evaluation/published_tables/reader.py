"""A publication's YAML file, read with every problem reported at once.

`fu2020.yaml` beside this module is a complete example; the format is in docs/how-to/audit-a-table.md.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import yaml

from covidct.errors import CovidctError, DataRefused
from covidct.evaluation.published_tables.printed import METRICS, ROUNDINGS, Printed
from covidct.evaluation.published_tables.publication import HYPOTHESES, UNITS, Publication, Row, Table

_TOP_KEYS = ("title", "source", "classes", "normal", "counts", "count_lines", "tables")
_TABLE_KEYS = ("title", "split", "lines", "sites", "unit", "share", "counts", "rounding", "scale", "models",
               "hypotheses", "overall", "rows")  # fmt: skip


def read_publication(path: Path) -> Publication:
    """Read a publication's YAML file.

    Raises:
        DataRefused: The file is no YAML, or says things that cannot be used; every problem is listed.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)
    except OSError as error:
        raise DataRefused(f"the file cannot be read: {error.strerror}", where=str(path)) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataRefused(f"not a YAML file: {error}", where=str(path)) from None
    reader = _Reader()
    publication = reader.publication(values)
    if reader.problems or publication is None:
        number = len(reader.problems)
        raise DataRefused(
            f"{number} problem{'s' if number > 1 else ''}:\n" + "\n".join(f"  - {text}" for text in reader.problems),
            where=str(path),
            remedy="the format is in docs/how-to/audit-a-table.md",
        )
    return publication


class _StrictLoader(yaml.SafeLoader):
    """A key that stands twice is a slip of the pen, not a wish for the last one."""


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    twice = sorted({str(key) for key in keys if keys.count(key) > 1})
    if twice:
        raise yaml.constructor.ConstructorError(
            None, None, f"{', '.join(twice)} stands twice in one place", node.start_mark
        )
    if not all(isinstance(key, str | int | float | bool | None) for key in keys):
        raise yaml.constructor.ConstructorError(None, None, "a key must be one word", node.start_mark)
    return {key: loader.construct_object(value, deep=True) for key, (_, value) in zip(keys, node.value, strict=True)}


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


class _Reader:
    """Turns plain values into a `Publication` and collects what is wrong with them."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def publication(self, values: Any) -> Publication | None:
        if not isinstance(values, dict):
            self.problems.append("the file holds no keys")
            return None
        self._keys(values, _TOP_KEYS, "")
        classes = values.get("classes")
        if not (isinstance(classes, list) and len(classes) > 1 and all(isinstance(name, str) for name in classes)):
            self.problems.append("classes: a list of two or more names is needed")
            return None
        if len(set(classes)) < len(classes):
            self.problems.append("classes: a name stands twice")
        normal = values.get("normal")
        if normal is not None and normal not in classes:
            self.problems.append(f"normal: {normal!r} is none of the classes {classes}")
        names = tuple(classes)
        sites = self._section(values.get("counts", {}), "counts")
        counts = {str(site): self._site(found, names, f"counts.{site}") for site, found in sites.items()}
        tables = self._section(values.get("tables"), "tables")
        if not tables:
            self.problems.append("tables: at least one table is needed")
        read = {str(name): self._table(str(name), found, names, counts) for name, found in tables.items()}
        lines = {str(k): v for k, v in self._section(values.get("count_lines", {}), "count_lines").items()}
        return Publication(
            str(values.get("title") or "untitled"), str(values.get("source") or ""), names, normal, counts,
            {name: table for name, table in read.items() if table is not None}, lines,
        )  # fmt: skip

    def _section(self, found: Any, where: str) -> dict[Any, Any]:
        if isinstance(found, dict):
            return found
        self.problems.append(f"{where}: keys with values are needed, not {found!r}")
        return {}

    def _keys(self, values: Mapping[Any, Any], known: tuple[str, ...], where: str) -> None:
        for key in values:
            if key not in known:
                close = difflib.get_close_matches(str(key), known, n=1)
                hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
                self.problems.append(f"{where}{key}: unknown key; {hint}")

    def _site(self, found: Any, classes: tuple[str, ...], where: str) -> dict[str, tuple[int, ...]]:
        section = self._section(found, where)
        self._keys(section, UNITS, f"{where}.")
        read = {unit: self._counts(section[unit], classes, f"{where}.{unit}") for unit in UNITS if unit in section}
        return {unit: counts for unit, counts in read.items() if counts is not None}

    def _counts(self, found: Any, classes: tuple[str, ...], where: str) -> tuple[int, ...] | None:
        section = self._section(found, where)
        before = len(self.problems)
        for name in section:
            if name not in classes:
                self.problems.append(f"{where}.{name}: none of the classes {list(classes)}")
        for name in classes:
            if name not in section:
                self.problems.append(f"{where}.{name}: missing (0 if there is none)")
            elif type(section[name]) is not int or section[name] < 0:
                self.problems.append(f"{where}.{name}: {section[name]!r} is no number of cases")
        return tuple(section[name] for name in classes) if len(self.problems) == before else None

    def _table(
        self, name: str, found: Any, classes: tuple[str, ...], counts: Mapping[str, Mapping[str, tuple[int, ...]]]
    ) -> Table | None:
        where, before = f"tables.{name}", len(self.problems)
        section = self._section(found, where)
        self._keys(section, _TABLE_KEYS, f"{where}.")
        unit = self._choice(section.get("unit", "images"), UNITS, f"{where}.unit")
        rounding = self._choice(section.get("rounding", "unknown"), (*ROUNDINGS, "unknown"), f"{where}.rounding")
        scale = self._choice(section.get("scale", "percent"), ("percent", "fraction"), f"{where}.scale")
        sites = section.get("sites", list(counts))
        if not isinstance(sites, list) or any(site not in counts for site in sites):
            self.problems.append(f"{where}.sites: {sites!r} is no list of the sites {list(counts)}")
            sites = []
        share = self._share(section.get("share", 1), f"{where}.share")
        tried = section.get("hypotheses", list(HYPOTHESES))
        if not isinstance(tried, list) or any(word not in HYPOTHESES for word in tried):
            self.problems.append(f"{where}.hypotheses: {tried!r} is no list of {', '.join(HYPOTHESES)}")
            tried = []
        models = section.get("models")
        if models is not None and (type(models) is not int or not 2 <= models <= 20):
            self.problems.append(f"{where}.models: {models!r} is no number of models (2 to 20)")
        cases = self._cases(section, sites, unit, share, classes, counts, where)
        rows = [
            self._row(label, figures, classes, scale == "percent", f"{where}.rows.{label}")
            for label, figures in self._section(section.get("rows"), f"{where}.rows").items()
        ]
        overall = None
        if "overall" in section:
            overall = self._printed(section["overall"], scale == "percent", f"{where}.overall")
        if not any(row and row.figures for row in rows):
            self.problems.append(f"{where}.rows: no figure is given")
        if len(self.problems) > before or cases is None:
            return None
        return Table(
            name, str(section.get("title") or name), classes, cases, unit, tuple(sites), tuple(r for r in rows if r),
            rounding, tuple(tried), overall, share, models, section.get("split"),
            None if section.get("lines") is None else str(section["lines"]),
        )  # fmt: skip

    def _cases(
        self, section: Mapping[str, Any], sites: list[str], unit: str, share: Fraction, classes: tuple[str, ...],
        counts: Mapping[str, Mapping[str, tuple[int, ...]]], where: str,
    ) -> tuple[int, ...] | None:  # fmt: skip
        if "counts" in section:
            cases = self._counts(section["counts"], classes, f"{where}.counts")
        else:
            found = [counts[site].get(unit) for site in sites]
            if not found or any(numbers is None for numbers in found):
                self.problems.append(
                    f"{where}: no counts of {unit} are given for its sites; add them or {where}.counts"
                )
                return None
            sums = [sum(numbers) for numbers in zip(*(n for n in found if n is not None), strict=True)]
            cases = tuple(round(number * share) for number in sums)
        if cases is not None and sum(cases) == 0:
            self.problems.append(f"{where}: it is about no cases")
        return cases

    def _row(self, label: Any, found: Any, classes: tuple[str, ...], percent: bool, where: str) -> Row | None:
        if label not in classes:
            self.problems.append(f"{where}: none of the classes {list(classes)}")
        section = self._section(found, where)
        self._keys(section, (*METRICS, "auc", "line"), f"{where}.")
        figures = {m: self._printed(section[m], percent, f"{where}.{m}") for m in METRICS if section.get(m) is not None}
        auc = self._printed(section["auc"], percent, f"{where}.auc") if section.get("auc") is not None else None
        line = section.get("line")
        if line is not None and type(line) is not int:
            self.problems.append(f"{where}.line: {line!r} is no line number")
        return Row(str(label), {metric: figure for metric, figure in figures.items() if figure}, auc, line)

    def _printed(self, found: Any, percent: bool, where: str) -> Printed | None:
        if not isinstance(found, str):
            self.problems.append(
                f'{where}: {found!r} must be in quotes, as printed: "99.0" has a decimal that 99.0 may lose'
            )
            return None
        try:
            return Printed.read(found, percent=percent)
        except CovidctError as error:
            self.problems.append(f"{where}: {error.what}" + (f" ({error.remedy})" if error.remedy else ""))
            return None

    def _choice(self, found: Any, known: tuple[str, ...], where: str) -> str:
        if found not in known:
            self.problems.append(f"{where}: {found!r} is none of {', '.join(known)}")
            return known[0]
        return str(found)

    def _share(self, found: Any, where: str) -> Fraction:
        try:
            share = Fraction(str(found))
        except (ValueError, ZeroDivisionError):
            share = Fraction(0)
        if not 0 < share <= 1:
            self.problems.append(f"{where}: {found!r} is no part of a whole, such as 1/4")
            return Fraction(1)
        return share
