"""Slices to tensors: known Hounsfield values, Pillow and SciPy as oracles, chance that belongs to the sample alone."""

from __future__ import annotations

import pickle
import random

import numpy as np
import pytest
import torch
from monai.data import get_track_meta
from monai.transforms import LoadImage
from PIL import Image

from covidct.ct.window import Window, parse_windows
from covidct.data.transforms import Augmentation, HounsfieldReader, SliceTransform
from covidct.errors import DataRefused, UsageError
from tests.data.tiny_slices import write_dicom

LUNG = parse_windows("lung")
STRONG = {
    "flip": 0.5,
    "rotate_degrees": 15,
    "scale": 0.1,
    "translate": 0.1,
    "crop_min_side": 0.7,
    "contrast": 0.2,
    "brightness": 0.2,
    "gamma": 1.5,
    "intensity_probability": 1.0,
    "noise_std": 0.1,
    "noise_probability": 1.0,
    "dropout_holes": 2,
    "dropout_probability": 1.0,
}


@pytest.fixture
def scan(tmp_path):
    """An 8 x 8 slice with air, lung and bone in known places."""
    hu = np.full((8, 8), -1000, dtype=np.int16)
    hu[2, 3], hu[4, 5], hu[6, 1] = -600, 0, 1000
    write_dicom(tmp_path / "scan", hu)
    return tmp_path / "scan", hu


def test_reader_gives_rows_and_columns_untransposed(tmp_path):
    hu = np.arange(12, dtype=np.int16).reshape(3, 4) - 5
    write_dicom(tmp_path / "scan", hu)
    reader = HounsfieldReader()
    pixels, meta = reader.get_data(reader.read(tmp_path / "scan"))
    assert pixels.dtype == np.int16
    np.testing.assert_array_equal(pixels, hu)
    assert meta["units"] == "HU"
    assert (meta["row_mm"], meta["col_mm"]) == (0.8, 0.7)
    through_monai = LoadImage(dtype=None)(tmp_path / "scan", reader=HounsfieldReader())
    np.testing.assert_array_equal(np.asarray(through_monai), hu)


