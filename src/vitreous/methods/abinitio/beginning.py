"""What a fit begins with beside its images: a map that is given, or what an earlier run found."""

import os
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vitreous.errors import InputError
from vitreous.geometry.resample import resample
from vitreous.maps import read_map
from vitreous.methods.abinitio.config import AbinitioConfig
from vitreous.methods.abinitio.found import Found
from vitreous.particles import ParticleTable
from vitreous.particles.loader import PreparedImages
from vitreous.reconstruction.curves import read_curves
from vitreous.training.run import Run

_LEAST_IMAGES = 50


@dataclass(frozen=True, eq=False)
class EarlierPoses:
    """Hold poses (shifts in Å) that an earlier run found of the same images, and its half maps."""

    rotation: Float[np.ndarray, "n 3 3"]
    shift: Float[np.ndarray, "n 2"]
    half_maps: Float[np.ndarray, "2 b b b"]
    fsc: Float[np.ndarray, " shells"]


@dataclass(frozen=True, eq=False)
class Beginning:
    """Hold what is known beforehand; maps in the units of the images, in which a projection is
    the sum of voxels.

    **Fields:** `contrast`: of the particles, as the earlier run found it. `run`: that run.
    """

    volume: Float[np.ndarray, "b b b"] | None = None
    poses: EarlierPoses | None = None
    contrast: str | None = None
    run: Run | None = None

    def map_for(self, data: PreparedImages) -> Float[Array, "b b b"] | None:
        """Return the map in the units of prepared pixels, None if there is none."""
        return None if self.volume is None else prepared_units(self.volume, data)

    def found_for(self, data: PreparedImages, shells: int) -> Found:
        """Return the earlier run's poses and maps in the units of prepared pixels."""
        poses, volume = self.poses, self.map_for(data)
        assert poses is not None
        assert volume is not None
        fsc = np.zeros(shells)
        count = min(shells, len(poses.fsc))
        fsc[:count] = poses.fsc[:count]
        return Found(
            rotation=poses.rotation,
            shift=poses.shift,
            volumes=np.asarray(volume)[None],
            half_maps=np.asarray(prepared_units(poses.half_maps, data)),
            fsc=fsc,
            latents=None,
            score=np.zeros(len(poses.shift)),
            converged=False,
            verdict="",
        )


def prepared_units(maps: Float[np.ndarray, "..."], data: PreparedImages) -> Float[Array, "..."]:
    """Scale maps in the units of the images to those of prepared pixels."""
    return jnp.asarray(maps / data.normalization.fourier_scale(data.box), jnp.float32)


def check_images(table: ParticleTable, particles: str | os.PathLike) -> None:
    """Make sure that there is enough to find poses of.

    **Raises:** `InputError` for too few images.
    """
    if len(table) < _LEAST_IMAGES:
        raise InputError(
            f"{particles}: {len(table)} images are too few to find poses: at least {_LEAST_IMAGES}"
        )


def read_beginning(config: AbinitioConfig, table: ParticleTable, box: int) -> Beginning:
    """Read what the settings name, before any work is done.

    **Raises:** `InputError` for a file that is no map, or a folder that holds none.
    """
    if config.initial_map is not None:
        return Beginning(_cube(Path(config.initial_map), box))
    if config.load is None:
        return Beginning()
    run = Run.open(config.load)
    file = run.path / "volumes" / "consensus.mrc"
    if not file.is_file():
        raise InputError(f"{run.path}: holds no volumes/consensus.mrc to begin with")
    volume = _cube(file, box)
    contrast = run.config.get("contrast")
    return Beginning(volume, _poses_of(run, table, box), contrast, run)


def _poses_of(run: Run, table: ParticleTable, box: int) -> EarlierPoses | None:
    """Read the poses of an earlier run if it was made from the same images."""
    files = [run.path / "volumes" / f"half_map_{name}.mrc" for name in "ab"]
    curve = run.path / "fsc.txt"
    if run.config.get("images") != len(table) or not all(f.is_file() for f in [*files, curve]):
        return None
    earlier = run.table()
    same = np.array_equal(earlier.image_index, table.image_index)
    if earlier.rotation is None or not same or run.box != box:
        return None
    fsc = next(iter(read_curves(curve)[1].values()))
    halves = np.stack([_cube(file, box) for file in files])
    return EarlierPoses(earlier.rotation, earlier.shift, halves, np.asarray(fsc))


def _cube(file: Path, box: int) -> Float[np.ndarray, "b b b"]:
    volume = np.asarray(read_map(file).data, np.float32)
    if len(set(volume.shape)) != 1:
        raise InputError(f"{file}: a box of {volume.shape}, not a cube")
    if not np.ptp(volume) > 0:
        raise InputError(f"{file}: the map is empty")
    if volume.shape[0] != box:
        volume = np.asarray(resample(jnp.asarray(volume), box, 3))
    return volume
