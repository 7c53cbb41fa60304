"""NIfTI volumes (NIfTI-1 and -2, `.nii` and `.nii.gz`) as axial CT slices.

NIfTI says nothing of what its values are: no modality, no unit, no padding. That `scl_slope x stored + scl_inter` are
Hounsfield units is *assumed*, because CT volumes are published so, and *checked* on the values themselves: a chest
holds air and soft tissue, so at least `MIN_SHARE` of the voxels must lie in `AIR_HU` and as many in `SOFT_HU`. Grey
values 0..255, values scaled to 0..1, masks, and CT numbers without their intercept (air at 0) or with it taken off
twice (air at -2000) fail one of the two and are refused. What the check cannot see: values clipped to a window that
holds both.

Also assumed: lengths are mm where the header names no unit (`xyzt_units` 0). Never assumed: which way is up. A volume
whose header gives no orientation (sform and qform codes both 0) is refused. NaN and infinite values are no measurement
and become padding, -1024 HU.
"""

from __future__ import annotations

import gzip
import io
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from covidct.ct.decode import MAX_SIDE
from covidct.errors import CovidctError, DataRefused

Vector = tuple[float, float, float]

MAX_BYTES = 2**30
"""The largest volume in memory, as stored. 512 x 512 x 1024 in 16 bits is half of it."""

AIR_HU = (-1100, -800)
SOFT_HU = (-150, 200)
MIN_SHARE = 0.01

_FLOOR_HU = -1024
_HEADERS = {348: b"n+1\0", 540: b"n+2\0\r\n\x1a\n"}  # sizeof_hdr -> magic of the single-file format
_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # xyzt_units & 7: not said, m, mm, um
_MAX_RATIO = 1040  # deflate cannot shrink more


