"""One thread for the tiny networks here: with more, they wait for each other longer than they compute."""

from __future__ import annotations

from collections.abc import Iterator

import covidct  # noqa: F401 (first: it lets torchvision import)  # isort: skip

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
