"""Test sets as the ledger knows them: how often each was looked at, whether it is sealed, and for whom it was opened.

A test set is the labelled slices of one site. It can be sealed: then nothing may be evaluated on it until the
configurations that will be are frozen, by the digest of their weights (pre-registration, for a test set).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from covidct.data.ledger import Entry, Ledger
from covidct.errors import IntegrityError, UsageError
from covidct.provenance import digest_json


class SealedSite(IntegrityError):
    """Training would spend a sealed test set."""


@dataclass(frozen=True)
class TestSet:
    """The slices of one site that a run is tested on.

    Args:
        site: The site.
        partition: "test/<name>" of a split, or "index" for all of another index.
        patients: How many patients.
        slices: How many slices.
        members: SHA-256 over the slices' keys and labels.
    """

    __test__ = False  # no test case, whatever a test runner makes of the name

    site: str
    partition: str
    patients: int
    slices: int
    members: str


@dataclass(frozen=True)
class Entrant:
    """A trained run as it comes before a test set.

    Args:
        run: The first characters of its identity.
        identity: Digest of everything that determines its result.
        configuration: Digest of the same without seed and repeat of the split: runs of one plan share it.
        weights: Digest of the weights.
    """

    run: str
    identity: str
    configuration: str
    weights: str


def test_sets(frame: pd.DataFrame, partitions: Mapping[str, Any]) -> list[TestSet]:
    """The test sets among some rows, one per partition and site.

    Args:
        frame: Accepted rows of a slice table.
        partitions: Name -> positions of its rows in `frame`.
    """
    found = []
    for partition, rows in sorted(partitions.items()):
        for site, group in frame.iloc[rows].groupby("site", sort=True):
            members = sorted(zip(group["slice_key"].astype(str), group["label"].astype(str), strict=True))
            patients = int(group["patient_key"].nunique())
            found.append(TestSet(str(site), partition, patients, len(group), digest_json(members)))
    return found


test_sets.__test__ = False  # type: ignore[attr-defined]  # as above


# --- seals ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seal:
    """Whether a set is sealed.

    Args:
        sealed: When.
        looks_before: Evaluations of the set before that.
        opened: When it was last opened since; None while it is closed.
        openings: How often it was opened since it was sealed first.
        frozen: Identity and weights of the runs that may be evaluated.
        reason: Why it was opened last, where that was said.
    """

    sealed: str
    looks_before: int
    opened: str | None
    openings: int
    frozen: tuple[tuple[str, str], ...]
    reason: str | None


def seal_of(entries: Sequence[Entry], site: str) -> Seal | None:
    """The seal on a site, or None where it was never sealed; a line without a site is about every site."""
    seal, openings, looks = None, 0, 0
    for entry in entries:
        if entry.kind == "evaluation":
            looks += entry.facts["site"] == site
        elif entry.facts["site"] not in (site, None):
            continue
        elif entry.kind == "seal":
            seal = Seal(entry.time, looks, None, openings, (), None)
        elif seal is not None:
            openings += 1
            frozen = tuple((run["identity"], run["weights"]) for run in entry.facts["runs"])
            seal = Seal(seal.sealed, seal.looks_before, entry.time, openings, frozen, entry.facts.get("reason"))
    return seal


def refuse_sealed(ledger: Ledger, sets: Sequence[TestSet], entrant: Entrant) -> None:
    """Refuse a run that a seal keeps out.

    Raises:
        IntegrityError: A set is sealed and not opened for this run with these weights, or a ledger was changed by hand.
    """
    for entries in ledger.all_entries():
        _refuse(entries, sets, entrant, ledger)


def _refuse(entries: Sequence[Entry], sets: Sequence[TestSet], entrant: Entrant, ledger: Ledger) -> None:
    for site in dict.fromkeys(one.site for one in sets):
        seal = seal_of(entries, site)
        if seal is None or (entrant.identity, entrant.weights) in seal.frozen:
            continue
        command = f"covidct ledger open index={ledger.index or ledger.folder} site={site} run=RUN"
        if seal.opened is None:
            what = f"the test set {site} is sealed since {seal.sealed}, and no configuration is frozen for it yet"
        else:
            what = (
                f"the test set {site} is sealed, and opened for {len(seal.frozen)} frozen run(s) only; "
                f"{entrant.run} is not among them"
            )
            command += ' reason="..."'
        raise IntegrityError(
            what,
            where=str(ledger.path),
            remedy=f"finish choosing by validation; then `{command}` freezes the run that may look, for "
            "everyone to see in the ledger",
        )


def refuse_training_on_sealed(entries: Sequence[Entry], sites: Iterable[str]) -> None:
    """Refuse to train or choose on a site that was sealed by name: that spends a test set as well as looking does.

    Args:
        entries: Every line of the ledger.
        sites: Sites of training and validation patients.

    Raises:
        SealedSite: One of them was sealed.
    """
    named = {entry.facts["site"] for entry in entries if entry.kind == "seal"}
    if sealed := sorted(named & set(sites)):
        raise SealedSite(
            f"{', '.join(sealed)} is a sealed test set, and its patients would be trained on",
            remedy=f"keep it out: split.external_sites=[{','.join(sealed)}]",
        )


def seal_site(ledger: Ledger, site: str | None) -> list[Entry]:
    """Seal a site, or with None every site of the index; returns every line of the ledger."""
    return ledger.append("seal", lambda _: [{"site": site}])


def open_site(
    ledger: Ledger, site: str | None, sites: Sequence[str], entrants: Sequence[Entrant], reason: str | None
) -> list[Entry]:
    """Open sealed sets for frozen runs; returns every line of the ledger.

    Args:
        ledger: The ledger.
        site: Which site; None for every site.
        sites: The sites that means.
        entrants: The runs that may be evaluated from now on, and no others.
        reason: Why the set is opened; needed where it was opened before.

    Raises:
        UsageError: A set is not sealed, or was opened before and no reason is given.
    """

    def make(entries: Sequence[Entry]) -> list[dict[str, Any]]:
        seals = {name: seal_of(entries, name) for name in sites}
        if free := [name for name, found in seals.items() if found is None]:
            raise UsageError(
                f"{', '.join(free)}: not sealed, so there is nothing to open", remedy="covidct ledger seal comes first"
            )
        if reason is None and (again := [name for name, found in seals.items() if found and found.openings]):
            raise UsageError(
                f"{', '.join(again)}: opened before; whoever reads the ledger will ask why again",
                where="reason",
                remedy='say it: reason="..." (it is kept in the ledger and printed in the report)',
            )
        return [{"site": site, "runs": [asdict(one) for one in entrants], "reason": reason}]

    return ledger.append("open", make)


# --- looks ------------------------------------------------------------------------------------------------------------


def enter(
    ledger: Ledger,
    sets: Sequence[TestSet],
    entrant: Entrant,
    *,
    results: Mapping[TestSet, str],
    facts: Mapping[str, Any],
) -> list[Entry]:
    """Write an evaluation down, before anybody sees what came out; returns every line of the ledger.

    Args:
        ledger: The ledger.
        sets: The sets that were predicted.
        entrant: The run.
        results: Digest of each set's predictions.
        facts: What else belongs to the look: `index`, `commit`, `dirty`, and `calling`, how slices and patients are
            called.

    Raises:
        IntegrityError: A set was sealed meanwhile.
    """

    def make(entries: Sequence[Entry]) -> list[dict[str, Any]]:
        _refuse(entries, sets, entrant, ledger)
        return [{**facts, **asdict(entrant), **asdict(one), "result": results[one]} for one in sets]

    return ledger.append("evaluation", make)


@dataclass(frozen=True)
class Looks:
    """How often a set was looked at.

    Args:
        evaluations: All lines about it.
        runs: Different looks: another run, other weights, or the same called in another way.
        configurations: Different configurations among them; seeds and repeats of one plan count once.
    """

    evaluations: int
    runs: int
    configurations: int

    @property
    def repeats(self) -> int:
        """Evaluations that showed nothing new: the same weights, called in the same way."""
        return self.evaluations - self.runs


def _configuration(entry: Entry) -> tuple[str, str]:
    return str(entry.facts["configuration"]), digest_json(entry.facts.get("calling"))


def looks_at(entries: Sequence[Entry], site: str) -> Looks:
    """Count the evaluations of a site."""
    lines = [entry for entry in entries if entry.kind == "evaluation" and entry.facts["site"] == site]
    runs = {(entry.facts["identity"], entry.facts["weights"], _configuration(entry)) for entry in lines}
    return Looks(len(lines), len(runs), len({_configuration(entry) for entry in lines}))


def evaluations_of(entries: Sequence[Entry], identity: str, earlier: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a run folder keeps of the ledger (`evaluations.json`): its own lines, and how often its sets were looked at.

    Args:
        entries: Every line of the ledger.
        identity: Of the run.
        earlier: The file as it was, which may be about other ledgers too.

    Returns:
        "schema"; "as_of": time of the last line; "lost": lines the run remembers and its ledger has no more; "sets":
        a list with "ledger" (digest of its first line), "site", "evaluations", "runs", "configurations", "repeats",
        "earlier_configurations" (others that looked before this run did), "seal" (as `Seal`, frozen as a count, or
        None) and "lines", this run's, without the handle of who wrote them.
    """
    name = entries[0].digest
    mine = [entry for entry in entries if entry.kind == "evaluation" and entry.facts["identity"] == identity]
    sets = []
    for site in dict.fromkeys(str(entry.facts["site"]) for entry in mine):
        here = [entry for entry in mine if entry.facts["site"] == site]
        looks, sealed = looks_at(entries, site), seal_of(entries, site)
        before = {
            _configuration(entry)
            for entry in entries[: here[0].number - 1]
            if entry.kind == "evaluation" and entry.facts["site"] == site
        } - {_configuration(entry) for entry in here}
        sets.append(
            {
                "ledger": name,
                "site": site,
                **asdict(looks),
                "repeats": looks.repeats,
                "earlier_configurations": len(before),
                "seal": None if sealed is None else {**asdict(sealed), "frozen": len(sealed.frozen)},
                "lines": [{"number": one.number, "digest": one.digest, "time": one.time, **one.facts} for one in here],
            }
        )
    old = list((earlier or {}).get("sets") or [])
    there, indexes = {entry.digest for entry in entries}, {entry.facts["index"] for entry in mine}
    # lines of this ledger, and of another one about the same index: that one was put in its place
    known = [line for one in old for line in one["lines"] if one["ledger"] == name or line["index"] in indexes]
    lost = {line["digest"]: line for line in [*((earlier or {}).get("lost") or []), *known]}
    lost = {digest: line for digest, line in lost.items() if digest not in there}
    kept = [one for one in old if one["ledger"] != name and all(line["digest"] not in lost for line in one["lines"])]
    return {"schema": 1, "as_of": entries[-1].time, "lost": list(lost.values()), "sets": [*kept, *sets]}
