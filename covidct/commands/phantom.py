"""`covidct phantom`: write a synthetic hospital network as DICOM series with labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from covidct.commands.compose import arguments
from covidct.commands.progress import progress, say
from covidct.ct.phantom.network import PhantomSpec, write_network


def run(values: dict[str, Any]) -> None:
    """Run the verb."""
    given = {key: value for key, value in values.items() if key not in ("out", "workers")}
    spec = PhantomSpec(**arguments(PhantomSpec, given, "phantom"))
    with progress("slices written") as show:
        found = write_network(Path(values["out"]), spec, progress=show, workers=values["workers"])
    patients = {site: sum(classes.values()) for site, classes in found.patients.items()}
    done = "wrote" if found.written else "was there already:"
    say(f"{done} {found.slices} slices of {sum(patients.values())} patients")
    for site, count in patients.items():
        say(f"  {site}: {count} patients, {', '.join(f'{n} {label}' for label, n in found.patients[site].items())}")
    say(f"next: covidct index data=phantom data.root={values['out']} data.index=indexes/phantom")
