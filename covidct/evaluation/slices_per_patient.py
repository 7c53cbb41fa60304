"""What the number of slices does to a patient rule: the more slices, the more chances of one false alarm.

Two views of one partition (test where there is one). Observed: healthy patients in three groups by their number of
slices. Computed: the same patients at 1, 2, 4, ... slices, drawn at random from their own and kept in order, so that
nothing but the number changes. Patients are the unit of every interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covidct.evaluation.intervals import proportion
from covidct.evaluation.operating_point import OperatingPoint
from covidct.evaluation.patient_slices import PatientSlices, slices_by
from covidct.evaluation.predictions import Predictions
from covidct.evaluation.rule_spec import COUNTING, MEAN, PAPER, RuleSpec
from covidct.evaluation.rules import slice_calls
from covidct.files import replacing, write_json
from covidct.labels import ClassScheme

NAME = "slices_per_patient"
DRAWS = 10
"""Random choices of slices per patient and number: they smooth the curve; intervals count patients."""

SHOWN = (
    PAPER,
    RuleSpec("any_slice", {"min_run": 3}),
    RuleSpec("k_of_n", {"share": 0.1}),
    RuleSpec("top_k", {"k": 5}),
    RuleSpec("noisy_or"),
    MEAN,
)


def slices_per_patient(
    predictions: Predictions, point: OperatingPoint | None, *, seed: int = 0
) -> dict[str, Any] | None:
    """Specificity (and sensitivity) of patient rules by the number of slices.

    Healthy patients are those of the normal class, and right is to call them normal. Without a normal class they are
    those without the positive class, and right is not to call it. The sensitivity is that of the positive class.

    Args:
        predictions: The slices.
        point: Its rule is shown too.
        seed: Of the choice of slices.

    Returns:
        Plain values: `partition`, `healthy` and `positive` (names), `n_healthy`, `rules`, `observed` (one entry per
        rule and group: `least` and `most` slices, `specificity`), `computed` (one entry per rule and number of
        `slices`: `specificity`, `sensitivity`), the numbers of patients these are of, `false_alarms` (share of the
        slices of healthy patients that are called ill, each patient counting once) and `draws`. None if nobody is
        healthy.
    """
    scheme, frame = predictions.scheme, predictions.frame
    if scheme.normal is None and scheme.positive is None:
        return None
    partition = "test" if (frame["split"] == "test").any() else "val"
    chosen = Predictions(frame[frame["split"] == partition].reset_index(drop=True), scheme)
    slices, rows = slices_by(chosen, ["site", "patient_key"])
    labels = rows["label"].to_numpy()[slices.first]
    healthy = labels == scheme.normal if scheme.normal is not None else labels != scheme.positive
    ill = labels == scheme.positive if scheme.positive is not None else np.zeros(len(labels), dtype=bool)
    if not healthy.any():
        return None
    rules = [rule for rule in SHOWN if scheme.normal is not None or rule.name not in COUNTING]
    if point is not None and point.rule not in rules:
        rules.append(point.rule)
    chosen_rule = point.rule if point is not None and point.fallback is None else None
    most = int(2 ** np.floor(np.log2(np.median(slices.sizes[healthy]))))
    groups = {name: group & (slices.sizes >= most) for name, group in (("healthy", healthy), ("ill", ill))}
    false_alarms = None
    if scheme.normal is not None:
        called = slice_calls(slices.probabilities, scheme, None) != scheme.index(scheme.normal)
        false_alarms = float(np.mean((slices.sums(called[:, None].astype(float))[:, 0] / slices.sizes)[healthy]))
    return {
        "schema": 1,
        "partition": partition,
        "sites": sorted(rows["site"].unique()),
        "healthy": scheme.normal,
        "positive": scheme.positive,
        "n_healthy": int(healthy.sum()),
        "n_healthy_computed": int(groups["healthy"].sum()),
        "n_ill_computed": int(groups["ill"].sum()),
        "rules": [{**rule.as_dict(), "words": rule.words(), "chosen": chosen_rule == rule} for rule in rules],
        "observed": _observed(slices, healthy, rules, scheme),
        "computed": _computed(slices, groups, rules, scheme, most, seed),
        "false_alarms": false_alarms,
        "draws": DRAWS,
        "seed": seed,
    }


def _right(rule: RuleSpec, slices: PatientSlices, scheme: ClassScheme) -> dict[str, np.ndarray]:
    """Whether a rule is right about each patient, were they healthy, and were they of the positive class."""
    outcome = rule(slices, scheme).outcome
    positive = scheme.index(scheme.positive) if scheme.positive is not None else -1
    healthy = outcome == scheme.index(scheme.normal) if scheme.normal is not None else outcome != positive
    return {"healthy": healthy, "ill": outcome == positive}


def _observed(
    slices: PatientSlices, healthy: np.ndarray, rules: Sequence[RuleSpec], scheme: ClassScheme
) -> list[dict[str, Any]]:
    sizes = slices.sizes
    borders = np.quantile(sizes[healthy], [1 / 3, 2 / 3], method="inverted_cdf")
    group = np.searchsorted(np.unique(borders), sizes)  # a border belongs to the group below it
    found = []
    for number, rule in enumerate(rules):
        right = _right(rule, slices, scheme)["healthy"]
        for one in np.unique(group[healthy]):
            inside = healthy & (group == one)
            share = proportion(right[inside].astype(np.int64), np.ones(int(inside.sum()), dtype=np.int64))
            least, most = int(sizes[inside].min()), int(sizes[inside].max())
            found.append({"rule": number, "least": least, "most": most, "specificity": share.as_dict()})
    return found


def _computed(
    slices: PatientSlices,
    groups: dict[str, np.ndarray],
    rules: Sequence[RuleSpec],
    scheme: ClassScheme,
    most: int,
    seed: int,
) -> list[dict[str, Any]]:
    wanted = groups["healthy"] | groups["ill"]
    inside = slices.take(wanted[slices.patient])
    generator = np.random.default_rng(seed)
    numbers = [2**power for power in range(int(np.log2(most)) + 1)]
    counts = {(rule, m): {key: np.zeros(len(wanted), dtype=np.int64) for key in groups}
              for rule in range(len(rules)) for m in numbers}  # fmt: skip
    for _ in range(DRAWS):
        order = np.lexsort((generator.random(len(inside.patient)), inside.patient))
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order)) - inside.first[inside.patient[order]]
        for m in numbers:  # the slices of a smaller number are among those of a larger one
            drawn = inside.take(rank < m)
            for number, rule in enumerate(rules):
                for key, hits in _right(rule, drawn, scheme).items():
                    counts[number, m][key] += hits
    found = []
    for (number, m), right in counts.items():
        shares = {
            key: proportion(right[key][group], np.full(int(group.sum()), DRAWS)).as_dict() if group.any() else None
            for key, group in groups.items()
        }
        found.append({"rule": number, "slices": m, "specificity": shares["healthy"], "sensitivity": shares["ill"]})
    return found


def as_table(found: dict[str, Any]) -> pd.DataFrame:
    """The numbers as one long table: view, figure, rule, least and most slices, value, low, high, n_patients."""
    rows = []
    for entry in found["observed"]:
        rows.append(("observed", "specificity", entry["rule"], entry["least"], entry["most"], entry["specificity"]))
    for entry in found["computed"]:
        rows += [
            ("computed", figure, entry["rule"], entry["slices"], entry["slices"], entry[figure])
            for figure in ("specificity", "sensitivity")
            if entry[figure] is not None
        ]
    words = [rule["words"] for rule in found["rules"]]
    keys = ["value", "low", "high", "n_patients"]
    flat = [(*row[:2], words[row[2]], *row[3:5], *(row[5][key] for key in keys)) for row in rows]
    return pd.DataFrame(flat, columns=["view", "figure", "rule", "least_slices", "most_slices", *keys])


def save_slices_per_patient(folder: Path, predictions: Predictions, point: OperatingPoint | None) -> None:
    """Write `slices_per_patient.json`, its table and its figure into a run folder; without healthy patients none."""
    folder = Path(folder)
    found = slices_per_patient(predictions, point)
    if found is None:
        stale = [folder / f"{NAME}.json", folder / "tables" / f"{NAME}.csv"]
        for path in [*stale, *(folder / "figures" / f"{NAME}.{kind}" for kind in ("png", "svg"))]:
            path.unlink(missing_ok=True)
        return
    from covidct.evaluation.figures_slices import draw_slices_per_patient
    from covidct.evaluation.figures_style import write_figure

    write_json(folder / f"{NAME}.json", found)
    with replacing(folder / "tables" / f"{NAME}.csv") as temporary:
        as_table(found).to_csv(temporary, index=False, lineterminator="\n")
    write_figure(draw_slices_per_patient(found), folder / "figures", NAME)
