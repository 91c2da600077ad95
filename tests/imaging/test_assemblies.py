"""Copies and conformations against the same thing built atom by atom."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.geometry.point_groups import point_group
from vitreous.geometry.rotations import random_rotations
from vitreous.imaging import (
    Assembly,
    AtomVolume,
    ContinuousEnsemble,
    DiscreteEnsemble,
    FourierVolume,
    GaussianVolume,
    Volume,
)
from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.projection.project import project

GRID = ImageGrid(24, 2.0)
ROTATION = random_rotations(jax.random.key(3), 3)


def gaussians(position: np.ndarray, sigma: float = 2.5) -> GaussianVolume:
    one = np.ones((len(position), 1), np.float32)
    return GaussianVolume(np.float32(position), one, one * np.float32(sigma**2))


SUBUNIT = np.array([[2.0, 1.0, 0.5], [-1.0, 3.0, 1.0], [0.0, 0.5, -2.0]])
PLACE = np.array([7.0, 2.0, 4.0])


def images(volume: Volume, rotation: jax.Array = ROTATION) -> jax.Array:
    return jax.jit(lambda v, r: project(v, r, GRID))(volume, rotation)


@pytest.mark.parametrize("group", ["C5", "D3", "T", "O", "I"])
def test_symmetric_assemblies_are_sums_of_turned_copies(group: str) -> None:
    turns = point_group(group)
    assembly = Assembly.symmetric(gaussians(SUBUNIT), group, jnp.asarray(PLACE, jnp.float32))
    assert len(assembly) == len(turns)
    every = np.einsum("gij,mj->gmi", turns, SUBUNIT + PLACE).reshape(-1, 3)
    found = images(assembly)
    np.testing.assert_allclose(found, images(gaussians(every)), atol=2e-6 * len(every))
    # Seen along any axis of the group nothing changes.
    turned = jnp.matmul(ROTATION, jnp.asarray(turns[-1], jnp.float32)[None], precision="highest")
    np.testing.assert_allclose(images(assembly, turned), found, atol=2e-5 * len(turns))


def test_an_assembly_of_slices_is_sliced() -> None:
    """Any subunit, by its own method; and the transform at any frequency has the same copies."""
    place = jnp.asarray(PLACE, jnp.float32)
    grid = gaussians(SUBUNIT).to_voxels(24, 2.0).to_fourier("cubic", 1.5)
    sliced, exact = (Assembly.symmetric(v, "D2", place) for v in (grid, gaussians(SUBUNIT)))
    found, expected = images(sliced), images(exact)
    # Voxels are averages: 2 % less amplitude at these frequencies.
    assert float(jnp.linalg.norm(found - expected) / jnp.linalg.norm(expected)) < 0.025
    by_slice = jax.jit(lambda v: project(v, ROTATION, GRID, "slice"))(exact)
    np.testing.assert_allclose(by_slice, expected, atol=2e-4)


def test_a_helix_by_its_definition() -> None:
    """`r_i = R_z(iτ) r₀ + (0, 0, iΔ − Δ(N−1)/2)`, starts turned by 360°/n."""
    rise, twist, count, starts = 3.0, 40.0, 4, 2
    found = Assembly.helix(
        gaussians(SUBUNIT), rise, twist, count, starts, jnp.asarray(PLACE, jnp.float32)
    )
    every = []
    for start in range(starts):
        for i in range(count):
            angle = np.deg2rad(i * twist + 360 * start / starts)
            c, s = np.cos(angle), np.sin(angle)
            turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
            every.append((SUBUNIT + PLACE) @ turn.T + [0, 0, rise * (i - (count - 1) / 2)])
    np.testing.assert_allclose(images(found), images(gaussians(np.concatenate(every))), atol=3e-5)


@pytest.mark.parametrize(("starts", "allowed"), [(1, (0, 1, 2, 3)), (2, (0, 2))])
def test_layer_lines_lie_where_the_selection_rule_says(
    starts: int, allowed: tuple[int, ...]
) -> None:
    """Six copies a turn, pitch 40 Å, 4 turns in a box of 160 Å: every fourth row has power.

    Layer line l lies at l/pitch and holds Bessel orders `n = l − 6m`. On the meridian only order 0
    contributes, `l = 6m`. Two starts leave even orders only, so odd lines vanish.
    """
    grid = ImageGrid(80, 2.0)
    helix = Assembly.helix(
        gaussians(np.zeros((1, 3)), 2.0), 40 / 6, 60.0, 24, starts, jnp.array([15.0, 0.0, 0.0])
    )
    # The helix axis runs along the image's y axis.
    side = jnp.array([[[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]]])
    half = jax.jit(lambda v: project(v, side, grid))(helix)[0]
    power = np.abs(np.asarray(half[:40])) ** 2
    rows = power.sum(axis=1) / power[0].sum()
    assert np.delete(rows, np.arange(0, 40, 4)).max() < 1e-6
    assert {order for order in range(4) if rows[4 * order] > 1e-6} == set(allowed)
    meridian = power[::4, 0] / power[0, 0]
    assert meridian[1:6].max() < 1e-6
    assert meridian[6] > 1e-2


def test_rise_and_twist_have_gradients() -> None:
    def loss(parameters: jax.Array) -> jax.Array:
        helix = Assembly.helix(
            gaussians(SUBUNIT), parameters[0], parameters[1], 3, 1, jnp.array([8.0, 0.0, 0.0])
        )
        return jnp.sum(jnp.abs(project(helix, ROTATION, GRID)) ** 2)

    at = jnp.array([4.0, 50.0])
    slope, run = jax.jit(jax.grad(loss))(at), jax.jit(loss)
    for i, step in enumerate((0.05, 0.5)):
        move = jnp.zeros(2).at[i].set(step)
        np.testing.assert_allclose(
            slope[i], (run(at + move) - run(at - move)) / (2 * step), rtol=2e-2
        )


def members(kind: str) -> list[Volume]:
    shapes = [gaussians(SUBUNIT * scale) for scale in (1.0, 1.5, 2.0)]
    if kind == "gaussians":
        return list(shapes)
    grids: list[Volume] = [shape.to_voxels(16, 2.0).to_fourier("linear") for shape in shapes]
    return grids if kind == "grids" else [shapes[0], grids[1], gaussians(SUBUNIT[:2])]


@pytest.mark.parametrize("kind", ["gaussians", "grids", "mixed"])
def test_an_index_chooses_the_member(kind: str) -> None:
    """One for all images, one an image, and under vmap: always the member's own projection."""
    each = members(kind)
    ensemble = DiscreteEnsemble(each)
    assert len(ensemble) == 3
    with pytest.raises(IndexError, match="members 0 to 2, not 3"):
        ensemble.at(np.array([0, 3]))
    chosen = np.array([2, 0, 1])
    expected = jnp.stack([images(each[i])[b] for b, i in enumerate(chosen)])
    batch = jax.jit(lambda e, i: project(e.at(i), ROTATION, GRID))(ensemble, jnp.asarray(chosen))
    np.testing.assert_allclose(batch, expected, atol=1e-5)
    if kind == "mixed":
        return
    one = jax.jit(lambda e, i: project(e.at(i), ROTATION, GRID))(ensemble, 2)
    np.testing.assert_allclose(one, images(each[2]), atol=1e-5)
    mapped = jax.jit(
        jax.vmap(lambda e, i, r: project(e.at(i), r[None], GRID)[0], in_axes=(None, 0, 0))
    )(ensemble, jnp.asarray(chosen), ROTATION)
    np.testing.assert_allclose(mapped, expected, atol=1e-5)
    if isinstance(each[0], FourierVolume):
        assert len(ensemble.members) == 1


