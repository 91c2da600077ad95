"""Weight files of a flow: the peer's `net.pt` layout, with what the peer leaves out beside it.

Tensors are `v.n0.weight`, `v.n0.bias`, … or `v.control`. The note `vitreous.json` holds centre and
extent (Å), scheme, steps and symmetry; a file without it is the peer's: Euler in ten steps, in the
unit cube of the map it is applied to.
"""

import json
import os
import zipfile
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from vitreous.errors import InputError
from vitreous.geometry.point_groups import point_group
from vitreous.maps import Map
from vitreous.methods.morph.flow import Scheme
from vitreous.methods.morph.torch_file import write_torch_file
from vitreous.methods.morph.velocity import (
    MLPVelocity,
    SplineVelocity,
    SymmetricVelocity,
    Triple,
    Velocity,
    symmetrise,
)
from vitreous.particles.torch_archive import read_torch_archive

_NOTE = "vitreous.json"


@dataclass(frozen=True)
class Flow:
    """Hold a velocity field and how it is to be integrated."""

    velocity: Velocity
    scheme: Scheme = "rk4"
    steps: int = 3
    symmetry: str = "C1"
    is_peer: bool = False


def unit_cube(a_map: Map) -> tuple[Triple, float]:
    """Give centre and extent that make a map's box the peer's unit cube.

    Voxel `i` of `n` lies at `(i + ½) / n` on each axis.

    **Raises:** `InputError` if the box is not a cube.
    """
    if len(set(a_map.data.shape)) != 1:
        sides = "×".join(map(str, a_map.data.shape[::-1]))
        raise InputError(f"the peer's weights live in a cube; this map is {sides}: pad it")
    x, y, z = (float(o) - 0.5 * a_map.voxel_size for o in a_map.origin)
    return (x, y, z), len(a_map.data) * a_map.voxel_size


def write_weights(path: str | os.PathLike, flow: Flow) -> None:
    """Write a flow; the peer's settings make a file that is the peer's to the last key."""
    base = flow.velocity.base if isinstance(flow.velocity, SymmetricVelocity) else flow.velocity
    if isinstance(base, MLPVelocity):
        arrays = {}
        for i, (weight, bias) in enumerate(zip(base.weights, base.biases, strict=True)):
            arrays[f"v.n{i}.weight"], arrays[f"v.n{i}.bias"] = np.asarray(weight), np.asarray(bias)
    else:
        arrays = {"v.control": np.asarray(base.control)}
    notes = {"centre": base.centre, "extent": base.extent, "scheme": flow.scheme}
    notes |= {"steps": flow.steps, "symmetry": flow.symmetry}
    if isinstance(flow.velocity, SymmetricVelocity):
        notes["pivot"] = flow.velocity.pivot
    write_torch_file(path, arrays, None if flow.is_peer else {_NOTE: json.dumps(notes)})


def read_weights(
    path: str | os.PathLike, a_map: Map, depth: int | None = None, width: int | None = None
) -> Flow:
    """Read a flow, ours or the peer's.

    **Arguments:** `a_map`: whose unit cube the peer's weights live in. `depth`, `width`: what the
    user says the perceptron has; the file knows, they are only checked.

    **Raises:** `InputError` if the file is missing, holds something else, or disagrees.
    """
    state = read_torch_archive(path)
    notes = _read_notes(path)
    if not isinstance(state, dict):
        raise InputError(f"{path}: holds no state dict but a {type(state).__name__}")
    if notes is None:
        centre, extent = unit_cube(a_map)
    else:
        centre, extent = tuple(notes["centre"]), float(notes["extent"])
    if "v.control" in state:
        control = state["v.control"]
        if notes is None or control.ndim != 5 or control.shape[-1] != 3:
            raise InputError(f"{path}: v.control is no spline grid {control.shape}")
        base: MLPVelocity | SplineVelocity = SplineVelocity(jnp.asarray(control), centre, extent)
    else:
        weights, biases = _layers(path, state, notes is None)
        if depth is not None and len(weights) != depth:
            raise InputError(f"{path}: has {len(weights)} layers, not --depth {depth}")
        if width is not None and weights[0].shape[0] != width:
            raise InputError(f"{path}: is {weights[0].shape[0]} wide, not --width {width}")
        base = MLPVelocity(
            tuple(map(jnp.asarray, weights)), tuple(map(jnp.asarray, biases)), centre, extent
        )
    if notes is None:
        return Flow(base, "euler", 10, "C1", True)
    symmetry = str(notes["symmetry"])
    velocity = symmetrise(base, point_group(symmetry), notes.get("pivot", (0.0, 0.0, 0.0)))
    return Flow(velocity, notes["scheme"], int(notes["steps"]), symmetry)


def _read_notes(path: str | os.PathLike) -> dict | None:
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        names = [n for n in archive.namelist() if n.endswith(f"/{_NOTE}")]
        if not names:
            return None
        try:
            notes = json.loads(archive.read(names[0]))
        except (ValueError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: its {_NOTE} is broken ({error})") from None
    missing = {"centre", "extent", "scheme", "steps", "symmetry"} - set(notes)
    if missing:
        raise InputError(f"{path}: its {_NOTE} lacks {', '.join(sorted(missing))}")
    return notes


def _layers(path, state: dict, is_peer: bool) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Collect the linear layers and check that they fit on one another."""
    weights: list[np.ndarray] = []
    biases: list[np.ndarray] = []
    while f"v.n{len(weights)}.weight" in state:
        i = len(weights)
        weight, bias = state[f"v.n{i}.weight"], state.get(f"v.n{i}.bias")
        if weight.ndim != 2 or bias is None or bias.shape != weight.shape[:1]:
            raise InputError(f"{path}: layer v.n{i} has weights {weight.shape} and no such bias")
        if i and weight.shape[1] != weights[-1].shape[0]:
            raise InputError(f"{path}: layer v.n{i} does not fit on v.n{i - 1}")
        weights.append(weight.astype(np.float32))
        biases.append(bias.astype(np.float32))
    if len(weights) < 2:
        keys = ", ".join(list(state)[:3]) or "nothing"
        raise InputError(f"{path}: holds no flow (v.n0.weight, …) but {keys}")
    inputs, outputs = weights[0].shape[1], weights[-1].shape[0]
    if outputs != 3 or inputs not in ((3,) if is_peer else (3, 4)):
        raise InputError(f"{path}: maps {inputs} numbers to {outputs}, a velocity field 3 to 3")
    if not all(np.isfinite(a).all() for a in (*weights, *biases)):
        raise InputError(f"{path}: holds NaN or infinite weights; take an earlier net_*.pt")
    return weights, biases
