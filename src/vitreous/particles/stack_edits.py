"""Stacks written anew, image by image: negated, phase-flipped, shifted. Memory stays small."""

import os
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from vitreous.errors import InputError
from vitreous.files import atomic_path
from vitreous.geometry.fourier import frequencies, half_plane, image_from_half_plane
from vitreous.geometry.shift import phase_shift
from vitreous.imaging.ctf import CTFParameters, evaluate_ctf
from vitreous.particles.source import ImageSource, check_finite
from vitreous.particles.stack import StackWriter
from vitreous.particles.table import ParticleTable

Edit = Callable[[np.ndarray, np.ndarray], np.ndarray]
Progress = Callable[[int], object]

_BATCH_BYTES = 32 << 20


def edit_stack(
    table: ParticleTable,
    output: str | os.PathLike,
    edit: Edit,
    progress: Progress = lambda images: None,
) -> None:
    """Write the images of a table as one `.mrcs` after `edit(images, rows)` has changed them.

    **Raises:** `InputError` before anything is written: the output is one of the inputs, pixel
    sizes or boxes are mixed, a stack is missing or broken.
    """
    output = Path(output)
    if output.suffix.lower() not in (".mrcs", ".mrc"):
        raise InputError(f"{output}: the output is a stack (.mrcs)")
    if any(os.path.realpath(output) == os.path.realpath(stack) for stack in table.stacks):
        raise InputError(f"{output}: is one of the inputs; choose another output")
    sizes = table.pixel_size
    if np.ptp(sizes) > 1e-4 * sizes[0]:
        raise InputError(
            f"{table.path}: pixel sizes of {sizes.min():.6g} to {sizes.max():.6g} Å do not fit "
            "one stack; select one optics group first"
        )
    source = ImageSource(table)
    box = source.box
    count = max(1, min(len(table), _BATCH_BYTES // (4 * box * box)))
    with StackWriter(output, len(table), box, float(sizes[0])) as stack:
        for start in range(0, len(table), count):
            rows = np.arange(start, min(start + count, len(table)))
            images = source.read(rows)
            check_finite(images, rows, table)
            stack.write(edit(images, rows))
            progress(len(rows))


def negated(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Turn white particles dark, and dark ones white."""
    return -images


def phase_flip(table: ParticleTable) -> Edit:
    """Return the edit that multiplies each image by the sign of its CTF in Fourier space.

    The CTF has RELION's sign, positive at low frequency: white particles stay white, and the
    mean stays as it is.

    **Raises:** `InputError` if the table has no CTF.
    """
    ctf, sizes = table.ctf, table.pixel_size
    if ctf is None:
        raise InputError(f"{table.path}: no CTF is known of its images; give a ctf.pkl or a .star")

    def edit(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
        fields = CTFParameters(*(np.asarray(f, np.float32)[rows] for f in ctf))
        return np.stack(
            [
                np.asarray(_flip(image, CTFParameters(*values), np.float32(size)))
                for image, size, *values in zip(images, sizes[rows], *fields, strict=True)
            ]
        )

    return edit


@jax.jit
def _flip(
    image: Float[Array | np.ndarray, "n n"], ctf: CTFParameters, pixel_size: Float[Array, ""]
) -> Float[Array, "n n"]:
    box = image.shape[0]
    k = jnp.asarray(frequencies(box, 2, half=True).reshape(-1, 2)) / (box * pixel_size)
    sign = jnp.where(evaluate_ctf(k, ctf) < 0, -1.0, 1.0)
    plane = half_plane(jnp.asarray(image))
    return image_from_half_plane(plane * sign.reshape(plane.shape).astype(plane.dtype), box)


def translation(shift: Float[np.ndarray, "n 2"]) -> Edit:
    """Return the edit that moves each image by `(tx, ty)` pixels, columns and rows, by Fourier.

    What leaves on one side comes in on the other.
    """

    def edit(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
        moved = [np.asarray(_move(i, t)) for i, t in zip(images, shift[rows], strict=True)]
        return np.stack(moved)

    return edit


@jax.jit
def _move(
    image: Float32[Array | np.ndarray, "n n"], shift: Float32[Array | np.ndarray, "2"]
) -> Float[Array, "n n"]:
    box = image.shape[0]
    k = jnp.asarray(frequencies(box, 2, half=True).reshape(-1, 2)) / box
    plane = half_plane(jnp.asarray(image))
    factor = phase_shift(k, jnp.asarray(shift)).reshape(plane.shape)
    return image_from_half_plane(plane * factor, box)


def set_pixel_size(path: str | os.PathLike, output: str | os.PathLike, pixel_size: float) -> None:
    """Copy a map or stack, pixels untouched, with another pixel size (Å) in its header.

    **Raises:** `InputError` if the file is not MRC, or the size not positive.
    """
    from vitreous.mrc import HEADER_BYTES, header_with_voxel_size, read_header

    if not pixel_size > 0:
        raise InputError(f"--Apix {pixel_size:g}: must be positive")
    read_header(path)
    with atomic_path(output) as temporary, open(path, "rb") as old, temporary.open("wb") as new:
        new.write(header_with_voxel_size(old.read(HEADER_BYTES), path, pixel_size))
        while chunk := old.read(1 << 24):
            new.write(chunk)
