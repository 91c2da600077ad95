"""Particles with poses to a map, its half maps and their FSC."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.imaging.ctf import Contrast, CTFParameters
from vitreous.particles.cache import check_same_set
from vitreous.particles.prepare import ImageReader
from vitreous.particles.table import ParticleTable
from vitreous.particles.tilts import (
    check_tilts,
    exposure_rank,
    fading_dose,
    select_tilts,
    weigh_tilts,
)
from vitreous.reconstruction.backprojection import CTFMethod, full_geometry
from vitreous.reconstruction.finish import finish_halves, finish_whole
from vitreous.reconstruction.fsc import resolution
from vitreous.reconstruction.half_sets import half_sets
from vitreous.reconstruction.insertion import SliceSums
from vitreous.reconstruction.streaming import ImageColumns, sum_images

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TiltOptions:
    """Say which images of a tilt series to use, and how they faded.

    **Arguments:** `count`: the first so many images of each particle, in order of exposure.
    `only_complete`: leave out particles with fewer. `dose_per_tilt` (e/Å²): in place of the doses
    of the file. `angle_per_tilt` (degrees): step of a dose-symmetric scheme, used where the file
    has no scale factors.
    """

    count: int = 10
    only_complete: bool = False
    dose_per_tilt: float | None = None
    angle_per_tilt: float = 3.0


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """Hold what came out of a backprojection.

    **Fields:** `volume` `(z, y, x)`; `half_maps` and `fsc` (rounded shells), or `None` where not
    asked for; `voxel_size` (Å); `images`: how many made the map; `sums`: what it was made from.
    """

    volume: Float[np.ndarray, "n n n"]
    half_maps: Float[np.ndarray, "2 n n n"] | None
    fsc: Float[np.ndarray, " shells"] | None
    voxel_size: float
    images: int
    sums: SliceSums

    def resolution(self, threshold: float = 0.143) -> float:
        """Give the resolution of the map by its half maps, in Å."""
        if self.fsc is None:
            raise ValueError("no half maps were made")
        return resolution(self.fsc, self.voxel_size, threshold, len(self.volume))


def apply_tilts(table: ParticleTable, options: TiltOptions) -> ParticleTable:
    """Select the images of tilt series and give each its dose and weight.

    **Returns:** fewer rows; `dose` set where it is known or given, and then no B factor, which in
    the files of Warp and M says the same once more.

    **Raises:** `InputError` if the table does not say which particle an image shows.
    """
    if table.particle is None:
        raise InputError(
            f"{table.path}: no tilt series: images do not say which particle they show "
            "(_rlnGroupName, and doses or scale factors); leave out --tilt"
        )
    check_tilts(table, dose_per_tilt=options.dose_per_tilt)
    rank = exposure_rank(table)
    keep = select_tilts(table.particle, rank, options.count, options.only_complete)
    if not keep.any():
        raise InputError(f"{table.path}: no particle has {options.count} tilts; lower --ntilts")
    weighed = weigh_tilts(table, options.dose_per_tilt, options.angle_per_tilt)
    return weighed.select(keep)


def reconstruct(
    table: ParticleTable,
    source: ImageReader,
    *,
    contrast: Contrast = "white",
    ctf_method: CTFMethod = "multiply",
    mean_count: float | None = None,
    half_maps: bool = True,
    voxel_size: float | None = None,
    mesh: Mesh | None = None,
    chunk: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Reconstruction:
    """Backproject all images of a table.

    **Arguments:** `source`: the images, in the rows of `table`. `contrast`: of the particles.
    `ctf_method`: `"multiply"` by the CTF and divide by its square, or only `"flip"` signs.
    `mean_count`: regularise with this multiple of the mean weight; by default by the half maps'
    FSC (Wiener). `half_maps`: make them, and their FSC. `voxel_size`: of the map, by default the
    commonest pixel size; images with other pixel sizes are put at their own frequencies. `mesh`:
    devices to share the work, by default all. `progress`: called with how many images were done
    since the last call.

    **Raises:** `InputError` if there are no poses or no images.
    """
    if table.rotation is None:
        raise InputError(f"{table.path}: has no poses; give them with --poses")
    if len(table) == 0:
        raise InputError(f"{table.path}: no particles are left to reconstruct from")
    if voxel_size is None:
        sizes, counts = np.unique(table.pixel_size, return_counts=True)
        voxel_size = float(sizes[np.argmax(counts)])
    check_same_set(table)
    geometry = full_geometry(source.box, voxel_size, ctf_method, contrast)
    sums = sum_images(
        source, image_columns(table), geometry, mesh=mesh, chunk=chunk, progress=progress
    )
    shell = geometry.max_shell
    if half_maps and len(table) > 1:
        made = finish_halves(sums, shell, mean_count)
        volume, halves, fsc = (np.asarray(part) for part in made)
        return Reconstruction(volume, halves, fsc, voxel_size, len(table), sums)
    share = 1.0 if mean_count is None else mean_count
    volume = np.asarray(finish_whole(sums, shell, share))
    return Reconstruction(volume, None, None, voxel_size, len(table), sums)


def image_columns(table: ParticleTable) -> ImageColumns:
    """Pick what backprojection needs to know of each image; half sets never split a particle."""
    assert table.rotation is not None
    count = len(table)
    return ImageColumns(
        table.rotation,
        table.shift,
        table.pixel_size,
        None if table.ctf is None else CTFParameters(*(np.asarray(f) for f in table.ctf)),
        half_sets(count, table.half_set, table.particle),
        np.ones(count, np.float32),
        table.dose if table.ctf is None else fading_dose(table),
    )
