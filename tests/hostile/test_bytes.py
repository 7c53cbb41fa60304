"""Bytes that lie: sizes, lengths, depths, and a few kilobytes that unpack to gigabytes (faults 20, 21, 23, 24)."""

from __future__ import annotations

import os
import resource
import struct
import time
import warnings
import zlib

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from covidct.ct.codestream import declared_size
from covidct.ct.ingest import Record, ingest
from covidct.ct.phantom.encodings import WRITINGS, write_scan
from covidct.ct.read import OUT_OF_MEMORY, read_slice
from covidct.data.indexing import reading
from covidct.data.indexing.limits import Limits, limited
from covidct.data.indexing.reading import VANISHED, find_files, read_files
from covidct.data.indexing.reads import open_reads
from covidct.errors import DataRefused
from tests.ct.dicom_fixtures import chest, write_ct
from tests.hostile.dicom_bytes import deflated, element, encoded, end_of, item, with_element, write_compressed

KINDS = ("dicom", "nifti", "png", "jpeg")
SIZE = {JPEGLSLossless: (b"\xff\xf7", 5), JPEGLosslessSV1: (b"\xff\xc3", 5), JPEG2000Lossless: (b"\xff\x51", 6)}
"""Where a frame declares its size: marker, and how far behind its beginning."""
TOO_MANY = "header of more than 200,000 elements"


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    return write_ct(tmp_path_factory.mktemp("whole") / "a.dcm").read_bytes()


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("frames")
    return {syntax: encoded(folder, syntax) for syntax in (*SIZE, RLELossless)}


def read(root) -> dict[str, Record]:
    """All files of a folder, as an index reads them."""
    with open_reads(None, root, KINDS) as reads:
        reads.list_files(find_files(root))
        read_files(root, reads, KINDS, workers=2)
        return {record.path: record for _, record in reads.records()}


def reason(folder, content: bytes) -> str:
    """What `ingest` says to these bytes; it takes no longer than a reader is ready to wait."""
    (folder / "b.dcm").write_bytes(content)
    start = time.process_time()
    [record] = ingest(folder, "b.dcm", KINDS)
    assert time.process_time() - start < 8
    assert (record.pixel_hash is None) == bool(record.reason)
    return record.reason


@pytest.mark.parametrize("syntax", SIZE)
def test_a_compressed_frame_cut_anywhere_is_refused_or_the_same_slice(tmp_path, frames, syntax):
    frame = frames[syntax]
    np.testing.assert_array_equal(read_slice(write_compressed(tmp_path / "a.dcm", frame, syntax)).pixels, chest())
    for length in range(0, len(frame), 64):
        try:
            got = read_slice(write_compressed(tmp_path / "a.dcm", frame[:length] or b"\0\0", syntax))
        except DataRefused:
            continue
        assert length > len(frame) - 64, f"invented pixels from {length} of {len(frame)} bytes"
        np.testing.assert_array_equal(got.pixels, chest())


def test_damage_in_a_compressed_frame_takes_no_other_file_with_it(tmp_path, frames):
    """GDCM ends its process on some damaged JPEG lossless frames."""
    g = np.random.default_rng(1)
    for number in range(160):
        syntax = (*SIZE, RLELossless)[number % 4]
        frame = bytearray(frames[syntax])
        for place in g.integers(0, len(frame), 3):
            frame[place] = g.integers(256)
        write_compressed(tmp_path / f"{number}", bytes(frame), syntax)
    write_ct(tmp_path / "last", syntax=JPEGLSLossless)
    records = read(tmp_path)
    assert sorted(records) == sorted(path.name for path in tmp_path.iterdir())
    assert all((record.pixel_hash is None) == bool(record.reason) for record in records.values())
    assert records["last"].reason == ""
    assert len({record.reason for record in records.values()}) > 2


