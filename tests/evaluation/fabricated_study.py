"""A study made from random numbers: run folders of several arms and repeats, in the layout of the real ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from covidct.evaluation.predictions import Predictions, write_predictions
from covidct.evaluation.summary import summarize
from covidct.labels import ClassScheme

SCHEME = ClassScheme(("normal", "covid19"), normal="normal", positive="covid19")
PATIENTS = 80


def make_study(
    folder: Path,
    skills: Mapping[str, float],
    *,
    repeats: int = 3,
    tests: tuple[str, ...] = ("site_b", "site_c"),
    seed: int = 0,
    noise: float = 0.3,
) -> list[Path]:
    """Write a run folder for each arm and repeat.

    Args:
        folder: Where the runs go.
        skills: For each arm the height of the true class's logit, in standard deviations.
        repeats: Random 3:1 splits of the same 80 patients.
        tests: External sites of 40 patients, the same for every run.
        seed: Of everything.
        noise: What is each run's own, in standard deviations; patients are the same for all.
    """
    patients = np.random.default_rng([seed, 1])
    cohorts = {site: patients.normal(size=(PATIENTS if site == "site_a" else 40)) for site in ("site_a", *tests)}
    paths = []
    for repeat in range(repeats):
        order = np.random.default_rng([seed, 2, repeat]).permutation(PATIENTS)
        held = np.sort(order[: PATIENTS // 4])
        for number, (arm, skill) in enumerate(skills.items()):
            own = np.random.default_rng([seed, 3, repeat, number])
            parts = [_scores(own, cohorts["site_a"], held, skill, noise, "site_a", "val")]
            parts += [_scores(own, cohorts[site], np.arange(40), skill, noise, site, "test") for site in tests]
            path = folder / f"study-{arm}-{repeat}"
            path.mkdir(parents=True)
            predictions = Predictions(pd.concat(parts, ignore_index=True), SCHEME, {"run": path.name})
            write_predictions(path / "predictions.parquet", predictions)
            validation = Predictions(parts[0], SCHEME)  # test figures are read from the predictions, and cost time here
            write(path / "metrics.json", summarize(validation, replicates=2))
            record = {"name": "study", "arm": arm, "repeat": repeat, "seed": 0, "state": "evaluated", "epochs": 50}
            record |= {"seconds": 60.0 + number, "weights": {"state_sha256": "aa"}, "code": {"commit": "c0"}}
            write(path / "run.json", record | {"best": {"val_loss": 1 - skill / 10 + repeat / 100}})
            digests = {"split": f"split{repeat}", "index": "i"}
            write(path / "provenance.json", {"digests": digests, "seeds": {"run": 0}})
            train = [int(key) for key in np.setdiff1d(np.arange(PATIENTS), held)]
            write(path / "split.json", {"unit": "patient", "train": train, "val": [int(key) for key in held]})
            config = {"data": {"batch_size": 32}, "recipe": {"phases": [{"optimizer": arm, "lr": skill / 1000}]}}
            (path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
            paths.append(path)
    return paths


def change(path: Path, name: str, **values: object) -> None:
    """Change keys of a JSON file of a run."""
    write(path / name, json.loads((path / name).read_text(encoding="utf-8")) | values)


def write(path: Path, value: object) -> None:
    """Write a JSON file."""
    path.write_text(json.dumps(value), encoding="utf-8")


def _scores(
    generator: np.random.Generator,
    cohort: np.ndarray,
    members: np.ndarray,
    skill: float,
    noise: float,
    site: str,
    split: str,
) -> pd.DataFrame:
    """Two slices of each patient; even patients are normal."""
    rows = np.repeat(members, 2)
    logit = cohort[rows] + generator.normal(size=len(rows)) * noise + np.where(rows % 2, skill, -skill) / 2
    ill = 1 / (1 + np.exp(-logit))
    return pd.DataFrame(
        {
            "slice_key": [f"{site}{row:03d}{place % 2}" for place, row in enumerate(rows)],
            "patient_key": [f"{site}{row:03d}" for row in rows],
            "series_key": [f"{site}{row:03d}" for row in rows],
            "site": site,
            "split": split,
            "slice_number": np.arange(len(rows), dtype=np.int32) % 2,
            "label": np.where(rows % 2, "covid19", "normal"),
            "slice_label": pd.array([None] * len(rows), dtype="Int8"),
            "p_normal": 1 - ill,
            "p_covid19": ill,
        }
    )
