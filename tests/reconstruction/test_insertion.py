from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.geometry.fourier import frequencies, half_plane_weights
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.rotations import random_rotations
from vitreous.imaging.fourier_grid import FourierGrid, GridShape, guarded_table
from vitreous.imaging.slicing import rotated_frequencies, slice_grid
from vitreous.reconstruction.insertion import empty_table, insert_slices, read_sums

from .blobs import slices, transform


@partial(jax.jit, static_argnames=("box", "count"))
def inserted(box: int, values, weights, rotation, groups=None, count: int = 1):
    """Insert half-plane samples, each pair of mates counted once."""
    pixels = FourierPixels(box, (box - 1) // 2)
    shape = GridShape(box, 0)
    coordinates = rotated_frequencies(rotation, jnp.asarray(pixels.frequency))
    share = jnp.asarray(pixels.weight / np.float32(2))[None, :, None]
    groups = jnp.zeros(len(rotation), jnp.int32) if groups is None else groups
    table = empty_table(shape, count, values.shape[-1], weights.shape[-1])
    values = values * share.astype(values.dtype)
    table = insert_slices(table, coordinates, values, weights * share, groups, shape)
    return read_sums(table, shape, values.shape[-1])


def random_half_space(box: int) -> np.ndarray:
    volume = np.random.default_rng(0).normal(size=(box, box, box)).astype(np.float32)
    return np.fft.rfftn(volume).astype(np.complex64)


@pytest.mark.parametrize("box", [8, 9])
def test_insertion_is_the_adjoint_of_slicing(box):
    pixels = FourierPixels(box, (box - 1) // 2)
    rotation = random_rotations(jax.random.key(0), 5)
    half = random_half_space(box)
    shape = GridShape(box, 0)
    table = guarded_table(jnp.stack([half.real, half.imag], axis=-1), shape)
    grid = FourierGrid(table, box, shape, "linear")
    cut = jax.jit(slice_grid)(grid, rotation, jnp.asarray(pixels.frequency))
    rng = np.random.default_rng(1)
    values = (rng.normal(size=cut.shape) + 1j * rng.normal(size=cut.shape)).astype(np.complex64)
    sums = inserted(box, jnp.asarray(values)[..., None], jnp.ones((*cut.shape, 1)), rotation)
    # ⟨slice V, Y⟩ over the whole plane = ⟨V, insert Y⟩ over the whole space.
    image_side = (pixels.weight * (np.asarray(cut).conj() * values).real).sum()
    space = half_plane_weights(box) * (half.conj() * np.asarray(sums.numerator[0, 0])).real
    assert image_side == pytest.approx(space.sum(), rel=1e-4)


@pytest.mark.parametrize("box", [8, 9])
def test_sums_are_those_of_every_sample_and_its_mate_in_the_whole_space(box):
    """A plain loop over the full plane and full space, in float64."""
    rotation = random_rotations(jax.random.key(2), 3)
    pixels = FourierPixels(box, (box - 1) // 2)
    values = slices(np.asarray(rotation), pixels.frequency, box).astype(np.complex64)
    sums = inserted(box, jnp.asarray(values)[..., None], jnp.ones((*values.shape, 1)), rotation)

    numerator = np.zeros((box, box, box), np.complex128)
    weight = np.zeros((box, box, box))
    plane = frequencies(box, 2).reshape(-1, 2)
    plane = plane[
        (np.rint(np.hypot(*plane.T)) >= 1) & (np.rint(np.hypot(*plane.T)) < (box + 1) // 2)
    ]
    for matrix in np.asarray(rotation, np.float64):
        for k in plane @ matrix[:2]:
            low = np.floor(k).astype(int)
            for corner in np.ndindex(2, 2, 2):
                w = np.prod(1 - np.abs(k - (low + corner)))
                x, y, z = (low + corner) % box
                numerator[z, y, x] += w * transform(k, box)
                weight[z, y, x] += w
    half = box // 2 + 1
    np.testing.assert_allclose(sums.weight[0, 0], weight[..., :half], atol=1e-4)
    np.testing.assert_allclose(sums.numerator[0, 0], numerator[..., :half], atol=2e-4)


def test_groups_and_channels_do_not_mix():
    box, rotation = 8, random_rotations(jax.random.key(3), 4)
    pixels = FourierPixels(box, 3)
    key = jax.random.key(4)
    values = jax.random.normal(key, (4, len(pixels), 2), jnp.complex64)
    weights = jax.random.uniform(key, (4, len(pixels), 3))
    groups = jnp.array([1, 0, 1, 2], jnp.int32)
    together = inserted(box, values, weights, rotation, groups, count=3)
    assert together.numerator.shape == (3, 2, 8, 8, 5)
    assert together.weight.shape == (3, 3, 8, 8, 5)
    for group in range(3):
        mine = (groups == group)[:, None, None].astype(jnp.float32)
        one_value = values[..., 1:] * mine.astype(values.dtype)
        alone = inserted(box, one_value, weights[..., 2:] * mine, rotation)
        np.testing.assert_allclose(together.numerator[group, 1], alone.numerator[0, 0], atol=1e-5)
        np.testing.assert_allclose(together.weight[group, 2], alone.weight[0, 0], atol=1e-5)


def test_samples_outside_the_box_are_dropped():
    shape = GridShape(8, 0)
    table = empty_table(shape)
    far = jnp.array([[[9.0, 0.0, 0.0], [0.0, -20.0, 3.0], [-3.0, 1e9, 0.0]]])
    ones = jnp.ones((1, 3, 1))
    group = jnp.zeros(1, jnp.int32)
    insert = jax.jit(insert_slices, static_argnums=5)
    table = insert(table, far, ones.astype(jnp.complex64), ones, group, shape)
    assert not np.asarray(table).any()
