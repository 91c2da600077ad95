"""The order of an epoch: complete, repeatable, random also when read in runs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitreous.particles.order import epoch_plan, shuffled_order


@given(st.integers(1, 300), st.integers(0, 2**31), st.integers(0, 50), st.integers(1, 20))
def test_every_image_comes_once(count, seed, epoch, chunk):
    order = shuffled_order(count, seed, epoch, chunk, buffer=64)
    assert np.array_equal(np.sort(order), np.arange(count))
    assert np.array_equal(order, shuffled_order(count, seed, epoch, chunk, buffer=64))


def test_epochs_and_seeds_differ():
    orders = [shuffled_order(100, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4


@pytest.mark.parametrize("chunk", [1, 16])
def test_place_in_the_epoch_is_independent_of_the_row(chunk):
    # Spearman correlation of n = 4096 independent draws has deviation 1/64; 4.5 deviations.
    order = shuffled_order(4096, 7, 0, chunk, buffer=512)
    assert abs(np.corrcoef(order, np.arange(4096))[0, 1]) < 4.5 / 64


def test_a_window_reads_whole_runs_and_mixes_the_set():
    order = shuffled_order(4096, 0, 0, chunk=16, buffer=512)
    window = np.sort(order[:512])
    # 32 runs of 16: at least 31 − 1 cut ones are contiguous, spread over the whole set.
    breaks = np.count_nonzero(np.diff(window) != 1)
    assert breaks <= 34
    assert window.max() - window.min() > 3000
    # A batch of 64 draws from all runs of the window: neighbours seldom meet.
    assert np.count_nonzero(np.diff(np.sort(order[:64])) == 1) < 20


@given(st.integers(1, 200), st.integers(1, 50))
def test_plan_fills_up_the_last_batch_with_other_rows(count, batch):
    plan = epoch_plan(shuffled_order(count, 0, 0), batch)
    assert plan.rows.shape == (-(-count // batch), batch)
    assert plan.weight.sum() == count
    assert np.array_equal(np.sort(plan.rows[plan.weight > 0]), np.arange(count))
    if count >= batch:
        assert all(len(np.unique(rows)) == batch for rows in plan.rows)
