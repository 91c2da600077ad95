"""The pickles cryoDRGN exchanges: poses, CTF, indices, latents.

`poses.pkl` is `(rotation, translation)` with translation = −shift / (box side in Å); `ctf.pkl` is
`[n, 9]`: box, Å/px, defocus U and V, angle, kV, Cs, amplitude contrast, phase shift.
"""

import os
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64

from vitreous.errors import InputError
from vitreous.imaging.ctf import CTFParameters
from vitreous.particles.pickles import load_pickle, load_pickles, save_pickles

PoseUnit = Literal["fraction", "pixel"]


def read_pose_pickle(
    path: str | os.PathLike, unit: PoseUnit = "fraction"
) -> tuple[Float32[np.ndarray, "n 3 3"], Float64[np.ndarray, "n 2"]]:
    """Read a pose pickle: `(rotation, translation)`, `(rotation,)` or a bare array.

    **Arguments:** `unit`: what the file's translations are in: `"fraction"` of the box, or
    `"pixel"` (as `cryodrgn abinit` writes them).

    **Returns:** rotations, and where the particle lies (minus the file's translation) in `unit`.

    **Raises:** `InputError` if the shapes or the values cannot be poses in that unit.
    """
    content = load_pickle(path)
    parts = content if isinstance(content, tuple | list) else (content,)
    rotation = _array(path, parts[0] if parts else None, "rotations", (3, 3))
    if len(parts) == 1:
        translation = np.zeros((len(rotation), 2))
    else:
        translation = _array(path, parts[1], "translations", (2,))
    if len(parts) > 2 or len(rotation) != len(translation):
        raise InputError(
            f"{path}: {len(rotation)} rotations, {len(translation)} translations in "
            f"{len(parts)} arrays; a pose pickle has two arrays of one length"
        )
    gram = rotation @ np.swapaxes(rotation, -1, -2)
    bad = np.flatnonzero(
        (np.abs(gram - np.eye(3)).max(axis=(1, 2)) > 1e-2) | (np.linalg.det(rotation) < 0)
    )
    if bad.size:
        raise InputError(f"{path}: row {bad[0] + 1}: not a rotation matrix")
    largest = np.abs(translation).max(initial=0)
    if unit == "fraction" and largest > 1:
        raise InputError(
            f"{path}: translations reach {largest:.3g} boxes, which is impossible; they are "
            "pixels, as cryodrgn abinit writes them: pass --pose-unit pixel"
        )
    return rotation.astype(np.float32), -translation + 0.0


def read_ctf_pickle(
    path: str | os.PathLike,
) -> tuple[CTFParameters, Int32[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """Read a CTF pickle.

    **Returns:** the parameters, and the box and pixel size (Å) of the original images.
    """
    values = _array(path, load_pickle(path), "CTF parameters", (9,))
    if (values[:, 0] < 1).any() or (values[:, 1] <= 0).any() or (values[:, 5] <= 0).any():
        raise InputError(f"{path}: box, pixel size and voltage must be positive")
    fields = [np.ascontiguousarray(column, np.float32) for column in values[:, 2:].T]
    ones = np.ones(len(values), np.float32)
    named = dict(zip(CTFParameters._fields, [*fields, 0 * ones, ones], strict=True))
    parameters = CTFParameters(**named)
    return parameters, np.rint(values[:, 0]).astype(np.int32), values[:, 1].copy()


def read_index(path: str | os.PathLike, allow_mask: bool = True) -> Int64[np.ndarray, " n"]:
    """Read row numbers from a pickle, a `.npy` or a text file; a mask becomes its true rows.

    **Arguments:** `allow_mask`: False where the numbers are labels, one a particle.
    """
    path = Path(path)
    try:
        if path.suffix == ".npy":
            content = np.load(path, allow_pickle=False)
        elif path.suffix == ".txt":
            content = np.array(path.read_text().split(), np.int64)
        else:
            content = load_pickle(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path}: not a list of row numbers: {error}") from None
    index = np.asarray(content) if isinstance(content, list | tuple | np.ndarray) else np.zeros(())
    if index.ndim == 1 and index.size == 0:
        raise InputError(f"{path}: selects no rows")
    if index.dtype == bool and index.ndim == 1 and allow_mask:
        index = np.flatnonzero(index)
    if index.ndim != 1 or index.dtype.kind not in "iu" or (index < 0).any():
        raise InputError(f"{path}: not a list of row numbers (whole, counted from 0)")
    return index.astype(np.int64)


def read_latent_pickle(
    path: str | os.PathLike,
) -> tuple[Float32[np.ndarray, "n d"], Float32[np.ndarray, "n d"] | None]:
    """Read `z.N.pkl`: the latent means, and their log variances where the file has them."""
    arrays = [_array(path, part, "latents", None) for part in load_pickles(path)[:2]]
    mean = arrays[0].astype(np.float32)
    return mean, arrays[1].astype(np.float32) if len(arrays) > 1 else None


def save_pose_pickle(
    path: str | os.PathLike,
    rotation: np.ndarray,
    shift: np.ndarray,
    side: np.ndarray | float,
) -> None:
    """Write a pose pickle.

    **Arguments:** `shift` (Å): where the particle lies; `side` (Å): box × pixel size, for all
    images or for each.
    """
    translation = -np.asarray(shift, np.float64) / np.reshape(np.asarray(side, np.float64), (-1, 1))
    save_pickles(path, (np.asarray(rotation, np.float32), (translation + 0.0).astype(np.float32)))


def save_ctf_pickle(
    path: str | os.PathLike,
    ctf: CTFParameters,
    box: np.ndarray | int,
    pixel_size: np.ndarray | float,
) -> None:
    """Write a CTF pickle; box and pixel size are those of the original images."""
    n = len(ctf.defocus_u)
    columns = [np.broadcast_to(box, n), np.broadcast_to(pixel_size, n), *ctf[:7]]
    save_pickles(path, np.stack([np.asarray(c, np.float32) for c in columns], axis=1))


def save_index_pickle(path: str | os.PathLike, index: np.ndarray) -> None:
    """Write row numbers, counted from 0."""
    save_pickles(path, np.asarray(index, np.int64))


def save_latent_pickle(
    path: str | os.PathLike, mean: np.ndarray, log_variance: np.ndarray | None = None
) -> None:
    """Write `z.N.pkl`: means, then log variances if given, as two pickles in one file."""
    arrays = [mean] if log_variance is None else [mean, log_variance]
    save_pickles(path, *(np.asarray(a, np.float32) for a in arrays))


def _array(
    path: str | os.PathLike, thing: object, what: str, shape: tuple[int, ...] | None
) -> np.ndarray:
    """Return a finite float64 array of shape `(n, *shape)`."""
    tail = shape if shape is not None else ("d",)
    expected = "×".join(str(side) for side in ("n", *tail))
    if not isinstance(thing, np.ndarray) or thing.dtype.kind not in "fiu":
        raise InputError(f"{path}: holds no array of {what}, {expected}")
    if thing.ndim != 1 + len(tail) or (shape is not None and thing.shape[1:] != shape):
        found = "×".join(map(str, thing.shape))
        raise InputError(f"{path}: {what} have shape {found}; expected {expected}")
    bad = np.flatnonzero(~np.isfinite(thing.reshape(len(thing), -1)).all(axis=1))
    if bad.size:
        raise InputError(f"{path}: row {bad[0] + 1}: {what} hold NaN ({bad.size} rows in all)")
    return thing.astype(np.float64)
