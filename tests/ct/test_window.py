import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from covidct.ct.window import WINDOWS, Window, apply, parse_windows
from covidct.errors import UsageError


def test_lung_window_at_known_values():
    """-600 +- 750 HU: -1350 is black, -600 middle grey, 150 white; beyond is clipped."""
    hounsfield = np.array([[-3000, -1350, -975], [-600, 150, 3000]], dtype=np.int16)
    got = apply(hounsfield, WINDOWS["lung"])
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, [[0, 0, 0.25], [0.5, 1, 1]], atol=1e-7)


@given(center=st.floats(-1000, 1000), width=st.floats(1, 4000), values=st.lists(st.integers(-1024, 3071), min_size=2))
def test_a_window_keeps_order_and_range(center, width, values):
    hounsfield = np.sort(np.array([values], dtype=np.int16))
    got = apply(hounsfield, Window(center, width))
    assert got.min() >= 0
    assert got.max() <= 1
    assert (np.diff(got) >= 0).all()


def test_int16_does_not_overflow():
    assert apply(np.array([[32767]], dtype=np.int16), Window(-600, 1500))[0, 0] == 1


def test_parse_gives_one_window_per_name_in_order():
    assert parse_windows("lung") == (Window(-600, 1500),)
    assert parse_windows(["mediastinal", "lung"]) == (Window(40, 400), Window(-600, 1500))
    assert parse_windows("-500,1400") == (Window(-500, 1400),)
    assert parse_windows(None) == ()


@pytest.mark.parametrize("name", ["lungs", "Lung", "medastinal"])
def test_a_misspelt_window_is_refused_with_a_suggestion(name):
    with pytest.raises(UsageError, match=r"did you mean '(lung|mediastinal)'"):
        parse_windows(name)


@pytest.mark.parametrize("value", [[], "-600,wide", "-600,0", "-600,-10", "nan,1500"])
def test_impossible_windows_are_refused(value):
    with pytest.raises(UsageError):
        parse_windows(value)


def test_gray8_is_divided_by_255_and_takes_no_window():
    picture = np.array([[0, 51, 255]], dtype=np.uint8)
    np.testing.assert_allclose(apply(picture, None, units="gray8"), [[0, 0.2, 1]], atol=1e-7)
    with pytest.raises(UsageError, match="no Hounsfield values"):
        apply(picture, WINDOWS["lung"], units="gray8")


def test_hounsfield_needs_a_window():
    with pytest.raises(UsageError, match="need a window"):
        apply(np.zeros((2, 2), dtype=np.int16), None)
    with pytest.raises(UsageError, match="unknown pixel units"):
        apply(np.zeros((2, 2), dtype=np.int16), WINDOWS["lung"], units="hu")
