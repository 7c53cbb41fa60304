"""Single stages of the work, ours beside the plain way, in alternating rounds; the median round counts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import covidct  # noqa: F401  (first: it lets torchvision import beside a CPU torch)

# isort: split
import numpy as np
import timm
import torch
from monai.data import DataLoader, Dataset, PersistentDataset

from covidct.evaluation.summary import summarize
from covidct.models.backbone import build_backbone
from covidct.models.trainable import set_trainable
from covidct.training.datamodule import SliceDataModule
from experiments.throughput.material import Material
from experiments.throughput.peer import TUNED, preprocessing
from tests.evaluation.factories import simulated

Row = dict[str, Any]


def alternating(stage: str, unit: str, count: int, ways: Mapping[str, Callable[[], object]], rounds: int) -> list[Row]:
    """Time several ways to do `count` things, taking turns, after one round that warms caches and lazy imports."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, work in ways.items():
            began = time.perf_counter()
            work()
            if number:
                times[name].append(time.perf_counter() - began)
    first = count / statistics.median(next(iter(times.values())))
    return [
        {
            "stage": stage,
            "way": name,
            "rate": count / statistics.median(taken),
            "unit": unit,
            "ratio": count / statistics.median(taken) / first,
            "slowest_over_fastest": max(taken) / min(taken),
        }
        for name, taken in times.items()
    ]


def reading(material: Material, folder: Path, *, count: int, size: int, rounds: int) -> list[Row]:
    """Batches of preprocessed slices in one process: decode, window, resize; and from what was kept of them."""
    rows = np.linspace(0, len(material.table.accepted) - 1, count).astype(np.int64)
    items = [{"image": str(material.table.file(row)), "label": 0} for row in rows]
    plain, kept = preprocessing(size), PersistentDataset(items, preprocessing(size), folder / "persistent")

    def ours(cache: str) -> Callable[[], object]:
        data = SliceDataModule(
            material.table, None, classes=material.classes, size=size, cache=cache, store=folder / "store"
        )
        data.setup()
        return lambda: [batch["image"] for batch in data.evaluation_loader(rows)]

    ways = {
        "MONAI": lambda: [batch["image"] for batch in DataLoader(Dataset(items, plain), batch_size=32)],
        "MONAI PersistentDataset, later passes": lambda: [batch["image"] for batch in DataLoader(kept, batch_size=32)],
        "ours": ours("none"),
        "ours, data.cache=disk, later passes": ours("disk"),
        "ours, data.cache=memory, later passes": ours("memory"),
    }
    return alternating(f"decode + preprocess to {size}, one process", "slices/s", count, ways, rounds)


def steps(rounds: int) -> list[Row]:
    """One training step of ResNet-50, whole network forward, last three convolutions tuned, batch 32 at 224 x 224."""
    image, label = torch.rand(32, 3, 224, 224), torch.arange(32) % 5

    def step(network: torch.nn.Module, picture: torch.Tensor, *, bf16: bool) -> None:
        optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=1e-4)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = torch.nn.functional.cross_entropy(network(picture).float(), label)
        loss.backward()
        optimizer.step()

    peer = timm.create_model("resnet50", num_classes=5).eval()
    for name, parameter in peer.named_parameters():
        parameter.requires_grad = any(name.startswith(f"{module}.") for module in TUNED)
    ours = build_backbone("resnet50", 5, channels=3, weights="none")
    set_trainable(ours, "last3conv")
    ours.use_channels_last()
    ours.train()
    last = image.to(memory_format=torch.channels_last)
    ways = {
        "peer, fp32": lambda: step(peer, image, bf16=False),
        "ours without features, fp32": lambda: step(ours, last, bf16=False),
        "ours without features, bf16": lambda: step(ours, last, bf16=True),
    }
    return alternating("training step, ResNet-50 last3conv, batch 32", "images/s", len(image), ways, rounds)


def metrics() -> list[Row]:
    """The summary with intervals of 30,070 slices."""
    predictions = simulated(patients=31, slices=97, splits=("test",), skill=3)
    count = len(predictions.frame)
    ways = {"ours": lambda: summarize(predictions)}
    return alternating(f"metrics with intervals, {count:,} slices", "slices/s", count, ways, rounds=1)
