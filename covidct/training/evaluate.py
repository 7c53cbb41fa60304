"""A trained run meets slices it has never been near: its own test sets, or another hospital's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from covidct.data.ledger import Ledger
from covidct.data.splits import known_pictures, verify_split
from covidct.data.table import SliceTable
from covidct.errors import DataRefused, IntegrityError
from covidct.evaluation.operating_point import Criterion
from covidct.evaluation.predictions import Predictions, read_predictions
from covidct.files import write_json
from covidct.training.assemble import loggers_of
from covidct.training.looks import entrant_of, may_look, record_look
from covidct.training.results import settle_before_testing, write_unseen
from covidct.training.scoring import TrainedRun, origin, predict_rows, predictions_table, publish
from covidct.training.speed import SPEED, measure_speed
from covidct.training.tracking import close_loggers, log_evaluation, log_files
from covidct.training.unseen_patients import patients_without_slices


def evaluate(
    run: TrainedRun,
    table: SliceTable,
    *,
    slice_threshold: float | None,
    device: str,
    say: Callable[[str], None],
    ledger: Ledger,
    criterion: Criterion | None = None,
) -> Predictions:
    """Predict, then write predictions, metrics, figures and the report.

    With the run's own index, validation and test partitions of its split are predicted. With any other index all its
    labelled slices are one more test set, added to what was predicted before.

    Raises:
        DataRefused: There is nothing to test on.
        IntegrityError: The other index shares slices or patients with the run's development data, a test set is
            sealed, or the operating point was edited or frozen otherwise than is asked for.
        ResourceError: The ledger cannot be written to: no look goes unrecorded.
    """
    is_own = table.digest == run.split.index_digest
    partitions = _own_partitions(run, table) if is_own else _foreign_partition(run, table)
    entrant = entrant_of(run.folder, run.settings, run.module.digest())
    sets = may_look(ledger, table, _test_rows(run, table) if is_own else {"index": partitions["test"]}, entrant)
    settle_before_testing(run.folder, criterion)
    rows = np.unique(np.concatenate(list(partitions.values())))
    say(f"predicting {len(rows)} slices")
    found = predict_rows(run, table, rows, device=device, say=say if is_own else None)
    predictions = predictions_table(
        found, table, partitions, run.scheme, origin(run.folder, run.split, run.module, table)
    )
    with run.folder.lock(say):
        calling = {"slice_threshold": slice_threshold}
        record_look(ledger, sets, entrant, predictions, folder=run.folder, index_digest=table.digest, calling=calling)
        if not is_own:
            predictions = _added(run, predictions)
        write_json(run.folder.path / SPEED, measure_speed(run, table, rows, device=device))
        unseen = patients_without_slices(table, run.split if is_own else None, run.scheme.names)
        write_unseen(run.folder, unseen, add=not is_own)
        summary, figures = publish(
            run.folder, predictions, table, run.settings, slice_threshold=slice_threshold, criterion=criterion
        )
        run.folder.write(state="evaluated")
        identity = str(run.folder.read()["identity"])
        loggers = loggers_of(run.settings, run.folder.path, identity, run.split.repeat, job_type="evaluate")
        try:
            log_evaluation(loggers, summary, figures)
            log_files(loggers, [run.folder.predictions])
        finally:
            close_loggers(loggers)
    return predictions


def _own_partitions(run: TrainedRun, table: SliceTable) -> dict[str, np.ndarray]:
    verify_split(run.split, table)
    partitions = {"val": run.split.rows(table)["val"]}
    if tests := _test_rows(run, table):
        partitions["test"] = np.sort(np.concatenate(list(tests.values())))
    return partitions


def _test_rows(run: TrainedRun, table: SliceTable) -> dict[str, np.ndarray]:
    return {name: part for name, part in run.split.rows(table).items() if name.startswith("test/")}


def _foreign_partition(run: TrainedRun, table: SliceTable) -> dict[str, np.ndarray]:
    if table.classes is None or not set(table.classes.names) <= set(run.scheme.names):
        names = None if table.classes is None else list(table.classes.names)
        raise DataRefused(f"the index has the classes {names}, the run {list(run.scheme.names)}")
    frame = table.accepted
    known = set(run.split.train) | set(run.split.val)
    column = "slice_key" if run.split.unit == "image" else "patient_key"
    if shared := known & set(frame[column]):
        raise IntegrityError(
            f"{len(shared)} {column.removesuffix('_key')}(s) of this index were in training or validation",
            remedy="test on data the run has never seen",
        )
    if seen := int(known_pictures(run.split, frame).sum()):  # under another pseudonym key nobody has the same name
        raise IntegrityError(
            f"{seen} pictures of this index were in training or validation, under other pseudonyms",
            remedy="test on data the run has never seen",
        )
    labelled = np.flatnonzero(frame["label"].notna().to_numpy())
    if not len(labelled):
        raise DataRefused("the index has no labelled slice", remedy="for unlabelled scans use covidct predict")
    return {"test": labelled}


def _added(run: TrainedRun, fresh: Predictions) -> Predictions:
    """What was predicted before, with the new slices in place of older predictions of the same."""
    before = read_predictions(run.folder.predictions, scheme=run.scheme)
    kept = before.frame[~before.frame["slice_key"].isin(fresh.frame["slice_key"])]
    indexes = [str(before.meta.get("index_digest")), str(fresh.meta["index_digest"])]
    meta = {**fresh.meta, "index_digest": "+".join(dict.fromkeys(indexes))}
    return replace(fresh, frame=pd.concat([kept, fresh.frame], ignore_index=True), meta=meta)
