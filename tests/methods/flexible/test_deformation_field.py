"""Deformation fields are zero at rest, are sums of their modes, and stop at a mask."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.errors import InputError
from vitreous.maps import write_map
from vitreous.methods.flexible.deformation import make_deformation
from vitreous.methods.flexible.masked import masked, read_motion_mask
from vitreous.methods.flexible.state import half_of, stacked

RNG = np.random.default_rng(0)
POINTS = jnp.asarray(RNG.normal(size=(37, 3)) * 20, jnp.float32)
LATENTS = jnp.asarray(np.concatenate([np.zeros((1, 3)), RNG.normal(size=(6, 3))]), jnp.float32)


@pytest.mark.parametrize("kind", ["factorised", "concatenated"])
def test_nothing_moves_at_rest_and_everything_else_does(kind):
    field = make_deformation(kind, 3, 30.0, 5.0, jax.random.key(1))
    moved = np.asarray(jax.jit(lambda z: field(POINTS, z))(LATENTS))
    assert np.abs(moved[0]).max() == 0.0
    assert np.abs(moved[1:]).max() > 0.01
    # The latent of rest is no dead end: a step away from it moves points.
    slope = jax.jacobian(lambda z: field(POINTS, z[None])[0])(jnp.zeros(3))
    assert np.abs(np.asarray(slope)).max() > 1e-3


def test_a_factorised_field_is_the_sum_of_its_modes():
    field = make_deformation("factorised", 3, 30.0, 5.0, jax.random.key(1), modes=7)
    modes, weights = field.modes(POINTS), field.weights(LATENTS)
    assert modes.shape == (37, 7, 3)
    expected = np.einsum("bk,mkx->bmx", np.asarray(weights), np.asarray(modes))
    np.testing.assert_allclose(np.asarray(field(POINTS, LATENTS)), expected, atol=1e-5)


def test_a_mask_holds_what_lies_outside_of_it():
    mask = np.zeros((16, 16, 16), np.uint8)
    mask[:, :, 8:] = 255  # where x is not negative
    field = masked(make_deformation("factorised", 3, 30.0, 5.0, jax.random.key(1)), mask, 5.0)
    moved = np.asarray(field(POINTS, LATENTS[1:]))
    x = np.asarray(POINTS)[:, 0]
    assert np.abs(moved[:, x < -5]).max() == 0.0
    free = np.asarray(field.inner(POINTS, LATENTS[1:]))
    inside = (x > 0) & (np.abs(np.asarray(POINTS)).max(axis=1) < 34)
    np.testing.assert_allclose(moved[:, inside], free[:, inside], atol=1e-5)
    mixed = np.einsum("bk,mkx->bmx", field.weights(LATENTS), field.modes(POINTS))
    np.testing.assert_allclose(np.asarray(field(POINTS, LATENTS)), mixed, atol=1e-5)


def test_a_mask_that_misses_the_molecule_is_refused(tmp_path):
    mask = np.zeros((16, 16, 16), np.float32)
    mask[:3] = 1  # below all points
    write_map(tmp_path / "mask.mrc", mask, 5.0)
    points = np.asarray(POINTS)
    with pytest.raises(InputError, match=r"none of the .* Gaussians"):
        read_motion_mask(str(tmp_path / "mask.mrc"), 16, 5.0, points[np.abs(points[:, 2]) < 20])
    write_map(tmp_path / "mask.mrc", np.ones_like(mask), 5.0)
    assert read_motion_mask(str(tmp_path / "mask.mrc"), 16, 5.0, points).min() == 255


def test_halves_stacked_are_told_apart_again():
    one, two = (make_deformation("factorised", 3, 30.0, 5.0, jax.random.key(k)) for k in (1, 2))
    both = stacked(one, two)
    for number, field in enumerate((one, two)):
        again = half_of(both, number)
        np.testing.assert_array_equal(again(POINTS, LATENTS), field(POINTS, LATENTS))
