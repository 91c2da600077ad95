"""Poses and CTFs taken from files in place of drawn ones."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.imaging.ctf import CTFParameters
from vitreous.particles import read_ctf_pickle, read_particles, read_pose_pickle


class GivenPoses(NamedTuple):
    """Hold poses from a file: `rotation`, `shift` (Å), and the CTFs beside them or None."""

    rotation: Float[np.ndarray, "n 3 3"]
    shift: Float[np.ndarray, "n 2"]
    ctf: CTFParameters | None


def given_poses(path: Path, count: int | None, extent: float) -> GivenPoses:
    """Read the poses of `.star`, `.cs` or `poses.pkl`.

    **Arguments:** `count`: take the first so many; None for all. `extent`: side of the new images
    in Å, in which a pickle's shifts are counted.

    **Raises:** `InputError` if the file holds no poses or too few.
    """
    if path.suffix.lower() == ".pkl":
        rotation, fraction = read_pose_pickle(path)
        found = GivenPoses(rotation, (fraction * extent).astype(np.float32), None)
    else:
        table = read_particles(path)
        if table.rotation is None:
            raise InputError(f"{path}: holds no poses (_rlnAngleRot, alignments3D/pose)")
        found = GivenPoses(table.rotation, table.shift, table.ctf)
    available = len(found.rotation)
    if count is not None and count > available:
        raise InputError(f"-n {count}: {path} holds {available} poses; leave out -n to use all")
    rows = slice(count)
    ctf = found.ctf
    if ctf is not None:
        ctf = CTFParameters(*(np.asarray(column)[rows] for column in ctf))
    return GivenPoses(found.rotation[rows], found.shift[rows], ctf)


def drawn_ctfs(path: Path, count: int, seed: int) -> CTFParameters:
    """Draw CTFs from those of `.star`, `.cs` or `ctf.pkl`, with repetition, by a seed.

    As many as there are particles are taken in their order.

    **Raises:** `InputError` if the file holds none.
    """
    if path.suffix.lower() == ".pkl":
        ctf, _, _ = read_ctf_pickle(path)
    else:
        found = read_particles(path).ctf
        if found is None:
            raise InputError(f"{path}: holds no CTF (_rlnDefocusU, ctf/df1_A)")
        ctf = found
    available = len(np.asarray(ctf.defocus_u))
    rows = np.arange(count)
    if count != available:
        stream = np.random.SeedSequence(seed, spawn_key=(len(CTFParameters._fields),))
        rows = np.random.default_rng(stream).integers(0, available, count)
    return CTFParameters(*(np.asarray(column)[rows] for column in ctf))
