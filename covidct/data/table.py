"""The slice table: one row per slice that was accepted and per file that was not, with the reason.

`index.parquet` holds the rows, `index.json` beside it what they were made from and a digest that a split is tied to.
The table stays beside the data: `path` may name a person, every other column is a pseudonym, a measurement or a label.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from covidct import __version__
from covidct.data.indexing.batches import ROW_GROUP
from covidct.data.measures import write_measures
from covidct.errors import DataRefused, IntegrityError, UsageError
from covidct.files import read_json, replacing, write_json
from covidct.labels import ClassScheme
from covidct.provenance import digest_file, digest_json

SCHEMA = pa.schema(
    [
        pa.field("slice_key", pa.string()),
        pa.field("patient_key", pa.string()),
        pa.field("site", pa.string()),
        pa.field("study_key", pa.string()),
        pa.field("series_key", pa.string()),
        pa.field("path", pa.string(), nullable=False),
        pa.field("frame", pa.int32()),
        pa.field("slice_number", pa.int32()),
        pa.field("position_mm", pa.float64()),
        pa.field("row_mm", pa.float64()),
        pa.field("col_mm", pa.float64()),
        pa.field("rows", pa.int32()),
        pa.field("cols", pa.int32()),
        pa.field("label", pa.string()),
        pa.field("label_source", pa.string()),
        pa.field("slice_label", pa.int8()),
        pa.field("official_split", pa.string()),
        pa.field("manufacturer", pa.string()),
        pa.field("scanner", pa.string()),
        pa.field("kernel", pa.string()),
        pa.field("acquired_year", pa.int32()),
        pa.field("units", pa.string()),
        pa.field("pixel_hash", pa.string()),
        pa.field("accepted", pa.bool_(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
    ]
)
"""Columns of the table; meanings:

`slice_key`, `patient_key`, `study_key`, `series_key`: keyed pseudonyms, 16 hex characters. `path`: relative to the data
root, POSIX. `frame`: 0-based frame in the file. `slice_number`: 0-based rank along the normal inside its series.
`position_mm`: place along the normal (null for images). `row_mm`, `col_mm`: pixel spacing. `label`: class of the
*patient* (null when unknown); `label_source`: where it came from. `slice_label`: 1 lesion in this slice, 0 none, null
unknown. `official_split`: train, val or test as the source's authors say. `units`: HU or gray8. `pixel_hash`: see
`covidct.ct.read.Slice.pixel_hash`. `reason`: why it was not accepted, "" when it was.
"""

COLUMNS = tuple(SCHEMA.names)
ORDER = ["site", "patient_key", "series_key", "slice_number", "slice_key"]
"""The order of accepted rows: a batch's `row` counts in it."""

_NULLABLE = {
    pa.int8(): "Int8",
    pa.int32(): "Int32",
    pa.bool_(): "bool",
    pa.float64(): "float64",
    pa.string(): "object",
}


