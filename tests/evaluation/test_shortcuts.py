"""Verdicts on shortcuts: AUCs beside permuted labels, pass lines on both sides, and the section of the report."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from covidct.evaluation.record import read_run
from covidct.evaluation.report import write_report
from covidct.evaluation.shortcuts import judges
from covidct.evaluation.shortcuts.chance import Chance, against_chance, auc_interval, patient_means, sign_flip
from covidct.evaluation.shortcuts.outcome import EACH, PROBES, not_done
from covidct.evaluation.shortcuts.section import save_figure, view
from covidct.files import write_json
from tests.evaluation.fabricated_run import make_run

NAMES = ("normal", "covid19", "viral")


def people(seed: int, n: int = 60, told: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores and sites; class 1 is told by `told` standard deviations."""
    g = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    scores = g.normal(size=(n, 3)).round(1)  # with ties
    scores[labels == 1, 1] += told
    return labels, scores, np.arange(n) % 2


def test_aucs_are_those_of_scikit_learn():
    labels, scores, sites = people(1)
    found = against_chance(labels, scores, sites, 200, np.random.default_rng(0))
    assert found is not None
    areas = [roc_auc_score(labels == k, scores[:, k]) for k in range(3)]
    np.testing.assert_allclose(found.per_class, areas)
    assert found.value == pytest.approx(np.mean(areas))
    absent = np.where(labels == 2, 0, labels)
    assert np.isnan(against_chance(absent, scores, sites, 50, np.random.default_rng(0)).per_class[2])
    assert against_chance(np.zeros(60, int), scores, sites, 50, np.random.default_rng(0)) is None


def test_chance_of_a_small_case_is_that_of_all_permutations():
    labels, scores = np.array([0, 0, 1, 1, 1, 0]), np.array([0.1, 0.4, 0.9, 0.8, 0.3, 0.2])
    both = np.column_stack([-scores, scores])
    own = roc_auc_score(labels, scores)
    every = [roc_auc_score(np.isin(range(6), ones), scores) for ones in itertools.combinations(range(6), 3)]
    found = against_chance(labels, both, np.zeros(6, int), 20_000, np.random.default_rng(0))
    assert found.p == pytest.approx(np.mean(np.array(every) >= own - 1e-12), abs=0.01)


def test_labels_stay_within_their_site():
    """Scores that tell the site, where the sites differ in their classes, are no better than permuted ones."""
    sites = np.repeat([0, 1], 40)
    labels = np.where(np.arange(80) % 8 == 0, 1 - sites, sites)
    scores = np.column_stack([-sites, sites]).astype(float)
    assert against_chance(labels, scores, sites, 500, np.random.default_rng(0)).p == 1.0
    assert against_chance(labels, scores, np.zeros(80, int), 500, np.random.default_rng(0)).p < 0.01


def test_false_alarms_are_as_rare_as_promised():
    """The pass line on scores that say nothing: at most `EACH` of 400 runs, and the line of P alone near it."""
    hits = beyond = 0
    for seed in range(400):
        labels, scores, sites = people(seed, n=30)
        found = against_chance(labels, scores, sites, 500, np.random.default_rng(seed))
        hits += judges.tells(found)
        beyond += found.p < 0.05
    assert hits <= 400 * EACH + 3
    assert 8 <= beyond <= 34  # 20 expected


def test_one_told_class_is_enough():
    labels, scores, sites = people(3, n=90, told=2.0)
    found = against_chance(labels, scores, sites, 1000, np.random.default_rng(0))
    assert found.value < found.per_class[1] - 0.15
    assert found.strongest == 1
    outcome = judges.judge_told("border", found, (0.55, 0.7), NAMES, 90)
    assert outcome.status == "alarm"
    assert "COVID-19, AUC" in outcome.sentence
    bounds = auc_interval(labels, scores, sites, 300, np.random.default_rng(0))
    assert bounds[0] < found.value < bounds[1]
    assert auc_interval(labels[:9], scores[:9], sites[:9], 300, np.random.default_rng(0)) is None


def test_means_of_patients():
    found = patient_means(np.array([[1.0], [3.0], [5.0]]), np.array([0, 0, 2]), 3)
    np.testing.assert_array_equal(found[:, 0], [2, np.nan, 5])


def test_sign_flips_are_all_tried_where_they_are_few():
    """evaluation.md B.2: five differences above 0: 1 of 32 patterns is as large."""
    g = np.random.default_rng(0)
    assert sign_flip(np.array([0.010, 0.004, 0.012, 0.006, 0.008, 0.0]), 2000, g) == 1 / 32
    assert sign_flip(np.zeros(4), 2000, g) == 1.0
    assert sign_flip(np.full(40, 0.1), 2000, g) == pytest.approx(1 / 2001)


def chance(per_class: list[float], p: float) -> Chance:
    return Chance(float(np.mean(per_class)), np.array(per_class), p, np.full(len(per_class), p), np.full(10, 0.55))


