"""What a compressed frame says about its own size, read before a decoder allocates by it.

Native decoders believe the frame, not the DICOM header: one that claims 65535 x 65535 pixels costs gigabytes, or ends
the process (CharLS through pyjpegls aborts). Frame headers: ITU-T T.81 B.2.2 (JPEG), T.87 C.2.2 (JPEG-LS), T.800 A.5.1
(JPEG 2000); RLE: DICOM PS3.5 Annex G.
"""

from __future__ import annotations

import struct

from covidct.errors import DataRefused

_SLACK = 2**20
_SOF = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # start of frame; 0xF7 is JPEG-LS; the three are other things
_BARE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_JPEG_LS, _END = b"\xff\xf7", b"\xff\xd9"
_J2K = b"\xff\x4f\xff\x51"  # start of codestream, size: always together, in a JP2 box or bare


def refuse_bomb(frame: bytes, rows: int, cols: int) -> None:
    """Compare a compressed frame with the header around it.

    Args:
        frame: One frame, its fragments joined.
        rows: Rows of the header.
        cols: Columns of the header.

    Raises:
        DataRefused: The frame declares another size or several components, is larger than any encoder makes it, or is a
            JPEG-LS frame that is cut.
    """
    if len(frame) > 2 * (rows * cols * 2) + _SLACK:  # the worst encoder of RLE doubles it
        raise DataRefused("compressed frame far larger than the picture in it")
    declared = declared_size(frame)
    if declared is not None and declared != (rows, cols, 1):
        raise DataRefused("size in the compressed frame differs from the header")
    if _JPEG_LS in frame[:4096] and not frame.rstrip(b"\0").endswith(_END):
        raise DataRefused("compressed frame without an end")  # CharLS may search it for ten seconds


def declared_size(frame: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and components that a frame declares; None where it is of no such kind or cut."""
    start = frame.find(_J2K, 0, 4096)
    try:
        if start >= 0:
            right, bottom, left, top = struct.unpack_from(">4I", frame, start + 8)
            return bottom - top, right - left, struct.unpack_from(">H", frame, start + 40)[0]
        if frame[:2] == b"\xff\xd8":
            return _jpeg_size(frame)
    except (struct.error, IndexError):
        pass
    return None


def _jpeg_size(frame: bytes) -> tuple[int, int, int] | None:
    place = 2
    while frame[place] == 0xFF:
        marker = frame[place + 1]
        if marker == 0xFF:  # fill
            place += 1
        elif marker in _SOF:
            rows, cols, components = struct.unpack_from(">HHB", frame, place + 5)
            return rows, cols, components
        elif marker in _BARE:
            place += 2
        else:
            place += 2 + struct.unpack_from(">H", frame, place + 2)[0]
    return None
