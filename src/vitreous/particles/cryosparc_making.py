"""Make cryoSPARC `.cs` rows for particles that another program described."""

import zlib

import numpy as np
import pandas as pd
from jaxtyping import UInt64

from vitreous.geometry.rotations import matrix_to_rotation_vector
from vitreous.particles.cryosparc import CTF
from vitreous.particles.table import ParticleTable

# Fields that cryoSPARC expects and no other program knows: nothing is said by them.
_ZERO_CTF = {"shift_A": 2, "tilt_A": 2, "trefoil_A": 2, "tetra_A": 4, "anisomag": 4}


def make_cs(table: ParticleTable) -> np.ndarray:
    """Return a structured array with `uid`, `blob`, and `ctf` and `alignments3D` where known.

    Stack names are absolute paths. Defocus, poses and shifts take cryoSPARC's signs and units.
    """
    longest = max(map(len, table.stacks))
    kinds: list[tuple] = [
        ("uid", "<u8"),
        ("blob/path", f"S{longest}"),
        ("blob/idx", "<u4"),
        ("blob/shape", "<u4", (2,)),
        ("blob/psize_A", "<f4"),
        ("blob/sign", "<f4"),
    ]
    if table.ctf is not None:
        kinds += [("ctf/type", "S9"), ("ctf/exp_group_id", "<u4")]
        kinds += [(name, "<f4") for name, _, _ in CTF.values()]
        kinds += [("ctf/scale_const", "<f4")]
        kinds += [(f"ctf/{name}", "<f4", (size,)) for name, size in _ZERO_CTF.items()]
    if table.rotation is not None:
        kinds += [("alignments3D/split", "<u4"), ("alignments3D/shift", "<f4", (2,))]
        kinds += [("alignments3D/pose", "<f4", (3,)), ("alignments3D/psize_A", "<f4")]
        kinds += [("alignments3D/alpha", "<f4"), ("alignments3D/class", "<u4")]
        kinds += [("alignments3D/class_posterior", "<f4")]
    rows = np.zeros(len(table), kinds)
    rows["uid"] = _uids(table)
    rows["blob/path"] = np.array([s.encode() for s in table.stacks])[table.stack_id]
    rows["blob/idx"] = table.image_index
    rows["blob/shape"] = table.box[:, None]
    rows["blob/psize_A"] = table.pixel_size
    rows["blob/sign"] = 1.0 if table.sign is None else table.sign
    if table.ctf is not None:
        rows["ctf/type"] = b"imported"
        rows["ctf/exp_group_id"] = table.optics_group + 1
        for field, (name, factor, _) in CTF.items():
            rows[name] = np.asarray(getattr(table.ctf, field)) / factor
    if table.rotation is not None:
        _put_alignments(rows, table)
    return rows


def _put_alignments(rows: np.ndarray, table: ParticleTable) -> None:
    assert table.rotation is not None
    inverse = np.swapaxes(table.rotation.astype(np.float64), -1, -2)
    rows["alignments3D/pose"] = np.radians(matrix_to_rotation_vector(inverse))
    rows["alignments3D/shift"] = -table.shift / table.pixel_size[:, None] + 0.0
    rows["alignments3D/psize_A"] = table.pixel_size
    rows["alignments3D/split"] = 0 if table.half_set is None else table.half_set
    rows["alignments3D/alpha"] = rows["alignments3D/class_posterior"] = 1.0


def _uids(table: ParticleTable) -> UInt64[np.ndarray, " n"]:
    """Number particles by stack and image, the same for the same file in any selection."""
    stacks = np.array([zlib.crc32(s.encode()) for s in table.stacks], np.uint64)[table.stack_id]
    x = (stacks << np.uint64(32)) ^ table.image_index.astype(np.uint64)
    # The finaliser of SplitMix64: one to one, so only two stacks of one checksum could collide.
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    x ^= x >> np.uint64(31)
    # An image listed twice is two particles.
    return x + pd.Series(x).groupby(x).cumcount().to_numpy(np.uint64)
