"""Throughput of each stage beside the plain way to do it, interleaved in one run; prints ratios. `make bench`.

The plain way is what a competent user writes with MONAI, timm and torch alone. Every pair does the same work on the
same slices; rounds alternate between the two, and the median round counts, so that a busy machine hurts both alike.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import covidct  # noqa: F401  (first: it lets torchvision import beside a CPU torch)

# isort: split
import numpy as np
import timm
import torch
from monai.data import PydicomReader
from monai.transforms import Compose, EnsureChannelFirst, LoadImage, Resize, ScaleIntensityRange

from covidct.ct.phantom.network import PhantomSpec, write_network
from covidct.ct.window import parse_windows
from covidct.data.index import build_index
from covidct.data.pseudonyms import Pseudonymizer
from covidct.data.transforms import SliceTransform
from covidct.evaluation.summary import summarize
from covidct.labels import FU2020, ClassScheme
from covidct.models.backbone import build_backbone, set_trainable
from covidct.training.datamodule import SliceDataModule
from tests.evaluation.factories import simulated

Work = Callable[[], object]


def beside(name: str, unit: str, count: int, plain: Work, ours: Work, rounds: int) -> None:
    """Time two ways to do `count` things, alternating, and print the ratio."""
    times: dict[str, list[float]] = {"plain": [], "ours": []}
    plain(), ours()  # warm caches and lazy imports on both sides
    for _ in range(rounds):
        for label, work in (("plain", plain), ("ours", ours)):
            began = time.perf_counter()
            work()
            times[label].append(time.perf_counter() - began)
    rates = {label: count / statistics.median(values) for label, values in times.items()}
    spread = max(times["ours"]) / min(times["ours"])
    print(
        f"{name:<44} plain {rates['plain']:8.1f}   ours {rates['ours']:8.1f} {unit}   "
        f"ratio {rates['ours'] / rates['plain']:5.2f}   (slowest/fastest round {spread:.1f})",
        flush=True,
    )


def alone(name: str, unit: str, count: int, work: Work) -> None:
    """Time something that has no counterpart."""
    began = time.perf_counter()
    work()
    print(f"{name:<44} {count / (time.perf_counter() - began):8.1f} {unit}", flush=True)


def main() -> None:
    """Run all stages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--real", type=Path, help="a folder in the layout of COVID-CT-MD (JPEG lossless)")
    options = parser.parse_args()
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "phantom"
        spec = PhantomSpec(patients=2, slices_per_patient=8, size=256)
        alone("phantom, 256 x 256, 2 processes", "slices/s", spec.slices, lambda: write_network(root, spec, workers=2))
        scheme = ClassScheme(FU2020, "normal", "covid19")
        names = Pseudonymizer(b"0" * 32)
        began = time.perf_counter()
        table = build_index("dicom_tree", root, classes=scheme, pseudonyms=names, workers=2)
        print(f"{'index, 2 processes':<44} {len(table.frame) / (time.perf_counter() - began):8.1f} files/s")
        decode("decode + window + resize to 224, 256 raw", [table.file(row) for row in range(64)], options.rounds)
        if options.real:
            decode(
                "the same, 512 JPEG lossless (COVID-CT-MD)", sorted(options.real.rglob("*.dcm"))[:32], options.rounds
            )
        epochs(table)
    steps(options.rounds)
    predictions = simulated(patients=31, slices=97, splits=("test",), skill=3)
    alone("metrics with intervals, 30,070 slices", "slices/s", len(predictions.frame), lambda: summarize(predictions))


def decode(name: str, files: list[Path], rounds: int) -> None:
    """One slice file to a 224 x 224 picture."""
    ours = SliceTransform(parse_windows("lung"), 224)
    plain = Compose(
        [
            LoadImage(reader=PydicomReader(), image_only=True),
            EnsureChannelFirst(),
            ScaleIntensityRange(a_min=-1350, a_max=150, b_min=0, b_max=1, clip=True),
            Resize((224, 224), mode="bilinear", anti_aliasing=True),
        ]
    )
    beside(
        name,
        "slices/s",
        len(files),
        lambda: [plain(str(file)) for file in files],
        lambda: [ours.finish(ours.base(file)) for file in files],
        rounds,
    )


def epochs(table: object) -> None:
    """A pass over the data module, first and later, with decoded slices kept in memory."""
    data = SliceDataModule(table, None, classes=FU2020, size=224, workers=0, cache="memory")  # type: ignore[arg-type]
    data.setup()
    rows = np.arange(len(data.table.accepted))
    alone("loader, first epoch (decodes)", "slices/s", len(rows), lambda: list(data.evaluation_loader(rows)))
    alone("loader, later epochs (cache=memory)", "slices/s", len(rows), lambda: list(data.evaluation_loader(rows)))


def steps(rounds: int) -> None:
    """One training step of ResNet-50, last three convolutions tuned, batch 32 at 224 x 224."""
    image, label = torch.rand(32, 3, 224, 224), torch.arange(32) % 5

    def step(network: torch.nn.Module, picture: torch.Tensor, *, bf16: bool) -> None:
        optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=1e-4)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = torch.nn.functional.cross_entropy(network(picture).float(), label)
        loss.backward()
        optimizer.step()

    whole = timm.create_model("resnet50", num_classes=5).train()
    for name, parameter in whole.named_parameters():
        parameter.requires_grad = name.startswith("fc") or (name.startswith("layer4.2.conv"))
    network = build_backbone("resnet50", 5, channels=3, weights="none")
    set_trainable(network, "last3conv")
    network.use_channels_last()
    network.train()
    last = image.to(memory_format=torch.channels_last)
    for name, bf16 in (("training step, ResNet-50 last3conv, fp32", False), ("the same, ours in bf16", True)):
        beside(
            name,
            "images/s",
            len(image),
            lambda: step(whole, image, bf16=False),
            lambda bf16=bf16: step(network, last, bf16=bf16),
            rounds,
        )


if __name__ == "__main__":
    main()
