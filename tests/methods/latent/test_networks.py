"""Encodings, networks, decoders and encoders against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.geometry.fourier import half_plane
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.rotations import random_rotations
from vitreous.methods.latent.encoder import EncoderInput, build_encoder
from vitreous.training.networks.decoder import Decoder, decode_volumes
from vitreous.training.networks.lifting import Lifting
from vitreous.training.networks.positional_encoding import ENCODING_TYPES, build_encoding
from vitreous.training.networks.residual_mlp import ResidualMLP, scaled_output

KEY = jax.random.key(3)


@pytest.mark.parametrize("kind", ENCODING_TYPES)
def test_encoding_is_sines_then_cosines_of_its_phases(kind):
    encoding = build_encoding(kind, 16, 8, 0.5, KEY)
    x = jax.random.uniform(KEY, (5, 3), minval=-0.5, maxval=0.5)
    features = encoding(x)
    assert features.shape == (5, encoding.size)
    if kind == "none":
        np.testing.assert_array_equal(features, x)
        return
    phase = np.asarray(x, np.float64) @ np.asarray(encoding.matrix, np.float64)
    expected = np.concatenate([np.sin(phase), np.cos(phase)], axis=1)
    # float32 phases up to Dπ/2 = 25 carry an error of 25 · 6e-8.
    np.testing.assert_allclose(features, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "highest", "lowest"),
    [
        ("geom_ft", 16 * np.pi, 2 * np.pi),
        ("geom_full", 16 * np.pi, 1),
        ("geom_lowf", 8, 1),
        ("geom_nohighf", 8, 2 * np.pi),
        ("linear_lowf", 8, 1),
    ],
)
def test_axis_encodings_span_their_range(kind, highest, lowest):
    matrix = np.asarray(build_encoding(kind, 16, 6, 0.5, KEY).matrix)
    values = matrix[matrix > 0]
    assert values.max() == pytest.approx(highest, rel=1e-6)
    assert values.min() == pytest.approx(lowest, rel=1e-6)
    # Each phase follows one axis only.
    assert ((matrix != 0).sum(axis=0) == 1).all()


@pytest.mark.parametrize("residual", [True, False])
def test_network_equals_its_formula(residual):
    net = ResidualMLP(4, 2, 8, 2, key=KEY, is_residual=residual)
    x = np.asarray(jax.random.normal(KEY, (5, 4)), np.float64)
    y = x
    for i, layer in enumerate(net.layers):
        w, b = np.asarray(layer.weight, np.float64), np.asarray(layer.bias, np.float64)
        out = y @ w + b
        if residual and out.shape[1] == y.shape[1]:
            out = out + y
        y = np.maximum(out, 0) if i < len(net.layers) - 1 else out
    np.testing.assert_allclose(net(jnp.asarray(x, jnp.float32)), y, rtol=1e-5, atol=1e-6)


def test_condition_equals_concatenation():
    net = ResidualMLP(7, 2, 8, 1, key=KEY)
    x = jax.random.normal(KEY, (3, 5, 4))
    z = jax.random.normal(jax.random.key(1), (3, 3))
    joined = jnp.concatenate([x, jnp.broadcast_to(z[:, None], (3, 5, 3))], axis=-1)
    np.testing.assert_allclose(net(x, z), net(joined), rtol=1e-5, atol=1e-6)


def test_scaled_output_starts_small():
    net = ResidualMLP(4, 2, 8, 1, key=KEY)
    x = jax.random.normal(KEY, (6, 4))
    small = scaled_output(net, 0.0)(x)
    np.testing.assert_array_equal(small, 0)


def make_decoder(domain, box=12, zdim=2):
    encoding = build_encoding("gaussian", box, 4, 0.5, KEY)
    net = ResidualMLP(encoding.size + zdim, 2 if domain == "fourier" else 1, 16, 1, key=KEY)
    return Decoder(net, encoding, jnp.linspace(2.0, 0.5, box), None, box, domain)


@pytest.mark.parametrize("domain", ["fourier", "hartley"])
def test_field_obeys_friedel(domain):
    decoder = make_decoder(domain)
    k = jax.random.uniform(KEY, (2, 9, 3), minval=-5.0, maxval=5.0)
    z = jax.random.normal(KEY, (2, 2))
    plus, minus = decoder.field(k, z), decoder.field(-k, z)
    np.testing.assert_allclose(minus, np.conj(plus), atol=1e-6)


@pytest.mark.parametrize("domain", ["fourier", "hartley"])
def test_volumes_decoded_together_are_those_decoded_alone(domain):
    decoder = make_decoder(domain)
    z = jax.random.normal(KEY, (3, 2))
    together = decode_volumes(decoder, z, 5, None, None)
    alone = [decode_volumes(decoder, z[k : k + 1], 5, None, None)[0] for k in range(3)]
    np.testing.assert_allclose(together, np.stack(alone), atol=1e-6)
    assert np.abs(together[0] - together[1]).max() > 1e-2


@pytest.mark.parametrize("domain", ["fourier", "hartley"])
@pytest.mark.parametrize("box", [12, 13])
def test_slice_is_the_transform_of_the_volumes_projection(domain, box):
    decoder = make_decoder(domain, box)
    z = jax.random.normal(KEY, (1, 2))
    shell = (box - 1) // 2
    volume = np.asarray(decode_volumes(decoder, z, shell, None, None, rows=512))[0]
    pixels = FourierPixels(box, shell)
    # x_image = R x_volume: view along the axes, where the projection is a sum over the grid.
    for rotation, image in [
        (np.eye(3), volume.sum(0)),
        (np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]]), volume.sum(1).T),
    ]:
        expected = pixels.gather(half_plane(jnp.asarray(image)))
        r = jnp.asarray(rotation, jnp.float32)[None]
        got = decoder.slices(r, jnp.asarray(pixels.frequency), z)[0]
        if rotation[0, 0] != 1:
            expected = _projection(volume, rotation, pixels)
        np.testing.assert_allclose(got, expected, atol=2e-4)


def _projection(volume, rotation, pixels):
    """Sum over all voxels of `V(x) exp(−2πi k·Rx / n)`: the slice by its definition."""
    n = volume.shape[0]
    axis = np.arange(n) - n // 2
    zz, yy, xx = np.meshgrid(axis, axis, axis, indexing="ij")
    x = np.stack([xx, yy, zz], -1).reshape(-1, 3) @ rotation.T
    phase = np.exp(-2j * np.pi * (pixels.frequency @ x[:, :2].T) / n)
    return phase @ volume.reshape(-1)


def test_lifting_finds_a_point_from_every_view():
    box, band = 32, 8
    lifting = Lifting(box, band, radius=11.0)
    pixels = FourierPixels(box, band)
    voxels = lifting.voxels
    target = voxels[len(voxels) // 3]
    rotation = random_rotations(KEY, 20)
    seen = np.asarray(rotation)[:, :2] @ target
    phase = -2 * np.pi / box * (seen @ pixels.frequency.T)
    features = np.asarray(lifting(jnp.asarray(np.exp(1j * phase), jnp.complex64), rotation))
    # The true voxel projects onto the point in each view; most others do not.
    assert features.mean(0).argmax() == len(voxels) // 3
    centre = np.linalg.norm(voxels - target, axis=1) > 6
    assert features.mean(0)[centre].max() < 0.5 * features.mean(0).max()


@pytest.mark.parametrize("kind", ["lift", "resid", "mlp", "conv"])
def test_encoders_give_a_latent_and_gradients(kind):
    box, band, b = 24, 6, 3
    pixels = FourierPixels(box, band)
    encoder = build_encoder(
        kind, box=box, band=band, radius=9.0, latent_size=2, width=8, depth=1, key=KEY
    )
    k1, k2 = jax.random.split(KEY)
    values = jax.random.normal(k1, (2, b, len(pixels)))
    seen = EncoderInput(
        jax.lax.complex(values[0], values[1]),
        jax.random.normal(k2, (b, len(pixels))),
        None,
        jnp.ones(len(pixels)),
        random_rotations(KEY, b),
    )
    assert encoder(seen).shape == (b, 4)
    gradient = jax.grad(lambda e: jnp.sum(e(seen) ** 2))(encoder)
    sizes = [float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradient)]
    assert np.isfinite(sizes).all()
    assert max(sizes) > 0
