"""From the bytes of a DICOM file to stored pixel values, by whatever decoder is installed.

Pillow, python-gdcm and pyjpegls come with `covidct` and read what CT archives hold. What few people need is the extra
`decoders` (HTJ2K). One decoder is in neither: pylibjpeg-libjpeg, the only one for 12-bit JPEG Extended, is GPL-3.0,
which an Apache-2.0 package does not depend on; whoever installs it themselves has their files read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import as_pixel_options, get_decoder

from covidct.ct.codestream import refuse_bomb
from covidct.errors import CovidctError, DataRefused

MAX_SIDE = 4096
"""The largest rows or columns read, in pixels. CT is 512 to 2048; more is a damaged or a hostile header."""

_PACKAGES = {
    uid.JPEGExtended12Bit: "pylibjpeg and pylibjpeg-libjpeg (GPL-3.0)",
    uid.JPEGBaseline8Bit: "pillow",
    uid.JPEGLossless: "python-gdcm",
    uid.JPEGLosslessSV1: "python-gdcm",
    uid.JPEGLSLossless: "pyjpegls or python-gdcm",
    uid.JPEGLSNearLossless: "pyjpegls or python-gdcm",
    uid.JPEG2000Lossless: "pillow or python-gdcm",
    uid.JPEG2000: "pillow or python-gdcm",
    uid.RLELossless: "pydicom",
    uid.HTJ2KLossless: "pylibjpeg and pylibjpeg-openjpeg",
    uid.HTJ2KLosslessRPCL: "pylibjpeg and pylibjpeg-openjpeg",
    uid.HTJ2K: "pylibjpeg and pylibjpeg-openjpeg",
}
"""What to install for a transfer syntax that no installed decoder reads."""


def syntax_of(dataset: Dataset) -> uid.UID:
    """The transfer syntax a dataset was read in.

    Raises:
        DataRefused: The file names none.
    """
    syntax = uid.UID(str(dataset.file_meta.get("TransferSyntaxUID") or "")) if hasattr(dataset, "file_meta") else None
    if not syntax:
        raise DataRefused("no transfer syntax")
    return syntax


def stored_values(dataset: Dataset) -> npt.NDArray[np.int32]:
    """Stored values of a single-frame dataset, `[rows, cols]`, masked to Bits Stored and sign extended.

    Raises:
        DataRefused: The pixels are cut or damaged, or no decoder for their transfer syntax is installed (then the
            reason names the syntax and the package).
    """
    if "PixelData" not in dataset:
        raise DataRefused("no pixel data")
    syntax = syntax_of(dataset)
    if not syntax.is_encapsulated and len(dataset.PixelData) < dataset.Rows * dataset.Columns * 2:
        raise DataRefused("pixel data are cut short")
    with _decoding(syntax):
        if syntax.is_encapsulated:
            refuse_bomb(get_frame(dataset.PixelData, 0, number_of_frames=1), dataset.Rows, dataset.Columns)
        pixels = dataset.pixel_array
    return _masked(dataset, pixels)


def stored_frame(dataset: Dataset, frame: int, stream: BinaryIO | None, **options: Any) -> npt.NDArray[np.int32]:
    """Stored values of one frame, as `stored_values`; the other frames are not decoded.

    Args:
        dataset: The file's dataset; with Pixel Data only where there is no stream.
        frame: 0-based.
        stream: The file, at the first byte of the value of Pixel Data: a frame is read from there. None: from the
            dataset.
        options: Further decoding options of pydicom.
    """
    syntax = syntax_of(dataset)
    with _decoding(syntax):
        options = as_pixel_options(dataset, **options) | {"transfer_syntax_uid": syntax}
        if syntax.is_encapsulated:
            source, place = (dataset.PixelData, 0) if stream is None else (stream, stream.tell())
            frames = int(dataset.get("NumberOfFrames") or 1)
            refuse_bomb(get_frame(source, frame, number_of_frames=frames), dataset.Rows, dataset.Columns)
            if stream is not None:
                stream.seek(place)
        source = dataset if stream is None else stream
        pixels, _ = get_decoder(syntax).as_array(source, index=frame, raw=True, **options)
    return _masked(dataset, pixels)


@contextmanager
def _decoding(syntax: uid.UID) -> Iterator[None]:
    try:
        yield
    except CovidctError:
        raise
    except NotImplementedError as error:
        raise DataRefused(
            f"no Python decoder exists for transfer syntax {_syntax_name(syntax)}: needs dcmdjpeg of DCMTK",
            remedy="transcode the file first: dcmdjpeg FILE NEW_FILE",
        ) from error
    except (RuntimeError, ImportError) as error:
        if _decoder_lacking(syntax, str(error)):
            package = _PACKAGES.get(syntax, "python-gdcm or pylibjpeg")
            raise DataRefused(
                f"no decoder installed for transfer syntax {_syntax_name(syntax)}: needs {package}",
                remedy=f"pip install {package.split(' or ')[0].replace(' and ', ' ').split(' (')[0]}",
            ) from error
        raise DataRefused(f"damaged pixel data ({_syntax_name(syntax)})") from error
    except Exception as error:  # a decoder may raise anything on a damaged frame, and its text may hold header values
        raise DataRefused(f"damaged pixel data ({type(error).__name__})") from error


def _masked(dataset: Dataset, pixels: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    if pixels.shape != (dataset.Rows, dataset.Columns):
        raise DataRefused("decoded size differs from the header")
    stored = pixels.astype(np.int32)
    bits = int(dataset.BitsStored)
    stored &= (1 << bits) - 1
    if dataset.PixelRepresentation == 1:
        stored -= (stored >> (bits - 1)) << bits
    return stored


def _syntax_name(syntax: uid.UID) -> str:
    return f"{syntax.name} {syntax}" if syntax in uid.UID_dictionary else "unknown"


def _decoder_lacking(syntax: uid.UID, message: str) -> bool:
    """Whether the decode failed for want of a package: all plug-ins missing, or present but unable (12-bit JPEG)."""
    return "missing dependencies" in message or (syntax == uid.JPEGExtended12Bit and "does not support" in message)


def decoders() -> list[tuple[str, tuple[str, ...], str]]:
    """For each compressed transfer syntax: its name, the plug-ins that read its CT here, and what to install."""
    rows = []
    for syntax, package in _PACKAGES.items():
        if syntax == uid.JPEGBaseline8Bit:  # 8-bit CT is refused
            continue
        plugins = tuple(get_decoder(syntax).available_plugins)
        if syntax == uid.JPEGExtended12Bit:  # pillow and gdcm announce it, and then read its 8-bit variety only
            plugins = tuple(name for name in plugins if name == "pylibjpeg")
        rows.append((str(syntax.name), plugins, package))
    return rows