def test_a_coordinate_chooses_the_conformation() -> None:
    """With gradients to the coordinate."""
    base = gaussians(SUBUNIT)

    def opened(t: jax.Array) -> GaussianVolume:
        return GaussianVolume(base.position * (1 + t), base.amplitude, base.variance)

    ensemble = ContinuousEnsemble(opened)
    t = jnp.array([0.0, 0.5, 1.0])
    found = jax.jit(lambda t: project(ensemble.at(t), ROTATION, GRID))(t)
    expected = jnp.stack([images(opened(t[i]))[i] for i in range(3)])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    alike = jax.jit(lambda t: project(ensemble.at(t), ROTATION, GRID, "separable"))(t[1])
    np.testing.assert_allclose(alike, images(opened(t[1])), atol=1e-4)
    power = jax.jit(lambda t: jnp.sum(jnp.abs(project(ensemble.at(t), ROTATION, GRID)) ** 2))
    slope = jax.jit(jax.grad(power))(t[1])
    np.testing.assert_allclose(slope, (power(t[1] + 0.01) - power(t[1] - 0.01)) / 0.02, rtol=1e-2)


MODELS = """\
MODEL        1
ATOM      1  N   ALA A   1       1.000   2.000   0.000  1.00 20.00           N
ATOM      2  CA  ALA A   1       2.000   2.500   1.000  1.00 20.00           C
ENDMDL
MODEL        2
ATOM      1  N   ALA A   1       1.000   4.000   0.000  1.00 20.00           N
ATOM      2  CA  ALA A   1       2.000   2.500   3.000  1.00 20.00           C
ENDMDL
END
"""


def test_models_of_a_file_are_an_ensemble_in_one_frame(tmp_path) -> None:
    path = tmp_path / "models.pdb"
    path.write_text(MODELS)
    ensemble = DiscreteEnsemble.from_structure(path)
    first, second = ensemble.members
    assert isinstance(first, AtomVolume)
    assert isinstance(second, AtomVolume)
    weights = np.array([7.0, 6.0])
    np.testing.assert_allclose(weights @ np.asarray(first.position), 0, atol=1e-4)
    np.testing.assert_allclose(second.position - first.position, [[0, 2, 0], [0, 0, 2]], atol=1e-5)
