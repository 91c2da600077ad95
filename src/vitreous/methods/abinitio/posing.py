"""Images against maps that stay as they are: the best pose of each, and its latent.

Poses begin with a grid of all of them, or with what somebody proposes, such as an encoder.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.rotations import AnyArray
from vitreous.geometry.shells import shell_sum
from vitreous.geometry.small_matrices import solve_positive
from vitreous.imaging.fourier_grid import volume_to_grid
from vitreous.imaging.slicing import slice_grid
from vitreous.methods.abinitio.assignment import everywhere
from vitreous.methods.abinitio.exhaustive import Trials, trials
from vitreous.methods.abinitio.orientations import (
    order_for_shell,
    shift_grid,
    shift_step,
    trial_grid,
)
from vitreous.methods.abinitio.reference import references_grid, slices_of
from vitreous.particles.device_data import fetch
from vitreous.particles.loader import PreparedImages
from vitreous.particles.order import epoch_plan
from vitreous.particles.prepare import Batch
from vitreous.reconstruction.pose_refinement import Poses, grid_predictor, refine_poses
from vitreous.reconstruction.weighed import shift_phases, weigh

_BATCH = 64
_STEPS, _KEPT = 5, 6


class Maps(NamedTuple):
    """Hold what images are compared with: the linear model, and maps along its latents."""

    model: Float[Array, "k n n n"]
    shown: Float[Array, "c n n n"]
    prior: Float[Array, " d"]


class Seen(NamedTuple):
    """Hold pose (shift in pixels), score and latent of each image; residual power by shell."""

    rotation: Float[AnyArray, "b 3 3"]
    shift: Float[AnyArray, "b 2"]
    score: Float[AnyArray, " b"]
    latent: Float[AnyArray, "b d"]
    residual: Float[AnyArray, " shells"]


class Bounds(NamedTuple):
    """Say where poses are looked for: shells of the grid, outermost shell, and of the particle
    its radius and how far it may lie off, pixels; point group."""

    low: int
    high: int
    radius: float
    reach: float
    symmetry: str


class Posing:
    """Pose images batch by batch, with everything that does not change laid out once."""

    def __init__(
        self,
        data: PreparedImages,
        maps: Maps,
        bounds: Bounds,
        proposed: tuple[Float[np.ndarray, "n m 3 3"], Float[np.ndarray, "n m 2"]] | None = None,
    ) -> None:
        """**Arguments:** `proposed`: poses of each image (shifts in pixels) to begin with, in
        place of all there are."""
        self.data, self.maps, self.proposed = data, data.place(maps), proposed
        pixels, box = data.pixels, data.box
        self.low, self.high = pixels.count_up_to(bounds.low), pixels.count_up_to(bounds.high)
        self.tried = None
        if proposed is None:
            order = order_for_shell(bounds.low, box, bounds.radius)
            grid, neighbours = trial_grid(order, bounds.symmetry)
            slices = slices_of(maps.shown, jnp.asarray(grid), pixels, self.low)
            shifts = jnp.asarray(shift_grid(bounds.reach, shift_step(box, bounds.low)))
            self.tried = (trials(jnp.asarray(grid), slices, shifts), jnp.asarray(neighbours))

    def batches(self, rows: np.ndarray):
        """Iterate over some images."""
        size = self.data.batch_size(min(_BATCH, len(rows)))
        return self.data.batches(epoch_plan(rows, size))

    def __call__(self, rows: np.ndarray, noise: Float[Array, " shells"]) -> Seen:
        """Pose some images, in their order."""
        parts = []
        residual = np.zeros(self.data.pixels.max_shell + 1, np.float32)
        for batch in self.batches(rows):
            index, weight = fetch((batch.index, batch.weight))
            pixels, low, high = self.data.pixels, self.low, self.high
            start = self._proposals(index)
            seen = fetch(_pose(batch, self.maps, self.tried, start, noise, pixels, low, high))
            parts.append([leaf[weight > 0] for leaf in seen[:-1]])
            residual += seen.residual
        rotation, shift, score, latent = (
            np.concatenate([part[i] for part in parts]) for i in range(4)
        )
        return Seen(rotation, shift, score, latent, residual)

    def _proposals(self, index: np.ndarray) -> Poses | None:
        """Combine what is proposed for some images with every map."""
        if self.proposed is None:
            return None
        rotation, shift = (part[index].astype(np.float32) for part in self.proposed)
        (b, m), k = rotation.shape[:2], len(self.maps.shown)
        state = np.repeat(np.arange(k, dtype=np.int32), m)
        return Poses(
            jnp.asarray(np.tile(rotation, (1, k, 1, 1))),
            jnp.asarray(np.tile(shift, (1, k, 1))),
            jnp.asarray(np.broadcast_to(state, (b, k * m))),
            jnp.zeros((b, k * m)),
        )


@partial(jax.jit, static_argnames=("pixels", "low", "high"))
def _pose(
    batch: Batch,
    maps: Maps,
    tried: tuple[Trials, Int[Array, "q m"]] | None,
    start: Poses | None,
    noise: Float[Array, " shells"],
    pixels: FourierPixels,
    low: int,
    high: int,
) -> Seen:
    near = weigh(batch, pixels, noise, low)
    grid = references_grid(maps.shown)
    if start is None:
        assert tried is not None
        start = everywhere(near, tried[0], tried[1], pixels, len(maps.shown))
    rough = refine_poses(grid_predictor(grid, pixels, low), near, start, pixels, _STEPS)
    fine = weigh(batch, pixels, noise, high)
    kept = rough.best(min(_KEPT, start.score.shape[1])).poses
    refined = refine_poses(grid_predictor(grid, pixels, high), fine, kept, pixels, _STEPS).best(1)
    rotation, shift = refined.poses.rotation[:, 0], refined.poses.shift[:, 0]
    frequency = jnp.asarray(pixels.frequency[:high])
    views = jnp.stack([slice_grid(volume_to_grid(v, 2.0), rotation, frequency) for v in maps.model])
    data = fine.data * shift_phases(shift, pixels, high)
    latent = _latent(views, data, fine.power, maps.prior)
    seen = views[0] + jnp.einsum("kbp,bk->bp", views[1:], latent.astype(views.dtype))
    cross = seen.real * data.real + seen.imag * data.imag
    left = fine.power * (seen.real**2 + seen.imag**2) - 2 * cross
    whole = weigh(batch, pixels, noise, len(pixels)).square
    left = jnp.sum(whole.at[:, :high].add(left), axis=0)
    residual = shell_sum(left[None], jnp.asarray(pixels.shell), pixels.max_shell + 1)[0]
    return Seen(rotation, shift, refined.poses.score[:, 0], latent, residual)


def _latent(views, data, power, prior) -> Float[Array, "b d"]:
    """Solve for the latents that explain images best, drawn to 0 by their prior."""
    d = len(views) - 1
    if d == 0:
        return jnp.zeros((data.shape[0], 0))

    def product(first, second):
        return jnp.sum(first.real * second.real + first.imag * second.imag, axis=-1)

    weighed = views * power[None].astype(views.dtype)
    rows = [[product(weighed[i + 1], views[j + 1]) for j in range(d)] for i in range(d)]
    matrix = jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)
    right = jnp.stack([product(views[i + 1], data - weighed[0]) for i in range(d)], axis=-1)
    return solve_positive(matrix + jnp.diag(prior)[None], right[..., None])[..., 0]
