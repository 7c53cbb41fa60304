"""The words about how often a test set was looked at."""

from __future__ import annotations

import pytest

from covidct.evaluation.evaluations import seal_text, verdict, view
from tests.evaluation.records import block, record

SEAL = {
    "sealed": "2026-01-02T03:04:05+00:00", "looks_before": 0, "opened": "2026-02-02T03:04:05+00:00", "openings": 1,
    "frozen": 2, "reason": None,
}  # fmt: skip


def one(site: str = "site_b", configurations: int = 1, **changed) -> dict:
    counts = {"evaluations": 3, "runs": 2, "configurations": configurations, "repeats": 1, "earlier_configurations": 0}
    return {"ledger": "x", "site": site, **counts, "seal": None, "lines": [], **changed}


@pytest.mark.parametrize(
    ("found", "said", "tone"),
    [
        ({"sets": [one()]}, "No other configuration was evaluated", "calm"),
        ({"sets": [one(), one("site_c", 4)]}, "4 configurations were evaluated on the patients of site_c", "loud"),
        ({"sets": [one(seal=SEAL)]}, "sealed before anyone looked", "calm"),
        ({"sets": [one(seal=SEAL), one("site_c")]}, "No other configuration", "calm"),  # one of two was never sealed
        ({"sets": [one(seal=SEAL | {"looks_before": 1})]}, "No other configuration", "calm"),
        ({"sets": [one(seal=SEAL | {"openings": 2})]}, "No other configuration", "calm"),
        ({"sets": [one()], "lost": [{}, {}]}, "remembers 2 evaluations that the ledger does not have", "loud"),
    ],
)
def test_the_verdict_says_what_follows(tmp_path, found, said, tone):
    assert said in verdict(found)
    facts = {"summary": {"blocks": [block("test", "site_b")]}}
    shown = view(record(tmp_path, files={"evaluations": {"as_of": "2026-03-01T00:00:00+00:00", **found}}, **facts))
    assert shown is not None
    assert (shown["tone"], shown["as_of"]) == (tone, "2026-03-01")
    assert [row["site"] for row in shown["rows"]] == [entry["site"] for entry in found["sets"]]


def test_without_a_record_it_is_not_known_and_without_a_test_there_is_nothing_to_say(tmp_path):
    shown = view(record(tmp_path, summary={"blocks": [block("test", "site_b")]}))
    assert shown is not None
    assert shown["tone"] == "loud"
    assert "not known" in shown["verdict"]
    assert view(record(tmp_path, summary={"blocks": [block("val", "site_a")]})) is None


def test_a_seal_in_words():
    assert seal_text(None) == "never sealed"
    assert seal_text(SEAL) == "sealed 2026-01-02 before any evaluation, opened 2026-02-02 for 2 frozen runs"
    again = SEAL | {"looks_before": 1, "openings": 2, "frozen": 1, "reason": "a bug"}
    assert seal_text(again) == (
        "sealed 2026-01-02 after 1 evaluation, opened 2026-02-02 (opening 2) for 1 frozen run; reason given: a bug"
    )
    assert seal_text(SEAL | {"opened": None}) == "sealed 2026-01-02 before any evaluation"
