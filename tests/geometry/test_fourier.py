"""Centred transforms, half planes, Hartley, shells and resampling against closed forms."""

import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.geometry.fourier import (
    coordinates,
    fft_centered,
    frequencies,
    half_plane,
    half_plane_weights,
    half_space,
    hartley_centered,
    ifft_centered,
    ihartley_centered,
    image_from_half_plane,
    volume_from_half_space,
)
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.resample import resample
from vitreous.geometry.shells import shell_index, shell_sum
from vitreous.geometry.shift import crop_centered, phase_shift

# The even sizes on which cryoDRGN 4.3 stops with an assertion.
PEER_REFUSES = [98, 196, 206, 214, 322, 374, 392, 394, 412, 428, 474, 478, 498, 506]
BOXES = [1, 2, 7, 8, 15, 16]


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("box", [7, 8])
@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_centred_transform_is_the_sum(box: int, dimensions: int) -> None:
    """F(k) = Σ f(x) exp(−2πi k·x / n) with x counted from the centre."""
    f = noise(*(box,) * dimensions)
    x = coordinates(box, dimensions).reshape(-1, dimensions).astype(np.float64)
    waves = np.exp(-2j * np.pi * (x @ x.T) / box)
    expected = (waves @ f.ravel()).reshape(f.shape)
    np.testing.assert_allclose(fft_centered(jnp.asarray(f), dimensions), expected, atol=1e-4)
    back = ifft_centered(fft_centered(jnp.asarray(f), dimensions), dimensions)
    np.testing.assert_allclose(back, f, atol=1e-5)


