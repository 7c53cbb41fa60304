"""Real scans from ../shared: one slice in 15 transfer syntaxes, and parts of three chest series."""

from pathlib import Path

import numpy as np
import pydicom
import pytest

from covidct.ct.ingest import ingest
from covidct.ct.read import read_slice
from covidct.ct.series import arrange
from covidct.errors import DataRefused

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
SUITE = SHARED / "dicom_transfer_syntax_suite"
SERIES = SHARED / "covid_ct_md"

needs_suite = pytest.mark.skipif(not SUITE.is_dir(), reason=f"../shared/data/{SUITE.name} is absent")
needs_series = pytest.mark.skipif(not SERIES.is_dir(), reason=f"../shared/data/{SERIES.name} is absent")

LOSSLESS = (
    "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
)  # fmt: skip
LOSSY = ("1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.91")


def variant(syntax: str) -> Path:
    return next(SUITE.glob(f"CTImage.dcm_*_{syntax}.dcm"))


@needs_suite
@pytest.mark.parametrize("syntax", LOSSLESS)
def test_every_lossless_variant_is_the_same_slice(syntax):
    reference = pydicom.dcmread(SUITE / "CTImage.dcm")
    stored = reference.pixel_array.astype(np.int64)
    assert stored.sum() == 19640763
    expected = np.maximum(stored - 1024, -1024)
    got = read_slice(variant(syntax))
    np.testing.assert_array_equal(got.pixels, expected)
    assert not got.lossy


@needs_suite
@pytest.mark.parametrize("syntax", LOSSY)
def test_lossy_variants_are_near_and_flagged(syntax):
    exact, got = read_slice(SUITE / "CTImage.dcm"), read_slice(variant(syntax))
    assert got.lossy
    assert 0 < np.abs(got.pixels.astype(int) - exact.pixels).max() <= 40
    assert got.pixel_hash() != exact.pixel_hash()


@needs_suite
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("*_1.2.840.10008.1.2.4.50.dcm", "12 to 16 bits"),
        ("*_1.2.840.10008.1.2.4.53.dcm", r"4\.53: needs dcmdjpeg"),
        ("*_1.2.840.10008.1.2.4.55.dcm", r"4\.55: needs dcmdjpeg"),
        ("CT0012.*", "perfusion map"),
        ("CT2_J2KR", "SECONDARY"),
        ("no-pixel-data.dcm", "modality SR"),
        ("no-pixel-spacing.dcm", "modality US"),
        ("PROVENANCE.md", "not a DICOM"),
    ],
)
def test_what_is_refused_says_why(name, reason):
    with pytest.raises(DataRefused, match=reason):
        read_slice(next(SUITE.glob(name)))


@needs_suite
def test_12_bit_jpeg_is_read_or_names_the_package():
    if "pylibjpeg" in pydicom.pixels.get_decoder("1.2.840.10008.1.2.4.51").available_plugins:
        got, exact = read_slice(variant("1.2.840.10008.1.2.4.51")), read_slice(SUITE / "CTImage.dcm")
        assert np.abs(got.pixels.astype(int) - exact.pixels).mean() < 10
    else:
        with pytest.raises(DataRefused, match="pylibjpeg-libjpeg"):
            read_slice(variant("1.2.840.10008.1.2.4.51"))


@needs_suite
def test_a_real_slice_with_padding_minus_2000_goes_no_lower_than_the_floor():
    stored = pydicom.dcmread(SUITE / "CT1_J2KR").pixel_array
    assert stored[0, 0] == stored[-1, -1] == -2000
    got = read_slice(SUITE / "CT1_J2KR").pixels
    assert got[0, 0] == got[-1, -1] == got.min() == -1024


@needs_series
@pytest.mark.parametrize("folder", ["COVID-19 subjects/P001", "Cap subjects/cap002", "Normal subjects/normal001"])
def test_real_series_are_ordered_by_place_and_have_plausible_hounsfield_values(folder):
    paths = sorted((SERIES / folder).iterdir())[::6]
    records = [ingest(SERIES, path.relative_to(SERIES).as_posix(), ("dicom",))[0] for path in paths]
    assert [record.reason for record in records if record.reason] == []
    series, refused = arrange([record.header for record in records])
    assert (len(series), refused) == (1, {})
    numbers = [int(pydicom.dcmread(paths[n], stop_before_pixels=True).InstanceNumber) for n in series[0].members]
    assert numbers == sorted(numbers, reverse=True), "these scanners number from the head; the normal points to it"
    hounsfield = read_slice(paths[series[0].members[len(paths) // 2]]).pixels
    assert abs(np.median(hounsfield[:20]) + 1000) < 30, "air in front of the patient"
    values, counts = np.unique(hounsfield[(hounsfield > -200) & (hounsfield < 200)], return_counts=True)
    smooth = np.convolve(counts, np.ones(15) / 15, mode="same")
    fat, soft = values < -30, values > 0
    assert -130 <= values[fat][smooth[fat].argmax()] <= -80
    assert 20 <= values[soft][smooth[soft].argmax()] <= 90


@needs_series
def test_a_real_jpeg_lossless_file_cut_anywhere_is_refused(tmp_path):
    whole = (SERIES / "Cap subjects/cap002/IM0060.dcm").read_bytes()
    for part in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.9999):
        (tmp_path / "cut.dcm").write_bytes(whole[: int(len(whole) * part)])
        with pytest.raises(DataRefused):
            read_slice(tmp_path / "cut.dcm")
