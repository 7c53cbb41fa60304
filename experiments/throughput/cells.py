"""One training, timed from outside as a user would wait for it: a command in a process of its own, start-up included.

Both sides train ResNet-50 as Fu et al. 2020 describe it: last three convolutions and classifier, Adam 1e-4 for the
first half of the epochs and SGD 1e-3 for the second, batch 32, 224 x 224, validation after each epoch, best and last
checkpoint kept.
"""

from __future__ import annotations

import csv
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.throughput.material import Material

EPOCHS = 50
"""Epochs of a cell of the paper (fu2020 L180)."""


@dataclass(frozen=True)
class Network:
    """What both sides train.

    Args:
        model: A timm ResNet.
        tuned: Modules that `trainable=last3conv` tunes in it.
        size: Side of the pictures.
    """

    model: str = "resnet50"
    tuned: tuple[str, ...] = ("layer4.2.conv1", "layer4.2.conv2", "layer4.2.conv3", "fc")
    size: int = 224


RESNET50 = Network()
TOY = Network("resnet10t", ("layer4.0.conv1", "layer4.0.conv2", "layer4.0.downsample.1", "fc"), 64)
"""For `--quick`."""


@dataclass(frozen=True)
class Cell:
    """What one training took.

    Args:
        name: For people.
        epochs: Epochs that were really trained.
        first: Seconds of the first epoch.
        later: Median seconds of the others.
        around: Seconds of the whole command outside of the epochs: start-up, building features, final predictions.
        whole: Seconds of the command.
        peak_mib: Peak resident memory of its largest process, mapped files included.
        tuned: Weights that were tuned.
    """

    name: str
    epochs: int
    first: float
    later: float
    around: float
    whole: float
    peak_mib: float
    tuned: int

    def seconds_of(self, epochs: int) -> float:
        """Seconds of a cell of so many epochs: measured where it had as many, else first + (epochs - 1) x later."""
        return self.whole if epochs == self.epochs else self.around + self.first + (epochs - 1) * self.later

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def peer_cell(
    name: str, material: Material, folder: Path, *, epochs: int, network: Network, accelerator: str, cache: Path | None
) -> Cell:
    """Train the peer."""
    # torchvision's wheel may not fit a CPU build of torch; importing covidct first mends that and nothing else
    command = [sys.executable, "-c", "import covidct; from experiments.throughput.peer import main; main()"]
    command += ["--slices", str(material.slices), "--folder", str(folder), "--epochs", str(epochs)]
    command += ["--model", network.model, "--size", str(network.size), "--tuned", *network.tuned]
    command += ["--weights", str(material.weights_of(network.model))]
    command += ["--accelerator", accelerator, *(["--cache", str(cache)] if cache else [])]
    whole, peak = _waited(command)
    record = json.loads((folder / "peer.json").read_text(encoding="utf-8"))
    return _cell(name, record["epochs"], whole, peak, record["tuned"])


def our_cell(
    name: str, material: Material, folder: Path, *, epochs: int, network: Network, accelerator: str, words: list[str]
) -> Cell:
    """Train ours through `covidct train`."""
    whole, peak = _waited(_our_command(material, folder, epochs, network, accelerator, words))
    [run] = folder.glob("*/run.json")
    return _cell(name, _epoch_seconds(run.parent), whole, peak, _tuned(run))


def our_study(
    material: Material,
    folder: Path,
    *,
    epochs: int,
    network: Network,
    accelerator: str,
    repeats: int,
    words: list[str],
) -> tuple[float, int]:
    """Three arms x repeats in one multirun; (seconds of the command, finished cells)."""
    told = ["-m", "experiment=optimizer_strategies", "recipe=adam_then_sgd,adam,sgd", f"split.repeat=range({repeats})"]
    told += [f"hydra.sweep.dir={folder}/.multirun"]
    command = _our_command(material, folder, epochs, network, accelerator, words)
    command = [word for word in command if not word.startswith("recipe.phases=")]  # each arm has its own
    place = command.index("train") + 1
    whole, _ = _waited([*command[:place], *told, *command[place:]])
    done = [json.loads(run.read_text(encoding="utf-8"))["state"] for run in folder.glob("*/run.json")]
    return whole, sum(state == "trained" for state in done)


def _our_command(
    material: Material, folder: Path, epochs: int, network: Network, accelerator: str, words: list[str]
) -> list[str]:
    return [
        sys.executable, "-m", "covidct", "train", *material.words, f"trainer={accelerator}", "logger=csv",
        f"model.name={network.model}", f"model.weights={material.weights_of(network.model)}",
        "model.trainable=last3conv", f"data.size={network.size}", "data.batch_size=32",
        "data.workers=2", f"runs={folder}",
        f"recipe.phases={_phases(epochs)}",
        f"recipe.stop={{min_epochs: {epochs}, max_epochs: {epochs}, patience: {epochs}}}",
        *words,
    ]  # fmt: skip


def _phases(epochs: int) -> str:
    sgd = "{optimizer: sgd, lr: 0.001, momentum: 0.9}"
    return f"[{{optimizer: adam, lr: 0.0001, epochs: {epochs // 2}}}, {sgd}]" if epochs > 1 else f"[{sgd}]"


def _waited(command: list[str]) -> tuple[float, float]:
    """Run a command to its end; (wall seconds, peak MiB of the largest process). Ends the program where it fails."""
    environment = os.environ | {"WANDB_MODE": "offline", "PYTHONWARNINGS": "ignore"}
    began = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, errors="replace"
    )
    assert process.stdout is not None  # a pipe was asked for
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)  # or Popen would wait for it a second time
    seconds = time.perf_counter() - began
    if process.returncode:
        sys.exit(f"{' '.join(command)}\nended with {process.returncode}:\n{said[-3000:]}")
    return seconds, usage.ru_maxrss / 1024


def _cell(name: str, epochs: list[float], whole: float, peak: float, tuned: int) -> Cell:
    later = statistics.median(epochs[1:]) if epochs[1:] else epochs[0]
    return Cell(name, len(epochs), epochs[0], later, whole - sum(epochs), whole, peak, tuned)


def _epoch_seconds(run: Path) -> list[float]:
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as stream:
        return [float(row["seconds"]) for row in csv.DictReader(stream)]


def _tuned(run: Path) -> int:
    return int(json.loads(run.read_text(encoding="utf-8"))["model"]["trainable_parameters"])
