"""`covidct runs`: look through run folders: list them, find the best, compare two, hand tables on."""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covidct.commands.columns import print_columns
from covidct.commands.progress import say
from covidct.commands.runs_words import ACTIONS
from covidct.errors import DataRefused, UsageError
from covidct.evaluation.catalogue import CataloguedRun, read_catalogue
from covidct.evaluation.differences import SECTIONS, differences, figure_words
from covidct.evaluation.listing import best_run, chosen, column_names, ordered, text_of


@dataclass(frozen=True)
class RunsSettings:
    """The keys of `conf/runs.yaml`; their meaning stands there."""

    action: str
    where: list[str]
    filter: list[str]
    sort: list[str]
    columns: list[str] | None
    limit: int | None
    by: str
    allow_test: bool
    output: str | None
    table: str
    tracker: str | None
    title: str | None
    project: str
    figures: list[str]


@dataclass(frozen=True)
class _Found:
    """The runs to work on, and what could not be read on the way."""

    runs: list[CataloguedRun]
    unreadable: list[tuple[Path, str]]


def run(values: dict[str, Any]) -> None:
    """Run the verb."""
    settings = _read(values)
    if settings.action not in ACTIONS:
        raise UsageError(f"unknown action {settings.action!r}", where="action", remedy=f"use {', '.join(ACTIONS)}")
    # A thousand metrics.json are millions of small objects that all live to the end: collecting costs a third.
    was_on = gc.isenabled()
    gc.disable()
    try:
        _ACTIONS[settings.action](settings, _find(settings))
    finally:
        if was_on:
            gc.enable()


def _read(values: dict[str, Any]) -> RunsSettings:
    lists = {key: _words(values[key], key) for key in ("where", "filter", "sort", "figures")}
    columns = None if values["columns"] is None else _words(values["columns"], "columns")
    if values["limit"] is not None and (not isinstance(values["limit"], int) or values["limit"] < 1):
        raise UsageError(f"limit is a number of rows, not {values['limit']!r}", where="limit")
    if values["table"] not in ("wide", "long"):
        raise UsageError(f"unknown table {values['table']!r}", where="table", remedy="use wide or long")
    if values["tracker"] not in (None, "wandb"):
        raise UsageError(f"unknown tracker {values['tracker']!r}", where="tracker", remedy="use wandb, or leave it out")
    return RunsSettings(**{**values, **lists, "columns": columns})


def _words(value: Any, key: str) -> list[str]:
    if isinstance(value, list):
        return [str(item) for item in value]
    if value is None or isinstance(value, dict):
        raise UsageError(f"{key} is a list of words", where=key, remedy=f"write {key}=[a,b]")
    return [str(value)]


def _find(settings: RunsSettings) -> _Found:
    """Read, filter and sort; a run whose files are torn is counted, not fatal."""
    catalogue = read_catalogue(settings.where)
    unreadable = list(catalogue.unreadable)
    sound = []
    asked = [*settings.sort, *(settings.columns or []), settings.by if settings.action != "ls" else "state"]
    for found in catalogue.runs:
        try:
            for word in asked:
                found.value(word.lstrip("+-"))
            matches = bool(chosen([found], settings.filter))
        except DataRefused as error:
            unreadable.append((found.path, f"{Path(error.where or '').name}: {error.what}"))
            continue
        if matches:
            sound.append(found)
    return _Found(ordered(sound, settings.sort), unreadable)


def _list(settings: RunsSettings, found: _Found) -> None:
    columns = column_names(settings.columns)
    shown = found.runs[: settings.limit]
    print_columns(columns, [[one.value(name) for name in columns] for one in shown])
    hidden = f", the first {len(shown)} shown" if len(shown) < len(found.runs) else ""
    print(f"\n{len(found.runs)} run(s){hidden}")
    for one in shown:
        if one.reason is not None:
            print(f"failed: {one.path.name} (arm {one.value('arm')}, repeat {one.value('repeat')}): {one.reason}")
    _count_unreadable(found)


def _count_unreadable(found: _Found) -> None:
    if found.unreadable:
        print(f"{len(found.unreadable)} folder(s) cannot be read:", file=sys.stderr)
        for path, reason in found.unreadable:
            print(f"  {path.name}: {reason}", file=sys.stderr)