def test_a_refusal_is_not_turned_into_raw_values(tmp_path):
    """The trap of `LoadImage(reader=...)`: it would go on to MONAI's own readers."""
    Image.fromarray(np.zeros((4, 4), dtype=np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(DataRefused, match="not an 8-bit image"):
        SliceTransform((), 8).base(tmp_path / "deep.png")
    with pytest.raises(DataRefused):
        LoadImage()(tmp_path / "deep.png", reader=HounsfieldReader())
    with pytest.raises(UsageError, match="one slice"):
        HounsfieldReader().read([tmp_path / "deep.png"] * 2)


def test_windows_by_hand(scan):
    """Lung -600/1500 is -1350..150: -1000 is 350/1500. Mediastinal 40/400 is -160..240: 0 is 160/400."""
    path, _ = scan
    image = SliceTransform(parse_windows(["lung", "mediastinal"]), 8)({"path": path, "frame": 0, "row": 9, "label": 2})
    assert (image["row"], image["label"]) == (9, 2)
    lung, mediastinal = image["image"].double().numpy()
    known = {(0, 0): (350 / 1500, 0), (2, 3): (0.5, 0), (4, 5): (1350 / 1500, 0.4), (6, 1): (1, 1)}
    for place, (first, second) in known.items():
        assert lung[place] == pytest.approx(first, abs=1 / 65535)
        assert mediastinal[place] == pytest.approx(second, abs=1 / 65535)


def test_result_is_a_plain_float32_tensor_in_range(scan):
    for augment in (None, STRONG):
        transform = SliceTransform(LUNG, 12, augment=augment)
        base = transform.base(scan[0])
        for epoch in range(20):
            image = transform.finish(base, (epoch, 0))
            assert type(image) is torch.Tensor
            assert image.dtype == torch.float32
            assert image.shape == (1, 12, 12)
            assert image.is_contiguous()
            assert 0 <= image.min() <= image.max() <= 1


def test_grey_images_have_no_window(tmp_path, scan):
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    Image.fromarray(grey).save(tmp_path / "grey.png")
    image = SliceTransform((), 8).finish(SliceTransform((), 8).base(tmp_path / "grey.png"))
    np.testing.assert_allclose(image[0], grey / 255, atol=1 / 65535)
    with pytest.raises(UsageError, match="no window"):
        SliceTransform(LUNG, 8).base(tmp_path / "grey.png")
    with pytest.raises(UsageError, match="need a window"):
        SliceTransform((), 8).base(scan[0])


@pytest.mark.parametrize(("rows", "cols", "size"), [(64, 64, 24), (64, 40, 24), (20, 31, 48), (50, 50, 50)])
@pytest.mark.parametrize("fit", ["pad", "stretch", "crop"])
def test_fit_against_pillow(tmp_path, rows, cols, size, fit):
    """Pillow's bilinear filter averages over the footprint too; `ImageOps`-like geometry is computed here anew."""
    grey = np.random.default_rng(1).integers(0, 256, (rows, cols), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    floats = Image.fromarray(grey.astype(np.float32) / 255)
    if fit == "stretch":
        wanted = np.asarray(floats.resize((size, size), Image.Resampling.BILINEAR))
    elif fit == "crop":
        side = min(rows, cols)
        left, top = (cols - side) // 2, (rows - side) // 2
        cropped = floats.crop((left, top, left + side, top + side))
        wanted = np.asarray(cropped.resize((size, size), Image.Resampling.BILINEAR))
    else:
        wide, high = (round(size * side / max(rows, cols)) for side in (cols, rows))
        wanted = np.zeros((size, size), dtype=np.float32)
        top, left = (size - high) // 2, (size - wide) // 2
        wanted[top : top + high, left : left + wide] = np.asarray(
            floats.resize((wide, high), Image.Resampling.BILINEAR)
        )
    transform = SliceTransform((), size, fit=fit)
    np.testing.assert_allclose(transform.finish(transform.base(tmp_path / "grey.png"))[0], wanted, atol=2e-5)


def test_shrinking_averages_instead_of_skipping(tmp_path):
    """A one-pixel checkerboard becomes grey, not black or white."""
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).save(tmp_path / "board.png")
    base = SliceTransform((), 16).base(tmp_path / "board.png") / (255 * 128)
    np.testing.assert_allclose(base[1:-1, 1:-1], 0.5, atol=0.01)


def test_chance_belongs_to_seed_epoch_and_row(scan):
    path, _ = scan
    one = SliceTransform(LUNG, 16, augment=STRONG, seed=3)
    other = pickle.loads(pickle.dumps(SliceTransform(LUNG, 16, augment=STRONG, seed=3)))
    base = one.base(path)
    visits = [(0, 5), (0, 6), (1, 5), (0, 5, 1), (0, 5, 2**40)]
    first = [one.finish(base, visit) for visit in visits]
    again = [other.finish(base, visit) for visit in reversed(visits)][::-1]
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a, b)
    for i, a in enumerate(first):
        for b in first[i + 1 :]:
            assert not torch.equal(a, b)
    assert not torch.equal(SliceTransform(LUNG, 16, augment=STRONG, seed=4).finish(base, (0, 5)), first[0])
    assert torch.equal(one.finish(base), SliceTransform(LUNG, 16).finish(base))  # None: no augmentation


def test_global_random_state_does_not_move(scan):
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002  # the global state is what is tested
    torch.manual_seed(1)
    before = random.getstate(), np.random.get_state()[1:], torch.get_rng_state()  # noqa: NPY002
    transform = SliceTransform(LUNG, 16, augment=STRONG)
    for epoch in range(5):
        transform.finish(transform.base(scan[0]), (epoch, 0))
    assert random.getstate() == before[0]
    assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state()[1:], before[1], strict=True))  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])
    assert get_track_meta() is True  # MONAI's own switch is put back


def base_of(picture: np.ndarray) -> np.ndarray:
    return np.rint(picture * 255 * 128).astype(np.int16)


def test_flip_is_left_to_right():
    picture = np.tile(np.linspace(0, 1, 16), (16, 1))
    flipped = SliceTransform((), 16, augment={"flip": 1.0}).finish(base_of(picture), (0, 0))
    np.testing.assert_allclose(flipped[0], picture[:, ::-1], atol=1e-5)


def test_flip_happens_as_often_as_asked():
    picture = np.tile(np.linspace(0, 1, 16), (16, 1))
    transform = SliceTransform((), 16, augment={"flip": 0.3})
    flips = sum(bool(transform.finish(base_of(picture), (0, row))[0, 0, 0] > 0.5) for row in range(500))
    assert abs(flips - 150) < 4 * np.sqrt(500 * 0.3 * 0.7)


def moments(image: torch.Tensor) -> tuple[float, float, float, float]:
    """Mass, centre (row, column) and orientation in degrees of a picture."""
    y, x = torch.meshgrid(*[torch.arange(s, dtype=torch.float64) for s in image.shape[-2:]], indexing="ij")
    mass = image[0].double()
    total = mass.sum()
    cy, cx = (mass * y).sum() / total, (mass * x).sum() / total
    cov_xy = (mass * (y - cy) * (x - cx)).sum()
    difference = (mass * ((x - cx) ** 2 - (y - cy) ** 2)).sum()
    return float(total), float(cy), float(cx), float(torch.rad2deg(0.5 * torch.atan2(2 * cov_xy, difference)))


