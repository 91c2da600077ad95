"""What every fit is told about its particles, and how it gets at them."""

import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from vitreous.errors import InputError
from vitreous.files import is_writer
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.particles import ParticleTable, read_particles
from vitreous.particles.cache import cache_images, check_same_set
from vitreous.particles.loader import PreparedImages, prepared_bytes
from vitreous.particles.memory import fits_devices
from vitreous.particles.peer_pickles import PoseUnit
from vitreous.particles.prepare import ImageReader, Normalization, Storage
from vitreous.particles.processes import most_of_processes
from vitreous.training.distributed import wait_for_all
from vitreous.training.mesh import data_mesh, local_mesh

logger = logging.getLogger(__name__)

# A copy that nobody asked for leaves at least as much free as it takes.
_DISK_SHARE = 2


@dataclass(frozen=True)
class DataOptions:
    """Say which particles are fitted and how their images are read.

    **Fields:** `poses`, `ctf`: cryoDRGN pickles in place of the table's columns. `ind`: selected
    rows (file or indices), or particles of tilt series (`ind_of`). `datadir`, `pixel_size`: where
    the table leaves them open. `pose_unit`: of the translations in `poses`. `tomograms`: of RELION
    5 particles. `tilts`: the images of each particle exposed first, None for all. `tilted`,
    `tilt_angle`: the second images of tilt pairs, and the turn in degrees. `contrast`: of the
    particles; `"auto"` decides from the map of all images. `window_radius`: None for no
    window. `lazy`: stream from disk even if the images fit. `cache`: folder to copy the images
    to first, into one file in the order of the selection, and to stream from; unless
    `cache_always` only where they do not fit the devices and lie scattered. `storage`:
    precision of prepared images. `normalization`: (mean, std) instead of the measured ones.
    `devices`: how many, None for all.
    """

    poses: str | None = None
    ctf: str | None = None
    ind: str | Sequence[int] | None = None
    datadir: str | None = None
    pixel_size: float | None = None
    ind_of: Literal["images", "particles"] = "images"
    pose_unit: PoseUnit = "fraction"
    tomograms: str | None = None
    tilts: int | None = None
    tilted: str | None = None
    tilt_angle: float = 45.0
    contrast: Literal["auto", "white", "dark"] = "auto"
    window_radius: float | None = 0.85
    lazy: bool = False
    storage: Storage = "float32"
    normalization: tuple[float, float] | None = None
    devices: int | None = None
    cache: str | None = None
    cache_always: bool = True

    def particle_arguments(self, particles: str | os.PathLike) -> dict[str, Any]:
        """Return the arguments of `read_particles`, as a run keeps them."""
        ind = self.ind
        return {
            "path": str(particles),
            "datadir": self.datadir,
            "poses": self.poses,
            "ctf": self.ctf,
            "ind": ind if ind is None or isinstance(ind, str) else list(ind),
            "pixel_size": self.pixel_size,
            "ind_of": self.ind_of,
            "pose_unit": self.pose_unit,
            "tomograms": self.tomograms,
            "tilts": self.tilts,
            "tilted": self.tilted,
            "tilt_angle": self.tilt_angle,
        }


def read_checked(arguments: dict[str, Any], poses: bool = True) -> ParticleTable:
    """Read the particles of a fit.

    **Arguments:** `poses`: whether the fit needs them; one that finds them does not.

    **Raises:** `InputError` if needed poses are missing; images without a CTF only get a warning.
    """
    name = arguments["path"]
    table = read_particles(name, **{k: v for k, v in arguments.items() if k != "path"})
    if poses and table.rotation is None:
        raise InputError(
            f"{name}: holds no poses; give a table with angles or --poses poses.pkl, or find them "
            "with vitreous abinit"
        )
    if table.ctf is None:
        logger.warning("%s: no CTF columns: images are taken as free of any CTF", name)
    return table


def prepared_images(
    table: ParticleTable,
    source: ImageReader,
    data: DataOptions,
    pixels: FourierPixels,
    contrast: str,
    normalization: Sequence[float] | None = None,
    by_process: bool = False,
) -> PreparedImages:
    """Prepare images as the options say.

    **Arguments:** `contrast`: decided by now; anything but `"dark"` is white. `normalization`:
    numbers of an earlier run. `by_process`: each process holds all images on its own devices, for
    work in which none waits for another.
    """
    count = len(jax.devices()) if data.devices is None else data.devices
    mesh = data_mesh(data.devices) if count != 1 else None
    if by_process and jax.process_count() > 1:
        mesh = local_mesh()
    check_same_set(table)
    is_cached = data.cache is not None and (data.cache_always or _wants_cache(table, data, pixels))
    if data.cache is not None and is_cached:
        source = _cached(table, source, Path(data.cache))
    if data.contrast == "dark" and table.sign is not None:
        logger.warning(
            "%s: its images are turned by their sign (blob/sign) already, and now once more; "
            "leave --uninvert-data out",
            table.path,
        )
    stored = normalization or data.normalization
    return PreparedImages.build(
        table,
        source,
        pixels=pixels,
        window_radius=data.window_radius,
        invert=contrast == "dark",
        storage=data.storage,
        normalization=None if stored is None else Normalization(*stored),
        resident=False if data.lazy or is_cached else None,
        mesh=mesh,
    )


def _wants_cache(table: ParticleTable, data: DataOptions, pixels: FourierPixels) -> bool:
    """Say whether images that do not fit are better copied into one file first; alike in all.

    One stack that is read in its order is such a file already.
    """
    devices = jax.devices()[: data.devices]
    if data.lazy or fits_devices(prepared_bytes(len(table), pixels, data.storage), devices):
        return False
    is_one = len(np.unique(table.stack_id)) == 1 and bool((np.diff(table.image_index) == 1).all())
    if is_one and table.sign is None and table.ctf_applied is None:
        return False
    assert data.cache is not None
    place = next(p for p in Path(data.cache).absolute().parents if p.is_dir())
    need, free = 4 * int(table.box[0]) ** 2 * len(table), shutil.disk_usage(place).free
    if most_of_processes(int(free < _DISK_SHARE * need)):
        logger.warning(
            "%s: no room to copy the images to (%.0f GiB): streamed from their stacks",
            *(place, need / 2**30),
        )
        return False
    return True


def _cached(table: ParticleTable, source: ImageReader, folder: Path) -> ImageReader:
    """Copy the images into a cache, by the first process; all read from there."""
    if is_writer():
        source = cache_images(source, table, folder)
    wait_for_all("images copied")
    return source if is_writer() else cache_images(source, table, folder)
