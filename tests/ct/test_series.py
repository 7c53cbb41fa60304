import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from covidct.ct.header import Header
from covidct.ct.ingest import ingest
from covidct.ct.series import (
    DUPLICATES,
    FLAGS,
    GAPS,
    IRREGULAR,
    OBLIQUE,
    SEVERAL,
    SHIFTED,
    TILTED,
    UNEVEN,
    arrange,
)
from tests.ct.dicom_fixtures import write_ct, write_series


def header(z: float, *, x: float = 0, y: float = 0, uid: str = "1.2", **options) -> Header:
    values = {
        "patient_id": "p", "study_uid": "1", "series_uid": uid, "sop_uid": f"{uid}.{z}", "row": (1.0, 0.0, 0.0),
        "col": (0.0, 1.0, 0.0), "position": (x, y, z), "row_mm": 0.7, "col_mm": 0.7, "rows": 512, "cols": 512,
    }  # fmt: skip
    return Header(**(values | options))


def test_names_and_instance_numbers_do_not_matter(tmp_path):
    """The files are written with both running against the anatomy."""
    write_series(tmp_path, [-30, -12.5, 0, 5, 40])
    paths = sorted(path.name for path in tmp_path.iterdir())
    headers = [ingest(tmp_path, path, ("dicom",))[0].header for path in paths]
    series, refused = arrange(headers)
    assert refused == {}
    assert [headers[n].position[2] for n in series[0].members] == [-30, -12.5, 0, 5, 40]
    assert series[0].position_mm == (-30, -12.5, 0, 5, 40)
    assert not series[0].head_first


@given(st.permutations(range(12)))
@settings(max_examples=30)
def test_any_order_of_files_gives_the_same_series(order):
    headers = [header(z * 2.0) for z in order]
    series, _ = arrange(headers)
    assert [headers[n].position[2] for n in series[0].members] == [z * 2.0 for z in range(12)]


def test_order_follows_the_normal_of_a_tilted_gantry():
    """Tilt of 20 degrees, and in-plane drift that makes z alone misleading: positions are along the normal."""
    angle = np.deg2rad(20)
    col = (0.0, float(np.cos(angle)), float(-np.sin(angle)))
    normal = np.cross([1, 0, 0], col)
    drift = np.array(col)
    places = [normal * k * 3 + drift * k * 12 for k in range(6)]
    assert places[5][2] < places[0][2], "z falls while the place along the normal rises"
    headers = [header(0, col=col, position=tuple(map(float, p))) for p in reversed(places)]
    series, refused = arrange(headers)
    assert refused == {}
    assert series[0].members == (5, 4, 3, 2, 1, 0)
    np.testing.assert_allclose(series[0].position_mm, [0, 3, 6, 9, 12, 15], atol=1e-3)


def test_a_normal_towards_the_feet_is_known():
    """Columns advance towards the front: the normal points to the feet, so the first slice is the head's."""
    headers = [header(z, col=(0.0, -1.0, 0.0)) for z in (0.0, 5.0, 10.0)]
    series, _ = arrange(headers)
    assert series[0].head_first
    assert [headers[n].position[2] for n in series[0].members] == [10, 5, 0]


def test_two_slices_at_one_place_are_both_refused():
    headers = [header(0.0), header(2.0), header(2.004, sop_uid="other"), header(4.0)]
    series, refused = arrange(headers)
    assert series[0].members == (0, 3)
    assert set(refused) == {1, 2}
    assert "one place" in refused[1]


def test_a_lossy_copy_gives_way_to_the_lossless_slice():
    series, refused = arrange([header(0.0), header(0.0, sop_uid="copy", lossy=True), header(2.0)])
    assert series[0].members == (0, 2)
    assert "lossy" in refused[1]


def test_reconstructions_under_one_uid_become_series_of_their_own():
    headers = [header(z, kernel=kernel) for kernel in ("B30", "B70") for z in map(float, range(6))]
    series, refused = arrange(headers)
    assert refused == {}
    assert [one.members for one in series] == [tuple(range(6)), tuple(range(6, 12))]
    assert len({one.name for one in series}) == 2


@pytest.mark.parametrize(
    "stray",
    [
        {"row_mm": 1.4, "col_mm": 1.4},
        {"rows": 256, "cols": 256},
        {"kernel": "T20"},
        {"col": (0.0, float(np.cos(0.3)), float(np.sin(0.3)))},
    ],
)
def test_a_few_strays_in_a_series_are_refused(stray):
    headers = [header(float(z)) for z in range(8)] + [header(3.5, **stray), header(4.5, **stray)]
    series, refused = arrange(headers)
    assert series[0].members == tuple(range(8))
    assert set(refused) == {8, 9}
    assert series[0].name == headers[0].series_uid or "#" in series[0].name


def test_coronal_slices_are_not_axial():
    _, refused = arrange([header(0.0, col=(0.0, 0.0, -1.0))])
    assert refused == {0: "not an axial slice"}


def sheared(degrees: float, gantry: bool, count: int = 12, step: float = 4.0) -> list[Header]:
    """A table that moved along z; slices turned about x, with positions on the table's way (gantry) or square to it."""
    angle = np.deg2rad(degrees)
    col = (0.0, float(np.cos(angle)), float(np.sin(angle)))
    way = np.array([0, 0, 1]) if gantry else np.cross([1, 0, 0], col)
    return [header(0, col=col, position=tuple(map(float, way * step * k))) for k in range(count)]


