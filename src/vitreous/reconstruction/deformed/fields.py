"""A field of displacements on a list of voxels, however it is given.

What is known as modes and weights, `δ = Σ_k w_k φ_k`, is evaluated at the voxels once; images only
mix the modes. Anything else that gives displacements of points is asked for every image.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vitreous.reconstruction.deformed.support import Support

# Modes of all voxels are kept while they fit in so many bytes, else made again for each chunk.
_KEPT_BYTES = 2 << 30


@runtime_checkable
class Displacement(Protocol):
    """Give displacements of points (Å from the box centre) for latents, Å.

    With methods `modes(points) -> (m, k, 3)` and `weights(z) -> (b, k)` it is a sum of modes.
    """

    def __call__(
        self, points: Float[Array, "m 3"], z: Float[Array, "b d"], /
    ) -> Float[Array, "b m 3"]: ...


class MovedImages(NamedTuple):
    """Say how the molecule is deformed in some images.

    **Fields:** `rows`: of a particle table. `latents`: of these images. `field`: what displaces
    points at a latent.
    """

    rows: Int[np.ndarray, " n"]
    latents: Float[np.ndarray, "n d"]
    field: Displacement


class Corners(NamedTuple):
    """Interpolate from coarse nodes: `Σ weight · value[node]` over the 8 around each voxel."""

    node: Int[Array | np.ndarray, "m 8"]
    weight: Float[Array | np.ndarray, "m 8"]


def is_factorised(field: Any) -> bool:
    """Say whether a field comes as modes and weights."""
    return hasattr(field, "modes") and hasattr(field, "weights")


class FieldOnSupport:
    """Evaluate a field at the voxels of a support, block by block.

    **Arguments:** `moved`: whose field and latents. `support`: the voxels. `downsample`: evaluate
    on a grid so many times as coarse, and interpolate between its nodes. `block`: voxels at a time.

    A block is what the jitted functions of this package take: `mix(block, code)` gives `(b, v, 3)`.
    """

    def __init__(
        self, moved: MovedImages, support: Support, downsample: int = 1, block: int = 1 << 18
    ) -> None:
        self.support = support
        self._field = moved.field
        self._mixes = is_factorised(moved.field)
        z = jnp.asarray(moved.latents, jnp.float32)
        self.code = np.asarray(_weights(moved.field, z) if self._mixes else z)
        count = len(support.index)
        self.block = min(block, max(1, count))
        self.starts = range(0, count, self.block)
        self._downsample = downsample
        kept = 12 * count * self.code.shape[1]
        self._cache: dict[tuple[int, jax.Device | None], Any] | None = (
            {} if kept <= _KEPT_BYTES else None
        )

    def at(self, number: int, device: jax.Device | None = None) -> "Block":
        """Give a block of voxels, filled up to full size with voxels of no weight.

        **Arguments:** `device`: where it lies, None leaves it to JAX.
        """
        if self._cache is not None and (number, device) in self._cache:
            return self._cache[number, device]
        start = self.starts[number]
        index = np.arange(start, start + self.block)
        inside = index < len(self.support.index)
        rows = np.minimum(index, len(self.support.index) - 1)
        points = self.support.points[rows]
        weight = self.support.weight[rows] * inside.astype(np.float32)
        corners = None
        nodes = points
        if self._downsample > 1:
            nodes, corners = coarse_nodes(points, self.support.voxel_size * self._downsample)
            corners = Corners(*(jnp.asarray(part) for part in corners))
        modes, call = None, None
        if self._mixes:
            modes = _modes(self._field, jnp.asarray(nodes))
            if corners is not None:
                modes, corners = _interpolate_modes(modes, corners), None
        else:
            call = self._field
        made = Block(
            jnp.asarray(points), jnp.asarray(weight), modes, call, jnp.asarray(nodes), corners
        )
        if device is not None:
            arrays, rest = eqx.partition(made, eqx.is_array)
            made = eqx.combine(jax.device_put(arrays, device), rest)
        if self._cache is not None:
            self._cache[number, device] = made
        return made

    def sizes(self, number: int) -> slice:
        """Say which of the support's voxels a block holds."""
        start = self.starts[number]
        return slice(start, min(start + self.block, len(self.support.index)))


class Block(eqx.Module):
    """Hold some voxels and what displaces them; see `FieldOnSupport`."""

    points: Float[Array, "v 3"]
    weight: Float[Array, " v"]
    modes: Float[Array, "k x"] | None
    field: Callable | None
    nodes: Float[Array, "c 3"]
    corners: Corners | None

    def displace(self, code: Float[Array, "b c"]) -> Float[Array, "b v 3"]:
        """Return displacements of the voxels in Å, for weights of modes or for latents."""
        if self.modes is not None:
            flat = jnp.dot(code, self.modes, precision="highest")
            return flat.reshape(len(code), -1, 3)
        assert self.field is not None
        moves = self.field(self.nodes, code)
        return moves if self.corners is None else jax.vmap(self._between)(moves)

    def _between(self, moves: Float[Array, "c 3"]) -> Float[Array, "v 3"]:
        assert self.corners is not None
        return jnp.sum(moves[self.corners.node] * self.corners.weight[..., None], axis=1)


def coarse_nodes(
    points: Float[np.ndarray, "m 3"], step: float
) -> tuple[Float[np.ndarray, "c 3"], Corners]:
    """Find the nodes of a coarse grid around points, and what interpolates between them.

    Nodes lie at whole multiples of the step from the box centre, wherever the points lie, so that
    a field that is linear in space comes out as it is: nothing is magnified.

    **Returns:** places of the nodes needed (Å), and eight of them for each point.
    """
    place = points.astype(np.float64) / step
    lower = np.floor(place).astype(np.int64)
    fraction = place - lower
    offset = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), -1).reshape(8, 3)
    corner = lower[:, None] + offset
    # A lookup table over the box of nodes: sorting millions of corners would take seconds.
    first = corner.reshape(-1, 3).min(0)
    shape = corner.reshape(-1, 3).max(0) - first + 1
    flat = np.ravel_multi_index(tuple((corner - first).reshape(-1, 3).T), tuple(shape))
    used = np.zeros(int(np.prod(shape)), bool)
    used[flat] = True
    number = np.cumsum(used) - 1
    nodes = np.stack(np.unravel_index(np.flatnonzero(used), tuple(shape)), -1) + first
    weight = np.where(offset == 1, fraction[:, None], 1 - fraction[:, None]).prod(-1)
    corners = Corners(number[flat].reshape(-1, 8).astype(np.int32), weight.astype(np.float32))
    return (nodes * step).astype(np.float32), corners


@eqx.filter_jit
def _weights(field: Any, z: Float[Array, "n d"]) -> Float[Array, "n k"]:
    return field.weights(z)


@eqx.filter_jit
def _modes(field: Any, points: Float[Array, "c 3"]) -> Float[Array, "k x"]:
    modes = field.modes(points)
    return jnp.swapaxes(modes, 0, 1).reshape(modes.shape[1], -1)


@jax.jit
def _interpolate_modes(modes: Float[Array, "k x"], corners: Corners) -> Float[Array, "k y"]:
    """Interpolate modes between nodes, one at a time: eight copies of all would not fit."""

    def one(mode: Float[Array, " x"]) -> Float[Array, " y"]:
        values = mode.reshape(-1, 3)[corners.node] * corners.weight[..., None]
        return jnp.sum(values, axis=1).reshape(-1)

    return jax.lax.map(one, modes)
