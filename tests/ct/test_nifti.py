import gzip
import itertools
import os
import struct
from unittest import mock

import nibabel
import numpy as np
import pytest
from nibabel import orientations

from covidct.ct import nifti
from covidct.ct.ingest import ingest
from covidct.ct.phantom.encodings import COL_MM, ORIGIN_MM, ROW_MM, STEP_MM, WRITINGS, write_scan
from covidct.ct.read import kind_of, read_slice
from covidct.ct.series import arrange
from covidct.errors import DataRefused
from tests.ct.dicom_fixtures import chest

HU = np.stack([chest(40, seed=k)[:, :36] for k in range(5)])
AFFINE = np.diag([-COL_MM, -ROW_MM, STEP_MM, 1.0])
AXES = [
    "".join(side)
    for order in itertools.permutations(("LR", "PA", "SI"))
    for side in itertools.product(*order)
]  # fmt: skip


def save(path, values, affine=AFFINE, dtype="<i2", **header):
    """[slices, rows, cols] as NIfTI; `header` is written over what nibabel makes of it."""
    values = np.asarray(values)
    image = nibabel.Nifti1Image(
        values.transpose(2, 1, 0, *range(3, values.ndim)).astype(dtype), affine, dtype=np.dtype(dtype)
    )
    image.to_filename(path)
    if header:
        whole = path.read_bytes()
        made = nibabel.Nifti1Header(whole[:348])
        for key, value in header.items():
            made[key] = value
        path.write_bytes(made.binaryblock + whole[348:])
    return path


def reason(path):
    [record] = ingest(path.parent, path.name, ("nifti",))
    with pytest.raises(DataRefused) as caught:
        read_slice(path)
    assert str(path.parent) not in str(caught.value)
    return record.reason


@pytest.mark.parametrize("axes", AXES)
def test_all_48_orientations_are_one_scan(tmp_path, axes):
    image = nibabel.Nifti1Image(HU.transpose(2, 1, 0), AFFINE)
    turn = orientations.ornt_transform(orientations.io_orientation(AFFINE), orientations.axcodes2ornt(axes))
    image = image.as_reoriented(turn)
    assert "".join(nibabel.aff2axcodes(image.affine)) == axes
    image.to_filename(tmp_path / "scan.nii")
    records = ingest(tmp_path, "scan.nii", ("nifti",))
    got = np.stack([read_slice(tmp_path / "scan.nii", frame).pixels for frame in range(5)])
    np.testing.assert_array_equal(got, HU)
    save(tmp_path / "plain.nii", HU)
    assert [record.header for record in records] == [
        record.header for record in ingest(tmp_path, "plain.nii", ("nifti",))
    ]
    [series], refused = arrange([record.header for record in records])
    assert (series.members, refused, series.flags) == ((0, 1, 2, 3, 4), {}, ())


def test_an_oblique_and_a_sheared_volume_keep_their_directions(tmp_path):
    angle = np.deg2rad(12)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    oblique = AFFINE.copy()
    oblique[:3, :3] = turn @ AFFINE[:3, :3]
    sheared = oblique.copy()
    sheared[:3, 2] = 0, 0, STEP_MM  # the table moves along the body, the slices are tilted
    for affine, flag in ((oblique, "oblique"), (sheared, "tilted")):
        save(tmp_path / "scan.nii", HU, affine)
        records = ingest(tmp_path, "scan.nii", ("nifti",))
        [series], _ = arrange([record.header for record in records])
        assert series.flags == (flag,)
        np.testing.assert_array_equal(read_slice(tmp_path / "scan.nii", 2).pixels, HU[2])
        col = records[0].header.col
        np.testing.assert_allclose(col, [0, np.cos(angle), np.sin(angle) * (1 if col[2] > 0 else -1)], atol=1e-5)
        corner = affine @ [0, 0, 3, 1]
        np.testing.assert_allclose(records[3].header.position, corner[:3] * [-1, -1, 1], atol=1e-4)


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("meter", 1000), ("micron", 0.001), ("unknown", 1)])
def test_lengths_are_in_mm(tmp_path, unit, factor):
    affine = AFFINE.copy()
    affine[:3] /= factor
    image = nibabel.Nifti1Image(HU.transpose(2, 1, 0), affine)
    image.header.set_xyzt_units(unit)
    image.to_filename(tmp_path / "scan.nii")
    [first, second, *_] = ingest(tmp_path, "scan.nii", ("nifti",))
    assert (first.header.row_mm, first.header.col_mm) == pytest.approx((ROW_MM, COL_MM))
    assert second.header.position[2] == pytest.approx(STEP_MM)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ((HU.astype(float) + 1024) / 8, "u2"),  # grey values 0..255
        ((HU + 1024.0) / 2500, "f4"),  # 0..1
        (HU + 1024, "i2"),  # CT numbers without their intercept
        (HU - 1024, "i2"),  # with it twice
        (HU > -500, "u2"),  # a mask
        (np.full_like(HU, -1000), "i2"),  # nobody there
        (np.full(HU.shape, np.nan), "f4"),
        (np.random.default_rng(0).normal(0, 50, HU.shape), "f4"),  # normalised
    ],
)
def test_values_that_are_not_hounsfield_units(tmp_path, values, dtype):
    assert "not Hounsfield units" in reason(save(tmp_path / "scan.nii.gz", values, dtype=dtype))


