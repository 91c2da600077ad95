"""Small Cholesky factors against LAPACK, and what happens where the matrix is singular."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.geometry.small_matrices import (
    cholesky,
    pack_symmetric,
    solve_positive,
    unpack_symmetric,
)


@pytest.mark.parametrize("size", [1, 2, 7, 20])
def test_agrees_with_lapack(size):
    with jax.enable_x64(True):
        rng = np.random.default_rng(size)
        a = rng.normal(size=(5, 3, size, size + 3))
        matrix = a @ a.swapaxes(-1, -2)
        right = rng.normal(size=(5, 3, size, 2))
        np.testing.assert_allclose(
            jax.jit(cholesky)(jnp.asarray(matrix)), np.linalg.cholesky(matrix), atol=1e-10
        )
        solved = jax.jit(solve_positive)(jnp.asarray(matrix), jnp.asarray(right))
        # Condition numbers of such matrices reach 1e4: 12 digits of 16 remain.
        np.testing.assert_allclose(solved, np.linalg.solve(matrix, right), rtol=1e-8, atol=1e-9)


def test_singular_matrices_stay_finite():
    ones = jnp.ones((4, 3, 3), jnp.float32)
    factor = cholesky(ones)
    np.testing.assert_allclose(factor @ factor.swapaxes(-1, -2), ones, atol=1e-3)
    assert np.isfinite(np.asarray(solve_positive(0 * ones, ones))).all()


def test_packing_keeps_every_entry():
    a = np.random.default_rng(0).normal(size=(2, 4, 4)).astype(np.float32)
    matrix = jnp.asarray(a + a.swapaxes(-1, -2))
    np.testing.assert_array_equal(unpack_symmetric(pack_symmetric(matrix), 4), matrix)
