"""The checklists: whole, in our words, and filled in only where a file of the run shows it."""

from __future__ import annotations

import pytest

from covidct.evaluation.checklists.evidence import EVIDENCE
from covidct.evaluation.checklists.filling import NAMES, fill, read_checklist, table, view
from tests.evaluation.records import block, record

SITES = {
    "site_a": {"normal": {"patients": 20, "slices": 200}, "covid19": {"patients": 10, "slices": 90}},
    "site_b": {"normal": {"patients": 5, "slices": 50}},
}
PARTICIPANTS = {
    "source": "dicom_tree", "files_read": 350, "refused": {"localizer": 7, "not a CT image": 3},
    "accepted": {"patients": 35, "slices": 340}, "unlabelled": {"patients": 1, "slices": 4}, "sites": SITES,
    "partitions": {"test/site_b": SITES["site_b"], "train": SITES["site_a"]},
}  # fmt: skip


@pytest.mark.parametrize(("key", "count"), [("claim", 44), ("tripod_ai", 27), ("stard_ai", 40)])
def test_every_item_of_the_guideline_is_there_once(key, count):
    items = read_checklist(key).items
    assert [item.number for item in items] == list(range(1, count + 1))
    assert all(item.title and len(item.title) < 90 for item in items)  # a title, not the guideline's sentence


def test_every_function_is_used_and_every_name_has_one():
    used = {item.evidence for key in NAMES for item in read_checklist(key).items if item.evidence}
    assert used == set(EVIDENCE)


def test_nothing_is_filled_in_from_nothing(tmp_path):
    """Not one item, of a run folder that records nothing."""
    empty = record(tmp_path)
    assert {name: function(empty) for name, function in EVIDENCE.items()} == dict.fromkeys(EVIDENCE)
    for key in NAMES:
        filled = fill(read_checklist(key), empty)
        assert filled.count == 0
        assert set(table(filled)["status"]) == {"for the author"}


def test_what_only_a_paper_can_say_is_never_filled_in():
    authors = {
        "claim": (1, 2, 3, 4, 5, 6, 14, 15, 16, 18, 21, 34, 36, 40, 41, 43, 44),
        "tripod_ai": (1, 2, 3, 4, 8, 10, 14, 17, 18, 19, 25, 26),
        "stard_ai": (1, 2, 3, 4, 5, 6, 8, 9, 10, 12, 16, 17, 22, 23, 27, 32, 33, 34, 35, 36, 37, 38, 39),
    }
    for key, numbers in authors.items():
        items = read_checklist(key).items
        assert all(items[number - 1].evidence is None for number in numbers)


@pytest.mark.parametrize(
    ("name", "facts", "said"),
    [
        ("exclusions", {"participants": PARTICIPANTS}, "10 files refused: 7 localizer, 3 not a CT image"),
        ("flow", {"participants": PARTICIPANTS}, "350 files read, 10 refused, 340 slices of 35 patients accepted"),
        ("subsets", {"participants": PARTICIPANTS}, "4 slices of 1 patient without a label"),
        ("data_source", {"participants": PARTICIPANTS}, "2 sites: site_a, site_b; read as dicom_tree"),
        (
            "partitions",
            {"participants": PARTICIPANTS, "split": {"name": "patient", "repeat": 1, "seed": 2}},
            "split patient, repeat 1, seed 2: training 30 patients, 290 slices; test site_b 5 patients, 50 slices",
        ),
        ("disjoint", {"split": {"unit": "image", "leaked_patients": 3}}, "single images; 3 patients in more than one"),
        ("disjoint", {"split": {"unit": "image", "name": "image_level", "leaked_patients": None}}, "cannot be counted"),
        ("disjoint", {"split": {"unit": "patient"}}, None),  # the unit alone shows no leak and no absence of one
        (
            "model",
            {"run": {"model": {"name": "resnet50", "parameters": 1000, "trainable_parameters": 10}}},
            "resnet50; 1,000 weights; 10 of them trained",
        ),
        ("initial_weights", {"run": {"weights": {"source": "none", "random_start": True}}}, "random start"),
        (
            "software",
            {"provenance": {"environment": {"packages": {"torch": "2"}}, "code": {"commit": "ab" * 20}}},
            "torch 2; commit abababababab",
        ),
        ("selection", {"run": {"best_epoch": 4, "best": {"val_loss": 1}}}, "epoch 4, the best by val_loss"),
        ("class_imbalance", {"config": {"data": {"balance": None}}}, "not balanced"),
        ("class_imbalance", {"config": {"data": {"balance": "loss"}}}, "balanced by loss"),
        ("class_imbalance", {"config": {"data": {}}}, None),
        (
            "external_test",
            {"summary": {"blocks": [block("test", "site_b"), block("val", "site_a")]}},
            "1 site kept out",
        ),
        ("external_test", {"summary": {"blocks": [block("test", "site_a"), block("val", "site_a")]}}, None),
        ("internal_test", {"summary": {"blocks": [block("test", "site_a"), block("val", "site_a")]}}, "site_a"),
        ("internal_test", {"summary": {"blocks": [block("test", "site_b"), block("val", "site_a")]}}, None),
        (
            "indeterminate",
            {"summary": {"blocks": [block("test", "b")]}},
            "1 test patient with a conflict and 2 without",
        ),
        ("performance", {"summary": {"blocks": [block("test", "b")]}}, "b: true class 50.0\u00a0%"),
        ("failures", {"mistakes": []}, "0 worst mistakes shown"),
    ],
)
def test_evidence_is_what_the_files_say(tmp_path, name, facts, said):
    found = EVIDENCE[name](record(tmp_path, **facts))
    assert found is None if said is None else said in str(found)


def test_probes_that_were_not_done_are_no_evidence(tmp_path):
    outcomes = [{"probe": "metadata", "status": "not done"}]
    nothing = record(tmp_path, files={"shortcuts": {"verdict": "None of 0 probes", "outcomes": outcomes}})
    assert EVIDENCE["robustness"](nothing) is None
    outcomes.append({"probe": "background", "status": "quiet"})
    done = record(tmp_path, files={"shortcuts": {"verdict": "None of 1 probes", "outcomes": outcomes}})
    assert EVIDENCE["robustness"](done) == "1 probe for shortcuts: None of 1 probes"


def test_counts_of_the_report_are_those_of_the_table(tmp_path):
    some = record(tmp_path, participants=PARTICIPANTS, split={"unit": "patient", "leaked_patients": 0})
    for key, shown in zip(NAMES, view(some)["lists"], strict=True):
        statuses = table(fill(read_checklist(key), some))["status"].value_counts()
        assert (shown["count"], shown["open"]) == (statuses["evidence"], statuses["for the author"])
        assert len(shown["rows"]) == shown["count"] > 0
        assert len(shown["author"]) == shown["open"]
