"""The section of the report: what it says follows from the numbers, and from a real run it is complete."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from covidct.evaluation.calibration import calibrate
from covidct.evaluation.calibration.section import view
from covidct.evaluation.calibration.words import (
    agreement_sentence,
    bent,
    conformal_sentence,
    decision_sentence,
    prevalence_sentence,
    sentences,
)
from covidct.evaluation.predictions import read_predictions
from covidct.evaluation.record import read_run
from covidct.files import read_json, write_json
from tests.evaluation.fabricated_run import make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_run(tmp_path_factory.mktemp("calibration") / "run", per_patient=4, missing="viral", replicates=5)
    write_json(folder / "calibration.json", calibrate(read_predictions(folder / "predictions.parquet"), replicates=40))
    return folder


@pytest.fixture(scope="module")
def shown(run: Path) -> dict:
    found = view(read_run(run))
    assert found is not None
    return found


def test_a_run_without_the_file_has_no_section(run: Path, tmp_path: Path) -> None:
    assert view(replace(read_run(run), folder=tmp_path)) is None


def test_every_figure_has_its_numbers(run: Path, shown: dict) -> None:
    names = ["reliability", "reliability_classes", "referral", "decision", "conformal"]
    assert list(shown["pictures"]) == names
    for name in names:
        assert shown["pictures"][name]["picture"]["data"].startswith("data:image/svg+xml")
        assert (run / "figures" / f"calibration_{name}.png").stat().st_size > 10_000
        assert len(pd.read_csv(run / "tables" / f"calibration_{name}.csv")) > 10


def test_the_same_run_gives_the_same_bytes(run: Path, shown: dict) -> None:
    again = view(read_run(run))
    assert again == shown


def test_sites_come_first_and_undefined_is_a_dash(shown: dict) -> None:
    assert [row["site"] for row in shown["agreement"]] == [
        name for name in ("fifth", "zhongshan", "All sites pooled") for _ in range(2)
    ]
    zhongshan = next(table for table in shown["classes"] if table["site"] == "zhongshan")
    viral = next(row for row in zhongshan["rows"] if "viral" in row["name"])
    assert [cell["value"] for cell in viral["cells"][:4]] == ["–"] * 4
    text = str(shown["sentences"]) + str(shown["agreement"]) + str(shown["classes"]) + str(shown["referral"])
    assert "nan" not in text
    assert "None" not in text


def test_the_sentences_speak_of_each_site_and_not_of_the_pool(run: Path, shown: dict) -> None:
    said = " ".join(shown["sentences"])
    assert "too modest" in said  # the fabricated network is less sure than it is right
    assert "come true more than they say" in said
    assert said.count("At fifth the called class") == said.count("At zhongshan the called class") == 1
    assert "pooled" not in said
    found = read_json(run / "calibration.json")
    block = next(b for b in found["blocks"] if b["site"] == "fifth" and b["level"] == "patient")
    ece = block["raw"]["top_label"]["ece"]
    assert f"{100 * ece['value']:.1f}" in agreement_sentence(block)
    assert sentences({**found, "blocks": []})[-1].startswith("No test site")


def test_what_an_interval_of_a_temperature_says() -> None:
    assert (bent(1.1, 1.9), bent(0.4, 0.9)) == ("too confident", "too modest")
    assert bent(0.9, 1.2) == bent(None, None) == "not shown to be too confident or too modest"


def _share(value: float, low: float | None, high: float | None) -> dict:
    return {"value": value, "low": low, "high": high}


def test_a_broken_promise_is_named() -> None:
    chosen = {"alpha": 0.1, "marginal": {"quantiles": {}}}
    blocks = [
        {"site": site, "conformal": {"marginal": {"coverage": _share(value, value - 0.05, value + 0.04)}}}
        for site, value in (("kept", 0.92), ("broken", 0.8))
    ]
    assert "did not carry over to broken:" in conformal_sentence(chosen, blocks)
    assert "carry" not in conformal_sentence(chosen, blocks[:1])
    refused = {"alpha": 0.1, "marginal": {"refused": "too few"}}
    assert conformal_sentence(refused, blocks).startswith("No prediction sets")


def test_decisions_and_rare_disease_in_words() -> None:
    curve = {"useful": None, "sure": None, "gain_low": None}
    assert "no more good" in decision_sentence({"site": "a", "decision": curve}, "COVID-19")
    curve = {"useful": {"from": 0.05, "to": 0.6}, "sure": {"from": 0.1, "to": 0.1}, "gain_low": [0]}
    text = decision_sentence({"site": "a", "decision": curve}, "COVID-19").replace("\u00a0", " ")
    assert "from 5 to 60 %; the interval agrees at a threshold of 10 %." in text
    rows = [{"prevalence": p, "ppv": _share(v, None, None)} for p, v in ((0.001, 0.08), (0.01, 0.474))]
    text = prevalence_sentence({"site": "a", "prevalence": {"rows": rows}}, "COVID-19").replace("\u00a0", " ")
    assert text.startswith("Where 1.0 % of patients have COVID-19")
    assert "47.4 %" in text
    assert prevalence_sentence({"site": "a", "prevalence": None}, "COVID-19") is None


def test_a_run_evaluated_through_the_front_door_has_it(trained: Path) -> None:
    found = read_json(trained / "calibration.json")
    assert {block["level"] for block in found["blocks"]} == {"patient", "slice"}
    page = (trained / "report.html").read_text(encoding="utf-8")
    assert "Calibration and abstention" in page
    assert "Referring the least certain to a radiologist" in page
    assert (trained / "figures" / "calibration_reliability.svg").is_file()
