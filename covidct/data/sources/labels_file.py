"""Reading `labels.csv` and `slices.csv`: every bad line is reported at once, and nothing is mapped silently."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from covidct.errors import DataRefused
from covidct.labels import ClassScheme

_SHOWN = 30


@dataclass(frozen=True)
class Labels:
    """The labels of a data set.

    Args:
        label_of: (site, patient) -> class.
        excluded: (site, patient) of people with two diseases (exclusion D7 of the paper).
        sites_of: patient -> sites at which that number occurs.
        name: File name, for `label_source`.
    """

    label_of: dict[tuple[str, str], str]
    excluded: frozenset[tuple[str, str]]
    sites_of: dict[str, tuple[str, ...]]
    name: str


def read_labels(path: Path, classes: ClassScheme | None) -> Labels:
    """Read a table with the columns patient, label and site (more are ignored).

    A patient may be listed twice with the same label. Two different diseases exclude the patient; a disease beside the
    normal class is a contradiction and an error.

    Args:
        path: UTF-8, comma separated, with a header line; byte-order mark, CRLF, quotes and blank lines are fine.
        classes: Labels outside it are errors; None takes any.

    Raises:
        DataRefused: With every bad line, by number; patients are not named.
    """
    problems: list[str] = []
    found: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for line, row in _rows(path, ("patient", "label", "site"), problems):
        patient, label, site = row["patient"], row["label"], row["site"]
        if classes is not None and label not in classes.names:
            problems.append(f"line {line}: unknown class {label!r}")
            continue
        found[site, patient].setdefault(label, line)
    label_of, excluded = {}, set()
    for key, labels in found.items():
        if len(labels) == 1:
            label_of[key] = next(iter(labels))
        elif classes is not None and classes.normal in labels:
            lines = " and ".join(f"{line} ({label})" for label, line in sorted(labels.items(), key=lambda i: i[1]))
            problems.append(f"lines {lines}: one patient, normal and diseased")
        else:
            excluded.add(key)
    if not found and not problems:
        problems.append("no patient is listed")
    _refuse(path, problems, None if classes is None else f"labels are {list(classes.names)}, spelt exactly like this")
    sites: dict[str, list[str]] = defaultdict(list)
    for site, patient in found:
        sites[patient].append(site)
    return Labels(label_of, frozenset(excluded), {p: tuple(sorted(s)) for p, s in sites.items()}, Path(path).name)


def read_slice_labels(path: Path) -> dict[str, int]:
    """Read a table with the columns site, patient, sop_instance_uid and slice_label (1 lesion, 0 none, empty unknown).

    Returns:
        SOP Instance UID -> 0 or 1.

    Raises:
        DataRefused: With every bad line, by number.
    """
    problems: list[str] = []
    found: dict[str, int] = {}
    for line, row in _rows(path, ("sop_instance_uid",), problems, also=("slice_label",)):
        uid, value = row["sop_instance_uid"], row["slice_label"]
        if value == "":
            continue
        if value not in ("0", "1"):
            problems.append(f"line {line}: slice_label {value!r} is not 0, 1 or empty")
        elif found.setdefault(uid, int(value)) != int(value):
            problems.append(f"line {line}: this slice was listed before with another label")
    _refuse(path, problems, None)
    return found


def _rows(
    path: Path, needed: tuple[str, ...], problems: list[str], also: tuple[str, ...] = ()
) -> Iterator[tuple[int, dict[str, str]]]:
    """Lines with all `needed` cells filled; the others become problems. Every cell stays a string: 0012 is not 12."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig", errors="strict")
    except UnicodeDecodeError:
        raise DataRefused("not UTF-8 text", where=str(path), remedy="save it as CSV UTF-8") from None
    except OSError as error:
        raise DataRefused(
            f"the labels cannot be read ({type(error).__name__})",
            where=str(path),
            remedy="a CSV file with the columns patient,label,site",
        ) from None
    if "\0" in text:
        raise DataRefused("not a text file", where=str(path))
    reader = csv.reader(text.splitlines(keepends=True), strict=True)
    try:
        header = [cell.strip() for cell in next(reader, [])]
        if missing := [name for name in needed + also if header.count(name) != 1]:
            hint = "; it seems to be separated by ';': save it with commas" if any(";" in h for h in header) else ""
            raise DataRefused(
                f"the header line needs the column {', '.join(missing)} once{hint}",
                where=str(path),
                remedy=f"first line: {','.join(needed + also)}",
            )
        for cells in reader:
            line = reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                problems.append(f"line {line}: {len(cells)} cells, the header has {len(header)}")
                continue
            row = dict(zip(header, cells, strict=True))
            bad = [f"{name} is empty" for name in needed if not row[name].strip()]
            bad += [
                f"{name} has spaces around it"
                for name in needed
                if row[name].strip() and row[name] != row[name].strip()
            ]
            if bad:
                problems.append(f"line {line}: {', '.join(bad)}")
            else:
                yield line, row
    except csv.Error as error:
        problems.append(f"line {reader.line_num}: {error}")


def _refuse(path: Path, problems: list[str], remedy: str | None) -> None:
    if problems:
        shown = problems[:_SHOWN] + ([f"... and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else [])
        raise DataRefused(f"{len(problems)} bad lines:\n    " + "\n    ".join(shown), where=str(path), remedy=remedy)
