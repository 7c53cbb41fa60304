"""What lies inside a file: archives, compressed streams, tables and pictures opened, so that nothing hides in them."""

from __future__ import annotations

import base64
import binascii
import bz2
import gzip
import io
import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from covidct.data.deidentify.hunt import BLOCK

MAX_BYTES = 2**30
"""The most that is unpacked from one member; bombs end here."""

_DEPTH = 4
_DATA_URI = re.compile(rb"data:[\w/+.-]*;base64,([A-Za-z0-9+/=\s]+)")
_PDF_STREAM = re.compile(rb"stream\r?\n")


class Member(NamedTuple):
    """Bytes to be searched.

    Args:
        where: The way into the file, such as `data.pkl` or `IDAT`; "" for the file itself.
        data: The bytes.
        noise: See `covidct.data.deidentify.hunt.Quarry.search`.
    """

    where: str
    data: bytes
    noise: list[bool]


def members(data: bytes, where: str = "", depth: int = 0) -> Iterator[Member]:
    """The bytes themselves and all that can be unpacked from them, to a depth of four.

    What is damaged is searched as it is; nothing raises.
    """
    yield Member(where, data, noise(data))
    if depth >= _DEPTH:
        return
    for says, opens in _KINDS:
        if says(data):
            try:
                for name, inner in opens(data):
                    yield from members(inner, f"{where}/{name}".strip("/"), depth + 1)
            except Exception:  # damaged, or not what it seems: every opener raises errors of its own
                continue


def noise(data: bytes) -> list[bool]:
    """For each block: whether it is pixels, weights or compressed, judged by the share of printable characters.

    Text, DICOM headers, protocol buffers and pickles have more than 55 % of them among bytes that are not zero; evenly
    spread bytes have 37 %.
    """
    found = []
    for start in range(0, max(len(data), 1), BLOCK):
        block = np.frombuffer(data, dtype=np.uint8, count=min(BLOCK, len(data) - start), offset=start)
        counts = np.bincount(block, minlength=256)
        printable, filled = int(counts[32:127].sum()) + int(counts[9:14].sum()), int(counts[1:].sum())
        found.append(filled > 2048 and printable < 0.55 * filled)
    return found


def _zip(data: bytes) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for entry in archive.infolist():
            yield f"{entry.filename}", entry.filename.encode()
            with archive.open(entry) as stream:
                yield entry.filename, stream.read(MAX_BYTES)


def _dicom(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The header by itself, where short values count; a deflated data set unpacked (PS3.5 A.5)."""
    (length,) = struct.unpack("<I", data[140:144])
    body = data[144 + length :]
    if b"1.2.840.10008.1.2.1.99" in data[144 : 144 + length]:
        body = zlib.decompressobj(-zlib.MAX_WBITS).decompress(body, MAX_BYTES)
        yield "deflated", body
    ends = [place for mark in (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10") if (place := body.find(mark)) >= 0]
    yield "header", body[: min(ends, default=len(body))]


def _png(data: bytes) -> Iterator[tuple[str, bytes]]:
    position = 8
    while position + 8 <= len(data):
        (length,) = struct.unpack(">I", data[position : position + 4])
        kind, value = data[position + 4 : position + 8], data[position + 8 : position + 8 + length]
        position += 12 + length
        if kind in (b"IDAT", b"PLTE", b"IHDR"):
            continue
        yield kind.decode("latin-1"), value
        for start in range(len(value)):  # zTXt, iTXt and iCCP: a keyword, flags, then a zlib stream
            if value[start : start + 1] == b"\x78" and kind in (b"zTXt", b"iTXt", b"iCCP"):
                try:
                    yield kind.decode("latin-1"), zlib.decompressobj().decompress(value[start:], MAX_BYTES)
                except zlib.error:
                    continue


def _pdf(data: bytes) -> Iterator[tuple[str, bytes]]:
    for number, match in enumerate(_PDF_STREAM.finditer(data)):
        try:
            yield f"stream {number}", zlib.decompressobj().decompress(data[match.end() :], MAX_BYTES)
        except zlib.error:
            continue


def _parquet(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Columns as text, one value a line, and the metadata that writers add."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(io.BytesIO(data))
    if extra := file.schema_arrow.metadata:
        yield "metadata", b"\n".join(part for pair in extra.items() for part in pair)
    for name in file.schema_arrow.names:
        column = file.read(columns=[name]).column(0)
        values = sorted({str(value) for value in column.to_pylist() if value is not None})
        yield f"column {name}", "\n".join(values).encode("utf-8", "surrogatepass")


def _wandb(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The records of W&B's offline log without the frames of its LevelDB format, which cut values at 32 KiB."""
    position, parts = 7, bytearray()
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        (length,) = struct.unpack("<H", data[position + 4 : position + 6])
        parts += data[position + 7 : position + 7 + length]
        position += 7 + length
    yield "records", bytes(parts)


def _zstd(data: bytes) -> Iterator[tuple[str, bytes]]:
    import pyarrow as pa

    with pa.input_stream(pa.BufferReader(data), compression="zstd") as stream:
        yield "zstd", stream.read(MAX_BYTES)


def _embedded(data: bytes) -> Iterator[tuple[str, bytes]]:
    for number, match in enumerate(_DATA_URI.finditer(data)):
        try:
            yield f"embedded {number}", base64.b64decode(match[1])
        except binascii.Error:
            continue


def _numpy(data: bytes) -> Iterator[tuple[str, bytes]]:
    array = np.load(io.BytesIO(data), allow_pickle=False)
    if array.dtype.kind in "US":
        yield "values", "\n".join(map(str, array.ravel())).encode()


def _starts(*magic: bytes) -> Callable[[bytes], bool]:
    return lambda data: data.startswith(magic)


_KINDS: tuple[tuple[Callable[[bytes], bool], Callable[[bytes], Iterator[tuple[str, bytes]]]], ...] = (
    (lambda data: data[128:132] == b"DICM", _dicom),
    (_starts(b"PK\x03\x04"), _zip),
    (_starts(b"\x1f\x8b"), lambda data: iter([("gzip", gzip.GzipFile(fileobj=io.BytesIO(data)).read(MAX_BYTES))])),
    (_starts(b"BZh"), lambda data: iter([("bz2", bz2.BZ2Decompressor().decompress(data, MAX_BYTES))])),
    (_starts(b"\xfd7zXZ\0"), lambda data: iter([("xz", lzma.LZMADecompressor().decompress(data, MAX_BYTES))])),
    (_starts(b"\x28\xb5\x2f\xfd"), _zstd),
    (
        _starts(b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"),
        lambda data: iter([("zlib", zlib.decompressobj().decompress(data, MAX_BYTES))]),
    ),
    (_starts(b"\x89PNG\r\n\x1a\n"), _png),
    (_starts(b"%PDF"), _pdf),
    (_starts(b"PAR1"), _parquet),
    (_starts(b":W&B"), _wandb),
    (_starts(b"\x93NUMPY"), _numpy),
    (lambda data: b";base64," in data, _embedded),
)
