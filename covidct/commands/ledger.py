"""`covidct ledger`: how often each test set was looked at; seal one until a configuration is frozen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covidct.commands.columns import print_columns
from covidct.commands.ledger_words import ACTIONS
from covidct.commands.progress import say
from covidct.data.ledger import FILE, Entry, Ledger, open_ledger
from covidct.data.test_sets import Entrant, looks_at, open_site, seal_of, seal_site
from covidct.errors import DataRefused, UsageError


@dataclass(frozen=True)
class LedgerSettings:
    """The keys of `conf/ledger.yaml`; their meaning stands there."""

    action: str
    index: str | None
    site: str | None
    run: list[str]
    reason: str | None
    ledger: dict[str, str | None]


def run(values: dict[str, Any]) -> None:
    """Run the verb."""
    runs = values["run"] if isinstance(values["run"], list) else [values["run"]]
    settings = LedgerSettings(**{**values, "run": [str(one) for one in runs]})
    if settings.action not in ACTIONS:
        raise UsageError(f"unknown action {settings.action!r}", where="action", remedy=f"use {', '.join(ACTIONS)}")
    _ACTIONS[settings.action](settings)


def ledger_at(index: Path, values: Mapping[str, Any]) -> Ledger:
    """The ledger of an index, by the section `ledger` of a verb's config.

    Raises:
        UsageError: The section has an unknown key.
    """
    if unknown := sorted(set(values) - {"folder", "who"}):
        raise UsageError(f"unknown key ledger.{unknown[0]}", remedy="known: ledger.folder, ledger.who")
    folder, who = values["folder"], values["who"]
    return open_ledger(index, folder=None if folder is None else str(folder), who=None if who is None else str(who))


def _show(settings: LedgerSettings) -> None:
    if settings.index is not None or settings.ledger["folder"] is not None:
        ledgers = [ledger_at(_folder(settings.index or str(settings.ledger["folder"])), settings.ledger)]
    else:
        ledgers = [Ledger(path.parent) for path in sorted(Path("indexes").glob(f"*/{FILE}"))]
        if not ledgers:
            print("no ledger in indexes/*: nothing was evaluated on a test set there; or say index=FOLDER")
    for number, ledger in enumerate(ledgers):
        print(f"{'' if number == 0 else chr(10)}{ledger.path}")
        _print(ledger.entries())


def _folder(index: str) -> Path:
    folder = Path(index)
    if not folder.exists():
        raise DataRefused("there is no such index", where=index, remedy="give index=FOLDER of an index")
    return folder


def _print(entries: Sequence[Entry]) -> None:
    if not entries:
        print("no line yet: no test set was looked at, and none is sealed")
        return
    header = ["", "time", "what", "site", "run", "configuration", "patients", "slices", "commit", "who"]
    print_columns(header, [_row(entry) for entry in entries])
    print()
    for site in _sites(entries):
        print(f"{site}: {_sentence(entries, site)}")


def _row(entry: Entry) -> list[Any]:
    facts = entry.facts
    row: list[Any] = [entry.number, entry.time, entry.kind, facts["site"] or "every site"]
    if entry.kind == "evaluation":
        commit = None if facts["commit"] is None else f"{facts['commit'][:7]}{'+' if facts['dirty'] else ''}"
        row += [facts["run"], facts["configuration"][:8], facts["patients"], facts["slices"], commit]
    else:
        row += [" ".join(str(one["run"]) for one in facts.get("runs", [])) or None, None, None, None, None]
    return [*row, entry.who]


def _sites(entries: Sequence[Entry]) -> list[str]:
    return sorted({entry.facts["site"] for entry in entries if entry.facts["site"] is not None})


def _sentence(entries: Sequence[Entry], site: str) -> str:
    looks, seal = looks_at(entries, site), seal_of(entries, site)
    text = f"evaluated {looks.evaluations} time(s), {looks.runs} run(s) of {looks.configurations} configuration(s)"
    if looks.repeats:
        text += f", {looks.repeats} repeat(s) that showed nothing new"
    if seal is None:
        return f"{text}; never sealed"
    if seal.opened is None:
        return f"{text}; sealed since {seal.sealed}, after {seal.looks_before} evaluation(s)"
    return (
        f"{text}; sealed {seal.sealed} after {seal.looks_before} evaluation(s), opened {seal.opened} for "
        f"{len(seal.frozen)} frozen run(s){'' if seal.openings == 1 else f', for the {seal.openings}. time'}"
    )


def _known_sites(settings: LedgerSettings) -> tuple[Path, list[str]]:
    """The index, and its sites that are meant."""
    from covidct.data.table import read_table

    if settings.index is None:
        raise UsageError("which test set?", where="index", remedy="add index=FOLDER, and site=NAME for one site of it")
    folder = _folder(settings.index)
    sites = sorted(str(site) for site in read_table(folder).accepted["site"].unique())
    if settings.site is None:
        return folder, sites
    if settings.site not in sites:
        raise UsageError(f"unknown site {settings.site!r}", where="site", remedy=f"the sites are {', '.join(sites)}")
    return folder, [settings.site]


def _seal(settings: LedgerSettings) -> None:
    folder, sites = _known_sites(settings)
    ledger = ledger_at(folder, settings.ledger)
    entries = seal_site(ledger, settings.site)
    for site in sites:
        looks = looks_at(entries, site)
        seen = (
            f" It is no unseen set any more: {looks.configurations} configuration(s) were evaluated on it before."
            if looks.evaluations
            else " Nothing was evaluated on it so far, as far as this ledger knows."
        )
        say(f"{site}: sealed.{seen}")
    say(f"covidct evaluate refuses it until `covidct ledger open index={settings.index} ... run=RUN`; {ledger.path}")


def _open(settings: LedgerSettings) -> None:
    if not settings.run:
        raise UsageError("for which run?", where="run", remedy="add run=runs/NAME, or several: run=[runs/A,runs/B]")
    folder, sites = _known_sites(settings)
    entrants = [_frozen(Path(name)) for name in settings.run]
    ledger = ledger_at(folder, settings.ledger)
    open_site(ledger, settings.site, sites, entrants, settings.reason)
    say(f"opened {', '.join(sites)} for {len(entrants)} frozen run(s), and no other:")
    for entrant in entrants:
        say(f"  {entrant.run}  weights {entrant.weights[:12]}  configuration {entrant.configuration[:8]}")
    say(f"written to {ledger.path}")


def _frozen(path: Path) -> Entrant:
    """A trained run with the weights that its predictions came from."""
    import yaml

    from covidct.evaluation.predictions import read_predictions
    from covidct.training.looks import entrant_of
    from covidct.training.runs import RunFolder
    from covidct.training.settings import TrainSettings, read_settings

    folder = RunFolder(path)
    if not folder.has_reached("trained"):
        folder.read()  # says so when it is no run folder at all
        raise DataRefused("this run is not finished: it has no weights to freeze", where=str(path))
    config = yaml.safe_load((path / "config.yaml").read_text(encoding="utf-8"))
    weights = read_predictions(folder.predictions).meta["weights_digest"]
    return entrant_of(folder, read_settings(TrainSettings, config), weights)


_ACTIONS: dict[str, Callable[[LedgerSettings], None]] = {"show": _show, "seal": _seal, "open": _open}
