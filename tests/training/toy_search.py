"""A search whose trials take no time, or as long as asked; as a program, one worker of it. Imports nothing heavy."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import optuna

from covidct.training.search import work
from covidct.training.search_space import SearchSpace, read_space
from covidct.training.search_storage import open_storage, open_study

SPACE = {
    "name": "toy",
    "parameters": {
        "x": {"kind": "float", "low": -2.0, "high": 2.0},
        "way": {"kind": "choice", "values": ["left", ["a", "b"], None]},
    },
    "objectives": [{"figure": "val_loss", "direction": "minimize"}],
    "sampler": {"kind": "tpe", "startup_trials": 3, "seed": 1},
    "pruner": {"kind": "median", "startup_trials": 2, "warmup_epochs": 1},
}


def space(**changes: Any) -> SearchSpace:
    return read_space({**SPACE, **changes})


def study_in(folder: Path, of: SearchSpace | None = None, **facts: Any) -> optuna.Study:
    return open_study(open_storage(str(folder / "journal.log")), "toy", of or space(), facts)


def quiet(_: str) -> None:
    return


def main(folder: str, number: str, wanted: str, seconds: str) -> None:
    def slow(trial: optuna.trial.Trial, words: list[str]) -> list[float]:
        print("at", trial.number, flush=True)
        time.sleep(float(seconds))
        return [trial.params["x"] ** 2]

    work(study_in(Path(folder)), space(), slow, int(wanted), worker=int(number), say=quiet)


if __name__ == "__main__":
    main(*sys.argv[1:])
