"""Bounds on what a DICOM file may ask of its parser, far above any real CT and far below what hurts."""

from __future__ import annotations

import io
import os
import zlib
from pathlib import Path
from typing import BinaryIO

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from covidct.errors import DataRefused

MAX_INFLATED = 128 * 2**20
"""The largest data set, in bytes, that a deflated file may unpack to. A factor of 1030 is possible."""

MAX_READS = 400_000
"""How often a parser may ask for more: about twice for each element. A header of 1000 enhanced frames takes 150,000."""

MAX_VALUE = 2**20
"""The longest value, in bytes, outside sequences, private groups and the pixel data. Colour profiles have 0.5 MiB."""

MAX_SCANS = 256
"""The most scans of a JPEG picture. Progressive ones have about ten, and each goes through all pixels again."""

_DEFLATED = str(DeflatedExplicitVRLittleEndian).encode()


class BoundedFile(io.BufferedReader):
    """A file that refuses to be read in too many pieces (millions of empty elements or items are no header), and that
    takes no room for more bytes than it has, whatever length an element claims.
    """

    def __init__(self, file: io.FileIO) -> None:
        super().__init__(file)
        self._left = MAX_READS
        self._size = os.fstat(file.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes.

        Raises:
            DataRefused: It was asked too often.
        """
        self._left -= 1
        if self._left < 0:
            raise DataRefused(f"header of more than {MAX_READS // 2:,} elements")
        return super().read(size if size is None else min(size, self._size))


def refuse_deflate_bomb(stream: BinaryIO) -> None:
    """Unpack a deflated file in small pieces, count them and forget them.

    Args:
        stream: The file at its beginning, and there again afterwards.

    Raises:
        DataRefused: It unpacks to more than `MAX_INFLATED` bytes.
    """
    head = stream.read(4096)
    group_length = int.from_bytes(head[140:144], "little")  # (0002,0000) is first, after preamble and prefix
    if _DEFLATED in head:
        stream.seek(144 + group_length)
        inflate, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
        try:
            while not inflate.eof and (piece := inflate.unconsumed_tail or stream.read(2**16)):
                total += len(inflate.decompress(piece, 2**20))
                if total > MAX_INFLATED:
                    raise DataRefused(f"deflated data set of more than {MAX_INFLATED // 2**20} MiB")
        except zlib.error:
            pass  # the parser says so in its words
    stream.seek(0, os.SEEK_SET)


def refuse_long_values(dataset: Dataset) -> None:
    """Look at the lengths of the values at the top level, before any is taken apart.

    Raises:
        DataRefused: One is longer than `MAX_VALUE`.
    """
    for tag in dataset.keys():  # noqa: SIM118  (iterating over a data set parses its elements)
        if tag.group <= 0x0028 and not tag.is_private:
            raw = dataset.get_item(tag)
            if isinstance(raw, RawDataElement) and raw.VR != "SQ" and len(raw.value or b"") > MAX_VALUE:
                raise DataRefused(f"header value of more than {MAX_VALUE // 2**20} MiB")


def refuse_scan_bomb(path: Path) -> None:
    """Count the scans of a JPEG file (ITU-T T.81 B.2.3: inside coded data the marker cannot occur).

    Raises:
        DataRefused: It has more than `MAX_SCANS`.
    """
    if path.read_bytes().count(b"\xff\xda") > MAX_SCANS:
        raise DataRefused(f"JPEG of more than {MAX_SCANS} scans")
