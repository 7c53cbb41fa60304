"""What grows with the number of slices: time per slice and memory of reading, and of an index with its split.

    python -m experiments.throughput.growth [--subject table ...] [--quick] [--output growth.json]

Rows and pixels are generated, so a million slices need no scanner. Each point runs in a process of its own, in a
temporary folder (`TMPDIR` says where; at most a few GiB) that is removed. Subjects:

table     index and split: make, write, read, split, verify, for up to a million rows
batches   random batches of the data module with `data.cache=disk`: first pass (decodes) and later ones
features  epochs of a training with `features.use=on`: the first, with what is built for it, and later ones
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import covidct  # noqa: F401  (first: it lets torchvision import beside a CPU torch)

# isort: split
import numpy as np

from covidct.ct.read import Slice
from covidct.data.splits import Split, make_split, verify_split
from covidct.data.table import SliceTable, make_table, read_table, write_table
from covidct.labels import FU2020, ClassScheme
from experiments.throughput.generated import generated_rows, nowhere
from experiments.throughput.memory import Cost, measured

SIZES = {
    "table": (10_000, 100_000, 1_000_000),
    "batches": (1_000, 4_000, 16_000, 60_000),
    "features": (1_000, 4_000, 16_000, 60_000),
}
QUICK = {"table": (1_000, 4_000), "batches": (500, 1_000), "features": (500, 1_000)}
SIDE = 64
"""Pixels a side of a generated slice: reading must not depend on how long decoding takes."""

Points = dict[str, Cost]


def table_point(count: int, folder: Path) -> Points:
    """Every step from rows to a verified split."""
    costs: Points = {}
    rows = _costing(costs, "generate rows", lambda: generated_rows(count))
    table = _costing(costs, "make_table", lambda: _table(rows))
    del rows
    _costing(costs, "write_table", lambda: write_table(table, folder))
    del table
    table = _costing(costs, "read_table", lambda: read_table(folder))
    _costing(costs, "sort accepted", lambda: len(table.accepted))
    for kind in ("patient", "paper_image_level"):
        made = _costing(costs, f"make_split {kind}", lambda kind=kind: make_split(table, kind=kind))
        _costing(costs, f"verify_split {kind}", lambda made=made: verify_split(made, table))
        file = folder / f"{kind}.json"
        _costing(costs, f"write and read split {kind}", lambda made=made, file=file: (made.write(file), Split.read(file)))
    return costs


def batches_point(count: int, folder: Path) -> Points:
    """Passes of the training loader over a slice store."""
    from covidct.training.datamodule import SliceDataModule

    table = _written(count, folder)
    split = make_split(table)
    costs: Points = {}
    with _generated_pixels():
        data = SliceDataModule(
            table, split, classes=FU2020, windows="lung", size=SIDE, batch_size=32, workers=0, cache="disk"
        )
        data.setup()
        loader = data.train_dataloader()
        for name in ("first pass", "second pass", "third pass"):
            cost = _costing_one(lambda: sum(len(batch["label"]) for batch in loader))
            costs[name] = cost
    return _per_slice(costs, len(data.partition("train")))


def features_point(count: int, folder: Path) -> Points:
    """A training of three epochs through the front door."""
    from covidct.commands.cli import main as covidct_main

    table = _written(count, folder)
    words = [
        "train", "experiment=demo", "logger=csv", "model=resnet10t", "model.name=test_resnet", "model.weights=none",
        "model.trainable=last_stage", "data.augment=null", f"data.size={SIDE}", "data.batch_size=32", "data.workers=0",
        "data.cache=none", "features.use=on", f"data.index={folder}", f"runs={folder}/runs",
        "split.external_sites=[]", "recipe.phases=[{optimizer: adam, lr: 0.001, epochs: 3}]",
        "recipe.stop={min_epochs: 3, max_epochs: 3}",
    ]  # fmt: skip
    with _generated_pixels(), measured() as whole:
        if code := covidct_main(words):
            sys.exit(f"covidct train ended with {code}")
    [metrics] = (folder / "runs").glob("*/metrics.csv")
    with metrics.open(newline="", encoding="utf-8") as stream:
        seconds = [float(row["seconds"]) for row in csv.DictReader(stream)]
    known = Cost(0.0, whole.private_mib, whole.mapped_mib)
    costs = {"whole command": whole}
    for name, value in (("first epoch", seconds[0]), ("later epochs", float(np.mean(seconds[1:])))):
        costs[name] = Cost(value, known.private_mib, known.mapped_mib)
    return _per_slice(costs, len(table.accepted))


SUBJECTS: dict[str, Callable[[int, Path], Points]] = {
    "table": table_point,
    "batches": batches_point,
    "features": features_point,
}


def _table(rows: list[dict[str, Any]]) -> SliceTable:
    return make_table(rows, root=nowhere(), source="generated", classes=ClassScheme(FU2020, "normal", "covid19"))


def _written(count: int, folder: Path) -> SliceTable:
    write_table(_table(generated_rows(count)), folder)
    return read_table(folder)


@contextmanager
def _generated_pixels() -> Iterator[None]:
    """Reading a slice gives noise that its path decides; nothing else is changed."""

    def read(path: Path | str, frame: int = 0) -> Slice:
        seed = int.from_bytes(hashlib.sha256(Path(path).as_posix().encode()).digest()[:8], "big") + frame
        pixels = np.random.default_rng(seed).integers(-1000, 400, (SIDE, SIDE), dtype=np.int16)
        return Slice(pixels=pixels, units="HU", row_mm=0.7, col_mm=0.7)

    with mock.patch("covidct.data.transforms.read_slice", read):
        yield


def _costing(costs: Points, name: str, work: Callable[[], Any]) -> Any:
    with measured() as cost:
        result = work()
    costs[name] = cost
    return result


def _costing_one(work: Callable[[], Any]) -> Cost:
    with measured() as cost:
        work()
    return cost


def _per_slice(costs: Points, _: int) -> Points:
    return costs