@pytest.mark.parametrize("box", [*BOXES, 98, 206])
def test_half_plane_round_trip_and_parseval(box: int) -> None:
    image = noise(2, box, box)
    half = half_plane(jnp.asarray(image))
    assert half.shape == (2, box, box // 2 + 1)
    np.testing.assert_allclose(image_from_half_plane(half, box), image, atol=1e-5)
    energy = np.sum(half_plane_weights(box) * np.abs(np.asarray(half, np.complex128)) ** 2)
    np.testing.assert_allclose(energy / box**2, np.sum(image.astype(np.float64) ** 2), rtol=1e-5)


@pytest.mark.parametrize("box", [6, 7])
def test_half_space_is_half_of_the_centred_transform(box: int) -> None:
    volume = jnp.asarray(noise(box, box, box))
    half = half_space(volume)
    np.testing.assert_allclose(volume_from_half_space(half, box), volume, atol=1e-5)
    full = np.asarray(fft_centered(volume, 3))
    k = frequencies(box, 3, half=True).astype(int)
    # An even box writes its Nyquist frequency −n/2 in the full layout, +n/2 in the half one.
    at = [(k[..., i] + box // 2) % box for i in range(3)]
    np.testing.assert_allclose(half, full[at[2], at[1], at[0]], atol=1e-4)


@pytest.mark.parametrize("box", [7, 8])
def test_hartley_is_its_own_inverse(box: int) -> None:
    image = noise(box, box)
    x = coordinates(box, 2).reshape(-1, 2).astype(np.float64)
    phase = 2 * np.pi * (x @ x.T) / box
    expected = ((np.cos(phase) + np.sin(phase)) @ image.ravel()).reshape(box, box)
    transform = hartley_centered(jnp.asarray(image), 2)
    np.testing.assert_allclose(transform, expected, atol=1e-4)
    np.testing.assert_allclose(ihartley_centered(transform, 2), image, atol=1e-5)


def test_frequencies_run_as_the_axes_do() -> None:
    full = frequencies(5, 3)
    assert full[0, 2, 4].tolist() == [2, 0, -2]
    half = frequencies(4, 2, half=True)
    assert half[:, 0, 1].tolist() == [0, 1, -2, -1]
    assert half[0, :, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("box", [8, 9])
def test_shift_moves_density_to_larger_columns(box: int) -> None:
    point = np.zeros((box, box), np.float32)
    point[box // 2, box // 2] = 1
    k = jnp.asarray(frequencies(box, 2, half=True).reshape(-1, 2) / box)
    factor = phase_shift(k, jnp.array([[2.0, -3.0]])).reshape(1, box, -1)
    moved = image_from_half_plane(half_plane(jnp.asarray(point))[None] * factor, box)[0]
    expected = np.roll(point, (-3, 2), axis=(0, 1))
    np.testing.assert_allclose(moved, expected, atol=1e-6)


@pytest.mark.parametrize("n", [4, 5, 8])
@pytest.mark.parametrize("size", [4, 5, 8])
def test_crops_keep_the_centre(n: int, size: int) -> None:
    volume = np.zeros((n, n, n), np.float32)
    volume[n // 2, n // 2, n // 2] = 1
    cropped = crop_centered(volume, size, 3)
    assert cropped.shape == (size, size, size)
    assert cropped[size // 2, size // 2, size // 2] == 1
    np.testing.assert_array_equal(crop_centered(jnp.asarray(volume), size, 3), cropped)


@pytest.mark.parametrize("box", BOXES[1:] + PEER_REFUSES)
def test_pixel_lists_cover_their_shells_once(box: int) -> None:
    limit = (box - 1) // 2
    pixels = FourierPixels(box, limit, min_shell=0)
    k = coordinates(box, 2).reshape(-1, 2).astype(np.float64)
    inside = np.rint(np.hypot(*k.T)) <= limit
    # Counted with their weights they are the pixels of the full plane, each once.
    assert pixels.weight.sum() == inside.sum()
    assert (np.diff(pixels.shell) >= 0).all()
    assert pixels.count_up_to(limit) == len(pixels)
    assert box % 2 or coordinates(box, 2)[box // 2, box // 2].tolist() == [0, 0]


@pytest.mark.parametrize("box", [7, 8])
def test_pixel_lists_gather_and_scatter(box: int) -> None:
    pixels = FourierPixels(box, 3, min_shell=0)
    image = jnp.asarray(noise(box, box))
    values = pixels.gather(half_plane(image))
    np.testing.assert_array_equal(pixels.gather(pixels.scatter(values)), values)


def test_pixel_lists_refuse_shells_outside() -> None:
    with pytest.raises(ValueError, match="largest whole shell: 3"):
        FourierPixels(8, 4)


@pytest.mark.parametrize("box", [9, 10])
def test_shell_sums(box: int) -> None:
    """Shell 0 holds one pixel and shell 1 the eight around it; the corners are dropped."""
    shell = shell_index(box, 2)
    count = shell_sum(jnp.ones((2, box * box)), jnp.asarray(shell.ravel()), box // 2)
    assert count[:, :2].tolist() == [[1, 8], [1, 8]]
    np.testing.assert_array_equal(count[0], np.bincount(shell.ravel())[: box // 2])


def wave(box: int, k: tuple[float, float], side: float = 1.0) -> np.ndarray:
    x = coordinates(box, 2).astype(np.float64) * (side / box)
    return np.cos(2 * np.pi * (k[0] * x[..., 0] + k[1] * x[..., 1]) + 0.3)


@pytest.mark.parametrize("old", [11, 12])
@pytest.mark.parametrize("new", [7, 8, 15, 16])
def test_resampling_reads_waves_at_the_new_points(old: int, new: int) -> None:
    """A wave both boxes can hold is the same function of position before and after."""
    for k in [(0, 0), (3, -2), (-1, 3)]:
        image = jnp.asarray(wave(old, k), jnp.float32)
        np.testing.assert_allclose(resample(image, new, 2), wave(new, k), atol=2e-6)


def test_resampling_at_the_nyquist_frequency() -> None:
    """Sampling cos(2π 4x) on 8 points gives ±1, all of it, and growing back gives the cosine."""
    x = coordinates(12, 2)[..., 0].astype(np.float64) / 12
    image = np.cos(2 * np.pi * 4 * x)
    small = resample(jnp.asarray(image, jnp.float32), 8, 2)
    expected = (-1.0) ** np.arange(8)[None]
    np.testing.assert_allclose(small, np.broadcast_to(expected, (8, 8)), atol=1e-6)
    np.testing.assert_allclose(resample(small, 12, 2), image, atol=1e-6)
    np.testing.assert_allclose(
        resample(jnp.asarray(image.T.copy(), jnp.float32), 8, 2), np.asarray(small).T, atol=1e-6
    )


def test_resampling_volumes_keeps_the_mean() -> None:
    volume = noise(2, 6, 6, 6)
    small = resample(jnp.asarray(volume), 5, 3)
    assert small.shape == (2, 5, 5, 5)
    np.testing.assert_allclose(small.mean(axis=(1, 2, 3)), volume.mean(axis=(1, 2, 3)), atol=1e-6)
