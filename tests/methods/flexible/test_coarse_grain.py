"""Beads of a structure: main chain and side chain of each residue, bonds along the chain."""

import numpy as np
import pytest

from vitreous.errors import InputError
from vitreous.methods.flexible.starts.coarse_grain import beads_of_structure

_ATOMS = [
    ("N", "N", 0), ("CA", "C", 0), ("C", "C", 0), ("O", "O", 0), ("CB", "C", 4), ("OG", "O", 4),
]  # fmt: skip


def _line(serial, name, element, residue, number, x, y):
    return (
        f"ATOM  {serial:5d}  {name:<3s} {residue} A{number:4d}    {x:8.3f}{y:8.3f}{0:8.3f}"
        f"{1:6.2f}{20:6.2f}          {element:>2s}"
    )


def _write(path, residues):
    lines = [
        _line(6 * i + j + 1, name, element, "SER", i + 1, 20.0 * i, y)
        for i in range(residues)
        for j, (name, element, y) in enumerate(_ATOMS)
    ]
    path.write_text("\n".join([*lines, "END", ""]))
    return str(path)


def test_a_chain_becomes_two_beads_a_residue_joined_along_it(tmp_path):
    beads = beads_of_structure(_write(tmp_path / "chain.pdb", 3))
    places = [[20 * i, y, 0] for i in range(3) for y in (0, 4)]
    np.testing.assert_allclose(beads.positions, places, atol=1e-6)
    np.testing.assert_allclose(beads.electrons, [7 + 6 + 6 + 8, 6 + 8] * 3)
    assert {tuple(edge) for edge in beads.edges} == {(0, 1), (2, 3), (4, 5), (0, 2), (2, 4)}


def test_a_file_without_residues_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"chain\.pdb"):
        beads_of_structure(_write(tmp_path / "chain.pdb", 0))