def _best(settings: RunsSettings, found: _Found) -> None:
    ranked = best_run(found.runs, settings.by, allow_test=settings.allow_test)
    (best, value), *others = ranked
    note = [f"{settings.by} {text_of(value)}: the best of {len(ranked)} run(s) with this figure, of {len(found.runs)}"]
    if others:
        note.append(f"next: {others[0][0].path.name} with {text_of(others[0][1])}")
    if settings.by.startswith("test."):
        note.append("!! chosen by a test figure: that figure is no test of this run any more")
    elif len(ranked) > 1:
        note.append("the best of many flatters itself; test it once with covidct evaluate")
    print("\n".join(note), file=sys.stderr)
    _count_unreadable(found)
    print(best.path)  # alone on standard output: covidct evaluate run=$(covidct runs best)


def _show(settings: RunsSettings, found: _Found) -> None:
    for one in found.runs[: settings.limit]:
        facts = [
            "name",
            "arm",
            "repeat",
            "seed",
            "state",
            "reason",
            "profile",
            "epochs",
            "best_epoch",
            "best",
            "seconds",
        ]
        facts += ["model.name", "model.trainable", "weights.source", "data.size", "data.windows", "split.kind"]
        facts += ["synthetic", "digests.index", "digests.split", "code.commit", "code.dirty"]
        rows = [["folder", str(one.path)], *([name, one.value(name)] for name in facts if one.value(name) is not None)]
        print_columns(None, rows)
        words = figure_words(one)
        figures = [
            [word, *(one.value(f"{word}{end}") for end in ("", ".low", ".high", ".n_patients"))] for word in words
        ]
        if figures:
            print()
            print_columns(["figure", "value", "low", "high", "patients"], figures)
        print()
    _count_unreadable(found)


def _diff(settings: RunsSettings, found: _Found) -> None:
    if len(settings.where) != 2 or len(found.runs) != 2:
        raise UsageError(
            f"two runs differ, not {len(found.runs)}", remedy="covidct runs diff runs/NAME runs/OTHER (two run folders)"
        )
    first, second = found.runs
    if first.path.resolve() != Path(settings.where[0]).resolve():  # in the order they were typed
        first, second = second, first
    print(f"first:  {first.path}\nsecond: {second.path}")
    everything = differences(first, second)
    for section in SECTIONS:
        rows = [[d.key, d.first, d.second, d.change] for d in everything if d.section == section]
        print(f"\n{section}: {'the same' if not rows else f'{len(rows)} of them differ'}")
        if rows and section == "figures":
            print_columns(["", "first", "second", "second - first"], rows, indent=2)
        elif rows:
            print_columns(["", "first", "second"], [row[:3] for row in rows], indent=2)
    keys = {d.key for d in everything}
    if "digests.index" in keys:
        print("\nThe slice tables differ: these figures are about different patients and cannot be compared.")
    elif "digests.split" in keys:
        print("\nThe splits differ: the validation figures are about different patients.")


def _export(settings: RunsSettings, found: _Found) -> None:
    if settings.output is None and settings.tracker is None:
        raise UsageError(
            "nothing to export to",
            where="output",
            remedy="add output=study.csv (.parquet, .json, .html) or tracker=wandb",
        )
    if not found.runs:
        raise DataRefused(
            "there is no run to export",
            where=", ".join(settings.where),
            remedy="see covidct runs ls with the same keys",
        )
    runs = found.runs[: settings.limit]
    title = settings.title or " and ".join(sorted({str(one.value("name") or one.path.name) for one in runs}))
    columns = None if settings.columns is None else [name.lstrip("+") for name in settings.columns]
    if settings.output is not None:
        path = Path(settings.output)
        if path.suffix == ".html":
            from covidct.evaluation.leaderboard import write_leaderboard

            write_leaderboard(
                runs, path, title=title, columns=columns, by=settings.by, unreadable=len(found.unreadable)
            )
        else:
            from covidct.evaluation.run_tables import long_table, wide_table, write_table

            write_table(long_table(runs) if settings.table == "long" else wide_table(runs, columns), path)
        say(f"{len(runs)} run(s): {path}")
    if settings.tracker is not None:
        _share(settings, runs, title, columns)
    _count_unreadable(found)


def _share(settings: RunsSettings, runs: Sequence[CataloguedRun], title: str, columns: list[str] | None) -> None:
    from covidct.training.study_tracking import share_study

    folder = runs[0].path.parent / ".studies" / re.sub(r"[^\w.-]+", "_", title)
    figures = [Path(name) for name in settings.figures]
    state = share_study(runs, folder=folder, title=title, columns=columns, project=settings.project, figures=figures)
    say(
        f"W&B: the study is {state}"
        + (f"; send it later: WANDB_ERROR_REPORTING=false wandb sync {folder}/wandb/*" if state == "offline" else "")
    )


_ACTIONS: dict[str, Callable[[RunsSettings, _Found], None]] = {
    "ls": _list,
    "best": _best,
    "show": _show,
    "diff": _diff,
    "export": _export,
}
