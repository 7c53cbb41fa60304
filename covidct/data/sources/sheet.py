"""Data sheets: the docstring of a source's module, taken apart, and the page of the manual that is made of them.

`python -m covidct.data.sources.sheet > docs/reference/sources.md`
"""

from __future__ import annotations

import re
import sys
from typing import NamedTuple

from covidct.data.sources import SOURCES, Source

PARTS = ("Format", "Classes", "Patients", "Sites", "Split", "Slice labels", "Weaknesses", "Licence", "Citation")
"""What every data sheet says, each part beginning a line, in this order; its first sentence stands in the table."""

NOT_SEEN = "Not seen"
"""What of the real data set its reader was written without; a part of sheets whose data were not at hand."""

_TABLES = (("Format", "Classes", "Patients"), ("Sites", "Split", "Slice labels"), ("Licence", "Citation"))
_SENTENCE = re.compile(r"(?<! al)(?<!\.)\.(?= [A-Z`]|$)")
_HEAD = """\
# Sources

How data sets lie on disk, and what is known about each. `data=NAME` chooses one:

```console
$ covidct index data=covid_ct data.root=FOLDER
```

Yours is not here? Any folders of DICOM with a `labels.csv` are `dicom_tree`; everything else is
[one small file](../how-to/add-a-source.md).

A reader refuses what does not look like its layout, with a reason that is counted; files that are no scans of the
layout (tables, masks) are counted as ignored. Archives are not opened: unpack them first. Where **patients are
unknown**, no split can keep people apart ([why](../explanation/leakage.md#data-without-patients)). Data sets contain
each other: COVIDx CT is made of eleven others. Licences are of the data, not of this program; look at them before use.

<!-- Made from the docstrings of covidct/data/sources by: python -m covidct.data.sources.sheet -->
"""


class DataSheet(NamedTuple):
    """A data sheet.

    Args:
        title: Its first line.
        parts: Part -> text in one line.
        notes: Paragraphs after the parts, as they are.
    """

    title: str
    parts: dict[str, str]
    notes: str


def data_sheet(source: Source) -> DataSheet:
    """Take the docstring of a source's module apart."""
    title, _, rest = (sys.modules[source.open.__module__].__doc__ or "").strip().partition("\n\n")
    body, _, notes = rest.partition("\n\n")
    parts: dict[str, str] = {}
    for line in body.splitlines():
        name, colon, text = line.partition(": ")
        if colon and name in (*PARTS, NOT_SEEN):
            parts[name] = text
        elif parts:
            parts[list(parts)[-1]] += f" {line}"
    return DataSheet(" ".join(title.split()), parts, notes.strip())


def page() -> str:
    """The page of the manual, Markdown."""
    sheets = {name: data_sheet(source) for name, source in SOURCES.items()}
    lines = [_HEAD]
    for columns in _TABLES:
        lines += [
            "| source | " + " | ".join(name.lower() for name in columns) + " |",
            "|---" * (len(columns) + 1) + "|",
        ]
        for name, sheet in sheets.items():
            cells = " | ".join(_first(sheet.parts[column]) for column in columns)
            lines.append(f"| [`{name}`](#{name}) | {cells} |")
        lines.append("")
    for name, sheet in sheets.items():
        lines += [f"## {name}", "", sheet.title, ""]
        lines += [f"- **{part}.** {text}" for part, text in sheet.parts.items()]
        lines += ["", sheet.notes, ""] if sheet.notes else [""]
    return "\n".join(lines).rstrip() + "\n"


def _first(text: str) -> str:
    return _SENTENCE.split(text, maxsplit=1)[0]


if __name__ == "__main__":
    sys.stdout.write(page())
