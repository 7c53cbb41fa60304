"""`covidct explain` on a real, tiny run: files, numbers that agree with each other, and nothing it should not say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from covidct.data.lesions import LesionMasks
from covidct.data.table import read_table
from covidct.evaluation.explanations.attribution import REGIONS
from covidct.training.explain.explain import ExplainSettings, explain
from covidct.training.scoring import open_run
from tests.conftest import run_verb


@pytest.fixture(scope="module")
def explained(trained, tmp_path_factory):
    run = tmp_path_factory.mktemp("explain") / "run"
    shutil.copytree(trained, run)
    code = run_verb("explain", f"run={run}", "slices=30", "cases=2", "sanity=8", "draws=1", "device=cpu")
    assert code in (0, 7)  # an untrained network may well fail the sanity check
    return run, code


def again(run, **changes):
    """The verb's work without the report, which takes most of its time."""
    words = {"partition": "auto", "slices": 30, "cases": 2, "sanity": 8, "draws": 1, "device": "cpu", "seed": 0}
    opened = open_run(run)
    explain(opened, read_table(Path(opened.settings.data.index)), ExplainSettings(**words | changes), lambda _: None)


def record_of(run):
    return json.loads((run / "explanations.json").read_text())


def test_numbers_agree_with_their_tables(explained):
    run, code = explained
    record = record_of(run)
    sample = pd.read_csv(run / "tables" / "explanation_slices.csv", dtype={"patient_key": str, "slice_key": str})
    assert (code == 7) == record["alarm"] == record["sanity"]["alarm"]
    assert record["partition"] == "test"
    assert len(sample) == record["n_slices"] == 30
    assert sample["slice_key"].is_unique
    # four patients of five classes at two sites: 40, so nobody comes twice
    assert len(sample.groupby(["site", "patient_key"])) == record["n_patients"] == 30
    for region in REGIONS:
        found = record["regions"][region]
        values = sample[f"{region}_map"].dropna()
        if found is None:
            assert values.empty
            continue
        assert found["attribution"]["value"] == pytest.approx(values.mean())
        assert found["n_slices"] == len(values)
        assert values.between(0, 1 + 1e-6).all()
        assert sample[f"{region}_area"].dropna().between(0, 1).all()
    assert record["has_lesion_masks"]
    assert record["regions"]["lesion"] is not None
    assert [one["stage"] for one in record["sanity"]["stages"]] == ["other slice", "classifier", "last_stage", "all"]
    comparisons = pd.read_csv(run / "tables" / "explanation_sanity.csv")
    assert len(comparisons) == 8 * 4


def test_cases_are_what_they_are_called(explained, trained):
    run, _ = explained
    cases = record_of(run)["cases"]
    predictions = pd.read_parquet(trained / "predictions.parquet")
    test = predictions[predictions["split"] == "test"]
    columns = [name for name in test if name.startswith("p_")]
    wrong = test[test[columns].idxmax(axis=1).str.removeprefix("p_") != test["label"]]
    worst = wrong.loc[wrong[columns].max(axis=1).idxmax()]
    mistakes = [case for case in cases if case["group"] == "mistake"]
    assert (mistakes[0]["patient_key"], mistakes[0]["slice_number"]) == (worst["patient_key"], worst["slice_number"])
    for group in ("mistake", "best"):
        people = [(case["site"], case["patient_key"]) for case in cases if case["group"] == group]
        assert len(people) == len(set(people)) <= 2
        assert all((case["true"] == case["called"]) == (group == "best") for case in cases if case["group"] == group)
    typical = [case["true"] for case in cases if case["group"] == "typical"]
    assert {typical.count(name) for name in set(test["label"])} == {1}
    for case in cases:
        picture = Image.open(run / "figures" / "explanations" / case["file"])
        assert picture.size == (512, 256)
        assert case["patient_key"] not in case["file"]


def test_the_report_shows_them_and_they_are_the_same_twice(explained, trained):
    run, _ = explained
    page = (run / "report.html").read_text()
    assert "What may not be concluded" in page
    assert "covidct explain run=RUN shows" not in page
    assert page.count("Slice and its Grad-CAM map") == len(record_of(run)["cases"])
    before = {name: (run / name).read_bytes() for name in ("explanations.json", "figures/explanation_shares.svg")}
    picture = (run / "figures" / "explanations" / "mistake-1.png").read_bytes()
    again(run)
    assert {name: (run / name).read_bytes() for name in before} == before
    assert (run / "figures" / "explanations" / "mistake-1.png").read_bytes() == picture


def test_validation_alone_and_without_sanity_check(explained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(explained[0], run)
    again(run, partition="val", slices=3, cases=0, sanity=0)
    record = record_of(run)
    assert (record["partition"], record["n_slices"], record["sanity"], record["cases"]) == ("val", 3, None, [])
    assert not list((run / "figures" / "explanations").glob("*.png"))  # none of an earlier explanation is left
    assert not (run / "tables" / "explanation_sanity.csv").exists()


@pytest.mark.parametrize("word", ["slices=0", "partition=train", "device=tpu", "cases=-1", "sanity=x"])
def test_wrong_words_are_usage_errors(explained, word):
    assert run_verb("explain", f"run={explained[0]}", word) == 2


def test_masks_belong_to_their_slices(workshop):
    table = read_table(workshop / "index")
    masks = LesionMasks(table)
    assert masks.exist
    for row in range(0, len(table.accepted), 7):
        mask = masks.of(row)
        assert mask is not None
        assert mask.any() == (table.accepted["slice_label"].iloc[row] == 1) or mask.sum() < 60
        assert mask.shape == tuple(table.accepted[["rows", "cols"]].iloc[row])
        assert mask.dtype == np.bool_
