"""Undo the motion a flexible run found, and make a map of its particles: a thin layer.

Each half set is undone by the model that learned from it alone.
"""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from vitreous.errors import InputError
from vitreous.maps import read_map
from vitreous.methods.flexible.agreement import AGREEMENT_FILE
from vitreous.methods.flexible.run_files import FlexibleModel, load_flexible
from vitreous.particles import ImageSource
from vitreous.particles.table import ParticleTable
from vitreous.reconstruction.deformed import (
    DeformedReconstruction,
    DeformedSettings,
    MovedImages,
    Support,
    Verdict,
    judge,
    reconstruct_deformed,
    support_near,
)
from vitreous.reconstruction.pose_correction import corrected_pose
from vitreous.training.run import Run

logger = logging.getLogger(__name__)

# Voxels move within so many Å and so many widths of a Gaussian, and fade over so many voxels.
_REACH, _WIDTHS, _EDGE = 4.0, 2.5, 4.0


@dataclass(frozen=True)
class BackprojectOptions:
    """Say how a run's particles are backprojected.

    **Arguments:** `checkpoint`: of the run, a file or folder below it; None takes the last.
    `mask_file`: map that is 1 where motion is undone. `downsample`: evaluate the field on a grid so
    many times as coarse. `batch`: images at a time. `iterations`: of conjugate gradients.
    `do_deformations`: False undoes nothing: plain backprojection. `reach` (Å): how far from the
    Gaussians voxels move; None chooses. `max_difference` (Å): leave out images of which the half
    sets' models disagree by more. `datadir`: of the stacks, if moved. `seed`: of the phase
    randomisation.
    """

    checkpoint: str | None = None
    mask_file: str | None = None
    downsample: int = 1
    batch: int | None = None
    iterations: int = 0
    do_deformations: bool = True
    reach: float | None = None
    max_difference: float | None = None
    datadir: str | None = None
    seed: int = 0


def epoch_of_checkpoint(run: Run, checkpoint: str | os.PathLike | None) -> int | None:
    """Say which epoch of a run a checkpoint is of: `RUN`, `RUN/checkpoints/3000000`, `…/003.npz`.

    **Returns:** None for the last.

    **Raises:** `InputError` if it is not there, or belongs to another run.
    """
    if checkpoint is None:
        return None
    path = Path(checkpoint).absolute()
    if path.parent.resolve() == (run.path / "forward_deformations/checkpoints").resolve():
        return _epoch_by_peers_name(run, path)
    if not path.exists():
        raise InputError(f"{checkpoint}: no such checkpoint")
    owner = next((p for p in (path, *path.parents) if (p / "config.yaml").is_file()), None)
    if owner is None or owner.resolve() != run.path.resolve():
        raise InputError(
            f"{checkpoint}: a checkpoint of another run ({owner or 'of none'}), not of {run.path}"
        )
    name = path.stem
    if not name.isdigit():
        return None
    number = int(name)
    # Folders of checkpoints count in millionths of an epoch, files under RELION's names in epochs.
    return number // 1_000_000 if path.parent == owner / "checkpoints" else number


def _epoch_by_peers_name(run: Run, path: Path) -> int | None:
    """Read `forward_deformations/checkpoints/120.pth` or `…/checkpoint_final.pth`, as scripts for
    DynaMight name them; nothing lies there."""
    if path.stem.isdigit():
        epoch = int(path.stem)
        if epoch in run.epochs():
            return epoch
        has = ", ".join(map(str, run.epochs())) or "none"
        logger.warning(
            "%s: no checkpoint of epoch %d (there are: %s): taking the last", run.path, epoch, has
        )
    elif path.stem != "checkpoint_final":
        raise InputError(f"{path}: no such checkpoint")
    return None


