"""What was measured in the slices, beside the slice table: `measures.parquet`.

It is no part of the table's digest: a better measurement makes no other data set. A rule that refuses slices by one of
these numbers does, through the rows it accepts.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from covidct.data.indexing.batches import ROW_GROUP
from covidct.errors import DataRefused, IntegrityError
from covidct.files import read_json, replacing
from covidct.provenance import digest_file

NAME = "measures.parquet"

SCHEMA = pa.schema(
    [
        pa.field("slice_key", pa.string()),
        pa.field("path", pa.string(), nullable=False),
        pa.field("frame", pa.int32(), nullable=False),
        pa.field("body_mm2", pa.float64()),
        pa.field("lung_mm2", pa.float64()),
        pa.field("histogram", pa.list_(pa.int32())),
        pa.field("fingerprint", pa.string()),
        pa.field("age_years", pa.int32()),
        pa.field("sex", pa.string()),
        pa.field("kvp", pa.float64()),
        pa.field("thickness_mm", pa.float64()),
    ]
)
"""Columns; one row for each slice that was decoded, accepted or refused later. Meanings: `covidct.ct.measures.Measures`
and `covidct.ct.ingest.Header`. `slice_key` is null where nobody claims the slice; `path` and `frame` always name it."""


def write_measures(measures: pa.Table, folder: Path) -> Path:
    """Write `measures.parquet` into a folder."""
    target = Path(folder) / NAME
    with replacing(target) as temporary:
        pq.write_table(measures, temporary, compression="zstd", row_group_size=ROW_GROUP)
    return target


def read_measures(index: Path) -> pd.DataFrame:
    """Read the measures beside a slice table.

    Args:
        index: `index.parquet`, or the folder it lies in.

    Raises:
        DataRefused: The index was made before slices were measured, or the file is damaged.
        IntegrityError: The file was changed, or belongs to another index (Parquet pages have no checksum here).
    """
    index = Path(index)
    path = (index if index.is_dir() else index.parent) / NAME
    remedy = "run `covidct index` again"
    if not path.is_file():
        raise DataRefused("the slices of this index were not measured", where=str(path), remedy=remedy)
    written = _digest_in_index(path.with_name("index.json"))
    if written != "" and digest_file(path) != written:
        raise IntegrityError("the measures are not those of this index", where=str(path), remedy=remedy)
    try:
        arrow = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataRefused(f"not a Parquet file: {error}", where=str(path), remedy=remedy) from None
    if not arrow.schema.equals(SCHEMA, check_metadata=False):
        raise DataRefused("the columns are not those of the measures", where=str(path), remedy=remedy)
    return arrow.to_pandas()


def _digest_in_index(facts: Path) -> str | None:
    """What index.json says of the measures; "" where it says nothing, as older ones do."""
    found = read_json(facts) if facts.is_file() else {}
    return found.get("measures_digest", "") if isinstance(found, dict) else ""
