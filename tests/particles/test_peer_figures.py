"""Figures of cryoDRGN that any reader of its files can repeat: rotations, transforms, scales."""

import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.geometry.fourier import hartley_centered
from vitreous.geometry.rotations import euler_to_matrix
from vitreous.particles import ImageSource, read_particles
from vitreous.particles.prepare import soft_window

# Images of hand.mrcs whose transforms the peer's suite keeps.
KEPT = [43, 12, 53, 64, 31, 56, 75, 63, 27, 62, 96]


def hartley(images):
    """Transform as the peer does: inverted, edges repeated so that the grid is odd."""
    made = np.asarray(hartley_centered(jnp.asarray(-images), 2), np.float64)
    return np.pad(made, ((0, 0), (0, 1), (0, 1)), mode="wrap")


@pytest.mark.parametrize(
    ("name", "scale"), [("hand.mrcs", 94.459511), ("toy_projections.mrcs", 25.787006)]
)
def test_the_scale_of_images_is_the_peers(shared_data, name, scale):
    table = read_particles(shared_data / "interop" / name)
    images = ImageSource(table).read(np.arange(len(table))).astype(np.float32)
    found = hartley(images).std(ddof=1)
    assert found == pytest.approx(scale, rel=2e-7)
    if name != "hand.mrcs":
        return
    made = hartley(images * soft_window(64, 0.85)) / found
    expected = np.load(shared_data / "interop" / "hand_11_particles.npy")
    np.testing.assert_allclose(made[KEPT], expected, atol=1e-5)
    centre = made[0][[32, 32, 33], [32, 33, 32]]
    np.testing.assert_allclose(centre, [-17.267874, -14.235263, -10.573409], atol=1e-5)


def test_euler_angles_are_the_peers():
    rows = [
        (0.90571941, 0.21306972, 0.36643367),
        (-0.27142096, 0.95553406, 0.11526193),
        (-0.32558103, -0.20385275, 0.92327734),
    ]
    found = euler_to_matrix(np.array([-147.9485, 22.58999, 162.539]))
    np.testing.assert_allclose(found, rows, atol=1e-8)
