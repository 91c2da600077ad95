"""Cholesky factors of many small symmetric matrices, in plain array operations.

For a matrix of a few rows per voxel or per image this beats a library call a matrix, on CPU and
accelerators, and no batched LAPACK call can wait for another one. Up to eight rows every entry is
written out, which compiles to one loop over the matrices; more rows are a loop over columns,
because the time to compile what is written out grows as their cube (10 s for 24).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# Rows of the largest matrix whose factor is written out entry by entry.
_WRITTEN_OUT = 8


def cholesky(matrix: Float[Array, "... n n"]) -> Float[Array, "... n n"]:
    """Factor positive definite matrices: lower triangular `L` with `L Lᵀ = matrix`.

    A pivot that rounding made zero or negative is raised to a tiny share of the diagonal, so that
    semi-definite matrices give finite factors.
    """
    n = matrix.shape[-1]
    diagonal = jnp.max(jnp.abs(jnp.diagonal(matrix, axis1=-2, axis2=-1)), axis=-1)
    tiny = jnp.finfo(matrix.dtype).eps * diagonal + jnp.finfo(matrix.dtype).tiny
    if n <= _WRITTEN_OUT:
        return _cholesky_written_out(matrix, tiny)
    rows = jnp.arange(n)

    def column(j, factor):
        row = jax.lax.dynamic_index_in_dim(factor, j, -2, keepdims=True)
        left = jax.lax.dynamic_index_in_dim(matrix, j, -1, keepdims=False)
        left = left - jnp.sum(factor * row, axis=-1)
        pivot = jnp.maximum(jax.lax.dynamic_index_in_dim(left, j, -1, keepdims=False), tiny)
        below = left * jax.lax.rsqrt(pivot)[..., None]
        below = jnp.where(_lead(rows > j, below), below, 0)
        below = jnp.where(_lead(rows == j, below), jnp.sqrt(pivot)[..., None], below)
        return jax.lax.dynamic_update_index_in_dim(factor, below, j, -1)

    return jax.lax.fori_loop(0, n, column, jnp.zeros_like(matrix))


def solve_lower(
    factor: Float[Array, "... n n"], right: Float[Array, "... n m"]
) -> Float[Array, "... n m"]:
    """Solve `L x = right` for lower triangular `L`, by forward substitution."""
    n = factor.shape[-1]
    if n <= _WRITTEN_OUT:
        return _substitute(factor, right, list(range(n)))

    def row(j, x):
        line = jax.lax.dynamic_index_in_dim(factor, j, -2, keepdims=False)
        pivot = jax.lax.dynamic_index_in_dim(line, j, -1)
        given = jax.lax.dynamic_index_in_dim(right, j, -2, keepdims=False)
        solved = (given - jnp.sum(line[..., None] * x, axis=-2)) / pivot
        return jax.lax.dynamic_update_index_in_dim(x, solved, j, -2)

    return jax.lax.fori_loop(0, n, row, jnp.zeros_like(right))


def solve_lower_transposed(
    factor: Float[Array, "... n n"], right: Float[Array, "... n m"]
) -> Float[Array, "... n m"]:
    """Solve `Lᵀ x = right` for lower triangular `L`, by backward substitution."""
    n = factor.shape[-1]
    if n <= _WRITTEN_OUT:
        return _substitute(jnp.swapaxes(factor, -1, -2), right, list(range(n))[::-1])

    def row(step, x):
        j = n - 1 - step
        line = jax.lax.dynamic_index_in_dim(factor, j, -1, keepdims=False)
        pivot = jax.lax.dynamic_index_in_dim(line, j, -1)
        given = jax.lax.dynamic_index_in_dim(right, j, -2, keepdims=False)
        solved = (given - jnp.sum(line[..., None] * x, axis=-2)) / pivot
        return jax.lax.dynamic_update_index_in_dim(x, solved, j, -2)

    return jax.lax.fori_loop(0, n, row, jnp.zeros_like(right))


def solve_positive(
    matrix: Float[Array, "... n n"], right: Float[Array, "... n m"]
) -> Float[Array, "... n m"]:
    """Solve `matrix x = right` for positive definite matrices."""
    factor = cholesky(matrix)
    return solve_lower_transposed(factor, solve_lower(factor, right))


def pack_symmetric(matrix: Float[Array, "... n n"]) -> Float[Array, "... m"]:
    """List the `n (n + 1) / 2` entries of the lower triangle, row by row."""
    rows, columns = np.tril_indices(matrix.shape[-1])
    return matrix[..., rows, columns]


def unpack_symmetric(packed: Float[Array, "... m"], size: int) -> Float[Array, "... n n"]:
    """Put the entries of `pack_symmetric` back into full matrices."""
    return packed[..., packed_places(size)]


def packed_places(size: int) -> np.ndarray:
    """Say where each entry of a symmetric matrix stands in its packed form, `(size, size)`."""
    rows, columns = np.tril_indices(size)
    place = np.zeros((size, size), np.int32)
    place[rows, columns] = place[columns, rows] = np.arange(len(rows))
    return place


def _cholesky_written_out(
    matrix: Float[Array, "... n n"], tiny: Float[Array, "..."]
) -> Float[Array, "... n n"]:
    n = matrix.shape[-1]
    zero = jnp.zeros_like(matrix[..., 0, 0])
    factor = [[zero] * n for _ in range(n)]
    for j in range(n):
        for i in range(j, n):
            left = matrix[..., i, j]
            for k in range(j):
                left = left - factor[i][k] * factor[j][k]
            if i == j:
                factor[j][j] = jnp.sqrt(jnp.maximum(left, tiny))
            else:
                factor[i][j] = left / factor[j][j]
    return jnp.stack([jnp.stack(row, axis=-1) for row in factor], axis=-2)


def _substitute(
    factor: Float[Array, "... n n"], right: Float[Array, "... n m"], order: list[int]
) -> Float[Array, "... n m"]:
    """Solve a triangular system whose row `order[k]` needs only the rows before it in `order`."""
    found: dict[int, Array] = {}
    for i in order:
        left = right[..., i, :]
        for k, known in found.items():
            left = left - factor[..., i, k, None] * known
        found[i] = left / factor[..., i, i, None]
    return jnp.stack([found[i] for i in sorted(found)], axis=-2)


def _lead(mask: Array, like: Array) -> Array:
    """Give a vector the leading axes of another array."""
    return mask.reshape(*(1,) * (like.ndim - 1), -1)
