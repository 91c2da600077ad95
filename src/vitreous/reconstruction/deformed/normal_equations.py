"""Conjugate gradients on the exact normal equations of images of a deforming molecule.

An image is `A_i V = CTF · (slice of V + what the motion of the support's voxels changes)`. What is
gathered and divided by CTF² takes every domain to be turned as the whole is; here it is not. Every
step's matrix is made of `A_i` and its transpose: what is solved is `Σ A_iᵀ A_i V = Σ A_iᵀ y_i`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

from vitreous.geometry.fourier import half_space, volume_from_half_space
from vitreous.imaging.fourier_grid import inscribed_sphere, volume_to_grid
from vitreous.imaging.slicing import slice_grid
from vitreous.particles.prepare import ImageReader
from vitreous.particles.processes import sum_over_devices
from vitreous.reconstruction.backprojection import Geometry
from vitreous.reconstruction.deformed.fields import Block, FieldOnSupport, MovedImages
from vitreous.reconstruction.deformed.gather import FINER, half_planes_of, seen_at, spread_at
from vitreous.reconstruction.deformed.streaming import Chunk, chunk_of, shared_chunks
from vitreous.reconstruction.finish import Consensus
from vitreous.reconstruction.fsc import fourier_shell_correlation, fsc_shells
from vitreous.reconstruction.insertion import SliceSums
from vitreous.reconstruction.regularisation import HALF_MAP_FLOOR, half_map_penalty
from vitreous.reconstruction.streaming import ImageColumns


def project_deformed(
    volume: Float[Array, "n n n"],
    index: Int[Array, " v"],
    block: Block,
    part: Chunk,
    geometry: Geometry,
) -> Complex[Array, "b p"]:
    """Project a map of the molecule at rest as it is deformed in some images.

    **Arguments:** `index`: flat places of the block's voxels in the volume. One pixel size, that of
    the map.

    **Returns:** Fourier pixels, CTF applied, centred. Linear in the volume.
    """
    pixels = geometry.pixels
    grid = volume_to_grid(volume, 1.0, "cubic")
    values = volume.reshape(-1)[index] * block.weight
    moves = block.displace(part.code)
    size = FINER * geometry.box

    @jax.checkpoint
    def one(given: tuple) -> Complex[Array, " p"]:
        rotation, pixel, move = given
        fine = pixel / FINER
        spread = spread_at(values, seen_at(rotation, block.points + move, fine), size)
        spread = spread - spread_at(values, seen_at(rotation, block.points, fine), size)
        return pixels.gather(half_planes_of(spread[None]))[0]

    changed = jax.lax.map(one, (part.rotation, part.pixel_size, moves))
    still = slice_grid(grid, part.rotation, jnp.asarray(pixels.frequency))
    return (still + changed) * part.transfer.astype(still.dtype)


@eqx.filter_jit
def _gradient(
    volume: Float[Array, "n n n"],
    index: Int[Array, " v"],
    block: Block,
    part: Chunk,
    data: Complex[Array, "b p"],
    geometry: Geometry,
) -> Float[Array, "n n n"]:
    """Return `Σ A_iᵀ (A_i V − y_i)`; the transpose is of sums over both halves of a plane."""
    mates = jnp.asarray(geometry.pixels.weight)[None] * part.weight[:, None]

    def misfit(volume: Float[Array, "n n n"]) -> Float[Array, ""]:
        left = project_deformed(volume, index, block, part, geometry) - data
        return 0.5 * jnp.sum(mates * (left.real**2 + left.imag**2))

    return jax.grad(misfit)(volume)


class NormalEquations:
    """Apply the matrix of a half set's images to maps, reading the images again every time.

    **Arguments:** as of `sum_moved`; `field`: of one block. `penalty`: what is added to the
    weights, shell by shell.
    """

    def __init__(
        self,
        source: ImageReader,
        columns: ImageColumns,
        moved: MovedImages,
        field: FieldOnSupport,
        geometry: Geometry,
        penalty: Float[Array, " shells"],
        chunk: int | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        self._read = (source, columns, moved, field.code, geometry)
        self._chunk = chunk or chunk_of(geometry, field.block, jax.default_backend())
        self._field, self._geometry, self._progress = field, geometry, progress
        shell = np.minimum(fsc_shells(geometry.box), geometry.max_shell)
        self._penalty = jnp.asarray(penalty)[shell] * geometry.box**3

    def gradient(self, volume: Float[Array, "n n n"], with_data: bool) -> Float[Array, "n n n"]:
        """Return `Σ Aᵀ (A V − y) + penalty V`, or without the data `y`."""
        box, index = self._geometry.box, jnp.asarray(self._field.support.index)
        several = len(jax.local_devices()) > 1
        given = [
            jax.device_put((volume, index), device) if several else (volume, index)
            for device in jax.local_devices()
        ]
        totals = [jnp.zeros_like(there) for there, _ in given]
        if jax.process_index() == 0:
            totals[0] = _filtered(volume, self._penalty)
        for place, device, part in shared_chunks(*self._read, self._chunk, self._progress):
            data = part.pixels if with_data else jnp.zeros_like(part.pixels)
            block = self._field.at(0, device)
            here, voxels = given[place]
            added = _gradient(here, voxels, block, part, data, self._geometry)
            totals[place] = totals[place] + added
        total = sum_over_devices(totals)
        return total * jnp.asarray(inscribed_sphere(box), total.dtype)


def conjugate_gradients(
    gradient: Callable[[Any, bool], Any],
    precondition: Callable[[Any], Any],
    start: Float[Array, "n n n"],
    iterations: int,
) -> Float[Array, "n n n"]:
    """Solve `N V = b` from a start, with `gradient(V, True) = N V − b`, `gradient(V, False) = N V`.

    **Source:** Hestenes & Stiefel (1952), preconditioned.
    """
    volume = start
    residual = -gradient(volume, True)
    step = precondition(residual)
    direction, size = step, jnp.vdot(residual, step)
    for _ in range(iterations):
        image = gradient(direction, False)
        along = jnp.vdot(direction, image)
        length = jnp.where(along > 0, size / jnp.where(along > 0, along, 1), 0)
        volume = volume + length * direction
        residual = residual - length * image
        step = precondition(residual)
        grown = jnp.vdot(residual, step)
        direction = step + jnp.where(size > 0, grown / jnp.where(size > 0, size, 1), 0) * direction
        size = grown
    return volume


def refine_halves(
    source: ImageReader,
    columns: ImageColumns,
    moved: Sequence[MovedImages],
    fields: Sequence[FieldOnSupport],
    geometry: Geometry,
    sums: SliceSums,
    start: Consensus,
    iterations: int,
    chunk: int | None,
    tick: Callable[[str], Callable[[int], object]],
) -> Consensus:
    """Take both half maps some steps towards the solution of their normal equations.

    **Arguments:** `sums`: of slices, whose weights precondition. `start`: gathered maps.
    """
    halves = []
    inside = jnp.asarray(inscribed_sphere(geometry.box), jnp.float32)
    for i, (half, field) in enumerate(zip(moved, fields, strict=True)):
        if not len(field.support.index):
            halves.append(start.half_maps[i])
            continue
        weight = sums.weight[i, 0]
        penalty = half_map_penalty(weight, geometry.max_shell + 1)
        equations = NormalEquations(
            source, columns, half, field, geometry, penalty, chunk, tick("equations")
        )
        shell = fsc_shells(geometry.box)
        known = shell <= geometry.max_shell
        level = penalty[np.minimum(shell, geometry.max_shell)]
        inverse = jnp.where(known, 1 / jnp.maximum(weight + level, 1e-12), 0) / geometry.box**3
        solved = conjugate_gradients(
            equations.gradient,
            partial(_within, inside=inside, factor=inverse),
            start.half_maps[i] / (1 + HALF_MAP_FLOOR) * inside,
            iterations,
        )
        halves.append(solved * (1 + HALF_MAP_FLOOR))
    both = jnp.stack(halves)
    fsc = fourier_shell_correlation(both[0], both[1])
    curve = jnp.clip(fsc, 1e-3, 1 - 1e-4)
    shell = np.minimum(fsc_shells(geometry.box), len(fsc) - 1)
    # The Wiener filter of the mean of two maps, of which each holds as much noise.
    wiener = jnp.where(fsc_shells(geometry.box) < len(fsc), (2 * curve / (1 + curve))[shell], 0)
    return Consensus(_filtered(both.mean(0), wiener), both, fsc)


def _within(
    volume: Float[Array, "n n n"], inside: Float[Array, "n n n"], factor: Float[Array, "n n h"]
) -> Float[Array, "n n n"]:
    """Filter what lies in the sphere, and keep that."""
    return _filtered(volume * inside, factor) * inside


@jax.jit
def _filtered(
    volume: Float[Array, "n n n"], factor: Float[Array, "n n h"]
) -> Float[Array, "n n n"]:
    """Multiply a map's transform."""
    transform = half_space(volume)
    return volume_from_half_space(transform * factor.astype(transform.dtype), volume.shape[0])
