"""`covidct predict`: classify a folder of DICOM files with a trained run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from covidct.commands.progress import progress, say
from covidct.data.index import build_index
from covidct.data.pseudonyms import Pseudonymizer, key_file, load_or_create_key
from covidct.errors import DataRefused
from covidct.training.predict import check_units, predict, write_prediction
from covidct.training.scoring import open_run


def run(values: dict[str, Any]) -> None:
    """Run the verb.

    Raises:
        DataRefused: Not a single slice could be used; refused.csv says why.
    """
    trained = open_run(Path(values["run"]))
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
        )
    check_units(trained, table)
    slices, patients = predict(trained, table, device=values["device"])
    write_prediction(output, slices, patients, table)
    for reason, count in table.refusals.items():
        say(f"refused {count}: {reason}")
    if slices.empty:
        raise DataRefused(
            f"no result: none of {len(table.frame)} files is a usable slice",
            where=str(source),
            remedy=f"see {output / 'refused.csv'}",
        )
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=None, pad_edge=False)
    for column in patients.columns:
        shown.add_column(column)
    for row in patients.itertuples(index=False):
        shown.add_row(*(_cell(value) for value in row))
    Console(width=140).print(shown)
    say(f"{len(slices)} slices of {patients['patient_key'].nunique()} patients: {output}")
    say("Not a medical device: a research result, no diagnosis.")


def _cell(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return "–" if math.isnan(value) else f"{value:.3f}"
