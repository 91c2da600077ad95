"""The images a check looks at: the first few thousand, as Fourier pixels of a small box."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from vitreous.geometry.fourier import coordinates, half_plane
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.rotations import random_rotations
from vitreous.imaging.ctf import CTFParameters
from vitreous.particles.cache import check_same_set
from vitreous.particles.processes import gather_rows, map_rows, own_share, together
from vitreous.particles.source import ImageSource
from vitreous.particles.table import ParticleTable
from vitreous.reconstruction.backprojection import Geometry, Slices
from vitreous.reconstruction.half_sets import half_sets

LIMIT = 10_000
# Bounds the time it takes to read and transform: 3,000 images of 256².
_REAL_PIXELS = 200_000_000
_SMALL_BOX = 64
_SHOWN = 6


@dataclass(frozen=True, eq=False)
class Sample:
    """Hold the images of a check.

    **Fields:** `table`: their rows. `slices`: (NumPy) their Fourier pixels in a box cropped to
    at most 64, with poses (random ones where there are none) and half maps. `geometry` of that
    box. `has_poses`. `centre_excess`: how much brighter each image is in the middle than around, in
    standard deviations of its pixels. `is_broken`: images with NaN or without contrast.
    `shown`: a few images.
    """

    table: ParticleTable
    slices: Slices
    geometry: Geometry
    has_poses: bool
    centre_excess: Float[np.ndarray, " n"]
    is_broken: Bool[np.ndarray, " n"]
    shown: Float[np.ndarray, "m side side"]

    def __len__(self) -> int:
        return len(self.table)

    def subset(self, count: int) -> Slices:
        """Take about `count` images, spread evenly over each of the half maps."""
        group = np.asarray(self.slices.group)
        parts = []
        for half in (0, 1):
            # Half by half: an even stride over alternating halves would pick one of them only.
            mine = np.flatnonzero(group == half)
            place = np.linspace(0, len(mine) - 1, min(count // 2, len(mine))).astype(np.int64)
            parts.append(mine[np.unique(place)])
        rows = np.sort(np.concatenate(parts))
        return jax.tree.map(lambda leaf: leaf[rows], self.slices)

    def on_device(self) -> Slices:
        """Put all images on the device."""
        return jax.tree.map(jnp.asarray, self.slices)


@partial(jax.jit, static_argnames="pixels")
def _look(images: Float[Array, "b n n"], pixels: FourierPixels):
    box = images.shape[-1]
    mean = images.mean(axis=(1, 2), keepdims=True)
    std = images.std(axis=(1, 2), keepdims=True)
    is_good = jnp.isfinite(std) & (std > 1e-6 * jnp.abs(mean))
    normal = jnp.where(is_good, (images - mean) / jnp.where(is_good, std, 1), 0)
    radius = np.linalg.norm(coordinates(box, 2), axis=-1) / box
    middle, around = (jnp.asarray(m / m.sum(), jnp.float32) for m in (radius < 0.15, radius > 0.42))
    excess = jnp.sum(normal * (middle - around)[None], axis=(1, 2))
    return pixels.gather(half_plane(normal)) / box, excess, ~is_good[:, 0, 0]


def load_sample(
    table: ParticleTable, limit: int = LIMIT, progress: Callable[[int], None] | None = None
) -> Sample:
    """Read the first images of a table, at most `limit`, fewer of large boxes.

    **Raises:** `InputError` if a stack is missing, cut short or does not fit the table.
    """
    count = sample_size(table, limit)
    table = table.select(slice(count))
    check_same_set(table)
    source = ImageSource(table)
    box = source.box
    small = min(box, _SMALL_BOX)
    # The commonest pixel size becomes that of the small map.
    sizes, counts = np.unique(table.pixel_size, return_counts=True)
    voxel_size = float(sizes[np.argmax(counts)]) * box / small
    geometry = Geometry(small, (small - 1) // 2, voxel_size)
    pixels = FourierPixels(box, geometry.max_shell)

    own = np.arange(count)[own_share(count)]
    # As many rounds in every process, whose shares differ by one at most.
    most = -(-count // jax.process_count())
    chunk = max(1, min(most, 4_000_000 // box**2))
    parts: list = []
    for start in range(0, most, chunk):
        rows = own[start : start + chunk]
        images = together(partial(source.read, rows))
        padded = np.pad(images, ((0, chunk - len(rows)), (0, 0), (0, 0)))
        looked = map_rows(partial(_look, pixels=pixels), padded)
        parts.append([leaf[: len(rows)] for leaf in looked])
        if progress is not None:
            progress(len(rows))
    mine = tuple(np.concatenate(part) for part in zip(*parts, strict=True))
    values, excess, broken = gather_rows(mine, count)
    shown = source.read(np.unique(np.linspace(0, count - 1, min(count, _SHOWN)).astype(np.int64)))
    return Sample(
        table,
        _slices(table, values, small / box, ~broken),
        geometry,
        table.rotation is not None,
        excess,
        broken,
        shown,
    )


def sample_size(table: ParticleTable, limit: int = LIMIT) -> int:
    """Say how many images of a table are looked at."""
    most = _REAL_PIXELS // int(table.box.max()) ** 2
    return max(1, min(len(table), limit, most))


def _slices(table: ParticleTable, pixels: np.ndarray, shrink: float, is_good: np.ndarray) -> Slices:
    """Collect what is known of the images, as NumPy arrays: subsets then cost no compilation."""
    count = len(table)
    rotation = table.rotation
    if rotation is None:
        rotation = np.asarray(random_rotations(jax.random.key(0), count))
    ctf = table.ctf
    columns: dict[str, Any] = {
        "pixels": pixels,
        "rotation": rotation,
        "shift": table.shift,
        "pixel_size": (table.pixel_size / shrink).astype(np.float32),
        "ctf": None if ctf is None else CTFParameters(*(np.asarray(f, np.float32) for f in ctf)),
        "group": half_sets(count, table.half_set, table.particle),
        "weight": is_good.astype(np.float32),
    }
    return Slices(**columns)
