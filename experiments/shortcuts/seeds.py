"""Train a tiny network on a phantom with and without a planted tag, audit it, and note which probes fire; seed by seed.

    python -m experiments.shortcuts.seeds WORK --seeds 20 --csv experiments/shortcuts/seeds.csv

A seed is: phantom, index, split, training, audit, each by its command. What is done already is in the CSV and is not
done again.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import time
from pathlib import Path

from covidct.commands.cli import main

PROBES = (
    "metadata", "duplicates", "position", "marks", "background", "background_retrained", "lung_only", "border",
    "corners", "lesion_free", "empty", "shuffle", "site",
)  # fmt: skip
COLUMNS = ("kind", "seed", "exit", "alarms", "val_macro_auc", "seconds", *PROBES, *(f"{p}_value" for p in PROBES))

SITES = {"site_a": 10, "site_b": 8, "site_c": 0}
PATIENTS = "patients={" + ",".join(f"{s}:{{normal:{n},covid19:{n},viral:{n}}}" for s, n in SITES.items()) + "}"
CLASSES = "data.classes={names:[normal,covid19,viral],normal:normal,positive:covid19}"


def run(*words: str) -> int:
    """One command; every code but 0 and 7 stops the experiment."""
    code = main(list(words))
    if code not in (0, 7):
        raise SystemExit(f"covidct {' '.join(words)} ended with {code}")
    return code


def one(work: Path, kind: str, seed: int) -> dict[str, object]:
    """One seed of "planted" or "clean"."""
    began, folder = time.monotonic(), work / f"{kind}-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "key").touch(mode=0o600)
    (folder / "key").write_text(f"{seed:064x}\n")
    shortcut = ["shortcut={tag: covid19, share: 0.9}"] if kind == "planted" else []
    run(
        "phantom", f"out={folder}/phantom", PATIENTS, "slices_per_patient=4", "size=64",
        "difficulty=0", f"seed={seed}", "workers=1", *shortcut,
    )  # fmt: skip
    run(
        "index", "data=phantom", f"data.root={folder}/phantom", f"data.index={folder}/index", f"key={folder}/key",
        CLASSES,
    )  # fmt: skip
    run(
        "train", "experiment=demo", "model.name=test_resnet", "model.weights=none", "data.size=64",
        "data.batch_size=8", CLASSES, "split.external_sites=[]", "split.train_fraction=0.5",
        f"data.index={folder}/index", f"runs={folder}/runs", f"seed={seed}", f"split.seed={seed}", "logger=csv",
        "recipe.phases=[{optimizer: adam, lr: 0.003, epochs: 10}, {optimizer: sgd, lr: 0.003, momentum: 0.9}]",
        "recipe.stop={min_epochs: 14, max_epochs: 14}",
    )  # fmt: skip
    [trained] = (folder / "runs").glob("demo-*")
    code = run("audit", f"run={trained}", "retrain=true", "device=cpu")
    record = json.loads((trained / "shortcuts.json").read_text())
    best = json.loads((trained / "run.json").read_text())
    with (trained / "metrics.csv").open() as stream:
        epochs = list(csv.DictReader(stream))
    row: dict[str, object] = {
        "kind": kind, "seed": seed, "exit": code, "alarms": len(record["alarms"]),
        "val_macro_auc": round(float(epochs[int(best["best_epoch"])]["val_macro_auc"]), 3),
        "seconds": round(time.monotonic() - began),
    }  # fmt: skip
    for outcome in record["outcomes"]:
        row[outcome["probe"]] = outcome["status"]
        value = outcome["value"]
        row[f"{outcome['probe']}_value"] = "" if value is None else round(value, 3)
    shutil.rmtree(folder)
    return row


def start() -> None:
    """Read the words and go through the seeds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--csv", type=Path, required=True)
    asked = parser.parse_args()
    rows: list[dict[str, object]] = []
    if asked.csv.is_file():
        with asked.csv.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
    done = {(row["kind"], str(row["seed"])) for row in rows}
    for seed in range(asked.first, asked.first + asked.seeds):
        for kind in ("planted", "clean"):
            if (kind, str(seed)) in done:
                continue
            rows.append(one(asked.work, kind, seed))
            with asked.csv.open("w", newline="") as stream:
                writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)


if __name__ == "__main__":
    start()
