"""`covidct evaluate`: score a trained run on its test sets, or on another hospital's index."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from covidct.commands.ledger import ledger_at
from covidct.commands.progress import say
from covidct.commands.tables import print_results
from covidct.data.table import read_table
from covidct.evaluation.operating_point import Criterion
from covidct.training.evaluate import evaluate
from covidct.training.scoring import check_table, open_run


def run(values: dict[str, Any]) -> None:
    """Run the verb."""
    trained = open_run(Path(values["run"]))
    own = Path(trained.settings.data.index)
    table = read_table(Path(values["index"]) if values["index"] else own)
    if not values["index"]:  # an index made anew is no other hospital: its patients were trained on
        check_table(trained, table)
    ledger = ledger_at(Path(values["index"] or own), values["ledger"])
    evaluate(
        trained,
        table,
        slice_threshold=values["slice_threshold"],
        device=values["device"],
        say=say,
        ledger=ledger,
        criterion=_criterion(values["operating"]),
    )
    print_results(trained.folder.path)
    say(f"report: {trained.folder.path / 'report.html'}")


def _criterion(asked: dict[str, Any]) -> Criterion | None:
    """What is asked for; None where nothing is, so that a frozen point stays as it is."""
    given = {key: value for key, value in asked.items() if value is not None}
    given["name"] = given.pop("criterion", Criterion.name)
    return Criterion(**given) if any(value is not None for value in asked.values()) else None
