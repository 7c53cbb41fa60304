"""`covidct train`: train a model with phased optimizers, resuming by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from covidct.commands.cells import is_cell, returned_at_once, working_in
from covidct.commands.progress import say
from covidct.commands.split import frozen_split
from covidct.commands.tables import print_results
from covidct.data.splits import describe_split
from covidct.data.table import read_table
from covidct.training.ranks import is_first_process
from covidct.training.runs import run_folder
from covidct.training.settings import TrainSettings, read_settings


def run(values: dict[str, Any]) -> None:
    """Run the verb."""
    settings = read_settings(TrainSettings, values)
    index = Path(settings.data.index)
    table = read_table(index)
    split, path, is_new = frozen_split(settings.split, table, index)
    if is_first_process():
        say(describe_split(split))
        if is_new:
            say(f"frozen in {path}")
    folder, _ = run_folder(settings, table, split)
    with working_in(folder.path):
        if folder.has_reached("trained"):  # asked before torch is loaded, which takes seconds
            returned_at_once()
            if is_first_process():
                say(f"finished already: {folder.path}")
        else:
            from covidct.training.fit import train

            train(settings, table, split, say)
    if is_first_process():
        print_results(folder.path)
        say(f"run folder: {folder.path}")
        if split.tests and not is_cell():
            say(f"next: covidct evaluate run={folder.path}")
