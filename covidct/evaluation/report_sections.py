"""The report's further sections: each is made by its own room from one file of the run folder, and says how to make it.

A section reads `<name>.json` of the run folder (`RunRecord.section`) and gives its template, `sections/<name>.html.j2`,
plain values ready to print; None where the run has no such file, and then the report prints how to get one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from covidct.evaluation import bias, operating_section
from covidct.evaluation.calibration import section as calibration
from covidct.evaluation.checklists import filling
from covidct.evaluation.explanations import section as explanations
from covidct.evaluation.readers import section as readers
from covidct.evaluation.record import RunRecord
from covidct.evaluation.shortcuts import section as shortcuts


class Section(NamedTuple):
    """One section of the report.

    Args:
        name: Of its file, its template and its anchor.
        title: Its heading.
        missing: What to print when the run has none: what it would show, and the command that makes it.
        view: From the run to what the template prints as `section`; None where there is nothing to show.
    """

    name: str
    title: str
    missing: str
    view: Callable[[RunRecord], dict[str, Any] | None]


SECTIONS: tuple[Section, ...] = (
    Section(
        "calibration",
        "Calibration and abstention",
        "Whether the probabilities can be believed was not computed for this run. covidct report run=RUN does it from "
        "the predictions table.",
        calibration.view,
    ),
    Section(
        "operating_point",
        "The patient rule",
        "No operating point was chosen: the run has no validation predictions, or was evaluated by an older version. "
        "covidct report run=RUN chooses one from its validation rows.",
        operating_section.view,
    ),
    Section(
        "shortcuts",
        "Shortcuts",
        "This run was not audited. covidct audit run=RUN asks whether it looks at disease, or at something that merely "
        "goes with the label: scanner, border, tags, position.",
        shortcuts.view,
    ),
    Section(
        "explanations",
        "Explanations",
        "No explanations were made. covidct explain run=RUN shows where the network looks, and measures it: share in "
        "the lungs, outside the body and in lesions, and whether the maps depend on what was learnt.",
        explanations.view,
    ),
    Section(
        "readers",
        "Readers",
        "No readers were compared with this run. covidct readers run=RUN reads=reads.csv puts the reads of people "
        "beside the model: accuracy, ROC, agreement, time.",
        readers.view,
    ),
    Section("bias", "Risk of bias", "", bias.view),
    Section("checklists", "Reporting checklists", "", filling.view),
)
"""In reading order, between the test results and the worst mistakes."""


def sections_of(record: RunRecord) -> list[dict[str, Any]]:
    """Every section with its content, or with the words for its absence."""
    return [
        {
            "name": section.name,
            "title": section.title,
            "missing": section.missing,
            "template": f"sections/{section.name}.html.j2",
            "content": section.view(record),
        }
        for section in SECTIONS
    ]
