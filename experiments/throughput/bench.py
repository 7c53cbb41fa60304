"""`make bench`: the paper's training beside a peer written plainly (`peer.py`), in one run, with ratios.

    python -m experiments.throughput.bench [--real FOLDER] [--quick | --full] [--output results.json]
    python -m experiments.throughput.bench --table results.json       the tables of a run that was made before

By default the peer trains three epochs of each cell and the rest is computed (first + 49 x later), which every table
says; ours train all fifty. `--full` trains everything and measures growth too; `--quick` is a toy that shows it works.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.throughput.cells import EPOCHS, RESNET50, TOY, Cell, Network, our_cell, our_study, peer_cell
from experiments.throughput.material import Material, phantom_material, real_material
from experiments.throughput.tables import tables

FRONT = ["features.use=off", "data.cache=none", "trainer.precision=32-true", "model.channels_last=false"]
RUNGS = (
    ("ours, all off, fp32", FRONT),
    ("+ channels-last", ["features.use=off", "data.cache=none", "trainer.precision=32-true"]),
    ("+ slice store", ["features.use=off", "data.cache=disk", "trainer.precision=32-true"]),
)
FEATURES = ["features.use=on", "data.cache=disk"]
PRECISIONS = (("fp32", "32-true"), ("bf16", "bf16-mixed"))


@dataclass(frozen=True)
class Plan:
    """How much is really trained.

    Args:
        network: What is trained.
        epochs: Epochs of a cell.
        few: Epochs of a cell of the peer, and of the rungs without features.
        repeats: Repeats of the study that are run, of five.
        rounds: Rounds of each stage.
        slices: Slices that are read in the reading stage.
        accelerator: cpu or gpu.
    """

    network: Network = RESNET50
    epochs: int = EPOCHS
    few: int = 3
    repeats: int = 1
    rounds: int = 3
    slices: int = 64
    accelerator: str = "cpu"


class Bench:
    """Runs the stages that were asked for and keeps the results; written after each, so a stopped run is not lost."""

    def __init__(self, plan: Plan, material: Material, folder: Path, output: Path | None) -> None:
        self.plan, self.material, self.folder, self.output = plan, material, folder, output
        self.result: dict[str, Any] = {
            "machine": machine(),
            "material": {"name": material.name, "slices": material.counts},
            "plan": {"model": plan.network.model, "epochs": plan.epochs, "accelerator": plan.accelerator},
            "stages": [],
            "cells": [],
        }

    def reading(self) -> None:
        """Slices per second."""
        from experiments.throughput import stages

        size = self.plan.network.size
        self.result["stages"] += stages.reading(
            self.material, self.folder, count=self.plan.slices, size=size, rounds=self.plan.rounds
        )
        self._keep()

    def ingest(self) -> None:
        """Reading a folder: the index beside plain pydicom and MONAI's loader, and beside itself made again."""
        from experiments.throughput.reading import measure

        root, plan = self.material.table.root, self.plan
        self.result["stages"] += measure(root, count=2 * plan.slices, workers=2, rounds=plan.rounds)
        self._keep()

    def steps(self) -> None:
        """Training steps, and the metrics."""
        from experiments.throughput import stages

        self.result["stages"] += stages.steps(self.plan.rounds) + stages.metrics()
        self._keep()

    def cells(self) -> None:
        """One cell of the peer and of ours, and what each thing that ours does adds; the two take turns."""
        few = self.plan.few
        self._peer("peer", few, None)
        for name, words in RUNGS[:2]:
            self._ours(name, few, words)
        self._peer("peer, PersistentDataset", few, self.folder / "persistent-cell")
        self._ours(RUNGS[2][0], few, RUNGS[2][1])
        for said, precision in PRECISIONS:
            shutil.rmtree(self.material.index / "store", ignore_errors=True)  # cold: nothing was ever decoded
            words = [*FEATURES, f"trainer.precision={precision}", f"features.folder={self.folder}/features-{said}"]
            self._ours(f"+ features, {said}, cold", self.plan.epochs, words)
            self._ours(f"+ features, {said}, warm", self.plan.epochs, [*words, "name=warm"])

    def study(self) -> None:
        """Three arms x five repeats; what was not run is computed from what was."""
        words = [
            *FEATURES,
            "trainer.precision=bf16-mixed",
            f"features.folder={self.folder}/features-study",
        ]
        shutil.rmtree(self.material.index / "store", ignore_errors=True)
        seconds, done = our_study(
            self.material,
            self._place("study"),
            epochs=self.plan.epochs,
            network=self.plan.network,
            accelerator=self.plan.accelerator,
            repeats=self.plan.repeats,
            words=words,
        )
        if done != 3 * self.plan.repeats:
            sys.exit(f"the study ended with {done} of {3 * self.plan.repeats} cells")
        self.result["study"] = {"cells": done, "seconds": seconds, "epochs": self.plan.epochs}
        self._keep()

    def growth(self, quick: bool) -> None:
        """What grows with the number of slices."""
        from experiments.throughput.growth import QUICK, SIZES, point, show

        self.result["growth"] = []
        for subject, sizes in (QUICK if quick else SIZES).items():
            for count in sizes:
                found = point(subject, count)
                print("\n".join(map(show, found)), flush=True)
                self.result["growth"] += found
                self._keep()

    def _peer(self, name: str, epochs: int, cache: Path | None) -> None:
        plan = self.plan
        self._add(
            peer_cell(
                name,
                self.material,
                self._place(name),
                epochs=epochs,
                network=plan.network,
                accelerator=plan.accelerator,
                cache=cache,
            )
        )

    def _ours(self, name: str, epochs: int, words: list[str]) -> None:
        plan = self.plan
        self._add(
            our_cell(
                name,
                self.material,
                self._place(name),
                epochs=epochs,
                network=plan.network,
                accelerator=plan.accelerator,
                words=words,
            )
        )

    def _add(self, cell: Cell) -> None:
        tuned = {known["tuned"] for known in self.result["cells"]} | {cell.tuned}
        if len(tuned) > 1:
            sys.exit(f"{cell.name} tunes {cell.tuned:,} weights, the cells before it another number: {tuned}")
        cell_seconds = cell.seconds_of(self.plan.epochs)
        self.result["cells"].append(
            cell.as_dict() | {"seconds": cell_seconds, "computed": cell.epochs != self.plan.epochs}
        )
        print(f"{cell.name:<28}{cell.epochs:3} epochs in {cell.whole:7.1f} s", flush=True)
        self._keep()

    def _place(self, name: str) -> Path:
        folder = self.folder / "runs" / "".join(c if c.isalnum() else "-" for c in name)
        folder.mkdir(parents=True)
        return folder

    def _keep(self) -> None:
        self.result["machine"]["load_at_end"] = _load()
        if self.output:
            self.output.write_text(json.dumps(self.result, indent=1) + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """What the figures were measured on; no name of the machine."""
    import torch

    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "date": time.strftime("%Y-%m-%d"),
        "load_at_start": _load(),
    }