@dataclass(frozen=True, eq=False)
class SliceTable:
    """The slices of a data set.

    Args:
        frame: Columns `COLUMNS`, one row per slice or refused file.
        root: The folder that `path` is relative to.
        source: Name of the layout it was read with.
        digest: SHA-256 over the accepted rows (see `content_digest`).
        classes: The scheme its labels belong to, or None.
        counts: Plain numbers about the reading, for the patient flow.
        measured: What was measured in the slices (`covidct.data.measures.SCHEMA`), by path and frame; None for a table
            read from disk, where `read_measures` gives it.
    """

    frame: pd.DataFrame
    root: Path
    source: str
    digest: str
    classes: ClassScheme | None = None
    counts: dict[str, Any] = field(default_factory=dict)
    measured: pa.Table | None = None

    @property
    def measures(self) -> pd.DataFrame | None:
        """`measured` as `read_measures` gives it."""
        return None if self.measured is None else self.measured.to_pandas()

    @cached_property
    def accepted(self) -> pd.DataFrame:
        """Accepted rows in the one order that `row` numbers refer to: by site, patient, series, slice number."""
        rows = self.frame[self.frame["accepted"]]
        return rows.sort_values(ORDER, kind="stable").reset_index(drop=True)

    @cached_property
    def rejected(self) -> pd.DataFrame:
        """Refused rows by path, each with its reason."""
        return self.frame[~self.frame["accepted"]].sort_values("path", kind="stable").reset_index(drop=True)

    def file(self, row: int) -> Path:
        """The file of an accepted row."""
        return self.root / str(self.accepted["path"].iloc[row])

    @property
    def patients_known(self) -> bool:
        """Whether a `patient_key` stands for a person. If not, each picture has one of its own, and patients cannot be
        counted or kept apart."""
        return bool(self.counts.get("patients_known", True))

    @property
    def refusals(self) -> dict[str, int]:
        """How many files were refused for each reason, most frequent first."""
        counts = self.rejected["reason"].value_counts()
        return {str(reason): int(counts[reason]) for reason in sorted(counts.index, key=lambda r: (-counts[r], r))}


def make_table(
    rows: list[dict[str, Any]] | pa.Table,
    *,
    root: Path,
    source: str,
    classes: ClassScheme | None = None,
    counts: Mapping[str, Any] | None = None,
    measures: pa.Table | None = None,
) -> SliceTable:
    """A table from plain rows, or from Arrow rows of `SCHEMA`; a column that a row leaves out is null there.

    Raises:
        IntegrityError: Two accepted rows have one `slice_key`, or a row breaks the schema.
    """
    frame = _typed(rows.to_pandas() if isinstance(rows, pa.Table) else pd.DataFrame(rows, columns=list(COLUMNS)))
    _check(frame)
    return SliceTable(frame, Path(root), source, content_digest(frame), classes, dict(counts or {}), measures)


def content_digest(frame: pd.DataFrame) -> str:
    """SHA-256 over what the accepted rows say, whatever the order, the names of the files and the place of the data.

    `path` is left out on purpose: a copy with renamed files is the same data set. The pixels themselves are in
    it by `pixel_hash`.
    """
    columns = [name for name in COLUMNS if name not in ("path", "accepted", "reason")]
    order = frame.loc[frame["accepted"], "slice_key"].sort_values(kind="stable").index
    lines = hashlib.sha256()
    for start in range(0, len(order), ROW_GROUP):
        rows = frame.loc[order[start : start + ROW_GROUP], columns]
        for values in rows.itertuples(index=False, name=None):
            lines.update(json.dumps([_plain(value) for value in values], ensure_ascii=True).encode())
            lines.update(b"\n")
    return lines.hexdigest()


def write_table(table: SliceTable, folder: Path) -> Path:
    """Write `index.parquet`, `index.json` and `measures.parquet` into a folder; returns the path of the slice table.

    The rows are written accepted first, in the order of `SliceTable.accepted`, then the refused ones by path.
    """
    folder = Path(folder)
    target = folder / "index.parquet"
    with replacing(target) as temporary, pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as writer:
        for frame in (table.accepted, table.rejected):
            for start in range(0, len(frame), ROW_GROUP):
                rows = frame.iloc[start : start + ROW_GROUP]
                writer.write_table(pa.Table.from_pandas(rows, schema=SCHEMA, preserve_index=False))
    measured = None if table.measured is None else digest_file(write_measures(table.measured, folder))
    try:
        root = os.path.relpath(Path(table.root).resolve(), folder.resolve())
    except ValueError:  # another drive
        root = str(Path(table.root).resolve())
    facts = {
        "schema": 1,
        "source": table.source,
        "root": Path(root).as_posix(),
        "classes": table.classes.as_dict() if table.classes else None,
        "digest": table.digest,
        "file_digest": digest_file(target),
        "measures_digest": measured,
        "counts": table.counts,
        "refused": table.refusals,
        "files_read": int(table.counts.get("files_read", len(table.frame))),
        "covidct": __version__,
    }
    write_json(folder / "index.json", facts | {"facts_digest": _facts_digest(facts)})
    return target