@pytest.mark.parametrize("rows", [47, 4000, 65535])
@pytest.mark.parametrize("syntax", SIZE)
def test_a_frame_that_claims_another_size_meets_no_decoder(tmp_path, frames, syntax, rows):
    """CharLS through pyjpegls would end the process at 65535 x 65535."""
    frame = bytearray(frames[syntax])
    marker, offset = SIZE[syntax]
    place = frame.index(marker) + offset
    frame[place : place + (8 if syntax == JPEG2000Lossless else 4)] = struct.pack(
        ">II" if syntax == JPEG2000Lossless else ">HH", rows, rows
    )
    assert declared_size(bytes(frame)) == (rows, rows, 1)
    with pytest.raises(DataRefused, match="size in the compressed frame differs"):
        read_slice(write_compressed(tmp_path / "a.dcm", bytes(frame), syntax))


def test_a_frame_of_three_components_is_no_ct(tmp_path):
    Image.new("RGB", (48, 48)).save(tmp_path / "a.j2k")
    assert declared_size((tmp_path / "a.j2k").read_bytes()) == (48, 48, 3)
    with pytest.raises(DataRefused, match="differs from the header"):
        read_slice(write_compressed(tmp_path / "a.dcm", (tmp_path / "a.j2k").read_bytes(), JPEG2000))


def test_runs_that_unpack_to_far_more_than_the_picture(tmp_path):
    run = b"\x81\x00" * 1_000_000  # 128 zeros each
    frame = struct.pack("<16I", 2, 64, 64 + len(run), *[0] * 13) + run * 2
    with pytest.raises(DataRefused, match="far larger than the picture"):
        read_slice(write_compressed(tmp_path / "a.dcm", frame, RLELossless))


def test_a_deflated_file_that_unpacks_to_gigabytes(tmp_path):
    tail = element(0x7FE1, 0x1010, b"OB", b"", 0xFFFFFFF0)
    plain = write_ct(tmp_path / "a.dcm", syntax=DeflatedExplicitVRLittleEndian).read_bytes()
    assert reason(tmp_path, deflated(plain, b"", 0)) == ""
    bomb = deflated(deflated(plain, tail, 1), b"\0" * 2**20, 1024)
    assert len(bomb) < 2**21
    assert reason(tmp_path, bomb) == "deflated data set of more than 128 MiB"
    for length in range(144, len(plain), 64):
        assert reason(tmp_path, plain[:length]) != "", "cut"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda w: with_element(w, 0x08, 0x1140, b"SQ", item(b"") * 700_000), ""),
        (lambda w: with_element(w, 0x08, 0x1140, b"SQ", item(b"") * 700_000 + end_of(0xE0DD), 0xFFFFFFFF), TOO_MANY),
        (lambda w: w + b"".join(element(0x7FE1, n, b"LO", b"AB") for n in range(0x10, 0xFFFF)) * 5, TOO_MANY),
        (lambda w: with_element(w, 0x08, 0x08, b"UC", b"A\\" * 5_000_000), "header value of more than 1 MiB"),
        (lambda w: with_element(w, 0x28, 0x1053, b"UC", b"1\\" * 5_000_000), "header value of more than 1 MiB"),
        (lambda w: with_element(w, 0x10, 0x20, b"UT", b"A" * 2**20), ""),
        (lambda w: with_element(w, 0x09, 0x1010, b"UT", b"A" * 2**22), ""),
    ],
    ids=["items", "items, open", "elements", "words", "numbers", "long number of a patient", "private text"],
)
def test_headers_out_of_all_proportion(tmp_path, whole, content, said):
    assert reason(tmp_path, content(whole)) == said


@pytest.mark.parametrize("enhanced", [False, True])
def test_a_length_of_four_gigabytes_takes_no_memory(tmp_path, enhanced):
    """Found by the fuzzer: `read(length)` makes room before it reads."""
    hu = np.clip(np.stack([chest(24), chest(24, 1)]), -1024, 3071)
    [path, *_] = write_scan(tmp_path / "w", hu, WRITINGS["enhanced" if enhanced else "unsigned 16 bit"])
    content = with_element(path.read_bytes(), 0x20, 0x4000, b"UT", b"A", 0xFFFFFFF0)
    with limited(0, Limits(memory_mib=256), may_end=False):
        assert reason(tmp_path, content) not in ("", OUT_OF_MEMORY)


