"""A phantom of Gaussians and its projections in closed form, double precision and plain NumPy."""

import jax.numpy as jnp
import numpy as np

from vitreous.imaging import GaussianVolume
from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.projection.project import self_conjugate


def phantom(count: int = 12, sigma: float = 2.0, radius: float = 7.0) -> GaussianVolume:
    """Gaussians wide enough for voxels of 1.5 Å to show them, well inside 24 of these."""
    rng = np.random.default_rng(0)
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    position = direction * radius * rng.random((count, 1)) ** (1 / 3)
    amplitude = rng.normal(2.0, 0.5, size=(count, 1))
    variance = np.full((count, 1), sigma**2)
    return GaussianVolume(*(jnp.asarray(x, jnp.float32) for x in (position, amplitude, variance)))


def exact(
    position: np.ndarray,
    amplitude: np.ndarray,
    variance: np.ndarray,
    rotation: np.ndarray,
    grid: ImageGrid,
) -> np.ndarray:
    """Return `Σ A exp(−2π²σ²k²) exp(−2πi k·x) / pixel²` on half planes."""
    fields = (position, amplitude, variance, rotation)
    position, amplitude, variance, rotation = (np.asarray(x, np.float64) for x in fields)
    n, pixel = grid.box, float(grid.pixel_size)
    ky, kx = np.fft.fftfreq(n, pixel), np.arange(n // 2 + 1) / (n * pixel)
    k = np.stack(np.meshgrid(ky, kx, indexing="ij")[::-1], axis=-1)
    lab = np.einsum("bij,mj->bmi", rotation, position)[..., :2]
    decay = np.exp(-2 * np.pi**2 * np.sum(k * k, -1)[..., None, None] * variance)
    form = np.sum(amplitude * decay, axis=-1)
    phases = np.exp(-2j * np.pi * np.einsum("yxd,bmd->byxm", k, lab))
    return np.sum(form * phases, axis=-1) / pixel**2


def exact_of(volume: GaussianVolume, rotation, grid: ImageGrid) -> np.ndarray:
    """Return the half planes of a volume, their Nyquist column as `project` has it."""
    half = exact(volume.position, volume.amplitude, volume.variance, rotation, grid)
    return np.asarray(self_conjugate(jnp.asarray(half, jnp.complex64), grid.box))


def relative_error(found, expected) -> float:
    return float(np.linalg.norm(np.asarray(found) - expected) / np.linalg.norm(expected))
