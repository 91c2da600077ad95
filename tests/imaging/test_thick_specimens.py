"""Ewald sphere and multislice: closed forms, and each the limit of the other."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ndtr

from vitreous.geometry.rotations import random_rotations
from vitreous.imaging import GaussianVolume
from vitreous.imaging.ctf import electron_wavelength, interaction_factor
from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.optics.lens import Optics
from vitreous.imaging.optics.transfer import (
    ewald_contrast,
    exit_wave,
    linear_contrast,
    wave_contrast,
)
from vitreous.imaging.projection.ewald import project_ewald
from vitreous.imaging.projection.multislice import (
    exit_wave_multislice,
    propagator,
    slab_integrals,
)
from vitreous.imaging.projection.project import project

GRID = ImageGrid(32, 1.5)
ROTATION = random_rotations(jax.random.key(1), 2)
FACTOR = float(interaction_factor(jnp.float32(300.0)))


def multislice(
    volume: GaussianVolume, rotation: jax.Array, voltage: float, **settings
) -> jax.Array:
    run = partial(exit_wave_multislice, grid=GRID, voltage=voltage, **settings)
    return jax.jit(lambda v, r: run(v, r))(volume, rotation)


def molecule(strength: float, spread: float = 10.0) -> GaussianVolume:
    """Gaussians of 3 Å, so smooth that ⅔ of Nyquist (4.5 Å) cuts off nothing to speak of."""
    rng = np.random.default_rng(0)
    position = rng.uniform(-spread, spread, (8, 3))
    amplitude = np.full((8, 1), strength)
    return GaussianVolume(
        *(jnp.asarray(x, jnp.float32) for x in (position, amplitude, np.full((8, 1), 9.0)))
    )


def difference(found: jax.Array, expected: jax.Array) -> float:
    return float(jnp.linalg.norm(found - expected) / jnp.linalg.norm(expected))


@pytest.mark.parametrize("box", [16, 17])
def test_a_point_at_a_height_is_a_point_at_another_defocus(box: int) -> None:
    """One scatterer at z on the axis: the image's transform is the CTF of defocus Δf + z."""
    z, grid = 400.0, ImageGrid(box, 1.0)
    one = jnp.ones((1, 1))
    optics = Optics(9000.0, 8000.0, 20.0, amplitude_contrast=0.2, phase_shift=30.0)

    @jax.jit
    def images(height: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        atom = GaussianVolume(jnp.array([[0.0, 0.0, 1.0]]) * height, one, 0.0 * one)
        plus, minus = project_ewald(atom, jnp.eye(3)[None], grid, 300.0)
        flat = project(atom, jnp.eye(3)[None], grid, "slice")
        return (
            ewald_contrast(plus, minus, optics, grid),
            linear_contrast(flat, optics, grid, height[None]),
            linear_contrast(flat, optics, grid),
        )

    found, expected, without = images(jnp.float32(z))
    np.testing.assert_allclose(found, expected, atol=2e-4)
    assert difference(found, without) > 0.1


@pytest.mark.parametrize("slabs", [1, 5])
def test_slabs_are_integrals_over_their_depth(slabs: int) -> None:
    """Against the cumulative normal distribution in z times a Gaussian in the plane."""
    volume = molecule(1.0, 6.0)
    depth = 45.0
    images = slab_integrals(volume, ROTATION, GRID, slabs, depth)
    lab = np.einsum("bij,mj->bmi", np.float64(ROTATION), np.float64(volume.position))
    x = (np.arange(32) - 16) * 1.5
    edges = np.linspace(-depth / 2, depth / 2, slabs + 1)
    plane = [np.exp(-((x - lab[..., i, None]) ** 2) / 18) / np.sqrt(18 * np.pi) for i in (0, 1)]
    shares = np.diff(ndtr((edges - lab[..., 2, None]) / 3), axis=-1)
    expected = np.einsum("bms,bmy,bmx->bsyx", shares, plane[1], plane[0])
    np.testing.assert_allclose(images, expected, atol=2e-4 * expected.max())
    whole = project(volume, ROTATION, GRID, "slice")
    np.testing.assert_allclose(
        jnp.fft.rfft2(jnp.fft.ifftshift(images.sum(axis=1), (1, 2))), whole, atol=2e-4
    )


def test_one_slab_is_the_eikonal() -> None:
    volume = molecule(30.0)
    wave = multislice(volume, ROTATION, 300.0, slabs=1, amplitude_contrast=0.1)
    half = project(volume, ROTATION, GRID)
    phase = jnp.fft.fftshift(jnp.fft.irfft2(half, s=(32, 32)), (1, 2)) * FACTOR
    np.testing.assert_allclose(wave, exit_wave(phase, Optics(), "eikonal"), atol=1e-4)


def test_weak_specimens_scatter_once() -> None:
    """Many slabs of a faint thick specimen give the image of the Ewald sphere, and not a flat one.

    What is left, 1e-3, are slabs of finite thickness and what scatters twice.
    """
    base = molecule(2.0)
    volume = GaussianVolume(base.position * jnp.array([[1.0, 1.0, 30.0]]), *base.gaussians[1:])
    upright = jnp.eye(3)[None]
    wave = multislice(volume, upright, 100.0, slabs=60, depth=720.0, amplitude_contrast=0.1)
    optics = Optics(6000.0, voltage=100.0, amplitude_contrast=0.1)
    found = wave_contrast(wave, optics, GRID)
    factor = float(interaction_factor(jnp.float32(100.0)))
    plus, minus = (x * factor for x in project_ewald(volume, upright, GRID, 100.0))
    expected = ewald_contrast(plus, minus, optics, GRID)
    flat = linear_contrast(project(volume, upright, GRID) * factor, optics, GRID)
    print(difference(found, expected), difference(found, flat))
    assert difference(found, expected) < 5e-3
    assert difference(found, flat) > 0.05


def test_propagation_keeps_the_number_of_electrons() -> None:
    """Without absorption the mean intensity stays 1, while the wave itself changes much."""
    volume = molecule(400.0)
    wave = multislice(volume, ROTATION, 300.0, slabs=6)
    print(jnp.mean(jnp.abs(wave) ** 2, axis=(1, 2)), jnp.max(jnp.abs(wave - 1)))
    np.testing.assert_allclose(jnp.mean(jnp.abs(wave) ** 2, axis=(1, 2)), 1, atol=1e-4)
    assert float(jnp.max(jnp.abs(wave - 1))) > 0.3


def test_the_propagator_is_that_of_free_space() -> None:
    """`exp(−iπλk²Δz)`, and the ⅔ limit, at three frequencies; two steps are one of twice."""
    wave = propagator(GRID, 300.0, 500.0)
    wavelength = float(electron_wavelength(jnp.float32(300.0)))
    k = np.array([0, 3, 6]) / (32 * 1.5)
    np.testing.assert_allclose(
        wave[0, [0, 3, 6]], np.exp(-1j * np.pi * wavelength * k**2 * 500), atol=1e-5
    )
    assert float(jnp.abs(wave[0, 10])) == pytest.approx(1)
    assert float(jnp.abs(wave[0, 11])) == 0
    np.testing.assert_allclose(wave * wave, propagator(GRID, 300.0, 1000.0), atol=1e-5)


def test_gradients_reach_the_atoms_through_multiple_scattering() -> None:
    volume = molecule(30.0)

    def loss(position: jax.Array) -> jax.Array:
        moved = GaussianVolume(position, volume.amplitude, volume.variance, volume.widths)
        wave = exit_wave_multislice(moved, ROTATION[:1], ImageGrid(16, 3.0), 300.0, 3)
        return jnp.sum(wave.imag[0, :6] ** 2)

    slope = jax.jit(jax.grad(loss))(volume.position)
    direction = jax.random.normal(jax.random.key(2), slope.shape)
    run = jax.jit(loss)
    step = 0.05
    expected = run(volume.position + step * direction) - run(volume.position - step * direction)
    np.testing.assert_allclose(jnp.sum(slope * direction), expected / (2 * step), rtol=2e-2)
