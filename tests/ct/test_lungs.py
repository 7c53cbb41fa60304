"""Lungs and body against what the phantom knows of itself, and on real slices."""

from __future__ import annotations

import numpy as np
import pytest

from covidct.ct.lungs import body_mask, lung_mask
from covidct.ct.phantom import DEFAULT_SCANNERS
from covidct.ct.phantom.patient import Patient
from covidct.ct.phantom.section import cut
from covidct.ct.read import read_slice
from tests.conftest import shared


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def cases(size, label, number):
    """(HU, pixel size, true body, true lung, lesion) of one slice in each of the three scanners."""
    for scanner in DEFAULT_SCANNERS:
        one = Patient(np.random.SeedSequence([2]), label, scanner, size, 6, 0.0, 0.6)
        seen = one.slice(number)
        section = cut(one.chest, seen.depth_mm, scanner.thickness_mm, one.disease)
        yield seen.hu, (one.grid.pixel_mm,) * 2, section.body > 0.5, section.lung > 0.5, seen.lesion


@pytest.mark.parametrize("size", [64, 200])
@pytest.mark.parametrize("number", [1, 3])
def test_lungs_and_body_are_where_the_phantom_put_them(size, number):
    for hu, pixel_mm, body, lung, _ in cases(size, "normal", number):
        found = lung_mask(hu, pixel_mm)
        assert dice(found, lung) > 0.93
        assert dice(body_mask(hu, pixel_mm), body) > 0.97
        assert not (found & ~body_mask(hu, pixel_mm)).any()
        without = lung_mask(hu, None)  # a field of 360 mm is taken for granted, these have 350 to 400
        assert dice(without, found) > 0.98


def test_ground_glass_and_vessels_are_inside():
    for hu, pixel_mm, _, _, lesion in cases(200, "covid19", 3):
        found = lung_mask(hu, pixel_mm)
        assert (found & lesion).sum() > 0.9 * lesion.sum() > 0
        inside = found[60:140, 20:90]
        assert (hu[60:140, 20:90][inside] > -100).any()  # blood


def test_trachea_stomach_and_table_are_no_lung():
    for hu, pixel_mm, _, lung, _ in cases(256, "normal", 5):  # the stomach's bubble lies in this slice
        found = lung_mask(hu, pixel_mm)
        assert (found & ~lung).sum() < 0.1 * lung.sum()
    one = Patient(np.random.SeedSequence([2]), "normal", DEFAULT_SCANNERS[0], 256, 6, 0.0, 0.6)
    hu = one.slice(1).hu
    trachea = (hu < -800) & ~lung_mask(hu, (one.grid.pixel_mm,) * 2) & body_mask(hu, (one.grid.pixel_mm,) * 2)
    assert 100 < trachea.sum() * one.grid.pixel_mm**2 < 600  # mm2: found as air inside the body, and not as lung


@pytest.mark.parametrize("value", [-1024, 0, 40, 3071])
def test_air_and_water_have_no_lung(value):
    hu = np.full((96, 80), value, np.int16)
    assert not lung_mask(hu, (4.0, 4.0)).any()
    assert body_mask(hu, (4.0, 4.0)).all() == (value >= 0)


def test_a_disc_of_water_is_a_body_without_lungs_and_a_small_one_is_no_body():
    y, x = np.mgrid[-64:64, -64:64]
    hu = np.where(np.hypot(y, x) < 50, 0, -1000).astype(np.int16)
    assert body_mask(hu, (2.0, 2.0)).sum() == pytest.approx(np.pi * 50**2, rel=0.03)
    assert not lung_mask(hu, (2.0, 2.0)).any()
    assert not body_mask(hu, (0.5, 0.5)).any()  # 2.5 cm across


def test_rows_and_columns_may_have_different_sizes():
    hu, pixel_mm, _, lung, _ = next(cases(256, "normal", 2))
    flat = lung_mask(np.ascontiguousarray(hu[::2]), (2 * pixel_mm[0], pixel_mm[1]))
    assert dice(flat, lung[::2]) > 0.93


REAL = {  # by eye: a slice with large lungs, and one without any
    "COVID-19 subjects/P001": ("98C14734-ASSH_121.dcm", None),
    "Cap subjects/cap002": ("IM0051.dcm", "IM0001.dcm"),
}


@pytest.mark.parametrize("patient", REAL)
def test_real_slices(patient):
    folder = shared("data", "covid_ct_md", *patient.split("/"))
    full, empty = REAL[patient]
    seen = read_slice(folder / full)
    found = lung_mask(seen.pixels, (seen.row_mm, seen.col_mm))
    area = found.sum() * seen.row_mm * seen.col_mm / 100
    assert 150 < area < 500  # cm2
    assert -900 < np.median(seen.pixels[found]) < -780
    half = found.shape[1] // 2
    assert 0.5 < found[:, :half].sum() / found[:, half:].sum() < 2
    if empty:
        neck = read_slice(folder / empty)
        assert not lung_mask(neck.pixels, (neck.row_mm, neck.col_mm)).any()
        assert body_mask(neck.pixels, (neck.row_mm, neck.col_mm)).mean() > 0.2
