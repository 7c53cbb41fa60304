"""How long a trained run takes for one slice: finding, reading and preparing it apart from the network.

Measured on real slices of the set that was evaluated, in the run's precision, one process, nothing cached and no trunk
features: what a new patient's slice would take on this machine. Beside readers it is the paper's comparison of time
(Fu et al. 2020, lines 290-295), which counts the two together or does not say.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from covidct.data.table import SliceTable
from covidct.training.assemble import make_datamodule
from covidct.training.scoring import TrainedRun, evaluation_trainer

SPEED = "speed.json"
SLICES = 64
"""Slices that are timed at most, evenly over the set."""


def measure_speed(run: TrainedRun, table: SliceTable, rows: np.ndarray, *, device: str) -> dict[str, Any]:
    """Time a sample of slices.

    Args:
        run: The trained run.
        table: The slice table the rows count in.
        rows: int [n], n >= 1: what was evaluated.
        device: As for `predict_rows`.

    Returns:
        `io` and `inference` (seconds a slice, means over the sample), `hardware` (in words), `batch_size`, `slices`
        (how many were timed).
    """
    rows = np.unique(rows)
    sample = rows[np.unique(np.linspace(0, len(rows) - 1, min(SLICES, len(rows))).round().astype(np.int64))]
    plain = replace(run.settings.data, cache="none", workers=0)
    data = make_datamodule(plain, table, None, seed=run.settings.seed, classes=run.scheme.names)
    trainer = evaluation_trainer(run, device)
    where = trainer.strategy.root_device
    network = run.module.to(where).eval()
    io = inference = 0.0
    started = time.perf_counter()
    with torch.inference_mode(), trainer.precision_plugin.forward_context():
        for number, batch in enumerate(data.evaluation_loader(sample)):
            io += time.perf_counter() - started
            image = batch["image"].to(where)
            if number == 0:
                network(image)  # the first pass sets things up, which later ones do not
            _wait(where)
            started = time.perf_counter()
            network(image)
            _wait(where)
            inference += time.perf_counter() - started
            started = time.perf_counter()
    on_gpu = where.type == "cuda"
    hardware = torch.cuda.get_device_name(where) if on_gpu else f"CPU, {torch.get_num_threads()} threads"
    return {
        "io": io / len(sample),
        "inference": inference / len(sample),
        "hardware": hardware,
        "batch_size": min(plain.batch_size, len(sample)),
        "slices": len(sample),
    }


def _wait(device: torch.device) -> None:
    if device.type == "cuda":  # the GPU works on while Python goes ahead
        torch.cuda.synchronize(device)
