"""Paired proportions by patient: scipy, the unclustered tests, and studies without any difference."""

import numpy as np
import pytest
from scipy import stats

from covidct.errors import UsageError
from covidct.evaluation.intervals import LEAST_PATIENTS, NO_SPREAD, TOO_FEW, UNDEFINED
from covidct.evaluation.significance.clustered import (
    NEWCOMBE,
    STUDENT,
    compare,
    difference_by_patient,
    flip_patients,
    mcnemar_by_patient,
    sign_flip,
)
from covidct.evaluation.significance.paired import PairedTable, difference_interval, mcnemar


def study(generator: np.random.Generator, patients: int = 40, lead: float = 0.0):
    """Two raters whose errors go with the patient: first, second, patient of 1 to 12 cases each."""
    patient = np.repeat(np.arange(patients), generator.integers(1, 13, patients))
    chance = generator.beta(4, 1, (2, patients))[:, patient]
    chance[0] = np.clip(chance[0] + lead, 0, 1)
    first, second = generator.random(chance.shape) < chance
    return first, second, patient


def test_one_case_a_patient_is_mcnemar():
    first, second, _ = study(np.random.default_rng(1), 60)
    each, table = np.arange(len(first)), PairedTable.of(first, second)
    plain = mcnemar(table, method="chi2").statistic
    assert mcnemar_by_patient(first, second, each, weights="durkalski").statistic == pytest.approx(plain)
    n = len(first)
    assert mcnemar_by_patient(first, second, each).statistic == pytest.approx(plain * (n - 1) / n)
    interval, test = compare(first, second, each)
    assert (interval.low, interval.high) == difference_interval(table)
    assert (interval.method, test.name[:7]) == (NEWCOMBE, "McNemar")


def test_clustered_statistics_by_hand():
    # three patients: leads 2 of 4, 1 of 2, -1 of 3 cases
    first = np.array([1, 1, 1, 0, 1, 0, 0, 1, 1], bool)
    second = np.array([0, 0, 1, 0, 0, 0, 1, 1, 1], bool)
    patient = np.array(list("aaaabbccc"))
    assert mcnemar_by_patient(first, second, patient).statistic == pytest.approx(2 / 3 * 2**2 / (4 + 1 + 1))
    expected = (1 / 2 + 1 / 2 - 1 / 3) ** 2 / (1 / 4 + 1 / 4 + 1 / 9)
    found = mcnemar_by_patient(first, second, patient, weights="durkalski")
    assert found.statistic == pytest.approx(expected)
    assert found.p == pytest.approx(stats.chi2.sf(expected, 1))


def test_copying_cases_inside_their_patients_changes_nothing():
    first, second, patient = study(np.random.default_rng(3))
    once, often = (first, second, patient), tuple(np.tile(part, 9) for part in (first, second, patient))
    for weights in ("obuchowski", "durkalski"):
        assert mcnemar_by_patient(*often, weights=weights).p == pytest.approx(
            mcnemar_by_patient(*once, weights=weights).p
        )
    assert flip_patients(*often).p == flip_patients(*once).p
    assert difference_by_patient(*often).low == pytest.approx(difference_by_patient(*once).low)
    assert mcnemar(PairedTable.of(*often[:2])).p < mcnemar(PairedTable.of(*once[:2])).p


@pytest.mark.parametrize("patients", [9, 12])
def test_exact_sign_flips_are_those_of_scipy(patients):
    first, second, patient = study(np.random.default_rng(patients), patients, 0.2)
    lead = np.bincount(patient, weights=first.astype(float) - second)
    expected = stats.permutation_test(
        (lead, np.zeros(patients)),
        lambda a, b, axis: np.sum(a - b, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
    ).pvalue
    assert flip_patients(first, second, patient).p == pytest.approx(expected)
    assert sign_flip(lead) == pytest.approx(expected)


def test_many_discordant_patients_are_drawn_and_agree_with_the_statistic():
    first, second, patient = study(np.random.default_rng(5), 300, 0.02)
    drawn = flip_patients(first, second, patient)
    assert drawn.p == flip_patients(first, second, patient).p  # seeded
    assert drawn.p == pytest.approx(mcnemar_by_patient(first, second, patient).p, abs=0.02)


def test_equal_raters_are_told_apart_in_five_percent_by_patient_and_far_more_by_slice():
    generator, studies = np.random.default_rng(7), 300
    found = {"obuchowski": 0, "durkalski": 0, "flips": 0, "interval": 0, "slices": 0}
    for _ in range(studies):
        data = study(generator, 20)
        for weights in ("obuchowski", "durkalski"):
            found[weights] += mcnemar_by_patient(*data, weights=weights).p < 0.05
        found["flips"] += flip_patients(*data).p < 0.05
        interval = difference_by_patient(*data)
        found["interval"] += not interval.low <= 0 <= interval.high
        found["slices"] += mcnemar(PairedTable.of(*data[:2])).p < 0.05
    assert found.pop("slices") > 0.12 * studies
    assert max(found.values()) <= 0.085 * studies, found
    assert min(found.values()) >= 0.015 * studies, found


def test_what_cannot_be_said_is_not():
    first, second, patient = study(np.random.default_rng(9), LEAST_PATIENTS - 1)
    assert difference_by_patient(first, second, patient).method == TOO_FEW
    assert difference_by_patient(first, second, patient).value is not None
    nobody = np.zeros(0, bool)
    assert difference_by_patient(nobody, nobody, np.zeros(0)).method == UNDEFINED
    assert mcnemar_by_patient(nobody, nobody, np.zeros(0)).p is None
    first, second, patient = study(np.random.default_rng(9))
    interval, test = compare(first, first, patient)
    assert (interval.value, interval.method, test.p) == (0.0, NO_SPREAD, None)
    assert mcnemar_by_patient(first, first, patient).p is None
    assert difference_by_patient(first, second, patient).method == STUDENT
    with pytest.raises(UsageError, match="same length"):
        flip_patients(first, second, patient[1:])
    with pytest.raises(UsageError, match="eliasziw"):
        mcnemar_by_patient(first, second, patient, weights="eliasziw")
