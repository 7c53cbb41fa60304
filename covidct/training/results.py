"""Everything that follows from a run's predictions table: no scans, no network, no GPU, no torch.

Order: the operating point (frozen, from validation rows), metrics, what the number of slices does to patient rules,
calibration, figures, report. `derived.json` says which predictions they were made from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covidct.errors import CovidctError, IntegrityError
from covidct.evaluation.calibration import calibrate
from covidct.evaluation.operating import choose_operating_point
from covidct.evaluation.operating_point import (
    CHOOSE_AGAIN,
    FILE,
    Criterion,
    OperatingPoint,
    read_operating_point,
    write_operating_point,
)
from covidct.evaluation.patient import PATIENT
from covidct.evaluation.predictions import Predictions, probability_columns, read_predictions
from covidct.evaluation.report import write_report
from covidct.evaluation.slices_per_patient import save_slices_per_patient
from covidct.evaluation.summary import summarize
from covidct.files import read_json, write_json
from covidct.provenance import digest_file
from covidct.training.runs import RunFolder

DERIVED = "derived.json"
VERSION = 1
"""Of what is derived: with a higher number `covidct report` makes the figures of an older run again."""

UNSEEN = "patients_without_slices.json"
"""Patients of a test set none of whose slices could be used: pseudonym, site, partition and label."""

NOISE = 0.01
"""Probabilities of the same slices and weights differ by less than this from one device and precision to another."""


def redo_report(
    run: RunFolder, *, slice_threshold: float | None = None, replicates: int = 500
) -> tuple[dict[str, Any], dict[str, Path]]:
    """Operating point, metrics, calibration, figures and report.html from the predictions table.

    Returns:
        The content of metrics.json, and the charts by name.

    Raises:
        IntegrityError: The operating point was edited, or was chosen on other validation predictions.
    """
    predictions = read_predictions(run.predictions)
    point = settle(run, predictions)
    summary = summarize(
        predictions,
        slice_threshold=slice_threshold,
        replicates=replicates,
        patients=read_unseen(run),
        operating=point,
    )
    write_json(run.path / "metrics.json", summary)
    save_slices_per_patient(run.path, predictions, point)
    write_json(run.path / "calibration.json", calibrate(predictions, replicates=replicates))
    write_report(run.path)
    write_json(
        run.path / DERIVED,
        {"version": VERSION, "predictions": digest_file(run.predictions), "unseen": _digest(run.path / UNSEEN)},
    )
    # pictures of scans stay here: text burned into one could name a patient, and trackers are other people's machines
    charts = [path for path in sorted((run.path / "figures").glob("*.png")) if path.stem != "mistakes"]
    return summary, {path.stem: path for path in charts}


def refresh_report(run: RunFolder) -> Path:
    """Write report.html; what follows from the predictions and is missing, or was made from others, is made first.

    The slice threshold and the number of replicates are those of the run's metrics.json.

    Raises:
        DataRefused: The folder has no predictions.
        IntegrityError: See `redo_report`.
    """
    if run.predictions.is_file() and _is_stale(run):
        threshold, replicates = None, 500
        if (run.path / "metrics.json").is_file():
            before = read_json(run.path / "metrics.json")
            threshold = before.get("rule", {}).get("slice_threshold")
            replicates = int(before.get("interval", {}).get("replicates") or replicates)
        redo_report(run, slice_threshold=threshold, replicates=replicates)
        return run.path / "report.html"
    if run.predictions.is_file():
        settle(run, read_predictions(run.predictions))
    return write_report(run.path)


def _is_stale(run: RunFolder) -> bool:
    made = run.path / DERIVED
    if not all((run.path / name).is_file() for name in (DERIVED, "metrics.json", "calibration.json")):
        return True
    found = read_json(made)
    if not isinstance(found, dict) or found.get("version") != VERSION:
        return True
    current = (digest_file(run.predictions), _digest(run.path / UNSEEN))
    return (found.get("predictions"), found.get("unseen")) != current or (
        read_json(run.path / "metrics.json").get("operating_point") is not None and not (run.path / FILE).is_file()
    )


def _digest(path: Path) -> str | None:
    return digest_file(path) if path.is_file() else None


# --- the operating point ----------------------------------------------------------------------------------------------


def settle(
    run: RunFolder, predictions: Predictions, asked: Criterion | None = None, *, tested: bool = True
) -> OperatingPoint | None:
    """The frozen operating point of a run; chosen and written where there is none yet.

    Args:
        run: The run folder.
        predictions: Of the run; only validation rows are used.
        asked: By which criterion to choose; None: whichever was used, or the default.
        tested: Whether test slices of this run have been predicted before. If not, another criterion may still be
            asked for.

    Returns:
        None if there are no validation rows and no frozen point.

    Raises:
        IntegrityError: The file was edited, was chosen on other validation predictions, or by another criterion than
            is asked for now.
    """
    point = read_operating_point(run.path)
    if point is None and not (predictions.frame["split"] == "val").any():
        return None
    if point is not None:
        point.check(predictions)
        if asked is None or asked == point.criterion:
            return point
        if tested:
            raise IntegrityError(
                f"the operating point was frozen by {_said(point.criterion)} and the test set was seen since; "
                f"{_said(asked)} is asked for now",
                where=FILE,
                remedy=CHOOSE_AGAIN,
            )
    after_test = tested and bool((predictions.frame["split"] == "test").any())
    point = choose_operating_point(predictions, asked, after_test=after_test)
    write_operating_point(run.path, point)
    return point


def _said(criterion: Criterion) -> str:
    return f"{criterion.name} (sensitivity {criterion.sensitivity:g})"


def settle_before_testing(run: RunFolder, asked: Criterion | None) -> None:
    """Freeze the operating point from the validation predictions at hand, before a test slice is predicted.

    Raises:
        IntegrityError: See `settle`.
    """
    before = _before(run)
    if before is not None:
        settle(run, before, asked, tested=bool((before.frame["split"] == "test").any()))


def _before(run: RunFolder) -> Predictions | None:
    """The predictions that a run has; None where there are none, or none that can be read (they will be replaced)."""
    try:
        return read_predictions(run.predictions)
    except CovidctError:
        return None


def prepare(run: RunFolder, predictions: Predictions, asked: Criterion | None) -> Predictions:
    """Settle the operating point before a new predictions table takes the place of the old one.

    A training that has just ended begins anew. Later, validation slices are predicted again, perhaps on another
    device: where slices, labels and weights are the same and probabilities differ by rounding only, the rows that the
    operating point was frozen on stay.

    Returns:
        The predictions to write.

    Raises:
        IntegrityError: See `settle`; nothing was written.
    """
    before = _before(run) if run.has_reached("trained") else None
    if not run.has_reached("trained"):
        (run.path / FILE).unlink(missing_ok=True)
    predictions = _steady(before, predictions)
    settle(run, predictions, asked, tested=before is None or bool((before.frame["split"] == "test").any()))
    return predictions


def _steady(before: Predictions | None, fresh: Predictions) -> Predictions:
    weights = "weights_digest"
    if before is None or before.scheme != fresh.scheme or before.meta.get(weights) != fresh.meta.get(weights):
        return fresh
    columns = probability_columns(fresh.scheme)
    same = ["slice_key", "series_key", "slice_number", "label", "site", "patient_key"]
    one, two = (frame[frame["split"] == "val"].sort_values("slice_key") for frame in (before.frame, fresh.frame))
    if len(one) != len(two) or not np.array_equal(one[same].to_numpy(str), two[same].to_numpy(str)):
        return fresh
    if not np.allclose(one[columns].to_numpy(), two[columns].to_numpy(), rtol=0, atol=NOISE):
        return fresh
    frame = fresh.frame.copy()
    frame.loc[two.index, columns] = one[columns].to_numpy()
    return Predictions(frame, fresh.scheme, fresh.meta)


# --- patients without a slice -----------------------------------------------------------------------------------------


def write_unseen(run: RunFolder, patients: pd.DataFrame, *, add: bool) -> None:
    """Keep the patients of a test set none of whose slices could be used.

    Args:
        run: The run folder.
        patients: Columns split, site, patient_key, label.
        add: Keep those of earlier evaluations too.
    """
    before = read_unseen(run) if add else None
    found = patients[[*PATIENT, "label"]]
    if before is not None:
        found = pd.concat([before, found], ignore_index=True)
    found = found.drop_duplicates(PATIENT, keep="last").sort_values(PATIENT, ignore_index=True)
    write_json(run.path / UNSEEN, {"schema": 1, "patients": found.astype(str).to_dict("records")})


def read_unseen(run: RunFolder) -> pd.DataFrame | None:
    """The patients of `write_unseen`; None where none were written down (runs of older versions).

    Raises:
        IntegrityError: The file is not such a list.
    """
    path = run.path / UNSEEN
    if not path.is_file():
        return None
    value = read_json(path)
    columns = [*PATIENT, "label"]
    rows = value.get("patients") if isinstance(value, dict) and value.get("schema") == 1 else None
    if not isinstance(rows, list) or any(not isinstance(row, dict) or set(row) != set(columns) for row in rows):
        raise IntegrityError(
            "not a list of patients without slices",
            where=UNSEEN,
            remedy="evaluate the run again with `covidct evaluate`",
        )
    return pd.DataFrame(rows, columns=columns)
