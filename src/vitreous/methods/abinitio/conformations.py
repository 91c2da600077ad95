"""From one map to a landscape: several maps first, which free poses from what moves; then latents.

The map of a search for one conformation is divided (`division`); images choose pose and map in
passes of their own. Every map has a frame that follows some of the motion, so they are laid upon
each other by what they share (`reconstruction.common_frame`) before a linear landscape is fitted
at the poses found, by the method that `registry.LANDSCAPES` names.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vitreous.methods.abinitio.averaging import average_poses
from vitreous.methods.abinitio.centring import centred, moved_upon
from vitreous.methods.abinitio.division import divide
from vitreous.methods.abinitio.found import Found
from vitreous.methods.abinitio.halves import Halves, one_pass
from vitreous.methods.abinitio.low_resolution import Estimate
from vitreous.methods.abinitio.orientations import shift_step
from vitreous.methods.abinitio.passes import Watch
from vitreous.methods.abinitio.reference import low_passed
from vitreous.methods.abinitio.setting import Setting
from vitreous.particles.device_data import put_columns
from vitreous.particles.loader import PreparedImages
from vitreous.reconstruction.common_frame import common_frame
from vitreous.reconstruction.linked_maps import linked_places
from vitreous.reconstruction.volume_alignment import Alignment
from vitreous.training.registry import landscape_fitter

logger = logging.getLogger(__name__)

# Told where a pass ended, and its line of the history.
Told = Callable[[Halves, dict[str, Any]], None]

_METHOD = "subspace"
# Maps that are divided softly, over all poses; then once more at the poses found, if as many
# images are left to each.
_SOFT, _HARD, _IMAGES = 4, 8, 200
# Shells that are left of a map before it is divided.
_BLUNT_SHELL = 6
# A map is deserted that so small a share of the mean number of images chose.
_DESERTED = 0.5
# Passes of images that choose among maps. The last maps need many: on T5, seed 1, 6, 12, 18 and 24
# passes end with poses off by 8.0°, 7.1°, 6.8° and 6.5°.
_PASSES = {"divided": 6, "doubled": 24, "refilled": 12}
# Those that look at all rotations: near where particles were found to lie, or as far as they may.
_NEAR: dict[str, tuple[int, ...]] = {"divided": (0,), "doubled": (3, 15), "refilled": (6,)}
_FAR: dict[str, tuple[int, ...]] = {"divided": (3,), "doubled": (6,), "refilled": ()}
# Shells of the grid's scores and of the passes.
_GRID_SHELL, _BAND = 6, 8


def add_conformations(
    setting: Setting, found: Found, zdim: int, watch: Watch | None = None
) -> Found:
    """Find latents, maps along them, and the poses they go with.

    **Arguments:** `found`: poses and one map. `zdim`: latent dimensions. `watch`: called after
    every pass with rotations, mean map, FSC and history.

    **Returns:** the same with latents and components; half maps and verdict stay those of the
    one map.
    """
    size = setting.pixel_size
    history = list(found.history)

    def told(halves: Halves, entry: dict[str, Any]) -> None:
        history.append(entry)
        if watch is not None and halves.poses is not None:
            shown = np.asarray(halves.volumes).mean(axis=(0, 1))
            watch(np.asarray(halves.poses.rotation[:, 0]), shown, found.fsc, history)

    halves = _in_one_frame(_classes(setting, found, told))
    many = setting.with_classes(halves.volumes.shape[1])
    halves = _looked_at_anew(many, centred(many, halves))
    setting.report("poses are averaged over maps", 1, 1, "")
    halves = average_poses(many, halves)
    assert halves.poses is not None
    found = replace(
        found,
        rotation=np.array(halves.poses.rotation[:, 0]),
        shift=np.array(halves.poses.shift[:, 0]) * size,
        score=halves.score,
        history=history,
    )
    return fit_conformations(setting, found, zdim)


def fit_conformations(setting: Setting, found: Found, zdim: int) -> Found:
    """Fit a linear landscape at the poses found: maps and latents."""
    size = setting.pixel_size
    fit = landscape_fitter(_METHOD)
    data = at_poses(setting.data, found.rotation, found.shift)
    landscape = fit(data, zdim, 2 * setting.radius * size)
    setting.report("conformations", 1, 1, "")
    return replace(found, volumes=landscape.volumes, latents=landscape.latents)


def _classes(setting: Setting, found: Found, told: Told) -> Halves:
    """Divide the map, and let all images choose among the parts."""
    # One map for all has taken sides already where it is fine; what it began with has not.
    begin = found.volumes[:1] if found.start is None else found.start[:1]
    begin = moved_upon(np.asarray(begin[0]), np.asarray(found.volumes[0]))[None]
    blunt = low_passed(jnp.asarray(begin), setting.shell(_BLUNT_SHELL))
    first = Estimate(blunt, setting.image_power())
    # Particles lie where the one map found them, whatever part of it an image shows.
    size = setting.pixel_size
    near = _near(setting, np.asarray(found.shift / size, np.float32))
    estimate = divide(near, first, min(_SOFT, _affordable(setting)))
    shells = np.arange(setting.pixels.max_shell + 1)
    fsc = np.where(shells <= setting.shell(_BAND), 1.0, 0.0)
    halves = Halves(estimate.volumes[None], estimate.noise, fsc)
    halves = _passes(setting, halves, fsc, "divided", told, near.centres)
    while 2 * halves.volumes.shape[1] <= min(_HARD, _affordable(setting)):
        volumes = _doubled(halves.volumes, _apart(setting, halves))
        # Copies of maps lie where poses are known already.
        copied = replace(halves, volumes=volumes)
        halves = _passes(setting, copied, fsc, "doubled", told)
    deserted = _deserted(halves)
    if len(deserted):
        volumes = _refilled(halves, deserted, _apart(setting, halves))
        again = replace(halves, volumes=volumes)
        again = _passes(setting, again, fsc, "refilled", told)
        if again.score.mean() > halves.score.mean():
            halves = again
    return halves


def _near(setting: Setting, centres: Float[np.ndarray, "n 2"]) -> Setting:
    """Look at few shifts, about where particles are known to lie."""
    return setting.about(centres, shift_step(setting.box, setting.shell(_GRID_SHELL)))


def _counted_from(halves: Halves, centres: Float[np.ndarray, "n 2"]) -> Halves:
    """Return poses whose shifts count from other places than the centres of the images."""
    if halves.poses is None:
        return halves
    shift = np.asarray(halves.poses.shift) - centres[:, None]
    return replace(halves, poses=halves.poses._replace(shift=shift))


def _affordable(setting: Setting) -> int:
    """Say how many maps the images can make, a power of two; at least two."""
    return 2 ** max(1, int(np.log2(max(len(setting.data) / _IMAGES, 1))))


def _passes(
    setting: Setting,
    halves: Halves,
    fsc: Float[np.ndarray, " shells"],
    after: str,
    told: Told,
    centres: Float[np.ndarray, "n 2"] | None = None,
) -> Halves:
    """Let images choose among maps; `centres` says where particles lie until there are poses."""
    count, n = halves.volumes.shape[1], len(setting.data)
    many, low = setting.with_classes(count), setting.shell(_GRID_SHELL)
    seed = 3000 + 100 * count + (50 if after == "refilled" else 0)
    for number in range(_PASSES[after]):
        key = jax.random.fold_in(jax.random.key(setting.seed), seed + number)
        fresh = np.full(n, number in (*_NEAR[after], *_FAR[after]))
        if number in _FAR[after] and halves.poses is not None:
            halves = centred(many, halves)
        if number in _NEAR[after]:
            if halves.poses is not None:
                centres = np.array(halves.poses.shift[:, 0])
            assert centres is not None
            counted = _counted_from(halves, centres)
            counted = one_pass(_near(many, centres), counted, (np.arange(n),), key, fresh, low)
            halves = _counted_from(counted, -centres)
        else:
            halves = one_pass(many, halves, (np.arange(n),), key, fresh, low)
        halves = replace(halves, fsc=fsc)
        score = float(halves.score.mean())
        words = f"log likelihood ratio {score:.2f} an image"
        name = f"images choose of {count} maps, {after}"
        setting.report(name, number + 1, _PASSES[after], words)
        logger.info("%d maps, %s, pass %d: %s", count, after, number + 1, words)
        entry = {"phase": f"conformations, {count} maps {after}", "epoch": number + 1}
        told(halves, entry | {"score": score})
    return halves


def _apart(setting: Setting, halves: Halves) -> Float[Array, "k n n n"]:
    """Return what halves of its images disagree on about every map."""
    n, count = len(setting.data), halves.volumes.shape[1]
    many, low = setting.with_classes(count), setting.shell(_GRID_SHELL)
    rng = np.random.default_rng((setting.seed, 8, count))
    key = jax.random.fold_in(jax.random.key(setting.seed), 4000 + count)
    parts = [
        one_pass(many, halves, (np.sort(mine),), key, np.zeros(n, bool), low).volumes[0]
        for mine in np.array_split(rng.permutation(n), 2)
    ]
    return parts[0] - parts[1]


def _doubled(volumes: Float[Array, "1 k n n n"], apart: Float[Array, "k n n n"]) -> Array:
    return jnp.concatenate([volumes + apart[None], volumes - apart[None]], axis=1)


def _deserted(halves: Halves) -> np.ndarray:
    """List maps that few images chose, the fewest first: of no conformation, or the other hand."""
    count = _chosen(halves)
    order = np.argsort(count)
    return order[count[order] < _DESERTED * count.mean()]


def _chosen(halves: Halves) -> np.ndarray:
    assert halves.poses is not None
    return np.bincount(np.asarray(halves.poses.state[:, 0]), minlength=halves.volumes.shape[1])


def _refilled(halves: Halves, deserted: np.ndarray, apart: Float[Array, "k n n n"]) -> Array:
    """Put copies of the maps that most images chose in the place of deserted ones."""
    volumes = halves.volumes[0]
    most = np.argsort(-_chosen(halves))
    for empty, full in zip(deserted.tolist(), most.tolist(), strict=False):
        whole = halves.volumes[0, full]
        volumes = volumes.at[empty].set(whole - apart[full]).at[full].set(whole + apart[full])
    return volumes[None]


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


def _in_one_frame(halves: Halves) -> Halves:
    """Lay maps upon each other, then all by what they share; take their images along."""
    assert halves.poses is not None
    maps, count = np.array(halves.volumes[0]), _chosen(halves)
    order = [int(k) for k in np.argsort(-count) if count[k] and np.ptp(maps[k]) > 0]
    if len(order) < 2:
        return halves
    ways = dict(zip(order, linked_places(maps[order]), strict=True))
    frames = common_frame(np.stack([ways[k].apply(maps[k]) for k in order]))
    logger.info("%.1f %% of the voxels are not shared by all maps", 100 * frames.cost)
    rotation, shift = np.array(halves.poses.rotation), np.array(halves.poses.shift)
    for k, turn, move in zip(order, frames.rotation, frames.shift, strict=True):
        mine = np.asarray(halves.poses.state) == k
        for way in (ways[k], Alignment(turn, move, False, 1.0)):
            rotation[mine], shift[mine] = way.poses(rotation[mine], shift[mine])
            maps[k] = way.apply(maps[k])
    poses = halves.poses._replace(rotation=jnp.asarray(rotation), shift=jnp.asarray(shift))
    return replace(halves, volumes=jnp.asarray(maps)[None], poses=poses)


def _looked_at_anew(setting: Setting, halves: Halves) -> Halves:
    """Look for images at all poses of the final maps, which some had lost for worse ones.

    **Returns:** the same maps, and poses.
    """
    n, low = len(setting.data), setting.shell(_GRID_SHELL)
    setting.report("all poses are looked at once more", 1, 1, "")
    key = jax.random.fold_in(jax.random.key(setting.seed), 5000)
    anew = one_pass(setting, halves, (np.arange(n),), key, np.ones(n, bool), low)
    return replace(halves, poses=anew.poses)
