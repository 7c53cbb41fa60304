"""Splits: whole patients, hand-computed 3:1 numbers, refusals, and a brute-force count of what image splits leak."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covidct.data.splits import Split, describe_split, make_split, verify_split
from covidct.errors import CovidctError, DataRefused, IntegrityError, UsageError


@dataclasses.dataclass(frozen=True)
class Table:
    """What a split reads of a slice table."""

    accepted: pd.DataFrame
    digest: str = "d" * 64
    source: str = "made_up"
    patients_known: bool = True


def cohort(spec, *, slices=3, official=None) -> Table:
    """A table from {(site, label): patients}; `official` maps a patient number to its official split."""
    rows = []
    for (site, label), patients in spec.items():
        for patient, number in itertools.product(range(patients), range(slices)):
            name = f"{site}-{label}-{patient}"
            rows.append(
                {
                    "slice_key": hashlib.sha256(f"{name}/{number}".encode()).hexdigest()[:16],
                    "patient_key": hashlib.sha256(name.encode()).hexdigest()[:16],
                    "site": site,
                    "label": label,
                    "slice_number": number,
                    "official_split": None if official is None else official(patient),
                    "pixel_hash": hashlib.sha256(f"pixels {name}/{number}".encode()).hexdigest(),
                }
            )
    return Table(pd.DataFrame(rows))


def patients(table: Table, rows: np.ndarray) -> set[str]:
    return set(table.accepted["patient_key"].iloc[rows])


TWO = {("wuhan", "normal"): 8, ("wuhan", "covid19"): 12}


def test_three_to_one_by_hand():
    """8 and 12 patients at one site: 6 + 2 and 9 + 3."""
    split = make_split(cohort(TWO, slices=5))
    assert split.counts == {
        "train": {"normal": {"patients": 6, "slices": 30}, "covid19": {"patients": 9, "slices": 45}},
        "val": {"normal": {"patients": 2, "slices": 10}, "covid19": {"patients": 3, "slices": 15}},
    }
    assert split.unit == "patient"
    assert split.leaked_patients == 0


def test_rounding_does_not_drift_over_many_small_strata():
    """Twenty sites of two patients per class: each alone would round 1.5 up to 2; together it is 30 of 40."""
    spec = {(f"site{i:02}", label): 2 for i in range(20) for label in ("normal", "covid19")}
    split = make_split(cohort(spec, slices=1))
    for label in ("normal", "covid19"):
        assert split.counts["train"][label]["patients"] == 30
        assert split.counts["val"][label]["patients"] == 10


def test_each_site_keeps_its_share_of_each_class():
    table = cohort({("a", "normal"): 16, ("b", "normal"): 8, ("a", "covid19"): 8, ("b", "covid19"): 16})
    for repeat in range(5):
        split = make_split(table, repeat=repeat)
        frame = table.accepted.iloc[split.rows(table)["train"]].drop_duplicates("patient_key")
        assert Counter(zip(frame["site"], frame["label"], strict=True)) == {
            ("a", "normal"): 12,
            ("b", "normal"): 6,
            ("a", "covid19"): 6,
            ("b", "covid19"): 12,
        }


def test_a_small_class_does_not_spoil_the_share_of_another():
    """1.5 of 2 must be 1, for both sides need a patient; 6 of 8 stays 6, though 7.5 of 10 would round to 8."""
    split = make_split(cohort({("a", "normal"): 8, ("a", "covid19"): 2}))
    assert split.counts["train"]["normal"]["patients"] == 6
    assert split.counts["train"]["covid19"]["patients"] == 1


def test_small_classes_are_on_both_sides():
    """3 x 0.9 rounds to 3: the bound leaves one for validation."""
    split = make_split(cohort({("a", "normal"): 40, ("a", "covid19"): 3}), train_fraction=0.9)
    assert split.counts["train"]["covid19"]["patients"] == 2
    assert split.counts["val"]["covid19"]["patients"] == 1


def test_repeats_are_different_and_each_is_reproducible():
    table = cohort(TWO)
    sides = [make_split(table, repeat=r).train for r in range(5)]
    assert len(set(sides)) == 5
    assert sides == [make_split(table, repeat=r).train for r in range(5)]
    assert make_split(table, seed=1).train != sides[0]


def test_repeats_are_unbiased_and_independent():
    """Each patient is validated about a quarter of the time, and two patients together as often as chance says."""
    table = cohort({("a", "normal"): 20, ("a", "covid19"): 20}, slices=1)
    people = sorted(table.accepted["patient_key"])
    hits = np.array([np.isin(people, make_split(table, repeat=r).val) for r in range(200)])
    # Binomial(200, 1/4): mean 50, standard deviation 6.1; 40 patients, so 4.5 deviations is generous
    assert np.all(np.abs(hits.sum(0) - 50) < 4.5 * 6.13)
    together = np.corrcoef(hits.T)
    assert np.abs(together[np.triu_indices(40, 1)]).max() < 0.35  # 1/sqrt(200) = 0.07 each side of about -1/19


@pytest.mark.parametrize("kind", ["patient", "paper_image_level"])
def test_external_sites_are_test_sets_and_nothing_else(kind):
    table = cohort({**TWO, ("zhongshan", "normal"): 3, ("fifth", "covid19"): 2})
    split = make_split(table, kind=kind, external_sites=["zhongshan", "fifth"])
    rows = split.rows(table)
    assert sorted(rows) == ["test/fifth", "test/zhongshan", "train", "val"]
    for site in ("zhongshan", "fifth"):
        assert set(rows[f"test/{site}"]) == set(np.flatnonzero(table.accepted["site"] == site))
    inside = np.concatenate([rows["train"], rows["val"]])
    assert set(table.accepted["site"].iloc[inside]) == {"wuhan"}
    assert rows["train"].dtype == np.int64


def test_unknown_external_site_names_the_known_ones():
    with pytest.raises(UsageError, match=r"(?s)'zongshan'.*wuhan"):
        make_split(cohort(TWO), external_sites=["zongshan"])


@pytest.mark.parametrize(
    "wrong", [{"kind": "slices"}, {"train_fraction": 1.0}, {"train_fraction": 0.0}, {"repeat": -1}, {"seed": -1}]
)
def test_wrong_values_are_usage_errors(wrong):
    with pytest.raises(UsageError):
        make_split(cohort(TWO), **wrong)


@pytest.mark.parametrize("kind", ["patient", "paper_image_level"])
def test_a_class_of_one_is_refused_with_its_counts(kind):
    """Fault 11."""
    slices = 3 if kind == "patient" else 1
    table = cohort({**TWO, ("wuhan", "tuberculosis"): 1}, slices=slices)
    with pytest.raises(DataRefused, match=r"'tuberculosis' has \d (patient|slice)s? in train, \d"):
        make_split(table, kind=kind)


def test_a_class_only_at_an_external_site_is_refused():
    with pytest.raises(DataRefused, match="'viral' has 0 patients in train, 0 patients in val, 4 patients in test/b"):
        make_split(cohort({**TWO, ("b", "viral"): 4}), external_sites=["b"])


def test_patients_with_one_slice_work():
    """Fault 12."""
    split = make_split(cohort(TWO, slices=1))
    assert split.counts["train"]["covid19"] == {"patients": 9, "slices": 9}


def test_a_patient_of_two_classes_is_refused():
    table = cohort(TWO)
    frame = table.accepted
    frame.loc[0, "label"] = "covid19"
    with pytest.raises(DataRefused, match=frame.loc[0, "patient_key"]):
        make_split(table)


def test_a_patient_inside_and_outside_is_refused():
    table = cohort({**TWO, ("b", "normal"): 2})
    frame = table.accepted
    frame.loc[frame.index[-1], "patient_key"] = frame.loc[0, "patient_key"]
    with pytest.raises(DataRefused, match=frame.loc[0, "patient_key"]):
        make_split(table, external_sites=["b"])


@pytest.mark.parametrize("other", [5, -1])  # another patient of the same hospital; one of the external hospital
def test_the_same_picture_under_two_patients_is_refused(other):
    """Fault 15, whatever the repeat."""
    table = cohort({**TWO, ("b", "normal"): 2})
    frame = table.accepted
    frame.loc[frame.index[other], "pixel_hash"] = frame.loc[0, "pixel_hash"]
    for repeat in range(3):
        with pytest.raises(IntegrityError, match=frame.loc[0, "patient_key"]):
            make_split(table, external_sites=["b"], repeat=repeat)


def test_slices_without_label_are_not_used():
    table = cohort(TWO)
    table.accepted.loc[[0, 1], "label"] = None
    rows = make_split(table).rows(table)
    assert {0, 1}.isdisjoint(np.concatenate(list(rows.values())))
    assert sum(map(len, rows.values())) == len(table.accepted) - 2


def test_image_split_counts_its_leak_like_brute_force():
    """Few slices, so that some patients are on one side by luck; the oracle looks at every pair of slices."""
    table = cohort(TWO, slices=2)
    split = make_split(table, kind="paper_image_level")
    assert split.unit == "image"
    rows = split.rows(table)
    assert len(rows["train"]) == 30  # 3:1 of 40 slices
    assert len(rows["val"]) == 10
    key = table.accepted["patient_key"]
    leaked = {key[a] for a in rows["train"] for b in rows["val"] if key[a] == key[b]}
    assert 0 < len(leaked) < 20
    assert split.leaked_patients == len(leaked)
    assert f"LEAK: {len(leaked)} patients" in describe_split(split)
    verify_split(split, table)


def test_image_split_of_long_series_leaks_everybody():
    """Paper table A.2, row 1: with about 100 slices each, 610 of 610."""
    split = make_split(cohort(TWO, slices=60), kind="paper_image_level")
    assert split.leaked_patients == 20


def test_patient_split_has_no_leak_line():
    text = describe_split(make_split(cohort(TWO)))
    assert "LEAK" not in text
    assert "9 / 27" in text


def test_official_split_is_honoured():
    table = cohort(TWO, official=lambda patient: ["train", "train", "val", "test"][patient % 4])
    split = make_split(table, kind="official")
    rows = split.rows(table)
    assert sorted(rows) == ["test/wuhan", "train", "val"]
    for part, found in rows.items():
        wanted = part.split("/")[0]
        assert set(found) == set(np.flatnonzero(table.accepted["official_split"] == wanted))


def test_official_test_set_without_a_site_is_called_official():
    table = cohort({("", "a"): 8, ("", "b"): 8}, official=lambda patient: ["train", "val", "test"][patient % 3])
    assert list(make_split(table, kind="official").tests) == ["official"]


def test_official_split_must_be_complete_and_by_patient():
    table = cohort(TWO, official=lambda patient: ["train", "val"][patient % 2])
    table.accepted.loc[3, "official_split"] = None
    with pytest.raises(DataRefused, match="1 of 60 labelled slices have no official split"):
        make_split(table, kind="official")
    table.accepted.loc[3, "official_split"] = "train"  # patient 1 is a validation patient
    with pytest.raises(DataRefused, match=table.accepted.loc[3, "patient_key"]):
        make_split(table, kind="official")
    with pytest.raises(DataRefused, match="no val slices"):
        make_split(cohort(TWO, official=lambda patient: "train"), kind="official")


def official_cohort() -> Table:
    """8 and 12 patients: 2 and 3 of them are the published test set, the rest is named train or val."""
    return cohort(TWO, official=lambda patient: ["test", "train", "val", "train"][patient % 4])


def test_official_pool_keeps_the_test_set_and_draws_the_rest_anew():
    table = official_cohort()
    frame = table.accepted
    published = set(frame.loc[frame["official_split"] == "test", "patient_key"])
    pool = set(frame["patient_key"]) - published
    assert (len(published), len(pool)) == (5, 15)
    seen = set()
    for repeat in range(6):
        split = make_split(table, kind="official_pool", repeat=repeat)
        assert set(split.tests) == {"wuhan"}
        assert set(split.tests["wuhan"]) == published
        assert set(split.train) | set(split.val) == pool
        assert not set(split.train) & set(split.val)
        # 6 and 9 in the pool; 4.5 and 6.75 of them train, together 11.25, rounded to 11
        assert [split.counts["train"][label]["patients"] for label in ("normal", "covid19")] == [4, 7]
        # the pool alone, as a cohort of its own, is drawn in the same way
        alone = make_split(Table(frame[frame["official_split"] != "test"].reset_index(drop=True)), repeat=repeat)
        assert (split.train, split.val) == (alone.train, alone.val)
        seen.add(split.train)
    assert len(seen) == 6


def test_the_image_level_pool_leaks_into_validation_and_never_into_the_test_set():
    table = official_cohort()
    frame = table.accepted
    split = make_split(table, kind="official_pool_image_level")
    rows = split.rows(table)
    [test] = [set(found) for name, found in rows.items() if name.startswith("test/")]
    assert test == set(np.flatnonzero(frame["official_split"] == "test"))
    patients = {name: set(frame["patient_key"].iloc[found]) for name, found in rows.items()}
    assert split.leaked_patients == len(patients["train"] & patients["val"]) > 0
    own = frame.loc[frame["official_split"] == "train", "patient_key"].iloc[0]
    frame.loc[frame.index[frame["patient_key"] == own][0], "official_split"] = "test"
    with pytest.raises(DataRefused, match=own):
        make_split(table, kind="official_pool_image_level")


def test_official_pool_beside_external_sites():
    table = cohort(
        {**TWO, ("fifth", "covid19"): 2}, official=lambda patient: ["test", "train", "val", "train"][patient % 4]
    )
    table.accepted.loc[table.accepted["site"] == "fifth", "official_split"] = None
    split = make_split(table, kind="official_pool", external_sites=["fifth"])
    assert sorted(split.tests) == ["fifth", "wuhan"]
    with pytest.raises(DataRefused, match="have no official split"):
        make_split(table, kind="official_pool")


def test_official_pool_refuses_what_leaks_into_the_test_set():
    table = official_cohort()
    frame = table.accepted
    own = frame.loc[frame["official_split"] == "train", "patient_key"].iloc[0]
    frame.loc[frame.index[frame["patient_key"] == own][0], "official_split"] = "test"
    with pytest.raises(DataRefused, match=own):
        make_split(table, kind="official_pool")
    table = official_cohort()
    frame = table.accepted
    tested, validated = (frame.index[frame["official_split"] == part][0] for part in ("test", "val"))
    frame.loc[tested, "pixel_hash"] = frame.loc[validated, "pixel_hash"]
    with pytest.raises(IntegrityError, match="same pixels"):
        make_split(table, kind="official_pool")
    with pytest.raises(DataRefused, match="no test slices"):
        make_split(cohort(TWO, official=lambda patient: "train"), kind="official_pool")


@pytest.mark.parametrize("kind", ["patient", "paper_image_level"])
def test_file_round_trip(tmp_path, kind):
    table = cohort({**TWO, ("b", "normal"): 2})
    split = make_split(table, kind=kind, external_sites=["b"], repeat=3, seed=11)
    split.write(tmp_path / "split.json")
    again = Split.read(tmp_path / "split.json")
    assert again == split
    assert again.digest == split.digest == json.loads((tmp_path / "split.json").read_text())["digest"]
    verify_split(again, table)


def test_an_edited_file_is_refused(tmp_path):
    """Fault 18 and 19: a validation patient is added to training by hand."""
    path = tmp_path / "split.json"
    make_split(cohort(TWO)).write(path)
    value = json.loads(path.read_text())
    value["train"].append(value["val"][0])
    path.write_text(json.dumps(value))
    with pytest.raises(IntegrityError, match="changed after it was made") as caught:
        Split.read(path)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 2}', "not json"])
def test_other_files_are_refused(tmp_path, text):
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(DataRefused):
        Split.read(tmp_path / "split.json")


def test_verify_refuses_what_does_not_belong():
    table = cohort(TWO)
    split = make_split(table)
    verify_split(split, table)
    with pytest.raises(IntegrityError, match="was made for index"):
        verify_split(split, dataclasses.replace(table, digest="e" * 64))
    twice = dataclasses.replace(split, train=(*split.train, split.val[0]))
    with pytest.raises(IntegrityError, match=f"{split.val[0]} in train and val"):
        verify_split(twice, table)
    strange = dataclasses.replace(split, train=(*split.train, "0" * 16))
    with pytest.raises(IntegrityError, match="1 patient not in the index: 0000"):
        verify_split(strange, table)
    short = dataclasses.replace(split, train=split.train[1:])
    with pytest.raises(IntegrityError, match=f"1 patient not in the split: {split.train[0]}"):
        verify_split(short, table)
    moved = dataclasses.replace(split, train=(*split.train, split.val[0]), val=split.val[1:])
    with pytest.raises(IntegrityError, match="counts"):
        verify_split(moved, table)
    frame = table.accepted.copy()
    train, val = (frame.index[frame["patient_key"] == side[0]][0] for side in (split.train, split.val))
    frame.loc[val, "pixel_hash"] = frame.loc[train, "pixel_hash"]
    with pytest.raises(IntegrityError, match="same pixels"):
        verify_split(split, dataclasses.replace(table, accepted=frame))


def test_hash_seed_locale_and_time_zone_do_not_matter(tmp_path):
    """Fault 50, in processes of their own."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_splits import TWO, cohort\n"
        "from covidct.data.splits import make_split\n"
        "print(make_split(cohort({**TWO, ('b', 'normal'): 9, ('b', 'covid19'): 3})).digest)"
    )
    here = os.path.dirname(__file__)  # noqa: PTH120
    seen = {
        subprocess.run(
            [sys.executable, "-c", code, here], env={**os.environ, **env}, capture_output=True, text=True, check=True
        ).stdout
        for env in ({"PYTHONHASHSEED": "1", "LC_ALL": "C"}, {"PYTHONHASHSEED": "2", "TZ": "Asia/Shanghai"})
    }
    assert len(seen) == 1


