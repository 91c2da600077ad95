"""Adam for tables with one row a particle: only the rows of a batch move, and age.

Dense Adam would carry momentum into rows that were not seen, and would touch the whole table in
every step.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class RowTable(eqx.Module):
    """Hold a table of free parameters with the optimiser state of each row.

    **Fields:** `values`: `(n, d)`. `first`, `second`: running moments of the gradient. `count`:
    updates each row has had.
    """

    values: Float[Array, "n d"]
    first: Float[Array, "n d"]
    second: Float[Array, "n d"]
    count: Int[Array, " n"]

    @classmethod
    def start(cls, values: Float[Array, "n d"]) -> "RowTable":
        """Start from given values with empty moments."""
        zeros = jnp.zeros_like(values)
        return cls(values, zeros, jnp.zeros_like(values), jnp.zeros(len(values), jnp.int32))

    def update(
        self,
        rows: Int[Array, " b"],
        gradient: Float[Array, "b d"],
        learning_rate: Float[Array, ""] | float,
        is_real: Float[Array, " b"],
        decay: tuple[float, float] = (0.9, 0.999),
    ) -> "RowTable":
        """Move the given rows by one Adam step.

        **Arguments:** `rows`: indices, each at most once among the real ones. `is_real`: 1, or 0
        for padding, whose rows stay untouched.

        **Source:** Kingma & Ba (2015), bias corrected by each row's own count.
        """
        b1, b2 = decay
        keep = is_real > 0
        # Padding points beyond the table; such updates are dropped.
        target = jnp.where(keep, rows, len(self.values)).astype(rows.dtype)
        count = self.count[rows] + 1
        age = count.astype(gradient.dtype)[:, None]
        first = b1 * self.first[rows] + (1 - b1) * gradient
        second = b2 * self.second[rows] + (1 - b2) * gradient**2
        scale = jnp.sqrt(second / (1 - b2**age)) + 1e-8
        moved = self.values[rows] - learning_rate * (first / (1 - b1**age)) / scale

        def put(table: Array, new: Array) -> Array:
            return table.at[target].set(new, mode="drop")

        return RowTable(
            put(self.values, moved),
            put(self.first, first),
            put(self.second, second),
            put(self.count, count),
        )

    def put(
        self,
        rows: Int[Array, " b"],
        values: Float[Array, "b d"],
        is_real: Float[Array, " b"],
    ) -> "RowTable":
        """Replace the given rows; moments stay. Rows that pad a batch are left out."""
        target = jnp.where(is_real > 0, rows, len(self.values)).astype(rows.dtype)
        moved = self.values.at[target].set(values, mode="drop")
        return RowTable(moved, self.first, self.second, self.count)

    def __len__(self) -> int:
        return len(self.values)


def gather_rows(table: RowTable, rows: Int[Array, " b"]) -> Float[Array, "b d"]:
    """Read the rows of a batch."""
    return jax.lax.stop_gradient(table.values)[rows]
