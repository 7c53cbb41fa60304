"""Attribution over many slices: means, ratios and differences with intervals whose unit is the patient.

A mean over slices is a sum over patients, so its spread follows from what each patient adds to it (ratio estimator,
linearised), with Student's t for patients - 1. Fewer than 10 patients: no interval.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from covidct.evaluation.explanations.attribution import REGIONS
from covidct.evaluation.influence import LEAST_VARIANCE, clustered_variance, logit_t, share_influence
from covidct.evaluation.intervals import (
    FEW_PATIENTS,
    LEAST_PATIENTS,
    LEVEL,
    NO_SPREAD,
    TOO_FEW,
    UNDEFINED,
    Interval,
    proportion,
)

LOGIT_T = "logit_t_by_patient"
LOG_T = "log_t_by_patient"
STUDENT_T = "t_by_patient"

Ends = tuple[float, float] | None


def patients_of(table: pd.DataFrame) -> np.ndarray:
    """Numbers of the patients of rows, [n] from 0; a patient is the pair (site, patient_key)."""
    return np.asarray(table.groupby(["site", "patient_key"], sort=True).ngroup().to_numpy())


def mean_share(values: np.ndarray, patient: np.ndarray) -> Interval:
    """Mean of shares in 0..1 over slices, interval on the logit scale.

    Args:
        values: float [n], NaN where undefined: left out.
        patient: int [n].
    """
    sums, counts = _by_patient(values, patient)
    if not len(counts):
        return _undefined()
    value = float(sums.sum() / counts.sum())
    influence = share_influence(sums, counts)
    found = logit_t(value, influence, np.zeros(len(counts), int), df=len(counts) - 1) if len(counts) > 1 else None
    return _interval(value, found, LOGIT_T, len(counts))


def mean_value(values: np.ndarray, patient: np.ndarray) -> Interval:
    """Mean of any numbers over slices, interval on their own scale. Arguments as `mean_share`."""
    sums, counts = _by_patient(values, patient)
    if not len(counts):
        return _undefined()
    value = float(sums.sum() / counts.sum())
    half = _half(share_influence(sums, counts))
    return _interval(value, None if half is None else (value - half, value + half), STUDENT_T, len(counts))


def ratio(above: np.ndarray, below: np.ndarray, patient: np.ndarray) -> Interval:
    """Mean of `above` over mean of `below`, interval on the log scale: 1 says no more than the area does.

    Args:
        above: float [n] >= 0, NaN where undefined: left out of both.
        below: float [n] >= 0.
        patient: int [n].
    """
    there = np.isfinite(above) & np.isfinite(below)
    tops, counts = _by_patient(np.where(there, above, np.nan), patient)
    lows, _ = _by_patient(np.where(there, below, np.nan), patient)
    if not len(counts) or lows.sum() <= 0:
        return _undefined()
    value = float(tops.sum() / lows.sum())
    found: Ends = None
    if value > 0:
        half = _half(tops / tops.sum() - lows / lows.sum())
        found = None if half is None else (value * math.exp(-half), value * math.exp(half))
    return _interval(value, found, LOG_T, len(counts))


def regions_summary(table: pd.DataFrame) -> dict[str, Any]:
    """Every region's shares over a sample of slices.

    Args:
        table: One row per slice: site, patient_key and the columns of `attribution.scores`.

    Returns:
        Region -> `attribution`, `area`, `blob` (mean shares), `enrichment` (attribution / area), `over_blob`
        (attribution - blob), n_slices and n_patients; for the lesion also `hit`, `hit_blob` (pointing game) and
        `hit_chance` (area). None for a region no slice has.
    """
    patient = patients_of(table)
    found: dict[str, Any] = {}
    for region in REGIONS:
        if f"{region}_map" not in table or not table[f"{region}_map"].notna().any():
            found[region] = None
            continue
        mine, area, blob = (_numbers(table, f"{region}_{kind}") for kind in ("map", "area", "blob"))
        counted = np.isfinite(mine)
        found[region] = {
            "attribution": mean_share(mine, patient).as_dict(),
            "area": mean_share(area, patient).as_dict(),
            "blob": mean_share(blob, patient).as_dict(),
            "enrichment": ratio(mine, area, patient).as_dict(),
            "over_blob": mean_value(mine - blob, patient).as_dict(),
            "n_slices": int(counted.sum()),
            "n_patients": len(np.unique(patient[counted])),
        }
        if region == "lesion":
            for name, column in (("hit", "lesion_hit"), ("hit_blob", "lesion_hit_blob")):
                values = _numbers(table, column)
                sums, counts = _by_patient(values, patient)
                found[region][name] = proportion(sums, counts).as_dict()
            found[region]["hit_chance"] = found[region]["area"]["value"]
    return found


def _numbers(table: pd.DataFrame, column: str) -> np.ndarray:
    return pd.to_numeric(table[column].astype(object), errors="coerce").to_numpy(dtype=np.float64)


def _by_patient(values: np.ndarray, patient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of defined values of each patient who has any."""
    there = np.isfinite(values)
    _, number = np.unique(patient[there], return_inverse=True)
    return np.bincount(number, weights=values[there]), np.bincount(number).astype(np.float64)


def _half(influence: np.ndarray) -> float | None:
    if len(influence) < 2:
        return None
    variance = clustered_variance(influence, np.zeros(len(influence), int))
    if variance < LEAST_VARIANCE:
        return None
    return float(stats.t.ppf((1 + LEVEL) / 2, len(influence) - 1)) * math.sqrt(variance)


def _interval(value: float, found: Ends, method: str, patients: int) -> Interval:
    few = patients < FEW_PATIENTS
    if patients < LEAST_PATIENTS:
        return Interval(value, None, None, TOO_FEW, patients, few)
    if found is None:
        return Interval(value, None, None, NO_SPREAD, patients, few)
    return Interval(value, *found, method, patients, few)


def _undefined() -> Interval:
    return Interval(None, None, None, UNDEFINED, 0, True)
