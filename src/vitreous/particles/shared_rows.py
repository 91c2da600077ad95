"""Arrays on the host with a row an image, of which every process makes some."""

from typing import Generic, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int, PyTree

from vitreous.particles.processes import sum_over_processes

Rows = TypeVar("Rows", bound=PyTree)


class SharedRows(Generic[Rows]):
    """Collect rows that are made anew; the others stay as they were.

    **Arguments:** `rows`: a tree of arrays, alike in every process; it is copied. No row is made
    by two processes.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows: Rows = jax.tree.map(np.array, rows)
        self._made = np.zeros(len(jax.tree.leaves(self._rows)[0]), bool)

    def take(self, index: Int[np.ndarray, " b"]) -> Rows:
        """Return some rows on the device, as this process knows them."""
        return jax.tree.map(lambda leaf: jnp.asarray(leaf[index]), self._rows)

    def put(self, index: Int[np.ndarray, " b"], counted: Bool[np.ndarray, " b"], new: Rows) -> None:
        """Keep rows; those that are not `counted` only fill a batch up."""
        place = index[counted]
        self._made[place] = True
        for mine, made in zip(jax.tree.leaves(self._rows), jax.tree.leaves(new), strict=True):
            mine[place] = np.asarray(made)[counted]

    def together(self) -> Rows:
        """Return the rows that all processes made, and those that none did."""
        if jax.process_count() == 1:
            return self._rows
        made = np.asarray(sum_over_processes(jnp.asarray(self._made, jnp.int32)))

        def whole(leaf: np.ndarray) -> np.ndarray:
            shape = (-1, *(1,) * (leaf.ndim - 1))
            mine = np.where(self._made.reshape(shape), leaf, np.zeros_like(leaf))
            all_made = np.asarray(sum_over_processes(jnp.asarray(mine)))
            return np.where(made.reshape(shape) > 0, all_made, leaf)

        return jax.tree.map(whole, self._rows)
