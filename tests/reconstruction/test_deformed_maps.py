"""Maps from images of a hinging molecule whose motion is known, against the molecule at rest."""

from dataclasses import replace

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.errors import InputError
from vitreous.geometry.fourier import half_plane, half_space
from vitreous.reconstruction.backprojection import full_geometry
from vitreous.reconstruction.deformed import (
    DeformedSettings,
    FieldOnSupport,
    MovedImages,
    judge,
    reconstruct_deformed,
    support_near,
)
from vitreous.reconstruction.deformed.normal_equations import project_deformed as project_eagerly
from vitreous.reconstruction.deformed.streaming import numerator_of, read_chunks, sum_moved
from vitreous.reconstruction.fsc import fourier_shell_correlation
from vitreous.reconstruction.reconstruct import image_columns
from vitreous.simulation.hinges import HingeTrial, hinge_set

project_deformed = eqx.filter_jit(project_eagerly)

BOX = 20
TRIAL = HingeTrial(BOX, 5.0, 160, spread=25.0, snr=None, sigma=5.0, pivot=-18.0, max_shift=4.0)


@pytest.fixture(scope="module")
def trial():
    """Images without noise."""
    return hinge_set(TRIAL)


@pytest.fixture(scope="module")
def support(trial):
    """All voxels near the molecule."""
    return support_near(trial.position, BOX, TRIAL.pixel_size, 18.0, 8.0)


def halves(trial, share: float = 1.0) -> list[MovedImages]:
    z = trial.angle[:, None] * np.float32(share)
    rows = [np.flatnonzero(trial.table.half_set == half) for half in (0, 1)]
    return [MovedImages(r, z[r], trial.field) for r in rows]


@pytest.fixture(scope="module")
def undone(trial, support):
    """The motion undone."""
    settings = DeformedSettings(batch=32)
    return reconstruct_deformed(trial.table, trial.source, halves(trial), [support] * 2, settings)


def test_a_field_of_zeros_changes_nothing(trial, support) -> None:
    settings = DeformedSettings(batch=32)
    still = halves(trial, 0.0)
    made = reconstruct_deformed(trial.table, trial.source, still, [support] * 2, settings)
    np.testing.assert_array_equal(made.plain.volume, made.deformed.volume)
    assert made.amplitude.max() == 0
    verdict = judge(made)
    assert verdict.word == "no change"
    assert verdict.regions.moving is None


def test_undoing_the_motion_brings_the_arm_back(trial, undone) -> None:
    truth = jnp.asarray(trial.volume())
    near = support_near(trial.position[trial.moving], BOX, TRIAL.pixel_size, 6.0, 8.0)
    arm = jnp.asarray(near.volume(near.weight))
    curves = [
        np.asarray(fourier_shell_correlation(truth * arm, made.volume * arm))
        for made in (undone.plain, undone.deformed)
    ]
    assert curves[1][2:7].mean() > 0.97
    assert curves[1][2:7].mean() > curves[0][2:7].mean() + 0.1


def test_the_verdict_names_what_moves(trial, undone) -> None:
    verdict = judge(undone)
    assert verdict.parts["moving"].reach > 3 * verdict.parts["still"].reach
    told = verdict.as_json()
    assert told["verdict"] == verdict.word
    assert verdict.line.startswith(verdict.word)
    rms = np.sqrt(np.mean(trial.displacement(trial.angle)[:, trial.moving] ** 2) * 3)
    assert verdict.parts["moving"].reach == pytest.approx(rms, rel=0.25)


def chunk(trial, support, share: float = 1.0):
    """The first images, and the block of all voxels."""
    geometry = full_geometry(BOX, TRIAL.pixel_size)
    rows = np.arange(16)
    moved = MovedImages(rows, trial.angle[rows, None] * np.float32(share), trial.field)
    field = FieldOnSupport(moved, support)
    columns = image_columns(trial.table)
    (part,) = read_chunks(trial.source, columns, moved, field.code, geometry, 16)
    return geometry, columns, moved, field, part


