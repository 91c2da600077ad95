"""Reading images between pixels, its transpose, and fields on coarse grids."""

import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.geometry.fourier import half_plane
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.reconstruction.deformed.fields import FieldOnSupport, MovedImages, coarse_nodes
from vitreous.reconstruction.deformed.gather import (
    FINER,
    corner_table,
    fine_images,
    half_planes_of,
    read_at,
    spread_at,
)
from vitreous.reconstruction.deformed.support import support_near, support_of

RNG = np.random.default_rng(4)


@pytest.mark.parametrize("box", [12, 13])
def test_finer_images_are_the_images_at_their_pixels(box) -> None:
    pixels = FourierPixels(box, box // 4, min_shell=0)
    image = RNG.normal(size=(1, box, box)).astype(np.float32)
    half = pixels.scatter(pixels.gather(half_plane(jnp.asarray(image))))
    fine = fine_images(half)
    # Places between pixels: the sum of the waves themselves.
    place = RNG.uniform(-box / 3, box / 3, (40, 2)).astype(np.float32)
    values = np.asarray(pixels.gather(half))[0].astype(np.complex128)
    waves = np.exp(2j * np.pi / box * (place @ pixels.frequency.T))
    exact = (waves * values * pixels.weight).sum(1).real / box**2
    read = np.asarray(read_at(corner_table(fine[0]), jnp.asarray(place * FINER)))
    assert np.corrcoef(read, exact)[0, 1] > 0.995
    # Compensated for the kernel: no loss on the mean.
    assert np.polyfit(exact, read, 1)[0] == pytest.approx(1, abs=0.03)


def test_spreading_is_the_transpose_of_reading() -> None:
    size, count = 16, 50
    place = jnp.asarray(RNG.uniform(-9, 9, (count, 2)), jnp.float32)
    values = jnp.asarray(RNG.normal(size=count), jnp.float32)
    image = jnp.asarray(RNG.normal(size=(size, size)), jnp.float32)
    one = jnp.vdot(spread_at(values, place, size), image)
    other = jnp.vdot(values, read_at(corner_table(image), place))
    assert float(one) == pytest.approx(float(other), rel=1e-5)


@pytest.mark.parametrize("box", [8, 9])
def test_finer_images_and_back_are_transposes(box) -> None:
    pixels = FourierPixels(box, (box - 1) // 2, min_shell=0)
    shape = (1, len(pixels))
    values = (RNG.normal(size=shape) + 1j * RNG.normal(size=shape)).astype(np.complex64)
    half = pixels.scatter(jnp.asarray(values))
    image = jnp.asarray(RNG.normal(size=(1, FINER * box, FINER * box)), jnp.float32)
    one = float(jnp.vdot(fine_images(half), image))
    back = np.asarray(pixels.gather(half_planes_of(image)))
    seen = np.asarray(pixels.gather(half))
    keep = pixels.shell > 0
    other = float((pixels.weight * (seen.conj() * back).real)[:, keep].sum() / box**2)
    mean = float((seen.conj() * back).real[:, ~keep].sum() / box**2)
    assert one == pytest.approx(other + mean, rel=1e-5)


def test_a_coarse_grid_magnifies_nothing() -> None:
    points = RNG.uniform(-30, 30, (200, 3)).astype(np.float32)
    nodes, corners = coarse_nodes(points, 8.0)
    back = (nodes[corners.node] * corners.weight[..., None]).sum(1)
    slope = [np.polyfit(points[:, k], back[:, k], 1)[0] for k in range(3)]
    np.testing.assert_allclose(slope, 1, atol=1e-4)
    np.testing.assert_allclose(back, points, atol=1e-4)


class Stretch:
    """A field that is linear in space: by modes, or asked for every image."""

    def modes(self, points):
        return jnp.stack([points, jnp.roll(points, 1, axis=1)], axis=1)

    def weights(self, z):
        return jnp.stack([z[:, 0], z[:, 0] ** 2], axis=1)


@pytest.mark.parametrize("downsample", [1, 3])
@pytest.mark.parametrize("block", [64, 1 << 18])
def test_modes_and_calls_displace_alike(downsample, block) -> None:
    field = Stretch()
    z = np.array([[0.1], [-0.3]], np.float32)

    def called(points, z):
        return jnp.einsum("bk,mkx->bmx", field.weights(z), field.modes(points))

    support = support_of(np.ones((8, 8, 8), np.float32), 3.0)
    rows = np.arange(2)
    expected = np.asarray(called(jnp.asarray(support.points), jnp.asarray(z)))
    for one in (field, called):
        found = FieldOnSupport(MovedImages(rows, z, one), support, downsample, block)
        parts = [found.at(k).displace(jnp.asarray(found.code)) for k in range(len(found.starts))]
        moves = np.concatenate(parts, axis=1)[:, : len(support.index)]
        np.testing.assert_allclose(moves, expected, atol=1e-4)


def test_voxels_near_a_model() -> None:
    support = support_near(np.array([[0.0, 0.0, 4.0]]), 16, 2.0, 4.0, 4.0)
    distance = np.linalg.norm(support.points - [0, 0, 4], axis=1)
    assert distance.max() < 8
    np.testing.assert_allclose(support.weight[distance <= 4], 1)
    shown = support.volume(support.weight)
    assert shown[8 + 2, 8, 8] == 1
    assert shown[8 - 4, 8, 8] == 0
