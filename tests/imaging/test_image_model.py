"""Images against closed forms, theories against each other, samples against their likelihood."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from microscope import PIXEL, microscope, molecule, poses

from vitreous.geometry.fourier import frequencies, half_plane
from vitreous.imaging.detector import Detector
from vitreous.imaging.exposure import Exposure
from vitreous.imaging.filters import GaussianFilter, low_pass
from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.ice import GaussianIce
from vitreous.imaging.image_model import ImageModel
from vitreous.imaging.masks import RoundMask
from vitreous.imaging.noise import GaussianNoise, power_spectrum
from vitreous.imaging.optics.lens import Optics
from vitreous.imaging.parameters import (
    Frozen,
    LogParameter,
    ScaledParameter,
    TangentRotation,
    resolve,
    trainable,
)
from vitreous.imaging.pose import Pose
from vitreous.imaging.volumes.gaussian_volume import GaussianVolume


def render(model: ImageModel) -> jax.Array:
    return model.render()


def sample(model: ImageModel, key: jax.Array) -> jax.Array:
    return model.sample(key)


def density(model: ImageModel, observed: jax.Array) -> jax.Array:
    return model.log_likelihood(observed)


def closed_form(model: ImageModel) -> np.ndarray:
    """Write the linear image down in double precision: Gaussians, λγ, CTF, shift, all by hand."""
    n = model.grid.box
    k = frequencies(n, 2, half=True).astype(np.float64) / (n * PIXEL)
    square = np.sum(k**2, axis=-1)
    volume, pose, images = model.volume, model.pose, []
    position, amplitude, variance = (
        np.asarray(x, np.float64) for x in (volume.position, volume.amplitude, volume.variance)
    )
    for i in range(len(pose.shift)):
        lab = position @ np.asarray(pose.rotation[i], np.float64).T
        lab = lab[:, :2] + np.asarray(pose.shift[i], np.float64)
        decay = np.exp(-2 * np.pi**2 * square[..., None] * variance[:, 0]) * amplitude[:, 0]
        half = np.sum(decay * np.exp(-2j * np.pi * (k @ lab.T)), axis=-1) / PIXEL**2
        u, v = (
            float(x[i]) + float(pose.z_offset[i])
            for x in (model.optics.defocus_u, model.optics.defocus_v)
        )
        theta = np.arctan2(k[..., 1], k[..., 0])
        defocus = 0.5 * (u + v + (u - v) * np.cos(2 * (theta - np.deg2rad(30))))
        wavelength = 0.0196874934
        chi = np.pi * wavelength * defocus * square - np.pi / 2 * 2.7e7 * wavelength**3 * square**2
        ctf = np.sqrt(0.99) * np.sin(chi) + 0.1 * np.cos(chi)
        images.append(np.fft.fftshift(np.fft.irfft2(half * ctf * 0.0312457, s=(n, n))))
    return np.stack(images)


@pytest.mark.parametrize("box", [19, 20])
def test_images_are_the_closed_form(box: int):
    """All but the Nyquist frequency, where a wave stands for two; float32 holds χ to 1e-5."""
    model = microscope(box)
    inner = np.all(2 * np.abs(frequencies(box, 2, half=True)) < box, axis=-1)
    image, expected = (
        np.fft.rfft2(render(model))[:, inner],
        np.fft.rfft2(closed_form(model))[:, inner],
    )
    np.testing.assert_allclose(image, expected, atol=1e-4 * np.abs(expected).max())
    dark = eqx.tree_at(
        lambda m: m.optics, model, Optics(*model.optics.parameters(), contrast="dark")
    )
    np.testing.assert_allclose(render(dark), -np.asarray(render(model)), atol=1e-7)


def test_one_pose_is_a_batch_of_one():
    model = microscope()
    alone = ImageModel(
        model.volume,
        model.pose[1],
        model.grid,
        Optics(
            *(
                np.asarray(x).ravel()[-1 if i > 1 else 1]
                for i, x in enumerate(model.optics.parameters())
            )
        ),
    )
    np.testing.assert_allclose(render(alone), render(model)[1], atol=1e-6)
    noisy = eqx.tree_at(lambda m: m.noise, alone, GaussianNoise(1.0), is_leaf=lambda x: x is None)
    assert sample(noisy, jax.random.key(0)).shape == (20, 20)
    assert density(noisy, jnp.zeros((20, 20))).shape == ()


def test_padding_keeps_what_does_not_wrap():
    """A defocus that spreads far: padded images agree with the middle of a large one."""
    small = microscope(20, padding=2.0)
    large = microscope(40)
    middle = np.asarray(render(large))[:, 10:30, 10:30]
    np.testing.assert_allclose(render(small), middle, atol=1e-6)
    assert np.abs(render(microscope(20)) - middle).max() > 1e-5


def flat_molecule() -> GaussianVolume:
    """Weak and thin, so that every theory is in its limit."""
    volume = molecule(strength=0.3)
    return GaussianVolume(
        volume.position * jnp.array([[1.0, 1.0, 0.0]]), volume.amplitude, volume.variance
    )


@pytest.mark.parametrize("theory", ["ewald", "weak-phase", "eikonal", "multislice"])
def test_theories_agree_on_weak_thin_specimens(theory: str):
    model = microscope()
    arguments = {"pose": Pose(jnp.eye(3)[None], jnp.array([[3.0, -2.0]])), "grid": model.grid}
    optics = Optics(9000.0, 8500.0, 20.0, beam_tilt=np.array([0.5, 0.2]))
    linear = ImageModel(flat_molecule(), **arguments, optics=optics)
    other = ImageModel(flat_molecule(), **arguments, optics=optics, theory=theory, slabs=4)
    expected = np.asarray(render(linear))
    # Phases are 1e-3; multislice, band-limited along the beam too, loses a little.
    error = np.linalg.norm(render(other) - expected) / np.linalg.norm(expected)
    assert error < (1e-2 if theory == "multislice" else 3e-3)


@pytest.mark.parametrize("theory", ["ewald", "multislice"])
def test_depth_is_defocus(theory: str):
    """A blob 15 Å up, defocus as small: thick theories see its height as the linear one a z."""
    height = 15.0
    blob = [
        np.array([[2.0, -3.0, height]], np.float32),
        np.full((1, 1), 3.0, np.float32),
        np.full((1, 1), 4.0, np.float32),
    ]
    flat = GaussianVolume(blob[0] * np.array([[1, 1, 0]], np.float32), *blob[1:])
    grid, optics = (
        ImageGrid(32, 1.2),
        Optics(150.0, spherical_aberration=0.0, amplitude_contrast=0.0),
    )
    pose = Pose.identity(1)
    raised = Pose(pose.rotation, z_offset=height)
    thick = np.asarray(
        render(ImageModel(GaussianVolume(*blob), pose, grid, optics, theory=theory, slabs=32))
    )
    expected = np.asarray(render(ImageModel(flat, raised, grid, optics)))
    wrong = np.asarray(render(ImageModel(flat, pose, grid, optics)))
    scale = np.linalg.norm(expected)
    assert np.linalg.norm(thick - expected) < 0.02 * scale
    assert np.linalg.norm(wrong - expected) > 0.08 * scale


def test_vacuum_is_the_dose():
    """Without a specimen every pixel of a perfect camera gets exactly dose · Δ² electrons."""
    empty = GaussianVolume(
        *(np.zeros(s, np.float32) for s in ((1, 3), (1, 1))), np.ones((1, 1), np.float32)
    )
    for theory in ("linear", "eikonal"):
        model = ImageModel(
            empty,
            Pose.identity(2),
            ImageGrid(16, 1.5),
            Optics(),
            exposure=Exposure(20.0),
            detector=Detector(),
            theory=theory,
        )
        np.testing.assert_allclose(render(model), 20 * 1.5**2, rtol=1e-6)


def test_dense_specimens_are_dark_to_the_camera_whatever_the_optics_show():
    for contrast in ("white", "dark"):
        optics = Optics(0.0, spherical_aberration=0.0, amplitude_contrast=1.0, contrast=contrast)
        model = ImageModel(
            molecule(),
            Pose.identity(1),
            ImageGrid(20, PIXEL),
            optics,
            exposure=Exposure(20.0),
            detector=Detector(),
        )
        assert float(render(model)[0, 10, 10]) < 0.99 * 20 * PIXEL**2


def test_samples_have_the_power_that_the_likelihood_takes():
    """Coloured noise, ice through the CTF: every mode's variance, 6σ of √(2/count); no mirror."""
    box, count = 16, 1500
    parts = {
        "noise": GaussianNoise(1e-6 + 5e-6 * GaussianFilter(300.0)),
        "ice": GaussianIce(400.0, 0.05),
    }
    model = microscope(box, 1, **parts)
    many = eqx.tree_at(
        lambda m: m.pose, model, jax.tree.map(lambda x: jnp.repeat(x, count, axis=0), model.pose)
    )
    noise = np.asarray(sample(many, jax.random.key(0)) - render(model))
    modes = np.mean(np.abs(np.fft.rfft2(noise)) ** 2, axis=0) / box**2
    expected = np.asarray(model.power())[0]
    np.testing.assert_allclose(modes, expected, rtol=6 * np.sqrt(2 / count))
    fields = noise / noise.std(axis=0)
    mirror = (-(np.arange(box) - box // 2) + box // 2) % box
    correlation = np.mean(fields * fields[:, mirror][:, :, mirror], axis=0)
    # x and −x correlate as any two pixels as far apart, across the edge of the box too.
    covariance = np.fft.irfft2(expected, s=(box, box)) * box**2
    apart = (np.arange(box) - mirror) % box
    wanted = covariance[np.ix_(apart, apart)] / covariance[0, 0]
    assert np.abs(correlation - wanted).max() < 6 / np.sqrt(count)


def test_two_noisy_copies_correlate_as_their_signal_to_noise_ratio():
    """FSC of two copies = SNR/(1 + SNR) shell by shell, over 60 images; σ = (1 − FSC²)/√modes."""
    model = microscope(24, 60, noise=GaussianNoise(2e-6))
    clean = np.asarray(render(model))
    first, second = (np.fft.rfft2(sample(model, jax.random.key(i))) for i in (1, 2))
    signal = np.asarray(power_spectrum(jnp.asarray(clean))).mean(axis=0)
    snr = signal / 2e-6
    shell = np.rint(np.linalg.norm(frequencies(24, 2, half=True), axis=-1)).astype(int)
    for s in range(1, 8):
        pick = shell == s
        a, b = first[:, pick], second[:, pick]
        fsc = np.sum(a * b.conj()).real / np.sqrt(np.sum(np.abs(a) ** 2) * np.sum(np.abs(b) ** 2))
        expected = snr[s] / (1 + snr[s])
        assert fsc == pytest.approx(
            expected, abs=5 * (1 - expected**2) / np.sqrt(60 * pick.sum()) + 0.01
        )
    assert 0.2 < snr[7] < 20


def test_gradients_agree_with_finite_differences():
    """Of the log-likelihood by rotation, shift, height, defocus and atoms; h² f‴ ≪ 1e-5."""
    with jax.enable_x64(True):
        model = microscope(16, 2, np.float64, noise=GaussianNoise(1e-5))
        observed = model.sample(jax.random.key(0))
        rng = np.random.default_rng(2)
        steps = {
            "turn": (rng.normal(size=(2, 3)), 1e-3),
            "move": (rng.normal(size=(2, 3)), 1e-3),
            "defocus": (rng.normal(size=2), 1e-1),
            "atoms": (rng.normal(size=(12, 3)), 1e-4),
        }

        def total(size):
            return jnp.sum(moved(size).log_likelihood(observed))

        def moved(size):
            pose = model.pose.retract(
                size["turn"] * jnp.asarray(steps["turn"][0]),
                size["move"] * jnp.asarray(steps["move"][0]),
            )
            defocus = model.optics.defocus_u + size["defocus"] * jnp.asarray(steps["defocus"][0])
            atoms = model.volume.position + size["atoms"] * jnp.asarray(steps["atoms"][0])
            where = lambda m: (m.pose, m.optics.defocus_u, m.volume.position)  # noqa: E731
            return eqx.tree_at(where, model, (pose, defocus, atoms))

        zero = {name: jnp.zeros(()) for name in steps}
        both = jax.jit(jax.value_and_grad(total))
        gradient = both(zero)[1]
        for name, (_, h) in steps.items():
            up, down = (both(zero | {name: jnp.asarray(s * h)})[0] for s in (1, -1))
            np.testing.assert_allclose(gradient[name], (up - down) / (2 * h), rtol=1e-4)


def test_the_truth_is_likelier_to_a_camera():
    """Whatever counts electrons: here a camera without Gaussian noise."""
    model = microscope(exposure=Exposure(1000.0), detector=Detector("poisson"))
    observed = sample(model, jax.random.key(3))
    pose = model.pose.retract(jnp.full((3, 3), 8.0))
    elsewhere = eqx.tree_at(lambda m: m.pose, model, pose)
    assert np.all(density(model, observed) > density(elsewhere, observed))


def test_filter_mask_scale_and_offset():
    model = microscope(24)
    plain = np.asarray(render(model))
    grid = model.grid
    scaled = microscope(24, scale=np.array([1.0, 2.0, 3.0]), offset=0.5)
    np.testing.assert_allclose(render(scaled), plain * [[[1]], [[2]], [[3]]] + 0.5, atol=1e-6)
    smooth = microscope(24, filter=low_pass(grid, 0.3))
    assert np.all(
        power_spectrum(render(smooth))[:, 5:] < 1e-6 * power_spectrum(jnp.asarray(plain)).max()
    )
    mask = RoundMask(15.0, 5.0)
    masked = microscope(24, mask=mask, noise=GaussianNoise(1.0))
    shape = np.asarray(mask(grid.coordinates()))
    np.testing.assert_allclose(render(masked), plain * shape, atol=1e-6)
    assert np.all(np.asarray(sample(masked, jax.random.key(0)))[:, shape == 0] == 0)


def test_functions_share_a_model_and_batches_equal_loops():
    """Two compiled functions close over one model; vmap over poses is the batch is the loop."""
    model = microscope()
    one = jax.jit(lambda shift: eqx.tree_at(lambda m: m.pose.shift, model, shift).render())
    two = jax.jit(lambda scale: eqx.tree_at(lambda m: m.scale, model, scale).render())
    batch = one(model.pose.shift)
    np.testing.assert_allclose(two(jnp.ones(())), batch, atol=1e-7)
    optics = Optics(10000.0)
    alone = lambda pose: ImageModel(model.volume, pose, model.grid, optics).render()  # noqa: E731
    mapped = jax.jit(jax.vmap(alone))(model.pose)
    looped = jnp.stack([jax.jit(alone)(model.pose[i]) for i in range(3)])
    np.testing.assert_allclose(mapped, looped, atol=1e-6)
    np.testing.assert_allclose(mapped, jax.jit(alone)(model.pose), atol=1e-6)


def test_transforms_are_resolved_when_a_model_is_called():
    model = microscope()
    where = lambda m: (m.pose.rotation, m.optics.defocus_u, m.optics.defocus_v, m.pose.shift)  # noqa: E731
    wrapped = eqx.tree_at(
        where,
        model,
        (
            TangentRotation.of(model.pose.rotation),
            LogParameter.of(model.optics.defocus_u),
            Frozen(model.optics.defocus_v),
            ScaledParameter.of(model.pose.shift, 2.0),
        ),
    )
    np.testing.assert_allclose(render(wrapped), render(model), atol=1e-5)
    np.testing.assert_allclose(resolve(wrapped).pose.rotation, model.pose.rotation, atol=1e-6)
    free, fixed = eqx.partition(wrapped, trainable(wrapped))
    assert len(jax.tree.leaves(free)) == 3
    loss = lambda free: jnp.sum(eqx.combine(free, fixed).render() ** 2)  # noqa: E731
    gradient = eqx.filter_jit(jax.grad(loss))(free)
    defocus = gradient.optics.defocus_u.log_value
    plain = jax.jit(
        jax.grad(
            lambda u: jnp.sum(eqx.tree_at(lambda m: m.optics.defocus_u, model, u).render() ** 2)
        )
    )
    expected = plain(model.optics.defocus_u) * model.optics.defocus_u
    np.testing.assert_allclose(defocus, expected, rtol=2e-2, atol=1e-6)
    turned = eqx.tree_at(lambda m: m.pose.rotation.turn, wrapped, jnp.full((3, 3), 5.0))
    expected = model.pose.retract(jnp.full((3, 3), 5.0)).rotation
    np.testing.assert_allclose(resolve(turned).pose.rotation, expected, atol=1e-6)
    rebased = turned.pose.rotation.rebased()
    np.testing.assert_allclose(rebased.resolve(), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"exposure": Exposure(1.0)}, "together"),
        ({"padding": 0.5}, "at least 1"),
        (
            {"exposure": Exposure(1.0), "detector": Detector(), "filter": GaussianFilter(1.0)},
            "filter",
        ),
    ],
)
def test_models_that_make_no_sense(parts: dict, message: str):
    with pytest.raises(ValueError, match=message):
        microscope(**parts)


def test_likelihoods_that_make_no_sense():
    with pytest.raises(ValueError, match="either"):
        microscope().log_likelihood(jnp.zeros((3, 20, 20)))
    with pytest.raises(ValueError, match="need optics"):
        ImageModel(molecule(), poses(1), ImageGrid(8, 2.0), ice=GaussianIce(1.0))
    assert half_plane(ImageModel(molecule(), poses(2), ImageGrid(8, 6.0)).render()).shape == (
        2,
        8,
        5,
    )
