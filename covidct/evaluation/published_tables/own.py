"""Our own reports under the audit that other people's tables get.

A report prints percentages with one decimal. They are read back here as a stranger would read them, and have to be
possible for the numbers of cases printed beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from covidct.errors import IntegrityError
from covidct.evaluation.metrics import COUNTING, counts_from_confusion
from covidct.evaluation.patient import CONFLICT, NO_RESULT
from covidct.evaluation.published_tables.joint import TOP1, Cell, Joint
from covidct.evaluation.published_tables.printed import Bounds, Printed
from covidct.evaluation.published_tables.rows import conflicts, pairs_that_fit
from covidct.evaluation.wording import percent


def audit_printed(summary: Mapping[str, Any]) -> None:
    """Audit every table of a summary (`metrics.json`) as it is printed: one decimal, class against the rest.

    Each row must be possible for its counts, its own errors must be among the possible ones, and the block's own
    confusion matrix must satisfy all rows together (a matrix that does is the proof that the table is consistent). A
    block with undecided cases (conflict, no result) has no square matrix and is audited row by row.

    Raises:
        IntegrityError: A printed figure contradicts the counts or another printed figure; the message names them.
    """
    names = list(summary["classes"]["names"])
    for block in summary["blocks"]:
        where = "/".join(str(block[key]) for key in ("split", "site", "level", "aggregation"))
        columns = list(block["confusion_columns"])
        matrix = np.array(block["confusion"], dtype=np.int64)
        place = {name: column for column, name in enumerate(columns)}
        calls = None if block["conflict_calls"] is None else np.array(block["conflict_calls"], dtype=np.int64)
        unit = "slices" if block["level"] == "slice" else "patients"
        total = int(block[f"n_{unit}"])
        cells: dict[Cell, Bounds] = {}
        for row, name in enumerate(names):
            shown = block["per_class"][name]
            texts = {metric: percent(shown[metric]["value"]) for metric in COUNTING}
            figures = {metric: Printed.read(text).bounds("round") for metric, text in texts.items()}
            cells |= {(row, metric): bounds for metric, bounds in figures.items()}
            positives = int(shown[f"n_positive_{unit}"])
            own = counts_from_confusion(
                matrix, row, conflict=place.get(CONFLICT), no_result=place.get(NO_RESULT), conflict_calls=calls
            )
            pairs = pairs_that_fit(positives, total - positives, figures)
            if pairs.holds(own.fn, own.fp):
                continue
            groups = conflicts(positives, total - positives, figures) or [tuple(COUNTING)]
            said = ", ".join(f"{metric} {texts[metric]}" for metric in groups[0])
            raise IntegrityError(
                f"{name}: the printed {said} cannot be true of {positives} {name} and {total - positives} other {unit}"
                if not pairs
                else f"{name}: the printed figures belong to other errors than {own.fn} missed and {own.fp} false",
                where=where,
                remedy="do not edit metrics.json; evaluate the run again",
            )
        if matrix.shape[0] != matrix.shape[1]:
            continue
        cells[TOP1] = Printed.read(percent(block["accuracy"]["value"])).bounds("round")
        if total and not Joint(matrix.sum(axis=1).tolist(), cells).fits(matrix):
            raise IntegrityError(
                "the printed figures do not fit the printed confusion matrix",
                where=where,
                remedy="do not edit metrics.json; evaluate the run again",
            )
