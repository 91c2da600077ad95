"""Springs: zero for a rigid body, gradients that are true, hinges that open; their weight."""

import jax
import jax.numpy as jnp
import numpy as np

from vitreous.geometry.rotations import euler_to_matrix
from vitreous.methods.flexible import elastic
from vitreous.methods.flexible.balance import Balance, balanced
from vitreous.methods.flexible.elastic import edge_lengths, elastic_energy, neighbour_edges
from vitreous.methods.flexible.pairs import paired_images
from vitreous.methods.flexible.repulsion import listed, near_pairs

RNG = np.random.default_rng(3)
POINTS = RNG.uniform(-20, 20, (60, 3)).astype(np.float32)
EDGES = neighbour_edges(POINTS, 6)
REST = edge_lengths(jnp.asarray(POINTS), jnp.asarray(EDGES))


ONE = jnp.ones(1)


def energy(moved):
    return float(elastic_energy(jnp.asarray(moved)[None], REST, jnp.asarray(EDGES), ONE))


def test_a_body_turned_and_moved_costs_what_it_costs_at_rest():
    turn = np.asarray(euler_to_matrix(np.array([30.0, 50.0, 70.0])), np.float32)
    # Edges shorter than half the mean push in either place.
    np.testing.assert_allclose(energy(POINTS @ turn.T + np.float32(7)), energy(POINTS), atol=1e-4)


def test_the_slope_is_that_of_finite_differences():
    with jax.enable_x64(True):
        rest, edges = jnp.asarray(np.asarray(REST), jnp.float64), jnp.asarray(EDGES)
        moved = jnp.asarray(POINTS + RNG.normal(size=(3, *POINTS.shape)), jnp.float64)
        along = jnp.asarray(RNG.normal(size=moved.shape))
        share = jnp.asarray([0.5, 0.3, 0.2])

        def at(step):
            return elastic_energy(moved + step * along, rest, edges, share)

        slope = jnp.sum(jax.grad(lambda m: elastic_energy(m, rest, edges, share))(moved) * along)
        difference = (at(1e-5) - at(-1e-5)) / 2e-5
        np.testing.assert_allclose(slope, difference, rtol=1e-5)


def test_a_spring_torn_in_other_images_pulls_less_in_this_one():
    pair, edge = jnp.asarray([[0.0, 0, 0], [8.0, 0, 0]]), jnp.asarray([[0, 1]])

    def pull(others):
        moved = jnp.stack([pair.at[1, 0].add(x) for x in (0.5, others)])
        share = jnp.asarray([0.5, 0.5])
        slope = jax.grad(lambda m: elastic_energy(m, jnp.asarray([8.0]), edge, share))(moved)
        return float(slope[0, 1, 0])

    assert pull(0.0) > 0
    assert pull(10.0) < 0.01 * pull(0.0)


def test_parts_that_meet_without_a_spring_are_pushed_apart():
    # Two squares, 8 Å a side, whose springs are their sides; the second is laid on the first.
    square = np.array([[0.0, 0, 0], [8, 0, 0], [8, 8, 0], [0, 8, 0]])
    rest = np.concatenate([square, square + np.array([40.0, 0, 0])])
    sides = np.array([[i, (i + 1) % 4] for i in range(4)], np.int32)
    edges = np.concatenate([sides, sides + 4])
    met = np.concatenate([square, square + np.array([1.0, 0, 0])])
    table = near_pairs(np.stack([rest, met]), edges, reach=8.5)
    assert table[0, 0] == 4
    assert table[4, 0] == 0
    joined = {frozenset(edge) for edge in edges.tolist()}
    assert not any(frozenset((i, int(j))) in joined for i in range(8) for j in table[i] if i != j)
    pairs, lengths = listed(jnp.asarray(table)), jnp.full(8, 8.0)

    def energy_of(moved, near):
        return elastic_energy(moved[None], lengths, jnp.asarray(edges), ONE, near)

    where = jnp.asarray(met, jnp.float32)
    assert float(energy_of(where, None)) < 1e-6
    slope = jax.grad(energy_of)(where, pairs)
    # Downhill the second square moves away from the first.
    assert float(slope[:4, 0].mean()) > 0.1
    assert float(slope[4:, 0].mean()) < -0.1
    assert float(energy_of(jnp.asarray(rest, jnp.float32), pairs)) < 1e-6


def test_a_few_images_at_a_time_have_the_energy_of_all(monkeypatch):
    moved = jnp.asarray(POINTS + RNG.normal(size=(6, *POINTS.shape)), jnp.float32)
    share = jnp.asarray(RNG.uniform(size=6), jnp.float32)
    near = jnp.asarray([[0, 1], [2, 2], [3, 9]])

    def value(moved):
        return elastic_energy(moved, REST, jnp.asarray(EDGES), share, near)

    whole = jax.value_and_grad(value)(moved)
    monkeypatch.setattr(elastic, "_AT_A_TIME", 2 * len(EDGES) + 6)
    parts = jax.value_and_grad(value)(moved)
    np.testing.assert_allclose(parts[0], whole[0], rtol=1e-5)
    np.testing.assert_allclose(
        parts[1], whole[1], atol=1e-6 * float(jnp.abs(whole[1]).max()) + 1e-7
    )


def test_the_weight_follows_slowly_stays_in_range_and_is_kept_at_the_end():
    yes, no = jnp.asarray(True), jnp.asarray(False)
    one, many = jnp.asarray(1.0), jnp.asarray(1e3)
    idle = balanced(Balance(jnp.zeros(()), jnp.zeros(())), one, one, 0.5, no, no)
    assert float(idle.weight) == 0.0
    first = balanced(idle, jnp.asarray(4.0), jnp.asarray(2.0), 0.5, yes, no)
    assert float(first.weight) == 1.0
    runaway = first
    for _ in range(200):
        runaway = balanced(runaway, many, one, 0.5, yes, no)
    assert float(runaway.weight) == 10.0
    kept = balanced(first, many, one, 0.5, yes, yes)
    assert float(kept.weight) == 1.0


def test_every_pair_joins_both_halves_and_every_image_is_seen():
    half = np.array([0, 1, 1, 0, 1, 1, 1])
    groups = paired_images(half, seed=0, epoch=3)
    assert (half[groups.rows] == [[0, 1]]).all()
    assert set(groups.rows.ravel()) == set(range(7))
    assert not np.array_equal(groups.rows, paired_images(half, 0, 4).rows)
