"""The files of `covidct explain` in a run folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from covidct.evaluation.explanations.drawing import draw_shares, share_points
from covidct.evaluation.figures_style import write_figure
from covidct.files import replacing, write_json

RECORD = "explanations.json"
FIGURE = "explanation_shares"


def write_explanations(
    run_folder: Path, record: Mapping[str, Any], sample: pd.DataFrame, comparisons: pd.DataFrame | None
) -> None:
    """Write explanations.json, its figure, and in tables/ what it was made from.

    Args:
        run_folder: Folder of the run.
        record: Content of explanations.json.
        sample: One row per counted slice: `tables/explanation_slices.csv`.
        comparisons: Of the sanity check: `tables/explanation_sanity.csv`; None where it was left out.
    """
    folder, points = Path(run_folder), share_points(record)
    tables = {FIGURE: points, "explanation_slices": sample, "explanation_sanity": comparisons}
    for name, table in tables.items():
        path = folder / "tables" / f"{name}.csv"
        if table is None:
            path.unlink(missing_ok=True)
            continue
        with replacing(path) as temporary:
            table.to_csv(temporary, index=False, lineterminator="\n")
    if len(points):
        write_figure(draw_shares(points), folder / "figures", FIGURE)
    write_json(folder / RECORD, record)
