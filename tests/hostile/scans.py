"""Hypothesis strategies for damaged scans: valid files in many encodings, with bits, pieces or elements changed."""

from __future__ import annotations

import io
import struct
import tempfile
import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from PIL import Image
from pydicom.valuerep import VR

from covidct.ct.phantom.encodings import WRITINGS, write_scan
from tests.ct.dicom_fixtures import chest
from tests.hostile.dicom_bytes import LONG

MARK = "ZQX"
"""Part of every text that is put in: it must never come back in a reason."""

PLANTED = (MARK, "PHANTOM-ENCODED", "Phantom", "PHANTOM IMAGING", "Alpha 64", "B30", "20200131", "050Y")
"""Words of the headers that no reason may repeat."""

_DEFLATED = "1.2.840.10008.1.2.1.99"
_IMPLICIT, _BIG = "1.2.840.10008.1.2\0", "1.2.840.10008.1.2.2\0"

VALUES = (
    b"", b"\0", b"0 ", b"-1", b"1e999 ", b"nan ", b"inf ", b"\xff\xff", b"\xff" * 4, b"\0" * 8, b"\x7f" * 8,
    b"9" * 400, b"1\\2\\3\\4\\5\\6 ", b"1\\" * 400, b"\\" * 20, b"CT", b"MR", b"HU", b"US", b"YES ",
    b"ORIGINAL\\PRIMARY\\MIP ",
    b"1.2.840.10008.5.1.4.1.1.2", b"1.2.840.10008.5.1.4.1.1.2.1", b"1.2.840.10008.1.2.4.70", MARK.encode() + b" ",
    f"../../{MARK}".encode(), f"{MARK}^Smith=\x1b$B".encode(), f"{MARK}\xe9 ".encode("latin-1"),
    MARK.encode() * 3000, b"\x00\x10", b"\x01\x00", b"\x0c\x00", b"\xd0\x07", b"MONOCHROME1 ", b"PALETTE COLOR ",
)  # fmt: skip
"""Values that elements are given."""

VRS = (*(vr.value.encode() for vr in VR if len(vr.value) == 2), b"??", b"\0\0", b"ox")

TAGS = (
    (0x08, 0x05), (0x08, 0x08), (0x08, 0x16), (0x08, 0x18), (0x08, 0x60), (0x08, 0x22), (0x10, 0x20), (0x10, 0x1010),
    (0x10, 0x40), (0x18, 0x15), (0x18, 0x50), (0x18, 0x60), (0x18, 0x1120), (0x18, 0x1210), (0x20, 0x0D), (0x20, 0x0E),
    (0x20, 0x12), (0x20, 0x32), (0x20, 0x37), (0x28, 0x02), (0x28, 0x04), (0x28, 0x08), (0x28, 0x10), (0x28, 0x11),
    (0x28, 0x30), (0x28, 0x0100), (0x28, 0x0101), (0x28, 0x0102), (0x28, 0x0103), (0x28, 0x0106), (0x28, 0x0120),
    (0x28, 0x0121), (0x28, 0x0301), (0x28, 0x1052), (0x28, 0x1053), (0x28, 0x1054), (0x28, 0x2110), (0x5200, 0x9229),
    (0x5200, 0x9230), (0x7FE0, 0x01), (0x7FE0, 0x02), (0x7FE0, 0x08), (0x7FE0, 0x10), (0xFFFC, 0xFFFC), (0x29, 0x1010),
    (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD), (0x02, 0x10), (0x6000, 0x3000),
)  # fmt: skip


