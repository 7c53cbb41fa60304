"""`covidct split`: freeze train, validation and test partitions beside the index."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from covidct.commands.progress import say
from covidct.data.ledger import open_ledger
from covidct.data.splits import Split, describe_split, make_split, verify_split
from covidct.data.table import SliceTable, read_table
from covidct.data.test_sets import SealedSite, refuse_training_on_sealed
from covidct.errors import IntegrityError
from covidct.training.settings import DataSettings, SplitSettings, read_settings


def run(values: dict[str, Any]) -> None:
    """Run the verb."""
    data = read_settings(DataSettings, values["data"], "data")
    settings = read_settings(SplitSettings, values["split"], "split")
    index = Path(data.index)
    table = read_table(index)
    try:
        split, path, is_new = frozen_split(settings, table, index)
    except IntegrityError as error:
        if settings.file or isinstance(error, SealedSite) or not split_path(settings, index).is_file():
            raise
        split_path(settings, index).unlink()  # runs keep a copy of the split they used
        say(f"replacing the frozen split: {error.what}")
        split, path, is_new = frozen_split(settings, table, index)
    say(describe_split(split))
    say(f"{'wrote' if is_new else 'already frozen in'} {path}")


def frozen_split(settings: SplitSettings, table: SliceTable, index: Path) -> tuple[Split, Path, bool]:
    """The frozen split that the settings ask for; made and frozen now where there is none yet.

    Returns:
        The verified split, its file, and whether the file was made just now.

    Raises:
        IntegrityError: The file does not fit the table, was edited, or leaks; or a sealed test set would be trained on.
    """
    path = split_path(settings, index)
    if settings.file or path.is_file():
        split = Split.read(path)
        verify_split(split, table)
        _refuse_sealed(split, table, index)
        return split, path, False
    split = make_split(
        table,
        kind=settings.kind,
        repeat=settings.repeat,
        seed=settings.seed,
        train_fraction=settings.train_fraction,
        external_sites=settings.external_sites,
    )
    _refuse_sealed(split, table, index)
    split.write(path)
    return split, path, True


def _refuse_sealed(split: Split, table: SliceTable, index: Path) -> None:
    """No sealed site in training; where the source's own test set is kept apart, sites are on both sides anyway."""
    if not split.name.startswith("official"):
        rows = split.rows(table)
        development = table.accepted["site"].iloc[[*rows["train"], *rows["val"]]]
        refuse_training_on_sealed(open_ledger(index).entries(), development.unique())


def split_path(settings: SplitSettings, index: Path) -> Path:
    """Where a split is frozen: the named file, or one beside the index whose name tells two splits apart."""
    if settings.file:
        return Path(settings.file)
    sites = "-".join(re.sub(r"[^A-Za-z0-9_]+", "_", site) for site in sorted(settings.external_sites)) or "none"
    name = f"{settings.kind}-external_{sites}"
    if settings.kind != "official":
        name += f"-train{settings.train_fraction:g}-seed{settings.seed}-repeat{settings.repeat}"
    return (index if index.is_dir() else index.parent) / "splits" / f"{name}.json"
