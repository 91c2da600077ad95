"""Images of Gaussians against the plain sum, and latents against the exact posterior."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.errors import InputError
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.rotations import random_rotations
from vitreous.imaging.ctf import CTFParameters
from vitreous.imaging.gaussians import GaussianAtoms, transform_gaussians
from vitreous.methods.flexible.deformation import make_deformation
from vitreous.methods.flexible.gaussian_model import GaussianModel, draw_map
from vitreous.methods.flexible.images import Images
from vitreous.methods.flexible.inference import find_latents, linearised, newton_step
from vitreous.methods.flexible.posed import Posing
from vitreous.methods.flexible.rendering import Renderer
from vitreous.methods.flexible.start import Start
from vitreous.methods.flexible.starts.seeding import gaussians_from_map
from vitreous.methods.flexible.state import Moving
from vitreous.particles.prepare import Batch
from vitreous.reconstruction.pose_correction import Pose, corrected_pose

RNG = np.random.default_rng(5)
MODEL = GaussianModel.of(
    RNG.uniform(-18, 18, (40, 3)), RNG.uniform(0.5, 2, 40), RNG.uniform(3.5, 6, 40)
)


@pytest.mark.parametrize(("method", "error"), [("separable", 2e-5), ("spread", 1e-3)])
def test_the_band_is_that_of_the_plain_sum(method, error):
    renderer = Renderer(24, 3.0, 7, (3.0, 7.0), method)
    rotation = random_rotations(jax.random.key(0), 3)
    moved = jnp.asarray(RNG.normal(size=(3, 40, 3)), jnp.float32)
    found = np.asarray(renderer(MODEL.atoms(moved), rotation))
    k = np.asarray(renderer.pixels.frequency) / (24 * 3.0)
    plane = np.concatenate([k, np.zeros_like(k[:, :1])], axis=1).astype(np.float32)
    q = jnp.einsum("bij,pi->bpj", rotation, jnp.asarray(plane))
    atoms = MODEL.atoms(moved)
    expected = np.asarray(transform_gaussians(GaussianAtoms(*atoms), q))
    assert np.abs(found - expected).max() < error * np.abs(expected).max()


def test_slopes_of_spread_images_are_those_of_matrix_products():
    rotation = random_rotations(jax.random.key(0), 2)
    moved = jnp.asarray(RNG.normal(size=(2, 40, 3)), jnp.float32)
    directions = jnp.asarray(RNG.normal(size=(2, 2, 40, 3)), jnp.float32)
    exact, spread = (Renderer(24, 3.0, 7, (3.0, 7.0), how) for how in ("separable", "spread"))
    _, along = jax.linearize(lambda m: exact(MODEL.atoms(m), rotation), moved)
    expected = np.stack([np.asarray(along(one)) for one in directions])
    found = np.asarray(spread.slopes(MODEL.atoms(moved), rotation, directions))
    assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()


def test_planted_pose_errors_and_latents_are_found_where_the_model_is_known():
    b, box, size = 6, 24, 3.0
    start = Start(
        MODEL, np.zeros((1, 2), np.int32), np.full((1, 10), 0.05, np.float32), 9, 30.0, 5.0
    )
    images = Images(start, box, size, np.zeros(b, np.int32), "separable")
    model = Moving(MODEL, make_deformation("factorised", 2, 30.0, 5.0, jax.random.key(2)))
    z = jnp.asarray(RNG.normal(size=(b, 2)), jnp.float32)
    # 3° about any axis, 2 pixels any way.
    wrong = np.concatenate(
        [
            far * x / np.linalg.norm(x, axis=1, keepdims=True)
            for far, x in ((3, RNG.normal(size=(b, 3))), (2 * size, RNG.normal(size=(b, 2))))
        ],
        axis=1,
    )
    wrong = jnp.asarray(wrong, jnp.float32)
    true = Pose(random_rotations(jax.random.key(1), b), jnp.zeros((b, 2)))
    given = corrected_pose(true.rotation, true.shift, wrong)
    pixels = FourierPixels(box, 9)
    ones = jnp.ones(b)
    ctf = CTFParameters(*(ones * x for x in (1e4, 1e4, 0.0, 300.0, 2.7, 0.1, 0.0, 0.0, 1.0)))
    batch = Batch(
        jnp.zeros((b, len(pixels)), jnp.complex64), true.rotation, true.shift, ones * size, ctf,
        jnp.arange(b, dtype=jnp.int32), ones,
    )  # fmt: skip
    noise = jnp.asarray(start.noise)
    whitening = jnp.sqrt(jnp.asarray(images.band.weight)[None] / noise[0, images.band.shell][None])
    draw = jax.jit(lambda z: images.predict(model, images.see(batch, noise))(z))
    shown = draw(z) / whitening.astype(jnp.complex64)
    batch = batch._replace(pixels=shown, rotation=given.rotation, shift=given.shift)
    posing = Posing(images, batch, noise, (5.0, 10.0), 1.0)
    linear, observed = posing.linearise(model, 2)
    # Both may move; nothing but the poses is off.
    begin = jnp.concatenate([z, jnp.zeros((b, 5))], axis=1)
    search = jax.jit(lambda y: find_latents(linear, observed, y, jnp.full(7, 1e-2), 24).mean)
    told = search(begin)
    np.testing.assert_allclose(told[:, :2], z, atol=0.05)
    found = told[:, 2:] * jnp.asarray(posing.scale)[None]
    back = corrected_pose(given.rotation, given.shift, found)
    turn = jnp.einsum("bij,bkj->bik", back.rotation, true.rotation)
    angle = np.rad2deg(np.arccos(np.clip((np.trace(turn, axis1=1, axis2=2) - 1) / 2, -1, 1)))
    assert angle.max() < 0.3
    assert np.abs(back.shift).max() < 0.2


def test_a_linear_model_has_its_exact_posterior():
    b, d, p = 4, 3, 50
    slopes = jnp.asarray(RNG.normal(size=(b, p, d)) + 1j * RNG.normal(size=(b, p, d)), "complex64")
    observed = jnp.asarray(RNG.normal(size=(b, p)) + 1j * RNG.normal(size=(b, p)), "complex64")

    def predict(z):
        return jnp.einsum("bpd,bd->bp", slopes, z.astype(slopes.dtype))

    step, _ = newton_step(linearised(predict), observed, jnp.zeros((b, d)), 1.0)
    found = find_latents(linearised(predict), observed, jnp.full((b, d), 0.3), 1.0, 8)
    for i in range(b):
        stacked = np.concatenate([np.asarray(slopes[i]).real, np.asarray(slopes[i]).imag])
        right = np.concatenate([np.asarray(observed[i]).real, np.asarray(observed[i]).imag])
        precision = stacked.T @ stacked + np.eye(d)
        mean = np.linalg.solve(precision, stacked.T @ right)
        np.testing.assert_allclose(np.asarray(step[i]), mean, atol=1e-4)
        np.testing.assert_allclose(np.asarray(found.mean[i]), mean, atol=1e-3)
        np.testing.assert_allclose(np.asarray(found.precision[i]), precision, rtol=1e-3)


def test_gaussians_explain_the_map_they_were_laid_on():
    volume = np.asarray(draw_map(MODEL, jnp.zeros((40, 3)), 16, 4.0))
    found = gaussians_from_map(volume, 4.0, 40)
    again = np.asarray(draw_map(found, jnp.zeros((40, 3)), 16, 4.0))
    left = np.sum((again - volume) ** 2) / np.sum(volume**2)
    assert left < 0.01


def test_more_gaussians_than_voxels_are_refused():
    volume = np.asarray(draw_map(MODEL, jnp.zeros((40, 3)), 16, 4.0))
    with pytest.raises(InputError, match=r"map\.mrc: .* fewer than the 500 Gaussians"):
        gaussians_from_map(volume, 4.0, 500, threshold=0.9 * float(volume.max()), name="map.mrc")
