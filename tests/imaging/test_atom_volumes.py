"""Structures as volumes: scattering factors, assemblies, models, refinement, maps and files."""

from pathlib import Path

import gemmi
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_truth import relative_error

from vitreous.errors import InputError
from vitreous.geometry.rotations import random_rotations
from vitreous.imaging import AtomVolume, FourierVolume, GaussianVolume, VoxelVolume
from vitreous.imaging.atoms import read_atoms, read_models
from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.projection.project import project
from vitreous.maps import write_map

PDB = """\
REMARK 350 BIOMOLECULE: 1
REMARK 350 APPLY THE FOLLOWING TO CHAINS: A
REMARK 350   BIOMT1   1  1.000000  0.000000  0.000000        0.00000
REMARK 350   BIOMT2   1  0.000000  1.000000  0.000000        0.00000
REMARK 350   BIOMT3   1  0.000000  0.000000  1.000000        0.00000
REMARK 350   BIOMT1   2 -1.000000  0.000000  0.000000        0.00000
REMARK 350   BIOMT2   2  0.000000 -1.000000  0.000000        0.00000
REMARK 350   BIOMT3   2  0.000000  0.000000  1.000000        2.00000
ATOM      1  N   ALA A   1       1.000   2.000  -1.000  1.00 20.00           N
ATOM      2  CA  ALA A   1       3.000   1.000   0.500  0.50 40.00           C
ATOM      3  O   ALA A   1      -2.000   0.000   2.000  1.00  0.00           O
HETATM    4  P   PO4 B   1      -1.000   2.000   3.000  1.00  5.00           P
END
"""


@pytest.fixture
def pdb(tmp_path: Path) -> Path:
    path = tmp_path / "small.pdb"
    path.write_text(PDB)
    return path


def test_the_biological_assembly(pdb: Path) -> None:
    """Chain A and its copy turned about z and moved; the selection holds in both."""
    once = read_atoms(pdb, "A").position
    twice = read_atoms(pdb, assembly="1")
    expected = np.concatenate([once, once * [-1, -1, 1] + [0, 0, 2]])
    np.testing.assert_allclose(np.sort(twice.position, 0), np.sort(expected, 0), atol=1e-5)
    assert len(read_atoms(pdb, "A/1/CA", assembly="1")) == 2
    with pytest.raises(InputError, match="has the assemblies 1, there is no '7'"):
        read_atoms(pdb, assembly="7")
    plain = pdb.with_name("plain.pdb")
    plain.write_text("".join(PDB.splitlines(keepends=True)[8:]))
    with pytest.raises(InputError, match="lists no biological assembly"):
        read_atoms(plain, assembly="1")


def test_every_model_of_a_file(tmp_path: Path) -> None:
    structure = gemmi.read_pdb_string(PDB)
    structure.add_model(structure[0].clone())
    structure[1].num = 2
    structure[1][0][0][0].pos.x += 3
    structure.write_pdb(str(tmp_path / "two.pdb"))
    first, second = read_models(tmp_path / "two.pdb", "A")
    assert len(first) == len(second) == 3
    assert (second.position - first.position).max() == pytest.approx(3)


def test_projections_have_the_scattering_factors(pdb: Path) -> None:
    """`Σ f(k) occupancy exp(−B k²/4) exp(−2πi k·x)`, term by term from Gemmi's table."""
    atoms = read_atoms(pdb)
    volume, grid = AtomVolume.from_structure(pdb, center=False), ImageGrid(16, 1.0)
    found = jax.jit(lambda v: project(v, jnp.eye(3)[None], grid))(volume)[0]
    k = np.asarray(grid.frequencies(), np.float64)
    square = np.sum(k * k, axis=-1)
    expected = np.zeros(square.shape, complex)
    for z, x, b, occupancy in zip(
        atoms.atomic_number, atoms.position, atoms.bfactor, atoms.occupancy, strict=True
    ):
        factor = gemmi.Element(int(z)).c4322
        f = sum(
            a * np.exp(-(bb + b) * square / 4) for a, bb in zip(factor.a, factor.b, strict=True)
        )
        expected += occupancy * f * np.exp(-2j * np.pi * (k @ x[:2]))
    np.testing.assert_allclose(found[:, :8], expected[:, :8], atol=1e-4)
    # Centred, they are about their centre of mass; nothing scatters less for it.
    moved = AtomVolume.from_structure(pdb)
    assert float(jnp.sum(moved.a)) == pytest.approx(float(jnp.sum(volume.a)))
    assert not np.allclose(moved.position, volume.position)


