"""`covidct audit`: look for what makes good numbers untrue, in data, in a run or in a publication's tables."""

from __future__ import annotations

import importlib
from typing import Any

from covidct.errors import UsageError

SUBJECTS = {"run": "run", "table": "table", "index": "data"}
"""Key of what is audited -> its module `covidct.commands.audit_<name>`; `data=` and `split=` are typed for `index` and
`splits` (`audit_words`), since Hydra would take them for its groups."""


def run(values: dict[str, Any]) -> None:
    """Run the verb."""
    given = [subject for subject in SUBJECTS if values[subject] is not None]
    if len(given) != 1:
        raise UsageError(
            f"one of data=, run=, table= must be given, not {len(given)}",
            remedy="covidct audit data indexes/NAME, covidct audit run=runs/NAME, or covidct audit table=fu2020",
        )
    importlib.import_module(f"covidct.commands.audit_{SUBJECTS[given[0]]}").run(values)
