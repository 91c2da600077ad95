"""Many volumes of one field: within the tolerance of those decoded each by itself, for less."""

import jax
import jax.numpy as jnp
import numpy as np

from vitreous.training.networks.decoder import Decoder, field_values, half_space_points
from vitreous.training.networks.positional_encoding import build_encoding
from vitreous.training.networks.residual_mlp import ResidualMLP
from vitreous.training.networks.volume_family import VolumeFamily, find_span

BOX, SHELL = 44, 21
RNG = np.random.default_rng(0)


def test_a_family_is_told_by_few_within_the_tolerance():
    keys = jax.random.split(jax.random.key(0), 2)
    encoding = build_encoding("gaussian", BOX, 4, 0.5, keys[0])
    network = ResidualMLP(encoding.size + 2, 2, 16, 1, key=keys[1])
    falling = jnp.exp(-jnp.arange(BOX, dtype=jnp.float32) / 8)
    decoder = Decoder(network, encoding, falling, None, BOX, "fourier")
    latent = RNG.normal(size=(90, 2)).astype(np.float32)
    # One that is like no other.
    latent[17] = (9, -9)
    evaluate = jax.jit(lambda z, k: field_values(decoder, z, k))
    asked = []

    def values(z, k):
        asked.append(len(z) * len(k))
        return np.asarray(evaluate(jnp.asarray(z), jnp.asarray(k)))

    points = half_space_points(BOX, SHELL)[1]
    exact = values(latent, points)
    deviation = np.sqrt(np.mean(np.sum(np.abs(exact - exact.mean(axis=0)) ** 2, axis=1)))
    asked.clear()
    family = VolumeFamily(values, BOX, SHELL, 0.03)
    found = np.concatenate(list(family.halves(latent)))
    error = np.sqrt(np.sum(np.abs(found - exact) ** 2, axis=1)) / deviation
    assert found.shape == exact.shape
    # The error is itself measured at a sample of frequencies.
    assert error.max() < 1.2 * 0.03
    assert error.max() > 1e-4
    assert error[17] < 1e-5
    assert family.in_full < 30
    assert sum(asked) < 0.7 * exact.size
    before = family.in_full
    near = latent + 0.01 * RNG.normal(size=latent.shape).astype(np.float32)
    again = np.concatenate(list(family.halves(near)))
    assert family.in_full <= before + 8
    apart = np.sqrt(np.sum(np.abs(again - values(near, points)) ** 2, axis=1)) / deviation
    assert apart.max() < 1.2 * 0.03
    single = VolumeFamily(values, BOX, SHELL, 0.0)
    np.testing.assert_allclose(np.concatenate(list(single.halves(latent))), exact, atol=1e-5)


def test_rows_of_low_rank_are_spanned_by_as_many():
    rows = RNG.normal(size=(40, 5)) @ RNG.normal(size=(5, 200))
    rows[33] = RNG.normal(size=200)
    found = find_span(rows, 0, 1e-6, 100)
    assert len(found.members) == 6
    assert 33 in found.members
    assert not found.is_untold.any()
    np.testing.assert_allclose(found.mixture @ rows[found.members], rows, atol=1e-6)
    # Members that were given stay, and room for two does not reach all.
    few = find_span(rows, 3, 1e-6, 2)
    assert few.members[:3].tolist() == [0, 1, 2]
    assert len(few.members) == 5
    told = np.abs(few.mixture @ rows[few.members] - rows).max(axis=1) < 1e-6
    np.testing.assert_array_equal(few.is_untold, ~told)
    assert few.is_untold.any()
