"""Aberrations against expansions of χ, Zernike's own laws, and defocus, shift and loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.imaging.ctf import CTFParameters, interaction_factor, phase_turns
from vitreous.imaging.dose import dose_decay, frame_weights
from vitreous.imaging.optics.aberrations import even_modes, odd_modes, zernike
from vitreous.imaging.optics.lens import Optics
from vitreous.imaging.slicing import rotated_frequencies

K = np.random.default_rng(0).uniform(-0.2, 0.2, (40, 2))


def test_interaction_factor():
    np.testing.assert_allclose(interaction_factor(np.array([300.0])), 0.0312457, rtol=2e-6)


def test_modes_stand_in_relions_order():
    assert even_modes(5) == [(0, 0), (2, -2), (2, 0), (2, 2), (4, -4)]
    assert odd_modes(7) == [(1, -1), (1, 1), (3, -3), (3, -1), (3, 1), (3, 3), (5, -5)]


def test_zernike_polynomials_are_orthogonal_on_the_disc():
    """∫ ZᵢZⱼ = 0, ∫ Z² = π(1 + δ_m0)/(2n + 2); the midpoint rule errs by the rim's pixels."""
    step = 1 / 400
    axis = np.arange(-1 + step / 2, 1, step)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    points = points[np.hypot(*points.T) < 1].astype(np.float32)
    modes = even_modes(9) + odd_modes(6)
    values = np.stack([np.asarray(zernike(jnp.asarray(points), n, m)) for n, m in modes])
    products = values @ values.T * step**2
    expected = [np.pi * (1 + (m == 0)) / (2 * n + 2) for n, m in modes]
    np.testing.assert_allclose(products, np.diag(expected), atol=5e-3)


def test_beam_tilt_is_the_tilted_lens():
    """The part of χ(k + τ/λ) odd in the tilt, without defocus: for a hundredth of it."""
    with jax.enable_x64(True):
        k = jnp.asarray(K, jnp.float64)
        tilt = np.array([0.4, -0.3])  # mrad
        optics = Optics(0.0, beam_tilt=tilt)
        lens = CTFParameters(*(np.asarray(x, np.float64) for x in optics.parameters()))
        wavelength = 0.01968748
        step = jnp.asarray(tilt * 1e-3 / wavelength)[None] / 100
        odd = 50 * (phase_turns(k + step, lens) - phase_turns(k - step, lens))
        factor = optics.odd_factor(k)
        np.testing.assert_allclose(factor, np.exp(2j * np.pi * np.asarray(odd)), atol=1e-5)


def test_even_terms_of_second_order_are_defocus_and_phase():
    """c (2k² − 1) subtracted from χ: underfocus −2c/πλ, phase +c."""
    with jax.enable_x64(True):
        k, c = jnp.asarray(K, jnp.float64), 0.7
        wavelength = 0.0196874934
        plain = Optics(15000.0 - 2 * c / (np.pi * wavelength), phase_shift=np.rad2deg(c))
        aberrated = Optics(15000.0, even_zernike=[0.0, 0.0, c])
        np.testing.assert_allclose(aberrated.ctf(k), plain.ctf(k), atol=1e-6)


def test_second_order_side_terms_are_astigmatism():
    """−c k² cos 2θ in χ is U − V = −2c/πλ along x."""
    with jax.enable_x64(True):
        k, c = jnp.asarray(K, jnp.float64), 20.0
        split = c / (np.pi * 0.0196874934)
        plain = Optics(15000.0 - split, 15000.0 + split, 0.0)
        np.testing.assert_allclose(
            Optics(15000.0, even_zernike=[0.0, 0.0, 0.0, c]).ctf(k), plain.ctf(k), atol=1e-6
        )
        diagonal = Optics(15000.0 - split, 15000.0 + split, 45.0)
        np.testing.assert_allclose(
            Optics(15000.0, even_zernike=[0.0, c]).ctf(k), diagonal.ctf(k), atol=1e-6
        )


