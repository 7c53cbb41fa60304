"""The model's time for a slice: what is slowed down is what gets slower, and nothing else."""

from __future__ import annotations

import time

import numpy as np
import pytest

from covidct.data.table import read_table
from covidct.data.transforms import SliceTransform
from covidct.files import read_json
from covidct.training.scoring import open_run
from covidct.training.speed import measure_speed

DELAY = 0.03


@pytest.fixture
def opened(trained, workshop):
    return open_run(trained), read_table(workshop / "index")


def test_evaluate_keeps_it(trained):
    found = read_json(trained / "speed.json")
    assert 0 < found["inference"] < 5
    assert 0 < found["io"] < 5
    assert found["hardware"].startswith("CPU") or "NVIDIA" in found["hardware"]
    assert (found["batch_size"], found["slices"]) == (16, 64)


def test_slow_reading_is_reading(opened, monkeypatch):
    run, table = opened
    before = measure_speed(run, table, np.arange(32), device="cpu")
    fast = SliceTransform.base

    def slow(*args, **kwargs):
        time.sleep(DELAY)
        return fast(*args, **kwargs)

    monkeypatch.setattr(SliceTransform, "base", slow)
    after = measure_speed(run, table, np.arange(32), device="cpu")
    assert after["io"] - before["io"] > 0.5 * DELAY
    assert after["inference"] < before["inference"] + 0.5 * DELAY


def test_a_slow_network_is_the_network(opened, monkeypatch):
    run, table = opened
    before = measure_speed(run, table, np.arange(32), device="cpu")
    handle = run.module.backbone.register_forward_pre_hook(lambda *_: time.sleep(16 * DELAY))
    after = measure_speed(run, table, np.arange(32), device="cpu")
    handle.remove()
    assert after["inference"] - before["inference"] > 0.5 * DELAY
    assert after["io"] < before["io"] + 0.5 * DELAY
