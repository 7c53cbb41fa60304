"""A trained run reads scans nobody has labelled: slices and patients with probabilities, verdicts and refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from covidct.data.table import SliceTable
from covidct.errors import DataRefused
from covidct.evaluation.patient import any_slice, called_class, mean_probability
from covidct.files import replacing
from covidct.labels import ClassScheme
from covidct.training.scoring import TrainedRun, predict_rows


def predict(run: TrainedRun, table: SliceTable, *, device: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predict every accepted slice of a table.

    Returns:
        Slices: slice_key, patient_key, series_key, slice_number, position_mm, called, p_<class>. Patients: patient_key,
        n_slices, n_refused, the outcome of each rule and the mean probability of each class. A patient none of whose
        slices could be used is there with "no result".
    """
    rows = np.arange(len(table.accepted), dtype=np.int64)
    probabilities = np.empty((0, len(run.scheme)))
    if len(rows):
        probabilities = predict_rows(run, table, rows, device=device).probabilities.astype(np.float64)
    slices = table.accepted[["slice_key", "patient_key", "series_key", "slice_number", "position_mm"]].copy()
    slices["called"] = [run.scheme.names[column] for column in called_class(probabilities, run.scheme)]
    for column, name in enumerate(run.scheme.names):
        slices[f"p_{name}"] = probabilities[:, column]
    return slices, _patients(slices, table, run.scheme)


def _patients(slices: pd.DataFrame, table: SliceTable, scheme: ClassScheme) -> pd.DataFrame:
    refused = table.rejected["patient_key"].dropna().value_counts()
    columns = [f"p_{name}" for name in scheme.names]
    rows = []
    for key in sorted(set(slices["patient_key"]) | set(refused.index)):
        probabilities = slices.loc[slices["patient_key"] == key, columns].to_numpy(dtype=np.float64)
        mean = mean_probability(probabilities, scheme)
        row: dict[str, object] = {
            "patient_key": key, "n_slices": len(probabilities), "n_refused": int(refused.get(key, 0))
        }  # fmt: skip
        if scheme.normal is not None:
            row["any_slice"] = any_slice(probabilities, scheme).outcome
        row["mean_probability"] = mean.outcome
        rows.append(row | {f"p_{name}": mean.scores[column] for column, name in enumerate(scheme.names)})
    return pd.DataFrame(rows)


def write_prediction(output: Path, slices: pd.DataFrame, patients: pd.DataFrame, table: SliceTable) -> None:
    """Write slices.csv, patients.csv and refused.csv (pseudonyms only) and files.csv, which ties them to your files.

    files.csv holds relative paths, which may name patients; it is readable by its owner only and must stay with the
    scans.
    """
    output.mkdir(parents=True, exist_ok=True)
    refused = table.rejected[["patient_key", "reason"]]
    files = table.frame[["slice_key", "patient_key", "path", "accepted", "reason"]]
    for name, frame in (("slices", slices), ("patients", patients), ("refused", refused), ("files", files)):
        with replacing(output / f"{name}.csv") as temporary:
            frame.to_csv(temporary, index=False)
        if name == "files":
            (output / "files.csv").chmod(0o600)


def check_units(run: TrainedRun, table: SliceTable) -> None:
    """Refuse pictures without Hounsfield units for a run that was trained on windows, and the reverse."""
    expected = "HU" if run.settings.data.windows else "gray8"
    if strange := sorted(set(table.accepted["units"]) - {expected}):
        raise DataRefused(f"the run was trained on {expected} slices, the input has {', '.join(strange)}")
