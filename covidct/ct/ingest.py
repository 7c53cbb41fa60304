"""One file in, its records out: what each slice in it is, or why it cannot be used. Nothing a file contains raises.

Records hold what the header says about the patient in the clear. They stay inside the process that builds the index,
which turns them into pseudonyms.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from covidct.ct.header import Header, header_of, patient_id_of, sop_uid_of
from covidct.ct.hounsfield import refuse_unless_ct
from covidct.ct.measures import Measures, measure
from covidct.ct.multiframe import Frames, is_multiframe
from covidct.ct.nifti import Volume, open_volume
from covidct.ct.read import (
    OUT_OF_MEMORY,
    Slice,
    frame_of,
    frames_of,
    kind_of,
    open_dicom,
    read_slice,
    slice_of,
)
from covidct.ct.window import HU
from covidct.errors import CovidctError, DataRefused


@dataclass(frozen=True)
class Record:
    """What one slice in a file is, or what a whole file is that cannot be used.

    Args:
        path: As it was given.
        reason: Why it cannot be used; "" when it can.
        units: `"HU"` or `"gray8"`, when it can.
        pixel_hash: See `covidct.ct.read.Slice.pixel_hash`.
        rows: Number of rows.
        cols: Number of columns.
        lossy: Whether lossy compression is declared.
        header: Geometry and origin; None for images.
        patient_id: From the header, also of a refused DICOM file where it could be read; None otherwise.
        frame: 0-based number of the slice in its file; 0 for a file that is refused as a whole.
        measures: Numbers about the pixels; None where they were not decoded.
    """

    path: str
    reason: str = ""
    units: str | None = None
    pixel_hash: str | None = None
    rows: int = 0
    cols: int = 0
    lossy: bool = False
    header: Header | None = None
    patient_id: str | None = None
    frame: int = 0
    measures: Measures | None = None


def ingest(root: Path, path: str, kinds: tuple[str, ...]) -> list[Record]:
    """Look at one file and decode it: one record for each slice in it, or one that says why there is none.

    Args:
        root: The data folder.
        path: The file, relative to it.
        kinds: What the source consists of: some of `"dicom"`, `"nifti"`, `"png"`, `"jpeg"`.
    """
    patient_id: str | None = None
    try:
        file = root / path
        kind = kind_of(file)
        if kind not in kinds:
            raise DataRefused(f"{kind.upper()} file in a source of {' and '.join(k.upper() for k in kinds)} files")
        if kind == "nifti":
            return _of_volume(path, open_volume(file))
        if kind != "dicom":
            return [_record(path, read_slice(file))]
        with open_dicom(file) as dataset:
            patient_id = patient_id_of(dataset)
            if is_multiframe(dataset):
                return _of_frames(path, frames_of(file), patient_id)
            refuse_unless_ct(dataset)
            header = header_of(dataset)
            return [_record(path, slice_of(dataset), header=header, patient_id=patient_id)]
    except CovidctError as error:
        reason = error.what
    except MemoryError:
        reason = OUT_OF_MEMORY
    except Exception as error:  # whatever a file does, no other one pays for it
        reason = f"cannot be read ({type(error).__name__})"
    return [Record(path, reason, patient_id=patient_id)]


def _record(path: str, picture: Slice, **about: Any) -> Record:
    if picture.pixels.min() == picture.pixels.max():
        raise DataRefused("blank: one value everywhere")
    rows, cols = picture.pixels.shape
    return Record(
        path,
        units=picture.units,
        pixel_hash=picture.pixel_hash(),
        rows=rows,
        cols=cols,
        lossy=picture.lossy,
        measures=measure(picture),
        **about,
    )


def _of_frames(path: str, frames: Frames, patient_id: str) -> list[Record]:
    records = []
    for frame in range(frames.count):
        try:
            plain = frames.header(frame)
            refuse_unless_ct(plain)
            header = header_of(plain)
            if uid := sop_uid_of(frames.dataset):
                header = replace(header, sop_uid=f"{uid}#{frame}")
            records.append(_record(path, frame_of(frames, frame), header=header, patient_id=patient_id, frame=frame))
        except CovidctError as error:
            records.append(Record(path, error.what, patient_id=patient_id, frame=frame))
    return records


def _of_volume(path: str, volume: Volume) -> list[Record]:
    """A volume has no UID: its series is named by what it holds, whatever its file is called and however packed."""
    records: list[Record] = []
    for frame in range(volume.count):
        picture = Slice(volume.pixels(frame), HU, volume.row_mm, volume.col_mm)
        try:
            records.append(_record(path, picture, frame=frame))
        except CovidctError as error:
            records.append(Record(path, error.what, frame=frame))
    content = [volume.row, volume.col, volume.origin, volume.step, *(record.pixel_hash for record in records)]
    series = f"nifti:{hashlib.sha256(repr(content).encode()).hexdigest()}"
    return [
        record
        if record.reason
        else replace(
            record,
            header=Header(
                patient_id="",
                study_uid="",
                series_uid=series,
                sop_uid=f"{series}#{record.frame}",
                row=volume.row,
                col=volume.col,
                position=volume.position(record.frame),
                row_mm=volume.row_mm,
                col_mm=volume.col_mm,
                rows=record.rows,
                cols=record.cols,
            ),
        )
        for record in records
    ]
