"""Run folders as a catalogue: which runs there are, and any fact about one of them by a dotted word.

Only small files are read (run.json, config.yaml, metrics.json, provenance.json, failure.json), each when it is first
asked for, so that a thousand runs can be listed while somebody waits.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from covidct.errors import DataRefused
from covidct.files import read_json

FAILED = "failed"
"""The state of a run that left a failure.json and never came to predictions."""

FINISHED = ("trained", "evaluated")
SPLITS = ("val", "test")
LEVELS = ("slice", "patient")
NATURAL_AGGREGATION = {"slice": "argmax", "patient": "mean_probability"}
"""What a figure without an aggregation means. Of the two patient rules it is the one that every task has."""

AGGREGATIONS = ("argmax", "any_slice", "mean_probability", "validation_rule")
POOLED = "(pooled)"  # as `summary` writes it


@dataclass(frozen=True)
class CataloguedRun:
    """One run folder, read.

    Attributes:
        path: The folder.
        record: run.json; empty when the run failed before it wrote one.
        config: config.yaml; empty when there is none.
        metrics: metrics.json, or None before the first evaluation.
        provenance: provenance.json; empty when there is none.
        failure: failure.json ({"reason": ...}) of a cell that failed; empty otherwise.
    """

    path: Path
    record: dict[str, Any]
    config: dict[str, Any]
    metrics: dict[str, Any] | None
    provenance: dict[str, Any]
    failure: dict[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """ "started", "trained", "evaluated" or "failed"; a failure that a later attempt made good is forgotten."""
        state = str(self.record.get("state", FAILED))
        return FAILED if self.failure and state not in FINISHED else state

    @property
    def reason(self) -> str | None:
        """Why the run failed, or None."""
        return str(self.failure.get("reason", "not recorded")) if self.state == FAILED else None

    @property
    def blocks(self) -> list[dict[str, Any]]:
        """The blocks of metrics.json, for figures: points of ROC curves may be left out."""
        return list((self.metrics or {}).get("blocks", []))

    def value(self, key: str) -> Any:
        """One fact about the run, None where it is undefined or absent.

        Args:
            key: A dotted word: a fact of run.json ("arm", "repeat", "seconds", "best.val_loss"), a config key
                ("data.size", "recipe.phases.0.lr"), one of provenance.json ("digests.index", "code.dirty"), "folder",
                "reason", or a figure of metrics.json as "split[.site].level[.aggregation].figure":
                "val.patient.macro_auc", "test.site_b.patient.any_slice.covid19.sensitivity.low". Without a site, the
                pooled figure (that of the only site when there is one); without an aggregation, `argmax` of slices and
                `mean_probability` of patients.

        Raises:
            DataRefused: The file that would answer cannot be read.
        """
        if key in ("state", "reason"):
            return getattr(self, key)
        if key == "folder":
            return self.path.name
        parts = key.split(".")
        if parts[0] in SPLITS and any(level in parts for level in LEVELS):
            return figure_in(self.blocks, key)
        found = _descend(self.record, parts)
        if found is None:
            found = _descend(self.failure, parts)
        if found is None:
            found = _descend(self.config, parts)
        return _descend(self.provenance, parts) if found is None else found


class _RunOnDisk(CataloguedRun):
    """Reads everything but run.json on the first question."""

    def __init__(self, path: Path, record: dict[str, Any], failure: dict[str, Any]) -> None:
        object.__setattr__(self, "path", path)
        object.__setattr__(self, "record", record)
        object.__setattr__(self, "failure", failure)

    @cached_property
    def config(self) -> dict[str, Any]:
        return _read_yaml(self.path / "config.yaml")

    @cached_property
    def metrics(self) -> dict[str, Any] | None:
        file = self.path / "metrics.json"
        return _mapping(file) if file.is_file() else None

    @cached_property
    def blocks(self) -> list[dict[str, Any]]:
        # Read anew and without the curves, which are half of it: a thousand runs are kept in memory.
        if "metrics" in self.__dict__ or not (self.path / "metrics.json").is_file():
            return super().blocks
        return [{**block, "roc": None} for block in _mapping(self.path / "metrics.json").get("blocks", [])]

    @cached_property
    def provenance(self) -> dict[str, Any]:
        file = self.path / "provenance.json"
        return _mapping(file) if file.is_file() else {}


@dataclass(frozen=True)
class Catalogue:
    """What was found below some folders.

    Attributes:
        runs: Sorted by folder.
        unreadable: Folders that look like runs and cannot be read, each with the reason.
    """

    runs: list[CataloguedRun]
    unreadable: list[tuple[Path, str]]


def find_runs(where: Sequence[Path | str]) -> list[CataloguedRun]:
    """The runs of `read_catalogue`, when it does not matter how many folders could not be read."""
    return read_catalogue(where).runs


def read_catalogue(where: Sequence[Path | str]) -> Catalogue:
    """Find run folders.

    Args:
        where: Run folders, folders of run folders, or glob patterns of either.

    Raises:
        DataRefused: A name leads nowhere, or a run folder that was named directly cannot be read.
    """
    runs: dict[Path, CataloguedRun] = {}
    unreadable: list[tuple[Path, str]] = []
    for folder, is_named in _folders(where):
        if folder.resolve() in runs:
            continue
        try:
            runs[folder.resolve()] = _read(folder)
        except DataRefused as error:
            if is_named:
                raise
            unreadable.append((folder, error.what))
    return Catalogue(sorted(runs.values(), key=lambda run: str(run.path)), unreadable)


def is_run_folder(folder: Path) -> bool:
    """Whether a run was begun, or failed, in this folder."""
    return (folder / "run.json").is_file() or (folder / "failure.json").is_file()


def figure_in(blocks: Sequence[Mapping[str, Any]], key: str) -> Any:
    """A figure among the blocks of metrics.json by its dotted word (see `CataloguedRun.value`); None where absent."""
    split, *rest = key.split(".")
    at = next((place for place, word in enumerate(rest) if word in LEVELS), None)
    if at is None:
        return None
    site, level, rest = ".".join(rest[:at]), rest[at], rest[at + 1 :]
    has_rule = bool(rest) and rest[0] in AGGREGATIONS
    aggregation, rest = (rest[0], rest[1:]) if has_rule else (NATURAL_AGGREGATION[level], rest)
    blocks = [
        block
        for block in blocks
        if (block["split"], block["level"], block["aggregation"]) == (split, level, aggregation)
    ]
    wanted = POOLED if site in ("", "pooled") else site
    block = next((block for block in blocks if block["site"] == wanted), None)
    if block is None and wanted == POOLED and len(blocks) == 1:
        [block] = blocks
    if block is None or not rest:
        return None
    found = _descend(block, rest)
    if found is None:
        found = _descend(block.get("per_class"), rest)
    return found.get("value") if isinstance(found, Mapping) and "value" in found else found


def _folders(where: Sequence[Path | str]) -> Iterator[tuple[Path, bool]]:
    """Run folders, and whether each was named directly."""
    for name in where:
        found = [Path(name)]
        if is_pattern := not found[0].exists() and any(mark in str(name) for mark in "*?["):
            found = [Path(match) for match in sorted(glob.glob(str(name), recursive=True))]  # noqa: PTH207 (absolute too)
        found = [path for path in found if path.is_dir()]
        if not found:
            raise DataRefused(
                "there is no such folder", where=str(name), remedy="give a run folder or a folder of them"
            )
        for folder in found:
            if is_run_folder(folder):
                yield folder, not is_pattern
                continue
            inside = [path for path in sorted(folder.iterdir()) if path.is_dir() and is_run_folder(path)]
            yield from ((path, False) for path in inside)


def _read(folder: Path) -> CataloguedRun:
    record = _mapping(folder / "run.json") if (folder / "run.json").is_file() else {}
    failure = _mapping(folder / "failure.json") if (folder / "failure.json").is_file() else {}
    if record and not isinstance(record.get("state"), str):
        raise DataRefused("run.json has no state", where=str(folder / "run.json"))
    return _RunOnDisk(folder, record, failure)


def _mapping(file: Path) -> dict[str, Any]:
    try:
        value = read_json(file)
    except OSError as error:
        raise DataRefused(f"cannot be read: {error.strerror}", where=str(file)) from None
    if not isinstance(value, dict):
        raise DataRefused(f"{file.name} holds no mapping", where=str(file))
    return value


def _read_yaml(file: Path) -> dict[str, Any]:
    import yaml

    if not file.is_file():
        return {}
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml, where it is there, is six times as fast
    try:
        value = yaml.load(file.read_text(encoding="utf-8"), Loader=loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataRefused(f"not a YAML file: {type(error).__name__}", where=str(file)) from None
    return value if isinstance(value, dict) else {}


def _descend(value: Any, parts: Sequence[str]) -> Any:
    """Go down mappings by key and lists by position; a key may itself hold dots."""
    if not parts:
        return value
    if isinstance(value, Mapping):
        for length in range(len(parts), 0, -1):
            key = ".".join(parts[:length])
            if key in value:
                return _descend(value[key], parts[length:])
    elif isinstance(value, list) and parts[0].isdigit() and int(parts[0]) < len(value):
        return _descend(value[int(parts[0])], parts[1:])
    return None
