"""Preparation of images against the definition written out in NumPy."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from toy import ToySource, toy_table

from vitreous.errors import InputError
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.particles.prepare import (
    Normalization,
    Recipe,
    estimate_normalization,
    planes_to_pixels,
    prepare_images,
    soft_window,
)


def prepared(images, recipe, mean=0.0, std=1.0):
    planes = prepare_images(jnp.asarray(images), jnp.float32(mean), jnp.float32(std), recipe)
    return np.asarray(planes_to_pixels(planes))


@pytest.mark.parametrize("box", [15, 16])
@pytest.mark.parametrize("invert", [False, True])
def test_definition(box, invert):
    image = np.random.default_rng(0).normal(3, 2, (2, box, box)).astype(np.float32)
    pixels = FourierPixels(box, (box - 1) // 2, min_shell=0)
    got = prepared(image, Recipe(pixels, 0.6, invert), mean=3, std=2)
    centre = np.arange(box) - box // 2
    x, y = np.meshgrid(centre, centre)
    r = 2 * np.hypot(x, y) / box
    window = np.clip(1 - (r - 0.6) / (0.99 - 0.6), 0, 1)
    normal = (image.astype(np.float64) - 3) / 2 * window * (-1 if invert else 1)
    for k in (0, 3, 17, len(pixels) - 1):
        kx, ky = pixels.frequency[k]
        wave = np.exp(-2j * np.pi * (kx * x + ky * y) / box)
        # float32 sums of box² terms of order one, divided by box.
        np.testing.assert_allclose(got[:, k], (normal * wave).sum((1, 2)) / box, atol=1e-5)


def test_white_noise_has_unit_power_in_every_shell():
    source = ToySource(400, box=24, offset=50, scale=7)
    norm = estimate_normalization(source, toy_table(400, 24), particle_radius=0.8)
    recipe = Recipe(FourierPixels(24, 11), window_radius=None)
    power = np.abs(prepared(source.images, recipe, *norm)) ** 2
    # Exponential with mean 1: 400 · p draws; five standard errors.
    assert abs(power.mean() - 1) < 5 / np.sqrt(power.size)
    assert norm.mean == pytest.approx(50, abs=0.1)
    assert norm.std == pytest.approx(7, rel=0.01)


def test_only_the_background_sets_the_scale():
    source = ToySource(50, box=32, offset=1, scale=2)
    inside = soft_window(32, 0.7) == 1
    source.images[:, inside] += 100
    norm = estimate_normalization(source, toy_table(50, 32), particle_radius=0.75)
    # 50 images, about 500 background pixels each; five standard errors of σ/√N, √½ σ/√N.
    assert norm.mean == pytest.approx(1, abs=5 * 2 / 150)
    assert norm.std == pytest.approx(2, abs=5 * 2 / 150)
    everything = estimate_normalization(source, toy_table(50, 32), particle_radius=1.4)
    assert everything.mean > 30, "too few pixels outside: all are used"


def test_scale_leads_back_to_the_transform():
    image = np.random.default_rng(1).normal(size=(1, 16, 16)).astype(np.float32)
    pixels = FourierPixels(16, 7)
    norm = Normalization(0.0, 3.0)
    got = prepared(image, Recipe(pixels, None), *norm) * norm.fourier_scale(16)
    half = np.fft.rfft2(np.fft.ifftshift(image[0]))
    np.testing.assert_allclose(got[0], half.reshape(-1)[pixels.index], atol=2e-5)


@pytest.mark.parametrize("storage, error", [("float16", 1e-3), ("bfloat16", 8e-3)])
def test_short_storage_is_close(storage, error):
    image = np.random.default_rng(2).normal(size=(3, 16, 16)).astype(np.float32)
    exact = Recipe(FourierPixels(16, 7))
    short = dataclasses.replace(exact, storage=storage)
    a, b = prepared(image, exact), prepared(image, short)
    # Half a unit in the last place of 11 and 8 significant bits, of each part.
    assert np.abs(a - b).max() <= error * np.abs(a).max()
    assert np.abs(a - b).max() > 0


def test_bad_pixels_are_named():
    source = ToySource(20)
    source.images[7, 3, 3] = np.nan
    with pytest.raises(InputError, match="image 8 holds NaN"):
        estimate_normalization(source, toy_table(20))
    source.images[:] = 4
    with pytest.raises(InputError, match="constant"):
        estimate_normalization(source, toy_table(20))
