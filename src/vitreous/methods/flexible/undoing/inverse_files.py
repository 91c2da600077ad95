"""Inverses of a run's deformations in its folder, and maps deformed to particles' states."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from vitreous.errors import InputError
from vitreous.maps import read_map, write_map
from vitreous.methods.flexible.run_files import load_flexible
from vitreous.methods.flexible.undoing.backproject import epoch_of_checkpoint, support_of_half
from vitreous.methods.flexible.undoing.deform_map import deform_map
from vitreous.methods.flexible.undoing.inverse_network import (
    FOLDER,
    InverseFit,
    InverseOptions,
    fit_inverse,
    load_inverse,
    save_inverses,
)
from vitreous.training.run import Run


def invert_run(
    run: Run,
    options: InverseOptions,
    checkpoint: str | os.PathLike | None = None,
    progress: Callable[[str, int, int], object] = lambda stage, done, total: None,
) -> tuple[InverseFit, InverseFit]:
    """Fit the inverse of each half's deformation and keep both with the run.

    **Arguments:** `checkpoint`: of the run; None takes the last.

    **Raises:** `InputError` for a run of another method or a checkpoint of another run.
    """
    model = load_flexible(run, epoch_of_checkpoint(run, checkpoint))
    first, second = (
        fit_inverse(half, options, partial(progress, f"inverse of half {number}"))
        for number, half in enumerate(model.halves, 1)
    )
    save_inverses(run, (first, second), options.seed)
    return first, second


def deform_to_images(
    run: Run,
    map_file: str | os.PathLike,
    images: Sequence[int],
    checkpoint: str | os.PathLike | None = None,
    is_exact: bool = True,
) -> list[Path]:
    """Deform a map to the states of some particles, each by its own half's model.

    **Arguments:** `images`: rows of the run's table. `is_exact`: find the inverse; else ask the
    network that was fitted.

    **Returns:** the files, `inverse_deformations/MAP_image_N.mrc`.

    **Raises:** `InputError` for a map of another box, or an image the run does not have.
    """
    model = load_flexible(run, epoch_of_checkpoint(run, checkpoint))
    found = read_map(map_file)
    box = model.box
    if found.data.shape != (box, box, box):
        sides = "×".join(map(str, found.data.shape))
        raise InputError(f"{map_file}: is {sides}, the run's images have a box of {box}")
    made = []
    for image in images:
        places = [(k, np.flatnonzero(h.images == image)) for k, h in enumerate(model.halves)]
        number, rows = max(places, key=lambda place: len(place[1]))
        if not len(rows):
            count = sum(len(half.images) for half in model.halves)
            raise InputError(f"--image {image}: the run has images 0 to {count - 1}")
        half = model.halves[number]
        support = support_of_half(
            model,
            np.asarray(half.gaussians.positions),
            np.asarray(half.gaussians.width),
            None,
            None,
        )
        inverse = None if is_exact else load_inverse(run, half, number)
        moved = deform_map(found.data, support, half.deformation, half.latents[rows[0]], inverse)
        path = run.path / FOLDER / f"{Path(map_file).stem}_image_{image}.mrc"
        write_map(path, moved, found.voxel_size, found.origin)
        made.append(path)
    return made
