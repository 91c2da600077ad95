"""The map all images agree on, from prepared pixels that already lie on the device.

For fits: a start, a reference and a quick look, in a fraction of a second.
"""

from collections.abc import Iterable
from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec, Sharding

from vitreous.reconstruction.backprojection import (
    Geometry,
    Slices,
    expected_density,
    image_sums,
    insert_images,
)
from vitreous.reconstruction.density import SAMPLE
from vitreous.reconstruction.finish import Consensus, finish_halves
from vitreous.reconstruction.insertion import empty_table

_add = partial(jax.jit, static_argnames="geometry", donate_argnums=0)(insert_images)


@partial(jax.jit, static_argnames="geometry")
def _density(slices: Slices, geometry: Geometry):
    some = jax.tree.map(lambda leaf: leaf[:SAMPLE], slices)
    count = slices.pixels.shape[-1]
    return expected_density(some.pixel_size, some.ctf, some.dose, geometry, count)


@partial(jax.jit, static_argnames="geometry")
def _finish(table, density, geometry: Geometry) -> Consensus:
    return finish_halves(image_sums(table, density, geometry), geometry.max_shell)


def consensus_from_batches(batches: Iterable[Slices], geometry: Geometry) -> Consensus:
    """Reconstruct from batches as they come, all of one size.

    **Arguments:** `batches`: `Slices` whose `group` is 0 or 1, the half map.

    **Returns:** the Wiener-regularised map, its half maps and their FSC, in the units of the
    pixels: a central slice of the map's un-normalised transform is a noise-free, CTF-free image.
    """
    table = density = None
    for slices in batches:
        if density is None:
            density = _density(slices, geometry)
            shape = jax.eval_shape(lambda: empty_table(geometry.grid, groups=2)).shape
            table = jnp.zeros(shape, jnp.float32, device=_whole(slices.pixels))
        table = _add(table, slices, density, geometry)
    if density is None:
        raise ValueError("no batches to reconstruct from")
    return _finish(table, density, geometry)


def _whole(images: jax.Array) -> Sharding:
    """Say where the sums of images lie: beside them, whole on each of their devices.

    Left to JAX, the first call and all others would be compiled apart.
    """
    sharding = images.sharding
    if isinstance(sharding, NamedSharding):
        return NamedSharding(sharding.mesh, PartitionSpec())
    return sharding


@partial(jax.jit, static_argnames=("geometry", "batch"))
def consensus_volume(slices: Slices, geometry: Geometry, batch: int = 256) -> Consensus:
    """Reconstruct from all images at once; see `consensus_from_batches`.

    **Arguments:** `batch`: images worked on at a time, which bounds the memory beyond the images.
    """
    count = len(slices.pixels)
    batch = min(batch, count)
    padding = -count % batch

    def fold(leaf: jax.Array) -> jax.Array:
        # Repeated rows keep every value sane; their weight is set to 0 below.
        full = jnp.concatenate([leaf, leaf[:padding]]) if padding else leaf
        return full.reshape(-1, batch, *leaf.shape[1:])

    folded = jax.tree.map(fold, slices)
    counted = (jnp.arange(count + padding) < count).reshape(-1, batch)
    folded = folded._replace(weight=folded.weight * counted.astype(folded.weight.dtype))
    density = _density(slices, geometry)

    def add(table, slices: Slices):
        return insert_images(table, slices, density, geometry), None

    table, _ = jax.lax.scan(add, empty_table(geometry.grid, groups=2), folded)
    return _finish(table, density, geometry)
