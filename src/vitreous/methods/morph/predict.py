"""Predictions of a flow: the density at any time, where each voxel went, and how volume changed.

*Push* conserves mass: every voxel above the threshold carries its density along, which thins where
space expands. *Pull* conserves values: every voxel of the frame looks up where it came from, so
that no holes open. Where the flow keeps volume the two agree.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import scipy.ndimage
from jaxtyping import Float

from vitreous.maps import Map
from vitreous.methods.morph.cloud import cloud_of, splat
from vitreous.methods.morph.flow import carry_points, deformation_gradient
from vitreous.methods.morph.mesh import determinant
from vitreous.methods.morph.weights import Flow

# How far around the pushed density a pulled frame is filled, and its soft edge, in voxels.
_RIM, _EDGE = 3, 3


def frame_times(count: int) -> list[float]:
    """Spread frames evenly over the way, both ends included."""
    return [0.0] if count == 1 else [i / (count - 1) for i in range(count)]


def push_frames(
    flow: Flow, density: Map, times: Sequence[float], lattice: Map | None = None
) -> list[Float[np.ndarray, "z y x"]]:
    """Carry the mass of every voxel above zero to each time.

    **Arguments:** `density`: already cut. `lattice`: where frames are laid, by default the map's
    own box; mass that leaves the box is lost, as in the peer's frames.
    """
    target = density if lattice is None else lattice
    points, mass = cloud_of(density.data, density.voxel_size, density.origin)
    frames = []
    for x in carry_points(flow.velocity, points, times, flow.steps, flow.scheme):
        place = (x - np.asarray(target.origin, np.float32)) / np.float32(target.voxel_size)
        sides = np.array(target.data.shape[::-1])
        # One ring more takes what a voxel at the rim shares with the outside.
        inside = np.all((place > -1) & (place < sides), axis=1)
        nz, ny, nx = target.data.shape
        shape = (nz + 2, ny + 2, nx + 2)
        rim = splat(
            jnp.asarray(np.where(inside[:, None], place + 1, 0).astype(np.float32)),
            jnp.asarray(np.where(inside, mass, 0)), shape, 1.0, (0.0, 0.0, 0.0),
        )  # fmt: skip
        frames.append(np.asarray(rim)[1:-1, 1:-1, 1:-1])
    return frames


def pull_frames(
    flow: Flow, a_map: Map, support: Map, times: Sequence[float], lattice: Map | None = None
) -> list[Float[np.ndarray, "z y x"]]:
    """Look up, for every voxel of each frame, the density where it came from.

    **Arguments:** `a_map`: the map as it is; `support`: the same cut at its threshold. Values are
    read by cubic interpolation inside a soft mask around the support, so the weak density at the
    molecule's rim is kept and the solvent, where the field is mere extrapolation, is not.
    """
    target = a_map if lattice is None else lattice
    distance = scipy.ndimage.distance_transform_edt(support.data <= 0)
    ramp = np.clip((distance - _RIM) / _EDGE, 0, 1)
    soft = a_map.data * (0.5 + 0.5 * np.cos(np.pi * ramp))
    pushed = push_frames(flow, support, times, target)
    spline = scipy.ndimage.spline_filter(soft, order=3, mode="constant").astype(np.float32)
    frames = []
    for time, frame in zip(times, pushed, strict=True):
        near = scipy.ndimage.distance_transform_edt(frame <= 0) <= _RIM + _EDGE + 1
        index = np.argwhere(near)
        points = index[:, ::-1] * target.voxel_size + np.asarray(target.origin)
        points = points.astype(np.float32)
        back = carry_points(flow.velocity, points, [0.0], flow.steps, flow.scheme, start=time)[0]
        place = (back - np.asarray(a_map.origin, np.float32)) / np.float32(a_map.voxel_size)
        values = scipy.ndimage.map_coordinates(
            spline, place[:, ::-1].T, order=3, mode="constant", prefilter=False
        )
        out = np.zeros(target.data.shape, np.float32)
        out[tuple(index.T)] = values
        frames.append(out)
    return frames


@dataclass(frozen=True, eq=False)
class Motion:
    """Hold where the voxels of a density went, on its own grid, zero (one for volume) elsewhere.

    `displacement` `(3, z, y, x)` in Å along x, y, z; `volume` is `det F`, the share to which a
    volume element grew; `weight` the density.
    """

    displacement: Float[np.ndarray, "3 z y x"]
    volume: Float[np.ndarray, "z y x"]
    weight: Float[np.ndarray, "z y x"]

    def facts(self) -> dict[str, float]:
        """Sum up: displacements (Å) weighted by density, and the spread of det F."""
        inside = self.weight > 0
        length = np.linalg.norm(self.displacement[:, inside], axis=0)
        mass = self.weight[inside] / self.weight[inside].sum()
        volume = self.volume[inside]
        low, middle, high = np.percentile(volume, (1, 50, 99))
        return {
            "displacement_rms": float(np.sqrt(np.sum(mass * length**2))),
            "displacement_mean": float(np.sum(mass * length)),
            "displacement_largest": float(length.max()),
            "volume_least": float(volume.min()),
            "volume_1_percent": float(low),
            "volume_median": float(middle),
            "volume_99_percent": float(high),
            "volume_most": float(volume.max()),
        }


def measure_motion(flow: Flow, density: Map) -> Motion:
    """Follow every voxel above zero over the whole way."""
    points, _ = cloud_of(density.data, density.voxel_size, density.origin)
    inside = density.data > 0
    displacement = np.zeros((3, *density.data.shape), np.float32)
    volume = np.ones(density.data.shape, np.float32)
    end = carry_points(flow.velocity, points, [1.0], flow.steps, flow.scheme)[0]
    displacement[:, inside] = (end - points).T
    gradient = deformation_gradient(flow.velocity, points, flow.steps, flow.scheme)
    volume[inside] = np.asarray(determinant(jnp.asarray(gradient)))
    return Motion(displacement, volume, density.data)
