"""Gaussian molecules: three closed forms of the same thing must agree, and so must derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from vitreous.geometry.fourier import frequencies, half_plane
from vitreous.geometry.rotations import euler_to_matrix, random_rotations
from vitreous.imaging.gaussians import (
    GaussianAtoms,
    gaussian_map,
    project_gaussians,
    slice_gaussians,
)

project = jax.jit(project_gaussians, static_argnames=("box", "pixel_size", "sampling"))


def molecule(seed: int = 0) -> GaussianAtoms:
    """Seven atoms of two Gaussians, some of negative weight."""
    rng = np.random.default_rng(seed)
    return GaussianAtoms(
        rng.uniform(-3, 3, (7, 3)).astype(np.float32),
        rng.normal(size=(7, 2)).astype(np.float32),
        rng.uniform(2.5, 3.0, (7, 2)).astype(np.float32),
    )


ROTATION = random_rotations(jax.random.key(0), 4)
SHIFT = jnp.array([[0.0, 0.0], [1.5, -2.0], [-3.0, 0.7], [0.2, 0.1]])


@pytest.mark.parametrize("box", [36, 37])
def test_projections_agree_with_their_fourier_transform(box: int) -> None:
    """Gaussians of σ ≥ 1.6 px neither alias nor reach the edge: equal to rounding."""
    atoms = molecule()
    images = project(atoms, ROTATION, box=box, pixel_size=1.0, shift=SHIFT, sampling="point")
    k = frequencies(box, 2, half=True).reshape(-1, 2) / box
    expected = slice_gaussians(atoms, ROTATION, jnp.asarray(k), SHIFT)
    np.testing.assert_allclose(half_plane(images).reshape(4, -1), expected, atol=3e-5)


def test_pixel_averages_are_error_functions() -> None:
    """One atom, checked pixel by pixel; its pixels add up to its amplitude."""
    atoms = GaussianAtoms(
        np.array([[1.3, -0.4, 5.0]], np.float32),
        np.array([[2.0]], np.float32),
        np.array([[0.09]], np.float32),
    )
    image = project(atoms, jnp.eye(3)[None], box=9, pixel_size=1.5)[0]
    edges = (np.arange(10) - 4.5) * 1.5
    step = [np.diff(erf((edges - c) / (0.3 * np.sqrt(2)))) / (2 * 1.5) for c in (1.3, -0.4)]
    np.testing.assert_allclose(image, 2 * np.outer(step[1], step[0]), atol=1e-6)
    assert float(image.sum()) * 1.5**2 == pytest.approx(2, rel=1e-6)


@pytest.mark.parametrize("sampling", ["average", "point"])
@pytest.mark.parametrize("box", [36, 37])
def test_maps_project_to_projections(box: int, sampling: str) -> None:
    atoms = molecule()
    volume = gaussian_map(atoms, box, 1.0, sampling=sampling, chunk=5)
    axes = euler_to_matrix(jnp.array([[0.0, 0.0, 0.0], [0.0, 90.0, 0.0]]))
    images = project(atoms, axes, box=box, pixel_size=1.0, sampling=sampling)
    np.testing.assert_allclose(volume.sum(axis=0), images[0], atol=2e-6)
    # Tilt 90°: x_image = −z, y_image = y. Reversing an even box moves its centre by one.
    beam_along_x = volume.sum(axis=2).T[:, ::-1]
    beam_along_x = jnp.roll(beam_along_x, 1 - box % 2, axis=1)
    np.testing.assert_allclose(beam_along_x, images[1], atol=2e-6)
    assert float(volume.sum()) == pytest.approx(float(atoms.amplitude.sum()), abs=1e-4)


def test_one_conformation_an_image() -> None:
    atoms = [molecule(0), molecule(0)._replace(position=molecule(1).position)]
    together = atoms[0]._replace(position=np.stack([a.position for a in atoms]))
    images = project(together, ROTATION[:2], box=16, pixel_size=1.0)
    alone = [
        project(a, ROTATION[i : i + 1], box=16, pixel_size=1.0)[0] for i, a in enumerate(atoms)
    ]
    np.testing.assert_allclose(images, jnp.stack(alone), atol=1e-6)


def test_gradients_agree_with_finite_differences() -> None:
    """Against the Fourier form in double precision, written out here."""
    atoms, box = molecule(), 16
    pattern = np.random.default_rng(1).normal(size=(box, box)).astype(np.float32)

    @jax.jit
    @jax.grad
    def gradient(parameters: tuple) -> jax.Array:
        atoms, vector = parameters
        image = project_gaussians(atoms, euler_to_matrix(vector[None]), box, 1.0, sampling="point")
        return jnp.sum(image[0] * pattern)

    angles = np.array([20.0, 50.0, -70.0])
    slope, angle_slope = gradient(
        (GaussianAtoms(*(jnp.asarray(x) for x in atoms)), jnp.asarray(angles, jnp.float32))
    )

    def exact(atoms: GaussianAtoms, angles: np.ndarray) -> float:
        position, amplitude, variance = (np.asarray(x, np.float64) for x in atoms)
        lab = position @ euler_to_matrix(angles).T
        x = np.arange(box) - box // 2
        image = np.zeros((box, box))
        for (cx, cy, _), a, v in zip(lab, amplitude, variance, strict=True):
            for ak, vk in zip(a, v, strict=True):
                square = (x[None] - cx) ** 2 + (x[:, None] - cy) ** 2
                image += ak * np.exp(-square / (2 * vk)) / (2 * np.pi * vk)
        return float(np.sum(image * pattern))

    rng = np.random.default_rng(2)
    for field in range(3):
        value = np.asarray(atoms[field], np.float64)
        direction, step = rng.normal(size=value.shape), 1e-4
        up, down = (
            exact(atoms._replace(**{atoms._fields[field]: value + s * step * direction}), angles)
            for s in (1, -1)
        )
        np.testing.assert_allclose(
            np.sum(np.asarray(slope[field]) * direction), (up - down) / (2 * step), rtol=1e-3
        )
    direction = rng.normal(size=3)
    difference = (
        exact(atoms, angles + 0.01 * direction) - exact(atoms, angles - 0.01 * direction)
    ) / 0.02
    np.testing.assert_allclose(np.sum(np.asarray(angle_slope) * direction), difference, rtol=1e-3)


def test_no_atoms_project_to_nothing() -> None:
    empty = GaussianAtoms(np.zeros((0, 3)), np.zeros((0, 1)), np.zeros((0, 1)))
    empty = GaussianAtoms(*(np.float32(x) for x in empty))
    np.testing.assert_array_equal(project(empty, ROTATION, box=8, pixel_size=1.0), 0)
