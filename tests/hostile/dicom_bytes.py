"""DICOM files written byte by byte: what no honest library would write."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from tests.ct.dicom_fixtures import ct_dataset, write_ct

LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")  # PS3.5 7.1.2


def element(group: int, number: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """One element in explicit VR little endian; `length` may lie."""
    length = len(value) if length is None else length
    head = struct.pack("<HH2s", group, number, vr)
    return head + (struct.pack("<HI", 0, length) if vr in LONG else struct.pack("<H", length)) + value


def item(value: bytes, length: int | None = None) -> bytes:
    """One item of a sequence."""
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(value) if length is None else length) + value


def end_of(number: int) -> bytes:
    """0xE00D: end of an item; 0xE0DD: end of a sequence."""
    return struct.pack("<HHI", 0xFFFE, number, 0)


def with_element(whole: bytes, group: int, number: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """A file of explicit VR little endian with an element put in, or put in place of its own, in order of tags."""
    place = start = 144 + int.from_bytes(whole[140:144], "little")
    while place < len(whole):
        tag = struct.unpack_from("<HH", whole, place)
        long = whole[place + 4 : place + 6] in LONG
        size = struct.unpack_from("<I" if long else "<H", whole, place + (8 if long else 6))[0]
        after = place + (12 if long else 8) + size
        if tag >= (group, number):
            rest = whole[after:] if tag == (group, number) else whole[place:]
            return whole[:place] + element(group, number, vr, value, length) + rest
        place = after
    assert place > start
    return whole + element(group, number, vr, value, length)


def deflated(whole: bytes, tail: bytes, repeats: int) -> bytes:
    """A deflated file whose data set is that of a deflated file `whole` with `tail` behind it, so many times."""
    start = 144 + int.from_bytes(whole[140:144], "little")
    assert str(DeflatedExplicitVRLittleEndian).encode() in whole[:start]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    parts = [packer.compress(zlib.decompress(whole[start:], -15))]
    parts += [packer.compress(tail) for _ in range(repeats)]
    return whole[:start] + b"".join([*parts, packer.flush()])


def one_frame(path: Path) -> bytes:
    """The compressed frame of a file."""
    import pydicom

    return next(generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1))


def write_compressed(path: Path, frame: bytes, syntax: UID, **options: object) -> Path:
    """A CT slice around any bytes as its compressed frame."""
    dataset = ct_dataset(**options)  # type: ignore[arg-type]
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path, enforce_file_format=True)
    return path


def encoded(folder: Path, syntax: UID) -> bytes:
    """The frame of the usual slice in a compressed syntax, by the encoders of GDCM."""
    import gdcm

    reader, writer, change = gdcm.ImageReader(), gdcm.ImageWriter(), gdcm.ImageChangeTransferSyntax()
    reader.SetFileName(str(write_ct(folder / "raw")))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(folder / "packed"))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return one_frame(folder / "packed")
