"""Risk of bias and the reviewer's questions: a flaw is found where it is, nothing is called sound without a file."""

from __future__ import annotations

from typing import Any

import pytest

from covidct.evaluation import bias
from covidct.evaluation.reviewer import answers
from covidct.evaluation.sentences import limits
from tests.evaluation.records import block, figure, record

BLOCKS = [block("val", "site_a"), block("test", "site_b")]


def cell(patients: int) -> dict[str, int]:
    return {"patients": patients, "slices": 10 * patients}


def sites(**counts: tuple[int, int]) -> dict[str, Any]:
    """Site -> patients of normal and covid19; sites named test_* are test sets."""
    table = {name: {"normal": cell(n), "covid19": cell(ill)} for name, (n, ill) in counts.items()}
    return {"sites": table, "partitions": {f"test/{name}": table[name] for name in counts if name.startswith("test_")}}


@pytest.mark.parametrize(
    ("check", "facts", "risk"),
    [
        (bias.leak, {}, "not known"),
        (bias.leak, {"split": {"leaked_patients": 0}}, "low"),
        (bias.leak, {"split": {"leaked_patients": 1}}, "high"),
        (bias.leak, {"split": {"name": "image_level", "leaked_patients": None}}, "high"),
        (bias.source_is_class, {}, "not known"),
        (bias.source_is_class, {"participants": sites(a=(10, 10))}, "low"),
        (bias.source_is_class, {"participants": sites(a=(10, 10), test_b=(10, 0))}, "low"),  # the test does not train
        (bias.source_is_class, {"participants": sites(a=(10, 0), b=(0, 10))}, "high"),
        (bias.source_is_class, {"participants": sites(a=(10, 10), b=(10, 0))}, "high"),  # disease at one site only
        (bias.source_is_class, {"participants": sites(a=(30, 10), b=(10, 30))}, "high"),  # V = 0.5
        (bias.source_is_class, {"participants": sites(a=(20, 18), b=(19, 20))}, "low"),
        (bias.external, {}, "high"),
        (bias.external, {"summary": {"blocks": BLOCKS}}, "low"),
        (bias.external, {"summary": {"blocks": [block("val", "a"), block("test", "a")]}}, "high"),
        (bias.few_patients, {"summary": {"blocks": [block("test", "b", (40, 30))]}}, "low"),
        (bias.few_patients, {"summary": {"blocks": [block("test", "b", (40, 29))]}}, "high"),
        (bias.uncertainty, {"summary": {"blocks": BLOCKS}}, "low"),
        (bias.uncertainty, {"summary": {"blocks": [block("test", "b", accuracy=figure(0.5, None, None))]}}, "high"),
        (bias.calibration, {}, "high"),
        (
            bias.thresholds,
            {"summary": {"blocks": [], "rule": {"name": "any_slice", "slice_threshold": 0.9}}},
            "not known",
        ),
        (bias.thresholds, {"summary": {"blocks": [], "rule": {"name": "any_slice", "slice_threshold": None}}}, "low"),
        (bias.reuse, {}, "not known"),
        (bias.shortcuts, {}, "not known"),
        (bias.duplicates, {"participants": {"refused": {"copy of another file": 2}}}, "not known"),
        (bias.exclusions, {}, "not known"),
        (bias.demographics, {}, "not known"),
        (bias.reference_standard, {}, "not known"),
    ],
)
def test_a_check_finds_its_flaw_and_calls_nothing_sound_without_a_file(tmp_path, check, facts, risk):
    assert check(record(tmp_path, **facts)).risk == risk


@pytest.mark.parametrize(
    ("check", "files", "risk"),
    [
        (bias.shortcuts, {"shortcuts": {"alarms": [], "verdict": "None."}}, "low"),
        (bias.shortcuts, {"shortcuts": {"alarms": ["marks"], "verdict": "One."}}, "high"),
        (bias.shortcuts, {"shortcuts": {"alarms": [], "verdict": "None.", "weights_digest": "other"}}, "not known"),
        (
            bias.duplicates,
            {"shortcuts": {"outcomes": [{"probe": "duplicates", "status": "quiet", "sentence": ""}]}},
            "low",
        ),
        (
            bias.duplicates,
            {"shortcuts": {"outcomes": [{"probe": "duplicates", "status": "alarm", "sentence": ""}]}},
            "high",
        ),
        (bias.thresholds, {"operating_point": {"after_test": False, "fallback": None}}, "low"),
        (bias.thresholds, {"operating_point": {"after_test": True, "fallback": None}}, "not known"),
        (bias.calibration, {"calibration": {"blocks": []}}, "low"),
        (bias.reuse, {"evaluations": {"sets": [{"site": "b", "configurations": 2, "seal": None}]}}, "high"),
        (bias.reuse, {"evaluations": {"sets": [{"site": "b", "configurations": 1, "seal": None}]}}, "low"),
        (
            bias.reuse,
            {"evaluations": {"sets": [{"site": "b", "configurations": 1, "seal": None}], "lost": [{}]}},
            "high",
        ),
    ],
)
def test_a_check_reads_the_file_of_its_section(tmp_path, check, files, risk):
    assert check(record(tmp_path, files=files, predictions={"weights_digest": "mine"})).risk == risk