@pytest.mark.parametrize(
    ("mean", "p", "alarm"), [(0.61, 0.001, True), (0.59, 0.001, False), (0.9, 0.004, False), (0.61, 0.0024, True)]
)
def test_both_sides_of_the_line_of_what_tells(mean: float, p: float, alarm: bool):
    outcome = judges.judge_told("background", chance([mean] * 3, p), None, NAMES, 30)
    assert (outcome.status == "alarm") == alarm


@pytest.mark.parametrize(("low", "alarm"), [(0.61, True), (0.59, False)])
def test_metadata_need_an_interval_above_the_line(low: float, alarm: bool):
    columns = [{"column": "kernel", "cramers_v": 0.8, "p": 0.0, "values": 3}]
    outcome = judges.judge_metadata(0.8, (low, 0.9), columns, 40, ["year"])
    assert (outcome.status == "alarm") == alarm
    assert "kernel" in outcome.sentence


def test_lesion_free_slices_need_both_signs():
    told, untold = chance([0.5, 0.9, 0.5], 0.001), chance([0.5, 0.9, 0.5], 0.3)
    equal, lower = {1: (0.9, 0.88, 10)}, {1: (0.9, 0.6, 10)}
    assert judges.judge_lesion_free(told, equal, NAMES, 30).status == "alarm"
    assert judges.judge_lesion_free(told, lower, NAMES, 30).status == "quiet"
    assert judges.judge_lesion_free(untold, equal, NAMES, 30).status == "quiet"
    assert judges.judge_lesion_free(None, {}, NAMES, 30).status == "not done"


def test_the_site_is_an_alarm_only_where_it_went_with_the_label():
    rows = [{"class": "normal", "auc": 0.9, "patients": 20}]
    assert judges.judge_site(rows, 0.9, 0.001, 0.6, (0.8, 0.0001), 20).status == "alarm"
    assert judges.judge_site(rows, 0.9, 0.001, 0.6, (0.1, 0.7), 20).status == "noted"
    assert judges.judge_site(rows, 0.9, 0.001, 0.6, None, 20).status == "noted"
    assert judges.judge_site(rows, 0.7, 0.001, 0.6, (0.8, 0.0001), 20).status == "quiet"


def test_other_lines():
    g = np.random.default_rng(0)
    assert judges.judge_shuffle(g.normal(0.5, 0.03, 20), 30).status == "quiet"
    assert judges.judge_shuffle(g.normal(0.8, 0.03, 20), 30).status == "alarm"
    assert judges.judge_empty({"air": 0.89}, "covid19").status == "quiet"
    assert judges.judge_empty({"air": 0.1, "noise": 0.9}, "covid19").status == "alarm"
    assert judges.judge_corners(0.8, 0.5, (0.2, 0.4), 0.001, 30).status == "alarm"
    assert judges.judge_corners(0.8, 0.79, None, 0.2, 30).status == "quiet"
    assert judges.judge_duplicates(0, 0, 30).status == "quiet"
    assert judges.judge_duplicates(1, 0, 30).status == "alarm"
    labels = np.repeat([0, 1, 2], 10)
    tagged = (labels == 1).astype(float)
    assert judges.judge_marks(labels, tagged, np.array([0.5, 0.001, 0.5]), NAMES).status == "alarm"
    assert judges.judge_marks(labels, tagged * 0.1, np.array([0.5, 0.001, 0.5]), NAMES).status == "quiet"
    assert judges.judge_marks(labels, tagged * 0, np.ones(3), NAMES).status == "quiet"


def test_the_section_tells_alarms_first_and_what_was_not_done(tmp_path: Path):
    run = make_run(tmp_path / "run", per_patient=2, replicates=10)
    assert view(read_run(run)) is None
    outcomes = [
        not_done("site", "there is one site only"),
        judges.judge_shuffle(np.linspace(0.45, 0.55, 20), 30),
        judges.judge_told("border", chance([0.9, 0.8, 0.7], 0.001), (0.7, 0.9), NAMES, 30),
    ]
    record = {
        "verdict": judges.verdict(outcomes, "the validation patients"), "alarms": ["border"], "n_patients": 30,
        "n_slices": 90, "audited": "the validation patients", "family": 0.05, "each": 0.005, "weights_digest": "other",
        "outcomes": [o.as_dict() for o in outcomes],
    }  # fmt: skip
    write_json(run / "shortcuts.json", record)
    save_figure(run, record["outcomes"])
    found = view(read_run(run))
    assert [row["probe"] for row in found["rows"]] == ["border", "shuffle"]
    assert found["not_done"] == [(PROBES["site"].title, "Not done: there is one site only.")]
    page = write_report(run).read_text()
    assert "1 of 2 probes raised an alarm on the validation patients: border only." in page
    assert (run / "tables" / "shortcuts.csv").read_text().count("\n") == 4
    before = (run / "figures" / "shortcuts.svg").read_bytes()
    shutil.rmtree(run / "figures")
    save_figure(run, record["outcomes"])
    assert (run / "figures" / "shortcuts.svg").read_bytes() == before
