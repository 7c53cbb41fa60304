"""Known HU at known places, and that each disease is what it is called."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from covidct.ct.phantom import DEFAULT_SCANNERS, Encoding
from covidct.ct.phantom.anatomy import Chest
from covidct.ct.phantom.body import Body
from covidct.ct.phantom.geometry import Beads, Field, Grid, Tube, coverage, smooth_union
from covidct.ct.phantom.patient import Patient
from covidct.ct.phantom.section import Section, cut
from covidct.ct.phantom.vessels import grow


def patient(label: str, seed: int = 1, slices: int = 10, difficulty: float = 0.0, size: int = 128) -> Patient:
    return Patient(np.random.SeedSequence([seed]), label, DEFAULT_SCANNERS[0], size, slices, difficulty, 0.6)


def sections(one: Patient) -> list[Section]:
    return [cut(one.chest, one.first_mm + one.step_mm * n, 5.0, one.disease) for n in range(one.slices)]


@pytest.fixture(scope="module")
def straight() -> Chest:
    """A person who lies straight, so that body coordinates are image coordinates."""
    body = Body.sample(np.random.default_rng(7))
    grid = Grid.make(256, 1.6, (0.0, 0.0), 0.0, np.zeros((0, 6)))
    return Chest(body, grid, np.random.default_rng(8), 130.0)


def value(section: Section, grid: Grid, x: float, y: float, half: int = 1) -> float:
    column, row = int(np.abs(grid.x_axis - x).argmin()), int(np.abs(grid.y_axis - y).argmin())
    return float(np.median(section.hu[row - half : row + half + 1, column - half : column + half + 1]))


def test_known_hu_at_known_places(straight: Chest) -> None:
    body, grid = straight.body, straight.grid
    section = cut(straight, 0.60 * body.height_mm, 2.0, None)
    assert (section.hu[section.body == 0] == -1000).all()
    aorta = body.tubes["aorta_down"].points[2]  # tabulated at level 0.60
    assert value(section, grid, aorta[0], aorta[1]) == pytest.approx(43, abs=6)
    assert value(section, grid, 10 * body.width, -20 * body.depth) == pytest.approx(40, abs=12)  # heart
    assert 80 < value(section, grid, 0, 52 * body.depth) < 700  # vertebra
    out = straight.outline(0.60 * body.height_mm)
    fat = (out.skin < -4) & (out.muscle > 4) & (section.hu < 0)
    assert np.median(section.hu[fat]) == pytest.approx(-104, abs=12)
    muscle = (out.muscle < -3) & (out.cavity > 14)
    assert np.median(section.hu[muscle]) == pytest.approx(52, abs=15)
    assert -910 < np.median(section.hu[section.lung == 1]) < -790
    assert 400 < section.hu.max() < 1000
    high = cut(straight, 0.2 * body.height_mm, 2.0, None)
    x, y, depth = body.tubes["trachea"].points[1]
    end = body.tubes["trachea"].points[2]
    t = (0.2 * body.height_mm - depth) / (end[2] - depth)
    assert value(high, grid, x + t * (end[0] - x), y + t * (end[1] - y)) < -940


def test_lungs_have_their_shape_at_each_level(straight: Chest) -> None:
    height = straight.body.height_mm
    area = [cut(straight, u * height, 5.0, None).lung.sum() * 1.6**2 / 100 for u in (0.03, 0.2, 0.45, 0.95)]
    assert area[0] < 0.45 * area[1] < 0.45 * area[2] * 1.05
    assert area[3] < 0.5 * area[2]
    assert 150 < area[2] < 420  # cm2, both lungs
    middle = cut(straight, 0.6 * height, 5.0, None).lung
    right, left = middle[:, :128].sum(), middle[:, 128:].sum()
    assert left < right  # the heart lies on the left, the right half of the image
    gradient = straight.grid.y[middle == 1], cut(straight, 0.6 * height, 5.0, None).hu[middle == 1]
    assert np.corrcoef(*gradient)[0, 1] > 0.02  # denser towards the table


def test_people_differ_and_are_repeatable() -> None:
    a, b, c = patient("normal", 1).slice(5).hu, patient("normal", 2).slice(5).hu, patient("normal", 1).slice(5).hu
    np.testing.assert_array_equal(a, c)
    assert np.abs(a.astype(float) - b).mean() > 40


def test_global_random_state_is_not_touched() -> None:
    np.random.seed(5)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    patient("viral").slice(4)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize("size", [64, 512])
def test_every_size_shows_the_same_person(size: int) -> None:
    small, large = patient("covid19", size=128).slice(6).hu, patient("covid19", size=size).slice(6).hu
    mean = [v.reshape(64, v.shape[0] // 64, 64, -1).mean(axis=(1, 3)) for v in (small, large)]
    assert np.corrcoef(mean[0].ravel(), mean[1].ravel())[0, 1] > 0.98


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_diseases_are_what_they_are_called(seed: int) -> None:
    found = {}
    for label in ("covid19", "viral", "bacterial", "tuberculosis"):
        one = patient(label, seed, slices=12)
        level, rim, back, hu, side = [], [], [], [], []
        for n, section in enumerate(sections(one)):
            m = section.lesion
            out = one.chest.outline(one.first_mm + one.step_mm * n)
            level += [section.level] * int(m.sum())
            rim += list(-out.cavity[m])
            back += list(one.grid.y[m])
            hu += list(section.hu[m])
            side += list(np.sign(one.grid.x[m]))
        measured = {"level": level, "rim": rim, "back": back, "hu": hu, "side": side}
        found[label] = {k: np.array(v) for k, v in measured.items()}
    covid, viral, bacterial, tb = (found[k] for k in ("covid19", "viral", "bacterial", "tuberculosis"))
    assert np.median(covid["rim"]) < 16 < np.median(viral["rim"])  # mm from the ribs: peripheral, diffuse
    assert np.median(covid["back"]) > 10  # posterior
    assert np.median(covid["level"]) > 0.5 > 0.4 > np.median(tb["level"])  # basal; upper lobes
    assert -750 < np.median(covid["hu"]) < -350  # ground glass
    assert -780 < np.median(viral["hu"]) < -500
    assert 0 < np.median(bacterial["hu"]) < 70  # consolidation
    assert 0.1 < (covid["side"] > 0).mean() < 0.9  # both lungs
    assert np.abs(bacterial["side"].mean()) == 1  # one lobe
    assert (tb["hu"] > -150).mean() > 0.2  # walls and nodules
    assert (tb["hu"] < -900).any()  # air in the cavities


def test_air_bronchogram_crosses_the_consolidation() -> None:
    air = 0.0
    for seed in (1, 2):
        one = patient("bacterial", seed, slices=8, size=192)
        air += sum(float(((s.hu < -400) & s.lesion).sum()) for s in sections(one))
    assert air > 30  # pixels of air inside what is otherwise solid


def test_lesions_continue_from_slice_to_slice() -> None:
    for label in ("covid19", "bacterial", "tuberculosis"):
        one = patient(label, 4)
        body = one.body
        best = max(sections(one), key=lambda s: s.lesion.sum())
        depth = best.level * body.height_mm
        near = cut(one.chest, depth + 1.0, 5.0, one.disease).lesion
        far = cut(one.chest, depth + 60.0, 5.0, one.disease).lesion

        def dice(a: np.ndarray, b: np.ndarray) -> float:
            return float(2 * (a & b).sum() / max((a.sum() + b.sum()), 1))

        assert dice(best.lesion, near) > 0.75
        assert dice(best.lesion, far) < 0.6


@pytest.mark.parametrize("label", ["covid19", "viral", "bacterial", "tuberculosis"])
def test_difficulty_takes_away(label: str) -> None:
    easy, hard = patient(label, 6, difficulty=0.0), patient(label, 6, difficulty=1.0)
    healthy = patient("normal", 6)
    effect = []
    for one in (easy, hard):
        change = [
            np.abs(cut(one.chest, one.first_mm + one.step_mm * n, 5.0, one.disease).hu - h.hu).sum()
            for n, h in enumerate(sections(healthy))
        ]
        effect.append(sum(change))
    assert 0 < effect[1] < 0.5 * effect[0]


def test_noise_follows_scanner_and_kernel() -> None:
    grid = Grid.make(256, 1.4, (0.0, 0.0), 0.0, np.zeros((0, 6)))
    flat, inside = np.full((256, 256), 40.0, np.float32), np.ones((256, 256), np.float32)
    measured = {}
    for scanner in DEFAULT_SCANNERS:
        hu = scanner.measure(flat.copy(), inside, grid, np.random.default_rng(1), 0.0)[64:192, 64:192]
        assert hu.dtype == np.int16
        assert hu.mean() == pytest.approx(40 + scanner.offset_hu, abs=1.5)
        assert hu.std() == pytest.approx(scanner.noise_hu * np.sqrt(5 / scanner.thickness_mm), rel=0.12)
        centred = hu - hu.mean()
        measured[scanner.kernel] = float((centred[:, 1:] * centred[:, :-1]).mean() / centred.var())
    assert measured["LUNG"] < measured["B41s"] < measured["STANDARD"]  # sharp kernels give fine-grained noise


def test_encodings_are_exact_over_their_range() -> None:
    for encoding in (*[s.encoding for s in DEFAULT_SCANNERS], Encoding(16, False, 0.5, -1024.0)):
        hu = np.arange(-1024, 3072, dtype=np.int16).reshape(64, 64)
        raw = encoding.encode(hu).astype(float)
        np.testing.assert_array_equal(raw * encoding.slope + encoding.intercept, hu)
        low, high = (-(2**15), 2**15 - 1) if encoding.signed else (0, 2**encoding.bits_stored - 1)
        assert raw.min() >= low
        assert raw.max() <= high


def test_tube_distance_is_euclidean() -> None:
    grid = Grid.make(64, 2.0, (0.0, 0.0), 0.0, np.zeros((0, 6)))
    tube = Tube(np.array([[0.0, 0.0, -50.0], [0.0, 0.0, 50.0]]), np.array([10.0, 10.0]))
    found = tube.cut(grid, 0.0, 5.0)
    assert found is not None
    window, distance = found
    np.testing.assert_allclose(distance, np.hypot(grid.x[window], grid.y[window]) - 10, atol=1e-3)
    assert tube.cut(grid, 70.0, 5.0) is None
    slanted = Tube(np.array([[-30.0, 0.0, -30.0], [30.0, 0.0, 30.0]]), np.array([6.0, 6.0])).cut(grid, 0.0, 3.0)
    assert slanted is not None
    inside = slanted[1] < 0  # a cylinder of radius 6 cut at 45 degrees: an ellipse of 6 by 6 sqrt(2)
    assert inside.sum() * 4 == pytest.approx(np.pi * 36 * np.sqrt(2), rel=0.06)


def test_field_is_standardised_and_smooth() -> None:
    grid = Grid.make(256, 1.5, (0.0, 0.0), 0.0, np.zeros((0, 6)))
    field = Field(np.random.default_rng(0), 10.0, 10.0)
    values = np.stack([field.at(grid, d) for d in range(0, 300, 15)])
    assert values.mean() == pytest.approx(0, abs=0.1)
    assert values.std() == pytest.approx(1, abs=0.1)
    assert np.abs(field.at(grid, 50.0) - field.at(grid, 50.5)).max() < 0.35


def test_beads_cover_what_their_size_says() -> None:
    grid = Grid.make(64, 1.0, (0.0, 0.0), 0.0, np.zeros((0, 6)))
    one = np.array([[0.3, -0.2, 0.0]])
    disc = Beads.sorted(one, np.array([6.0]), np.array([1.0])).stamp(grid, 0.0, 1.0)
    assert disc.sum() == pytest.approx(np.pi * 36, rel=0.05)
    thin = Beads.sorted(one, np.array([0.4]), np.array([0.0])).stamp(grid, 0.0, 5.0)
    assert 0 < thin.max() < 0.2  # partial volume
    assert not Beads.sorted(one, np.array([6.0]), np.array([1.0])).stamp(grid, 20.0, 1.0).any()
    assert not Beads.sorted(one[:0], np.zeros(0), np.zeros(0)).stamp(grid, 0.0, 1.0).any()


def test_tree_reaches_all_and_tapers() -> None:
    generator = np.random.default_rng(0)
    stem = np.array([[0.0, 0.0, 0.0], [5.0, 0.0, 0.0]])
    tree = grow(stem, generator.uniform(-40, 40, (80, 3)), tip_mm=0.5, stem_mm=9.0)
    assert (tree.parent[:2] == -1).all()
    for node in range(2, 82):
        steps, here = 0, node
        while tree.parent[here] >= 0:
            assert here < 2 or tree.parent[here] < 2 or tree.radii[tree.parent[here]] >= tree.radii[here] - 1e-6
            here, steps = int(tree.parent[here]), steps + 1
            assert steps < 82
        assert here < 2
    np.testing.assert_allclose(tree.radii[tree.tips], 0.5, rtol=1e-5)


def test_soft_shapes() -> None:
    d = np.array([-5.0, 0.0, 5.0], np.float32)
    np.testing.assert_allclose(coverage(d, 2.0), [1, 0.5, 0])
    np.testing.assert_allclose(smooth_union(d, d + 100, 4.0), d, atol=1e-6)
    assert (smooth_union(d, d, 4.0) < d).all()


def test_scanner_with_another_width_sees_the_same_person() -> None:
    wide = replace(DEFAULT_SCANNERS[0], field_mm=500.0)
    near = Patient(np.random.SeedSequence([1]), "normal", DEFAULT_SCANNERS[0], 128, 6, 0.0, 0.5)
    far = Patient(np.random.SeedSequence([1]), "normal", wide, 128, 6, 0.0, 0.5)
    assert near.body.height_mm == far.body.height_mm
    a = cut(near.chest, 100.0, 5.0, None).lung.sum() * near.grid.pixel_mm**2
    b = cut(far.chest, 100.0, 5.0, None).lung.sum() * far.grid.pixel_mm**2
    assert a == pytest.approx(b, rel=0.03)
