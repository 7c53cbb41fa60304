"""A run folder made from random numbers, in the layout of the real one, for looking at and for the report's tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covidct.evaluation.predictions import Predictions, write_predictions
from covidct.evaluation.summary import summarize
from covidct.labels import FU2020, ClassScheme

SCHEME = ClassScheme(FU2020, normal="normal", positive="covid19")
MIX = {  # patients per class, the paper's Table 1 divided by two
    "jinyintan": (50, 25, 25, 26, 26),
    "zhongshan": (25, 6, 16, 14, 8),
    "fifth": (25, 18, 10, 12, 19),
}


def _slices(rng: np.random.Generator, site: str, split: str, counts: tuple[int, ...], per_patient: int) -> pd.DataFrame:
    rows = []
    for label, n in zip(SCHEME.names, counts, strict=True):
        for _ in range(n):
            key, shift = rng.bytes(8).hex(), rng.normal(0, 1.0, len(SCHEME))
            for number in range(per_patient):
                logits = rng.normal(0, 1.1, len(SCHEME)) + shift
                logits[SCHEME.index(label)] += 3.4
                p = np.exp(logits - logits.max())
                p /= p.sum()
                rows.append((rng.bytes(8).hex(), key, "s" + key[:15], site, split, number, label, *p))
    names = ["slice_key", "patient_key", "series_key", "site", "split", "slice_number", "label"]
    frame = pd.DataFrame(rows, columns=[*names, *(f"p_{name}" for name in SCHEME.names)])
    frame.insert(7, "slice_label", pd.array([None] * len(frame), dtype="Int8"))
    return frame.astype({"slice_number": "int32"})


def make_run(
    folder: Path, seed: int = 0, per_patient: int = 12, profile: str = "paper", missing: str = "", replicates: int = 40
) -> Path:
    """Write a finished run, one of whose viral patients has no usable slice.

    `missing` is a class without any patient at the site "zhongshan".
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    mix = {site: list(counts) for site, counts in MIX.items()}
    if missing:
        mix["zhongshan"][SCHEME.index(missing)] = 0
    validation = tuple(-(-n // 4) for n in mix["jinyintan"])
    parts = {
        ("val", "jinyintan"): _slices(rng, "jinyintan", "val", validation, per_patient),
        ("test", "zhongshan"): _slices(rng, "zhongshan", "test", tuple(mix["zhongshan"]), per_patient),
        ("test", "fifth"): _slices(rng, "fifth", "test", tuple(mix["fifth"]), per_patient),
    }
    digests = {"run": "0123456789ab", "index_digest": "11" * 32, "split_digest": "ab" * 32, "weights_digest": "cd" * 32}
    predictions = Predictions(pd.concat(parts.values(), ignore_index=True), SCHEME, digests)
    write_predictions(folder / "predictions.parquet", predictions)
    unseen = pd.DataFrame(
        [("test", "fifth", "00000000000000aa", "viral")], columns=["split", "site", "patient_key", "label"]
    )
    _json(folder / "metrics.json", summarize(predictions, replicates=replicates, patients=unseen))

    epochs, switch = 24, 14
    phase = np.where(np.arange(epochs) < switch, 0, 1)
    loss = 1.55 * np.exp(-np.arange(epochs) / 6) + 0.1
    noise = rng.normal(0, 0.02, (4, epochs))
    pd.DataFrame({
        "epoch": np.arange(epochs), "phase": phase, "optimizer": np.where(phase == 0, "adam", "sgd"),
        "lr": np.where(phase == 0, 1e-4, 1e-3), "train_loss": loss + noise[0] / 2,
        "train_accuracy": np.clip(1 - 0.45 * loss + noise[1] / 2, 0, 1), "val_loss": loss * 1.25 + abs(noise[2]) * 3,
        "val_accuracy": np.clip(0.96 - 0.45 * loss + noise[3], 0, 1), "val_macro_auc": 0.9, "seconds": 11.0,
    }).to_csv(folder / "metrics.csv", index=False)  # fmt: skip

    sites = {
        site: {name: {"patients": n, "slices": n * per_patient} for name, n in zip(SCHEME.names, counts, strict=True)}
        for site, counts in mix.items()
    }
    train = {
        name: {"patients": a - b, "slices": (a - b) * per_patient}
        for name, a, b in zip(SCHEME.names, mix["jinyintan"], validation, strict=True)
    }
    val = {name: {"patients": n, "slices": n * per_patient} for name, n in zip(SCHEME.names, validation, strict=True)}
    accepted = sum(cell["slices"] for classes in sites.values() for cell in classes.values())
    _json(folder / "participants.json", {
        "source": "dicom_tree", "files_read": accepted + 41, "sites": sites,
        "refused": {"not a CT image": 18, "localizer": 12, "no rescale slope": 6, "truncated pixel data": 5},
        "partitions": {"train": train, "val": val, "test/zhongshan": sites["zhongshan"], "test/fifth": sites["fifth"]},
    })  # fmt: skip
    leaked = 152 if profile == "paper" else 0
    unit = "image" if profile == "paper" else "patient"
    _json(folder / "split.json", {"schema": 1, "name": "paper_image_level" if leaked else "patient", "unit": unit,
                                  "repeat": 0, "seed": 0, "leaked_patients": leaked, "digest": "ab" * 32})  # fmt: skip
    _json(folder / "run.json", {
        "run": "0123456789ab", "name": "fabricated", "experiment": "fu2020" if profile == "paper" else "rigorous",
        "profile": profile, "state": "finished", "synthetic": True,
        "model": {"name": "resnet50", "trainable": "last3conv", "trainable_parameters": 4466693, "parameters": 23518277,
                  "input": "224 x 224", "windows": ["lung"], "batchnorm": "train"},
        "weights": {"source": "/srv/models/alice/resnet50.safetensors", "sha256": "cd" * 32, "random_start": False},
        "recipe": {"name": "adam_then_sgd", "phases": [{"optimizer": "adam", "lr": 1e-4, "until": "plateau"},
                                                       {"optimizer": "sgd", "lr": 1e-3, "until": "plateau"}]},
        "best_epoch": 21, "epochs": 24, "seconds": 312.4, "notes": [],
    })  # fmt: skip
    _json(folder / "provenance.json", {
        "code": {"commit": "0a1b2c3d" * 5, "dirty": True},
        "environment": {"python": "3.12.4", "system": "Linux x86_64", "cpus": 8,
                        "packages": {"torch": "2.13.0", "timm": "1.0.20", "monai": "1.6.0"}},
        "digests": {"index": "11" * 32, "split": "ab" * 32, "weights": "cd" * 32, "predictions": "22" * 32},
        "seeds": {"run": 0, "split": 0}, "host": "machine-of-alice", "root": "/home/alice/scans",
    })  # fmt: skip
    return folder


def mistakes(n: int = 6, seed: int = 0) -> list[tuple[np.ndarray, dict[str, Any]]]:
    """Round grey shapes standing for slices, with captions."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:96j, -1:1:96j]
    pictures = []
    for number in range(n):
        lungs = np.hypot(np.abs(x) - 0.4, y) < 0.35 + 0.05 * number / max(n, 1)
        pixels = np.where(np.hypot(x, y) < 0.95, np.where(lungs, 0.2, 0.7), 0.0) + rng.uniform(0, 0.2, x.shape)
        pictures.append((pixels, {
            "patient_key": rng.bytes(8).hex(), "site": "fifth", "slice_number": number, "true": "viral",
            "called": "covid19", "probability": 0.99 - 0.02 * number,
        }))  # fmt: skip
    return pictures


def _json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")
