"""The predictions table: the product of a run, one row per slice and partition.

Every figure of a report is a pure function of this table, so a reader needs neither the scans nor the model to
check one. The file travels; it therefore holds pseudonyms only, and a column that is not declared here is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from covidct.errors import DataRefused, IntegrityError
from covidct.files import replacing
from covidct.labels import ClassScheme

SCHEMA_VERSION = 1
SPLITS = ("train", "val", "test")
"""Partition names. External hospitals are partition "test"; the site column tells them apart."""

SUM_TOLERANCE = 1e-5
"""How far the probabilities of a row may sum from 1: float32 softmax over a few classes stays well inside."""

REQUIRED: dict[str, pa.DataType] = {
    "slice_key": pa.string(),
    "patient_key": pa.string(),
    "series_key": pa.string(),
    "site": pa.string(),
    "split": pa.string(),
    "slice_number": pa.int32(),
    "label": pa.string(),
    "slice_label": pa.int8(),
}
OPTIONAL: dict[str, pa.DataType] = {"units": pa.string(), "position_mm": pa.float64()}
NULLABLE = ("slice_label", "units", "position_mm")
META_KEYS = ("run", "index_digest", "split_digest", "weights_digest")


@dataclass(frozen=True)
class Predictions:
    """Class probabilities of slices, with what is needed to judge them.

    Args:
        frame: One row per slice and partition. `slice_key`, `patient_key`, `series_key` (pseudonyms), `site`,
            `split` ("val" or "test"; "train" allowed), `slice_number` (0-based rank along the slice normal),
            `label` (the patient's class), `slice_label` (1 lesion, 0 none, null unknown), optionally `units` and
            `position_mm`, then `p_<class>` in scheme order: softmax probabilities that sum to 1.
            A patient is the pair (site, patient_key).
        scheme: The classes; their order is the order of the probability columns.
        meta: `run`, `index_digest`, `split_digest`, `weights_digest`: what the table was made from. A key that is
            not known is absent.
    """

    frame: pd.DataFrame
    scheme: ClassScheme
    meta: Mapping[str, str] = field(default_factory=dict)

    @property
    def probabilities(self) -> np.ndarray:
        """float64 [n, K], columns in scheme order."""
        return self.frame[probability_columns(self.scheme)].to_numpy(dtype=np.float64)


def probability_columns(scheme: ClassScheme) -> list[str]:
    """Names of the probability columns, in scheme order."""
    return [f"p_{name}" for name in scheme.names]


def verify(predictions: Predictions, *, where: str | None = None) -> None:
    """Check that a table is what `Predictions` promises.

    Args:
        predictions: The table.
        where: File name for the message.

    Raises:
        IntegrityError: A column is missing, undeclared or out of order, a probability is NaN or outside 0..1, a row
            does not sum to 1, a slice occurs twice in one partition, or a label or partition is unknown. The message
            has the number of rows and the first slice keys (pseudonyms).
    """
    frame, scheme = predictions.frame, predictions.scheme
    columns = probability_columns(scheme)
    found = [str(name) for name in frame.columns]

    def refuse(what: str, rows: np.ndarray | None = None) -> None:
        if rows is not None:
            keys = ", ".join(str(key) for key in frame["slice_key"].to_numpy()[rows][:3])
            what = f"{what}: {int(rows.sum())} of {len(frame)} rows, first slice_key {keys}"
        raise IntegrityError(what, where=where, remedy="make the predictions again with `covidct evaluate`")

    missing = [name for name in (*REQUIRED, *columns) if name not in found]
    if missing:
        refuse(f"the predictions table lacks the columns {missing}")
    unknown = sorted(set(found) - set(REQUIRED) - set(OPTIONAL) - set(columns))
    if unknown:
        refuse(f"the predictions table has columns that are not declared: {unknown}")
    order = [name for name in found if name in set(columns)]
    if order != columns:
        refuse(f"the probability columns are in the order {order}; the class scheme says {columns}")
    unknown_meta = sorted(set(predictions.meta) - set(META_KEYS))
    if unknown_meta:
        refuse(f"the predictions table has metadata that are not declared: {unknown_meta}")
    if frame.empty:
        refuse("the predictions table has no rows")

    for name in REQUIRED:
        if name not in NULLABLE:
            empty = np.asarray(frame[name].isna(), dtype=bool)
            if empty.any():
                refuse(f"column {name} is empty", empty)
    for name, allowed in (("split", SPLITS), ("label", scheme.names)):
        strange = ~np.asarray(frame[name].isin(list(allowed)), dtype=bool)
        if strange.any():
            refuse(f"column {name} has values other than {list(allowed)}", strange)
    strange = np.asarray(~(frame["slice_label"].isna() | frame["slice_label"].isin([0, 1])), dtype=bool)
    if strange.any():
        refuse("column slice_label has values other than 0, 1 and null", strange)
    twice = np.asarray(frame.duplicated(["slice_key", "split"]), dtype=bool)
    if twice.any():
        refuse("a slice occurs more than once in its partition", twice)

    probabilities = predictions.probabilities
    undefined = ~np.all(np.isfinite(probabilities), axis=1)
    if undefined.any():
        refuse("probabilities are NaN or infinite", undefined)
    outside = np.any((probabilities < 0) | (probabilities > 1 + SUM_TOLERANCE), axis=1)
    if outside.any():
        refuse("probabilities lie outside 0..1", outside)
    sums = np.abs(probabilities.sum(axis=1) - 1) > SUM_TOLERANCE
    if sums.any():
        refuse(f"probabilities do not sum to 1 within {SUM_TOLERANCE:g}", sums)


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Verify a table and write it as Parquet, atomically, with classes and digests in the file's metadata.

    Raises:
        IntegrityError: See `verify`.
    """
    verify(predictions)
    fields = _fields(predictions.scheme, [str(name) for name in predictions.frame.columns])
    header = {"schema": SCHEMA_VERSION, "classes": predictions.scheme.as_dict(), **predictions.meta}
    schema = pa.schema(fields, metadata={b"covidct": json.dumps(header, sort_keys=True).encode()})
    frame = predictions.frame[[column.name for column in fields]]
    try:
        table = pa.Table.from_pandas(frame, schema=schema, preserve_index=False, safe=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise IntegrityError(f"a column of the predictions table has the wrong type: {error}") from None
    # from_pandas adds pandas' own description of the index; the declared metadata are all that the file shall hold
    table = table.replace_schema_metadata(schema.metadata)
    with replacing(Path(path)) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_predictions(path: Path, *, scheme: ClassScheme | None = None) -> Predictions:
    """Read and verify a predictions table.

    Args:
        path: The Parquet file.
        scheme: The expected classes, or None to take those of the file.

    Raises:
        DataRefused: The file is missing or is not Parquet.
        IntegrityError: It is not a predictions table, its content fails `verify`, or its classes differ from
            `scheme` in name, order or in which of them is normal (fault 44).
    """
    path = Path(path)
    try:
        table = pq.read_table(path, partitioning=None)
    except FileNotFoundError:
        raise DataRefused("the predictions table does not exist", where=str(path)) from None
    except (pa.ArrowInvalid, OSError) as error:
        raise DataRefused(f"not a Parquet file: {error}", where=str(path)) from None
    header = _header(table.schema.metadata or {}, path)
    found = ClassScheme.from_dict(header["classes"])
    if scheme is not None and (found.names, found.normal) != (scheme.names, scheme.normal):
        raise IntegrityError(
            f"the predictions have the classes {list(found.names)} (normal: {found.normal}), in this order; "
            f"expected {list(scheme.names)} (normal: {scheme.normal})",
            where=path.name,
            remedy="use the run that made the predictions",
        )
    for column in _fields(found, table.column_names):
        if table.schema.field(column.name).type not in (column.type, _large(column.type)):
            raise IntegrityError(
                f"column {column.name} has type {table.schema.field(column.name).type}, expected {column.type}",
                where=path.name,
            )
    frame = table.to_pandas(types_mapper={pa.int8(): pd.Int8Dtype()}.get, ignore_metadata=True)
    predictions = Predictions(frame, found, {key: header[key] for key in META_KEYS if key in header})
    verify(predictions, where=path.name)
    return predictions


def _fields(scheme: ClassScheme, present: list[str]) -> list[pa.Field]:
    """Declared columns that are present, in the order of the file."""
    declared = REQUIRED | OPTIONAL | {name: pa.float64() for name in probability_columns(scheme)}
    return [pa.field(name, kind, nullable=name in NULLABLE) for name, kind in declared.items() if name in present]


def _large(kind: pa.DataType) -> pa.DataType:
    return pa.large_string() if kind == pa.string() else kind


def _header(metadata: Mapping[bytes, bytes], path: Path) -> dict[str, Any]:
    try:
        header = json.loads(metadata[b"covidct"])
    except (KeyError, ValueError):
        raise IntegrityError("not a predictions table of covidct: its metadata are missing", where=path.name) from None
    if header.get("schema") != SCHEMA_VERSION or "classes" not in header:
        raise IntegrityError(
            f"the predictions table has schema {header.get('schema')!r}; this covidct reads {SCHEMA_VERSION}",
            where=path.name,
            remedy="evaluate the run again with this version",
        )
    return dict(header)
