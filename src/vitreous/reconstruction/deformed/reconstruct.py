"""Images of a molecule that moved to a map of it at rest, beside the map of plain backprojection.

Each half set is undone by its own field: what one half learnt of its noise the other does not know.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.imaging.ctf import Contrast
from vitreous.particles.cache import check_same_set
from vitreous.particles.prepare import ImageReader
from vitreous.particles.table import ParticleTable
from vitreous.reconstruction.backprojection import full_geometry
from vitreous.reconstruction.deformed.fields import FieldOnSupport, MovedImages
from vitreous.reconstruction.deformed.normal_equations import refine_halves
from vitreous.reconstruction.deformed.streaming import numerator_of, sum_moved
from vitreous.reconstruction.deformed.support import Support
from vitreous.reconstruction.finish import Consensus, finish_halves
from vitreous.reconstruction.insertion import SliceSums
from vitreous.reconstruction.reconstruct import image_columns
from vitreous.reconstruction.streaming import ImageColumns, sum_images


@dataclass(frozen=True)
class DeformedSettings:
    """Say how motion is undone.

    **Arguments:** `downsample`: evaluate fields on a grid so many times as coarse. `batch`: images
    at a time, by default by memory. `iterations`: of conjugate gradients on the normal equations,
    started from the gathered maps. `contrast`: of the particles.
    """

    downsample: int = 1
    batch: int | None = None
    iterations: int = 0
    contrast: Contrast = "white"


@dataclass(frozen=True, eq=False)
class DeformedReconstruction:
    """Hold two reconstructions of the same images.

    **Fields:** `plain`: nothing undone. `deformed`: motion undone. `amplitude` (Å): how far each
    voxel moves, root mean square over the images of both halves. `voxel_size` (Å). `images`.
    """

    plain: Consensus
    deformed: Consensus
    amplitude: Float[np.ndarray, "n n n"]
    voxel_size: float
    images: int


def reconstruct_deformed(
    table: ParticleTable,
    source: ImageReader,
    moved: Sequence[MovedImages],
    supports: Sequence[Support],
    settings: DeformedSettings | None = None,
    progress: Callable[[str, int, int], object] = lambda stage, done, total: None,
) -> DeformedReconstruction:
    """Backproject images along the paths their molecules moved on.

    **Arguments:** `source`: the images, in the rows of `table`. `moved`: of the first and of the
    second half set, which rows they are and how they are deformed. `supports`: which voxels move,
    of each half; the maps have their box and voxel size. `progress`: called with a stage's name,
    the images done and how many there are.

    **Returns:** maps with and without the motion undone; both from the same images.

    **Raises:** `InputError` without poses, for two boxes, or for a half without images.
    """
    settings = settings or DeformedSettings()
    if table.rotation is None:
        raise InputError(f"{table.path}: has no poses, which undoing motion needs")
    if len(moved) != 2 or len(supports) != 2 or not all(len(half.rows) for half in moved):
        raise InputError(f"{table.path}: both half sets need images and a field")
    box, voxel_size = supports[0].box, supports[0].voxel_size
    if source.box != box or supports[1].box != box:
        raise InputError(f"{table.path}: images have a box of {source.box}, the mask one of {box}")
    check_same_set(table)
    geometry = full_geometry(box, voxel_size, contrast=settings.contrast)
    columns, rows = _columns(table, moved)
    count = len(rows)
    tick = _Ticker(progress, count)
    some = jax.tree.map(lambda leaf: np.asarray(leaf)[rows], columns)
    sums = sum_images(source, some, geometry, rows=rows, progress=tick("images"))
    plain = finish_halves(sums, geometry.max_shell)
    fields = [
        FieldOnSupport(half, support, settings.downsample)
        for half, support in zip(moved, supports, strict=True)
    ]
    advance = tick("motion")
    found = [
        sum_moved(source, columns, half, field, geometry, settings.batch, advance)
        for half, field in zip(moved, fields, strict=True)
    ]
    volumes = [s.volume(one.difference) for s, one in zip(supports, found, strict=True)]
    added = jnp.stack([numerator_of(jnp.asarray(volume)) for volume in volumes])
    undone = SliceSums(sums.numerator + added[:, None], sums.weight)
    deformed = finish_halves(undone, geometry.max_shell)
    if settings.iterations > 0:
        # The equations couple all voxels of an image: they come as one block.
        fields = [
            FieldOnSupport(half, support, settings.downsample, max(1, len(support.index)))
            for half, support in zip(moved, supports, strict=True)
        ]
        deformed = refine_halves(
            source, columns, moved, fields, geometry, sums, deformed, settings.iterations,
            settings.batch, tick,
        )  # fmt: skip
    square = sum(s.volume(one.square) for s, one in zip(supports, found, strict=True))
    amplitude = np.sqrt(square / count).astype(np.float32)
    return DeformedReconstruction(plain, deformed, amplitude, voxel_size, count)


class _Ticker:
    """Turn counts of images just done into stages with a total."""

    def __init__(self, progress: Callable[[str, int, int], object], count: int) -> None:
        self._progress, self._count = progress, count

    def __call__(self, stage: str) -> Callable[[int], None]:
        done = 0

        def advance(images: int) -> None:
            nonlocal done
            done += images
            self._progress(stage, done, self._count)

        return advance


def _columns(table: ParticleTable, moved: Sequence[MovedImages]) -> tuple[ImageColumns, np.ndarray]:
    """Give every image the half of its field, whatever halves the table has."""
    columns = image_columns(table)
    group = np.zeros(len(table), np.int32)
    group[moved[1].rows] = 1
    rows = np.concatenate([half.rows for half in moved])
    if len(np.unique(rows)) != len(rows):
        raise InputError(f"{table.path}: an image cannot be in both half sets")
    return columns._replace(group=group), np.sort(rows)
