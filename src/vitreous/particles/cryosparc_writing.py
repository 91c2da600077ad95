"""Write particle tables as cryoSPARC `.cs` files."""

import os

import numpy as np

from vitreous.errors import InputError
from vitreous.files import atomic_path
from vitreous.geometry.rotations import matrix_to_rotation_vector
from vitreous.particles.cryosparc import CTF, CsData
from vitreous.particles.table import ParticleTable


def write_cs(table: ParticleTable, path: str | os.PathLike) -> None:
    """Write the parent's rows with `uid` and every field, replaced poses and CTF put in.

    **Raises:** `InputError` if the table did not come from a `.cs` file.
    """
    parent = table.source
    if not isinstance(parent, CsData):
        raise InputError(f"{path}: {table.path} is not a .cs file; write .star instead")
    rows = rows_of(table, parent)
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        np.save(handle, rows, allow_pickle=False)


def rows_of(table: ParticleTable, parent: CsData) -> np.ndarray:
    """Return the parent's rows of a table, replaced poses and CTF put in."""
    rows = parent.table[table.row]
    _put_poses(rows, table, parent)
    if "ctf" in table.changed and table.ctf is not None:
        for field, (name, factor, _) in CTF.items():
            if name in (rows.dtype.names or ()):
                rows[name] = getattr(table.ctf, field) / factor
    return rows


def _put_poses(rows: np.ndarray, table: ParticleTable, parent: CsData) -> None:
    prefix = parent.alignments()
    if not table.changed & {"rotation", "shift"}:
        return
    if prefix is None:
        raise InputError(
            f"{parent.path}: has no pose fields to hold new poses; write .star instead"
        )
    if table.rotation is not None:
        inverse = np.swapaxes(table.rotation.astype(np.float64), -1, -2)
        rows[f"{prefix}/pose"] = np.radians(matrix_to_rotation_vector(inverse))
    names = rows.dtype.names or ()
    sampling = rows[f"{prefix}/psize_A"] if f"{prefix}/psize_A" in names else 0 * table.pixel_size
    size = np.where(sampling > 0, sampling, table.pixel_size)
    rows[f"{prefix}/shift"] = -table.shift / size[:, None]
