"""Turns of images, hypotheses, networks, objectives and configuration files, one by one."""

import json
import logging

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.errors import InputError
from vitreous.geometry.fourier import half_plane, image_from_half_plane
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.rotations import geodesic_distance, random_rotations
from vitreous.geometry.shift import phase_shift
from vitreous.imaging.fourier_grid import volume_to_grid
from vitreous.imaging.slicing import slice_grid
from vitreous.methods.abinitio.amortised.config import AmortisedConfig, presentations
from vitreous.methods.abinitio.amortised.encoders import (
    ConvolutionEncoder,
    GroupNorm,
    SpectralEncoder,
)
from vitreous.methods.abinitio.amortised.frame import Frame, hermitian
from vitreous.methods.abinitio.amortised.hypotheses import (
    Layout,
    log_normaliser,
    pose_loss,
    squared_chord,
)
from vitreous.methods.abinitio.amortised.objective import (
    best_guess,
    latent_deviation,
    open_shells,
)
from vitreous.methods.abinitio.amortised.orbit import D4, PAIR, pixel_orbit
from vitreous.methods.abinitio.amortised.reference import Reference
from vitreous.methods.abinitio.amortised.seed_json import config_from_json
from vitreous.methods.abinitio.amortised.wake import Sight, propose
from vitreous.training.networks.divergence import kl_divergence
from vitreous.training.networks.residual_mlp import ResidualMLP

BOX = 16


