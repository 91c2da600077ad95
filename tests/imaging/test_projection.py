"""Every way from a volume to its projections against the analytic transform of Gaussians."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.geometry.rotations import random_rotations
from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.projection.project import project, self_conjugate
from vitreous.imaging.volumes import (
    GaussianVolume,
    NeuralVolume,
    Volume,
)

ROTATION = random_rotations(jax.random.key(0), 3)
STEP = 1.5


def phantom(count: int = 12, sigma: float = 2.0, radius: float = 7.0) -> GaussianVolume:
    """Gaussians wide enough for voxels to show them, well inside a box of 24 voxels."""
    rng = np.random.default_rng(0)
    position = rng.normal(size=(count, 3))
    position *= (
        radius * rng.random((count, 1)) ** (1 / 3) / np.linalg.norm(position, axis=1, keepdims=True)
    )
    amplitude = rng.normal(2.0, 0.5, size=(count, 1))
    variance = np.full((count, 1), sigma**2)
    return GaussianVolume(*(jnp.asarray(x, jnp.float32) for x in (position, amplitude, variance)))


def exact(volume: GaussianVolume, rotation: jax.Array, grid: ImageGrid) -> np.ndarray:
    """`Σ A exp(−2π²σ²k²) exp(−2πi k·x) / pixel²`, in double precision, written out here."""
    n, pixel = grid.box, float(grid.pixel_size)
    ky, kx = np.fft.fftfreq(n, pixel), np.arange(n // 2 + 1) / (n * pixel)
    k = np.stack(np.meshgrid(ky, kx, indexing="ij")[::-1], axis=-1)
    lab = np.einsum("bij,mj->bmi", np.float64(rotation), np.float64(volume.position))[..., :2]
    decay = np.exp(-2 * np.pi**2 * np.sum(k * k, -1)[..., None, None] * np.float64(volume.variance))
    form = np.sum(np.float64(volume.amplitude) * decay, axis=-1)
    phases = np.exp(-2j * np.pi * np.einsum("yxd,bmd->byxm", k, lab))
    half = np.sum(form * phases, axis=-1) / pixel**2
    return np.asarray(self_conjugate(jnp.asarray(half, jnp.complex64), n))


def error(found: jax.Array, expected: np.ndarray) -> float:
    return float(np.linalg.norm(np.asarray(found) - expected) / np.linalg.norm(expected))


def network(x: jax.Array) -> jax.Array:
    """The phantom as a function of space."""
    volume = phantom()
    square = jnp.sum((x[:, None] - volume.position[None]) ** 2, axis=-1)
    scale = volume.amplitude[:, 0] / (2 * np.pi * 4.0) ** 1.5
    return jnp.sum(scale[None] * jnp.exp(-square / 8.0), axis=-1)


def volumes(box: int) -> dict[str, tuple[Volume, str, float]]:
    """Each kind of volume, the method, and the error it may have."""
    gaussians = phantom()
    voxels = NeuralVolume(network, box, STEP).to_voxels(box, STEP)
    linear, cubic = (voxels.to_fourier(kernel, padding=1.5) for kernel in ("linear", "cubic"))
    return {
        "separable": (gaussians, "separable", 3e-6),
        "spread": (gaussians, "spread", 5e-4),
        "slice, Gaussians": (gaussians, "slice", 3e-6),
        "nufft, Gaussians": (gaussians, "nufft", 3e-5),
        "linear": (linear, "slice", 3e-2),
        "cubic": (cubic, "slice", 1e-3),
        "voxels": (voxels, "slice", 1e-2),
        "nufft, voxels": (voxels, "nufft", 2e-4),
        # Unlike the voxels' own transform it goes on, periodically, beyond their Nyquist frequency.
        "cloud": (voxels.to_cloud(1e-7), "nufft", 5e-3),
        "function": (NeuralVolume(network, box, STEP), "integrate", 2e-4),
    }


@pytest.mark.parametrize("box", [24, 25])
@pytest.mark.parametrize("name", volumes(2))
def test_all_projectors_agree(name: str, box: int) -> None:
    """At random poses; limits are what interpolation and cut-off leave, none is loose by design."""
    if "nufft" in (volumes(2)[name][1]):
        pytest.importorskip("nufftax")
    volume, method, limit = volumes(box)[name]
    grid = ImageGrid(box, STEP)
    found = jax.jit(lambda v: project(v, ROTATION, grid, method))(volume)
    assert found.shape == (3, box, box // 2 + 1)
    print(name, box, error(found, exact(phantom(), ROTATION, grid)))
    assert error(found, exact(phantom(), ROTATION, grid)) < limit
