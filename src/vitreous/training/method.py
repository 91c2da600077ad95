"""What a method supplies to `fit`: a first state and a pure step."""

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Array, Float, Key, PyTree

from vitreous.particles.prepare import Batch

State = PyTree


@runtime_checkable
class Method(Protocol):
    """A fit by stochastic steps.

    `init` and `step` are traced by `jax.jit`: they must be pure and keep the shapes, types and
    structure of the state. Leaves of the state that are no arrays (activation functions) stay
    as `init` made them.

    Three more methods are used if present: `end_of_epoch(state, epoch) -> state`, called on the
    host after every epoch (1-based); `per_particle(state) -> pytree of bool`, which marks the
    tables with one row a particle, to be spread over the devices like the images; and
    `groups(epoch) -> Groups | None`, the images that come side by side in one batch (the tilts of
    a particle), always of one size.
    """

    def init(self, key: Key[Array, ""]) -> State:
        """Make the state before the first step."""
        ...

    def step(
        self, state: State, batch: Batch, key: Key[Array, ""], progress: Float[Array, ""]
    ) -> tuple[State, dict[str, Any]]:
        """Take one step.

        **Arguments:** `key`: fresh for every step. `progress`: share of the whole training that
        lies behind, in [0, 1).

        **Returns:** the new state, and scalars to record; one of them is `"loss"`, which must
        stay finite.
        """
        ...
