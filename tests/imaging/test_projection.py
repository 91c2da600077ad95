"""Every way from a volume to its projections against the closed form for Gaussians."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_truth import exact, exact_of, phantom, relative_error

from vitreous.geometry.fourier import image_from_half_plane
from vitreous.geometry.rotations import random_rotations, rotation_vector_to_matrix
from vitreous.imaging import (
    DiscreteEnsemble,
    FourierVolume,
    GaussianVolume,
    NeuralVolume,
    Volume,
    VoxelVolume,
)
from vitreous.imaging.fourier_grid import volume_to_grid
from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.projection.project import project
from vitreous.imaging.projection.spreading import add_at_once, add_one_by_one
from vitreous.imaging.volumes.ensemble import Conformations

ROTATION = random_rotations(jax.random.key(0), 3)
STEP = 1.5
# The method and the error each may have: what interpolation or cut-off leaves, and little more.
LIMITS = {
    "separable": ("separable", 5e-7),
    "spread": ("spread", 1e-4),
    "term by term": ("slice", 5e-7),
    "nufft of Gaussians": ("nufft", 1e-5),
    "linear": ("slice", 3e-2),
    "cubic": ("slice", 5e-4),
    "voxels": ("slice", 3e-3),
    "nufft of voxels": ("nufft", 1e-4),
    # Unlike that of voxels its transform goes on, periodically, beyond their Nyquist frequency.
    "nufft of a cloud": ("nufft", 5e-3),
    "function": ("integrate", 1e-4),
}


@contextmanager
def as_others_write() -> Iterator[None]:
    """Let other libraries mix types and ranks, as JAX does by default."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def density(x: jax.Array) -> jax.Array:
    """The phantom as a function of space."""
    volume = phantom()
    square = jnp.sum((x[:, None] - volume.position[None]) ** 2, axis=-1)
    scale = volume.amplitude[:, 0] / (2 * np.pi * 4.0) ** 1.5
    return jnp.sum(scale[None] * jnp.exp(-square / 8.0), axis=-1)


@pytest.fixture(scope="module", params=[24, 25])
def volumes(request: pytest.FixtureRequest) -> tuple[int, dict[str, Volume]]:
    box, gaussians = request.param, phantom()
    voxels = NeuralVolume(density, box, STEP).to_voxels(box, STEP)
    return box, {
        "separable": gaussians,
        "spread": gaussians,
        "term by term": gaussians,
        "nufft of Gaussians": gaussians,
        "linear": voxels.to_fourier("linear", padding=1.5),
        "cubic": voxels.to_fourier("cubic", padding=1.5),
        "voxels": voxels,
        "nufft of voxels": voxels,
        "nufft of a cloud": voxels.to_cloud(1e-7),
        "function": NeuralVolume(density, box, STEP),
    }