@pytest.mark.parametrize(
    ("values", "header", "why"),
    [
        (np.stack([HU, HU], axis=-1), {}, "4-dimensional"),
        (HU, {"datatype": 32, "bitpix": 64}, "whole or real"),
        (HU, {"datatype": 256, "bitpix": 8}, "16 bits"),
        (HU, {"qform_code": 0, "sform_code": 0}, "no orientation"),
        (HU, {"xyzt_units": 5}, "unit of length"),
        (HU, {"srow_x": [np.nan, 0, 0, 0]}, "orientation"),
        (HU, {"srow_x": [0, 0, 0, 0]}, "orientation"),
        (HU, {"srow_z": [0, 0, 500, 0]}, "axial"),
        (HU, {"srow_y": [0, -4, 0, 0]}, "axial"),
        (HU, {"srow_y": [0.5, -0.8, 0, 0]}, "perpendicular"),
    ],
)
def test_what_is_no_ct_volume(tmp_path, values, header, why):
    assert why in reason(save(tmp_path / "scan.nii", values, **header))


def test_colours_are_refused(tmp_path):
    colours = np.zeros((6, 6, 6), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.Nifti1Image(colours, np.eye(4)).to_filename(tmp_path / "rgb.nii")
    assert "whole or real" in reason(tmp_path / "rgb.nii")


def test_a_fourth_dimension_of_one_is_none(tmp_path):
    save(tmp_path / "scan.nii", HU[..., None])
    np.testing.assert_array_equal(read_slice(tmp_path / "scan.nii", 4).pixels, HU[4])


def test_what_is_not_a_number_is_padding(tmp_path):
    values = HU.astype("f4")
    values[:, :3, :3], values[:, -1, -1], values[:, 0, -1] = np.nan, np.inf, -3024
    got = read_slice(save(tmp_path / "scan.nii", values, dtype="f4"), 1).pixels
    assert {*got[:3, :3].ravel(), got[-1, -1], got[0, -1]} == {-1024}
    np.testing.assert_array_equal(got[4:-1, 4:-1], HU[1, 4:-1, 4:-1])


def claim(path, shape, bits=16):
    """Lie about the sizes in the header (NIfTI-1: dim at byte 40, datatype at 70)."""
    whole = bytearray(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
    struct.pack_into("<4h", whole, 40, 3, *shape)
    path.write_bytes(gzip.compress(whole) if path.suffix == ".gz" else whole)
    return path


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
@pytest.mark.parametrize(
    ("shape", "why"),
    [
        ((32767, 32767, 32767), "rows, columns or slices"),
        ((4096, 4096, 4096), "volume larger than"),
        ((2048, 2048, 100), "shorter than its header"),
        ((40, 40, 5), "shorter than its header"),
        ((-5, 36, 5), "rows, columns or slices"),
        ((0, 36, 5), "rows, columns or slices"),
    ],
)
def test_sizes_are_checked_before_anything_is_allocated(tmp_path, name, shape, why):
    path = claim(save(tmp_path / name, HU), shape)
    with mock.patch.object(nifti.np, "frombuffer", side_effect=AssertionError("allocated")):
        assert why in reason(path)


def test_a_gzip_bomb_is_not_unpacked(tmp_path):
    """64 KiB that unpack to 64 MiB, behind a header that is content with 14 KiB."""
    whole = gzip.decompress(save(tmp_path / "scan.nii.gz", HU).read_bytes())
    with gzip.open(tmp_path / "bomb.nii.gz", "wb", compresslevel=9) as stream:
        stream.write(whole)
        for _ in range(4):
            stream.write(bytes(2**24))
    asked = []
    read = gzip.GzipFile.read
    with mock.patch.object(gzip.GzipFile, "read", lambda self, size=-1: asked.append(size) or read(self, size)):
        np.testing.assert_array_equal(read_slice(tmp_path / "bomb.nii.gz", 1).pixels, HU[1])
    assert 0 < max(asked) <= len(whole)
    assert min(asked) > 0


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_damaged_files_are_read_or_refused(tmp_path, name):
    whole = save(tmp_path / name, HU).read_bytes()
    path = tmp_path / f"damaged {name}"
    for length in [*range(0, 400, 23), *range(400, len(whole) - 1, 3989)]:
        path.write_bytes(whole[:length])
        assert all(record.reason for record in ingest(tmp_path, path.name, ("nifti",)))
    g = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(whole)
        for place in g.integers(0, min(len(whole), 400), 3):
            damaged[place] = g.integers(256)
        path.write_bytes(damaged)
        for record in ingest(tmp_path, path.name, ("nifti",)):
            assert (record.pixel_hash is None) == bool(record.reason)


def test_the_last_volume_is_kept_and_a_changed_one_is_not(tmp_path):
    path = save(tmp_path / "scan.nii.gz", HU)
    with mock.patch.object(gzip, "open", side_effect=gzip.open) as opened:
        for frame in range(5):
            read_slice(path, frame)
        once = opened.call_count
        read_slice(path, 2)
        assert opened.call_count == once <= 2
    save(path, HU[::-1])
    os.utime(path, ns=(1, 1))
    np.testing.assert_array_equal(read_slice(path, 0).pixels, HU[-1])


def test_the_name_of_a_file_says_nothing(tmp_path):
    (tmp_path / "a.nii").write_bytes(b"text that is no volume " * 40)
    with pytest.raises(DataRefused, match="not a DICOM, NIfTI"):
        kind_of(tmp_path / "a.nii")
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(b"a text " * 200))
    with pytest.raises(DataRefused, match="archive"):
        kind_of(tmp_path / "b.nii.gz")
    [path] = write_scan(tmp_path, HU, WRITINGS["NIfTI, gzip, scaled"])
    assert kind_of(path.rename(tmp_path / "scan.dcm")) == "nifti"


@pytest.mark.parametrize("frame", [-1, 5])
def test_there_is_no_such_slice(tmp_path, frame):
    with pytest.raises(DataRefused, match="of a file with 5 frames"):
        read_slice(save(tmp_path / "scan.nii", HU), frame)


def test_a_copy_under_another_name_or_packing_is_the_same_series(tmp_path):
    keys = set()
    for name in ("a.nii", "b.nii.gz"):
        records = ingest(tmp_path, save(tmp_path / name, HU).name, ("nifti",))
        keys.add(tuple(record.header.sop_uid for record in records))
    assert len(keys) == 1
    moved = AFFINE.copy()
    moved[2, 3] = 1
    other = ingest(tmp_path, save(tmp_path / "c.nii", HU, moved).name, ("nifti",))
    assert other[0].header.series_uid not in str(keys)
    assert ORIGIN_MM[2] != other[0].header.position[2] == 1


def test_what_nibabel_mends_is_not_told(tmp_path, caplog):
    """It would quote numbers of the header."""
    reason(save(tmp_path / "scan.nii", HU, qform_code=77, sform_code=78))
    assert caplog.records == []
