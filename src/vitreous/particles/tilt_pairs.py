"""Tilt pairs: a second image of each particle, after the stage was turned about its x axis."""

import dataclasses

import numpy as np

from vitreous.errors import InputError
from vitreous.geometry.rotations import rotation_vector_to_matrix
from vitreous.particles.table import ParticleTable


def join_tilted(table: ParticleTable, tilted: ParticleTable, degrees: float) -> ParticleTable:
    """Append the tilted images of the same particles, in the same order.

    **Arguments:** `tilted`: its own CTF and shifts count where it has them. `degrees`: the turn
    of the stage: a tilted image sees `Rx(degrees) R`.

    **Returns:** images of the first table, then those of the second; `particle` pairs them.

    **Raises:** `InputError` if the numbers of images differ, or a table has no poses.
    """
    if len(tilted) != len(table):
        raise InputError(
            f"{tilted.path}: {len(tilted)} tilted images for the {len(table)} particles of "
            f"{table.path}; give one for each, in the same order"
        )
    if table.rotation is None:
        raise InputError(f"{table.path}: holds no poses; tilt pairs need them (--poses)")
    turn = rotation_vector_to_matrix(np.array([degrees, 0.0, 0.0]))
    rotation = (np.asarray(turn) @ table.rotation).astype(np.float32)
    shift = tilted.shift if tilted.rotation is not None else table.shift
    ctf = table.ctf if tilted.ctf is None else tilted.ctf
    plain = [dataclasses.replace(t, particle=None, dose=None) for t in (table, tilted)]
    second = dataclasses.replace(plain[1], rotation=rotation, shift=shift, ctf=ctf)
    pairs = np.tile(np.arange(len(table), dtype=np.int64), 2)
    half = None if table.half_set is None else np.tile(table.half_set, 2)
    return dataclasses.replace(plain[0].join(second), particle=pairs, half_set=half)
