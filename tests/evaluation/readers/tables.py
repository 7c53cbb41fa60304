"""Tables of reads with known content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from covidct.evaluation.predictions import Predictions


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A table of reads; what a row lacks is empty."""
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def patients(predictions: Predictions) -> pd.DataFrame:
    """site, patient_key and label of every test patient."""
    frame = predictions.frame[predictions.frame["split"] == "test"]
    return frame[["site", "patient_key", "label"]].drop_duplicates().reset_index(drop=True)


def perfect(predictions: Predictions, reader: str = "01", **more: Any) -> list[dict[str, Any]]:
    """A reader who is always right."""
    return [
        {"reader": reader, "case": row.patient_key, "site": row.site, "class": row.label, **more}
        for row in patients(predictions).itertuples()
    ]
