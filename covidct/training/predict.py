"""A trained run reads scans nobody has labelled: slices and patients with probabilities, verdicts and refusals."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from covidct.data.quality import Rules
from covidct.data.table import SliceTable
from covidct.errors import DataRefused
from covidct.evaluation.patient import CONFLICT, NO_RESULT, any_slice, called_class, mean_probability
from covidct.files import read_json, replacing
from covidct.labels import ClassScheme
from covidct.training.runs import RunFolder
from covidct.training.scoring import TrainedRun, predict_rows

_WHICH = ["patient_key", "slice_key", "series_key", "slice_number", "position_mm"]


@dataclass(frozen=True)
class Prediction:
    """What a run says about scans that nobody has labelled.

    Args:
        slices: slice_key, patient_key, series_key, slice_number, position_mm, called, p_<class>. `called` is a class,
            or "no result" where the network gave no probabilities.
        patients: patient_key, n_slices, n_refused, the outcome of each rule, the mean probability of each class, and
            `why`: what led to a conflict or to no result. A patient none of whose slices could be used is there.
        conflicts: patient_key, disease, slice_key, series_key, slice_number, position_mm, probability: each slice that
            a conflict of the paper's rule is made of.
    """

    slices: pd.DataFrame
    patients: pd.DataFrame
    conflicts: pd.DataFrame

    @property
    def without_result(self) -> int:
        """Patients about whom no rule says anything."""
        rules = self.patients.columns.intersection(["any_slice", "mean_probability"])
        return int((self.patients[rules] == NO_RESULT).all(axis=1).sum())


def predict(run: TrainedRun, table: SliceTable, *, device: str) -> Prediction:
    """Predict every accepted slice of a table."""
    rows = np.arange(len(table.accepted), dtype=np.int64)
    probabilities = np.empty((0, len(run.scheme)))
    if len(rows):
        probabilities = predict_rows(run, table, rows, device=device, unknown=True).probabilities.astype(np.float64)
    return judge(table, probabilities, run.scheme)


def judge(table: SliceTable, probabilities: np.ndarray, scheme: ClassScheme) -> Prediction:
    """From probabilities to slices and patients; the rules and their ties are those of `covidct.evaluation.rules`.

    Args:
        table: The slice table.
        probabilities: float64 [accepted slices, K]. A row that is not finite is no result: of the slice, and of its
            patient, for the slice that is not known may be the one that shows the disease.
        scheme: The classes.
    """
    known = np.isfinite(probabilities).all(axis=1)
    probabilities = np.where(known[:, None], probabilities, np.nan)
    slices = table.accepted[["slice_key", "patient_key", "series_key", "slice_number", "position_mm"]].copy()
    called = np.full(len(slices), NO_RESULT, dtype=object)
    called[known] = np.array(scheme.names, dtype=object)[called_class(probabilities[known], scheme)]
    slices["called"] = called
    for column, name in enumerate(scheme.names):
        slices[f"p_{name}"] = probabilities[:, column]
    rejected = table.rejected
    patients, conflicts = [], []
    for key in sorted(set(slices["patient_key"]) | set(rejected["patient_key"].dropna())):
        own = slices[slices["patient_key"] == key]
        refused = rejected.loc[rejected["patient_key"] == key, "reason"].value_counts()
        row, seen = _patient(own, probabilities[own.index.to_numpy()], refused, scheme)
        patients.append({"patient_key": key, **row})
        for disease, places in seen.items():
            part = own.iloc[list(places)]
            conflicts.append(part[_WHICH].assign(disease=disease, probability=part[f"p_{disease}"]))
    columns = ["patient_key", "disease", *_WHICH[1:], "probability"]
    listed = pd.concat(conflicts, ignore_index=True)[columns] if conflicts else pd.DataFrame(columns=columns)
    return Prediction(slices, pd.DataFrame(patients), listed)


def _patient(
    slices: pd.DataFrame, probabilities: np.ndarray, refused: pd.Series, scheme: ClassScheme
) -> tuple[dict[str, object], dict[str, tuple[int, ...]]]:
    """The row of a patient, and for a conflict the positions of each disease's slices."""
    row: dict[str, object] = {"n_slices": len(slices), "n_refused": int(refused.sum())}
    mean, seen, why = mean_probability(probabilities, scheme), {}, ""
    if scheme.normal is not None:
        paper = any_slice(probabilities, scheme)
        row["any_slice"] = paper.outcome
        if paper.outcome == CONFLICT:
            seen = paper.slices
            why = ", ".join(f"{name} in {len(places)} of {len(slices)} slices" for name, places in seen.items())
    row["mean_probability"] = mean.outcome
    if not len(slices):
        why = "no usable slice: " + "; ".join(f"{reason} ({count})" for reason, count in sorted(refused.items()))
    elif unknown := int(np.isnan(probabilities).any(axis=1).sum()):
        why = f"{unknown} of {len(slices)} slices without probabilities"
    row |= {f"p_{name}": mean.scores[column] for column, name in enumerate(scheme.names)}
    return row | {"why": why}, seen


def write_prediction(output: Path, prediction: Prediction, table: SliceTable) -> None:
    """Write slices.csv, patients.csv, conflicts.csv and refused.csv (pseudonyms only) and files.csv, which ties them to
    your files.

    files.csv holds relative paths, which may name patients; it is readable by its owner only and must stay with the
    scans.
    """
    output.mkdir(parents=True, exist_ok=True)
    tables = {
        "slices": prediction.slices,
        "patients": prediction.patients,
        "conflicts": prediction.conflicts,
        "refused": table.rejected[["patient_key", "reason"]],
        "files": table.frame[["slice_key", "patient_key", "path", "accepted", "reason"]],
    }
    for name, frame in tables.items():
        with replacing(output / f"{name}.csv") as temporary:
            frame.to_csv(temporary, index=False)
        if name == "files":
            (output / "files.csv").chmod(0o600)


def study_rules(folder: RunFolder) -> Rules:
    """The rules by which the index that the run was trained on chose patients and slices.

    Raises:
        DataRefused: participants.json is missing or damaged.
    """
    return Rules.from_dict(read_json(folder.path / "participants.json").get("study") or {})


def check_units(run: TrainedRun, table: SliceTable) -> None:
    """Refuse pictures without Hounsfield units for a run that was trained on windows, and the reverse."""
    expected = "HU" if run.settings.data.windows else "gray8"
    if strange := sorted(set(table.accepted["units"]) - {expected}):
        raise DataRefused(f"the run was trained on {expected} slices, the input has {', '.join(strange)}")
