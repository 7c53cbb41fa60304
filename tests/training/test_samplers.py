"""Order, shares and frequencies of the samplers; processes are simulated by their numbers."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from covidct.errors import UsageError
from covidct.training.samplers import EvaluationSampler, TrainSampler

ROWS = np.array([3, 5, 8, 13, 21, 34, 55, 89, 144, 233])


def visits(epoch=0, **options):
    sampler = TrainSampler(options.pop("rows", ROWS), options.pop("seed", 0), **options)
    sampler.set_epoch(epoch)
    found = list(sampler)
    assert len(found) == len(sampler)
    return found


def test_an_epoch_visits_every_row_once():
    found = visits(epoch=4)
    assert sorted(row for _, row, _ in found) == ROWS.tolist()
    assert {(epoch, again) for epoch, _, again in found} == {(4, 0)}


def test_order_belongs_to_seed_and_epoch():
    assert visits(epoch=2) == visits(epoch=2)
    orders = [tuple(row for _, row, _ in visits(epoch=e, seed=s)) for e in range(4) for s in range(4)]
    assert len(set(orders)) == 16


@given(st.integers(1, 40), st.integers(1, 7), st.integers(0, 3))
def test_train_shares_are_even_and_complete(count, world, epoch):
    rows = np.arange(count) * 2
    shares = [visits(epoch, rows=rows, rank=rank, world=world) for rank in range(world)]
    assert len({len(share) for share in shares}) == 1
    everything = [visit for share in shares for visit in share]
    assert {row for _, row, _ in everything} == set(rows.tolist())
    assert len(everything) - count < world
    assert len(set(everything)) == len(everything)  # a row that is visited again has a chance of its own


@given(st.integers(0, 40), st.integers(1, 7))
def test_evaluation_counts_each_row_exactly_once(count, world):
    rows = np.arange(count) * 3
    shares = [list(EvaluationSampler(rows, rank=rank, world=world)) for rank in range(world)]
    assert sorted(row for share in shares for row in share) == rows.tolist()
    assert [len(share) for share in shares] == [
        len(EvaluationSampler(rows, rank=rank, world=world)) for rank in range(world)
    ]


def test_joined_shares_are_the_order_of_one_process():
    alone = visits(epoch=1)
    shares = [visits(epoch=1, rank=rank, world=2) for rank in range(2)]
    assert [visit for pair in zip(*shares, strict=True) for visit in pair] == alone


def test_balanced_draws_are_even_over_classes_and_within_them():
    """1 : 9 in the rows, 1 : 1 in the draws; chi-square against the uniform distribution."""
    rows = np.arange(200)
    labels = np.where(rows < 20, 0, 1)
    drawn = Counter(row for epoch in range(60) for _, row, _ in visits(epoch, rows=rows, labels=labels))
    rare = [drawn[row] for row in range(20)]
    common = [drawn[row] for row in range(20, 200)]
    assert sum(rare) + sum(common) == 60 * 200
    assert chisquare([sum(rare), sum(common)]).pvalue > 1e-3
    assert chisquare(rare).pvalue > 1e-3
    assert chisquare(common).pvalue > 1e-3


def test_repeated_draws_are_numbered():
    found = visits(rows=np.arange(30), labels=np.array([0] * 2 + [1] * 28))
    seen: Counter[int] = Counter()
    for _, row, again in found:
        assert again == seen[row]
        seen[row] += 1
    assert max(seen.values()) > 2


def test_global_random_state_does_not_move():
    before = random.getstate(), np.random.get_state()[1:], torch.get_rng_state()  # noqa: NPY002
    visits(labels=np.arange(10) % 2)
    visits()
    assert random.getstate() == before[0]
    assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state()[1:], before[1], strict=True))  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])


def test_impossible_places_are_refused():
    with pytest.raises(UsageError):
        TrainSampler(ROWS, 0, rank=2, world=2)
    with pytest.raises(UsageError):
        EvaluationSampler(ROWS, rank=-1, world=2)
    with pytest.raises(UsageError, match="no training slices"):
        TrainSampler(np.empty(0, dtype=np.int64), 0)
