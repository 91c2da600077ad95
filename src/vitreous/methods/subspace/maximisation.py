"""The M-step: a small linear system at every voxel, for mean and components together.

The sums of a pass are the gradient at the current grid and an upper bound of the curvature: the
weights of an interpolation are positive and sum to one, so the curvature matrix is at most its
row sums (De Pierro's bound). Solving with the bound never lowers the likelihood, although
neighbouring voxels are coupled by interpolation.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from vitreous.geometry.small_matrices import packed_places, solve_positive, unpack_symmetric
from vitreous.imaging.fourier_grid import kernel_correction
from vitreous.methods.subspace.model import Band, grid_to_volumes, volumes_to_grid
from vitreous.methods.subspace.sweep import Sums
from vitreous.reconstruction.fsc import fsc_shells
from vitreous.reconstruction.insertion import SliceSums, read_sums
from vitreous.reconstruction.regularisation import shell_mean

# Voxels solved at a time: bounds the memory of (K+1)² numbers a voxel.
_VOXELS = 1 << 14


@partial(jax.jit, static_argnames="band")
def normal_equations(sums: Sums, grid: Complex[Array, "2 k n n h"], band: Band) -> SliceSums:
    """Read a pass's table as right side and matrix at every voxel of a half space.

    **Arguments:** `grid`: the estimate the pass was made with.

    **Returns:** numerator `(2, K+1, …)` so that the unpenalised M-step is `matrix⁻¹ numerator`,
    and the packed matrix `(2, (K+1)(K+2)/2, …)`; equations of disjoint images add.
    """
    read = read_sums(sums.table, band.shape, band.fields)
    full = read.weight[:, packed_places(band.fields)].astype(grid.dtype)
    current = jnp.einsum("hkl...,hl...->hk...", full, grid, precision="highest")
    return SliceSums(read.numerator + current, read.weight)


@partial(jax.jit, static_argnames="band")
def solve(
    equations: SliceSums, penalty: Float[Array, "g k shells"], band: Band
) -> Complex[Array, "g k n n h"]:
    """Solve for mean and components at every voxel, each of `g` sets of images by itself.

    **Arguments:** `penalty`: inverse prior power of each volume per shell; shells beyond its last
    are 0.
    """
    count, size, sets = band.fields, band.size, len(penalty)
    shell = fsc_shells(size).reshape(-1)
    inside = np.flatnonzero(shell < band.shells)
    place = jnp.asarray(shell[inside])

    def voxels(given):
        packed, numerator, where, half = given
        matrix = unpack_symmetric(packed, count)
        diagonal = penalty[half, :, where]
        matrix = matrix + diagonal[..., None] * jnp.eye(count, dtype=matrix.dtype)[None]
        right = jnp.stack([numerator.real, numerator.imag], axis=-1)
        solved = solve_positive(matrix, right)
        return jax.lax.complex(solved[..., 0], solved[..., 1])

    def flat(values):
        """List the voxels in use, of one set after the other."""
        values = values.reshape(sets, values.shape[1], -1)[..., inside]
        return jnp.moveaxis(values, 1, 2).reshape(-1, values.shape[1])

    given = (
        flat(equations.weight),
        flat(equations.numerator),
        jnp.tile(place, sets),
        jnp.repeat(jnp.arange(sets, dtype=jnp.int32), len(inside)),
    )
    found = _in_chunks(voxels, given)
    found = jnp.moveaxis(found.reshape(sets, len(inside), count), 2, 1)
    grid = jnp.zeros((sets, count, shell.size), found.dtype).at[..., inside].set(found)
    return grid.reshape(sets, count, size, size, -1)


def _in_chunks(run: Callable[[tuple[Array, ...]], Array], given: tuple[Array, ...]) -> Array:
    """Run over equal chunks of rows, the last filled up with copies of the last row."""
    rows = len(given[0])
    chunks = -(-rows // _VOXELS)
    each = -(-rows // chunks)
    spare = chunks * each - rows

    def cut(values: Array) -> Array:
        values = jnp.concatenate([values, jnp.repeat(values[-1:], spare, axis=0)])
        return values.reshape(chunks, each, *values.shape[1:])

    found = jax.lax.map(run, tuple(cut(values) for values in given))
    return found.reshape(chunks * each, *found.shape[2:])[:rows]


@partial(jax.jit, static_argnames="band")
def confine(
    old: Complex[Array, "g k n n h"],
    new: Complex[Array, "g k n n h"],
    mask: Float[Array, "k m m m"],
    band: Band,
) -> tuple[Complex[Array, "g k n n h"], Float[Array, "g k m m m"]]:
    """Take the step from `old` to `new` and set volumes to 0 outside their masks.

    The bound of the curvature makes steps too short where interpolation dims; there they are
    lengthened by what it dims once (of twice), which keeps them stable.

    **Returns:** the grid, and the volumes it shows.
    """
    factor = kernel_correction(band.size, band.size, "linear", keep_corners=False)
    lengthen = jnp.asarray(factor)[None, None] * mask[None]
    volumes = grid_to_volumes(old, band.size)
    volumes = mask[None] * volumes + lengthen * grid_to_volumes(new - old, band.size)
    return volumes_to_grid(volumes, band.size), volumes


@partial(jax.jit, static_argnames="band")
def shell_weight(equations: SliceSums, band: Band) -> Float[Array, "g k shells"]:
    """Return the mean weight of each volume alone (the matrix's diagonal) per shell."""
    diagonal = np.array([(k + 1) * (k + 2) // 2 - 1 for k in range(band.fields)])
    return shell_mean(equations.weight[:, diagonal], band.shells)