@lru_cache(maxsize=1)
def seeds() -> dict[str, bytes]:
    """Name of the encoding -> one valid file; pictures too. 24 x 24 pixels, so that damage hits more than pixels."""
    found = {}
    hu = np.stack([np.clip(chest(24, seed), -1024, 3071) for seed in range(2)])
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, writing) in enumerate(WRITINGS.items()):
            found[name] = write_scan(Path(folder, str(number)), hu, writing)[0].read_bytes()
    grey = (hu[0] // 8 + 128).astype(np.uint8)
    for name, options in {"PNG": {}, "JPEG": {}, "progressive JPEG": {"format": "JPEG", "progressive": True}}.items():
        stream = io.BytesIO()
        Image.fromarray(grey).save(stream, **({"format": name} | options))
        found[name] = stream.getvalue()
    return found


class Parts:
    """A DICOM file taken apart: head with its group 0002, and data set; in the encoding it says it is in."""

    def __init__(self, whole: bytes) -> None:
        start = min(144 + int.from_bytes(whole[140:144], "little"), len(whole))
        self.head, body = whole[:start], whole[start:]
        self.deflated = _DEFLATED.encode() in self.head
        self.implicit = _IMPLICIT.encode() in self.head
        self.order = ">" if _BIG.encode() in self.head else "<"
        self.body = zlib.decompress(body, -15) if self.deflated else body

    def whole(self, body: bytes) -> bytes:
        """The file with another data set."""
        if self.deflated:
            packer = zlib.compressobj(6, zlib.DEFLATED, -15)
            body = packer.compress(body) + packer.flush()
        return self.head + body

    def element(self, tag: tuple[int, int], vr: bytes, value: bytes, length: int | None) -> bytes:
        """An element in this encoding; its length may lie."""
        length = len(value) if length is None else length
        head = struct.pack(f"{self.order}HH", *tag)
        if self.implicit:
            return head + struct.pack(f"{self.order}I", length & 0xFFFFFFFF) + value
        if vr in LONG:
            return head + vr + b"\0\0" + struct.pack(f"{self.order}I", length & 0xFFFFFFFF) + value
        return head + vr + struct.pack(f"{self.order}H", length & 0xFFFF) + value

    def places(self) -> list[tuple[int, int]]:
        """Beginning and end of the elements at the top level."""
        found, place = [], 0
        while place + 8 <= len(self.body):
            if self.implicit:
                length, head = struct.unpack_from(f"{self.order}I", self.body, place + 4)[0], 8
            elif self.body[place + 4 : place + 6] in LONG:
                if place + 12 > len(self.body):
                    break
                length, head = struct.unpack_from(f"{self.order}I", self.body, place + 8)[0], 12
            else:
                length, head = struct.unpack_from(f"{self.order}H", self.body, place + 6)[0], 8
            end = min(place + head + length, len(self.body))
            found.append((place, end))
            place = end
        return found


@st.composite
def _element_changed(draw: st.DrawFn, whole: bytes) -> bytes:
    try:
        parts = Parts(whole)
    except zlib.error:
        return whole
    places = parts.places()
    if not places:
        return whole
    start, end = draw(st.sampled_from(places))
    body = parts.body
    change = draw(st.sampled_from(["put", "put", "over", "over", "value", "take", "double", "nest", "length", "retag"]))
    order = f"{parts.order}HH"
    own = struct.unpack_from(order, body, start)
    tag = own if change in ("over", "value") else draw(st.sampled_from(TAGS))
    vr, value = draw(st.sampled_from(VRS)), draw(st.sampled_from(VALUES) | st.binary(max_size=12))
    length = draw(st.none() | st.none() | st.sampled_from([0, 1, 3, 0x7FFF, 0xFFFE, 0xFFFFFFFE, 0xFFFFFFFF]))
    if change == "put":
        new = parts.element(tag, vr, value, length) + body[start:end]
    elif change == "over":
        new = parts.element(tag, vr, value, length)
    elif change == "value":
        same = body[start + 4 : start + 6]
        new = parts.element(tag, same, value, length)
    elif change == "take":
        new = b""
    elif change == "double":
        new = body[start:end] * draw(st.integers(2, 4))
    elif change == "nest":
        depth = draw(st.sampled_from([1, 2, 10, 60, 400]))
        item = struct.pack(f"{parts.order}HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
        open_ = parts.element((0x08, 0x1140), b"SQ", b"", 0xFFFFFFFF) + item
        close = struct.pack(f"{parts.order}HHI", 0xFFFE, 0xE00D, 0) + struct.pack(
            f"{parts.order}HHI", 0xFFFE, 0xE0DD, 0
        )
        new = open_ * depth + body[start:end] + close * draw(st.sampled_from([depth, depth - 1, 0]))
    elif change == "length":
        new = body[start : start + 6] + struct.pack("<H", draw(st.integers(0, 0xFFFF))) + body[start + 8 : end]
    else:
        new = struct.pack(order, *tag) + body[start + 4 : end]
    return parts.whole(body[:start] + new + body[end:])


@st.composite
def _bytes_changed(draw: st.DrawFn, whole: bytes) -> bytes:
    if not whole:
        return whole
    top = len(whole) - 1
    place = draw(st.integers(0, min(top, 1200)) | st.integers(0, top) | st.integers(max(0, top - 64), top))
    change = draw(st.sampled_from(["bit", "bit", "bytes", "cut", "take", "put", "splice", "swap"]))
    if change == "bit":
        return whole[:place] + bytes([whole[place] ^ 1 << draw(st.integers(0, 7))]) + whole[place + 1 :]
    if change == "bytes":
        new = draw(
            st.binary(min_size=1, max_size=8) | st.sampled_from([b"\xff\xff", b"\0\0", b"\xff" * 4, b"\x7f\xff"])
        )
        return whole[:place] + new + whole[place + len(new) :]
    if change == "cut":
        return whole[:place]
    size = draw(st.integers(1, 400))
    if change == "take":
        return whole[:place] + whole[place + size :]
    if change == "put":
        return whole[:place] + draw(st.sampled_from(VALUES)) + whole[place:]
    other = seeds()[draw(st.sampled_from(sorted(seeds())))] if change == "splice" else whole
    begin = draw(st.integers(0, len(other) - 1)) if other else 0
    return whole[:place] + other[begin : begin + size] + whole[place + (size if change == "swap" else 0) :]


@st.composite
def scans(draw: st.DrawFn) -> bytes:
    """The bytes of a scan with one to four changes."""
    whole = seeds()[draw(st.sampled_from(sorted(seeds())))]
    for _ in range(draw(st.integers(1, 4))):
        if whole[128:132] == b"DICM" and draw(st.integers(0, 2)):
            whole = draw(_element_changed(whole))
        else:
            whole = draw(_bytes_changed(whole))
    return whole
