"""Shifts of images in pixels, from whatever file holds two numbers an image."""

import os
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from vitreous.errors import InputError
from vitreous.particles.pickles import load_pickle


def read_shifts(
    path: str | os.PathLike, count: int, scale: float = 1.0
) -> Float32[np.ndarray, "n 2"]:
    """Read `(x, y)` of each image, times `scale`, in pixels.

    **Arguments:** `path`: an array `(n, 2)` or `(2,)` for all (`.pkl`, `.npy`, text), or a pose
    pickle, whose translations are taken as they stand there.

    **Raises:** `InputError` if they are not `count` pairs of finite numbers.
    """
    kind = Path(path).suffix
    try:
        if kind == ".pkl":
            content = load_pickle(path)
            values = content[1] if isinstance(content, tuple | list) else content
        elif kind == ".npy":
            values = np.load(path, allow_pickle=False)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                values = np.loadtxt(path)
        shifts = np.asarray(values, np.float64) * scale
    except (OSError, ValueError, IndexError, TypeError) as error:
        raise InputError(f"{path}: not a table of shifts ({error})") from None
    if shifts.shape == (2,):
        shifts = np.tile(shifts, (count, 1))
    if shifts.shape != (count, 2):
        found = "×".join(map(str, shifts.shape))
        raise InputError(f"{path}: shifts have shape {found}; the {count} images need {count}×2")
    if not np.isfinite(shifts).all():
        raise InputError(f"{path}: shifts hold NaN")
    return shifts.astype(np.float32)
