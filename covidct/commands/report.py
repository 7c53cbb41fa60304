"""`covidct report`: write the report of a run, from its folder alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from covidct.commands.progress import say
from covidct.training.results import refresh_report
from covidct.training.runs import RunFolder


def run(values: dict[str, Any]) -> None:
    """Run the verb."""
    folder = RunFolder(Path(values["run"]))
    folder.read()  # a clear message when it is no run folder
    with folder.lock(say):
        report = refresh_report(folder)
    say(f"report: {report}")
