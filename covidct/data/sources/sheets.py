"""Reading an Excel workbook that a data set was published with. (A user's own labels are CSV: `table_file`.)"""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import ParseError
from zipfile import BadZipFile

from covidct.errors import DataRefused


def read_sheet(path: Path, columns: tuple[str, str]) -> list[tuple[str, str]]:
    """Two columns of the first sheet, where neither is empty; as text, without spaces around it.

    Raises:
        DataRefused: It is no workbook, or lacks a column.
    """
    import pandas as pd

    try:
        frame = pd.read_excel(path, dtype=str)
        rows = frame[list(columns)].dropna()
    except (OSError, ValueError, TypeError, LookupError, EOFError, BadZipFile, ParseError) as error:
        raise DataRefused(
            f"the workbook cannot be read ({type(error).__name__})",
            where=str(path),
            remedy=f"it needs the columns {', '.join(columns)} in its first sheet",
        ) from None
    return [(str(one).strip(), str(other).strip()) for one, other in rows.itertuples(index=False, name=None)]
