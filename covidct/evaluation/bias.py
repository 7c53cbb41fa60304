"""Risk of bias: the flaws that made 62 of 62 reviewed models unfit for clinical use, each as a check of the run folder.

Roberts et al. 2021 (Nature Machine Intelligence 3:199-217) read 2,212 studies of COVID-19 imaging; the checks are
their common flaws, in the domains of PROBAST (participants, predictors, outcome, analysis). A check is "low" only where
a file of the run shows it; what no file shows is "not known".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy.stats.contingency import association

from covidct.evaluation.checklists.result_evidence import sites_of
from covidct.evaluation.evaluations import verdict
from covidct.evaluation.intervals import FEW_PATIENTS
from covidct.evaluation.record import RunRecord
from covidct.evaluation.sentences import primary_blocks, site_name
from covidct.evaluation.wording import counted, display

Risk = Literal["low", "high", "not known"]

STRONG = 0.3
"""Cramér's V between site and class of development patients from which the site may stand for the class; the paper's
test set has 0.26."""


class Finding(NamedTuple):
    """What a check found.

    Args:
        risk: Of bias.
        sentence: Why, and what follows.
    """

    risk: Risk
    sentence: str


def leak(record: RunRecord) -> Finding:
    """Patients on two sides of the split."""
    if not record.patients_known:
        return Finding("high", "The data do not say whose a picture is: people lie in several partitions, uncounted.")
    if record.leaked_patients is None:
        return Finding("not known", "The run has no record of its split.")
    if record.leaked_patients:
        return Finding(
            "high",
            f"{counted(record.leaked_patients, 'patient')} with slices in more than one partition: validation figures "
            "are not about new patients.",
        )
    return Finding("low", "No patient has slices in more than one partition.")


def source_is_class(record: RunRecord) -> Finding:
    """Sites that could stand for a class in training."""
    found = record.participants
    if not found or not found.get("sites"):
        return Finding("not known", "Which classes came from which site was not recorded.")
    tests = {name.partition("/")[2] for name in found.get("partitions") or {} if name.startswith("test/")}
    names = record.scheme.names
    counts = {
        site: [int((classes.get(name) or {}).get("patients", 0)) for name in names]
        for site, classes in found["sites"].items()
        if site not in tests
    }
    table = np.array([row for row in counts.values() if sum(row)])
    if len(table) < 2:
        where = next(iter(counts), "one site")
        return Finding("low", f"All training patients come from {where}: the site cannot stand for a class there.")
    single = [
        display(name) for name, column in zip(names, table.T, strict=True) if column.any() and (column > 0).sum() == 1
    ]
    table = table[:, table.any(axis=0)]
    strength = float(association(table, method="cramer")) if table.shape[1] > 1 else 0.0
    numbers = f"Cramér's V between site and class {strength:.2f} over {len(table)} sites"
    if single:
        return Finding(
            "high", f"{', '.join(single)} came from one site only: its scanner can stand for the disease ({numbers})."
        )
    if strength > STRONG:
        return Finding("high", f"Site and class go together: the scanner can stand for the disease ({numbers}).")
    return Finding("low", f"Site and class are hardly related in the training data ({numbers}).")


def duplicates(record: RunRecord) -> Finding:
    """Copies of pictures."""
    probe = _probe(record, "duplicates")
    if probe is not None and probe["status"] != "not done":
        return Finding("high" if probe["status"] == "alarm" else "low", str(probe["sentence"]))
    refused = (record.participants or {}).get("refused") or {}
    copies = sum(n for why, n in refused.items() if "same pixels" in why or "copy" in why)
    exact = f"{counted(copies, 'exact copy').replace('copys', 'copies')} refused by the index; " if copies else ""
    return Finding("not known", f"{exact}near-duplicates were not looked for (covidct audit run=RUN).".capitalize())


def shortcuts(record: RunRecord) -> Finding:
    """The battery of probes."""
    found = record.section("shortcuts")
    if not found:
        return Finding("not known", "Whether the model looks at disease was not tested (covidct audit run=RUN).")
    weights = record.predictions.get("weights_digest")
    if weights and found.get("weights_digest") not in (None, weights):
        return Finding("not known", "The audit in this folder was made with other weights (covidct audit run=RUN).")
    return Finding("high" if found.get("alarms") else "low", str(found["verdict"]))


def external(record: RunRecord) -> Finding:
    """Test sites that were never trained on."""
    outside = sorted(set(sites_of(record, "test")) - set(sites_of(record, "val")))
    if not sites_of(record, "test"):
        return Finding("high", "No test set was evaluated: nothing is known about new patients.")
    if not outside:
        return Finding("high", "No external test: every test patient comes from a site that was trained on.")
    return Finding("low", f"Tested on {counted(len(outside), 'site')} kept out of training: {', '.join(outside)}.")


def few_patients(record: RunRecord) -> Finding:
    """The smallest class at each test site."""
    blocks = primary_blocks(record.summary)
    if not blocks:
        return Finding("not known", "No test patient was counted.")
    smallest = min(
        (block["per_class"][name]["n_positive_patients"], site_name(block["site"]), display(name))
        for block in blocks
        for name in record.scheme.names
    )
    count, where, name = smallest
    if count < FEW_PATIENTS:
        return Finding(
            "high",
            f"{counted(count, 'patient')} with {name} at {where}, below {FEW_PATIENTS}: read intervals, not values.",
        )
    return Finding("low", f"At least {counted(count, 'patient')} of each class at each test site.")


def uncertainty(record: RunRecord) -> Finding:
    """Whether figures carry intervals by patient."""
    blocks = [block for block in record.summary["blocks"] if block["split"] == "test"]
    with_interval = sum((block.get("accuracy") or {}).get("low") is not None for block in blocks)
    if not blocks:
        return Finding("not known", "There is no test figure.")
    if with_interval < len(blocks):
        return Finding("high", f"{len(blocks) - with_interval} of {len(blocks)} test tables have no interval.")
    return Finding("low", "Every test table has intervals that count patients, not slices.")


def calibration(record: RunRecord) -> Finding:
    """Whether probabilities were compared with frequencies."""
    if record.section("calibration"):
        return Finding("low", "Calibration was measured; the section Calibration says how good it is.")
    return Finding("high", "Calibration was not measured: whether a probability of 90 % means 90 % is not known.")


def thresholds(record: RunRecord) -> Finding:
    """Where the rule and its thresholds come from."""
    point, rule = record.section("operating_point"), record.summary.get("rule") or {}
    if point and point.get("fallback"):
        return Finding("low", "Nothing was tuned: there were too few validation patients to choose a rule by.")
    if point and not point.get("after_test"):
        return Finding("low", "Patient rule and thresholds were chosen on validation patients and frozen.")
    if point:
        return Finding(
            "not known",
            "Patient rule and thresholds were chosen on validation patients, but after this run's test slices had been "
            "predicted. The choice did not use them.",
        )
    if rule.get("name") and rule.get("slice_threshold") is None:
        return Finding("low", "Calls are made by the highest probability; no threshold could be tuned.")
    return Finding("not known", "A threshold was given by hand; whether test figures led to it cannot be told.")


def reuse(record: RunRecord) -> Finding:
    """How often the test set was looked at."""
    found = record.section("evaluations")
    if not found or not found.get("sets"):
        return Finding("not known", "How often the test set was looked at was not recorded.")
    bad = found.get("lost") or max(one["configurations"] for one in found["sets"]) > 1
    return Finding("high" if bad else "low", verdict(found))


def exclusions(record: RunRecord) -> Finding:
    """Whether exclusions are on record."""
    found = record.participants
    if not found or not found.get("files_read"):
        return Finding("not known", "The flow of participants was not recorded.")
    lost = sum((found.get("refused") or {}).values()) / found["files_read"]
    return Finding("low", f"Every file that was refused is counted with its reason ({100 * lost:.1f} % of those read).")


def demographics(_: RunRecord) -> Finding:
    """Age and sex, which no file of a run holds."""
    return Finding(
        "not known",
        "Age and sex are not read: whether classes differ in them (children among the healthy, say) is for the author.",
    )


def reference_standard(_: RunRecord) -> Finding:
    """The labels, whose making no file of a run holds."""
    return Finding("not known", "How the diagnosis was made, and whether blind to the scan, is for the author.")


class Check(NamedTuple):
    """One check.

    Args:
        domain: Of PROBAST.
        title: What is asked.
        find: From the run to what was found.
    """

    domain: str
    title: str
    find: Callable[[RunRecord], Finding]


CHECKS = (
    Check("Participants", "Source stands for the class", source_is_class),
    Check("Participants", "Duplicates", duplicates),
    Check("Participants", "Age and sex", demographics),
    Check("Participants", "Exclusions", exclusions),
    Check("Predictors", "Shortcuts", shortcuts),
    Check("Outcome", "Reference standard", reference_standard),
    Check("Analysis", "Leaking patients", leak),
    Check("Analysis", "External test", external),
    Check("Analysis", "Few patients", few_patients),
    Check("Analysis", "Uncertainty", uncertainty),
    Check("Analysis", "Calibration", calibration),
    Check("Analysis", "Thresholds", thresholds),
    Check("Analysis", "Test set used again and again", reuse),
)


def view(record: RunRecord) -> dict[str, Any]:
    """What the report shows: the checks with their findings, the counts, and one sentence."""
    rows = [{"domain": check.domain, "title": check.title, **check.find(record)._asdict()} for check in CHECKS]
    counts = {risk: sum(row["risk"] == risk for row in rows) for risk in ("high", "not known", "low")}
    return {"rows": rows, "counts": counts, "sentence": _sentence(counts)}


def _sentence(counts: Mapping[str, int]) -> str:
    total = sum(counts.values())
    text = (
        f"Of {total} common flaws {counts['high']} are found here, {counts['not known']} cannot be told from the run."
    )
    if counts["high"]:
        return f"{text} By PROBAST one high risk in a domain is enough to call the study at high risk of bias."
    return f"{text} None is found; what is not known is for the author to answer."


def _probe(record: RunRecord, name: str) -> Mapping[str, Any] | None:
    outcomes = (record.section("shortcuts") or {}).get("outcomes") or []
    return next((one for one in outcomes if one.get("probe") == name), None)
