"""`covidct doctor`: is this machine ready, and what to do where it is not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, NamedTuple

from covidct.commands.progress import say
from covidct.errors import ResourceError

GIB = 2**30


class Finding(NamedTuple):
    """One line of the examination. `remedy` is empty where nothing needs doing."""

    state: Literal["ok", "note", "problem"]
    what: str
    remedy: str = ""


def run(values: dict[str, Any]) -> None:
    """Run the verb.

    Raises:
        ResourceError: Something that covidct cannot work without is missing.
    """
    marks = {"ok": "ok     ", "note": "note   ", "problem": "PROBLEM"}
    problems = 0
    for title, examine in (
        ("versions", _versions),
        ("hardware", _hardware),
        ("DICOM decoders", _decoders),
        ("weights", lambda: _weights(values["model"]["name"])),
        ("tracking", _tracking),
    ):
        say(f"\n{title}")
        for finding in examine():
            say(f"  {marks[finding.state]} {finding.what}")
            if finding.remedy:
                say(f"          do: {finding.remedy}")
            problems += finding.state == "problem"
    say("")
    if problems:
        raise ResourceError(f"{problems} problem(s) found", remedy="follow the lines marked PROBLEM above")
    say("nothing stands in the way")


def _versions() -> Iterator[Finding]:
    """Installed packages against the floors of pyproject.toml."""
    from packaging.requirements import Requirement

    low = []
    for line in metadata.requires("covidct") or []:
        requirement = Requirement(line)
        if requirement.marker is not None:  # extras
            continue
        try:
            found = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            low.append(f"{requirement} (missing)")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            low.append(f"{requirement} (found {found})")
    yield (
        Finding("problem", f"wrong versions: {', '.join(low)}", "install again: pip install -r requirements.lock")
        if low
        else Finding("ok", f"covidct {metadata.version('covidct')}, every package at or above its floor")
    )
    try:
        import torch
        import torchvision
    except (ImportError, RuntimeError) as error:
        yield Finding("problem", f"torch and torchvision do not fit: {error}", "pip install -c constraints.txt torch")
        return
    yield Finding("ok", f"torch {torch.__version__} with torchvision {torchvision.__version__}")


def _hardware() -> Iterator[Finding]:
    import torch

    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    yield Finding("ok", f"{cpus} CPU cores, {memory:.0f} GiB of memory")
    if torch.cuda.is_available():
        for device in range(torch.cuda.device_count()):
            found = torch.cuda.get_device_properties(device)
            half = "bf16-mixed or 16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
            yield Finding("ok", f"{found.name}, {found.total_memory / GIB:.0f} GiB: use trainer.precision={half}")
    else:
        cause = "this torch was built without CUDA" if torch.version.cuda is None else "no CUDA device is visible"
        yield Finding("note", f"no GPU ({cause}); training on the CPU", "for whole studies use a machine with a GPU")
    free = shutil.disk_usage(Path.cwd()).free / GIB
    yield Finding("ok" if free > 5 else "note", f"{free:.0f} GiB free on the disk of this folder")
    shared = Path("/dev/shm")
    if shared.is_dir() and shutil.disk_usage(shared).total < GIB:
        yield Finding(
            "note",
            "less than 1 GiB of shared memory for data workers",
            "in a container: --shm-size=8g; or data.workers=0",
        )


def _decoders() -> Iterator[Finding]:
    """Which compressed transfer syntaxes of CT can be decoded here."""
    from covidct.ct.decode import decoders

    for name, plugins, package in decoders():
        if plugins:
            yield Finding("ok", f"{name}: {', '.join(plugins)}")
        else:
            yield Finding("note", f"{name}: no decoder; such files will be refused", f"install {package}")


def _weights(model: str) -> Iterator[Finding]:
    from covidct.models.weights import find_published

    try:
        found = find_published(model)
    except ResourceError as error:
        yield Finding("note", error.what, error.remedy or "")
        return
    yield Finding("ok", found)


def _tracking() -> Iterator[Finding]:
    from covidct.training.wandb_tracker import choose_mode

    mode = choose_mode()
    if mode == "online":
        yield Finding("ok", "W&B: a key was found, runs are tracked online")
    else:
        yield Finding(
            "note",
            f"W&B: {mode}; runs stay in their folders",
            "wandb login, or later: WANDB_ERROR_REPORTING=false wandb sync runs/*/wandb/*",
        )