@pytest.mark.parametrize(
    ("headers", "flags"),
    [
        ([header(z) for z in (0.0, 2.0, 4.0, 6.0)], ()),
        ([header(1.0)], ()),
        ([header(z) for z in (0.0, 2.0, 6.0, 8.0)], (GAPS,)),
        ([header(round(0.625 * k, 1)) for k in range(12)], ()),  # positions rounded to tenths
        ([header(z) for z in (0.0, 2.0, 4.0, 6.6, 8.6)], (UNEVEN,)),
        ([header(z) for z in (0.0, 2.0, 4.0, 4.9, 6.0, 8.0, 10.0)], (UNEVEN,)),
        ([header(z) for z in (0.0, 2.0, 4.0, 6.0, 8.0, 8.0, 10.0)], (GAPS, DUPLICATES)),
        ([header(z) for z in (0.0, 2.0, 4.0, 6.0, 8.0, 8.0)], (DUPLICATES,)),
        (sheared(20, gantry=True), (TILTED,)),
        (sheared(20, gantry=False), (OBLIQUE,)),
        (sheared(0.5, gantry=True), ()),
        ([header(2.0 * k, x=0.5 * k) for k in range(12)], (SHIFTED,)),
        ([header(2.0 * k, x=25.0 if k == 6 else 0.0) for k in range(12)], (SHIFTED,)),
        ([header(2.0 * k, x=0.001 * k) for k in range(12)], ()),
    ],
)
def test_what_is_odd_about_a_series_is_said(headers, flags):
    [series], _ = arrange(headers)
    assert series.flags == flags
    assert series.irregular == flags
    assert series.evenly_spaced == (GAPS not in flags)


def test_a_gap_is_more_than_one_and_a_half_steps():
    places = [10.0 * k for k in range(10)]
    assert arrange([header(z) for z in [*places, 105.0]])[0][0].flags == (UNEVEN,)
    assert arrange([header(z) for z in [*places, 105.1]])[0][0].flags == (GAPS,)


def test_flags_are_few_and_explained():
    assert set(IRREGULAR) == set(FLAGS) - {SEVERAL}


def phases(*numbers, start=0.0, step=2.0, count=8, **options) -> list[Header]:
    """Scans of one body, under one UID, one after the other."""
    return [
        header(start + step * k, acquisition=number, sop_uid=f"{number}.{k}", **options)
        for number in numbers
        for k in range(count)
    ]


@pytest.mark.parametrize("offset", [0.0, 1.0])  # at the same places, and between them: then nothing else tells
def test_contrast_phases_become_series_of_their_own(offset):
    headers = phases(1) + phases(2, start=offset)
    for order in (headers, headers[::-1], headers[::2] + headers[1::2]):
        series, refused = arrange(order)
        assert refused == {}
        assert [{order[n].acquisition for n in one.members} for one in series] == [{1}, {2}]
        assert [one.flags for one in series] == [(SEVERAL,), (SEVERAL,)]
        assert all(one.irregular == () for one in series)


def test_a_step_and_shoot_scanner_counts_up_with_every_rotation():
    headers = [header(2.0 * k, acquisition=k // 2) for k in range(16)]
    [series], refused = arrange(headers)
    assert (refused, series.flags) == ({}, ())
    twice = headers + [header(2.0 * k, acquisition=100 + k // 2, sop_uid=f"b{k}") for k in range(16)]
    series, refused = arrange(twice)
    assert refused == {}
    assert [len(one.members) for one in series] == [16, 16]


def test_slices_of_bolus_tracking_do_not_spoil_the_scan():
    headers = phases(2) + [header(6.0, acquisition=1, sop_uid=f"bolus {k}") for k in range(3)]
    [series], refused = arrange(headers)
    assert series.members == tuple(range(8))
    assert set(refused) == {8, 9, 10}


def test_thin_and_thick_reconstructions_under_one_uid():
    headers = [header(1.0 * k, thickness_mm=1.0) for k in range(16)] + [
        header(5.0 * k, thickness_mm=5.0, sop_uid=f"thick {k}") for k in range(5)
    ]
    series, refused = arrange(headers)
    assert refused == {}
    assert [len(one.members) for one in series] == [16, 5]
    assert [one.irregular for one in series] == [(), ()]


def test_a_localizer_whose_image_type_does_not_say_so(tmp_path):
    """Inside a series it changes the mean spacing by 17 % in readers that average (D.2); here it is refused."""
    write_series(tmp_path, [0.7 * k for k in range(10)])
    write_ct(
        tmp_path / "scout.dcm",
        SOPInstanceUID="1.2.3.2.99",
        SeriesInstanceUID="1.2.3.2",
        ImageOrientationPatient=[1, 0, 0, 0, 0, -1],
        ImagePositionPatient=[-100, 0, 40],
    )
    write_ct(
        tmp_path / "axial scout.dcm",
        SOPInstanceUID="1.2.3.2.98",
        SeriesInstanceUID="1.2.3.2",
        PixelSpacing=[2, 2],
        ImagePositionPatient=[-100, -100, 12.1],
    )
    paths = sorted(path.name for path in tmp_path.iterdir())
    series, refused = arrange([ingest(tmp_path, path, ("dicom",))[0].header for path in paths])
    [one] = series
    assert (len(one.members), one.flags) == (10, ())
    np.testing.assert_allclose(np.diff(one.position_mm), 0.7, atol=1e-3)
    assert {paths[number]: reason.split(",")[0] for number, reason in refused.items()} == {
        "scout.dcm": "not an axial slice",
        "axial scout.dcm": "geometry",
    }


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"ImagePositionPatient": None}, "position or orientation"),
        ({"ImageOrientationPatient": None}, "position or orientation"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "perpendicular"),
        ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, "perpendicular"),
        ({"SeriesInstanceUID": None}, "SeriesInstanceUID"),
    ],
)
def test_a_slice_without_a_place_is_refused(tmp_path, elements, reason):
    write_ct(tmp_path / "a.dcm", **elements)
    assert reason in ingest(tmp_path, "a.dcm", ("dicom",))[0].reason
