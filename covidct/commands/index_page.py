"""The report of an index, from the tables in its folder and a few slices."""

from __future__ import annotations

from pathlib import Path

from covidct.data.measures import read_measures
from covidct.data.pictures import look
from covidct.data.table import SliceTable
from covidct.evaluation.index_report.material import IndexMaterial
from covidct.evaluation.index_report.page import write_index_report


def write_page(table: SliceTable, folder: Path) -> Path:
    """Write `index_report.html` beside a slice table.

    Args:
        table: The table, as it is in the folder.
        folder: The index folder, with measures.parquet.

    Raises:
        DataRefused: The slices were not measured.
    """
    material = IndexMaterial.join(
        table.accepted,
        table.rejected,
        read_measures(folder),
        counts=table.counts,
        source=table.source,
        digest=table.digest,
        scheme=table.classes,
    )
    return write_index_report(material, lambda wanted: look(table.root, wanted), folder)
