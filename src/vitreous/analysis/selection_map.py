"""The map of some images of a run: kernel regression whose innermost ring is the selection.

Shells rich in signal come from the selected images alone. A shell whose signal is too weak for that
takes in the images nearest to them in the latent space, as far as this predicts the selected images
of the other half set better.
"""

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from vitreous.analysis.candidates import Candidates
from vitreous.analysis.regression import support, uncertain_latents
from vitreous.analysis.run_images import image_scale, prepare_run_images
from vitreous.analysis.selecting import INDICES
from vitreous.errors import InputError
from vitreous.particles.table import ParticleTable
from vitreous.reconstruction.half_sets import half_sets
from vitreous.reconstruction.kernel_regression import KernelRegression, Regression
from vitreous.reconstruction.rings import selection_distance
from vitreous.training.run import Run

# Fewer leave half maps that say nothing.
FEWEST = 8
# The widest bandwidth holds so many images, or so many times the selection, so that the cost of a
# small selection of a large run stays small.
_REACH, _TIMES = 20_000, 4
_RINGS = 6


class SelectionMap(NamedTuple):
    """Hold the map of a selection, and how it was made.

    `method`: `kernel regression`, or `reconstruction` of the selected images alone, in which case
    `note` says why; otherwise it says how many images the shells rest on.
    """

    regression: Regression
    method: str
    note: str


class _Near(NamedTuple):
    """Images that may help, in the order of the table, and how far each is from the selection."""

    images: Int[np.ndarray, " k"]
    distance: Float[np.ndarray, " k"]
    contrast: Float[np.ndarray, " k"] | None


def map_of_selection(
    run: Run,
    table: ParticleTable,
    mask: Bool[np.ndarray, " n"],
    epoch: int | None = None,
    reach: int = _REACH,
) -> SelectionMap:
    """Make the map of some particles of a run, half sets apart; see `analysis.regression`.

    Only the images within reach are read. Where the run has no latents to measure distances by,
    the selected images alone are reconstructed, every one counting the same.

    **Arguments:** `table`: of the run, all its images. `mask`: one entry a latent. `epoch`: of
    the latents, the last if None. `reach`: images of the widest bandwidth; at least 4 times the
    selection.

    **Returns:** the map in the units of the images, white density positive.

    **Raises:** `InputError` if there are too few, or a stack is gone.
    """
    owner = np.arange(len(table))
    if table.particle is not None and len(mask) != len(table):
        # One latent a particle: all tilt images of a chosen one.
        owner = np.unique(table.particle, return_inverse=True)[1]
    chosen = mask[owner]
    count = int(chosen.sum())
    if count < FEWEST:
        raise InputError(
            f"{count} images are too few for a map with half sets: choose {FEWEST} or more"
        )
    why = ""
    try:
        near = _within_reach(run, mask, owner, epoch, max(reach, _TIMES * count))
    except InputError as error:
        why = str(error)
        images = np.flatnonzero(chosen)
        near = _Near(images, np.zeros(count), None)
    made = _regress(run, table.select(near.images), near, chosen[near.images])
    if why:
        return SelectionMap(made, "reconstruction", f"the selected images alone: {why}")
    few, most = int(made.images.min()), int(made.images.max())
    note = f"every shell from the {few:,} images of the selection"
    if most > few or few > count:
        note = f"shells from {few:,} to {most:,} images, nearest first; selected: {count:,}"
    return SelectionMap(made, "kernel regression", note)


def _within_reach(
    run: Run,
    mask: Bool[np.ndarray, " n"],
    owner: Int[np.ndarray, " m"],
    epoch: int | None,
    most: int,
) -> _Near:
    """Find the images nearest to a selection, its own among them."""
    latent = uncertain_latents(run, epoch)
    if len(latent.mean) != len(mask):
        raise InputError(f"{run.path}: {len(latent.mean)} latents for {len(mask)} particles")
    distance = selection_distance(latent.mean, latent.covariance, mask)[owner]
    images = np.sort(np.argsort(distance, kind="stable")[:most])
    contrast = None if latent.contrast is None else latent.contrast[owner[images]]
    return _Near(images, distance[images], contrast)


def _regress(
    run: Run, table: ParticleTable, near: _Near, chosen: Bool[np.ndarray, " k"]
) -> Regression:
    # Streamed: nothing that grows with the images stays in memory.
    data = prepare_run_images(run, table, resident=False)
    kernel = KernelRegression(
        data,
        _halves(table, chosen),
        contrast=near.contrast,
        rings=_RINGS,
        first=int(chosen.sum()),
    )
    sums = kernel.sums(near.distance)
    everything = np.full(kernel.shells, len(kernel.sizes) - 1)
    kernel.set_mask(support(run, kernel.finish(sums, everything).half_maps))
    made = kernel.finish(sums)
    scale = image_scale(run)
    return made._replace(volume=made.volume * scale, half_maps=made.half_maps * scale)


def _halves(table: ParticleTable, chosen: Bool[np.ndarray, " k"]) -> Int[np.ndarray, " k"]:
    """Split images so that the selection is in both halves, even one of a single half set."""
    halves = half_sets(len(table), table.half_set, table.particle)
    if len(np.unique(halves[chosen])) < 2:
        for part in (chosen, ~chosen):
            particle = None if table.particle is None else table.particle[part]
            halves[part] = half_sets(int(part.sum()), None, particle)
    if len(np.unique(halves[chosen])) < 2:
        raise InputError("one particle has no half sets: choose two or more")
    return halves


def chosen_by(candidates: Candidates, selection: str | os.PathLike) -> Bool[np.ndarray, " n"]:
    """Mark the particles of a selection saved in the run, or of an index file.

    **Raises:** `InputError` if there is no such selection, or none of its particles in the run.
    """
    name = str(selection)
    of_file = name.lower().endswith(INDICES)
    mask = candidates.listed(name) if of_file else candidates.saved(name)
    if not mask.any():
        raise InputError(f"{name}: none of its particles is in {candidates.path}")
    return mask


def regress_selections(
    run: Run,
    table: ParticleTable,
    chosen: dict[str, Bool[np.ndarray, " n"]],
    epoch: int | None = None,
) -> Iterator[tuple[Regression, dict[str, Any]]]:
    """Make the map of each selection, and tell how."""
    for name, mask in chosen.items():
        found, method, note = map_of_selection(run, table, mask, epoch)
        about = {"selection": name, "count": int(mask.sum()), "method": method, "note": note}
        yield found, about
