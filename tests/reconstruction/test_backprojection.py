import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.errors import InputError
from vitreous.geometry.fourier import half_plane, image_from_half_plane
from vitreous.geometry.rotations import random_rotations
from vitreous.imaging.ctf import CTFParameters, evaluate_ctf
from vitreous.reconstruction.backprojection import Slices, full_geometry
from vitreous.reconstruction.consensus import consensus_from_batches, consensus_volume
from vitreous.reconstruction.fsc import fourier_shell_correlation
from vitreous.reconstruction.reconstruct import reconstruct

from .blobs import MemorySource, images, slices, table, volume

PIXEL = 4.0


def poses(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rotation = np.asarray(random_rotations(jax.random.key(seed), count))
    return rotation, np.random.default_rng(seed).normal(size=(count, 2)) * 1.5


def optics(count: int, **more) -> CTFParameters:
    fields = {
        "defocus_u": np.random.default_rng(0).uniform(8000, 20000, count),
        "defocus_v": np.random.default_rng(1).uniform(8000, 20000, count),
        "defocus_angle": np.full(count, 30.0),
        "voltage": np.full(count, 300.0),
        "spherical_aberration": np.full(count, 2.7),
        "amplitude_contrast": np.full(count, 0.1),
        "phase_shift": np.zeros(count),
        "bfactor": np.zeros(count),
        "scale": np.ones(count),
    }
    return CTFParameters(**{k: np.float32(v) for k, v in {**fields, **more}.items()})


def through_ctf(stack: np.ndarray, ctf: CTFParameters, sign: float = 1) -> np.ndarray:
    """Apply each image's CTF, Nyquist included."""
    box = stack.shape[-1]
    k = np.stack(np.meshgrid(np.arange(box // 2 + 1), np.fft.fftfreq(box, 1 / box)), -1)
    frequency = jnp.asarray(k.reshape(1, -1, 2) / (box * PIXEL), jnp.float32)
    c = evaluate_ctf(jnp.broadcast_to(frequency, (len(stack), *frequency.shape[1:])), ctf)
    half = half_plane(jnp.asarray(stack))
    return sign * np.asarray(
        image_from_half_plane(half * c.reshape(half.shape).astype(half.dtype), box)
    )


def correlation(a, b) -> float:
    return float(np.corrcoef(np.ravel(a), np.ravel(b))[0, 1])


@pytest.mark.parametrize("box", [24, 25])
def test_exact_slices_of_gaussians_give_the_gaussians_back(box):
    rotation, shift = poses(400)
    source = MemorySource(images(rotation, shift, box))
    made = reconstruct(table(rotation, shift * PIXEL, box, PIXEL), source)
    truth = volume(box)
    assert correlation(made.volume, truth) > 0.998
    # The scale is right too: trilinear insertion without padding is good to about 1 %.
    assert np.vdot(made.volume, truth) / np.vdot(truth, truth) == pytest.approx(1, abs=0.015)
    assert np.abs(made.volume - truth).max() < 0.025 * truth.max()
    assert made.fsc[:6].min() > 0.99


def test_the_ctf_is_undone_and_dark_particles_are_turned():
    box, (rotation, shift) = 24, poses(400)
    ctf = optics(400)
    stack = through_ctf(images(rotation, shift, box), ctf, sign=-1)
    particles = table(rotation, shift * PIXEL, box, PIXEL, ctf=ctf)
    made = reconstruct(particles, MemorySource(stack), contrast="dark")
    assert correlation(made.volume, volume(box)) > 0.99
    wrong = reconstruct(particles, MemorySource(stack), contrast="white")
    np.testing.assert_allclose(wrong.volume, -made.volume, atol=1e-5 * made.volume.max())
    flipped = reconstruct(particles, MemorySource(stack), contrast="dark", ctf_method="flip")
    assert 0.7 < correlation(flipped.volume, volume(box)) < correlation(made.volume, volume(box))


def test_the_fsc_of_half_maps_predicts_the_fsc_with_the_truth():
    box, (rotation, shift) = 24, poses(600, seed=3)
    clean = images(rotation, shift, box)
    noise = np.random.default_rng(5).normal(size=clean.shape) * clean.std() * 4
    source = MemorySource((clean + noise).astype(np.float32))
    made = reconstruct(table(rotation, shift * PIXEL, box, PIXEL), source)
    truth = fourier_shell_correlation(jnp.asarray(made.volume), jnp.asarray(volume(box)))
    expected = np.sqrt(np.clip(2 * made.fsc / (1 + made.fsc), 0, 1))
    assert 0.2 < made.fsc[3:9].mean() < 0.95
    signal = expected > 0.5
    assert signal[1:6].all()
    np.testing.assert_allclose(np.asarray(truth)[signal], expected[signal], atol=0.12)
    # The Wiener filter comes closer to the truth than the plain quotient.
    plain = reconstruct(table(rotation, shift * PIXEL, box, PIXEL), source, mean_count=0.0)
    error = [np.linalg.norm(v - volume(box)) for v in (made.volume, plain.volume)]
    assert error[0] < 0.8 * error[1]


def test_chunks_and_padding_change_nothing():
    box, (rotation, shift) = 12, poses(23)
    particles = table(rotation, shift * PIXEL, box, PIXEL, ctf=optics(23))
    source = MemorySource(images(rotation, shift, box))
    seen: list[int] = []
    whole = reconstruct(particles, source)
    parts = reconstruct(particles, source, chunk=5, progress=seen.append)
    np.testing.assert_allclose(parts.volume, whole.volume, atol=2e-5 * whole.volume.max())
    np.testing.assert_allclose(parts.fsc, whole.fsc, atol=1e-4)
    assert seen == [5, 5, 5, 5, 3]


def test_images_of_another_pixel_size_meet_in_one_map():
    """A quarter of the set sampled 10 % finer: the same blobs, seen larger."""
    box, (rotation, shift) = 24, poses(400)
    half = np.arange(400) % 8 < 6
    stack = images(rotation, shift, box)
    pixel_size = np.where(half, PIXEL, PIXEL / 1.1)
    # At PIXEL / 1.1 the image's Fourier pixel k lies at 1.1 k of the map's grid.
    geometry = full_geometry(box, PIXEL)
    fine = slices(rotation, geometry.pixels.frequency * np.float32(1.1), box)
    fine_images = image_from_half_plane(
        geometry.pixels.scatter(jnp.asarray(np.complex64(fine))), box
    )
    stack[~half] = np.asarray(fine_images)[~half]
    shift[~half] = 0
    particles = table(rotation, shift * PIXEL, box, PIXEL).replace(pixel_size=pixel_size)
    made = reconstruct(particles, MemorySource(stack))
    assert made.voxel_size == PIXEL
    assert correlation(made.volume, volume(box)) > 0.99


def test_the_consensus_of_prepared_pixels_is_the_streamed_map():
    box, (rotation, shift) = 16, poses(37)
    stack, ctf = images(rotation, shift, box), optics(37)
    particles = table(rotation, shift * PIXEL, box, PIXEL, ctf=ctf)
    streamed = reconstruct(particles, MemorySource(stack))
    geometry = full_geometry(box, PIXEL)
    prepared = Slices(
        geometry.pixels.gather(half_plane(jnp.asarray(stack))),
        jnp.asarray(rotation),
        jnp.asarray(shift * PIXEL, jnp.float32),
        jnp.full(37, PIXEL),
        jax.tree.map(jnp.asarray, ctf),
        jnp.arange(37, dtype=jnp.int32) % 2,
        jnp.ones(37),
    )
    made = consensus_volume(prepared, geometry, batch=10)
    tolerance = 1e-4 * streamed.volume.max()
    np.testing.assert_allclose(made.volume, streamed.volume, atol=tolerance)
    np.testing.assert_allclose(made.fsc, streamed.fsc, atol=1e-4)
    # Padding rows of the last batch have weight 0; a band is a leading slice of the pixels.
    batches = [jax.tree.map(lambda leaf, s=s: leaf[s : s + 20], prepared) for s in (0, 17)]
    batches[1] = batches[1]._replace(weight=jnp.where(jnp.arange(20) < 3, 0.0, 1.0))
    again = consensus_from_batches(batches, geometry)
    np.testing.assert_allclose(again.volume, made.volume, atol=0.02 * streamed.volume.max())
    band = geometry._replace(max_shell=4)
    low = consensus_volume(prepared._replace(pixels=prepared.pixels[:, : len(band.pixels)]), band)
    np.testing.assert_allclose(low.fsc[1:4], made.fsc[1:4], atol=0.02)


def test_what_cannot_be_reconstructed_is_said():
    rotation, shift = poses(3)
    particles = table(rotation, shift, 8, PIXEL)
    source = MemorySource(images(rotation, shift, 8))
    with pytest.raises(InputError, match="--poses"):
        reconstruct(particles.replace(rotation=None), source)
    with pytest.raises(InputError, match="no particles"):
        reconstruct(particles.select(np.zeros(0, np.int64)), source)
    one = reconstruct(particles.select([1]), source)
    assert one.half_maps is None
    assert np.isfinite(one.volume).all()