def test_bfactors_occupancies_and_positions_can_be_refined(pdb: Path) -> None:
    volume, grid = AtomVolume.from_structure(pdb), ImageGrid(12, 1.5)
    rotation = random_rotations(jax.random.key(0), 2)
    target = jnp.asarray(np.random.default_rng(0).normal(size=(2, 12, 7)), jnp.complex64)

    @jax.jit
    def loss(v: AtomVolume) -> jax.Array:
        return jnp.sum(jnp.abs(project(v, rotation, grid) - target) ** 2)

    slope = jax.jit(jax.grad(loss))(volume)
    for field, step in (("position", 0.01), ("bfactor", 1.0), ("occupancy", 0.02)):
        value = getattr(volume, field)
        direction = jnp.asarray(np.random.default_rng(1).normal(size=value.shape), jnp.float32)
        up, down = (
            AtomVolume(**{**fields(volume), field: value + s * step * direction}) for s in (1, -1)
        )
        expected = float(loss(up) - loss(down)) / (2 * step)
        found = float(jnp.sum(getattr(slope, field) * direction))
        assert found == pytest.approx(expected, rel=0.02, abs=1e-3 * abs(expected))


def fields(volume: AtomVolume) -> dict:
    names = ("position", "bfactor", "occupancy", "a", "b", "widths")
    return {name: getattr(volume, name) for name in names}


def test_a_structure_as_voxels_and_back_from_a_file(pdb: Path, tmp_path: Path) -> None:
    """Averages over voxels of 0.5 Å, written, read at other samplings, sliced."""
    volume, grid = AtomVolume.from_structure(pdb, extra_bfactor=40.0), ImageGrid(16, 1.0)
    rotation = random_rotations(jax.random.key(1), 2)
    expected = jax.jit(lambda v: project(v, rotation, grid))(volume)
    voxels = volume.to_voxels(32, 0.5)
    assert isinstance(voxels, VoxelVolume)
    total = float(voxels.density.sum()) * 0.5**3
    assert total == pytest.approx(float(jnp.sum(volume.a * volume.occupancy[:, None])), rel=1e-3)
    write_map(tmp_path / "map.mrc", np.asarray(voxels.density), 0.5)
    run = jax.jit(lambda v: project(v, rotation, grid))
    read = FourierVolume.from_mrc(tmp_path / "map.mrc", kernel="linear", padding=2.0)
    assert float(read.voxel_size) == 0.5
    assert relative_error(run(read), np.asarray(expected)) < 0.03
    coarse = FourierVolume.from_mrc(
        tmp_path / "map.mrc", voxel_size=1.0, kernel="linear", padding=2.0
    )
    assert (coarse.box, float(coarse.voxel_size)) == (16, 1.0)
    assert relative_error(run(coarse)[:, :, :7], np.asarray(expected)[:, :, :7]) < 0.05
    np.testing.assert_allclose(read.to_density(), voxels.density, atol=0.1)


def test_resampling_keeps_the_molecule() -> None:
    """The same Gaussians from voxels of two sizes, through the transform of the first."""
    one = np.ones((2, 1), np.float32)
    volume = GaussianVolume(np.float32([[2, 0, 1], [-1, 3, 0]]), one, 6 * one)
    fine = volume.to_voxels(20, 1.0)
    there = fine.to_voxels(12, 2.0)
    expected = jax.jit(lambda v: super(GaussianVolume, v).to_voxels(12, 2.0))(volume)
    assert relative_error(there.density, np.asarray(expected.density)) < 0.02


def test_maps_that_cannot_be_volumes(tmp_path: Path) -> None:
    write_map(tmp_path / "slab.mrc", np.zeros((4, 6, 6), np.float32), 1.0)
    with pytest.raises(InputError, match="not a cube"):
        VoxelVolume.from_mrc(tmp_path / "slab.mrc")