def test_known_digest():
    """Frozen result: a new version that splits otherwise must say so here."""
    split = make_split(cohort(TWO), repeat=2, seed=5)
    assert hashlib.sha256(",".join(split.train).encode()).hexdigest()[:12] == "7016d960e87b"


specs = st.dictionaries(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from(["normal", "covid19", "viral"])),
    st.integers(0, 9),
    min_size=1,
)


@settings(max_examples=50, deadline=None)
@given(specs, st.integers(0, 4), st.integers(0, 99), st.floats(0.1, 0.9), st.randoms(use_true_random=False))
def test_any_cohort_is_split_soundly_or_refused(spec, repeat, seed, fraction, random):
    """Whole patients, nobody lost, the same after shuffling the rows, and never far from the wanted share."""
    table = cohort({key: n for key, n in spec.items() if n}, slices=2) if any(spec.values()) else None
    if table is None:
        return
    external = [s for s in ("c",) if s in set(table.accepted["site"])]
    make = {"repeat": repeat, "seed": seed, "train_fraction": fraction, "external_sites": external}
    per_class = {label: 0 for _, label in spec if any(n for (_, other), n in spec.items() if other == label)}
    for (site, label), n in spec.items():
        if n and site not in external:
            per_class[label] += n
    try:
        split = make_split(table, **make)
    except CovidctError:
        assert min(per_class.values()) < 2
        return
    assert min(per_class.values()) >= 2
    rows = split.rows(table)
    assert sorted(np.concatenate(list(rows.values()))) == list(range(len(table.accepted)))
    for one, other in itertools.combinations(rows.values(), 2):
        assert patients(table, one).isdisjoint(patients(table, other))
    for label, n in per_class.items():
        have = split.counts["train"][label]["patients"]
        assert 1 <= have <= n - 1
        assert abs(have - fraction * n) < 1
    if min(fraction, 1 - fraction) * min(per_class.values()) >= 1:  # no class is held by its bounds
        assert abs(len(split.train) - fraction * sum(per_class.values())) <= 0.5 + 1e-6
    order = list(range(len(table.accepted)))
    random.shuffle(order)
    shuffled = Table(table.accepted.iloc[order].reset_index(drop=True))
    assert make_split(shuffled, **make) == split