LENGTHS = [0, 1, 3, 0x7FFF, 0xFFFE, 0xFFFF]


@pytest.mark.parametrize("tag", [(0x08, 0x08), (0x20, 0x32), (0x28, 0x10), (0x28, 0x1053)])
def test_lengths_that_lie_are_refused(tmp_path, whole, tag):
    for length in LENGTHS:
        assert reason(tmp_path, with_element(whole, *tag, b"DS", b"1 ", length)) != ""
    assert reason(tmp_path, with_element(whole, *tag, b"UN", b"1 ", 0xFFFFFFFF)) != ""
    assert reason(tmp_path, with_element(whole, *tag, b"SQ", b"1 ", 0xFFFFFFFF)) != ""


@pytest.mark.parametrize("vr", [b"DS", b"IS", b"US", b"FD", b"SQ", b"AT", b"PN", b"UN", b"OB", b"??", b"\0\0"])
def test_values_of_another_kind_never_raise(tmp_path, whole, vr):
    """Each element that is looked at, written as something else."""
    for tag in [
        (0x08, 0x08), (0x08, 0x16), (0x08, 0x60), (0x10, 0x20),
        (0x10, 0x1010), (0x18, 0x50), (0x18, 0x60), (0x20, 0x0e),
        (0x20, 0x12), (0x20, 0x32), (0x20, 0x37), (0x28, 0x02), (0x28, 0x04), (0x28, 0x08), (0x28, 0x10), (0x28, 0x30),
        (0x28, 0x100), (0x28, 0x101), (0x28, 0x103), (0x28, 0x120), (0x28, 0x1052), (0x28, 0x1053), (0x28, 0x1054),
        (0x7FE0, 0x10),
    ]:  # fmt: skip
        for value in (b"", b"\xff" * 8, b"1\\2\\3\\4\\5\\6 ", b"nan ", b"9" * 400, b"\0" * 16):
            reason(tmp_path, with_element(whole, *tag, vr, value))


def test_no_log_quotes_a_header(tmp_path, whole, caplog):
    """pydicom warns in the log of values that it mends; a log leaves the house."""
    content = with_element(whole, 0x28, 0x08, b"IS", b"0 ")
    (tmp_path / "a.dcm").write_bytes(with_element(content, 0x08, 0x05, b"CS", b"ZQX^Smith "))
    ingest(tmp_path, "a.dcm", KINDS)
    assert caplog.text == ""
    with (tmp_path / "a.dcm").open("rb") as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert pydicom.dcmread(stream).pixel_array is not None
    assert "0028,0008" in caplog.text, "it would have"


@pytest.mark.parametrize("frames", ["2147483647", "-1", "0", "1\\1", "one", ""])
def test_numbers_of_frames_that_cannot_be(tmp_path, whole, frames):
    found = reason(tmp_path, with_element(whole, 0x28, 0x08, b"IS", frames.encode() + b" " * (len(frames) % 2)))
    assert found if frames not in ("", "0") else not found


@pytest.mark.parametrize("tag", [(0x08, 0x08), (0x28, 0x02), (0x28, 0x08)])
def test_a_word_where_a_number_should_be_is_foreseen(tmp_path, whole, tag):
    """Found by the fuzzer: these fell to the last resort, `damaged DICOM file (TypeError)`."""
    for vr, value in ((b"LO", b"1\\2\\3 "), (b"FD", b"\0" * 8), (b"OB", b"\1\2"), (b"LO", b"two "), (b"SQ", b"")):
        assert "Error" not in reason(tmp_path, with_element(whole, *tag, vr, value))


