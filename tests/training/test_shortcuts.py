"""What the probes show the network: lungs hidden, corners, marks; and that what is shown is what was predicted."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from covidct.ct.lungs import lung_mask
from covidct.data.transforms import BLACK
from covidct.errors import UsageError
from covidct.evaluation.predictions import read_predictions
from covidct.evaluation.shortcuts.judges import judge_shuffle
from covidct.training.shortcuts.battery import AuditSettings
from covidct.training.shortcuts.linear import fitted, out_of_fold
from covidct.training.shortcuts.probes_features import shuffled_areas
from covidct.training.shortcuts.views import Viewer, corners, has_mark, pixel_size

HU = Viewer(is_hu=True)
MM = (4.0, 4.0)


def chest(size: int = 80, solid: bool = False) -> np.ndarray:
    """A body with two lungs; `solid` fills the back half of one of them."""
    y, x = np.mgrid[:size, :size] - size // 2
    hu = np.full((size, size), -1000, dtype=np.int16)
    hu[(x / 32) ** 2 + (y / 24) ** 2 < 1] = 40
    for side in (-1, 1):
        lung = ((x - side * 15) / 11) ** 2 + (y / 17) ** 2 < 1
        hu[lung & ~((side == 1) & (y > 0) & solid)] = -800
    return hu


def test_no_lung_is_left_where_lungs_are_hidden():
    base = chest()
    hidden = HU.view("background", base, MM)
    assert not lung_mask(hidden, MM).any() or (hidden[lung_mask(base, MM)] == -1000).all()
    kept = hidden == base
    assert kept[40, 10]  # chest wall
    assert kept[0, 0]
    only = HU.view("lung_only", base, MM)
    np.testing.assert_array_equal(only[lung_mask(base, MM)], base[lung_mask(base, MM)])
    assert only[40, 9] == -1000
    assert HU.view("background", np.full((80, 80), 40, np.int16), MM) is None


def test_what_is_hidden_does_not_show_the_outline_of_a_consolidation():
    """Half of one lung is solid: the same is hidden, because the other lung stands in for it."""
    healthy, ill = HU.lung_field(chest(), MM), HU.lung_field(chest(solid=True), MM)
    assert lung_mask(chest(solid=True), MM).sum() < 0.85 * lung_mask(chest(), MM).sum()
    assert (healthy ^ ill).sum() < 0.03 * healthy.sum()


def test_fills_leave_what_lies_outside_the_slice():
    base = chest()
    base[:5] = BLACK
    assert (HU.view("border", base, MM)[:5] == BLACK).all()
    mean = Viewer(is_hu=True, fill="mean").view("no_corners", base, MM)
    assert mean[10, 10] == round(float(base[base != BLACK].mean()))
    grey = Viewer(is_hu=False).view("border", np.full((40, 40), 9000, np.int16), None)
    assert grey[20, 20] == 0
    assert (grey[:4] == 9000).all()
    assert (grey == 9000).sum() == 40 * 40 - 32 * 32


def test_inverted_pictures_are_turned_back_by_inverting():
    base = np.minimum(chest(), 20)  # what inverting would put below -1024 HU is cut there
    np.testing.assert_array_equal(HU.view("inverted", HU.view("inverted", base, MM), MM), base)
    grey = np.full((8, 8), 55 * 128, np.int16)
    assert (Viewer(is_hu=False).view("inverted", grey, None) == 200 * 128).all()


def test_marks_are_small_bright_and_in_a_corner():
    base = chest()
    assert not has_mark(base, True)
    tagged = base.copy()
    tagged[2:5, 2:5] = 2500
    assert has_mark(tagged, True)
    middle = base.copy()
    middle[40:43, 40:43] = 2500
    assert not has_mark(middle, True)
    large = base.copy()
    large[2:40, 2:40] = 2500
    assert not has_mark(large, True)
    assert corners(80).sum() == 4 * 16 * 16


def test_pixels_of_the_fitted_picture_have_their_size():
    assert pixel_size(0.7, 0.8, (512, 256), 64, "pad") == pytest.approx((0.7 * 8, 0.8 * 8))
    assert pixel_size(0.7, 0.8, (512, 256), 64, "stretch") == pytest.approx((0.7 * 8, 0.8 * 4))
    assert pixel_size(0.7, 0.8, (512, 256), 64, "crop") == pytest.approx((0.7 * 4, 0.8 * 4))
    assert pixel_size(float("nan"), 1.0, (8, 8), 8, "pad") is None


def test_probes_keep_patients_whole():
    """Slices copied within a patient of random label: a probe that split patients would be right."""
    g = np.random.default_rng(0)
    patients = np.repeat(np.arange(40), 4)
    numbers = np.repeat(g.normal(size=(40, 60)), 4, axis=0)
    labels = np.repeat(np.arange(40) % 2, 4)
    found = out_of_fold(numbers, labels, patients, 2, 0)
    assert (found.argmax(1) == labels).mean() < 0.7
    assert (fitted(numbers, labels, numbers, 2).argmax(1) == labels).mean() > 0.95
    assert out_of_fold(numbers[:4], labels[:4], patients[:4], 2, 0) is None


@pytest.mark.parametrize("leaks", [True, False])
def test_shuffled_labels_are_learnt_only_where_patients_leak(leaks: bool):
    """Slices resemble their patient; with patients on both sides a shuffled label is recognised by the patient."""
    g = np.random.default_rng(0)
    looks = g.normal(size=(40, 30))
    train, test = np.repeat(np.arange(20), 5), np.repeat(np.arange(20) + (0 if leaks else 20), 3)
    slices = [looks[who] + g.normal(scale=0.5, size=(len(who), 30)) for who in (train, test)]
    patient = np.unique(np.concatenate([train, test]), return_inverse=True)[1]
    labels = np.arange(patient.max() + 1) % 3
    areas = shuffled_areas(*slices, patient, labels, 3, g)
    assert judge_shuffle(areas, 20).status == ("alarm" if leaks else "quiet")


def test_what_is_shown_whole_is_what_was_predicted(trained: Path, tmp_path: Path):
    """The audit's own way through the network gives the run's own predictions."""
    from covidct.data.table import read_table
    from covidct.training.scoring import open_run
    from covidct.training.shortcuts.looking import Looker
    from covidct.training.shortcuts.material import Material

    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    run = open_run(copy)
    table = read_table(Path(run.settings.data.index))
    material = Material(run, table, "all", 2)
    people = material.people(material.audited)
    assert np.bincount(people.of_slice).max() == 2  # of three slices
    looker = Looker(run, table, device="cpu", fill="air")
    sights, marked = looker.look(material.audited, ["whole", "border"], lambda _: None)
    expected = read_predictions(copy / "predictions.parquet")
    by_key = dict(zip(expected.frame["slice_key"], expected.probabilities, strict=True))
    keys = table.accepted["slice_key"].iloc[material.audited]
    np.testing.assert_allclose(sights["whole"].probabilities, [by_key[key] for key in keys], atol=1e-5)
    head = run.module.backbone.net.get_classifier()
    logits = sights["whole"].features @ head.weight.detach().numpy().T + head.bias.detach().numpy()
    shares = np.exp(logits - logits.max(1, keepdims=True))
    np.testing.assert_allclose(shares / shares.sum(1, keepdims=True), sights["whole"].probabilities, atol=1e-5)
    assert not np.allclose(sights["border"].probabilities, sights["whole"].probabilities, atol=1e-3)
    assert not marked.any()


@pytest.mark.parametrize("wrong", [{"probes": ["boarder"]}, {"fill": "water"}, {"replicates": 10}])
def test_wrong_settings_are_refused(wrong: dict):
    with pytest.raises(UsageError):
        AuditSettings(**wrong)