def backproject_run(
    run: Run,
    options: BackprojectOptions | None = None,
    progress: Callable[[str, int, int], object] = lambda stage, done, total: None,
) -> tuple[DeformedReconstruction, Verdict]:
    """Reconstruct a run's particles with and without their motion undone, and compare.

    **Arguments:** `run`: of `optimize-deformations`. `progress`: called with a stage's name, how
    much is done and how much there is.

    **Raises:** `InputError` for a run of another method, a mask of another box, a checkpoint of
    another run, stacks that are gone.
    """
    options = options or BackprojectOptions()
    model = load_flexible(run, epoch_of_checkpoint(run, options.checkpoint))
    mask = _read_mask(options.mask_file, model)
    table = with_refined_poses(run.table(options.datadir), model)
    source = ImageSource(table)
    agreed = _agreed(run, options.max_difference, len(table))
    moved, supports = [], []
    for half in model.halves:
        latents = half.latents if options.do_deformations else np.zeros_like(half.latents)
        sure = agreed[half.images]
        if not sure.any():
            raise InputError(
                f"--max-difference {options.max_difference:g}: leaves no image of a half set"
            )
        moved.append(MovedImages(half.images[sure], latents[sure], half.deformation))
        support = support_of_half(
            model,
            np.asarray(half.gaussians.positions),
            np.asarray(half.gaussians.width),
            options.reach,
            mask,
        )
        # Nothing is gathered where nothing is undone.
        supports.append(support if options.do_deformations else support.only(np.arange(0)))
    settings = DeformedSettings(
        options.downsample,
        options.batch,
        options.iterations,
        "dark" if run.config.get("contrast") == "dark" else "white",
    )
    result = reconstruct_deformed(table, source, moved, supports, settings, progress)
    return result, judge(result, options.seed)


def _agreed(run: Run, most: float | None, count: int) -> Bool[np.ndarray, " n"]:
    """Say of which images the half sets' models agree to so many Å.

    **Raises:** `InputError` if that is asked, and nobody has compared them.
    """
    if most is None:
        return np.ones(count, bool)
    file = run.path / AGREEMENT_FILE
    if not file.is_file():
        raise InputError(
            f"{file}: not there, and --max-difference needs it; finish the fit with --resume"
        )
    with np.load(file, allow_pickle=False) as found:
        return found["particle_error"] <= most


def with_refined_poses(table: ParticleTable, model: FlexibleModel) -> ParticleTable:
    """Give a table the poses that the fit corrected, if it did."""
    if model.poses is None or table.rotation is None:
        return table
    given = (jnp.asarray(x) for x in (table.rotation, table.shift, model.poses))
    pose = corrected_pose(*given)
    return table.replace(rotation=np.asarray(pose.rotation), shift=np.asarray(pose.shift))


def support_of_half(
    model: FlexibleModel,
    positions: Float[np.ndarray, "g 3"],
    width: Float[np.ndarray, " g"],
    reach: float | None,
    mask: Float[np.ndarray, "n n n"] | None,
) -> Support:
    """List the voxels near a half's Gaussians: there the field was learned."""
    if reach is None:
        reach = _REACH + _WIDTHS * float(np.median(width))
    return support_near(
        positions, model.box, model.pixel_size, reach, _EDGE * model.pixel_size, mask
    )


def _read_mask(path: str | None, model: FlexibleModel) -> Float[np.ndarray, "n n n"] | None:
    """Read the mask of where motion is undone."""
    if path is None:
        return None
    found = read_map(path)
    box = model.box
    if found.data.shape != (box, box, box):
        sides = "×".join(map(str, found.data.shape))
        raise InputError(f"{path}: is {sides}, the run's images have a box of {box}")
    if abs(found.voxel_size - model.pixel_size) > 0.01 * model.pixel_size:
        raise InputError(
            f"{path}: has {found.voxel_size:g} Å a voxel, the run's images {model.pixel_size:g}"
        )
    if not (found.data > 0).any():
        raise InputError(f"{path}: is nowhere above 0: nothing would be undone")
    return np.clip(found.data, 0, 1)
