"""`covidct audit`: look for what makes good numbers untrue, in a run or in a publication's tables."""

from __future__ import annotations

import importlib
from typing import Any

from covidct.errors import UsageError

SUBJECTS = ("run", "table")
"""What can be audited; each has its module `covidct.commands.audit_<subject>`."""


def run(values: dict[str, Any]) -> None:
    """Run the verb."""
    given = [subject for subject in SUBJECTS if values[subject] is not None]
    if len(given) != 1:
        raise UsageError(
            f"one of {', '.join(f'{subject}=' for subject in SUBJECTS)} must be given, not {len(given)}",
            remedy="covidct audit run=runs/NAME, or covidct audit table=fu2020",
        )
    importlib.import_module(f"covidct.commands.audit_{given[0]}").run(values)