def test_magnification_distorts_ctf_and_slice_alike():
    matrix = np.array([[1.02, 0.01], [-0.005, 0.97]], np.float32)
    optics = Optics(12000.0, 11000.0, 20.0, magnification=matrix)
    k = jnp.asarray(K, jnp.float32)
    moved = jnp.asarray(np.asarray(k) @ matrix.T)
    expected = Optics(12000.0, 11000.0, 20.0).ctf(moved)
    np.testing.assert_allclose(optics.ctf(k), expected, atol=1e-4)
    rotation = jnp.linalg.qr(jax.random.normal(jax.random.key(0), (3, 3)))[0]
    np.testing.assert_allclose(
        rotated_frequencies(optics.distorted(rotation), k),
        rotated_frequencies(rotation, moved),
        atol=1e-6,
    )


def test_height_adds_to_the_defocus():
    k = jnp.asarray(K, jnp.float32)
    heights = jnp.array([0.0, 250.0, -400.0])
    raised = Optics(15000.0, 14000.0, 30.0).ctf(k, heights)
    for row, height in zip(raised, heights, strict=True):
        plain = Optics(15000.0 + float(height), 14000.0 + float(height), 30.0).ctf(k)
        np.testing.assert_allclose(row, plain, atol=1e-4)


def test_dose_fades_the_ctf():
    k = jnp.asarray(K, jnp.float32)
    faded = Optics(15000.0, dose=30.0).ctf(k) / Optics(15000.0).ctf(k)
    np.testing.assert_allclose(faded, dose_decay(k, jnp.array(30.0), jnp.array(300.0)), rtol=1e-5)
    assert float(faded.min()) < 0.2 < 0.8 < float(faded.max())


def test_frames_are_weighted_without_changing_the_noise():
    k = jnp.asarray(K, jnp.float32)
    weights = frame_weights(k, jnp.array([2.0, 10.0, 40.0]), jnp.array(300.0))
    np.testing.assert_allclose(np.sum(np.asarray(weights) ** 2, axis=0), 1, rtol=1e-5)
    assert np.all(np.diff(np.asarray(weights), axis=0) < 0)


def test_batches_equal_loops():
    """Every field batched at once, and every field alone."""
    rng = np.random.default_rng(1)
    fields = {
        "defocus_u": rng.uniform(8e3, 2e4, 3),
        "dose": rng.uniform(0, 30, 3),
        "beam_tilt": rng.normal(size=(3, 2)),
        "odd_zernike": rng.normal(size=(3, 4)),
        "even_zernike": rng.normal(size=(3, 4)),
        "magnification": np.eye(2) + 0.01 * rng.normal(size=(3, 2, 2)),
    }
    k = jnp.asarray(K, jnp.float32)
    heights = jnp.array([0.0, 100.0, 200.0])

    @jax.jit
    def evaluate(optics, height):
        return optics.ctf(k, height), optics.wave_transfer(k, height), optics.odd_factor(k)

    for names in [tuple(fields), ("beam_tilt",), ("even_zernike",), ("magnification",)]:
        chosen = {name: fields[name] for name in names}
        many = evaluate(Optics(**chosen), heights)
        each = [
            evaluate(Optics(**{n: v[i] for n, v in chosen.items()}), heights[i]) for i in range(3)
        ]
        expected = jax.tree.map(lambda *rows: jnp.stack(rows), *each)
        for found, wanted in zip(jax.tree.leaves(many), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(found, wanted, atol=5e-4)


@pytest.mark.parametrize("name", ["beam_tilt", "odd_zernike", "even_zernike", "magnification"])
def test_aberrations_have_gradients(name: str):
    """Central differences in double precision, h² f‴ ≪ 1e-5."""
    with jax.enable_x64(True):
        k = jnp.asarray(K, jnp.float64)
        start = {"beam_tilt": [0.1, 0.2], "magnification": np.eye(2)}.get(name, [0.3, -0.2, 0.1])
        start = np.asarray(start, np.float64)
        direction = np.random.default_rng(2).normal(size=start.shape)

        def total(step):
            optics = Optics(**{name: jnp.asarray(start) + step * jnp.asarray(direction)})
            return jnp.sum(optics.wave_transfer(k).real * jnp.arange(len(k), dtype=float))

        h = 1e-6 if name == "magnification" else 1e-4
        total = jax.jit(total)
        numeric = (total(jnp.array(h)) - total(jnp.array(-h))) / (2 * h)
        np.testing.assert_allclose(jax.grad(total)(jnp.array(0.0)), numeric, rtol=2e-5)
