"""`covidct predict`: classify a folder of scans with a trained run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from covidct.commands.progress import progress, say
from covidct.data.indexing.build import build_index
from covidct.data.pseudonyms import Pseudonymizer, key_file, load_or_create_key
from covidct.data.quality import Rules
from covidct.errors import DataRefused, UsageError
from covidct.training.predict import check_units, predict, study_rules, write_prediction
from covidct.training.scoring import TrainedRun, open_run


def run(values: dict[str, Any]) -> None:
    """Run the verb.

    Raises:
        DataRefused: Not a single slice could be used, or none has probabilities; the tables are written and say why.
    """
    trained = open_run(Path(values["run"]))
    rules = _rules(trained, values["rules"])
    source, output = Path(values["input"]), Path(values["output"])
    with progress("files read") as show:
        table = build_index(
            "dicom_tree",
            source,
            labels=None,
            classes=None,
            pseudonyms=Pseudonymizer(load_or_create_key(key_file(values["key"]))),
            workers=max(1, values["workers"]),
            progress=show,
            rules=rules,
        )
    check_units(trained, table)
    prediction = predict(trained, table, device=values["device"])
    write_prediction(output, prediction, table)
    for reason, count in table.refusals.items():
        say(f"refused {count}: {reason}")
    slices, patients = prediction.slices, prediction.patients
    if slices.empty:
        raise DataRefused(
            f"no result: none of {len(table.frame)} files is a usable slice",
            where=str(source),
            remedy=f"see {output / 'refused.csv'}",
        )
    if prediction.without_result == len(patients):
        raise DataRefused(
            "no result for any patient: the network gives no probabilities (NaN)",
            where=str(values["run"]),
            remedy="train it again: its weights are damaged, or 16-bit numbers overflowed; patients.csv has the list",
        )
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=None, pad_edge=False)
    for column in patients.columns:
        shown.add_column(column, overflow="fold")
    for row in patients.itertuples(index=False):
        shown.add_row(*(_cell(value) for value in row))
    Console(width=140).print(shown)
    if prediction.without_result:
        say(f"NO RESULT for {prediction.without_result} of {len(patients)} patients: that is not normal, it is unknown")
    if len(prediction.conflicts):
        conflicts = prediction.conflicts["patient_key"].nunique()
        say(f"CONFLICT in {conflicts} of {len(patients)} patients: {output / 'conflicts.csv'} lists the slices")
    if unknown := int(table.rejected["patient_key"].isna().sum()):
        say(f"{unknown} refused files name no patient: somebody may be missing from this list")
    say(f"{len(slices)} slices of {patients['patient_key'].nunique()} patients: {output}")
    say("Not a medical device: a research result, no diagnosis.")


def _rules(trained: TrainedRun, which: str) -> Rules:
    """The rules of the study that the run was trained in, or none: two labels cannot happen here."""
    if which not in ("study", "none"):
        raise UsageError(f"{which!r} is not a choice", where="rules", remedy="rules=study or rules=none")
    rules = study_rules(trained.folder) if which == "study" else Rules()
    for step in rules.steps():
        if step["rule"] != "single_disease":
            say(f"as in the run's study, refused: {step['reason']} (rules=none: take all)")
    return rules


def _cell(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return "–" if math.isnan(value) else f"{value:.3f}"
