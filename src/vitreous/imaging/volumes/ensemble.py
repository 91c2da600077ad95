"""Many conformations of one molecule, and which of them each image shows."""

import os
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

from vitreous.imaging.atoms import Atoms, read_models
from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.volumes.atom_volume import AtomVolume
from vitreous.imaging.volumes.base import Volume, as_module
from vitreous.imaging.volumes.fourier_volume import FourierVolume, alike, stack_grids


class DiscreteEnsemble(eqx.Module):
    """Hold some volumes, of any kinds; `at(index)` is the volume of that index.

    Fourier volumes of one layout share a table, so that a batch of images with an index each is
    sliced as fast as one of a single volume.

    ```python
    ensemble = DiscreteEnsemble.from_structure("models.pdb")
    half = project(ensemble.at(jnp.array([0, 3, 3])), rotation, grid)
    ```
    """

    members: tuple[Volume, ...]
    count: int = eqx.field(static=True)

    def __init__(self, members: Sequence[Volume]) -> None:
        if not members:
            raise ValueError("an ensemble has one member at least")
        self.count = len(members)
        self.members = (stack_grids(members),) if alike(members) else tuple(members)

    @staticmethod
    def from_structure(
        path: str | os.PathLike,
        selection: str | None = None,
        hydrogens: bool = True,
        assembly: str | None = None,
        extra_bfactor: float = 0.0,
    ) -> "DiscreteEnsemble":
        """Make a member of every model in a file; all keep the frame of the first.

        **Raises:** `InputError` as `imaging.atoms.read_atoms`.
        """
        models = read_models(os.fspath(path), selection, hydrogens, assembly)
        moved = models[0].centered().position[0] - models[0].position[0]
        return DiscreteEnsemble(
            [
                AtomVolume.of(
                    Atoms(one.position + moved, one.atomic_number, one.bfactor, one.occupancy),
                    extra_bfactor,
                )
                for one in models
            ]
        )

    def __len__(self) -> int:
        return self.count

    def at(self, index: int | Int[Array | np.ndarray, "..."]) -> "Conformations":
        """Return the volume of an index, or one an image.

        **Raises:** `IndexError` for an index there is none of; traced ones are clipped.
        """
        if not isinstance(index, jax.core.Tracer):
            beyond = (np.asarray(index) < 0) | (np.asarray(index) >= self.count)
            if beyond.any():
                wrong = np.atleast_1d(index)[np.atleast_1d(beyond)][0]
                raise IndexError(f"the ensemble has members 0 to {self.count - 1}, not {wrong}")
        state = jnp.clip(jnp.asarray(index, jnp.int32), 0, self.count - 1)
        return Conformations(self, state, state.ndim == 1)

    def apply(self, state: Array, call: Callable[[Volume], Array]) -> Array:
        """Call a function of the member that a traced index names."""
        first = self.members[0]
        if len(self.members) < self.count and isinstance(first, FourierVolume):
            return call(_OneOfMany(first, state))
        return jax.lax.switch(state, [lambda m=member: call(m) for member in self.members])


class ContinuousEnsemble(eqx.Module):
    """Let a function give the volume at any conformation coordinate.

    **Fields:** `function`: takes a coordinate, a number or an array, returns a volume. `axes`: how
    many axes a coordinate has: 0 for a number, 1 for a vector.

    ```python
    moved = lambda t: GaussianVolume(open_ + t * (closed - open_), amplitude, variance)
    half = project(ContinuousEnsemble(moved).at(jnp.linspace(0, 1, 8)), rotation, grid)
    ```
    """

    function: Callable[[Array], Volume]
    axes: int = eqx.field(static=True)

    def __init__(self, function: Callable[[Array], Volume], axes: int = 0) -> None:
        self.function = as_module(function)
        self.axes = axes

    def at(self, coordinate: float | Float[Array | np.ndarray, "..."]) -> "Conformations":
        """Return the volume at a coordinate, or at one an image (a leading axis more)."""
        state = jnp.asarray(coordinate)
        return Conformations(self, state, state.ndim == self.axes + 1)

    def apply(self, state: Array, call: Callable[[Volume], Array]) -> Array:
        """Call a function of the volume at a coordinate."""
        return call(self.function(state))


class _OneOfMany(Volume):
    """Read one of the tables that a stacked Fourier volume holds."""

    volume: FourierVolume
    state: Int[Array, "..."]

    @property
    def voxel_size(self) -> Float[Array, "..."]:
        return self.volume.voxel_size

    def transform_at(self, frequency: Float[Array, "b p 3"]) -> Complex[Array, "b p"]:
        state = jnp.broadcast_to(self.state, frequency.shape[:1])
        return self.volume.transform_at(frequency, state)

    def check(self, grid: ImageGrid) -> None:
        self.volume.check(grid)


class Conformations(Volume):
    """Be the conformation, or the one an image, that an ensemble's `at` chose."""

    ensemble: DiscreteEnsemble | ContinuousEnsemble
    state: Array
    each: bool = eqx.field(static=True)

    def _first(self) -> Volume:
        """Return the volume of the first image, for what is the same for all."""
        if isinstance(self.ensemble, DiscreteEnsemble):
            return self.ensemble.members[0]
        return self.ensemble.function(self.state[0] if self.each else self.state)

    @property
    def voxel_size(self) -> Float[Array, "..."] | None:
        """That of the first."""
        return self._first().voxel_size

    @property
    def methods(self) -> tuple[str, ...]:
        """Those that all members share."""
        if isinstance(self.ensemble, ContinuousEnsemble):
            return self._first().methods
        first, *rest = self.ensemble.members
        return tuple(m for m in first.methods if all(m in other.methods for other in rest))

    def best_method(self, grid: ImageGrid) -> str:
        """Leave the choice to each member."""
        return "auto"

    def check(self, grid: ImageGrid) -> None:
        """Warn of what images of the members cannot show."""
        if isinstance(self.ensemble, DiscreteEnsemble):
            for member in self.ensemble.members:
                member.check(grid)

    def _map(self, call: Callable[[Volume, Array], Array], given: Array) -> Array:
        if not self.each:
            return self.ensemble.apply(self.state, lambda volume: call(volume, given))
        if isinstance(self.ensemble, DiscreteEnsemble) and len(self.ensemble.members) == 1:
            return self.ensemble.apply(self.state, lambda volume: call(volume, given))

        def one(image: tuple[Array, Array]) -> Array:
            state, own = image
            return self.ensemble.apply(state, lambda volume: call(volume, own[None]))[0]

        return jax.lax.map(one, (self.state, given))

    def transform_at(self, frequency: Float[Array, "b p 3"]) -> Complex[Array, "b p"]:
        """Evaluate each image's own conformation."""
        return self._map(lambda volume, q: volume.transform_at(q), frequency)

    def project(
        self, rotation: Float[Array, "b 3 3"], grid: ImageGrid, method: str
    ) -> Complex[Array, "b n h"]:
        """Project each image's own conformation."""

        def call(volume: Volume, turns: Float[Array, "b 3 3"]) -> Complex[Array, "b n h"]:
            chosen = volume.best_method(grid) if method == "auto" else method
            return volume.project(turns, grid, chosen)

        return self._map(call, rotation)
