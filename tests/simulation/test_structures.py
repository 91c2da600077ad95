"""Structures and maps brought to one grid."""

import logging
from pathlib import Path

import numpy as np
import pytest

from vitreous.errors import InputError
from vitreous.geometry.fourier import coordinates
from vitreous.particles import Map, write_map
from vitreous.simulation.structures import fit_map, state_maps

PDB = """\
ATOM      1  CA  GLY A   1      30.000  10.000   0.000  1.00 80.00           C
ATOM      2  CA  GLY A   2      34.000  10.000   4.000  1.00 80.00           C
ATOM      3  O   GLY B   3      30.000  16.000   4.000  1.00 80.00           O
END
"""


def blob(box: int, voxel: float, sigma: float = 8.0) -> np.ndarray:
    """Two Gaussians off the centre, in Å."""
    r = coordinates(box, 3).astype(np.float64) * voxel
    total = np.zeros((box, box, box))
    for place, weight in [((5.0, -8.0, 3.0), 1.0), ((-6.0, 4.0, 9.0), 0.6)]:
        total += weight * np.exp(-np.sum((r - place) ** 2, axis=-1) / (2 * sigma**2))
    return total.astype(np.float32)


@pytest.mark.parametrize(
    ("box", "voxel", "new_box", "pixel"),
    [(40, 2.4, 32, 3.0), (41, 2.4, 30, 3.1), (32, 3.0, 45, 2.2)],
)
def test_maps_are_the_same_density_on_the_new_grid(
    box: int, voxel: float, new_box: int, pixel: float, caplog: pytest.LogCaptureFixture
) -> None:
    """Including the place of the centre, for sides of any parity."""
    fitted = fit_map(Map(blob(box, voxel), voxel), new_box, pixel)
    # σ = 8 Å: no detail is lost at these samplings, only the tails beyond either box.
    np.testing.assert_allclose(fitted, blob(new_box, pixel), atol=6e-3)


def test_lost_density_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        fit_map(Map(blob(40, 2.4), 2.4), 12, 2.4, name="small.mrc")
    assert "small.mrc" in caplog.text
    assert "% of the density lies outside" in caplog.text


def test_structures_share_the_first_ones_origin(tmp_path: Path) -> None:
    """The second state is the first moved by 6 Å in x: so must its map be."""
    (tmp_path / "a.pdb").write_text(PDB)
    moved = PDB.replace(" 30.000", " 36.000").replace(" 34.000", " 40.000")
    (tmp_path / "b.pdb").write_text(moved)
    maps, voxel = state_maps([tmp_path / "a.pdb", tmp_path / "b.pdb"], 32, 2.0)
    assert voxel == 2.0
    np.testing.assert_allclose(maps[1, :, :, 3:], maps[0, :, :, :-3], atol=1e-6)
    # The centre of mass, by atomic numbers, is the box centre; the map weighs by f(0).
    atoms = np.array([[30.0, 10, 0], [34, 10, 4], [30, 16, 4]])
    atoms -= np.average(atoms, axis=0, weights=[6, 6, 8])
    r = coordinates(32, 3) * 2.0
    middle = np.einsum("zyx,zyxc->c", maps[0], r) / maps[0].sum()
    expected = np.average(atoms, axis=0, weights=[2.5088, 2.5088, 1.9834])
    np.testing.assert_allclose(middle, expected, atol=0.01)
    one, _ = state_maps([tmp_path / "a.pdb"], 32, 2.0, selection="B")
    assert one.sum() * 8 == pytest.approx(1.9834, rel=1e-3)


def test_sampling_follows_what_is_given(tmp_path: Path) -> None:
    write_map(tmp_path / "m.mrc", blob(24, 4.0), 4.0)
    for box, pixel, expected in [
        (None, None, (24, 4.0)),
        (16, None, (16, 6.0)),
        (None, 6.0, (16, 6.0)),
        (20, 6.0, (20, 6.0)),
    ]:
        maps, voxel = state_maps([tmp_path / "m.mrc"], box, pixel)
        assert (maps.shape[-1], voxel) == expected


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "name a structure"),
        (["x.txt"], "neither a structure"),
        (["a.pdb", "b.mrc"], "mixing"),
        (["a.pdb"], "-D and --apix"),
        (["flat.mrc"], "not a cube"),
    ],
)
def test_inputs_that_do_not_fit_are_named(tmp_path: Path, names: list, message: str) -> None:
    write_map(tmp_path / "flat.mrc", np.zeros((2, 4, 4), np.float32), 1.0)
    with pytest.raises(InputError, match=message):
        state_maps([tmp_path / name for name in names], None, None)
