"""Reading one slice from a file: DICOM or NIfTI to Hounsfield units, PNG or JPEG to 8-bit grey.

The index, the training reader, `predict`, the report and the notebooks all read through `read_slice`, so a slice means
the same pixels everywhere. Messages never hold a path or a header value: both can name a patient. The caller knows
which slice it asked for and names it by its key.
"""

from __future__ import annotations

import hashlib
import logging
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
from PIL import Image, UnidentifiedImageError
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from covidct.ct.bounds import BoundedFile, refuse_deflate_bomb, refuse_long_values, refuse_scan_bomb
from covidct.ct.decode import MAX_SIDE
from covidct.ct.hounsfield import is_lossy, refuse_unless_ct, rescaled, to_hounsfield
from covidct.ct.multiframe import Frames, is_multiframe, says_multiframe
from covidct.ct.nifti import is_nifti, open_volume
from covidct.ct.window import GRAY8, HU
from covidct.errors import CovidctError, DataRefused

MAX_BYTES = 512 * 2**20
"""The largest DICOM or image file read. One uncompressed 4096 x 4096 slice is 32 MiB."""

_PACKED = (
    b"PK\3\4",
    b"PK\5\6",
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ\0",
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!\x1a\7",
    b"\x28\xb5\x2f\xfd",
)
"""How archives and compressed files begin: zip, gzip, bzip2, xz, 7z, rar, zstd; tar has its word at 257."""

_OFFICE = b"[Content_Types].xml"  # a spreadsheet is a zip file, too, but there is nothing to unpack
_BARE = tuple(bytes((8, 0, element, 0)) for element in (0, 1, 5, 8, 0x16)) + tuple(
    bytes((0, 8, 0, element)) for element in (0, 1, 5, 8, 0x16)
)
"""How data sets begin, in either byte order: with group 0008, by Group Length, Length to End, Specific Character Set,
Image Type or SOP Class UID.
"""

OUT_OF_MEMORY = "reading it takes more memory than there is"
"""The reason where memory ran out, or a limit set by the caller was met."""


@dataclass(frozen=True, eq=False)
class Slice:
    """One picture.

    Args:
        pixels: `[rows, cols]`; int16 Hounsfield values, or uint8 grey.
        units: `"HU"` or `"gray8"`.
        row_mm: Distance between the centres of neighbouring rows, in mm; None for images.
        col_mm: The same for columns.
        lossy: Whether lossy compression is declared (DICOM) or certain (JPEG).
    """

    pixels: npt.NDArray[np.int16] | npt.NDArray[np.uint8]
    units: str
    row_mm: float | None = None
    col_mm: float | None = None
    lossy: bool = False

    def pixel_hash(self) -> str:
        """SHA-256 over type, shape and values: equal for the same picture in any lossless encoding."""
        pixels = np.ascontiguousarray(self.pixels, dtype=self.pixels.dtype.newbyteorder("<"))
        head = f"{self.pixels.dtype.name}:{pixels.shape[0]}x{pixels.shape[1]}:".encode()
        return hashlib.sha256(head + pixels.tobytes()).hexdigest()


def read_slice(path: Path | str, frame: int = 0) -> Slice:
    """Read one slice, whatever the file's name says it is.

    Args:
        path: A DICOM, NIfTI, PNG or JPEG file.
        frame: 0-based number of the slice in its file: of the frame of a multi-frame DICOM file, of the axial slice of
            a NIfTI volume counted from the feet; 0 for files of one slice.

    Returns:
        Its pixels with their meaning.

    Raises:
        DataRefused: It is not a file of these kinds, is damaged, its values have no defined meaning, or a decoder is
            missing (the message names the package).
    """
    path = Path(path)
    kind = kind_of(path)
    if kind == "nifti":
        volume = open_volume(path)
        return Slice(volume.pixels(frame), HU, volume.row_mm, volume.col_mm)
    if kind == "dicom":
        with _harmless():
            if _stamp(path) in _kept:
                return frame_of(frames_of(path), frame)
        with open_dicom(path) as dataset:
            if is_multiframe(dataset):
                return frame_of(frames_of(path), frame)
            _refuse_second(frame)
            return slice_of(dataset)
    _refuse_second(frame)
    return _read_image(path)


def _refuse_second(frame: int) -> None:
    if frame != 0:
        raise DataRefused(f"frame {frame} of a single-frame file")


