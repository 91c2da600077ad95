"""Structure files in, scattering factors out, and every bad file a clear line."""

from pathlib import Path

import gemmi
import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.errors import InputError
from vitreous.imaging.atoms import Atoms, read_atoms, scattering_gaussians
from vitreous.imaging.gaussians import gaussian_map, slice_gaussians

PDB = """\
ATOM      1  N   ALA A   1      11.104   6.134  -6.504  1.00 20.00           N
ATOM      2  CA  ALA A   1      11.639   6.071  -5.147  0.50 30.00           C
ATOM      3  HA  ALA A   1      12.639   6.071  -5.147  1.00 30.00           H
HETATM    4  P   PO4 B   1      -1.000   2.000   3.000  1.00  5.00           P
END
"""


@pytest.fixture
def pdb(tmp_path: Path) -> Path:
    path = tmp_path / "small.pdb"
    path.write_text(PDB)
    return path


def test_columns(pdb: Path) -> None:
    atoms = read_atoms(pdb)
    assert atoms.atomic_number.tolist() == [7, 6, 1, 15]
    assert atoms.occupancy.tolist() == [1, 0.5, 1, 1]
    assert atoms.bfactor.tolist() == [20, 30, 30, 5]
    np.testing.assert_allclose(atoms.position[3], [-1, 2, 3])


def test_pdb_and_cif_agree(pdb: Path, tmp_path: Path) -> None:
    gemmi.read_structure(str(pdb)).make_mmcif_document().write_file(str(tmp_path / "small.cif"))
    first, second = read_atoms(pdb), read_atoms(tmp_path / "small.cif")
    for name in ("position", "atomic_number", "bfactor", "occupancy"):
        np.testing.assert_allclose(getattr(first, name), getattr(second, name))


def test_choosing_atoms(pdb: Path) -> None:
    assert len(read_atoms(pdb, selection="A")) == 3
    assert len(read_atoms(pdb, selection="A/1/CA")) == 1
    assert len(read_atoms(pdb, hydrogens=False)) == 3


def test_centred_atoms_have_their_mass_at_the_origin(pdb: Path) -> None:
    atoms = read_atoms(pdb).centered()
    mass = atoms.atomic_number * atoms.occupancy
    np.testing.assert_allclose((atoms.position * mass[:, None]).sum(axis=0), 0, atol=1e-4)
    assert atoms.radius == pytest.approx(np.linalg.norm(atoms.position, axis=1).max())


@pytest.mark.parametrize(
    ("element", "total"),
    [("C", 2.5088), ("N", 2.2135), ("O", 1.9834), ("P", 5.4876), ("S", 5.1604)],
)
def test_forward_scattering(element: str, total: float) -> None:
    """f(0) = Σ a, as the International Tables print it."""
    one = Atoms(
        np.zeros((1, 3), np.float32),
        np.array([gemmi.Element(element).atomic_number]),
        np.zeros(1, np.float32),
        np.ones(1, np.float32),
    )
    assert float(scattering_gaussians(one).amplitude.sum()) == pytest.approx(total, abs=1e-4)


def test_bfactors_damp_as_they_should(pdb: Path) -> None:
    """One atom's transform is f(k) exp(−B k²/4), k in cycles/Å."""
    atoms = read_atoms(pdb, selection="B")
    k = jnp.array([[0.0, 0.0], [0.1, 0.0], [0.2, 0.3]])
    square = np.sum(np.asarray(k) ** 2, axis=1)
    factor = gemmi.Element("P").c4322
    identity = jnp.eye(3)[None]
    for gaussians, bfactor in [
        (scattering_gaussians(atoms), 5.0),
        (scattering_gaussians(atoms, use_bfactors=False, extra_bfactor=40.0), 40.0),
    ]:
        value = np.abs(slice_gaussians(gaussians, identity, k)[0])
        form = [
            sum(a * np.exp(-b * s / 4) for a, b in zip(factor.a, factor.b, strict=True))
            for s in square
        ]
        np.testing.assert_allclose(value, np.array(form) * np.exp(-bfactor * square / 4), rtol=1e-5)


def test_mass_of_the_map(pdb: Path) -> None:
    """Σ U Δ³ = Σ occupancy · f(0): half a carbon here."""
    gaussians = scattering_gaussians(read_atoms(pdb).centered())
    volume = gaussian_map(gaussians, 32, 1.5)
    np.testing.assert_allclose(volume.sum() * 1.5**3, gaussians.amplitude.sum(), rtol=1e-4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing here\n", "no atoms|models"),
        (PDB.replace("           P\n", "           Q\n"), "unknown element"),
        (PDB.replace("1.00", "0.00").replace("0.50", "0.00"), "occupancy 0"),
        (PDB.replace("11.104", "   nan"), "not a number|not a PDB"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.pdb"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_atoms(path)
    assert "bad.pdb" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_requests_are_named(pdb: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_atoms(tmp_path / "absent.cif")
    with pytest.raises(InputError, match="there is no model 2"):
        read_atoms(pdb, model=2)
    with pytest.raises(InputError, match="matches no atoms"):
        read_atoms(pdb, selection="Z")
    (tmp_path / "broken.cif").write_text("data_x\nloop_\n_atom_site.id\n'unclosed\n")
    with pytest.raises(InputError, match=r"broken\.cif"):
        read_atoms(tmp_path / "broken.cif")


def test_real_structures(shared_data: Path) -> None:
    antibody = read_atoms(shared_data / "structures" / "1igy.cif")
    assert len(antibody) > 9000
    chignolin = read_atoms(shared_data / "structures" / "1uao.pdb")
    assert len(chignolin) == 138
    assert len(read_atoms(shared_data / "structures" / "1uao.pdb", hydrogens=False)) == 77