def test_projections_of_the_map_at_rest_are_the_images(trial, support) -> None:
    geometry, _, _, field, part = chunk(trial, support)
    rest = jnp.asarray(trial.volume())
    seen = project_deformed(rest, jnp.asarray(support.index), field.at(0), part, geometry)
    error = jnp.linalg.norm(seen - part.pixels) / jnp.linalg.norm(part.pixels)
    still = chunk(trial, support, 0.0)
    plain = project_deformed(rest, jnp.asarray(support.index), still[3].at(0), still[4], geometry)
    off = jnp.linalg.norm(plain - part.pixels) / jnp.linalg.norm(part.pixels)
    assert float(error) < 0.08
    assert float(error) < 0.25 * float(off)


def test_gathering_is_the_transpose_of_projecting(trial, support) -> None:
    """Of what the motion changes; the slices' own pair is tested where they live."""
    geometry, columns, moved, field, part = chunk(trial, support)
    gathered = sum_moved(trial.source, columns, moved, field, geometry, 16).difference
    rng = np.random.default_rng(1)
    volume = np.zeros(BOX**3, np.float32)
    volume[support.index] = rng.normal(size=len(support.index))
    shaped = jnp.asarray(volume.reshape(BOX, BOX, BOX))
    index = jnp.asarray(support.index)
    still = chunk(trial, support, 0.0)
    seen = project_deformed(shaped, index, field.at(0), part, geometry)
    seen = seen - project_deformed(shaped, index, still[3].at(0), still[4], geometry)
    mates = np.asarray(geometry.pixels.weight)[None]
    one = float((mates * np.real(np.conj(part.pixels) * np.asarray(seen))).sum()) / BOX**2
    other = float(volume[support.index] @ gathered)
    scale = np.linalg.norm(volume) * np.linalg.norm(gathered)
    assert abs(one - other) < 1e-5 * scale


def test_a_gathered_slice_has_the_scale_of_an_inserted_one() -> None:
    image = np.random.default_rng(2).normal(size=(BOX, BOX)).astype(np.float32)
    stacked = jnp.asarray(np.broadcast_to(image, (BOX, BOX, BOX)).copy())
    # Without the window that stands for the trilinear kernel it would be equal.
    section = np.asarray(half_space(stacked))[0] / BOX
    np.testing.assert_allclose(section, np.asarray(half_plane(jnp.asarray(image))), atol=1e-3)
    windowed = np.asarray(numerator_of(stacked))[0]
    low = (slice(0, 4), slice(0, 4))
    assert np.linalg.norm(windowed[low]) < np.linalg.norm(section[low])


@pytest.mark.slow
def test_conjugate_gradients_fit_the_images_better(trial, support, undone) -> None:
    settings = DeformedSettings(iterations=3, batch=32)
    made = reconstruct_deformed(trial.table, trial.source, halves(trial), [support] * 2, settings)
    geometry, _, _, field, part = chunk(trial, support)

    def misfit(volume) -> float:
        index = jnp.asarray(support.index)
        seen = project_deformed(jnp.asarray(volume), index, field.at(0), part, geometry)
        return float(jnp.linalg.norm(seen - part.pixels))

    assert misfit(made.deformed.half_maps[0]) < 0.9 * misfit(undone.deformed.half_maps[0])


def test_what_cannot_be_undone(trial, support) -> None:
    both = halves(trial)
    with pytest.raises(InputError, match="no poses"):
        reconstruct_deformed(replace(trial.table, rotation=None), trial.source, both, [support] * 2)
    with pytest.raises(InputError, match="both half sets"):
        reconstruct_deformed(trial.table, trial.source, both[:1], [support])
    with pytest.raises(InputError, match="cannot be in both"):
        reconstruct_deformed(trial.table, trial.source, [both[0]] * 2, [support] * 2)
