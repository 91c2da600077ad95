import logging

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vitreous.particles.tilts import dose_symmetric_weight, select_tilts, tilt_rank
from vitreous.reconstruction.half_sets import half_sets


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=2, max_size=40), st.booleans())
def test_no_particle_of_a_tilt_series_is_split(particle, with_half_set):
    particle = np.array(particle)
    given_halves = np.arange(len(particle), dtype=np.int8) % 2 if with_half_set else None
    half = half_sets(len(particle), given_halves, particle)
    owners = {p: set(half[particle == p]) for p in np.unique(particle)}
    assert all(len(halves) == 1 for halves in owners.values())
    if not with_half_set:
        sizes = [sum(halves == {h} for halves in owners.values()) for h in (0, 1)]
        assert 0 <= sizes[0] - sizes[1] <= 1


def test_single_particles_alternate_and_halves_of_the_file_are_kept(caplog):
    np.testing.assert_array_equal(half_sets(5), [0, 1, 0, 1, 0])
    halves = np.array([1, 1, 0, 0, 1], np.int8)
    np.testing.assert_array_equal(half_sets(5, halves), halves)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(half_sets(4, np.ones(4, np.int8)), [0, 1, 0, 1])
    assert "half sets" in caplog.text


def test_tilts_are_ranked_by_exposure_within_their_particle():
    particle = np.array([7, 7, 7, 2, 2, 7, 2])
    dose = np.array([9.0, 0.0, 3.0, 3.0, 0.0, 6.0, 0.0])
    rank = tilt_rank(particle, dose)
    np.testing.assert_array_equal(rank, [3, 0, 1, 2, 0, 2, 1])
    np.testing.assert_array_equal(select_tilts(particle, rank, 2), rank < 2)
    complete = select_tilts(particle, rank, 4, only_complete=True)
    np.testing.assert_array_equal(complete, particle == 7)
    np.testing.assert_allclose(
        dose_symmetric_weight(rank, 3.0), np.cos(np.deg2rad([6, 0, 3, 3, 0, 3, 3])), atol=1e-6
    )
