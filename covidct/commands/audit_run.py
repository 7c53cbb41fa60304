"""`covidct audit run=...`: does a trained run look at disease, or at a shortcut?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from covidct.commands.compose import arguments
from covidct.commands.progress import say
from covidct.data.ledger import open_ledger
from covidct.data.table import read_table
from covidct.errors import Alarm
from covidct.evaluation.report import write_report
from covidct.evaluation.shortcuts.outcome import PROBES
from covidct.evaluation.shortcuts.section import save_figure
from covidct.training.looks import keep_seal
from covidct.training.scoring import open_run
from covidct.training.shortcuts.battery import RECORD, AuditSettings, audit

KEYS = ("probes", "partition", "retrain", "slices", "fill", "replicates", "device", "seed")
"""Keys of the config that are about a run."""

MARKS = {"alarm": "ALARM", "noted": "noted", "quiet": "quiet", "not done": "–"}


def run(values: dict[str, Any]) -> None:
    """Run the verb."""
    settings = AuditSettings(**arguments(AuditSettings, {key: values[key] for key in KEYS}, "audit"))
    trained = open_run(Path(values["run"]))
    index = Path(trained.settings.data.index)
    table = read_table(index)
    keep_seal(trained, table, open_ledger(index), settings.partition)
    record = audit(trained, table, settings, say)
    for outcome in record["outcomes"]:
        say(f"{MARKS[outcome['status']]:<7} {PROBES[outcome['probe']].title}: {outcome['sentence']}")
    save_figure(trained.folder.path, record["outcomes"])
    say(f"written: {trained.folder.path / RECORD}")
    if (trained.folder.path / "metrics.json").is_file():
        say(f"report: {write_report(trained.folder.path)}")
    if record["alarms"]:
        raise Alarm(
            record["verdict"],
            where=str(trained.folder.path / RECORD),
            remedy="read the sentences above; docs/how-to/audit-a-run.md says what each alarm asks for",
        )
    say(record["verdict"])