def test_cramers_v_is_that_of_the_papers_test_set(tmp_path):
    """Paper flaw 15: 13 of 139 and 37 of 170 patients have COVID-19; V of this 2 x 2 table by hand."""
    found = bias.source_is_class(record(tmp_path, participants=sites(zhongshan=(126, 13), fifth=(133, 37))))
    n, a, b, c, d = 309, 126, 13, 133, 37
    by_hand = abs(a * d - b * c) / ((a + b) * (c + d) * (a + c) * (b + d)) ** 0.5
    assert f"{by_hand:.2f} over 2 sites" in found.sentence
    assert n == a + b + c + d


def test_an_empty_run_is_at_high_risk_and_counts_add_up(tmp_path):
    shown = bias.view(record(tmp_path))
    assert sum(shown["counts"].values()) == len(bias.CHECKS) == len(shown["rows"])
    assert shown["counts"]["low"] == 0
    assert "high risk of bias" in shown["sentence"]


# --- the reviewer -----------------------------------------------------------------------------------------------------


def asked(record_, **contents) -> dict[str, tuple[str, str]]:
    sections = [{"name": name, "content": content} for name, content in contents.items()]
    return {one.anchor: (one.standing, one.sentence) for one in answers(record_, sections)}


def test_a_question_without_an_answer_names_the_command(tmp_path):
    found = asked(record(tmp_path), shortcuts=None, explanations=None, readers=None, calibration=None)
    for name, command in {"shortcuts": "audit", "explanations": "explain", "readers": "readers"}.items():
        assert found[name][0] == "not known"
        assert f"covidct {command} run=RUN" in found[name][1]
    assert found["calibration"][0] == "not known"


def test_every_anchor_leads_somewhere(tmp_path):
    assert {one.anchor for one in answers(record(tmp_path), [{"name": "bias", "content": {}}])} <= {
        "participants", "test", "found", "bias",
    }  # fmt: skip


@pytest.mark.parametrize(("error", "standing"), [(0.2, "concern"), (0.1, "see")])
def test_calibration_is_held_against_an_ideal_model_of_the_same_size(tmp_path, error, standing):
    top = {"ece": figure(error, 0.05, 0.3), "ideal": {"mean": 0.08, "low": 0.05, "high": 0.15}}
    raw = {"mean_confidence": 0.9, "accuracy": 0.7, "top_label": top}
    blocks = [{"level": "patient", "site": "(pooled)", "raw": raw}, {"level": "slice", "site": "(pooled)", "raw": None}]
    found = asked(record(tmp_path, files={"calibration": {"blocks": blocks}}), calibration={})
    assert found["calibration"][0] == standing
    assert "mean probability of 90.0\u00a0%, and 70.0\u00a0% of the calls are right" in found["calibration"][1]
    assert "up to 15.0\u00a0%" in found["calibration"][1]


def test_explanations_and_readers_speak_for_themselves(tmp_path):
    found = asked(
        record(tmp_path),
        explanations={"alarm": None, "sentences": ["What was done.", "What was seen."]},
        readers={"simulated": True, "sentences": ["Who read.", "What came out."]},
    )
    assert found["explanations"] == ("see", "What was seen.")
    assert found["readers"] == ("see", "Simulated readers. What came out.")
    alarmed = asked(record(tmp_path), explanations={"alarm": "Maps say nothing.", "sentences": []})
    assert alarmed["explanations"] == ("concern", "Maps say nothing.")


def test_the_limits_say_whether_shortcuts_were_looked_for(tmp_path):
    assert any("has no test for such shortcuts" in text for text in limits(record(tmp_path)))
    audited = limits(record(tmp_path, files={"shortcuts": {"alarms": []}}))
    assert not any("has no test" in text or "{" in text for text in audited)
