"""`covidct readers`: human readers beside a run, or simulated ones to try it with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from covidct.commands.progress import say
from covidct.errors import UsageError


def run(values: dict[str, Any]) -> None:
    """Run the verb."""
    from covidct.evaluation.readers.publish import publish_readers, write_simulated
    from covidct.training.runs import RunFolder

    if (values["reads"] is None) == (values["simulate"] is None):
        raise UsageError(
            "give the table of reads, or how many readers to simulate, one of them",
            remedy="covidct readers run=runs/NAME reads=reads.csv",
        )
    _check(values)
    folder = RunFolder(Path(values["run"]))
    folder.read()  # a clear message when it is no run folder
    if values["simulate"] is not None:
        if values["output"] is None:
            raise UsageError("simulated reads need a file to go to", remedy="output=reads.csv")
        path = write_simulated(
            folder.path,
            Path(values["output"]),
            readers=values["simulate"],
            split=values["partition"],
            rule=values["rule"],
            unit=values["unit"],
            cases=values["cases"],
            seed=values["seed"],
        )
        say(f"SIMULATED reads, of nobody: {path}")
        say(f"next: covidct readers run={folder.path} reads={path}")
        return
    report, sentences, warnings = publish_readers(
        folder.path,
        Path(values["reads"]),
        split=values["partition"],
        rule=values["rule"],
        positive=values["positive"],
        model=values["model_seconds"],
        replicates=values["replicates"],
        seed=values["seed"],
    )
    for warning in warnings:
        say(f"!! {warning}")
    for sentence in sentences:
        say(f"-> {sentence}")
    say(f"report: {report}")


def _check(values: dict[str, Any]) -> None:
    for key, least in (("replicates", 100), ("seed", 0)):
        if type(values[key]) is not int or values[key] < least:
            raise UsageError(f"{key}={values[key]} must be a whole number, {least} or more")
    if values["cases"] is not None and (type(values["cases"]) is not int or values["cases"] < 1):
        raise UsageError(f"cases={values['cases']} must be a whole number, 1 or more")
    if values["unit"] not in ("patient", "slice"):
        raise UsageError(f"unit={values['unit']} is patient or slice")
    if values["partition"] not in ("test", "val"):
        raise UsageError(f"partition={values['partition']} is test or val")