@dataclass(frozen=True, eq=False)
class Volume:
    """A volume turned so that its slices look like axial DICOM slices.

    Args:
        stored: `[columns, rows, slices]`, values as stored: columns run to the patient's left, rows to the back, slices
            to the head. A view into the file where it is not compressed.
        slope: `scl_slope`.
        intercept: `scl_inter`.
        row: Direction in which columns advance, in DICOM's patient coordinates (to the left, back and head).
        col: Direction in which rows advance.
        origin: Centre of the first pixel of the lowest slice, mm.
        step: From a slice to the next one, mm.
        row_mm: Distance of neighbouring rows.
        col_mm: Distance of neighbouring columns.
    """

    stored: npt.NDArray[Any]
    slope: float
    intercept: float
    row: Vector
    col: Vector
    origin: Vector
    step: Vector
    row_mm: float
    col_mm: float

    @property
    def count(self) -> int:
        """Number of axial slices."""
        return int(self.stored.shape[2])

    def pixels(self, frame: int) -> npt.NDArray[np.int16]:
        """One slice, int16 `[rows, columns]`, HU: row 0 in front, column 0 at the patient's right.

        Args:
            frame: 0-based, from the feet.

        Raises:
            DataRefused: There is no such slice.
        """
        if not 0 <= frame < self.count:
            raise DataRefused(f"frame {frame} of a file with {self.count} frames")
        values = self._scaled(self.stored[:, :, frame].T)
        values[~np.isfinite(values)] = _FLOOR_HU
        return np.clip(np.rint(values), _FLOOR_HU, np.iinfo(np.int16).max).astype(np.int16)

    def position(self, frame: int) -> Vector:
        """Centre of a slice's first pixel, mm."""
        x, y, z = (start + frame * step for start, step in zip(self.origin, self.step, strict=True))
        return (x, y, z)

    def _scaled(self, stored: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        values: npt.NDArray[np.float64] = stored.astype(np.float64) * self.slope + self.intercept
        return values

    def refuse_unless_hounsfield(self) -> None:
        """Look for air and soft tissue in up to 32 slices over the whole length.

        Raises:
            DataRefused: They are missing: whatever the values are, they are not Hounsfield units of a chest.
        """
        step = max(1, self.count // 32)
        values = self._scaled(self.stored[::2, ::2, ::step] if min(self.stored.shape[:2]) > 64 else self.stored)
        values = values[np.isfinite(values)]
        for low, high in (AIR_HU, SOFT_HU):
            if values.size == 0 or ((values >= low) & (values <= high)).mean() < MIN_SHARE:
                raise DataRefused("NIfTI values are not Hounsfield units (no air or no soft tissue where it should be)")


def is_nifti(head: bytes) -> bool:
    """Whether a file begins like a NIfTI volume, compressed or not.

    Args:
        head: Its first 1024 bytes, or all where it is shorter.
    """
    if head.startswith(b"\x1f\x8b"):
        try:
            head = zlib.decompressobj(31).decompress(head, 540)
        except zlib.error:
            return False
    return _header_size(head) is not None


def open_volume(path: Path) -> Volume:
    """Open a volume; the last one is kept, so that its slices can be read in turn without decompressing it again.

    Raises:
        DataRefused: It is damaged, larger than `MAX_BYTES`, not one volume of numbers, not oriented, or its values are
            not Hounsfield units.
    """
    status = path.stat()
    return _open(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1)
def _open(path: Path, _changed: int, size: int) -> Volume:
    try:
        volume = _read(path, size)
    except CovidctError:
        raise
    except Exception as error:  # a hostile header raises nearly anything
        raise DataRefused(f"damaged NIfTI file ({type(error).__name__})") from error
    volume.refuse_unless_hounsfield()
    return volume


def _read(path: Path, size: int) -> Volume:
    with path.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    with gzip.open(path) if packed else path.open("rb") as stream:
        head = stream.read(540)
    header = _header(head)
    start, shape, dtype = int(header["vox_offset"]), _shape(header), header.get_data_dtype()
    if dtype.kind not in "iuf" or dtype.itemsize < 2:
        raise DataRefused("NIfTI values are not whole or real numbers of 16 bits and more")
    needed = start + int(np.prod([int(side) for side in shape], dtype=object)) * dtype.itemsize
    if needed > MAX_BYTES:
        raise DataRefused(f"volume larger than {MAX_BYTES // 2**20} MiB")
    if start < len(head[:352]) or needed > size * (_MAX_RATIO if packed else 1):
        raise DataRefused("the file is shorter than its header says")
    stored: npt.NDArray[Any]
    if packed:
        with gzip.open(path) as stream:
            content = stream.read(needed)
            stream.read(1)  # at the end, the checksum is compared
        if len(content) < needed:
            raise DataRefused("the file is shorter than its header says")
        stored = np.frombuffer(content, dtype, offset=start).reshape(shape, order="F")
    else:
        stored = np.memmap(path, dtype, mode="r", offset=start, shape=shape, order="F")
    return _oriented(stored, header)


def _header_size(head: bytes) -> int | None:
    for size, magic in _HEADERS.items():
        place = 344 if size == 348 else 4
        if head[:4] in (size.to_bytes(4, "little"), size.to_bytes(4, "big")) and head[place:].startswith(magic):
            return size
    return None


def _header(head: bytes) -> Any:
    import nibabel
    from nibabel.imageglobals import logger

    kind = nibabel.Nifti1Header if _header_size(head) == 348 else nibabel.Nifti2Header
    silent, logger.disabled = logger.disabled, True  # what it mends it would tell on the screen, with its numbers
    try:
        return kind.from_fileobj(io.BytesIO(head), check=True)
    finally:
        logger.disabled = silent


def _shape(header: Any) -> tuple[int, int, int]:
    sides = tuple(int(side) for side in header.get_data_shape())
    if len(sides) < 3 or any(side != 1 for side in sides[3:]):
        raise DataRefused(f"{len(sides)}-dimensional NIfTI file: one volume is needed")
    if not all(0 < side <= MAX_SIDE for side in sides[:3]):
        raise DataRefused(f"rows, columns or slices outside 1..{MAX_SIDE}")
    return (sides[0], sides[1], sides[2])


def _oriented(stored: npt.NDArray[Any], header: Any) -> Volume:
    from nibabel import orientations

    if not (int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0):
        raise DataRefused("NIfTI header says no orientation (sform and qform codes are 0)")
    unit = int(header["xyzt_units"]) & 7
    if unit not in _MM:
        raise DataRefused("NIfTI unit of length is unknown")
    affine = header.get_best_affine().astype(float)  # to the right, front and head
    affine[:3] *= _MM[unit]
    affine[:2] *= -1  # DICOM: to the left, back and head
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise DataRefused("NIfTI orientation is not a rotation of the axes")
    turned = orientations.io_orientation(affine)
    affine = affine @ orientations.inv_ornt_aff(turned, stored.shape)
    stored = orientations.apply_orientation(stored, turned)
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not (lengths < 100).all() or max(lengths[:2]) > 1.5 * min(lengths[:2]):
        raise DataRefused("NIfTI volume does not consist of axial slices (pixels far from square, or no size in mm)")
    row, col = affine[:3, 0] / lengths[0], affine[:3, 1] / lengths[1]
    if abs(float(row @ col)) > 0.01:
        raise DataRefused("image orientation is not two perpendicular unit vectors")
    slope, intercept = header.get_slope_inter()
    return Volume(
        stored,
        1.0 if slope is None else float(slope),
        0.0 if intercept is None else float(intercept),
        _vector(row),
        _vector(col),
        _vector(affine[:3, 3]),
        _vector(affine[:3, 2]),
        round(float(lengths[1]), 6),
        round(float(lengths[0]), 6),
    )


def _vector(values: npt.NDArray[np.float64]) -> Vector:
    x, y, z = (round(float(value), 5) + 0.0 for value in values)  # headers keep 32-bit numbers
    return (x, y, z)