def kind_of(path: Path) -> str:
    """`"dicom"`, `"nifti"`, `"png"` or `"jpeg"`, judged by the first bytes.

    Raises:
        DataRefused: Anything else: a folder, a pipe, a device, an empty or a foreign file. Nothing that could block
            is opened.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise DataRefused(f"cannot be opened ({type(error).__name__})") from None
    if not stat.S_ISREG(status.st_mode):
        raise DataRefused("not a regular file")
    if status.st_size == 0:
        raise DataRefused("empty file")
    try:
        with path.open("rb") as stream:
            head = stream.read(1024)
    except OSError as error:
        raise DataRefused(f"cannot be opened ({type(error).__name__})") from None
    if is_nifti(head):  # looks at its sizes itself
        return "nifti"
    if status.st_size > MAX_BYTES:
        raise DataRefused(f"file larger than {MAX_BYTES // 2**20} MiB")
    if head[128:132] == b"DICM":  # PS3.10 7.1
        return "dicom"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(_BARE):
        raise DataRefused("DICOM data set without the head of a DICOM file (PS3.10 7.1; dcmconv of DCMTK writes it)")
    if (head.startswith(_PACKED) and _OFFICE not in head) or head[257:262] == b"ustar":
        raise DataRefused("archive (archives are not opened; unpack it first)")
    raise DataRefused("not a DICOM, NIfTI, PNG or JPEG file")


@contextmanager
def open_dicom(path: Path) -> Iterator[Dataset]:
    """Give a dataset; inside the block its elements may be odd without a flood of warnings that quote them.

    Whatever goes wrong inside becomes `DataRefused` (a `CovidctError` passes unchanged): pydicom parses elements when
    they are first looked at, so a damaged header can fail at any line that touches it.

    The dataset of a multi-frame file is without its pixels, which can be many: see `frames_of`.
    """
    with _harmless(), BoundedFile(path.open("rb", buffering=0)) as stream:
        refuse_deflate_bomb(stream)
        dataset = pydicom.dcmread(stream, stop_before_pixels=says_multiframe(stream))
        refuse_long_values(dataset)
        yield dataset


@contextmanager
def _unlogged(logger: logging.Logger) -> Iterator[None]:
    """Keep to itself what a library says of a file: pydicom quotes header values, and a log may travel."""
    before, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.propagate = before


@contextmanager
def _harmless() -> Iterator[None]:
    with warnings.catch_warnings(), _unlogged(logging.getLogger("pydicom")):
        warnings.simplefilter("ignore")
        try:
            yield
        except CovidctError:
            raise
        except MemoryError as error:
            raise DataRefused(OUT_OF_MEMORY) from error
        except InvalidDicomError as error:
            raise DataRefused("not a DICOM file") from error
        except Exception as error:  # a hostile header raises nearly anything, RecursionError included
            if isinstance(error.__context__, CovidctError):  # ours, wrapped by the parser
                raise error.__context__ from error
            raise DataRefused(f"damaged DICOM file ({type(error).__name__})") from error


def slice_of(dataset: Dataset) -> Slice:
    """The slice in a dataset.

    Raises:
        DataRefused: See `covidct.ct.hounsfield.to_hounsfield`.
    """
    pixels = to_hounsfield(dataset)
    row_mm, col_mm = pixel_spacing(dataset)
    return Slice(pixels, HU, row_mm, col_mm, is_lossy(dataset))


def frames_of(path: Path) -> Frames:
    """The frames of a multi-frame file; those of the last file are kept, because its header is long.

    Call it inside `open_dicom`.

    Raises:
        DataRefused: The sizes in the header contradict each other or the file's.
    """
    stamp = _stamp(path)
    if stamp not in _kept:
        _kept.clear()
        _kept[stamp] = Frames(path)
    return _kept[stamp]


_kept: dict[tuple[Path, int, int], Frames] = {}


def _stamp(path: Path) -> tuple[Path, int, int]:
    status = path.stat()
    return path, status.st_mtime_ns, status.st_size


def frame_of(frames: Frames, frame: int) -> Slice:
    """The slice in a frame.

    Raises:
        DataRefused: See `covidct.ct.hounsfield.to_hounsfield`.
    """
    header = frames.header(frame)
    refuse_unless_ct(header)
    pixels = rescaled(header, frames.stored(frame))
    row_mm, col_mm = pixel_spacing(header)
    return Slice(pixels, HU, row_mm, col_mm, is_lossy(header))


def pixel_spacing(dataset: Dataset) -> tuple[float, float]:
    """Row and column spacing in mm, (0028,0030): the first value is the distance between rows.

    Raises:
        DataRefused: Missing or not positive.
    """
    try:
        row_mm, col_mm = (float(value) for value in dataset.get("PixelSpacing") or ())
    except (TypeError, ValueError):
        raise DataRefused("no pixel spacing") from None
    if not (0 < row_mm < 100 and 0 < col_mm < 100):
        raise DataRefused("pixel spacing is not a plausible size in mm")
    return row_mm, col_mm


def _read_image(path: Path) -> Slice:
    """An 8-bit picture as grey, by ITU-R 601 luminance; transparency is ignored."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            refuse_scan_bomb(path)
            with Image.open(path, formats=("PNG", "JPEG")) as image:
                if max(image.size) > MAX_SIDE:
                    raise DataRefused(f"rows or columns outside 1..{MAX_SIDE}")
                if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"):
                    raise DataRefused("not an 8-bit image (its grey scale has no defined meaning)")
                pixels = np.array(image.convert("L"), dtype=np.uint8)
                return Slice(pixels, GRAY8, lossy=image.format == "JPEG")
        except CovidctError:
            raise
        except MemoryError as error:
            raise DataRefused(OUT_OF_MEMORY) from error
        except UnidentifiedImageError as error:
            raise DataRefused("damaged image file") from error
        except Exception as error:  # pillow's plug-ins raise OSError, SyntaxError, struct.error, ... on damaged files
            raise DataRefused(f"damaged image file ({type(error).__name__})") from error
