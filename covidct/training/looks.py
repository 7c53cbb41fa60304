"""A trained run comes before a test set: it is let in or kept out by the seal, and its look is written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.data.ledger import Ledger
from covidct.data.table import SliceTable
from covidct.data.test_sets import Entrant, TestSet, enter, evaluations_of, refuse_sealed, test_sets
from covidct.errors import IntegrityError
from covidct.evaluation.predictions import Predictions
from covidct.files import read_json, write_json
from covidct.provenance import code_state, digest_json
from covidct.training.runs import RunFolder, configuration
from covidct.training.settings import TrainSettings

if TYPE_CHECKING:  # it needs torch, and `covidct ledger` does not
    from covidct.training.scoring import TrainedRun

EVALUATIONS = "evaluations.json"
"""What a run folder keeps of the ledgers: see `covidct.data.test_sets.evaluations_of`."""


def entrant_of(folder: RunFolder, settings: TrainSettings, weights: str) -> Entrant:
    """A run as the ledger knows it; `weights` is the digest of its network's weights."""
    record = folder.read()
    index = str(read_json(folder.path / "split.json")["index_digest"])
    return Entrant(
        run=str(record["run"]),
        identity=str(record["identity"]),
        configuration=configuration(settings, index_digest=index, start=record.get("weights") or {}),
        weights=weights,
    )


def may_look(ledger: Ledger, table: SliceTable, tests: Mapping[str, np.ndarray], entrant: Entrant) -> list[TestSet]:
    """The test sets that a run is about to be evaluated on, once it is known that it may and that it can be recorded.

    Args:
        ledger: The ledger of the index.
        table: The index.
        tests: Partition -> rows of `table.accepted`.
        entrant: The run.

    Raises:
        IntegrityError: A set is sealed and not opened for this run, or the ledger was changed by hand.
        ResourceError: The ledger cannot be written to.
    """
    sets = test_sets(table.accepted, tests)
    if sets:
        refuse_sealed(ledger, sets, entrant)
        ledger.make_ready()
    return sets


def keep_seal(run: TrainedRun, table: SliceTable, ledger: Ledger, partition: str) -> None:
    """Keep other looks at test slices (an audit, explanations) behind the same seal; they are not counted.

    Args:
        run: The run.
        table: Its own index.
        ledger: The ledger of that index.
        partition: Of the slices that will be looked at; "val" is never sealed.

    Raises:
        IntegrityError: A test set of the run is sealed and not opened for it.
    """
    if partition == "val" or table.digest != run.split.index_digest:
        return
    tests = {name: rows for name, rows in run.split.rows(table).items() if name.startswith("test/")}
    try:
        refuse_sealed(
            ledger, test_sets(table.accepted, tests), entrant_of(run.folder, run.settings, run.module.digest())
        )
    except IntegrityError as error:
        remedy = f"partition=val looks at validation slices instead; or {error.remedy}"
        raise IntegrityError(error.what, where=error.where, remedy=remedy) from None


def record_look(
    ledger: Ledger,
    sets: Sequence[TestSet],
    entrant: Entrant,
    predictions: Predictions,
    *,
    folder: RunFolder,
    index_digest: str,
    calling: Mapping[str, Any],
) -> None:
    """Write the look into the ledger, and what the ledger now says into the run folder.

    Args:
        ledger: The ledger of the index.
        sets: From `may_look`.
        entrant: The run.
        predictions: Of at least the slices of these sets.
        folder: The run folder.
        index_digest: Of the index that was predicted.
        calling: How slices and patients are called: the same weights called in another way are another look.
    """
    if not sets:
        return
    facts = {"index": index_digest, **code_state(), "calling": dict(calling)}
    results = {one: _digest(predictions, one.site) for one in sets}
    entries = enter(ledger, sets, entrant, results=results, facts=facts)
    kept = folder.path / EVALUATIONS
    earlier = read_json(kept) if kept.is_file() else None
    write_json(kept, evaluations_of(entries, entrant.identity, earlier))


def _digest(predictions: Predictions, site: str) -> str:
    """SHA-256 over what was predicted on a site: slices and their probabilities to six digits."""
    frame = predictions.frame
    rows = frame[(frame["split"] == "test") & (frame["site"] == site)].sort_values("slice_key")
    columns = [f"p_{name}" for name in predictions.scheme.names]
    values = np.round(rows[columns].to_numpy(dtype=float), 6).tolist()
    return digest_json([list(pair) for pair in zip(rows["slice_key"].astype(str), values, strict=True)])
