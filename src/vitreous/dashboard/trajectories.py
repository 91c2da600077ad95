"""Paths through the latents: straight, along the graph of neighbours, along a component."""

import shlex
import threading
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from vitreous.analysis.graph_path import NeighbourGraph, graph_path, neighbour_graph
from vitreous.analysis.paths import component_path, direct_path, nearest_points
from vitreous.analysis.run_columns import RunColumns
from vitreous.errors import InputError

# The graph compares every point with every other.
_LARGEST_GRAPH = 20_000
_MOST_FRAMES = 500


class Trajectory(NamedTuple):
    """Points of a path, the particle nearest to each, and the command that makes the same."""

    z: Float[np.ndarray, "p d"]
    particles: Int[np.ndarray, " p"]
    command: str


class Pathfinder:
    """Make trajectories through the latents of a run."""

    def __init__(self, run: Path, of_run: RunColumns) -> None:
        self._run, self._of_run = run, of_run
        self._z = np.asarray(of_run.latent(), np.float32)
        self._graph: tuple[NeighbourGraph, np.ndarray] | None = None
        self._lock = threading.Lock()

    def through_points(self, points: list[list[float]], frames: int) -> Trajectory:
        """Join latents that were given by straight lines, `frames` points in all or a few more."""
        dimensions = self._z.shape[1]
        if any(len(point) != dimensions for point in points) or not np.isfinite(points).all():
            raise InputError(f"points: {dimensions} numbers are wanted for each")
        stops = np.asarray(points, np.float32).reshape(-1, dimensions)
        path = direct_path(stops, _per_segment(len(points), frames))
        return self._found(
            path, ["eval-vol", str(self._run), "--zfile", "z_values.txt", "-o", "path"]
        )

    def through_particles(self, anchors: Int[np.ndarray, " a"], frames: int) -> Trajectory:
        """Join particles by straight lines."""
        count = _per_segment(len(anchors), frames)
        path = direct_path(self._z[anchors], count)
        words = ["direct-traversal", str(self._run), "--anchors", *map(str, anchors.tolist())]
        return self._found(path, [*words, "-n", str(count), "-o", "z-path.txt"])

    def along_graph(self, anchors: Int[np.ndarray, " a"], frames: int | None) -> Trajectory:
        """Go from particle to particle by the shortest way through near neighbours.

        Of a large run, a part chosen at random is linked, and the anchors.
        """
        with self._lock:
            graph, members = self._neighbours(anchors)
        place = np.searchsorted(members, anchors)
        index = members[graph_path(graph, place).index]
        if frames is not None and len(index) > frames:
            index = index[np.rint(np.linspace(0, len(index) - 1, max(frames, 2))).astype(int)]
        words = ["graph-traversal", str(self._run), "--anchors", *map(str, anchors.tolist())]
        return Trajectory(self._z[index], index, shlex.join(["vitreous", *words]))

    def along_component(self, component: int, frames: int) -> Trajectory:
        """Walk along a principal component, 1 for the first."""
        components = self._of_run.components
        path = component_path(self._z, component, frames, components=components)
        words = ["pc-traversal", str(self._run), "--pc", str(component), "-n", str(frames)]
        return self._found(path, [*words, "-o", "paths"])

    def _found(self, path: Float[np.ndarray, "p d"], words: list[str]) -> Trajectory:
        return Trajectory(path, nearest_points(path, self._z), shlex.join(["vitreous", *words]))

    def _neighbours(self, anchors: np.ndarray) -> tuple[NeighbourGraph, np.ndarray]:
        """Link the points once; of a large run anew when an anchor is not among them."""
        if self._graph is None or not np.isin(anchors, self._graph[1]).all():
            members = np.arange(len(self._z))
            if len(members) > _LARGEST_GRAPH:
                kept = np.random.default_rng(0).permutation(len(members))[:_LARGEST_GRAPH]
                members = np.union1d(kept, anchors)
            self._graph = neighbour_graph(self._z[members], min(10, len(members))), members
        return self._graph


Kind = Literal["direct", "graph", "pc"]


def check_frames(frames: int) -> int:
    """Make sure that a path has a number of frames one can wait for.

    **Raises:** `InputError`.
    """
    if not 2 <= frames <= _MOST_FRAMES:
        raise InputError(f"frames: {frames}: a path has 2 to {_MOST_FRAMES}")
    return frames


def _per_segment(anchors: int, frames: int) -> int:
    return max(2, -(-(frames - 1) // max(anchors - 1, 1)) + 1)
