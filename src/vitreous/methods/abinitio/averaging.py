"""The pose of an image when its map is in doubt: the mean over all maps, by how likely each is.

An image that is taken for the wrong conformation turns a little to make up for it. Once all maps
lie in one frame these turns point to all sides, and the mean of the posterior is nearer to the
truth than its maximum. Maps of a few hundred images hold those images' own noise, so that the
likelihoods are far too sure of them; they are raised to a power below one.
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.rotations import matrix_to_rotation_vector, rotation_vector_to_matrix
from vitreous.imaging.fourier_grid import FourierGrid
from vitreous.methods.abinitio.halves import Halves
from vitreous.methods.abinitio.reference import references_grid
from vitreous.methods.abinitio.setting import Setting
from vitreous.particles.prepare import Batch
from vitreous.particles.shared_rows import SharedRows
from vitreous.reconstruction.pose_refinement import Poses, grid_predictor, refine_poses
from vitreous.reconstruction.weighed import weigh

# Shells that are looked at, and steps that are taken towards every map.
_BAND, _STEPS = 10, 5
# Log likelihoods are divided by this; 1 believes the maps (T5, seed 0: 6.9°; 3 to 8: 6.3° to 6.5°).
_DOUBT = 4.0
# Rounds: in the second, all maps are looked at from a better place.
_ROUNDS = 2


def average_poses(setting: Setting, halves: Halves) -> Halves:
    """Refine every image against all maps, and take the mean of its poses.

    **Arguments:** `halves`: maps of one set in one frame, and poses of all images.

    **Returns:** the same with mean poses in the first place; the rest stays.
    """
    assert halves.poses is not None
    volumes, pixels = halves.volumes[0], setting.pixels
    count = pixels.count_up_to(setting.shell(_BAND))
    chosen = np.bincount(np.asarray(halves.poses.state[:, 0]), minlength=len(volumes))
    prior = jnp.asarray(np.log((chosen + 1) / (chosen.sum() + len(chosen))), jnp.float32)
    grid = references_grid(volumes)
    rotation, shift = np.array(halves.poses.rotation), np.array(halves.poses.shift)
    best = rotation[:, 0], shift[:, 0]
    everyone = np.arange(len(setting.data))
    for _ in range(_ROUNDS):
        rows = SharedRows(best)
        for _, mine, counted, batch in setting.shared(everyone):
            start = rows.take(mine)
            rows.put(mine, counted, _mean(batch, *start, grid, halves.noise, prior, pixels, count))
        best = rows.together()
    rotation[:, 0], shift[:, 0] = best
    poses = halves.poses._replace(rotation=jnp.asarray(rotation), shift=jnp.asarray(shift))
    return replace(halves, poses=poses)


@partial(jax.jit, static_argnames=("pixels", "count"))
def _mean(
    batch: Batch,
    rotation: Float[Array, "b 3 3"],
    shift: Float[Array, "b 2"],
    grid: FourierGrid,
    noise: Float[Array, " shells"],
    prior: Float[Array, " k"],
    pixels: FourierPixels,
    count: int,
) -> tuple[Float[Array, "b 3 3"], Float[Array, "b 2"]]:
    b, k = len(rotation), len(prior)
    poses = Poses(
        jnp.broadcast_to(rotation[:, None], (b, k, 3, 3)),
        jnp.broadcast_to(shift[:, None], (b, k, 2)),
        jnp.broadcast_to(jnp.arange(k, dtype=jnp.int32), (b, k)),
        jnp.zeros((b, k)),
    )
    near = grid_predictor(grid, pixels, count)
    found = refine_poses(near, weigh(batch, pixels, noise, count), poses, pixels, _STEPS).poses
    share = jax.nn.softmax((found.score + prior[None]) / _DOUBT, axis=1)
    # Turns from where all started; they are small, and the rest has no share.
    turned = jnp.einsum("bkij,blj->bkil", found.rotation, rotation, precision="highest")
    turn = jnp.sum(share[..., None] * matrix_to_rotation_vector(turned), axis=1)
    mean = jnp.einsum(
        "bij,bjl->bil", rotation_vector_to_matrix(turn), rotation, precision="highest"
    )
    return mean, jnp.sum(share[..., None] * found.shift, axis=1)
