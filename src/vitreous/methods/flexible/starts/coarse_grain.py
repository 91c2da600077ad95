"""A structure as a few beads per residue, and the bonds between them."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from vitreous.errors import InputError
from vitreous.imaging.atoms import read_structure

_MAIN_CHAIN = {"N", "CA", "C", "O", "OXT"}
_BACKBONE = {"P", "OP1", "OP2", "O5'", "C5'", "C4'", "C3'", "O3'", "O4'", "C2'", "C1'", "O2'"}
# Å: beads of one chain in neighbouring residues are bonded, others joined if as near as this.
_NEAR, _WIDTH = 7.0, 2.0


class Beads(NamedTuple):
    """Hold beads: `positions` (Å, as in the file), `electrons`, `edges`, `width` (σ, Å)."""

    positions: Float[np.ndarray, "g 3"]
    electrons: Float[np.ndarray, " g"]
    edges: Int[np.ndarray, "e 2"]
    width: float = _WIDTH


def beads_of_structure(path: str) -> Beads:
    """Make beads: main chain and side chain of an amino acid, backbone and base of a nucleotide.

    Bonds join the beads of a residue, main chains along a chain, and beads nearer than 7 Å.

    **Raises:** `InputError` if the file has no polymer atoms.
    """
    structure = read_structure(Path(path))
    positions: list[np.ndarray] = []
    electrons: list[float] = []
    bonds: list[tuple[int, int]] = []
    for chain in structure[0]:
        before: int | None = None
        for residue in chain:
            if residue.is_water():
                before = None
                continue
            main: list = []
            side: list = []
            for atom in residue:
                is_main = atom.name in _MAIN_CHAIN or atom.name in _BACKBONE
                if not atom.is_hydrogen():
                    (main if is_main else side).append(atom)
            first = len(positions)
            for atoms in (main, side):
                if atoms:
                    weights = np.array([a.occ * a.element.atomic_number for a in atoms])
                    places = np.array([a.pos.tolist() for a in atoms])
                    positions.append(np.average(places, axis=0, weights=weights + 1e-9))
                    electrons.append(float(weights.sum()))
            if main and side:
                bonds.append((first, first + 1))
            if main and before is not None:
                bonds.append((before, first))
            before = first if main else None
    if len(positions) < 2:
        raise InputError(f"{path}: holds no residues to make beads of")
    where = np.array(positions)
    near = cKDTree(where).query_pairs(_NEAR, output_type="ndarray")
    edges = np.unique(np.sort(np.concatenate([np.array(bonds).reshape(-1, 2), near]), 1), axis=0)
    return Beads(where, np.maximum(np.array(electrons), 1e-3), edges.astype(np.int32))
