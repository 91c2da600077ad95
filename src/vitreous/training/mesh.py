"""Devices as one axis: images and per-particle tables are spread along it, the rest copied."""

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jaxtyping import PyTree

from vitreous.errors import InputError
from vitreous.particles.device_data import DATA_AXIS, SPREAD, WHOLE


def data_mesh(devices: int | None = None) -> Mesh:
    """Line up devices along the axis `"data"`: all visible ones, or the first `devices`.

    **Raises:** `InputError` if fewer are visible than asked for.
    """
    visible = jax.devices()
    count = len(visible) if devices is None else devices
    if not 1 <= count <= len(visible):
        raise InputError(f"{count} devices asked for, {len(visible)} visible")
    if jax.process_count() > 1 and count != len(visible):
        raise InputError(
            f"{count} devices asked for, but {jax.process_count()} processes hold {len(visible)}: "
            "leave --devices out, or start fewer processes"
        )
    return Mesh(np.array(visible[:count]), (DATA_AXIS,))


def local_mesh() -> Mesh:
    """Line up the devices of this process alone."""
    return Mesh(np.array(jax.local_devices()), (DATA_AXIS,))


def state_sharding(state: PyTree, per_particle: PyTree, mesh: Mesh) -> PyTree:
    """Say for each leaf of a state where it lies.

    **Arguments:** `state`: arrays or their shapes. `per_particle`: True where a leaf has one row
    a particle (a tree of the same structure). Such a table is spread if its rows divide evenly
    among the devices, else copied.
    """

    def place(leaf, is_table: bool) -> NamedSharding:
        divides = leaf.ndim > 0 and leaf.shape[0] % mesh.size == 0
        return NamedSharding(mesh, SPREAD if is_table and divides else WHOLE)

    return jax.tree.map(place, state, per_particle)