@pytest.mark.parametrize("name", LIMITS)
def test_all_projectors_agree(volumes: tuple[int, dict[str, Volume]], name: str) -> None:
    """At random poses, on even and odd boxes."""
    box, known = volumes
    method, limit = LIMITS[name]
    if method == "nufft":
        pytest.importorskip("nufftax")
    grid = ImageGrid(box, STEP)
    with as_others_write():
        found = jax.jit(lambda v: project(v, ROTATION, grid, method))(known[name])
    assert found.shape == (3, box, box // 2 + 1)
    assert relative_error(found, exact_of(phantom(), ROTATION, grid)) < limit


@pytest.mark.parametrize(("box", "pixel"), [(32, 1.3), (15, 2.5)])
def test_grids_of_any_sampling(box: int, pixel: float) -> None:
    """A volume has its own voxels: images may be coarser, finer, wider."""
    grid = ImageGrid(box, pixel)
    voxels = VoxelVolume(density_map(), STEP).to_fourier("cubic", padding=1.5)
    found = jax.jit(lambda v: project(v, ROTATION, grid))(voxels)
    assert relative_error(found, exact_of(phantom(), ROTATION, grid)) < 1e-3


def density_map() -> jax.Array:
    return NeuralVolume(density, 24, STEP).to_voxels(24, STEP).density


@pytest.mark.parametrize("sigma", [0.0, 0.4, 1.0, 3.0])
def test_spreading_is_exact_for_every_width(sigma: float) -> None:
    """Narrow ones drawn wider and sharpened: from points to three pixels, and a mixture."""
    base, grid = phantom(radius=9.0), ImageGrid(25, STEP)
    variance = jnp.where(jnp.arange(12)[:, None] < 6, sigma**2, sigma**2 + 0.5)
    volume = GaussianVolume(base.position, base.amplitude, variance.astype(jnp.float32))
    found = jax.jit(lambda v: project(v, ROTATION, grid, "spread"))(volume)
    assert relative_error(found, exact_of(volume, ROTATION, grid)) < 3e-4


def test_accelerators_spread_the_same_way() -> None:
    """What they run, one scatter, against what a CPU runs, here on whatever there is."""
    rng = np.random.default_rng(3)
    x, y = (jnp.asarray(rng.integers(0, 20, 30), jnp.int32) for _ in range(2))
    rows, columns = (jnp.asarray(rng.normal(size=(30, 5)), jnp.float32) for _ in range(2))
    once, each = (f(x, y, rows, columns, 25) for f in (add_at_once, add_one_by_one))
    np.testing.assert_allclose(once, each, atol=1e-5)


@pytest.mark.parametrize("backend", ["nufftax", "jax-finufft"])
def test_nufft_of_mixed_widths(backend: str) -> None:
    """Widths between nodes are interpolated, to 1e-5."""
    pytest.importorskip(backend.replace("-", "_"))
    from vitreous.imaging.projection.nufft import project_by_nufft

    base, grid = phantom(), ImageGrid(24, STEP)
    variance = jnp.linspace(0.0, 3.0, 24).reshape(12, 2)
    volume = GaussianVolume(base.position, jnp.ones((12, 2)), variance)
    run = jax.jit(lambda v, r: project_by_nufft(v.gaussians, r, grid, v.widths, backend))
    expected = exact(volume.position, volume.amplitude, variance, ROTATION, grid)
    with as_others_write():
        assert relative_error(run(volume, ROTATION), expected) < 1e-5


def test_what_does_not_fit_wraps_unless_padded() -> None:
    """A molecule beyond the edge: with padding its images are cut, as a camera would."""
    grid, wide = ImageGrid(16, STEP), ImageGrid(48, STEP)
    volume = phantom(radius=14.0)
    run = jax.jit(lambda v: project(v, ROTATION, grid, padding=2.0))
    found = image_from_half_plane(run(volume), 16)
    whole = jnp.asarray(exact_of(volume, ROTATION, wide))
    np.testing.assert_allclose(found, image_from_half_plane(whole, 48)[:, 16:32, 16:32], atol=1e-4)


@pytest.mark.parametrize("method", ["separable", "spread", "nufft", "slice"])
def test_gradients_of_gaussians(method: str) -> None:
    """Position, amplitude, variance and pose, against differences of the closed form."""
    if method == "nufft":
        pytest.importorskip("nufftax")
    volume, grid = phantom(), ImageGrid(12, 3.0)
    rng = np.random.default_rng(1)
    pattern = rng.normal(size=(1, 12, 7)) + 1j * rng.normal(size=(1, 12, 7))
    pattern[:, :, -1] = 0
    given = [np.asarray(x) for x in (volume.position, volume.amplitude, volume.variance)]
    given.append(np.array([[20.0, -30.0, 50.0]], np.float32))
    pattern32 = jnp.asarray(pattern, jnp.complex64)

    @jax.jit
    @jax.grad
    def slope(values: list[jax.Array]) -> jax.Array:
        *fields, vector = values
        moved = GaussianVolume(*fields, volume.widths)
        half = project(moved, rotation_vector_to_matrix(vector), grid, method)
        return jnp.sum((half * pattern32.conj()).real)

    def truth(values: list[np.ndarray]) -> float:
        *fields, vector = (np.asarray(x, np.float64) for x in values)
        half = exact(*fields, rotation_vector_to_matrix(vector), grid)
        return float(np.sum((half * pattern.conj()).real))

    with as_others_write():
        found = slope([jnp.asarray(x) for x in given])
    for i, value in enumerate(given):
        direction = rng.normal(size=value.shape)
        step = 1e-4 * max(1, np.abs(value).max())
        ends = [[*given[:i], value + s * step * direction, *given[i + 1 :]] for s in (1, -1)]
        expected = (truth(ends[0]) - truth(ends[1])) / (2 * step)
        size = np.linalg.norm(found[i]) * np.linalg.norm(direction)
        assert abs(np.sum(np.asarray(found[i]) * direction) - expected) < 1e-3 * size


def test_gradients_of_the_pose_of_voxels() -> None:
    """By a non-uniform transform, against the closed form's slope; slices have their own test."""
    pytest.importorskip("nufftax")
    grid, volume = ImageGrid(24, STEP), VoxelVolume(density_map(), STEP)
    angles = np.array([[20.0, -30.0, 50.0]], np.float32)
    target = exact_of(phantom(), rotation_vector_to_matrix(angles + 4), grid)

    def loss(angles: jax.Array) -> jax.Array:
        half = project(volume, rotation_vector_to_matrix(angles), grid, "nufft")
        return jnp.sum(jnp.abs(half - target) ** 2)

    with as_others_write():
        found = np.asarray(jax.jit(jax.grad(loss))(jnp.asarray(angles)))[0]

    def truth(a: np.ndarray) -> float:
        half = exact_of(phantom(), rotation_vector_to_matrix(a), grid)
        return float(np.sum(np.abs(half.astype(np.complex128) - target) ** 2))

    expected = [(truth(angles + s) - truth(angles - s)) / 0.4 for s in 0.2 * np.eye(3)]
    np.testing.assert_allclose(found, expected, atol=1e-2 * np.linalg.norm(expected))


@pytest.mark.parametrize("name", ["linear", "nufft of voxels", "spread", "separable"])
def test_projection_and_back_projection_are_adjoint(name: str) -> None:
    """`⟨A x, y⟩ = ⟨x, Aᵀ y⟩`: from voxels, or amplitudes, to half planes and back."""
    grid, rng = ImageGrid(13, STEP), np.random.default_rng(2)
    gaussians = phantom()

    def project_to(x: jax.Array) -> jax.Array:
        if name in ("spread", "separable"):
            volume: Volume = GaussianVolume(gaussians.position, x, gaussians.variance)
            return project(volume, ROTATION, grid, name)
        if name == "nufft of voxels":
            return project(VoxelVolume(x, STEP), ROTATION, grid, "nufft")
        return project(FourierVolume(volume_to_grid(x, 1.0, name), STEP), ROTATION, grid)

    if name == "nufft of voxels":
        pytest.importorskip("nufftax")
    shape = gaussians.amplitude.shape if name in ("spread", "separable") else (12, 12, 12)
    x = jnp.asarray(rng.normal(size=shape), jnp.float32)

    @jax.jit
    def both(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        half, back = jax.vjp(project_to, x)
        return jnp.sum((half * y).real), jnp.sum(x * back(y)[0])

    y = rng.normal(size=(3, 13, 7)) + 1j * rng.normal(size=(3, 13, 7))
    with as_others_write():
        forward, backward = both(x, jnp.asarray(y, jnp.complex64))
    np.testing.assert_allclose(forward, backward, rtol=1e-4)


def test_batched_is_looped() -> None:
    """One pose after another, under vmap, and all at once, for a grid and for Gaussians."""
    grid = ImageGrid(16, 2.0)
    for volume in (phantom(), phantom().to_voxels(16, 2.0).to_fourier("linear")):
        run = jax.jit(lambda v, r: project(v, r, grid))
        at_once = run(volume, ROTATION)
        looped = jnp.concatenate([run(volume, r[None]) for r in ROTATION])
        mapped = jax.jit(jax.vmap(lambda r, v=volume: project(v, r[None], grid)[0]))(ROTATION)
        np.testing.assert_allclose(at_once, looped, atol=1e-5)
        np.testing.assert_allclose(at_once, mapped, atol=1e-5)


def test_a_choice_that_is_not_offered() -> None:
    with pytest.raises(ValueError, match="projects by 'slice' or 'auto', not by 'spread'"):
        project(FourierVolume.of(jnp.ones((4, 4, 4)), 1.0), ROTATION, ImageGrid(4, 1.0), "spread")
    with pytest.raises(ValueError, match="must know widths and pixel size"):
        jax.jit(lambda g: project(phantom(), ROTATION, g, "spread"))(ImageGrid(8, 3.0))
    assert isinstance(DiscreteEnsemble([phantom()]).at(0), Conformations)


def test_warnings_name_the_loss(caplog: pytest.LogCaptureFixture) -> None:
    """Pixels finer than voxels; images smaller than map or molecule."""
    grids = FourierVolume.of(jnp.ones((8, 8, 8)), 2.0)
    with caplog.at_level(logging.WARNING):
        grids.check(ImageGrid(16, 1.0))
        assert "finer than 4 Å" in caplog.text
        caplog.clear()
        grids.check(ImageGrid(4, 2.0))
        assert "smaller than the map of 16 Å" in caplog.text
        # Half of the sphere's density lies beyond half its radius, and more.
        lost = re.search(r"([0-9.]+) % of its density", caplog.text)
        assert lost is not None
        assert float(lost[1]) == pytest.approx(100 * (1 - 1 / 8), abs=6)
        caplog.clear()
        jax.jit(lambda v: project(VoxelVolume(v, 2.0), ROTATION, ImageGrid(4, 2.0)))(
            jnp.ones((8, 8, 8))
        )
        assert "what does not fit wraps" in caplog.text
        VoxelVolume(jnp.zeros((8, 8, 8)).at[4, 4, 4].set(1.0), 2.0).check(ImageGrid(4, 2.0))
        caplog.clear()
        base = phantom(radius=10.0)
        jax.jit(lambda v: project(base, v, ImageGrid(8, 1.5)))(ROTATION)
        assert "% of the molecule lies outside the circle of 12 Å" in caplog.text
        caplog.clear()
        grids.check(ImageGrid(8, 2.0))
        base.check(ImageGrid(24, 1.5))
        assert caplog.text == ""
