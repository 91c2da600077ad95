"""An atomic model that rides along: every atom carried by the flow of the map it was built in."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from vitreous.files import write_text
from vitreous.imaging.atoms import read_structure
from vitreous.methods.morph.flow import carry_points
from vitreous.methods.morph.weights import Flow


def read_model(path: Path):
    """Read a structure (PDB or mmCIF) with what its file format needs to be written again.

    **Raises:** `InputError` if the file is none or holds no atoms.
    """
    structure = read_structure(path)
    structure.setup_entities()
    return structure


def carry_model(structure, flow: Flow, times: Sequence[float]) -> Iterator:
    """Yield copies of a structure with every atom where the flow takes it at each time."""
    atoms = [a for model in structure for chain in model for residue in chain for a in residue]
    start = np.array([a.pos.tolist() for a in atoms], np.float32)
    for points in carry_points(flow.velocity, start, times, flow.steps, flow.scheme):
        copy = structure.clone()
        moved = (a for model in copy for chain in model for residue in chain for a in residue)
        for atom, (x, y, z) in zip(moved, points.astype(float), strict=True):
            atom.pos.x, atom.pos.y, atom.pos.z = float(x), float(y), float(z)
        yield copy


def write_model(path: Path, structure) -> None:
    """Write a structure as mmCIF in one step."""
    write_text(path, structure.make_mmcif_document().as_string())