@pytest.mark.parametrize("box", [15, 16])
def test_turned_pixels_are_the_pixels_of_turned_images(box):
    """Against the picture itself: rows and columns turned about pixel `box // 2`, by index."""
    rng = np.random.default_rng(0)
    pixels = FourierPixels(box, (box - 1) // 2)
    # Band-limited, so that an even box has no row without a mirror image.
    half = pixels.scatter(pixels.gather(half_plane(jnp.asarray(rng.normal(size=(3, box, box))))))
    image = np.asarray(image_from_half_plane(half, box))
    orbit = pixel_orbit(pixels, D4)
    turned = orbit.turn(pixels.gather(half))
    centre = np.arange(box) - box // 2
    y, x = np.meshgrid(centre, centre, indexing="ij")
    for g, turn in enumerate(D4.astype(int)):
        # The turned image at A x is the image at x.
        column, row = np.einsum("ji,jyx->iyx", turn, np.stack([x, y]))
        expected = image[:, (row + box // 2) % box, (column + box // 2) % box]
        got = image_from_half_plane(pixels.scatter(turned[:, g]), box)
        assert float(jnp.abs(got - expected).max()) < 1e-5


def test_poses_turn_as_their_images_do():
    """A turned projection is the projection at the turned pose; the mirror is diag(−1, 1, −1)."""
    key = jax.random.key(0)
    pixels = FourierPixels(BOX, 6)
    frequency = jnp.asarray(pixels.frequency)
    grid = volume_to_grid(jax.random.normal(key, (BOX, BOX, BOX)))
    rotation = random_rotations(key, 4)
    shift = jnp.asarray([[1.0, -2.0], [0.5, 0.25], [0.0, 3.0], [-1.5, 1.0]])
    orbit = pixel_orbit(pixels, D4)

    @jax.jit
    def project(rotation, shift):
        moved = phase_shift(frequency[None] / BOX, shift)
        return slice_grid(grid, rotation, frequency) * moved

    turned = orbit.turn(project(rotation, shift))
    rotations, shifts = orbit.turn_pose(rotation, shift)
    for g in range(8):
        expected = project(rotations[:, g], shifts[:, g])
        error = jnp.abs(turned[:, g] - expected).max() / jnp.abs(expected).max()
        assert float(error) < 1e-5
    flip = pixel_orbit(pixels, PAIR)
    np.testing.assert_array_equal(flip.proper[1], np.diag([-1.0, 1.0, -1.0]))
    back, there = orbit.turn_back(rotations[:, :, None], shifts[:, :, None])
    assert float(jnp.abs(back - rotation[:, None, None]).max()) < 1e-6
    assert float(jnp.abs(there - shift[:, None, None]).max()) < 1e-6


def test_proposals_turn_with_the_image():
    """Whatever the network: the set of proposals of a turned image is the set, turned."""
    key = jax.random.key(1)
    frame = Frame(BOX, 5, 4.0)
    layout = Layout(heads=2)
    orbit = pixel_orbit(frame.pixels, D4)
    grid = volume_to_grid(jax.random.normal(key, (frame.box,) * 3))
    ones = jnp.ones(frame.shells)
    table = jnp.concatenate([grid.values, grid.values])
    fsc = jnp.ones(frame.box // 2)
    reference = Reference(table, ones, ones, ones, jnp.int32(5), fsc)
    encoder = SpectralEncoder(
        ResidualMLP(2 * len(frame.pixels), layout.size, 32, 1, key=jax.random.key(2))
    )
    real, imaginary = jax.random.normal(key, (2, 3, len(frame.pixels)))
    image = hermitian(jax.lax.complex(real, imaginary), frame.pixels)
    transfer = jnp.ones((3, len(frame.pixels)))

    @jax.jit
    def proposals(image):
        sight = Sight(image, transfer, jnp.zeros(3, jnp.int32), jnp.ones(3))
        return propose(encoder, sight, reference, orbit, layout, jnp.ones(()), frame)

    plain = proposals(image)
    third = orbit.turn(image)[:, 5]
    turned = proposals(third)
    rotation, _ = orbit.turn_pose(plain.rotation.reshape(-1, 3, 3), plain.shift.reshape(-1, 2))
    rotation = rotation[:, 5].reshape(3, -1, 3, 3)
    # As sets: the nearest proposal of the other set is the same one.
    chord = squared_chord(rotation[:, :, None], turned.rotation[:, None])
    assert float(chord.min(axis=1).max()) < 1e-4
    # Sums of many terms in single precision.
    np.testing.assert_allclose(np.sort(turned.score), np.sort(plain.score), rtol=1e-5)


def test_density_of_a_hypothesis_is_normalised():
    """The integral over SO(3), by the trapezium rule over the angle, is 1."""
    angle = np.linspace(0, np.pi, 20001)
    for kappa in (0.5, 7.0, 300.0):
        density = np.exp(-kappa * (1 - np.cos(angle))) * (1 - np.cos(angle)) / np.pi
        expected = np.log(np.trapezoid(density, angle))
        assert float(log_normaliser(jnp.float32(kappa))) == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("assignment", ["mixture", "winner"])
def test_one_right_head_is_enough(assignment):
    """Odds learn which head is right; a pose moved by a symmetry is as right."""
    key = jax.random.key(2)
    layout = Layout(heads=3)
    found = layout.hypotheses(jax.random.normal(key, (5, layout.size)), jnp.ones(()))
    group = np.stack([np.eye(3), np.diag([-1.0, -1.0, 1.0])])
    right = pose_loss(found, found.rotation[:, 1], found.shift[:, 1], group, assignment)
    wrong = pose_loss(found, random_rotations(key, 5), found.shift[:, 1] + 3, group, assignment)
    assert bool((right < wrong).all())
    copy = found.rotation[:, 1] @ jnp.asarray(group[1], jnp.float32)
    again = pose_loss(found, copy, found.shift[:, 1], group, assignment)
    np.testing.assert_allclose(again, right, rtol=1e-4, atol=1e-5)


def test_convolutions_have_the_shapes_of_the_original():
    """Widths double block by block; three heads on the last map are one linear layer."""
    encoder = ConvolutionEncoder(16, 7, 8 + 2 * 3, 3, 4, 3, jax.random.key(0))
    widths = [block.second.weight.shape[-1] for block in encoder.blocks]
    assert widths == [8, 16, 32]
    assert [block.norm.groups for block in encoder.blocks] == [4] * 3
    assert encoder.head.weight.shape == (32 * 2 * 2, 14)
    seen = jnp.ones((3, len(FourierPixels(16, 7))), jnp.complex64)
    assert jax.eval_shape(encoder, seen).shape == (3, 14)


def test_group_norm_is_the_libraries():
    """Against equinox, which has channels first."""
    x = jax.random.normal(jax.random.key(0), (2, 5, 5, 8)) * 3 + 1
    ours = GroupNorm(8, 4)(x)
    theirs = jax.vmap(eqx.nn.GroupNorm(4, 8))(jnp.moveaxis(x, -1, 1))
    np.testing.assert_allclose(ours, jnp.moveaxis(theirs, 1, -1), atol=1e-5)


def test_latents_are_drawn_with_the_deviation_that_is_paid_for():
    """KL ≥ 0, and 0 only at the prior; samples have the variance the KL is measured with."""
    mean, log_variance = jax.random.normal(jax.random.key(3), (2, 200, 3))
    assert float(kl_divergence(mean, log_variance).min()) > 0
    assert float(kl_divergence(jnp.zeros((1, 3)), jnp.zeros((1, 3)))[0]) == 0
    np.testing.assert_allclose(2 * jnp.log(latent_deviation(log_variance)), log_variance, atol=1e-5)


def test_the_better_guess_counts_alone():
    """The gradient of the loser is zero."""
    error = jnp.asarray([[3.0, 1.0], [0.5, 2.0]])
    best, winner = best_guess(error)
    np.testing.assert_allclose(best, [1.0, 0.5])
    assert winner.tolist() == [1, 0]
    slope = jax.grad(lambda e: best_guess(e)[0].sum())(error)
    np.testing.assert_array_equal(slope, [[0, 1], [1, 0]])


def test_phases_are_epochs_or_images():
    """Counts of images are kept; epochs follow the size of the set."""
    assert presentations("1000 images", 7) == 1000
    assert presentations(1.5, 200) == 300
    assert float(open_shells(jnp.int32(250), 100, 3, 16)) == 5
    assert float(open_shells(jnp.int32(10**6), 100, 3, 16)) == 16
    with pytest.raises(InputError, match="pose_only_phase"):
        AmortisedConfig(pose_only_phase="soon")


def write(path, **values):
    """Write a CryoFIRE configuration."""
    path.write_text(json.dumps(values))
    return path


def test_a_configuration_of_the_seed_is_read(tmp_path, caplog):
    """Keys with dashes too; counts of images stay; keys without effect are named in a line."""
    values = {
        "particles": "p.mrcs",
        "outdir": "logs",
        "z_dim": 4,
        "depth_cnn": 3,
        "pose-only-phase": 5000,
        "add_one_frequency_every": 100,
        "sym_loss_factor": 2,
        "seed": -1,
        "norm": [0, 2.5],
        "loss_scale": 3.0,
        "input_mask": "none",
    }
    with caplog.at_level(logging.WARNING):
        config = config_from_json(write(tmp_path / "c.json", **values))
    assert config.scheme == "gradient"
    assert config.encoder == "cnn"
    assert (config.z_dim, config.depth_cnn, config.seed) == (4, 3, 0)
    assert config.pose_only_phase == "5000 images"
    assert config.files.norm == (0.0, 2.5)
    assert config.files.particles == "p.mrcs"
    assert len(caplog.records) == 1
    assert "loss_scale" in caplog.text
    assert "input_mask" not in caplog.text


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"batchsize": 3}, "batchsize"),
        ({"sym_loss_factor": 4}, "sym_loss_factor"),
        ({"pe_type": "geom"}, "pe_type"),
        ({"norm": 1.0}, "norm"),
        ({"z_dim": -1}, "z_dim"),
        ({"beta_conf": "e"}, "beta_conf"),
    ],
)
def test_what_cannot_be_meant_is_named(tmp_path, values, named):
    """Unknown keys and values end the run before it begins."""
    with pytest.raises(InputError, match=named):
        config_from_json(write(tmp_path / "c.json", **values))


