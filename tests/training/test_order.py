"""The order of an epoch: complete, repeatable, random also when read in runs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitreous.particles.order import (
    draw_from_groups,
    epoch_plan,
    first_of_groups,
    group_images,
    group_plan,
    shuffled_order,
)


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


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(1, 7))
def test_groups_come_whole_and_once(owner, count):
    owner = 3 * np.array(owner)
    rank = np.array([np.sum(owner[:k] == owner[k]) for k in range(len(owner))])
    groups = group_images(owner, rank)
    plan = group_plan(shuffled_order(len(groups), 0, 0), groups, count)
    assert plan.rows.shape == (-(-len(groups) // count), count * groups.size)
    assert np.array_equal(np.sort(plan.rows[plan.weight > 0]), np.arange(len(owner)))
    by_group = plan.rows.reshape(-1, groups.size)
    assert (owner[by_group] == owner[by_group[:, :1]]).all()
    # Within a group images stand in the order of their rank, filling ones behind.
    for rows, weight in zip(by_group, plan.weight.reshape(by_group.shape), strict=True):
        used = weight > 0
        assert (np.diff(used.astype(int)) <= 0).all()
        assert np.array_equal(rank[rows[used]], np.arange(used.sum()))


def test_groups_are_in_the_order_of_their_numbers():
    groups = group_images(np.array([7, 2, 7, 2, 5]), np.array([1, 0, 0, 1, 0]))
    assert groups.rows.tolist() == [[1, 3], [4, 4], [2, 0]]
    assert groups.weight.tolist() == [[1, 1], [1, 0], [1, 1]]
    assert first_of_groups(groups, 1).rows.tolist() == [[1], [4], [2]]


def test_drawn_tilts_differ_from_epoch_to_epoch_and_repeat_with_the_seed():
    owner, rank = np.repeat(np.arange(40), 9), np.tile(np.arange(9), 40)
    groups = group_images(np.r_[owner, 40, 40], np.r_[rank, 0, 1])
    drawn = [draw_from_groups(groups, 4, 3, epoch) for epoch in range(30)]
    assert all(d.rows.shape == (41, 4) for d in drawn)
    again = draw_from_groups(groups, 4, 3, 5)
    np.testing.assert_array_equal(again.rows, drawn[5].rows)
    assert not np.array_equal(drawn[0].rows, drawn[1].rows)
    for d in drawn:
        assert all(len(set(rows)) == 4 for rows in d.rows[:40].tolist())
        # Drawn images keep their order, which is that of exposure.
        assert (np.diff(d.rows[:40], axis=1) > 0).all()
        # A particle with fewer tilts shows all it has.
        assert sorted(d.rows[40][d.weight[40] > 0].tolist()) == [360, 361]
    # Each of 360 images is drawn with probability 4/9: 30 draws, binomial, 5 deviations.
    counts = np.bincount(np.concatenate([d.rows[:40].ravel() for d in drawn]), minlength=360)
    assert np.abs(counts - 30 * 4 / 9).max() < 5 * np.sqrt(30 * 20 / 81)
