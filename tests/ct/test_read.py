import os
import struct
import warnings

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import JPEGLSLossless, RLELossless

from covidct.ct.ingest import ingest
from covidct.ct.read import read_slice
from covidct.errors import DataRefused
from tests.ct.dicom_fixtures import chest, write_ct


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEGLSLossless])
def test_a_file_cut_anywhere_is_refused(tmp_path, syntax):
    """Fault 20 and 21: never a crash, never a slice with invented pixels."""
    options = {"syntax": syntax} if syntax else {}
    whole = write_ct(tmp_path / "a.dcm", **options).read_bytes()
    cut = tmp_path / "cut.dcm"
    for length in range(0, len(whole) - 8, 64):
        cut.write_bytes(whole[:length])
        with pytest.raises(DataRefused):
            read_slice(cut)


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEGLSLossless])
def test_a_file_with_flipped_bytes_is_read_or_refused(tmp_path, syntax):
    options = {"syntax": syntax} if syntax else {}
    whole = write_ct(tmp_path / "a.dcm", **options).read_bytes()
    g = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(whole)
        for place in g.integers(132, len(whole), 4):
            damaged[place] = g.integers(256)
        (tmp_path / "b.dcm").write_bytes(damaged)
        [record] = ingest(tmp_path, "b.dcm", ("dicom",))
        assert (record.pixel_hash is None) == bool(record.reason)


def test_odd_uids_and_values_make_no_noise(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = write_ct(tmp_path / "a.dcm", StudyInstanceUID="4bae1d63-1eeb-4386", AcquisitionDate="yesterday")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_slice(path)


def test_what_is_no_scan_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.dcm")  # opening it would wait for ever
    (tmp_path / "folder.dcm").mkdir()
    (tmp_path / "empty.dcm").touch()
    (tmp_path / "text.dcm").write_text("patient: someone\n" * 50)
    (tmp_path / "bad.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 400)
    (tmp_path / "broken.dcm").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.dcm").symlink_to(tmp_path / "loop.dcm")
    for path in tmp_path.iterdir():
        with pytest.raises(DataRefused):
            read_slice(path)
    for name in ("pipe.dcm", "folder.dcm"):
        with pytest.raises(DataRefused, match="not a regular file"):
            read_slice(tmp_path / name)


def test_a_huge_file_is_not_opened(tmp_path):
    path = tmp_path / "huge.dcm"
    with path.open("wb") as stream:
        stream.write(b"\0" * 128 + b"DICM")
        stream.truncate(2**40)  # sparse: takes no room
    with pytest.raises(DataRefused, match="larger than"):
        read_slice(path)


@pytest.mark.parametrize(("levels", "reason"), [(20, ""), (300, "damaged DICOM file (RecursionError)")])
def test_deeply_nested_sequences(tmp_path, levels, reason):
    """Written by hand: pydicom takes all memory when it writes 300 levels."""
    whole = write_ct(tmp_path / "a.dcm").read_bytes()
    start = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    end = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    place = whole.index(struct.pack("<HH2s", 0x0010, 0x0010, b"PN"))
    (tmp_path / "deep.dcm").write_bytes(whole[:place] + start * levels + end * levels + whole[place:])
    assert ingest(tmp_path, "deep.dcm", ("dicom",))[0].reason == reason


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1"])
def test_pictures_are_grey_8_bit(tmp_path, mode):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
    path = tmp_path / "picture.dcm"  # the name lies; the first bytes count
    Image.fromarray(pixels).convert(mode).save(path, format="PNG")
    got = read_slice(path)
    assert (got.units, got.pixels.dtype, got.pixels.shape, got.row_mm) == ("gray8", np.uint8, (20, 30), None)
    if mode in ("L", "RGB", "RGBA"):
        np.testing.assert_array_equal(got.pixels, pixels)


def test_colour_becomes_luminance(tmp_path):
    Image.new("RGB", (4, 4), (200, 100, 50)).save(tmp_path / "c.png")
    assert read_slice(tmp_path / "c.png").pixels[0, 0] == round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)


def test_a_jpeg_is_lossy(tmp_path):
    Image.fromarray((chest() // 8 + 128).astype(np.uint8)).save(tmp_path / "a.jpg")
    assert read_slice(tmp_path / "a.jpg").lossy


def test_16_bit_and_cut_pictures_are_refused(tmp_path):
    Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20)).save(tmp_path / "deep.png")
    with pytest.raises(DataRefused, match="8-bit"):
        read_slice(tmp_path / "deep.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)).save(tmp_path / "b.png")
    whole = (tmp_path / "b.png").read_bytes()
    (tmp_path / "b.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataRefused, match="damaged"):
        read_slice(tmp_path / "b.png")


def test_there_is_no_second_frame(tmp_path):
    with pytest.raises(DataRefused, match="frame 1"):
        read_slice(write_ct(tmp_path / "a.dcm"), frame=1)
