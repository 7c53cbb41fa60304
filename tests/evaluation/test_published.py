"""The published numbers, against sums and against the paper's own text (abstract and results)."""

from __future__ import annotations

import dataclasses

import pytest

from covidct.evaluation import published
from covidct.evaluation.published_tables.rows import pairs_that_fit
from covidct.labels import FU2020


def _sum(field: str, *sites: str) -> int:
    return sum(getattr(cohort, field) for cohort in published.TABLE_1 if cohort.site in sites)


def test_sums_of_table_1_are_those_of_the_text():
    zhongshan, fifth = published.TEST_SITES
    assert (_sum("patients", published.TRAINING_SITE), _sum("images", published.TRAINING_SITE)) == (610, 60427)  # L315
    assert (_sum("patients", zhongshan), _sum("images", zhongshan)) == (139, 13078)
    assert (_sum("patients", fifth), _sum("images", fifth)) == (170, 16123)
    assert (_sum("patients", zhongshan, fifth), _sum("images", zhongshan, fifth)) == (309, 29201)  # L388


def test_test_cohort_per_class():
    assert published.external_images() == dict(zip(FU2020, (8897, 4887, 5105, 5105, 5207), strict=True))
    patients = {
        name: sum(c.patients for c in published.TABLE_1 if c.label == name and c.site in published.TEST_SITES)
        for name in FU2020
    }
    assert patients == {"normal": 100, "covid19": 50, "viral": 52, "bacterial": 53, "tuberculosis": 54}  # L390-394


def test_every_hospital_has_every_class_once():
    keys = [(cohort.site, cohort.label) for cohort in published.TABLE_1]
    assert len(keys) == len(set(keys)) == 15


@pytest.mark.parametrize(
    ("split", "covid"),
    [("val", (98.9, 96.7, 99.3, 96.7, 99.3)), ("test", (98.8, 98.2, 98.9, 94.5, 99.7))],  # L354-355, L410-412
)
def test_supplementary_tables_hold_25_numbers_and_the_quoted_covid_row(split, covid):
    rows = published.published_rows(split)
    assert tuple(rows) == FU2020
    assert tuple(getattr(rows["covid19"], metric) for metric in published.METRICS) == covid
    numbers = [getattr(row, metric) for row in rows.values() for metric in published.METRICS]
    assert len(numbers) == 25
    assert all(94 <= number < 100 for number in numbers)


def test_accuracies_quoted_in_the_abstract():
    assert [row.accuracy for row in published.TEST] == [99.4, 98.8, 98.5, 98.3, 98.6]  # L137


def test_lines_cited_are_inside_the_tables():
    assert all(325 <= cohort.line <= 336 for cohort in published.TABLE_1)
    assert all(373 <= row.line <= 380 for row in published.VALIDATION)
    assert all(421 <= row.line <= 430 for row in published.TEST)


def test_records_are_frozen_and_other_partitions_have_nothing_published():
    with pytest.raises(dataclasses.FrozenInstanceError):
        published.TEST[0].accuracy = 100.0
    assert published.published_rows("train") == {}


def test_rows_that_no_whole_numbers_fit():
    """mlscorecheck and an integer proof give the same three rows; all five validation rows hold."""
    assert published.impossible_test_rows() == ("normal", "covid19", "viral")
    assert published.PUBLICATION.tables["validation"].counts == (4994, 2514, 2507, 2527, 2565)  # a quarter of 60,427
    assert all(_pairs("validation", place) for place in range(5))


def test_counts_that_fit_bacterial_and_tuberculosis():
    bacterial = _pairs("test", 3)
    assert (bacterial.fn_range, bacterial.fp_range) == ((299, 302), (188, 192))
    tuberculosis = _pairs("test", 4)
    assert (tuberculosis.fn_range, tuberculosis.fp_range, len(tuberculosis)) == ((227, 228), (178, 179), 4)


def _pairs(name, place):
    table = published.PUBLICATION.tables[name]
    figures = {metric: table.cells("round")[place, metric] for metric in published.METRICS}
    return pairs_that_fit(table.counts[place], sum(table.counts) - table.counts[place], figures)
