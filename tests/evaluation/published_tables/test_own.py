"""Our own reports under the same audit."""

import copy
import json
import time

import pytest

from covidct.errors import IntegrityError
from covidct.evaluation.published_tables.own import audit_printed
from covidct.evaluation.summary import summarize
from tests.evaluation.factories import simulated


@pytest.fixture(scope="module")
def summary():
    predictions = simulated(patients=11, slices=7, splits=("val", "test"), skill=2.0)
    return json.loads(json.dumps(summarize(predictions, replicates=20)))


def test_a_trained_run_passes(trained):
    audit_printed(json.loads((trained / "metrics.json").read_text()))


def test_every_block_passes_in_no_time(summary):
    start = time.perf_counter()
    audit_printed(summary)
    assert time.perf_counter() - start < 1
    assert any(block["n_conflict"] for block in summary["blocks"])


@pytest.mark.parametrize("metric", ["accuracy", "sensitivity", "specificity", "ppv", "npv"])
@pytest.mark.parametrize("place", ["slice", "patient"])
def test_a_figure_that_was_changed_is_found(summary, metric, place):
    changed = copy.deepcopy(summary)
    block = next(block for block in changed["blocks"] if block["level"] == place)
    figure = block["per_class"]["viral"][metric]
    figure["value"] += 0.02 if figure["value"] < 0.9 else -0.02
    with pytest.raises(IntegrityError, match="viral"):
        audit_printed(changed)


def test_a_count_or_a_top1_that_was_changed_is_found(summary):
    changed = copy.deepcopy(summary)
    changed["blocks"][0]["accuracy"]["value"] -= 0.01
    with pytest.raises(IntegrityError, match="do not fit"):
        audit_printed(changed)
    changed = copy.deepcopy(summary)
    changed["blocks"][0]["confusion"][1][0] += 9
    with pytest.raises(IntegrityError):
        audit_printed(changed)
