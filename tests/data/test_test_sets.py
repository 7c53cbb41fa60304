"""How often a test set was looked at, and for whom a sealed one is open."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covidct.data.ledger import Ledger
from covidct.data.test_sets import (
    Entrant,
    TestSet,
    enter,
    evaluations_of,
    looks_at,
    open_site,
    refuse_sealed,
    refuse_training_on_sealed,
    seal_of,
    seal_site,
    test_sets,
)
from covidct.errors import IntegrityError, UsageError

B, C = (TestSet(site, f"test/{site}", 10, 100, "m") for site in "bc")


def run(name: str, configuration: str = "adam", weights: str | None = None) -> Entrant:
    return Entrant(name, f"identity {name}", configuration, weights or f"weights {name}")


def look(ledger: Ledger, entrant: Entrant, *sets: TestSet, threshold: float | None = None) -> dict:
    facts = {"index": "i", "commit": None, "dirty": None, "calling": {"slice_threshold": threshold}}
    entries = enter(ledger, sets, entrant, results=dict.fromkeys(sets, "r"), facts=facts)
    return evaluations_of(entries, entrant.identity)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path)


def test_sets_are_the_sites_of_each_partition():
    frame = pd.DataFrame(
        {
            "site": list("aabbb"),
            "patient_key": list("pqrrs"),
            "slice_key": list("12345"),
            "label": ["x", "y", "x", "x", "y"],
        }
    )
    one, two = test_sets(frame, {"test/n": np.array([1, 2, 3]), "test/m": np.array([], dtype=int)})
    assert (one.site, one.partition, one.patients, one.slices) == ("a", "test/n", 1, 1)
    assert (two.site, two.partition, two.patients, two.slices) == ("b", "test/n", 1, 2)
    again = test_sets(frame.iloc[::-1].reset_index(drop=True), {"test/n": np.array([3, 1, 2])})
    assert [s.members for s in again] == [one.members, two.members]  # whatever the order of the rows
    assert test_sets(frame.assign(label="x"), {"test/n": np.array([1, 2, 3])})[0].members != one.members


def test_repeats_of_a_run_and_runs_of_a_plan_are_counted_apart(ledger):
    for entrant in (run("1"), run("2"), run("3", "sgd"), run("1"), run("1")):
        look(ledger, entrant, B)
    looks = looks_at(ledger.entries(), "b")
    assert (looks.evaluations, looks.runs, looks.configurations, looks.repeats) == (5, 3, 2, 2)
    assert looks_at(ledger.entries(), "c").evaluations == 0


def test_another_threshold_is_another_look(ledger):
    look(ledger, run("1"), B)
    look(ledger, run("1"), B, threshold=0.9)
    looks = looks_at(ledger.entries(), "b")
    assert (looks.runs, looks.configurations, looks.repeats) == (2, 2, 0)


def test_other_weights_under_the_same_name_are_another_look(ledger):
    look(ledger, run("1"), B)
    look(ledger, run("1", weights="trained again"), B)
    looks = looks_at(ledger.entries(), "b")
    assert (looks.runs, looks.configurations) == (2, 1)


def test_a_run_remembers_its_own_looks_and_who_came_before(ledger):
    look(ledger, run("1"), B)
    look(ledger, run("2", "sgd"), B, C)
    look(ledger, run("3", "rmsprop"), B)
    kept = look(ledger, run("2", "sgd"), B, C)
    keys = ("site", "evaluations", "configurations", "earlier_configurations")
    assert [tuple(one[key] for key in keys) for one in kept["sets"]] == [("b", 4, 3, 1), ("c", 2, 1, 0)]
    assert [line["number"] for line in kept["sets"][0]["lines"]] == [2, 5]
    assert kept["lost"] == []


def test_a_ledger_that_was_begun_anew_is_noticed_by_the_runs(ledger, tmp_path):
    entries = enter(ledger, [B], run("1"), results={B: "r"}, facts={"index": "i", "commit": None, "dirty": None})
    kept = evaluations_of(entries, "identity 1")
    (tmp_path / "new").mkdir()
    other = Ledger(tmp_path / "new")
    seal_site(other, "c")
    entries = enter(other, [B], run("1"), results={B: "r"}, facts={"index": "i", "commit": None, "dirty": None})
    kept = evaluations_of(entries, "identity 1", kept)
    assert len(kept["lost"]) == 1
    assert [one["evaluations"] for one in kept["sets"]] == [1]
    assert len(evaluations_of(entries, "identity 1", kept)["lost"]) == 1  # not forgotten the next time


def test_another_hospitals_ledger_is_kept_beside(ledger, tmp_path):
    kept = evaluations_of(
        enter(ledger, [B], run("1"), results={B: "r"}, facts={"index": "i", "commit": None, "dirty": None}),
        "identity 1",
    )
    (tmp_path / "new").mkdir()
    facts = {"index": "another", "commit": None, "dirty": None}
    entries = enter(Ledger(tmp_path / "new"), [B, C], run("1"), results={B: "r", C: "s"}, facts=facts)
    kept = evaluations_of(entries, "identity 1", kept)
    assert kept["lost"] == []
    assert [one["site"] for one in kept["sets"]] == ["b", "b", "c"]


# --- seals ------------------------------------------------------------------------------------------------------------


def test_a_sealed_set_is_open_for_the_frozen_weights_and_no_others(ledger):
    refuse_sealed(ledger, [B, C], run("1"))
    seal_site(ledger, "b")
    refuse_sealed(ledger, [C], run("1"))
    for sets in ([B], [C, B]):
        with pytest.raises(IntegrityError, match="the test set b is sealed") as found:
            refuse_sealed(ledger, sets, run("1"))
    assert "covidct ledger open" in str(found.value)
    open_site(ledger, "b", ["b"], [run("1"), run("2")], None)
    for name in "12":
        refuse_sealed(ledger, [B, C], run(name))
    with pytest.raises(IntegrityError, match="2 frozen run"):
        refuse_sealed(ledger, [B], run("3"))
    with pytest.raises(IntegrityError):
        refuse_sealed(ledger, [B], run("1", weights="trained again"))


def test_a_seal_between_the_check_and_the_record_still_holds(ledger):
    refuse_sealed(ledger, [B], run("1"))
    seal_site(ledger, None)
    with pytest.raises(IntegrityError, match="sealed"):
        look(ledger, run("1"), B)
    assert looks_at(ledger.entries(), "b").evaluations == 0


def test_a_seal_in_the_index_folder_holds_for_a_ledger_elsewhere(tmp_path):
    (tmp_path / "index").mkdir()
    seal_site(Ledger(tmp_path / "index"), "b")
    with pytest.raises(IntegrityError, match="sealed"):
        refuse_sealed(Ledger(tmp_path, None, tmp_path / "index"), [B], run("1"))


def test_a_seal_on_everything_and_one_site_opened(ledger):
    look(ledger, run("0"), B)
    seal_site(ledger, None)
    open_site(ledger, "b", ["b"], [run("1")], None)
    found = seal_of(ledger.entries(), "b")
    assert found is not None
    assert (found.looks_before, found.openings, found.frozen) == (1, 1, (("identity 1", "weights 1"),))
    closed = seal_of(ledger.entries(), "c")
    assert closed is not None
    assert closed.opened is None


def test_a_site_sealed_by_name_is_not_trained_on(ledger):
    seal_site(ledger, None)  # about whatever is tested on, not about the sites that are trained on
    refuse_training_on_sealed(ledger.entries(), ["a", "b"])
    seal_site(ledger, "b")
    refuse_training_on_sealed(ledger.entries(), ["a"])
    open_site(ledger, "b", ["b"], [run("1")], None)  # for evaluation; training would still spend it
    with pytest.raises(IntegrityError, match="would be trained on") as found:
        refuse_training_on_sealed(ledger.entries(), ["a", "b"])
    assert "split.external_sites=[b]" in str(found.value)


def test_opening_again_needs_a_reason_and_is_counted(ledger):
    with pytest.raises(UsageError, match="not sealed"):
        open_site(ledger, "b", ["b"], [run("1")], None)
    seal_site(ledger, "b")
    open_site(ledger, "b", ["b"], [run("1")], None)
    with pytest.raises(UsageError, match="opened before"):
        open_site(ledger, "b", ["b"], [run("2")], None)
    seal_site(ledger, "b")  # sealing it again is no way around
    with pytest.raises(UsageError, match="opened before"):
        open_site(ledger, "b", ["b"], [run("2")], None)
    open_site(ledger, "b", ["b"], [run("2")], "a bug in the loader")
    found = seal_of(ledger.entries(), "b")
    assert found is not None
    assert (found.openings, found.reason) == (2, "a bug in the loader")
    with pytest.raises(IntegrityError):
        refuse_sealed(ledger, [B], run("1"))
