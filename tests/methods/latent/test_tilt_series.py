"""Tilt series: one latent a particle, made from what all of its images say together."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from two_states import write_tilt_series

from vitreous.analysis.variables import latent_rows, particle_table
from vitreous.cli.main import main
from vitreous.errors import InputError
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.rotations import random_rotations
from vitreous.imaging.ctf import evaluate_ctf
from vitreous.imaging.dose import dose_filter
from vitreous.methods.latent.config import LatentConfig
from vitreous.methods.latent.encoder import EncoderInput, build_encoder
from vitreous.methods.latent.fit import train
from vitreous.methods.latent.tilt_encoder import LiftedTiltEncoder, TiltEncoder, TiltSizes
from vitreous.methods.latent.unseen import evaluate
from vitreous.metrics.neighbours import state_accuracy
from vitreous.particles import read_latent_pickle, read_particles
from vitreous.particles.loader import PreparedImages
from vitreous.particles.prepare import Normalization
from vitreous.particles.tilts import check_tilts
from vitreous.reconstruction.foundation import pixel_frequencies, transfer_of
from vitreous.training.fit import FitOptions
from vitreous.training.inputs import DataOptions
from vitreous.training.run import Run

SMALL = LatentConfig(
    zdim=2,
    encoder_width=48,
    decoder_width=48,
    decoder_layers=2,
    encoder_layers=1,
    epochs=4,
    batch_size=36,
)
QUIET = FitOptions(quiet=True, checkpoint_every=4)


@pytest.fixture(scope="module")
def tilt_set(tmp_path_factory):
    """200 particles × 9 tilts; noise with 30 times the power of the signal."""
    folder = tmp_path_factory.mktemp("tilts")
    return write_tilt_series(folder, particles=200, noise=5.5)


@pytest.fixture(scope="module")
def by_particle(tilt_set, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    return train(tilt_set.star, folder, SMALL, options=QUIET)


@pytest.mark.slow
def test_tilts_together_tell_what_single_images_do_not(tilt_set, by_particle, tmp_path):
    z = by_particle.latents().mean
    assert z.shape == (200, 2)
    together = state_accuracy(z, tilt_set.state)
    config = replace(SMALL, by_particle=False)
    alone = train(tilt_set.star, tmp_path / "run", config, options=QUIET).latents().mean
    owner = tilt_set.table.particle
    assert alone.shape == (len(owner), 2)
    mean = np.stack([alone[owner == p].mean(axis=0) for p in range(200)])
    assert together > 0.95
    assert state_accuracy(alone, tilt_set.state[owner]) < together - 0.2
    # Averaging the latents of the images afterwards does not make up for it.
    assert state_accuracy(mean, tilt_set.state) < together - 0.1


@pytest.mark.slow
def test_run_folder_counts_particles(tilt_set, by_particle):
    mean, log_variance = read_latent_pickle(by_particle.path / "z.4.pkl")
    np.testing.assert_array_equal(mean, by_particle.latents().mean)
    assert log_variance.shape == (200, 2)
    table = by_particle.table()
    assert len(table) == by_particle.config["images"] == len(tilt_set.table)
    first = particle_table(by_particle, 200)
    np.testing.assert_array_equal(first.particle, np.arange(200))
    np.testing.assert_array_equal(latent_rows(by_particle, first, 200), np.arange(200))
    volume = by_particle.decode(mean[:1])
    assert volume.shape == (1, 24, 24, 24)


@pytest.mark.slow
def test_autodecoder_with_drawn_tilts_of_selected_particles(tilt_set, tmp_path):
    chosen = np.r_[np.arange(10, 150), 3]
    np.savetxt(tmp_path / "ind.txt", chosen, fmt="%d")
    flags = "--zdim 2 --dec-dim 48 --dec-layers 2 -n 4 -b 36 --ntilts 6 --random-tilts"
    where = ["--ind", str(tmp_path / "ind.txt"), "-o", str(tmp_path / "run"), "--no-analysis"]
    main(["train-dec", str(tilt_set.star), *flags.split(), *where])
    run = Run.open(tmp_path / "run")
    z = run.latents().mean
    assert z.shape == (141, 2)
    # Latents come in the order of the particles' numbers, and lead back to them.
    numbers = latent_rows(run, particle_table(run, 141), 141)
    np.testing.assert_array_equal(numbers, np.sort(chosen))
    assert state_accuracy(z, tilt_set.state[numbers]) > 0.9
    back = read_particles(tilt_set.star, ind=numbers[:2], ind_of="particles")
    assert set(back.particle) == {3, 10}
    expected = np.isin(tilt_set.table.particle, [3, 10])
    assert len(back) == expected.sum()
    # Others have no latents of their own: the decoder is inverted, all tilts of each together.
    rest = np.setdiff1d(np.arange(200), chosen)
    found = evaluate(run, tilt_set.star, DataOptions(ind=rest.tolist())).latents.mean
    assert found.shape == (59, 2)
    nearest = np.argmin(np.linalg.norm(found[:, None] - z[None], axis=2), axis=1)
    assert np.mean(tilt_set.state[numbers][nearest] == tilt_set.state[rest]) > 0.9


@pytest.mark.slow
def test_tilts_in_order_of_exposure_are_encoded_and_evaluated_alike(tilt_set, tmp_path):
    """Encoders of tilts: as many places as the fullest particle has tilts, fewer elsewhere."""
    kept = read_particles(tilt_set.star, ind=np.arange(40), ind_of="particles")
    kept.to_star(tmp_path / "kept.star")
    config = replace(SMALL, encoder="tilt", by_particle=True, tilt_width=32, epochs=1)
    run = train(tmp_path / "kept.star", tmp_path / "run", config, options=QUIET)
    assert run.config["latent"]["tilts"] == 9
    z = run.latents().mean
    assert z.shape == (40, 2)
    few = read_particles(tmp_path / "kept.star", ind=np.arange(5, 12), ind_of="particles")
    few.select(np.random.default_rng(0).permutation(len(few))).to_star(tmp_path / "few.star")
    order = read_particles(tmp_path / "few.star").particle
    assert set(order) == set(range(7))
    main(["eval-images", str(run.path), str(tmp_path / "few.star"), "-o", str(tmp_path / "e")])
    with np.load(tmp_path / "e" / "latents.npz") as found:
        mean = found["mean"]
    # Rows are particles, numbered by their first image in the file.
    names = [_first_group(tmp_path / "few.star", k) for k in range(7)]
    whole = [_first_group(tmp_path / "kept.star", k) for k in range(40)]
    np.testing.assert_allclose(mean, z[[whole.index(name) for name in names]], atol=2e-3)
    assert run.decode(mean[:1]).shape == (1, 24, 24, 24)


def _first_group(star, particle):
    """The group name of the first image of a particle."""
    table = read_particles(star)
    row = int(np.flatnonzero(table.particle == particle)[0])
    return table.source.main.text("rlnGroupName")[row]


def test_what_series_lack_is_said_before_the_fit(tilt_set, tmp_path, caplog):
    table = tilt_set.table
    with pytest.raises(InputError, match="no particle has 12 tilts, the most is 9; lower --ntilts"):
        check_tilts(table, 12)
    check_tilts(table, 9)
    assert "20 of 200 particles have fewer than 9 tilts (8 at least)" in caplog.text
    caplog.clear()
    check_tilts(table, 8)
    check_tilts(replace(table, particle=None), 8)
    assert not caplog.text
    single = table.select(np.r_[0, np.arange(30, 60)])
    check_tilts(replace(single, dose=None))
    assert "1 of 5 particles have fewer than 2 tilts (1 at least)" in caplog.text
    assert "no doses (_rlnMicrographPreExposure or _rlnCtfBfactor)" in caplog.text
    caplog.clear()
    check_tilts(replace(table, dose=None), dose_per_tilt=3.0)
    assert "no doses" not in caplog.text


def test_settings_that_need_tilt_series_are_refused_without(tilt_set, tmp_path, capsys):
    plain = tmp_path / "plain.star"
    replace(tilt_set.table, particle=None, dose=None).to_star(plain)
    for star, flags, words in (
        (plain, ["--encode-mode", "tilt"], "no tilt series"),
        (plain, ["--ntilts", "3"], "no tilt series"),
        (tilt_set.star, ["--random-tilts"], "--random-tilts needs --ntilts"),
        (tilt_set.star, ["--ntilts", "10"], "no particle has 10 tilts, the most is 9"),
        (tilt_set.star, ["--encode-mode", "tilt", "--per-image"], "--per-image one an image"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(["train-vae", str(star), "-o", str(tmp_path / "run"), *flags])
        assert stop.value.code == 2
        assert words in capsys.readouterr().err
        assert not (tmp_path / "run").exists()


def test_reading_keeps_the_tilts_exposed_first(tilt_set):
    table = read_particles(tilt_set.star, tilts=4, ind=[7, 2, 30], ind_of="particles")
    assert table.particle.tolist() == [7] * 4 + [2] * 4 + [30] * 4
    whole = tilt_set.table
    for particle in (7, 2, 30):
        all_doses = np.sort(whole.dose[whole.particle == particle])
        np.testing.assert_array_equal(
            np.sort(table.dose[table.particle == particle]), all_doses[:4]
        )


def test_images_fade_with_their_dose(tilt_set):
    """The model of a tilt image is CTF × dose filter, as in backprojection."""

    class Source:
        box = 24

        def __len__(self):
            return len(tilt_set.table)

        def read(self, index):
            return np.zeros((len(index), 24, 24), np.float32)

    def batch_of(table):
        data = PreparedImages.build(
            table, Source(), normalization=Normalization(0.0, 1.0), resident=False
        )
        return next(data.in_order(4)), data.pixels

    batch, pixels = batch_of(tilt_set.table)
    frequency = pixel_frequencies(batch, pixels)
    ctf = evaluate_ctf(frequency, batch.ctf)
    faded = ctf * dose_filter(frequency, jnp.asarray(tilt_set.table.dose[:4]), jnp.full(4, 300.0))
    np.testing.assert_allclose(transfer_of(batch, pixels), faded, atol=1e-6)
    # Where B factors say how images faded, doses do not say it once more.
    table = tilt_set.table
    decayed = replace(table, ctf=table.ctf._replace(bfactor=4 * table.dose))
    batch, pixels = batch_of(decayed)
    assert batch.dose is None
    np.testing.assert_allclose(
        transfer_of(batch, pixels), evaluate_ctf(frequency, batch.ctf), atol=1e-6
    )


def test_places_of_tilts_have_a_meaning_and_may_be_empty():
    key = jax.random.key(0)
    sizes = TiltSizes(places=4, embedding=3, layers=1, width=8)
    encoder = eqx.filter_jit(TiltEncoder(10, 2, 8, 1, sizes, key))
    values = jax.random.normal(key, (6, 5, 2))
    seen = EncoderInput(
        jax.lax.complex(values[..., 0], values[..., 1]),
        jnp.ones((6, 5)),
        None,
        jnp.ones(5),
        random_rotations(key, 6),
        jnp.array([1.0, 1, 1, 1, 1, 0]),
        3,
    )
    out = encoder(seen)
    assert out.shape == (2, 2)
    # An image of weight 0 may show anything; a place more, left empty, says nothing.
    other = seen._replace(pixels=seen.pixels.at[5].set(99.0))
    np.testing.assert_allclose(encoder(other), out, rtol=1e-5)
    spread = jnp.array([0, 1, 2, 0, 3, 4, 5, 0])
    fourth = seen._replace(
        pixels=seen.pixels[spread],
        ctf=seen.ctf[spread],
        rotation=seen.rotation[spread],
        weight=jnp.array([1.0, 1, 1, 0, 1, 1, 0, 0]),
        tilts=4,
    )
    np.testing.assert_allclose(encoder(fourth), out, rtol=1e-5)
    swapped = seen._replace(pixels=seen.pixels[jnp.array([1, 0, 2, 3, 4, 5])])
    assert np.abs(np.asarray(encoder(swapped) - out))[0].max() > 1e-3


def test_tilts_that_are_trusted_alike_are_the_plain_sum():
    box, band, key = 16, 5, jax.random.key(0)
    sizes = {"box": box, "band": band, "radius": 5.0, "latent_size": 2, "width": 8, "depth": 1}
    tilts = TiltSizes(places=4, layers=1, width=8)
    ordered = build_encoder("tilt", **sizes, key=key, tilts=tilts)
    assert isinstance(ordered, LiftedTiltEncoder)
    plain = eqx.tree_at(
        lambda e: e.network, build_encoder("lift", **sizes, key=key), ordered.network
    )
    count = len(FourierPixels(box, band))
    values = jax.random.normal(key, (6, count, 2))
    seen = EncoderInput(
        jax.lax.complex(values[..., 0], values[..., 1]),
        jnp.ones((6, count)),
        None,
        jnp.ones(count),
        random_rotations(key, 6),
        jnp.array([1.0, 1, 1, 1, 1, 0]),
        3,
    )

    @eqx.filter_jit
    def both(seen, trust):
        moved = eqx.tree_at(lambda e: e.log_trust, ordered, trust)
        return plain(seen), moved(seen)

    one, other = both(seen, jnp.zeros(4))
    np.testing.assert_allclose(one, other, rtol=1e-5)
    # Half the trust in the second place is half of its image, for every particle.
    factor = jnp.tile(jnp.array([1.0, 0.5, 1]), 2)[:, None]
    halved = seen._replace(pixels=seen.pixels * factor.astype(seen.pixels.dtype))
    trust = jnp.log(jnp.array([1.0, 0.5, 1, 7]))
    np.testing.assert_allclose(both(halved, jnp.zeros(4))[0], both(seen, trust)[1], rtol=1e-5)


@pytest.mark.parametrize("kind", ["lift", "resid"])
def test_evidence_of_tilts_adds_up_whatever_fills_the_gaps(kind):
    box, band, key = 16, 5, jax.random.key(0)
    pixels = FourierPixels(box, band)
    encoder = eqx.filter_jit(
        build_encoder(
            kind, box=box, band=band, radius=5.0, latent_size=2, width=8, depth=1, key=key
        )
    )
    values = jax.random.normal(key, (6, len(pixels), 2))
    seen = EncoderInput(
        jax.lax.complex(values[..., 0], values[..., 1]),
        jnp.ones((6, len(pixels))),
        None,
        jnp.ones(len(pixels)),
        random_rotations(key, 6),
        jnp.array([1.0, 1, 1, 1, 1, 0]),
        3,
    )
    out = encoder(seen)
    assert out.shape == (2, 4)
    # The image of weight 0 may show anything.
    other = seen._replace(
        pixels=seen.pixels.at[5].set(99.0), rotation=seen.rotation.at[5].set(jnp.eye(3))
    )
    np.testing.assert_allclose(encoder(other), out, rtol=1e-5)
    # The order of the tilts does not matter; to which particle they belong does.
    order = jnp.array([2, 0, 1, 4, 3, 5])

    def taken(order):
        return seen._replace(pixels=seen.pixels[order], rotation=seen.rotation[order])

    np.testing.assert_allclose(encoder(taken(order)), out, atol=1e-5)
    swapped = encoder(taken(jnp.array([0, 1, 3, 2, 4, 5])))
    assert np.abs(np.asarray(swapped - out)).max() > 1e-3
    # One tilt a particle is an image by itself.
    single = encoder(seen._replace(tilts=1, weight=jnp.ones(6)))
    if kind == "resid":
        np.testing.assert_allclose(out[0], single[:3].mean(axis=0), atol=1e-5)