def read_table(path: Path) -> SliceTable:
    """Read a table and check that it is the one that was written.

    Args:
        path: `index.parquet`, or the folder it lies in.

    Raises:
        DataRefused: The files are missing or are not a slice table.
        IntegrityError: The rows differ from the digest in `index.json`, in content or in any byte.
    """
    path = Path(path)
    target = path / "index.parquet" if path.is_dir() else path
    beside = target.with_name("index.json")
    remedy = "run `covidct index` again"
    if not target.is_file():
        raise DataRefused("there is no slice table here", where=str(target), remedy="run `covidct index` first")
    facts = read_json(beside)
    if not isinstance(facts, dict) or facts.get("schema") != 1:
        raise DataRefused("not the index.json of a slice table (schema 1)", where=str(beside), remedy=remedy)
    if _facts_digest(facts) != facts.get("facts_digest", _facts_digest(facts)):
        raise IntegrityError("index.json was changed after it was written", where=str(beside), remedy=remedy)
    if digest_file(target) != facts.get("file_digest"):
        raise IntegrityError("the slice table was changed after it was written", where=str(target), remedy=remedy)
    try:
        arrow = pq.read_table(target)
    except (OSError, pa.ArrowException) as error:
        raise DataRefused(f"not a Parquet file: {error}", where=str(target), remedy=remedy) from None
    if not arrow.schema.equals(SCHEMA, check_metadata=False):
        raise IntegrityError("the columns are not those of a slice table", where=str(target), remedy=remedy)
    frame = _typed(arrow.to_pandas())
    _check(frame)
    digest = content_digest(frame)
    if digest != facts.get("digest"):
        raise IntegrityError("the slice table does not have the digest of its index.json", where=str(target))
    try:
        classes = ClassScheme.from_dict(facts["classes"]) if facts["classes"] else None
        root = (target.parent / facts["root"]).resolve()
        source, counts = str(facts["source"]), dict(facts["counts"])
    except (KeyError, TypeError, ValueError, AttributeError, OSError, RuntimeError, UsageError):
        raise DataRefused("not the index.json of a slice table", where=str(beside), remedy=remedy) from None
    return SliceTable(frame, root, source, digest, classes, counts)


def _facts_digest(facts: Mapping[str, Any]) -> str:
    """Of all that index.json says but the place of the data, which may move. Older files have none."""
    return digest_json({key: value for key, value in facts.items() if key not in ("root", "facts_digest")})


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    """The declared types: nullable integers, plain floats, and strings with None for null."""
    columns = {}
    for column in SCHEMA:
        values = frame[column.name]
        if column.type == pa.string():
            columns[column.name] = values.astype(object).where(values.notna(), None)
        else:
            columns[column.name] = values.astype(_NULLABLE[column.type])
    return pd.DataFrame(columns)


def _check(frame: pd.DataFrame) -> None:
    accepted = frame[frame["accepted"]]
    for name in ("slice_key", "patient_key", "site", "series_key", "units", "pixel_hash", "slice_number"):
        if accepted[name].isna().any():
            raise IntegrityError(f"an accepted slice has no {name}")
    if accepted["slice_key"].duplicated().any():
        raise IntegrityError("two accepted slices have the same slice_key")
    if (accepted["reason"] != "").any() or (frame.loc[~frame["accepted"], "reason"] == "").any():
        raise IntegrityError("a slice is refused without a reason, or accepted with one")


def _plain(value: Any) -> Any:
    """A cell as JSON: null for every kind of missing; floats by their shortest exact form."""
    if value is None or value is pd.NA:
        return None
    if isinstance(value, str | bool):
        return value
    number = float(value)
    if math.isnan(number):
        return None
    return int(number) if number.is_integer() else number