@pytest.mark.parametrize(("rows", "cols"), [(65535, 65535), (65535, 1), (1, 65535), (0, 0), (4096, 4096)])
def test_sizes_that_do_not_fit_are_refused_before_memory_is_taken(tmp_path, whole, rows, cols):
    content = with_element(whole, 0x28, 0x10, b"US", struct.pack("<H", rows))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert reason(tmp_path, with_element(content, 0x28, 0x11, b"US", struct.pack("<H", cols)))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_pixels_behind_the_last_row_are_not_read(tmp_path, whole):
    assert reason(tmp_path, whole + b"\0" * 5000) in ("", "damaged DICOM file (EOFError)")
    place = whole.index(b"\xe0\x7f\x10\x00OW")
    longer = whole[place + 12 :] + b"\1" * 4096
    (tmp_path / "c.dcm").write_bytes(whole[:place] + element(0x7FE0, 0x10, b"OW", longer))
    np.testing.assert_array_equal(read_slice(tmp_path / "c.dcm").pixels, chest())


def test_pictures_that_unpack_to_gigabytes(tmp_path):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def png(side: int, *between: bytes) -> bytes:
        packer = zlib.compressobj(9)
        data = b"".join(packer.compress(bytes(side + 1)) for _ in range(side)) + packer.flush()
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
        return b"\x89PNG\r\n\x1a\n" + head + b"".join(between) + chunk(b"IDAT", data) + chunk(b"IEND", b"")

    assert reason(tmp_path, png(20_000)) != ""
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**20)))
    assert reason(tmp_path, png(64, *[text] * 100)).startswith("damaged image file")
    Image.fromarray(np.zeros((1024, 1024), np.uint8)).save(tmp_path / "p.jpg", progressive=True)
    whole = (tmp_path / "p.jpg").read_bytes()
    scan = whole[whole.rindex(b"\xff\xda") : -2]
    assert reason(tmp_path, whole[:-2] + scan * 300 + b"\xff\xd9") == "JPEG of more than 256 scans"


def test_memory_is_limited_and_given_back():
    limits = Limits(memory_mib=64, memory_per_byte=0)
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with pytest.raises(MemoryError), limited(0, limits, may_end=False):
        np.ones(2**25)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    with limited(2**20, Limits(memory_mib=64, memory_per_byte=1024), may_end=False):
        np.ones(2**25)


def test_too_much_memory_is_a_reason(tmp_path, monkeypatch):
    """A file within all bounds meets the limit of memory; nothing else is lost."""
    plain = write_ct(tmp_path / "a.dcm", syntax=DeflatedExplicitVRLittleEndian).read_bytes()
    tail = element(0x7FE1, 0x1010, b"OB", b"", 0xFFFFFFF0)
    (tmp_path / "bomb").write_bytes(deflated(deflated(plain, tail, 1), bytes(2**20), 120))
    monkeypatch.setattr(reading, "_LIMITS", Limits(memory_mib=64))
    found = {path: record.reason for path, record in read(tmp_path).items()}
    assert found == {"bomb": "reading it takes more memory than 64 MiB + 4 times its size", "a.dcm": ""}


def test_a_process_that_reads_leaves_no_picture_of_its_memory_when_it_crashes():
    with reading.clean_processes(1) as pool:
        assert pool.submit(resource.getrlimit, resource.RLIMIT_CORE).result()[0] == 0


def test_a_file_that_is_gone_or_another_thing_when_its_turn_comes(tmp_path):
    """Fault 6: named, and the others are read."""
    for name in "abcde":
        write_ct(tmp_path / name, chest(seed=ord(name)))
    with open_reads(None, tmp_path, KINDS) as reads:
        reads.list_files(find_files(tmp_path))
        (tmp_path / "b").unlink()
        (tmp_path / "c").unlink()
        os.mkfifo(tmp_path / "c")
        (tmp_path / "d").unlink()
        (tmp_path / "d").mkdir()
        read_files(tmp_path, reads, KINDS, workers=1)
        found = {record.path: record.reason for _, record in reads.records()}
    assert found == {"a": "", "b": VANISHED, "c": "not a regular file", "d": "not a regular file", "e": ""}
