"""Each rule against its sentence, written out again in plain Python, one patient at a time."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covidct.errors import UsageError
from covidct.evaluation import rules
from covidct.evaluation.patient_slices import PatientSlices, slices_by
from covidct.evaluation.predictions import Predictions
from covidct.evaluation.rule_spec import MEAN, PAPER, RuleSpec
from covidct.evaluation.rules import CONFLICT, NO_RESULT
from covidct.labels import ClassScheme
from tests.evaluation.factories import simulated

THREE = ClassScheme(("normal", "flu", "tb"), normal="normal", positive="flu")
LAST = ClassScheme(("flu", "tb", "normal"), normal="normal", positive="flu")
PLAIN = ClassScheme(("flu", "tb", "cap"), positive="flu")
N, F, T = [0.8, 0.1, 0.1], [0.1, 0.7, 0.2], [0.1, 0.2, 0.7]
OUTCOMES = [*THREE.names, CONFLICT, NO_RESULT]

# --- the oracle -------------------------------------------------------------------------------------------------------


def call(row, scheme, threshold):
    best = max(row)
    if threshold is not None and best < threshold:
        return scheme.normal
    winners = [name for name, p in zip(scheme.names, row, strict=True) if p == best]
    return next((name for name in winners if name != scheme.normal), scheme.normal)


def settle(seen, scores, scheme, tie):
    if not seen:
        return scheme.normal
    if len(seen) > 1 and tie == "conflict":
        return CONFLICT
    return min(seen, key=lambda d: (-seen[d], -scores[scheme.index(d)], scheme.index(d)))


def plain_any_slice(series, scheme, slice_threshold=None, min_run=1, tie="conflict"):
    runs = []
    for one in series:
        width = min(min_run, len(one))
        runs += [one[i : i + width] for i in range(len(one) - width + 1)]
    calls = [call(row, scheme, slice_threshold) for one in series for row in one]
    seen = {}
    for name in scheme.names:
        if name != scheme.normal and any(
            all(call(row, scheme, slice_threshold) == name for row in run) for run in runs
        ):
            seen[name] = calls.count(name)
    scores = [
        min(max(row[k] for row in run) for run in runs)
        if name == scheme.normal
        else max(min(row[k] for row in run) for run in runs)
        for k, name in enumerate(scheme.names)
    ]
    return settle(seen, scores, scheme, tie), scores


def plain_k_of_n(series, scheme, count=None, share=None, slice_threshold=None, tie="conflict"):
    rows = [row for one in series for row in one]
    need = count if count is not None else max(1, math.ceil(share * len(rows) - 1e-9))
    need = min(need, len(rows))
    calls = [call(row, scheme, slice_threshold) for row in rows]
    seen = {d: calls.count(d) for d in scheme.names if d != scheme.normal and calls.count(d) >= need}
    scores = [
        sorted((row[k] for row in rows), reverse=name != scheme.normal)[need - 1] for k, name in enumerate(scheme.names)
    ]
    return settle(seen, scores, scheme, tie), scores


def highest(scores, scheme, threshold):
    scores = [round(score, 12) for score in scores]
    diseases = [k for k, name in enumerate(scheme.names) if name != scheme.normal]
    best = max(diseases, key=lambda k: (scores[k], -k))
    if scheme.normal is None:
        return scheme.names[best]
    bar = scores[scheme.index(scheme.normal)] if threshold is None else threshold
    return scheme.names[best] if scores[best] >= bar else scheme.normal


def plain_mean(series, scheme, threshold=None):
    rows = [row for one in series for row in one]
    scores = [math.fsum(row[k] for row in rows) / len(rows) for k in range(len(scheme))]
    return highest(scores, scheme, threshold), scores


def plain_top_k(series, scheme, k, threshold=None):
    rows = [row for one in series for row in one]
    scores = []
    for column, name in enumerate(scheme.names):
        chosen = sorted((row[column] for row in rows), reverse=name != scheme.normal)[:k]
        scores.append(sum(chosen) / len(chosen))
    return highest(scores, scheme, threshold), scores


def plain_noisy_or(series, scheme, threshold=None):
    rows = [row for one in series for row in one]
    scores = [
        math.prod(row[k] for row in rows) if name == scheme.normal else 1 - math.prod(1 - row[k] for row in rows)
        for k, name in enumerate(scheme.names)
    ]
    return highest(scores, scheme, threshold), scores


ORACLES = {
    "any_slice": plain_any_slice,
    "k_of_n": plain_k_of_n,
    "mean_probability": plain_mean,
    "top_k": plain_top_k,
    "noisy_or": plain_noisy_or,
}
TIES = ("conflict", "most_slices")
SPECS = [
    *(
        RuleSpec("any_slice", {"slice_threshold": threshold, "min_run": run, "tie": tie})
        for threshold, run, tie in itertools.product((None, 0.5, 0.75), (1, 2, 3), TIES)
    ),
    *(RuleSpec("k_of_n", {"count": count, "tie": tie}) for count, tie in itertools.product((1, 2, 4), TIES)),
    *(RuleSpec("k_of_n", {"share": share, "slice_threshold": 0.5}) for share in (0.0, 0.1, 0.25, 0.5, 1.0)),
    *(RuleSpec("mean_probability", {"threshold": threshold}) for threshold in (None, 0.3, 0.5)),
    *(RuleSpec("top_k", {"k": k, "threshold": threshold}) for k, threshold in ((1, None), (3, None), (2, 0.6))),
    *(RuleSpec("noisy_or", {"threshold": threshold}) for threshold in (None, 0.9)),
]

# few and round values, so that ties and equal counts happen often
rows = st.lists(st.sampled_from([1, 2, 3, 6]), min_size=3, max_size=3).map(lambda parts: [p / 8 for p in parts])
patients = st.lists(st.lists(st.lists(rows, min_size=1, max_size=6), min_size=0, max_size=3), min_size=1, max_size=5)


def gathered(people) -> PatientSlices:
    found = [(p, 10 * p + s, row) for p, series in enumerate(people) for s, one in enumerate(series) for row in one]
    return PatientSlices(
        np.array([row for _, _, row in found], dtype=np.float64).reshape(-1, 3),
        np.array([p for p, _, _ in found], dtype=np.int64),
        np.array([s for _, s, _ in found], dtype=np.int64),
        len(people),
    )


@given(people=patients, scheme=st.sampled_from([THREE, LAST, PLAIN]))
@settings(max_examples=60, deadline=None)
def test_every_rule_against_plain_python(people, scheme):
    slices = gathered(people)
    for spec in SPECS:
        if scheme.normal is None and (spec.name in ("any_slice", "k_of_n") or spec.parameters.get("threshold")):
            continue
        found = spec(slices, scheme)
        for number, series in enumerate(people):
            if not series:
                assert found.outcome[number] == 4
                assert np.isnan(found.scores[number]).all()
                continue
            outcome, scores = ORACLES[spec.name](series, scheme, **spec.parameters)
            assert found.scores[number] == pytest.approx(scores, abs=1e-12), spec
            assert [*scheme.names, CONFLICT, NO_RESULT][found.outcome[number]] == outcome, spec


# --- each tie-break by hand -------------------------------------------------------------------------------------------


def outcome(name: str, *series: list[list[float]], scheme: ClassScheme = THREE, **parameters) -> str:
    slices = gathered([series])
    return [*scheme.names, CONFLICT, NO_RESULT][RuleSpec(name, parameters)(slices, scheme).outcome[0]]


def test_any_slice_two_diseases():
    assert outcome("any_slice", [F, F, T]) == CONFLICT
    assert outcome("any_slice", [F, F, T], tie="most_slices") == "flu"
    assert outcome("any_slice", [F, T, [0.05, 0.2, 0.75]], tie="most_slices") == "tb"
    assert outcome("any_slice", [F, [0.05, 0.2, 0.75]], tie="most_slices") == "tb"  # as many slices, higher score
    assert outcome("any_slice", [F, T], tie="most_slices") == "flu"  # equal in all: the first in scheme order


def test_a_run_is_of_neighbours_in_one_series():
    assert outcome("any_slice", [F, N, F], min_run=2) == "normal"
    assert outcome("any_slice", [N, F, F], min_run=2) == "flu"
    assert outcome("any_slice", [N, F], [F, N], min_run=2) == "normal"
    assert outcome("any_slice", [F, T, F, T], min_run=2) == "normal"
    assert outcome("any_slice", [F, F, T, T], min_run=2) == CONFLICT
    assert outcome("any_slice", [F, F, T, N], min_run=2) == "flu"
    assert outcome("any_slice", [N, N, N, N], [F], min_run=2) == "flu"  # a shorter series needs all of its slices


def test_k_of_n():
    assert outcome("k_of_n", [F, N, F], count=2) == "flu"
    assert outcome("k_of_n", [F, N, T], count=2) == "normal"
    assert outcome("k_of_n", [F], count=2) == "flu"  # fewer slices than asked for: all of them
    assert outcome("k_of_n", [F, F, T, T], count=2) == CONFLICT
    assert outcome("k_of_n", [F, F, T, T, T], count=2, tie="most_slices") == "tb"
    assert outcome("k_of_n", [*[N] * 27, F, F, F], share=0.1) == "flu"  # 0.1 * 30 is a little more than 3 in binary
    assert outcome("k_of_n", [*[N] * 28, F, F], share=0.1) == "normal"


def test_rules_that_compare_scores_never_conflict_and_prefer_disease():
    assert outcome("mean_probability", [F, T]) == "flu"
    assert outcome("mean_probability", [[0.5, 0.5, 0.0]]) == "flu"
    assert outcome("mean_probability", [N, N, F], threshold=0.3) == "flu"
    assert outcome("mean_probability", [N, N, F], threshold=0.31) == "normal"
    assert outcome("top_k", [N, N, N, F, F], k=2) == "flu"
    assert outcome("mean_probability", [N, N, N, F, F]) == "normal"
    assert outcome("top_k", [F, T], k=1) == "flu"
    # 1 - 0.3^2 and 1 - 0.8^2 against 0.1^2
    assert outcome("noisy_or", [F, F], threshold=0.91) == "flu"
    assert outcome("noisy_or", [F, F], threshold=0.92) == "normal"


def test_noisy_or_tells_diseases_apart_that_round_to_one():
    slices = [[0.0, 0.45, 0.55]] * 200
    found = RuleSpec("noisy_or")(gathered([[slices]]), THREE)
    assert found.scores[0].tolist() == [0, 1, 1]
    assert THREE.names[found.outcome[0]] == "tb"


def test_an_unknown_slice_takes_its_patient_out_and_no_other():
    slices = gathered([[[N, F]], [[N, [math.nan] * 3, F]], [[N]]])
    for spec in SPECS:
        found = spec(slices, THREE)
        assert found.outcome[1] == 4
        assert np.isnan(found.scores[1]).all()
        alone = spec(gathered([[[N, F]], [[N]]]), THREE)
        assert found.outcome[[0, 2]].tolist() == alone.outcome.tolist()
        assert found.seen[1].tolist() == [0, 0, 0]


def test_slices_are_gathered_in_anatomical_order_whatever_the_file():
    predictions = simulated(patients=3, slices=9)
    patient = ["split", "site", "patient_key"]
    shuffled = Predictions(predictions.frame.sample(frac=1, random_state=1, ignore_index=True), predictions.scheme)
    one, two = slices_by(predictions, patient), slices_by(shuffled, patient)
    assert one[1].equals(two[1])
    assert (one[0].probabilities == two[0].probabilities).all()
    assert one[1].groupby(["site", "series_key"])["slice_number"].apply(lambda n: (np.diff(n) == 1).all()).all()
    assert (np.diff(one[0].patient) >= 0).all()
    assert one[0].sizes.tolist() == [9] * 30


# --- rules as values --------------------------------------------------------------------------------------------------


def test_a_rule_goes_through_json_unchanged():
    for spec in SPECS:
        assert RuleSpec.from_dict(spec.as_dict()) == spec
        assert spec.words()
    assert PAPER.as_dict() == {"name": "any_slice", "parameters": {}}
    assert len({spec.words() for spec in (PAPER, MEAN, *SPECS[:18])}) >= 19


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("majority", {}),
        ("any_slice", {"threshold": 0.5}),
        ("any_slice", {"slice_threshold": 1.5}),
        ("any_slice", {"slice_threshold": math.nan}),
        ("any_slice", {"slice_threshold": "0.5"}),
        ("any_slice", {"min_run": 0}),
        ("any_slice", {"min_run": 1.5}),
        ("any_slice", {"min_run": True}),
        ("any_slice", {"tie": "first"}),
        ("k_of_n", {}),
        ("k_of_n", {"count": 2, "share": 0.1}),
        ("top_k", {}),
        ("top_k", {"k": 0}),
        ("noisy_or", {"threshold": -0.1}),
    ],
)
def test_a_rule_that_is_not_known_is_refused(name, parameters):
    with pytest.raises(UsageError):
        RuleSpec(name, parameters)
    with pytest.raises(UsageError):
        RuleSpec.from_dict({"name": name, "parameters": parameters})


@pytest.mark.parametrize("value", [None, "any_slice", {"name": "any_slice"}, {"name": "any_slice", "parameters": 3}])
def test_what_is_no_rule_is_refused(value):
    with pytest.raises(UsageError):
        RuleSpec.from_dict(value)


def test_rules_that_count_need_a_normal_class():
    slices = PatientSlices.of_one(np.array([F]))
    for spec in (PAPER, RuleSpec("k_of_n", {"count": 1}), RuleSpec("mean_probability", {"threshold": 0.5})):
        with pytest.raises(UsageError, match="normal"):
            spec(slices, PLAIN)
    with pytest.raises(UsageError, match="whole number"):
        rules.any_slice(slices, THREE, min_run=0)
