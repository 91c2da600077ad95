"""Particle tables of bare stacks: an `.mrcs` file, or a `.txt` list of them."""

import os
from pathlib import Path

import numpy as np

from vitreous.errors import InputError
from vitreous.mrc import MrcHeader, read_header
from vitreous.particles.paths import resolve_stacks
from vitreous.particles.peer_pickles import read_ctf_pickle
from vitreous.particles.table import ParticleTable

PathLike = str | os.PathLike


def read_stacks(
    path: Path,
    datadir: PathLike | None,
    pixel_size: float | None,
    box: int | None,
    ctf: PathLike | None,
) -> ParticleTable:
    """Make a table of images without poses, in the order of the stacks.

    **Arguments:** `pixel_size` (Å) and `box` in place of what the headers say; `ctf`, a CTF
    pickle, tells the extent of the images and so their pixel size.

    **Raises:** `InputError` for missing or broken stacks and for an unknown pixel size.
    """
    if path.suffix.lower() == ".txt":
        # With an explicit folder every stack must be found: there is no table without headers.
        folder = path.absolute().parent if datadir is None else datadir
        stacks = resolve_stacks(_listed(path), path, folder)
    else:
        stacks = (os.path.abspath(path),)
    headers = [read_header(stack) for stack in stacks]
    counts = [header.shape[0] for header in headers]
    stack_id = np.repeat(np.arange(len(stacks), dtype=np.int32), counts)
    boxes = np.repeat(np.array([h.shape[2] for h in headers], np.int32), counts)
    if ctf is not None and pixel_size is None:
        _, original_box, original_size = read_ctf_pickle(ctf)
        side = original_box * original_size
        sides = np.broadcast_to(side[0], boxes.shape) if np.ptp(side) == 0 else side
        if len(sides) != len(boxes):
            raise count_error(ctf, len(side), len(boxes), path)
        sizes = sides / boxes
    else:
        sizes = np.repeat([header_pixel_size(h, pixel_size) for h in headers], counts)
    if box is not None:
        boxes = np.full_like(boxes, box)
    n = len(stack_id)
    return ParticleTable(
        stacks=stacks,
        stack_id=stack_id,
        image_index=np.concatenate([np.arange(count) for count in counts]),
        box=boxes,
        pixel_size=sizes.astype(np.float64),
        rotation=None,
        shift=np.zeros((n, 2), np.float32),
        ctf=None,
        optics_group=np.zeros(n, np.int32),
        row=np.arange(n),
        path=path,
    )


def _listed(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise InputError(f"{path}: names no stacks")
    return names


def header_pixel_size(header: MrcHeader, pixel_size: float | None) -> float:
    """Return Å per pixel: as given, else as the header says."""
    size = header.voxel_size[0] if pixel_size is None else pixel_size
    if not size > 0:
        raise InputError(f"{header.path}: has no pixel size; give it in Å (--Apix, or a ctf.pkl)")
    return size


def count_error(path: PathLike, count: int, total: int, parent: Path | None) -> InputError:
    """Word the error for a file whose rows do not match the particles."""
    return InputError(
        f"{path}: has {count} rows for the {total} particles of {parent}; make it from that file"
    )