def bar() -> np.ndarray:
    picture = np.zeros((64, 64))
    picture[29:35, 16:48] = 1
    return picture


@pytest.mark.parametrize(
    ("augment", "reach"),
    [
        ({"rotate_degrees": 20}, ([0, 0, 0, 20])),
        ({"translate": 0.1}, ([0, 6.4, 6.4, 0])),
        ({"scale": 0.2}, ([0.6, 0, 0, 0])),
    ],
)
def test_affine_reaches_its_bounds_and_not_beyond(augment, reach):
    """By image moments: the angle, centre and mass of a bar over many draws."""
    transform = SliceTransform((), 64, augment=augment)
    total, cy, cx, angle = moments(transform.finish(base_of(bar())))
    seen = np.array([moments(transform.finish(base_of(bar()), (0, row))) for row in range(150)])
    off = np.abs(seen - [total, cy, cx, angle]) / [total, 1, 1, 1]
    slack = np.array([0.03, 0.1, 0.1, 0.5])
    assert np.all(off <= np.array(reach) + slack)
    moved = np.array(reach) > 0
    assert np.all(off.max(0)[moved] > 0.6 * np.array(reach)[moved])


def test_crop_zooms_in():
    transform = SliceTransform((), 64, augment={"crop_min_side": 0.5})
    total, *_ = moments(transform.finish(base_of(np.full((64, 64), 0.5))))
    flat = transform.finish(base_of(np.full((64, 64), 0.5)), (0, 1))
    np.testing.assert_allclose(flat, 0.5, atol=1e-4)  # nothing black comes in from outside
    ramp = np.tile(np.linspace(0, 1, 64), (64, 1))
    spans = [float(i[0, 0, -1] - i[0, 0, 0]) for r in range(60) for i in [transform.finish(base_of(ramp), (0, r))]]
    assert 0.45 < min(spans) < 0.6
    assert 0.9 < max(spans) <= 1
    assert total == pytest.approx(64 * 64 / 2, rel=1e-3)


def test_intensities_by_hand():
    picture = np.full((8, 8), 0.5)
    picture[0, 0], picture[0, 1] = 0, 1
    base = base_of(picture)
    on = {"intensity_probability": 1.0}
    middle = {
        name: [
            float(SliceTransform((), 8, augment={**on, name: amount}).finish(base, (0, r))[0, 4, 4]) for r in range(99)
        ]
        for name, amount in (("brightness", 0.2), ("contrast", 0.4), ("gamma", 2.0))
    }
    for name, low, high in (("brightness", 0.3, 0.7), ("contrast", 0.3, 0.7), ("gamma", 0.25, 0.5**0.5)):
        assert low <= min(middle[name]) < low + 0.05, name
        assert high - 0.05 < max(middle[name]) <= high + 1e-5, name


def test_noise_and_dropout():
    base = base_of(np.full((64, 64), 0.5))
    noisy = SliceTransform((), 64, augment={"noise_std": 0.05, "noise_probability": 1.0})
    spreads = [float(noisy.finish(base, (0, row)).std()) for row in range(40)]
    assert max(spreads) < 0.053
    assert max(spreads) > 0.04
    holes = SliceTransform(
        (), 64, augment={"dropout_holes": 3, "dropout_side": 0.25, "dropout_probability": 1.0}
    ).finish(base, (0, 0))
    black = int((holes == 0).sum())
    assert 16 * 16 <= black <= 3 * 16 * 16
    assert holes.unique().tolist() == [0.0, pytest.approx(0.5, abs=1e-4)]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"flipp": 0.5}, "did you mean 'flip'"),
        ({"flip": 1.5}, "probability"),
        ({"gamma": 0.5}, "gamma lies from"),
        ({"noise_std": "much"}, "noise_std"),
        ({"rotate_degrees": -3}, "rotate_degrees"),
        ({"dropout_holes": 1.5}, "whole number"),
        ({"crop_min_side": 0}, "crop_min_side"),
        ({"scale": float("nan")}, "scale"),
    ],
)
def test_wrong_augmentation_is_a_usage_error(wrong, said):
    with pytest.raises(UsageError, match=said):
        Augmentation.from_dict(wrong)


def test_wrong_geometry_is_a_usage_error():
    with pytest.raises(UsageError, match="fit"):
        SliceTransform((), 32, fit="squash")
    with pytest.raises(UsageError, match="size"):
        SliceTransform((), 2)


def test_default_augmentation_changes_nothing():
    assert Augmentation().transforms(64) == []
    assert SliceTransform((Window(0, 100),) * 3, 8, augment={}).channels == 3
