"""From the predictions table to `calibration.json`: may the probabilities be believed, and what follows from them.

Whatever is chosen (temperature, conformal quantile, referral threshold) is chosen on validation rows alone and looked
at on test rows, each hospital first and all together last. Raw probabilities come first everywhere; what scaling would
make of them stands beside them.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from covidct.errors import UsageError
from covidct.evaluation.calibration.agreement import SIMULATIONS, agreement
from covidct.evaluation.calibration.cases import LEVELS, Cases, cases_of
from covidct.evaluation.calibration.conformal import choose_quantiles, coverage
from covidct.evaluation.calibration.decision import decision_curve
from covidct.evaluation.calibration.prevalence import prevalence_table
from covidct.evaluation.calibration.referral import referral, referral_thresholds
from covidct.evaluation.calibration.temperature import Temperature, fit_temperature, scaled
from covidct.evaluation.intervals import LEVEL, PatientBootstrap
from covidct.evaluation.predictions import Predictions, verify

SCHEMA_VERSION = 1
POOLED = "(pooled)"


def calibrate(
    predictions: Predictions,
    *,
    replicates: int = 500,
    seed: int = 0,
    prevalences: Sequence[float] = (0.001, 0.01, 0.05, 0.2),
) -> dict[str, Any]:
    """Compute everything that the report's section on calibration shows.

    Args:
        predictions: The slices. Rows of "val" choose, rows of "test" are looked at.
        replicates: Bootstrap replicates of patients, two or more.
        seed: Of bootstrap and simulations. The result does not depend on the order of the rows.
        prevalences: Shares of patients with the positive class, in 0..1, at which PPV and NPV are stated.

    Returns:
        {"schema", "classes", "interval": {"level", "replicates", "simulations", "seed"}, "temperature": {level:
        `Temperature.as_dict`}, "conformal": {level: as from `choose_quantiles`}, "referral": {level: as from
        `referral_thresholds`}, "blocks": [...]}. A block has `split` ("test"), `site` (or "(pooled)", only with two or
        more sites), `level` ("patient": mean probability, or "slice"), `n_cases`, `n_patients`, `raw` and `scaled` (as
        from `agreement`; `scaled` is None without a temperature), and for the raw probabilities `conformal` (as from
        `coverage`), `referral`, `decision` and `prevalence` (as from `decision_curve` and `prevalence_table`).
        Undefined is None.

    Raises:
        IntegrityError: The predictions fail `verify`, or a patient has slices of more than one class.
        UsageError: A parameter is out of range.
    """
    if replicates < 2:
        raise UsageError(f"a bootstrap needs two or more replicates, not {replicates}")
    if not all(0 < prevalence < 1 for prevalence in prevalences):
        raise UsageError(f"a prevalence lies between 0 and 1, not {list(prevalences)}")
    verify(predictions)
    frame = predictions.frame
    sites = sorted(frame.loc[frame["split"] == "test", "site"].unique())
    validation = {level: cases_of(predictions, "val", level) for level in LEVELS}
    temperatures = {
        level: fit_temperature(cases, replicates=replicates, seed=seed) for level, cases in validation.items()
    }
    quantiles = {level: choose_quantiles(cases) for level, cases in validation.items()}
    thresholds = {level: referral_thresholds(cases) for level, cases in validation.items()}
    blocks = []
    for site in sites if len(sites) < 2 else [*sites, POOLED]:
        for level in LEVELS:
            cases = cases_of(predictions, "test", level, None if site == POOLED else site)
            assert cases is not None  # the site has a row
            generator = np.random.default_rng([seed, zlib.crc32(f"calibration/{site}/{level}".encode())])
            bootstrap = PatientBootstrap.draw(cases.strata, replicates, generator)
            blocks.append(
                {
                    "split": "test",
                    "site": site,
                    "level": level,
                    "n_cases": len(cases),
                    "n_patients": cases.n_patients,
                    "raw": agreement(cases, bootstrap, generator),
                    "scaled": _after_scaling(cases, temperatures[level], bootstrap, generator),
                    "conformal": coverage(cases, quantiles[level]),
                    "referral": referral(cases, thresholds[level], bootstrap),
                    "decision": decision_curve(cases, bootstrap),
                    "prevalence": prevalence_table(cases, prevalences),
                }
            )
    return {
        "schema": SCHEMA_VERSION,
        "classes": predictions.scheme.as_dict(),
        "interval": {"level": LEVEL, "replicates": replicates, "simulations": SIMULATIONS, "seed": seed},
        "temperature": {level: temperature.as_dict() for level, temperature in temperatures.items()},
        "conformal": quantiles,
        "referral": thresholds,
        "blocks": blocks,
    }


def _after_scaling(
    cases: Cases, temperature: Temperature, bootstrap: PatientBootstrap, generator: np.random.Generator
) -> dict[str, Any] | None:
    if temperature.value is None:
        return None
    return agreement(cases.with_probabilities(scaled(cases.probabilities, temperature.value)), bootstrap, generator)
