"""Kernel regression against backprojection, its choice of bandwidth, and its half sets."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.particles.loader import PreparedImages
from vitreous.particles.prepare import Normalization
from vitreous.reconstruction.backprojection import Geometry, Slices
from vitreous.reconstruction.consensus import consensus_from_batches
from vitreous.reconstruction.kernel_regression import (
    KernelRegression,
    best_rings,
)
from vitreous.reconstruction.local_resolution import local_resolution
from vitreous.reconstruction.rings import (
    latent_distance,
    ring_sizes,
    rings_of,
    selection_distance,
)

from .blobs import MemorySource, images, table

BOX, COUNT, PIXEL = 20, 300, 2.0


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    rotation = Rotation.random(COUNT, random_state=0).as_matrix()
    shift = rng.normal(size=(COUNT, 2))
    stack = images(rotation, shift, BOX) + 0.1 * rng.normal(size=(COUNT, BOX, BOX))
    return PreparedImages.build(
        table(rotation, shift * PIXEL, BOX, PIXEL),
        MemorySource(stack.astype(np.float32)),
        pixels=FourierPixels(BOX, 9),
        window_radius=None,
        normalization=Normalization(0.0, 1.0),
    )


HALVES = np.arange(COUNT) % 2


def test_all_images_alike_is_backprojection(data):
    kernel = KernelRegression(data, HALVES, batch_size=100)
    last = len(kernel.sizes) - 1
    made = kernel(np.zeros(COUNT), np.full(kernel.shells, last))

    def slices(batch):
        half = jnp.asarray(HALVES, jnp.int32)[batch.index]
        parts = (batch.pixels, batch.rotation, batch.shift, batch.pixel_size, None)
        return Slices(*parts, half, batch.weight)

    plain = consensus_from_batches(map(slices, data.in_order(100)), Geometry(BOX, 9, PIXEL))
    scale = np.abs(np.asarray(plain.volume)).max()
    np.testing.assert_allclose(made.volume, plain.volume, atol=1e-4 * scale)
    np.testing.assert_allclose(made.half_maps, plain.half_maps, atol=1e-4 * scale)
    assert (made.images == COUNT).all()


def test_half_maps_share_no_image(data):
    """Spoiling the images of one half leaves the other half map bit for bit."""
    source = MemorySource(data.source.stack.copy())
    source.stack[1::2] = 7.0
    spoilt = PreparedImages.build(
        data.table,
        source,
        pixels=data.pixels,
        window_radius=None,
        normalization=Normalization(0.0, 1.0),
    )
    distance = np.random.default_rng(1).normal(size=COUNT) ** 2
    ring = np.full(10, 2)
    first, second = (
        KernelRegression(d, HALVES, batch_size=100)(distance, ring) for d in (data, spoilt)
    )
    np.testing.assert_array_equal(first.half_maps[0], second.half_maps[0])
    change = np.abs(first.half_maps[1] - second.half_maps[1]).max()
    assert change > 0.1 * np.abs(first.half_maps[1]).max()


def test_one_state_wants_every_image(data):
    """Latents that mean nothing: wherever one looks, all images make the best map."""
    kernel = KernelRegression(data, HALVES, batch_size=100)
    rng = np.random.default_rng(2)
    kernel.learn([rng.uniform(size=COUNT) for _ in range(3)])
    made = kernel(rng.uniform(size=COUNT))
    # Beyond shell 3 the blobs have no signal left to choose by.
    assert (made.ring[1:4] == len(kernel.sizes) - 1).all(), made.ring


def test_rings_hold_the_nearest():
    sizes = ring_sizes(1000, 5)
    assert sizes[-1] == 1000
    distance = np.random.default_rng(3).uniform(size=1000)
    ring = rings_of(distance, sizes)
    assert np.bincount(ring).cumsum().tolist() == sizes.tolist()
    assert distance[ring == 0].max() <= distance[ring == 1].min()
    assert ring_sizes(5).tolist() == [5]


def test_distance_counts_in_units_of_uncertainty():
    latent = np.array([[1.0, 0.0], [0.0, 2.0]])
    covariance = np.stack([np.diag([0.25, 1.0]), np.diag([1.0, 4.0])])
    found = latent_distance(latent, covariance, np.zeros(2))
    np.testing.assert_allclose(found, [2.0, 1.0])


def test_a_selection_is_nearest_and_others_count_from_its_nearest_member():
    rng = np.random.default_rng(6)
    latent = rng.normal(size=(400, 2))
    # In two parts, with nothing of it in the middle.
    chosen = np.abs(latent[:, 0]) > 1
    spread = np.array([[2.0, 0.3], [0.3, 0.5]])
    covariance = np.tile(spread, (400, 1, 1)) * rng.uniform(0.5, 2, (400, 1, 1))
    step = latent[:, None] - latent[chosen][None]
    for given in (covariance, None):
        found = selection_distance(latent, given, chosen)
        assert (found[chosen] == -1).all()
        if given is None:
            expected = np.linalg.norm(step, axis=2).min(axis=1)
            # One scale for all: the order is that of plain distances.
            ratio = found[~chosen] / expected[~chosen]
            np.testing.assert_allclose(ratio, ratio[0])
        else:
            square = np.einsum("nmi,nij,nmj->nm", step, np.linalg.inv(given), step)
            np.testing.assert_allclose(found[~chosen], np.sqrt(square.min(axis=1))[~chosen])
    sizes = ring_sizes(400, 6, int(chosen.sum()))
    ring = rings_of(selection_distance(latent, covariance, chosen), sizes)
    assert (chosen == (ring == 0)).all()
    assert ring_sizes(7, 6, 7).tolist() == [7]


def test_bandwidth_follows_each_shell():
    scores = np.ones((3, 30))
    scores[0, :12] = 2
    scores[2, 18:] = 2
    ring = best_rings(scores)
    assert (ring[:10] == 0).all()
    assert (ring[20:] == 2).all()


def test_local_resolution_sees_where_maps_agree():
    """Noise in one half of space only: resolution there is worse than in the other."""
    rng = np.random.default_rng(4)
    n = 32
    common = rng.normal(size=(n, n, n))
    left = (np.arange(n) < n // 2)[None, None]
    maps = [common + 1.2 * left * rng.normal(size=(n, n, n)) for _ in range(2)]
    found = np.asarray(
        local_resolution(*(jnp.asarray(m, jnp.float32) for m in maps), jnp.asarray(1.0))
    )
    assert np.median(found[:, :, 4:12]) > 2 * np.median(found[:, :, 20:28])
