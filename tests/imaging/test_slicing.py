"""Central slices against analytic Gaussians, the adjoint identity and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.geometry.fourier import (
    frequencies,
    half_plane,
    half_space,
    image_from_half_plane,
    volume_from_half_space,
)
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.rotations import euler_to_matrix, random_rotations
from vitreous.geometry.shift import crop_centered
from vitreous.imaging.fourier_grid import (
    FourierGrid,
    fold_table,
    guarded_table,
    half_space_of_grid,
    volume_to_grid,
)
from vitreous.imaging.gaussians import GaussianAtoms, gaussian_map, project_gaussians
from vitreous.imaging.slicing import (
    insert_window,
    interpolation_window,
    read_window,
    rotated_frequencies,
    slice_grid,
)

cut = jax.jit(slice_grid)
to_grid = jax.jit(volume_to_grid, static_argnums=(1, 2, 3))
find_window = jax.jit(interpolation_window, static_argnums=(1, 2))
read, insert = jax.jit(read_window), jax.jit(insert_window)
fold = jax.jit(fold_table, static_argnums=1)


def molecule(radius: float, sigma: float, count: int = 300) -> GaussianAtoms:
    rng = np.random.default_rng(0)
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    position = direction * radius * rng.random((count, 1)) ** (1 / 3)
    ones = np.ones((count, 1), np.float32)
    return GaussianAtoms(position.astype(np.float32), ones, ones * np.float32(sigma**2))


def images_of(grid: FourierGrid, rotation: jax.Array) -> jax.Array:
    """Slice at the padded sampling, transform and crop, so that aliases in the padding go."""
    padded, box = grid.shape.box, grid.box
    k = jnp.asarray(frequencies(padded, 2, half=True).reshape(-1, 2)) * (box / padded)
    half = cut(grid, rotation, k).reshape(len(rotation), padded, -1)
    return crop_centered(image_from_half_plane(half, padded), box, 2)


@pytest.mark.parametrize(
    ("kernel", "padding", "limit"),
    [
        ("linear", 1.0, 7.2e-2),
        ("linear", 2.0, 7.8e-3),
        ("cubic", 1.0, 3.2e-3),
        ("cubic", 1.25, 8.5e-4),
        ("kaiser", 1.0, 8.2e-4),
        ("kaiser", 1.25, 8.2e-4),
    ],
)
def test_accuracy_reaches_the_reference(kernel: str, padding: float, limit: float) -> None:
    """Relative L2 to the exact projection at 128², 1.5 Å, 300 Gaussians of 2 Å within 50 Å.

    The limits are what cryojax 0.6 reaches on a like molecule (its best: 7.1e-2, 7.8e-3, 3.2e-3,
    8.2e-4).
    """
    atoms = molecule(50.0, 2.0)
    rotation = random_rotations(jax.random.key(0), 6)
    volume = gaussian_map(atoms, 128, 1.5, sampling="point")
    expected = project_gaussians(atoms, rotation, 128, 1.5, sampling="point") / 1.5
    images = images_of(to_grid(volume, padding, kernel), rotation)
    assert float(jnp.linalg.norm(images - expected) / jnp.linalg.norm(expected)) < limit


@pytest.mark.parametrize("box", [24, 25])
@pytest.mark.parametrize("kernel", ["linear", "cubic", "kaiser"])
def test_odd_and_even_boxes(box: int, kernel: str) -> None:
    """A compact molecule in any pose; the limits just hold the errors of both parities."""
    atoms = molecule(10.0, 2.5, 20)
    rotation = random_rotations(jax.random.key(1), 5)
    volume = gaussian_map(atoms, box, 2.0, sampling="point")
    expected = project_gaussians(atoms, rotation, box, 2.0, sampling="point") / 2.0
    images = images_of(to_grid(volume, 1.0, kernel), rotation)
    error = jnp.linalg.norm(images - expected) / jnp.linalg.norm(expected)
    assert float(error) < {"linear": 0.07, "cubic": 0.003, "kaiser": 0.002}[kernel]


@pytest.mark.parametrize("box", [10, 11])
def test_quarter_turns_are_exact(box: int) -> None:
    """Rotated by multiples of 90° the samples hit grid points: the slice is the axis sum."""
    rng = np.random.default_rng(2)
    volume = rng.normal(size=(box, box, box)).astype(np.float32)
    grid = to_grid(jnp.asarray(volume), 1.0, "linear", keep_corners=True)
    corrected = np.asarray(volume_from_half_space(half_space_of_grid(grid), box))
    pixels = FourierPixels(box, (box - 1) // 2, min_shell=0)
    quarter = euler_to_matrix(
        jnp.array([[0.0, 0.0, 0.0], [0.0, 90.0, 0.0], [-90.0, -90.0, 90.0], [0.0, 0.0, 90.0]])
    )
    slices = cut(grid, quarter, jnp.asarray(pixels.frequency))
    along = half_plane(jnp.asarray(corrected.sum(axis=0)))
    np.testing.assert_allclose(slices[0], pixels.gather(along), atol=2e-3)
    if box % 2:
        # x_image = R x: a quarter turn in psi sends x to −y, y to x.
        turned = half_plane(jnp.asarray(np.rot90(corrected.sum(axis=0)).copy()))
        np.testing.assert_allclose(slices[3], pixels.gather(turned), atol=2e-3)


def test_hand_and_axes() -> None:
    """An atom on +x, turned by psi = 90° (RELION), shows at −y; one on +z with tilt 90° at −x."""
    one = np.ones((1, 1), np.float32)
    k = jnp.asarray(frequencies(16, 2, half=True).reshape(-1, 2))
    for place, angles, expected in [
        ([4.0, 0.0, 0.0], [0.0, 0.0, 90.0], (0, -4)),
        ([0.0, 0.0, 4.0], [0.0, 90.0, 0.0], (-4, 0)),
        ([0.0, 4.0, 0.0], [90.0, 0.0, 0.0], (4, 0)),
    ]:
        atoms = GaussianAtoms(np.array([place], np.float32), one, one)
        volume = gaussian_map(atoms, 16, 1.0)
        rotation = euler_to_matrix(jnp.array([angles]))
        half = cut(to_grid(volume, 1.0, "cubic"), rotation, k)
        image = image_from_half_plane(half.reshape(1, 16, 9), 16)[0]
        row, column = np.unravel_index(int(jnp.argmax(image)), (16, 16))
        assert (column - 8, row - 8) == expected


@pytest.mark.parametrize("box", [9, 10])
@pytest.mark.parametrize("kernel", ["linear", "cubic"])
def test_insertion_is_the_adjoint_of_reading(box: int, kernel: str) -> None:
    """⟨A x, y⟩ = ⟨x, Aᵀ y⟩ in real arithmetic, to rounding."""
    rng = np.random.default_rng(3)
    volume = jnp.asarray(rng.normal(size=(box, box, box)), jnp.float32)
    grid = to_grid(volume, 1.0, kernel)
    k = jnp.asarray(FourierPixels(box, (box - 1) // 2, min_shell=0).frequency)
    rotation = random_rotations(jax.random.key(3), 4)
    window = find_window(rotated_frequencies(rotation, k), grid.shape, kernel)
    y = jnp.asarray(rng.normal(size=(4, len(k), 2)), jnp.float32)
    y = jax.lax.complex(y[..., 0], y[..., 1])
    seen = read(grid.values, window)
    inserted = insert(jnp.zeros_like(grid.values), window, y)
    forward = jnp.sum(seen.real * y.real + seen.imag * y.imag)
    backward = jnp.sum(grid.values * inserted)
    np.testing.assert_allclose(forward, backward, rtol=2e-5)
    if kernel == "cubic":
        return
    # JAX's own transpose says the same, entry by entry.
    transpose = jax.linear_transpose(lambda t: read_window(t, window), grid.values)
    (automatic,) = jax.jit(transpose)(y.conj())
    np.testing.assert_allclose(automatic, inserted, atol=1e-4)


@pytest.mark.parametrize("box", [6, 7])
@pytest.mark.parametrize("guard", [0, 1])
def test_guards_hold_periodic_and_friedel_images(box: int, guard: int) -> None:
    volume = np.random.default_rng(4).normal(size=(box, box, box)).astype(np.float32)
    grid = to_grid(jnp.asarray(volume), 1.0, ["linear", "cubic"][guard])
    half = half_space_of_grid(grid)
    corrected = np.asarray(volume_from_half_space(half, box), np.float64)
    shape = grid.shape
    table = np.asarray(grid.values).reshape(shape.rows, shape.rows, shape.columns, 2)
    x = np.arange(box) - box // 2
    along = np.exp(-2j * np.pi * np.outer(np.arange(shape.rows) - shape.offset, x) / box)
    across = np.exp(-2j * np.pi * np.outer(np.arange(shape.columns) - guard, x) / box)
    expected = np.einsum("zyx,az,by,cx->abc", corrected, along, along, across)
    np.testing.assert_allclose(table[..., 0] + 1j * table[..., 1], expected, atol=1e-3)


@pytest.mark.parametrize("box", [6, 7])
def test_folding_inserts_every_datum_and_its_mate(box: int) -> None:
    """Insert points into the whole space by brute force and compare the half space."""
    rng = np.random.default_rng(5)
    shape = to_grid(jnp.zeros((box, box, box))).shape
    limit = (box - 1) // 2
    points = rng.integers(-limit, limit + 1, (40, 3))
    values = (rng.normal(size=40) + 1j * rng.normal(size=40)).astype(np.complex64)
    window = find_window(jnp.asarray(points, jnp.float32), shape, "linear")
    table = insert(jnp.zeros((shape.voxels, 2)), window, jnp.asarray(values))
    folded = fold(table, shape)
    whole = np.zeros((box, box, box), np.complex128)
    for (x, y, z), value in zip(points, values, strict=True):
        whole[z % box, y % box, x % box] += value
        whole[-z % box, -y % box, -x % box] += value.conj()
    expected = whole[..., : box // 2 + 1]
    np.testing.assert_allclose(jax.lax.complex(folded[..., 0], folded[..., 1]), expected, atol=1e-5)


def test_guarding_and_folding_are_transposes() -> None:
    rng = np.random.default_rng(6)
    shape = to_grid(jnp.zeros((6, 6, 6)), 1.0, "cubic").shape
    half = half_space(jnp.asarray(rng.normal(size=(6, 6, 6)), jnp.float32))
    half = jnp.stack([half.real, half.imag], axis=-1)
    other = jnp.asarray(rng.normal(size=(shape.voxels, 2)), jnp.float32)
    weight = jnp.array([0.5, 1.0, 1.0, 0.5])[None, None, :, None]
    # Folding adds the mates on self-conjugate columns, hence the half weights there.
    np.testing.assert_allclose(
        jnp.sum(guarded_table(half, shape) * other),
        jnp.sum(half * fold(other, shape) * weight),
        rtol=1e-4,
    )


@pytest.mark.parametrize("kernel", ["linear", "cubic"])
def test_gradients_agree_with_finite_differences(kernel: str) -> None:
    """A smooth loss of slices: step 1e-2°, so the difference is exact to 1e-3 of the slope."""
    atoms = molecule(8.0, 2.5, 20)
    grid = to_grid(gaussian_map(atoms, 16, 2.0), 1.0, kernel)
    k = jnp.asarray(FourierPixels(16, 4).frequency)
    target = cut(grid, euler_to_matrix(jnp.array([[20.0, 40.0, 60.0]])), k)

    @jax.jit
    def loss(angles: jax.Array, grid: FourierGrid) -> jax.Array:
        difference = cut(grid, euler_to_matrix(angles[None]), k) - target
        return jnp.sum(difference.real**2 + difference.imag**2)

    angles = jnp.array([23.0, 38.0, 55.0])
    gradient = jax.jit(jax.grad(loss))(angles, grid)
    for axis in range(3):
        step = jnp.zeros(3).at[axis].set(0.05)
        slope = (loss(angles + step, grid) - loss(angles - step, grid)) / 0.1
        np.testing.assert_allclose(gradient[axis], slope, rtol=2e-2)
    if kernel == "cubic":
        return
    # The loss is quadratic in the grid, so a central difference there is exact.
    direction = jnp.asarray(np.random.default_rng(7).normal(size=grid.values.shape), jnp.float32)
    up, down = (
        FourierGrid(grid.values + s * direction, grid.box, grid.shape, grid.kernel) for s in (1, -1)
    )
    expected = (loss(angles, up) - loss(angles, down)) / 2
    grid_gradient = jax.jit(jax.grad(loss, argnums=1))(angles, grid)
    np.testing.assert_allclose(jnp.sum(grid_gradient.values * direction), expected, rtol=1e-2)


def test_outside_the_box_and_not_a_number() -> None:
    grid = to_grid(jnp.ones((8, 8, 8)))
    identity = jnp.eye(3)[None]
    far = cut(grid, identity, jnp.array([[9.0, 0.0], [-100.0, 3.0]]))
    np.testing.assert_array_equal(far, 0)
    assert bool(jnp.all(jnp.isnan(cut(grid, identity * jnp.nan, jnp.ones((3, 2))))))
    assert cut(grid, jnp.zeros((0, 3, 3)), jnp.ones((3, 2))).shape == (0, 3)


def test_slices_under_vmap() -> None:
    """Several volumes, one pose each, by vmap over the grid's table."""
    volumes = jnp.asarray(np.random.default_rng(8).normal(size=(3, 8, 8, 8)), jnp.float32)
    rotation = random_rotations(jax.random.key(8), 3)
    k = jnp.asarray(FourierPixels(8, 3).frequency)
    grids = jax.jit(jax.vmap(volume_to_grid))(volumes)
    together = jax.jit(jax.vmap(lambda g, r: slice_grid(g, r[None], k)[0]))(grids, rotation)
    alone = [cut(to_grid(v), r[None], k)[0] for v, r in zip(volumes, rotation, strict=True)]
    np.testing.assert_allclose(together, jnp.stack(alone), atol=1e-4)


def test_padding_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        volume_to_grid(jnp.zeros((4, 4, 4)), 0.5)
