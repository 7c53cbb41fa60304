"""`covidct evaluate`: score a trained run on its test sets, or on another hospital's index."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from covidct.commands.ledger import ledger_at
from covidct.commands.progress import say
from covidct.commands.tables import print_results
from covidct.data.quality import Rules
from covidct.data.table import SliceTable, read_table
from covidct.evaluation.operating_point import Criterion
from covidct.training.evaluate import evaluate
from covidct.training.predict import study_rules
from covidct.training.scoring import TrainedRun, check_table, open_run


def run(values: dict[str, Any]) -> None:
    """Run the verb."""
    trained = open_run(Path(values["run"]))
    own = Path(trained.settings.data.index)
    table = read_table(Path(values["index"]) if values["index"] else own)
    if not values["index"]:  # an index made anew is no other hospital: its patients were trained on
        check_table(trained, table)
    else:
        _say_other_rules(trained, table)
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


def _say_other_rules(trained: TrainedRun, table: SliceTable) -> None:
    """An index made by other rules holds other patients and slices: no error, but nobody should overlook it."""
    own, other = study_rules(trained.folder), Rules.from_dict(table.counts.get("rules") or {})
    for name in ("ages", "unknown_age", "lungs_cm2"):
        asked, found = getattr(own, name), getattr(other, name)
        if asked != found:
            say(f"note: the run's study has data.{name}={_plain(asked)}, this index {_plain(found)}")


def _plain(value: Any) -> str:
    return "null" if value is None else str(list(value) if isinstance(value, tuple) else value)


def _criterion(asked: dict[str, Any]) -> Criterion | None:
    """What is asked for; None where nothing is, so that a frozen point stays as it is."""
    given = {key: value for key, value in asked.items() if value is not None}
    given["name"] = given.pop("criterion", Criterion.name)
    return Criterion(**given) if any(value is not None for value in asked.values()) else None
