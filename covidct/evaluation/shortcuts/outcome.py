"""The battery's probes with their pass lines, and what one of them found."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

Status = Literal["alarm", "noted", "quiet", "not done"]

FAMILY = 0.05
"""Probability that a run without any shortcut raises an alarm by chance, over the whole battery, at most."""
SHARED_BY = 10
"""Probes that are judged against chance share `FAMILY` evenly (Bonferroni)."""
EACH = FAMILY / SHARED_BY
TELLS = 0.6
"""Mean AUC from which a network that should see nothing tells the classes apart."""
TELLS_CLASS = 0.7
"""The same for a single class: with K classes a mark on one of them raises the mean by little more than 1 / K of it."""
TELLS_SITE = 0.75
DROP_FREE = 0.05
"""Sensitivity on slices without a lesion must be lower than on slices with one by at least this."""
LEAK = 0.55
"""Mean AUC of a network trained on permuted labels from which patients leak."""
CONFIDENT = 0.9
MARK_RATE = 0.2
"""Difference in the share of marked patients, one class against the others, from which it is worth an alarm."""


class Probe(NamedTuple):
    """One probe.

    Args:
        title: Heading.
        question: What it asks, for a clinician.
        alarm: The pass line: when it raises an alarm.
        needs: What the data must have.
    """

    title: str
    question: str
    alarm: str
    needs: str


_TELLS = (
    f"mean AUC of patients above {TELLS}, or that of one class above {TELLS_CLASS}, and beyond what permuted labels "
    f"reach (P < {EACH:g})"
)

PROBES = {
    "metadata": Probe(
        "Metadata alone",
        "Do site, scanner, kernel, year, pixel size or picture size tell the label, without any picture?",
        f"lower end of the 95 % interval of the mean AUC above {TELLS}",
        "ten patients or more, and a column that differs between patients",
    ),
    "duplicates": Probe(
        "Duplicates",
        "Does the same picture belong to two patients or to two partitions?",
        "any",
        "nothing",
    ),
    "position": Probe(
        "Slice position alone",
        "Does the place of a slice in its series tell the label, as it does where slices were picked by hand?",
        _TELLS,
        "series of ordered slices",
    ),
    "marks": Probe(
        "Bright marks in corners",
        "Are small bright marks (letters, tags, arrows) in the corners more common in one class?",
        f"shares of marked patients differ by {100 * MARK_RATE:.0f} points and beyond chance (P < {EACH:g})",
        "the scans",
    ),
    "background": Probe(
        "Lungs hidden",
        "Does the network still tell the classes when it cannot see the lungs?",
        _TELLS,
        "Hounsfield units, to find the lungs",
    ),
    "background_retrained": Probe(
        "Lungs hidden, retrained",
        "Can a classifier learn the classes from pictures without lungs?",
        _TELLS,
        "Hounsfield units; audit option retrain=true",
    ),
    "lung_only": Probe(
        "Lungs only",
        "What is lost when the network sees nothing but the lungs?",
        "none: the gap is reported",
        "Hounsfield units, to find the lungs",
    ),
    "border": Probe(
        "Border only",
        "Does the network still tell the classes from the outer tenth of the picture?",
        _TELLS,
        "the scans",
    ),
    "corners": Probe(
        "Corners blanked",
        "Does it matter to the network what lies in the corners?",
        f"patients' share of right slices falls beyond chance (P < {EACH:g})",
        "the scans",
    ),
    "lesion_free": Probe(
        "Slices without a lesion",
        "Does the network recognise a disease where none is to be seen?",
        f"a disease is told on lesion-free slices (AUC above {TELLS_CLASS}, P < {EACH:g}) and found there no more "
        f"than {100 * DROP_FREE:.0f} points less often than on slices with lesions",
        "slice labels: which slices of a patient show a lesion",
    ),
    "empty": Probe(
        "Blank, noise, inverted",
        "Does the network see the disease in pictures that show nothing?",
        f"mean probability of the positive class from {CONFIDENT}",
        "a positive class",
    ),
    "shuffle": Probe(
        "Labels shuffled",
        "Does a classifier trained on shuffled patients' labels fall to chance on the audited patients?",
        f"mean AUC above {LEAK} and beyond chance (P < {EACH:g})",
        "training and audited patients",
    ),
    "site": Probe(
        "Features tell the site",
        "Within one class, does what the network computes tell the hospital, and does the hospital tell the label?",
        f"AUC above {TELLS_SITE} and beyond chance (P < {EACH:g}), and site and label go together in training",
        "a class with patients from two or more sites",
    ),
}
"""In the order they are printed."""


@dataclass(frozen=True)
class Outcome:
    """What one probe found.

    Args:
        probe: Its name in `PROBES`.
        status: "alarm"; "noted": worth knowing, no alarm; "quiet"; "not done".
        sentence: What may be concluded, or why it was not done.
        value: The main number; its meaning is `unit`.
        low, high: 95 % interval.
        chance: What chance reaches with probability `EACH`.
        p: Against chance.
        unit: "AUC", "share", "probability" or "pictures".
        n_patients: Patients it was computed from.
        details: Rows of a small table.
    """

    probe: str
    status: Status
    sentence: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    p: float | None = None
    unit: str = "AUC"
    n_patients: int | None = None
    details: list[dict[str, Any]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def not_done(probe: str, why: str) -> Outcome:
    """A probe that the data do not allow."""
    return Outcome(probe, "not done", f"Not done: {why}.")
