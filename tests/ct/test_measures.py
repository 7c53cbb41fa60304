"""Measures of a slice against numbers known from its making."""

from __future__ import annotations

import numpy as np
import pytest

from covidct.ct.glimpse import glimpse
from covidct.ct.measures import BIN_HU, BINS, measure
from covidct.ct.phantom import DEFAULT_SCANNERS
from covidct.ct.phantom.patient import Patient
from covidct.ct.phantom.section import cut
from covidct.ct.read import Slice
from tests.ct.dicom_fixtures import chest, write_ct


def test_the_histogram_counts_all_but_padding():
    values = [-1024] * 7 + [-1023, -993, -992, 0, 31, 32, 1023, 1024, 3071]
    picture = Slice(np.array(values, np.int16).reshape(4, 4), "HU")
    counts = dict(enumerate(measure(picture).histogram))
    assert {number: n for number, n in counts.items() if n} == {0: 2, 1: 1, 32: 2, 33: 1, 63: 3}
    assert -1024 + BIN_HU * 32 == 0
    assert len(counts) == BINS


def test_grey_values_come_four_to_a_bin_black_included():
    picture = Slice(np.array([[0, 3, 4, 255]], np.uint8), "gray8")
    found = measure(picture)
    assert {number: n for number, n in enumerate(found.histogram) if n} == {0: 2, 1: 1, 63: 1}
    assert (found.body_mm2, found.lung_mm2) == (None, None)


@pytest.mark.parametrize("number", [1, 3])
def test_the_area_of_the_lungs_is_what_was_drawn(number):
    scanner = DEFAULT_SCANNERS[0]
    one = Patient(np.random.SeedSequence([3]), "normal", scanner, 384, 6, 0.0, 0.6)
    seen = one.slice(number)
    drawn = cut(one.chest, seen.depth_mm, scanner.thickness_mm, one.disease)
    found = measure(Slice(seen.hu, "HU", one.grid.pixel_mm, one.grid.pixel_mm))
    assert found.lung_mm2 == pytest.approx((drawn.lung > 0.5).sum() * one.grid.pixel_mm**2, rel=0.05)
    assert found.body_mm2 == pytest.approx((drawn.body > 0.5).sum() * one.grid.pixel_mm**2, rel=0.03)


def test_a_glimpse_has_the_shape_of_the_body_and_shows_what_is_no_slice(tmp_path):
    wide = glimpse(write_ct(tmp_path / "a.dcm", PixelSpacing=[0.5, 1.0]))
    assert wide.shape == (72, 144)
    air, lung, water = wide[36, 2], wide[36, 47], wide[36, 72]
    assert (air, lung) == (pytest.approx(255 * 350 / 1500, abs=2), pytest.approx(255 * 500 / 1500, abs=5))
    assert water == pytest.approx(255 * 1350 / 1500, abs=5)
    scout = glimpse(write_ct(tmp_path / "b.dcm", chest(), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]))
    assert scout.min() == 0
    assert scout.max() == 255
