"""Theories of contrast against their common limit, energy, and a scatterer off the mid-plane."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.geometry.fourier import half_plane
from vitreous.imaging.ctf import electron_wavelength
from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.optics.lens import Optics
from vitreous.imaging.optics.transfer import (
    ewald_contrast,
    exit_wave,
    linear_contrast,
    wave_contrast,
    wave_intensity,
    whole_plane,
)

WAVELENGTH = electron_wavelength(np.array([300.0]))[0]


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def every_aberration(**changes) -> Optics:
    fields = {
        "defocus_u": [9000.0, 14000.0],
        "defocus_v": [8000.0, 14500.0],
        "defocus_angle": 30.0,
        "amplitude_contrast": 0.1,
        "phase_shift": 40.0,
        "bfactor": 30.0,
        "scale": 0.8,
        "beam_tilt": [0.3, -0.2],
        "odd_zernike": [0.0, 0.0, 5.0],
        "even_zernike": [0.1, 2.0],
    }
    return Optics(**(fields | changes))


def blobs(box: int) -> jax.Array:
    """Two smooth, different phases of order 1, band-limited well below Nyquist."""
    x = np.arange(box) - box // 2
    first = np.exp(-((x[:, None] - 2) ** 2 + (x[None] + 1) ** 2) / 18)
    second = np.exp(-(x[:, None] ** 2) / 8 - (x[None] - 1) ** 2 / 12)
    return jnp.asarray(np.stack([first, second - 0.5 * first]))


@pytest.mark.parametrize(("box", "theory"), [(31, "weak-phase"), (32, "eikonal")])
def test_waves_of_weak_phases_are_linear(box: int, theory: str):
    """The relative difference is of the order of the phase, so it falls tenfold with it."""
    grid, optics = ImageGrid(box, 1.5), every_aberration()
    heights = jnp.array([0.0, 300.0])

    @jax.jit
    def difference(phase):
        linear = linear_contrast(half_plane(phase), optics, grid, heights)
        wave = wave_contrast(exit_wave(phase, optics, theory), optics, grid, heights)
        return jnp.linalg.norm(wave - linear) / jnp.linalg.norm(linear)

    errors = [float(difference(size * blobs(box))) for size in (1e-3, 1e-4)]
    assert errors[0] < 3e-3
    assert errors[1] == pytest.approx(errors[0] / 10, rel=0.05)


def test_eikonal_and_weak_phase_differ_in_second_order():
    optics = every_aberration()
    ratio = []
    for size in (1e-2, 1e-3):
        phase = size * blobs(32)
        first, second = (exit_wave(phase, optics, t) for t in ("weak-phase", "eikonal"))
        ratio.append(float(jnp.linalg.norm(first - second)))
    assert ratio[1] == pytest.approx(ratio[0] / 100, rel=0.02)


def test_a_lens_without_absorption_loses_no_electron():
    """Σ|ψ|² is conserved if α = 0: every phase factor is unitary."""
    grid = ImageGrid(32, 1.5)
    plain = {"amplitude_contrast": 0.0, "phase_shift": 0.0, "bfactor": 0.0, "scale": 1.0}
    optics = every_aberration(**plain, even_zernike=[0.0, 2.0])
    wave = exit_wave(2 * blobs(32), optics, "eikonal")
    np.testing.assert_allclose(jnp.abs(wave), 1, rtol=1e-12)
    intensity = wave_intensity(wave, optics, grid)
    np.testing.assert_allclose(jnp.mean(intensity, axis=(1, 2)), 1, rtol=1e-12)


def test_absorption_darkens():
    """|exp(i(√(1−w²) + iw)η)|² = exp(−2wη)."""
    phase = blobs(32)
    optics = Optics(amplitude_contrast=0.2)
    wave = exit_wave(phase, optics, "eikonal")
    np.testing.assert_allclose(jnp.abs(wave) ** 2, jnp.exp(-0.4 * phase), rtol=1e-12)


def test_dark_and_white_are_one_physics():
    """The linear theory gives the physical sign whatever the optics show: −w η at DC."""
    grid = ImageGrid(16, 2.0)
    phase = half_plane(1e-3 * blobs(16))
    for contrast in ("white", "dark"):
        image = linear_contrast(phase, Optics(amplitude_contrast=0.1, contrast=contrast), grid)
        np.testing.assert_allclose(image[:, 0, 0], -0.1 * phase[:, 0, 0], rtol=1e-10)


def sphere(place: np.ndarray, grid: ImageGrid, sign: int) -> jax.Array:
    """Transform a point scatterer on the Ewald sphere, at kz = ±λk²/2."""
    k = np.asarray(grid.frequencies())
    kz = sign * 0.5 * WAVELENGTH * np.sum(k * k, axis=-1)
    turns = k[..., 0] * place[0] + k[..., 1] * place[1] + kz * place[2]
    return jnp.asarray(np.exp(-2j * np.pi * turns))


@pytest.mark.parametrize("height", [250.0, -400.0])
def test_a_scatterer_off_the_middle_is_defocused(height: float):
    """On the Ewald sphere a point at height z has the CTF of defocus Δf + z, exactly."""
    grid, place = ImageGrid(24, 1.2), np.array([3.0, -2.0, height])
    optics = every_aberration(defocus_u=9000.0, defocus_v=8000.0)
    curved = ewald_contrast(
        sphere(place, grid, 1)[None], sphere(place, grid, -1)[None], optics, grid
    )
    flat = sphere(place * [1, 1, 0], grid, 1)[None]
    raised = linear_contrast(flat, optics, grid, jnp.array([height]))
    np.testing.assert_allclose(curved, raised, atol=1e-9)
    # And so has its wave, carried from its plane to the middle by Fresnel's propagator.
    k = np.asarray(whole_plane(grid))
    spread = np.exp(1j * np.pi * WAVELENGTH * height * np.sum(k * k, axis=-1))[None]
    phase = 1e-5 * blobs(24)[:1]
    carried = 1 + jnp.fft.ifft2(jnp.fft.fft2(exit_wave(phase, optics, "weak-phase") - 1) * spread)
    wave = wave_contrast(carried, optics, grid)
    linear = linear_contrast(half_plane(phase), optics, grid, jnp.array([height]))
    np.testing.assert_allclose(wave, linear, atol=1e-4 * float(jnp.abs(linear).max()))
