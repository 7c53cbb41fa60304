"""What a run folder says about its run, read for the report: settings, data, code and machine.

Nothing identifying passes: folders are cut off anything that looks like a path, and entries that name a machine, a user
or a folder are left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from covidct.errors import DataRefused, IntegrityError
from covidct.evaluation.figures import read_history
from covidct.evaluation.predictions import read_predictions
from covidct.files import read_json
from covidct.labels import ClassScheme
from covidct.provenance import digest_file

_PRIVATE = {"user", "username", "host", "hostname", "path", "paths", "root", "cwd", "home", "folder", "argv", "command"}
_PATH = re.compile(
    r"(?<![\w.:/\\<])(?:file://)?(?:~|\.{1,2}|[A-Za-z]:)?[\\/](?:[^\s\\/'\"<>|]+[\\/])*([^\s\\/'\"<>|]*)"
)


def without_folders(text: str) -> str:
    """The text with every absolute path, and every one relative to `.` or `..`, cut down to its last part."""
    return _PATH.sub(lambda found: found.group(1) or "…", text)


def cleaned(value: Any) -> Any:
    """A JSON value without entries that say who or where, and with folders cut off all text."""
    if isinstance(value, Mapping):
        return {str(k): cleaned(v) for k, v in value.items() if str(k).lower() not in _PRIVATE}
    if isinstance(value, list | tuple):
        return [cleaned(item) for item in value]
    return without_folders(value) if isinstance(value, str) else value


def flattened(value: Any, name: str = "") -> list[tuple[str, str]]:
    """A nested JSON value as (dotted name, text) pairs, in the order it was written; undefined is a dash."""
    if isinstance(value, Mapping):
        return [pair for key, item in value.items() for pair in flattened(item, f"{name}.{key}" if name else str(key))]
    if isinstance(value, list):
        return [(name, ", ".join(str(item) for item in value) or "–")]
    text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else "–" if value is None else str(value)
    return [(name, text)]


@dataclass(frozen=True)
class RunRecord:
    """A run folder, read.

    Args:
        folder: The run folder.
        scheme: The classes.
        summary: metrics.json.
        run: run.json, cleaned; empty when there is none.
        config: config.yaml, cleaned; empty when there is none.
        split: split.json without its member lists; empty when there is none.
        participants: participants.json, or None.
        provenance: provenance.json, cleaned; empty when there is none.
        history: metrics.csv, or None.
        mistakes: Captions of figures/mistakes.json, or None when mistakes were never drawn.
        predictions: Facts about the predictions table: rows, meta, sha256.
    """

    folder: Path
    scheme: ClassScheme
    summary: dict[str, Any]
    run: dict[str, Any]
    config: dict[str, Any]
    split: dict[str, Any]
    participants: dict[str, Any] | None
    provenance: dict[str, Any]
    history: pd.DataFrame | None
    mistakes: list[dict[str, Any]] | None
    predictions: dict[str, Any]

    def get(self, *keys: str) -> Any:
        """A value of run.json, else of config.yaml, else None; `get("model", "name")` goes down two levels."""
        for source in (self.run, self.config):
            value: Any = source
            for key in keys:
                value = value.get(key) if isinstance(value, Mapping) else None
            if value is not None:
                return value
        return None

    def section(self, name: str) -> Any:
        """The content of `<name>.json` in the run folder, cleaned; None when it is not there."""
        return cleaned(_optional(self.folder / f"{name}.json"))

    @property
    def profile(self) -> str | None:
        """ "paper", "rigorous", or None when it is not recorded."""
        profile = self.get("profile")
        return str(profile) if profile is not None else None

    @property
    def leaked_patients(self) -> int | None:
        """Patients with slices in more than one partition, or None when it is not recorded or nobody knows it."""
        leaked = self.split.get("leaked_patients")
        return int(leaked) if leaked is not None else None

    @property
    def patients_known(self) -> bool:
        """False where the data do not say whose a picture is, so that each counts as a patient of its own."""
        return self.split.get("name") != "image_level"


def read_run(run_folder: Path) -> RunRecord:
    """Read everything the report needs from a run folder.

    Raises:
        DataRefused: The folder, its predictions or its metrics are missing or unreadable.
        IntegrityError: The predictions are damaged, or the metrics were made for other classes.
    """
    folder = Path(run_folder)
    if not folder.is_dir():
        raise DataRefused("there is no such run folder", where=str(folder), remedy="give the folder of a trained run")
    for name in ("predictions.parquet", "metrics.json"):
        if not (folder / name).is_file():
            raise DataRefused(
                f"the run folder has no {name}",
                where=str(folder),
                remedy=f"make it with `covidct evaluate run={folder}`",
            )
    summary = read_json(folder / "metrics.json")
    if not isinstance(summary, dict) or not {"classes", "blocks"} <= summary.keys():
        raise DataRefused("metrics.json lacks its classes or blocks", where=str(folder / "metrics.json"))
    scheme = ClassScheme.from_dict(summary["classes"])
    table = read_predictions(folder / "predictions.parquet")
    if table.scheme != scheme:
        raise IntegrityError(
            f"metrics.json is about the classes {list(scheme.names)}, the predictions about {list(table.scheme.names)}",
            where=str(folder),
            remedy="make the metrics again with `covidct evaluate`",
        )
    split = _optional(folder / "split.json") or {}
    return RunRecord(
        folder=folder,
        scheme=scheme,
        summary=summary,
        run=cleaned(_optional(folder / "run.json") or {}),
        config=cleaned(_read_config(folder / "config.yaml")),
        split=cleaned({k: v for k, v in split.items() if k not in {"train", "val", "tests"}}),
        participants=cleaned(_optional(folder / "participants.json")),
        provenance=cleaned(_optional(folder / "provenance.json") or {}),
        history=read_history(folder),
        mistakes=cleaned(_optional(folder / "figures" / "mistakes.json")),
        predictions={
            "rows": len(table.frame),
            "sha256": digest_file(folder / "predictions.parquet"),
            **{key: str(value) for key, value in table.meta.items()},
        },
    )


def _optional(path: Path) -> Any:
    return read_json(path) if path.is_file() else None


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataRefused(f"not a YAML file: {type(error).__name__}", where=str(path)) from None
    return config if isinstance(config, dict) else {}