def test_files_that_are_no_configuration_are_named(tmp_path):
    """Missing, not JSON, not an object."""
    for text in (None, "{", "[1]"):
        path = tmp_path / "bad.json"
        path.unlink(missing_ok=True)
        if text is not None:
            path.write_text(text)
        with pytest.raises(InputError, match=r"bad\.json"):
            config_from_json(path)


def test_simulated_noise_is_that_of_real_images():
    """Pixels on column kx = 0 are conjugate to their mates, and all have the same power."""
    pixels = FourierPixels(BOX, 5)
    real, imaginary = jax.random.normal(jax.random.key(4), (2, 4000, len(pixels)))
    noise = hermitian(jax.lax.complex(real, imaginary) / np.sqrt(2).astype(np.complex64), pixels)
    half = pixels.scatter(noise)
    again = pixels.gather(half_plane(image_from_half_plane(half, BOX)))
    np.testing.assert_allclose(again, noise, atol=1e-5)
    power = jnp.mean(jnp.abs(noise) ** 2, axis=0)
    assert float(jnp.abs(power - 1).max()) < 0.1


def test_geodesic_and_chord_agree_for_small_angles():
    """The chord of the loss is the square of the angle."""
    a = random_rotations(jax.random.key(5), 20)
    b = a @ random_rotations(jax.random.key(6), 1)[0]
    angle = geodesic_distance(a, b) * np.float32(np.pi / 180)
    np.testing.assert_allclose(squared_chord(a, b), 2 * (1 - jnp.cos(angle)), atol=1e-4)
