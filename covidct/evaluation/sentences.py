"""The words of the report, made from numbers: what was found, what to beware of, what a profile means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from covidct.evaluation.intervals import FEW_PATIENTS
from covidct.evaluation.record import RunRecord
from covidct.evaluation.wording import counted, display, interval_text, percent

Block = Mapping[str, Any]

LEVELS = {
    ("slice", "argmax"): "Slice level · class of highest probability",
    ("patient", "any_slice"): "Patient level · the paper's rule (diseased if any slice is)",
    ("patient", "mean_probability"): "Patient level · mean probability of the slices",
    ("patient", "validation_rule"): "Patient level · the rule chosen on validation patients",
}
"""Names of the ways of calling, in reading order: the paper's own level last, because its unit is not the patient."""

PAPER_FLAWS = (
    "Training and validation are split by image, not by patient (L236): slices of one patient lie on both sides, so "
    "validation figures are too good and only the external hospitals say anything about new patients.",
    "Every slice carries its patient's label, lesion or not (Table 1 has as many slices per healthy patient as per "
    "ill one).",
    "The patient rule (L225–230) has no threshold and no tie-break; two diseases in one patient are a “conflict” here.",
    "When Adam hands over to SGD, batch size, augmentation, window, input size and patience are not in the paper: "
    "the values used here are this tool's choices.",
    "“After 50 epochs, stop without further improvement” (L261–263) has three readings; here: at least 50 epochs, then "
    "patience.",
    "The paper repeats the split five times and does not say which model was tested (L240). This report is one run.",
)

_LIMITS = (
    "For research on methods. Nothing here has been shown to help a patient, and nothing here may guide care.",
    "External hospitals do not prove that a model looks at disease: scanner, protocol, year and patient mix can stand "
    "for the label. {shortcuts}",
    "PPV and NPV hold for the class mix of these data only; where the disease is rarer, PPV is lower.",
    "Slices of one patient are not independent. Intervals count patients; slice-level values weigh patients by their "
    "number of slices.",
    "Validation data chose the checkpoint, so validation figures are optimistic even when no patient leaks.",
    "One run, one seed: differences to another run may be chance.",
    "The pictures of mistakes are pixels of scans. Text burned into them is not removed: look before you share.",
)

_NO_AUDIT = "This report has no test for such shortcuts: covidct audit run=RUN makes one."
_AUDIT = "The audit sees only shortcuts of the kinds and sizes it looks for; see Shortcuts."


def limits(record: RunRecord) -> list[str]:
    """What the figures cannot show, whatever they are."""
    shortcuts = _AUDIT if record.section("shortcuts") else _NO_AUDIT
    return [text.replace("{shortcuts}", shortcuts) for text in _LIMITS]


def site_name(site: str) -> str:
    """A site for people."""
    return "All sites pooled" if site == "(pooled)" else site


def estimate(figure: Mapping[str, Any] | None) -> str:
    """An estimate in words: "98.2 % (95 % interval 95.0–99.6)", "undefined" when it is."""
    if not figure or figure.get("value") is None:
        return "undefined"
    bounds = interval_text(figure)
    return f"{percent(figure['value'])}\u00a0%" + (
        f" (95\u00a0% interval {bounds})" if bounds != "–" else " (no interval)"
    )


def primary_blocks(summary: Mapping[str, Any]) -> list[Block]:
    """The test blocks to read first: patients by the paper's rule, or by mean probability where there is none."""
    tested = [block for block in summary["blocks"] if block["split"] == "test"]
    by_rule = [block for block in tested if block["aggregation"] == "any_slice"]
    return by_rule or [block for block in tested if block["aggregation"] == "mean_probability"]


def findings(record: RunRecord) -> list[str]:
    """What was found on the test sites at patient level, one sentence or two per site, pooled last."""
    scheme, sentences = record.scheme, []
    for block in primary_blocks(record.summary):
        rule = "the paper's rule" if block["aggregation"] == "any_slice" else "the mean probability of the slices"
        where = "Over all test sites together" if block["site"] == "(pooled)" else f"At {block['site']}"
        text = (
            f"{where}, {counted(block['n_patients'], 'patient')} ({counted(block['n_slices'], 'slice')}): {rule} "
            f"gave the true class for {estimate(block['accuracy'])} of patients"
        )
        outcomes = [
            f"{block[key]} {'was' if block[key] == 1 else 'were'} left without a verdict because {why}"
            for key, why in (("n_conflict", "two diseases were seen"), ("n_no_result", "no slice could be used"))
            if block.get(key)
        ]
        text += f"; {' and '.join(outcomes)}." if outcomes else "."
        if scheme.positive:
            figures, name = block["per_class"][scheme.positive], display(scheme.positive)
            ill = figures["n_positive_patients"]
            text += (
                f" Of {counted(ill, 'patient')} with {name}, {estimate(figures['sensitivity'])} were recognised; of "
                f"{counted(block['n_patients'] - ill, 'other')}, {estimate(figures['specificity'])} were rightly not "
                f"called {name}."
                if ill
                else f" No patient there had {name}: its sensitivity is undefined."
            )
        sentences.append(text)
    return sentences or ["No test site was evaluated: there is nothing to say about new patients."]


def warnings(record: RunRecord) -> list[str]:
    """What makes the numbers weaker than they look, from the run's own records."""
    found = []
    if record.leaked_patients:
        found.append(
            f"Leak: {counted(record.leaked_patients, 'patient')} with slices in more than one partition. Validation "
            "figures are not about new patients."
        )
    if not record.patients_known:
        found.append(
            "Patients are not known: the data do not say whose a picture is. Pictures of one person may lie in several "
            "partitions; how many cannot be counted. Each counts as a patient of its own: the figures are not about "
            "new patients, and the intervals are too narrow."
        )
    elif record.leaked_patients is None:
        found.append("The run has no record of its split: whether patients leak between partitions is not known.")
    if record.profile is None:
        found.append("The profile (paper or rigorous) is not recorded.")
    if record.provenance.get("code", record.provenance).get("dirty"):
        found.append("The code had uncommitted changes: the commit below does not fully describe it.")
    if record.run.get("drift"):
        found.append("The run was begun with another version of the code and resumed with this one.")
    for block in primary_blocks(record.summary):
        found += _block_warnings(block, record.scheme.names)
    return [*found, *(str(note) for note in record.run.get("notes") or [])]


def _block_warnings(block: Block, names: Sequence[str]) -> list[str]:
    found, where = [], site_name(block["site"])
    patients = {name: block["per_class"][name]["n_positive_patients"] for name in names}
    absent = [display(name) for name in names if patients[name] == 0]
    few = [f"{display(name)} ({patients[name]})" for name in names if 0 < patients[name] < FEW_PATIENTS]
    if absent:
        found.append(f"{where}: no patient with {', '.join(absent)}; figures that need one are undefined (–).")
    if few:
        found.append(
            f"{where}: fewer than {FEW_PATIENTS} patients with {', '.join(few)}. Read the intervals, not the values."
        )
    return found


def baseline(block: Block, positive: str | None) -> str | None:
    """What never calling the positive class would score (the paper's 98.8 % stand beside 83.3 %), or None."""
    if positive is None:
        return None
    unit = "slices" if block["level"] == "slice" else "patients"
    total, ill = block[f"n_{unit}"], block["per_class"][positive][f"n_positive_{unit}"]
    if not total:
        return None
    return (
        f"For scale: never calling {display(positive)} at all would have an accuracy of {percent(1 - ill / total)} %."
    )
