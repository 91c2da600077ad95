"""From one map to a landscape: latents for images whose poses were found, and poses by latents.

A linear landscape is fitted at the poses found (by the method that `registry.LANDSCAPES` names).
Maps along its latents then take part in a search of their own: each image chooses its pose and
the map it shows. Maps found that way are laid onto each other before the next landscape, because
every conformation may choose a frame of its own.
"""

import logging
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from vitreous.methods.abinitio.found import Found
from vitreous.methods.abinitio.halves import Halves, one_pass
from vitreous.methods.abinitio.reference import particle_mask
from vitreous.methods.abinitio.setting import Setting
from vitreous.methods.registry import landscape_fitter
from vitreous.particles.device_data import put_columns
from vitreous.particles.loader import PreparedImages
from vitreous.reconstruction.pose_refinement import Poses
from vitreous.reconstruction.volume_alignment import align_volumes
from vitreous.training.landscape import Landscape

logger = logging.getLogger(__name__)

_METHOD = "subspace"
# Maps along the latents that images choose from, and how often.
_STATES, _ROUNDS = 6, 2


def add_conformations(setting: Setting, found: Found, zdim: int) -> Found:
    """Find latents, maps along them, and the poses they go with.

    **Arguments:** `found`: poses and one map. `zdim`: latent dimensions.

    **Returns:** the same with latents and components; half maps and verdict stay those of the
    one map.
    """
    size = float(np.median(np.asarray(setting.data.table.pixel_size)))
    diameter = 2 * setting.radius * size
    rotation, shift = found.rotation, found.shift
    history = list(found.history)
    fit = landscape_fitter(_METHOD)
    score = found.score
    for number in range(_ROUNDS):
        landscape = fit(at_poses(setting.data, rotation, shift), zdim, diameter)
        rotation, shift, score = _round(setting, landscape, found, number, size)
        setting.report("conformations", number + 1, _ROUNDS + 1, "")
        history.append(
            {"phase": "conformations", "epoch": number + 1, "score": float(score.mean())}
        )
    landscape = fit(at_poses(setting.data, rotation, shift), zdim, diameter)
    setting.report("conformations", _ROUNDS + 1, _ROUNDS + 1, "")
    return replace(
        found,
        rotation=rotation,
        shift=shift,
        volumes=landscape.volumes,
        latents=landscape.latents,
        score=score,
        history=history,
    )


def at_poses(
    data: PreparedImages, rotation: Float[np.ndarray, "n 3 3"], shift: Float[np.ndarray, "n 2"]
) -> PreparedImages:
    """Return the images with poses: rotations, and shifts in Å."""
    table = data.table.replace(
        rotation=np.asarray(rotation, np.float32), shift=np.asarray(shift, np.float32)
    )
    return replace(
        data, table=table, arrays=data.arrays._replace(columns=put_columns(table, data.mesh))
    )


def _round(setting: Setting, landscape: Landscape, found: Found, number: int, size: float):
    """Let every image choose pose and map; bring the maps, and their images, into one frame."""
    z = landscape.latents.mean
    centres, label = _states(z, setting.seed)
    maps = landscape.decode(centres)
    maps = maps * particle_mask(maps.mean(axis=0), setting.shell(6))
    many = replace(setting, classes=len(maps))
    poses = Poses(
        *(
            jnp.asarray(np.repeat(column[:, None], 3, axis=1))
            for column in (
                landscape.rotation,
                landscape.shift / size,
                label,
                np.zeros(len(z), np.float32),
            )
        )
    )
    # The band in which half maps agree is known; noise is measured by the pass itself.
    noise = setting.image_power()
    halves = Halves(jnp.asarray(maps)[None], noise, found.fsc, poses=poses)
    key = jax.random.fold_in(jax.random.key(setting.seed), 3000 + number)
    low = setting.shell(8)
    fresh = np.full(len(z), number == 0)
    halves = one_pass(many, halves, (np.arange(len(z)),), key, fresh, low)
    assert halves.poses is not None
    rotation = np.array(halves.poses.rotation[:, 0])
    shift = np.array(halves.poses.shift[:, 0]) * size
    chosen = np.asarray(halves.poses.state[:, 0])
    rotation, shift = _one_frame(np.asarray(halves.volumes[0]), chosen, rotation, shift, size)
    return rotation, shift, halves.score


def _states(
    z: Float[np.ndarray, "n d"], seed: int
) -> tuple[Float[np.ndarray, "k d"], Int[np.ndarray, " n"]]:
    from sklearn.cluster import KMeans

    found = KMeans(min(_STATES, len(z)), n_init=3, random_state=seed).fit(z)
    return found.cluster_centers_.astype(np.float32), found.labels_.astype(np.int32)


def _one_frame(maps, chosen, rotation, shift, size: float):
    """Lay maps onto that of most images; turn and move the poses of their images with them."""
    count = np.bincount(chosen, minlength=len(maps))
    fixed = maps[int(count.argmax())]
    for state in np.flatnonzero(count):
        if state == count.argmax() or not np.ptp(maps[state]) > 0:
            continue
        laid = align_volumes(maps[state], fixed, hands=(False,))
        mine = chosen == state
        # x_fixed = Q x + s, so R Qᵀ sees the fixed frame and −R Qᵀ s moves the centre back.
        rotation[mine] = rotation[mine] @ laid.rotation.T.astype(np.float32)
        offset = (rotation[mine] @ laid.shift.astype(np.float32))[:, :2]
        shift[mine] = shift[mine] - size * offset
    return rotation, shift
