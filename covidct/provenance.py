"""Where a result came from: digests, code version, packages, machine."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

PACKAGES = (
    "covidct", "torch", "torchvision", "timm", "monai", "pytorch-lightning", "torchmetrics", "hydra-core", "wandb",
    "numpy", "pandas", "scikit-learn", "scipy", "pydicom",
)  # fmt: skip
"""The packages whose versions can change a result."""


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_json(value: Any) -> str:
    """SHA-256 of a JSON value in canonical form (sorted keys, no spaces), in hex.

    Raises:
        TypeError: The value holds something that is not plain JSON.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def code_state() -> dict[str, Any]:
    """Commit of the checkout the package runs from and whether it has uncommitted changes; None where unknown."""
    root = Path(__file__).resolve().parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    tracked = git("ls-files", "--error-unmatch", "provenance.py")  # an installed wheel inside some other repository
    if tracked is None:
        return {"commit": None, "dirty": None}
    status = git("status", "--porcelain", "--untracked-files=no")
    return {"commit": git("rev-parse", "HEAD"), "dirty": None if status is None else bool(status)}


def environment() -> dict[str, Any]:
    """Python, package versions and hardware. No user, host or path: those say who, not what."""
    found = {d.metadata["Name"].lower(): d.version for d in distributions() if d.metadata["Name"]}
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "packages": {name: found[name] for name in PACKAGES if name in found},
    }
