"""Pages of one file: a template, the house's style sheet, pictures inside, nothing fetched from anywhere."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from covidct.files import replacing


def write_page(template: str, path: Path, values: Mapping[str, Any]) -> Path:
    """Fill a template of `covidct.evaluation` and write it as one file.

    Args:
        template: Its name; a value it asks for and is not given is an error.
        path: The .html file.
        values: Plain values; text is escaped.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("covidct.evaluation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    with replacing(path) as temporary:
        temporary.write_text(environment.get_template(template).render(values), encoding="utf-8")
    return path


def embedded(file: Path, kind: str) -> str:
    """A file as a `data:` address of a MIME type, to stand inside a page."""
    return f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"