def _load() -> float | None:
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None


def main(words: list[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description="Ours beside a plain peer.", epilog="See experiments/throughput/README.md"
    )
    parser.add_argument("--real", type=Path, help="a folder in the layout of COVID-CT-MD; default: a phantom")
    parser.add_argument("--stage", nargs="+", choices=["reading", "ingest", "steps", "cells", "study", "growth"])
    parser.add_argument("--accelerator", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--epochs", type=int, help=f"epochs of a cell (default {EPOCHS})")
    parser.add_argument("--few", type=int, help="epochs of the slow cells that are really trained (default 3)")
    parser.add_argument("--repeats", type=int, help="repeats of the study that are really run (default 1, of 5)")
    parser.add_argument("--quick", action="store_true", help="toy sizes; figures without meaning")
    parser.add_argument("--full", action="store_true", help="every epoch of every cell, all fifteen cells, and growth")
    parser.add_argument("--output", type=Path, help="results as json")
    parser.add_argument("--table", type=Path, help="print the tables of such a file and measure nothing")
    options = parser.parse_args(words)
    if options.table:
        print(tables(json.loads(options.table.read_text(encoding="utf-8"))))
        return
    given: dict[str, Any] = {"accelerator": options.accelerator}
    if options.quick:
        given |= {"network": TOY, "epochs": 3, "few": 2, "rounds": 1, "slices": 16}
    if options.full:
        given |= {"few": EPOCHS, "repeats": 5, "rounds": 5}
    given |= {name: getattr(options, name) for name in ("epochs", "few", "repeats") if getattr(options, name)}
    wanted = options.stage or ["reading", "ingest", "steps", "cells", "study", *(["growth"] if options.full else [])]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.real:
            material = real_material(options.real.resolve(), folder)
        else:
            size, slices = (64, 4) if options.quick else (512, 40)
            material = phantom_material(folder, patients=2, slices_per_patient=slices, size=size, lossless=True)
        bench = Bench(Plan(**given), material, folder, options.output)
        for stage in wanted:
            bench.growth(options.quick) if stage == "growth" else getattr(bench, stage)()
        print(tables(bench.result))


if __name__ == "__main__":
    main()
