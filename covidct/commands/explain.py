"""`covidct explain`: Grad-CAM of a run's calls, scored against lungs, lesions and a network of noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from covidct.commands.compose import arguments
from covidct.commands.progress import say
from covidct.data.ledger import open_ledger
from covidct.data.table import read_table
from covidct.errors import Alarm
from covidct.evaluation.explanations.section import alarm, sentences
from covidct.evaluation.explanations.writing import RECORD
from covidct.evaluation.report import write_report
from covidct.training.explain.explain import ExplainSettings, explain
from covidct.training.looks import keep_seal
from covidct.training.scoring import open_run

KEYS = ("partition", "slices", "cases", "sanity", "draws", "device", "seed")


def run(values: dict[str, Any]) -> None:
    """Run the verb.

    Raises:
        Alarm: The maps do not depend on what the network learnt; everything is written.
    """
    settings = ExplainSettings(**arguments(ExplainSettings, {key: values[key] for key in KEYS}, "explain"))
    trained = open_run(Path(values["run"]))
    index = Path(trained.settings.data.index)
    table = read_table(index)
    keep_seal(trained, table, open_ledger(index), settings.partition)
    with trained.folder.lock(say):
        record = explain(trained, table, settings, say)
        for sentence in sentences(record):
            say(sentence)
        say(f"written: {trained.folder.path / RECORD}, figures/explanations")
        if (trained.folder.path / "metrics.json").is_file():
            say(f"report: {write_report(trained.folder.path)}")
    found = alarm(record["sanity"])
    if found:
        raise Alarm(
            found,
            where=str(trained.folder.path / RECORD),
            remedy="read docs/how-to/explain.md before showing these maps",
        )
