"""Small pose errors, corrected inside the objective of the fit.

For every image the log evidence (coordinates integrated out) is evaluated a step to both sides
along each of five directions; a parabola through three values gives the move. A move that does
not raise evidence plus log prior is not taken, so the objective never falls.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vitreous.geometry.rotations import rotation_vector_to_matrix
from vitreous.methods.subspace.estimate import Estimate
from vitreous.methods.subspace.model import Noise, grid_table
from vitreous.methods.subspace.passes import Passes
from vitreous.methods.subspace.sweep import infer
from vitreous.particles.device_data import put_columns
from vitreous.particles.loader import PreparedImages
from vitreous.particles.prepare import Batch
from vitreous.training.evaluate import map_images

# First step in units of the expected error, and how much shorter it gets each time.
_STEP, _SHORTER = 0.5, 0.7


def corrected(batch: Batch, correction: Float[Array, "b 5"]) -> Batch:
    """Apply corrections `(ωx, ωy, ωz, tx, ty)` in degrees and Å: `R ← exp([ω]×) R`."""
    assert batch.rotation is not None
    turn = rotation_vector_to_matrix(correction[:, :3])
    rotation = jnp.einsum("bij,bjk->bik", turn, batch.rotation, precision="highest")
    return batch._replace(rotation=rotation, shift=batch.shift + correction[:, 3:])


class PoseSearch:
    """Correct the poses of a set step by step.

    **Arguments:** `spread`: expected error of angles (degrees, each axis) and shifts (Å): the
    prior's standard deviations.
    """

    def __init__(self, passes: Passes, spread: tuple[float, float]) -> None:
        self._passes = passes
        self._spread = np.array([spread[0]] * 3 + [spread[1]] * 2, np.float32)
        self._step = _STEP
        self.correction = np.zeros((len(passes.data), 5), np.float32)

    def __call__(self, estimate: Estimate) -> PreparedImages:
        """Improve all corrections once; returns the data with the corrected poses."""
        passes, band = self._passes, self._passes.band
        table = grid_table(estimate.subspace.grid, band.shape)
        given = (
            table,
            estimate.subspace.half,
            estimate.noise,
            jnp.asarray(self.correction),
            jnp.asarray(self._step * self._spread),
        )

        def move(given, batch: Batch) -> Float[Array, "b 5"]:
            table, half, noise, correction, step = given
            mine = correction[batch.index]

            def value(at: Float[Array, "b 5"]) -> Float[Array, " b"]:
                return self._objective(table, half, noise, batch, at)

            return improve_poses(value, mine, step)

        self.correction = map_images(move, given, passes.data, passes.batch_size)
        self._step *= _SHORTER
        return self._moved()

    def _objective(self, table, half, noise: Noise, batch: Batch, at) -> Float[Array, " b"]:
        seen = infer(
            table,
            corrected(batch, at),
            half[batch.index],
            noise,
            noise.group[batch.index],
            self._passes.band,
            self._passes.contrast,
        )
        prior = jnp.sum((at / jnp.asarray(self._spread)[None]) ** 2, axis=-1)
        return seen.evidence[:, -1] - 0.5 * prior

    def _moved(self) -> PreparedImages:
        data = self._passes.data
        table = data.table
        assert table.rotation is not None
        turn = np.asarray(rotation_vector_to_matrix(jnp.asarray(self.correction[:, :3])))
        moved = table.replace(
            rotation=np.einsum("bij,bjk->bik", turn, table.rotation).astype(np.float32),
            shift=(table.shift + self.correction[:, 3:]).astype(np.float32),
        )
        columns = put_columns(moved, data.mesh)
        return replace(data, arrays=data.arrays._replace(columns=columns))


def improve_poses(
    value, start: Float[Array, "b 5"], step: Float[Array, " 5"]
) -> Float[Array, "b 5"]:
    """Take one parabola step along all axes, where it raises `value`; else the best probe.

    **Arguments:** `value`: objective of each image at given corrections. `step`: along each axis.
    """
    moves = jnp.concatenate([jnp.zeros((1, 5)), jnp.diag(step), -jnp.diag(step)])
    probes = jax.lax.map(lambda move: value(start + move[None]), moves)
    centre, up, down = probes[0], probes[1:6].T, probes[6:].T
    bend = 2 * centre[:, None] - up - down
    newton = 0.5 * (up - down) / jnp.where(bend > 0, bend, 1)
    uphill = jnp.sign(up - down)
    share = jnp.where(bend > 0, jnp.clip(newton, -2, 2), uphill)
    moved = start + share * step[None]
    reached = value(moved)
    best = jnp.argmax(probes, axis=0)
    fallback = start + moves[best]
    better = reached > jnp.max(probes, axis=0)
    return jnp.where(better[:, None], moved, fallback)
