"""Ab initio by search: random starts, half sets of their own, passes until poses rest.

Phases, each left for a reason that is told: **starts** (a map of a few shells from nothing, the
best by images held out), **halves** (each half set climbs on its own from three shells), **passes**
(poses of all images against their half's map, until they stop moving and the half maps stop
agreeing better), **joint** (all images against the map of both halves).
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vitreous.methods.abinitio.assignment import KEPT
from vitreous.methods.abinitio.found import Found
from vitreous.methods.abinitio.halves import Halves, agreement, one_pass
from vitreous.methods.abinitio.low_resolution import (
    STARTS,
    Estimate,
    Stage,
    climb,
    held_out_evidence,
    random_start,
)
from vitreous.methods.abinitio.progress import Progress, load_progress, save_progress
from vitreous.methods.abinitio.reference import (
    MapSums,
    low_passed,
    maps_by_fsc,
)
from vitreous.methods.abinitio.setting import Setting
from vitreous.methods.abinitio.verdict import SHARED_SHELL, conclude, is_credible
from vitreous.reconstruction.half_sets import half_sets
from vitreous.reconstruction.pose_refinement import Poses
from vitreous.reconstruction.volume_alignment import align_volumes

logger = logging.getLogger(__name__)

Watch = Callable[[np.ndarray, np.ndarray, np.ndarray, list[dict]], None]

# How each half set climbs from what both share.
_CLIMB = (
    Stage(4, 4000, 0.4, 3),
    Stage(5, 4000, 0.5, 2),
    Stage(6, 4000, 0.6, 2),
    Stage(8, 4000, 0.8, 3),
)
# Shells of the grid's scores; passes at least; share of images looked at anew in later ones.
_GRID_SHELL = 8
_LEAST_PASSES, _ANEW = 2, 0.25
# Poses rest when this share of them moves less than so many degrees, and the sum of the FSC over
# shells gains less than this.
_RESTING, _STILL, _GAIN = 0.8, 2.5, 0.1
_JOINT = 3
# Share of images near the largest shift that widens it, and how far it goes, in boxes.
_PRESSED, _WIDEST = 0.08, 0.3


@dataclass(frozen=True)
class SearchOptions:
    """Say how long a search goes on, and what it may do.

    **Fields:** `restarts`: random starts. `passes`: at most. `may_invert`: images whose map comes
    out dark are inverted.
    """

    restarts: int = 3
    passes: int = 8
    may_invert: bool = True


def search(
    setting: Setting,
    options: SearchOptions | None = None,
    initial: Float[Array, "k n n n"] | None = None,
    store: Path | None = None,
    watch: Watch | None = None,
) -> Found:
    """Find poses and maps of images.

    **Arguments:** `initial`: maps to begin with, in the units of prepared pixels, instead of
    random starts. `store`: file that keeps what is done; an unfinished search there goes on.
    `watch`: called after every pass with rotations, map, FSC and history.

    **Returns:** poses against the joint map, half maps of the passes before, and the verdict.
    """
    options = options or SearchOptions()
    done = load_progress(store) if store is not None and store.is_file() else Progress()

    def keep(done: Progress) -> None:
        if store is not None:
            save_progress(store, done)

    table = setting.data.table
    halves = half_sets(len(setting.data), table.half_set, table.particle)
    rows = (np.flatnonzero(halves == 0), np.flatnonzero(halves == 1))
    if done.is_dark:
        setting = setting.inverted()
    if done.reach is not None:
        setting = replace(setting, reach=done.reach)
    if done.halves is None:
        done = _starts(setting, options, done, initial, keep)
        assert done.best is not None
        if options.may_invert and not done.is_dark and shows_dark(done.best.volumes):
            logger.warning("the particles are dark: inverting them (as --uninvert-data does)")
            setting = setting.inverted()
            best = done.best._replace(volumes=-done.best.volumes)
            done = replace(done, is_dark=True, best=best)
        done = _split(setting, done, rows)
        keep(done)
    setting, done = _passes(setting, options, done, rows, keep, watch)
    done = _tested(setting, done, rows)
    done = _joint(setting, done)
    return conclude(setting, done)


def shows_dark(volumes: Float[Array, "k n n n"]) -> bool:
    """Tell whether the strong features of maps are negative: their third moment is."""
    maps = np.asarray(volumes, np.float64)
    return float(((maps - maps.mean()) ** 3).sum()) < 0


def _starts(setting: Setting, options, done: Progress, initial, keep) -> Progress:
    if initial is not None:
        return replace(done, best=Estimate(initial, setting.image_power()), starts=1, score=0.0)
    n = len(setting.data)
    order = np.random.default_rng((setting.seed, 1)).permutation(n)
    held = order[: min(max(n // 5, 1), 1000)]
    rows = order[len(held) :] if n > 50 else order
    for number in range(done.starts, options.restarts):
        key = jax.random.fold_in(jax.random.key(setting.seed), number)
        first = random_start(setting, rows[: STARTS[0].images], key)
        seed = (setting.seed, 2, number)
        name = f"start {number + 1} of {options.restarts}"
        estimate = climb(setting, first, rows, STARTS, seed, name)
        shell = setting.shell(STARTS[-1].shell)
        score = held_out_evidence(setting, estimate, held, shell, setting.seed)
        done.history.append({"phase": name, "score": score})
        logger.info("%s: log evidence of images held out %.2f", name, score)
        done = replace(done, starts=number + 1)
        if score > done.score:
            done = replace(done, best=estimate, score=score)
        keep(done)
    assert done.best is not None
    if options.restarts > 1:
        logger.info("going on with the start of highest evidence, %.2f", done.score)
    return done


def _split(setting: Setting, done: Progress, rows) -> Progress:
    assert done.best is not None
    shared = low_passed(done.best.volumes, max(SHARED_SHELL, setting.shell(SHARED_SHELL)))
    parts = []
    for half, mine in enumerate(rows):
        first = Estimate(shared, done.best.noise)
        seed = (setting.seed, 3, half)
        parts.append(climb(setting, first, mine, _CLIMB, seed, f"half set {half + 1}"))
    fsc = np.zeros(setting.pixels.max_shell + 1)
    fsc[: setting.shell(_GRID_SHELL) + 1] = 1
    noise = 0.5 * (parts[0].noise + parts[1].noise)
    volumes = jnp.stack([parts[0].volumes, _laid_upon(parts[1].volumes, parts[0].volumes)])
    halves = Halves(volumes, noise, fsc)
    return replace(done, halves=halves)


def _laid_upon(moving: Array, fixed: Array) -> Array:
    """Bring the maps of one half set into the frame of the other's.

    They drift apart while they climb, and may take either side of what is nearly symmetric; that
    turns maps, and shares none of their noise.
    """
    mean = [np.asarray(maps).mean(axis=0) for maps in (moving, fixed)]
    if not all(np.ptp(m) > 0 for m in mean):
        return moving
    found = align_volumes(*mean, hands=(False,))
    return jnp.stack([jnp.asarray(found.apply(np.asarray(m))) for m in moving])


def _passes(
    setting: Setting, options, done: Progress, rows, keep, watch: Watch | None = None
) -> tuple[Setting, Progress]:
    n = len(setting.data)
    low = setting.shell(_GRID_SHELL)
    best = None
    if done.agreed is not None:
        best = (float(np.clip(done.agreed.fsc[1:], 0, 1).sum()), done.agreed)
    for number in range(done.passes, done.passes if done.rests else options.passes):
        assert done.halves is not None
        rng = np.random.default_rng((setting.seed, 4, number))
        fresh = np.ones(n, bool) if number < _LEAST_PASSES else rng.random(n) < _ANEW
        key = jax.random.fold_in(jax.random.key(setting.seed), 1000 + number)
        halves = one_pass(setting, done.halves, rows, key, fresh, low)
        agreement = float(np.clip(halves.fsc[1:], 0, 1).sum())
        resting = 0.0 if halves.moved is None else float((halves.moved < _STILL).mean())
        words = f"half maps agree on {agreement:.2f} shells"
        if halves.moved is not None:
            words += f", {resting:.0%} of poses rest"
        setting.report("passes", number + 1, options.passes, words)
        logger.info("pass %d: %s", number + 1, words)
        entry = {"phase": "passes", "epoch": number + 1, "agreement": agreement}
        done.history.append(entry | {"resting": resting, "score": float(halves.score.mean())})
        gain = agreement - (best[0] if best else -np.inf)
        if best is None or gain > 0:
            best = (agreement, halves)
        rests = resting >= _RESTING and gain < _GAIN
        done = replace(
            done, halves=halves, agreed=best[1], passes=number + 1, rests=done.rests or rests
        )
        setting = _widened(setting, halves.edge)
        done = replace(done, reach=setting.reach)
        keep(done)
        if watch is not None:
            assert halves.poses is not None
            shown = np.asarray(halves.volumes).mean(axis=(0, 1))
            watch(np.asarray(halves.poses.rotation[:, 0]), shown, halves.fsc, done.history)
        if rests:
            break
    return setting, replace(done, halves=done.agreed)


def _widened(setting: Setting, edge: float) -> Setting:
    """Allow larger shifts where many images press against the largest."""
    most = _WIDEST * setting.box
    if edge < _PRESSED or setting.reach >= most:
        return setting
    reach = min(1.5 * setting.reach, most)
    logger.warning(
        "%.0f %% of the images lie as far off their centres as is allowed: shifts up to %.1f "
        "pixels are looked at from now on, instead of %.1f (--max-shift)",
        100 * edge,
        reach,
        setting.reach,
    )
    return replace(setting, reach=reach)


def _tested(setting: Setting, done: Progress, rows) -> Progress:
    """Doubt half maps that hardly agree: pose all images by the shells that were shared alone.

    What an image is compared with, it adds to the map, noise as well. Maps of noise that are
    compared within the same mask agree by chance here and there; shells that no pose was found by
    do not.
    """
    assert done.agreed is not None
    assert done.agreed.sums is not None
    if is_credible(agreement(setting, done.agreed.sums, jnp.ones_like(setting.mask))):
        return done
    shared = max(SHARED_SHELL, setting.shell(SHARED_SHELL))
    volumes = jnp.stack([low_passed(maps, shared) for maps in done.agreed.volumes])
    fsc = np.where(np.arange(len(done.agreed.fsc)) <= shared, 1.0, 0.0)
    doubted = replace(done.agreed, volumes=volumes, fsc=fsc)
    everyone = np.ones(len(setting.data), bool)
    key = jax.random.fold_in(jax.random.key(setting.seed), 4000)
    halves = one_pass(setting, doubted, rows, key, everyone, shared + 1)
    setting.report("test", 1, 1, "half maps hardly agree: poses by the first shells alone")
    return replace(done, halves=halves, agreed=halves)


def _joint(setting: Setting, done: Progress) -> Progress:
    """Align all images to the map of both halves; what the halves agreed on stays on record."""
    assert done.halves is not None
    assert done.halves.sums is not None
    n, low = len(setting.data), setting.shell(_GRID_SHELL)
    sums = MapSums(*(part.sum(axis=0) for part in done.halves.sums))
    curve = np.clip(done.halves.fsc, 0, 1)
    curve = jnp.asarray(2 * curve / (1 + curve), jnp.float32)
    volumes = maps_by_fsc(sums, curve, setting.mask, setting.pixels.max_shell + 1)
    halves = replace(done.halves, volumes=volumes[None])
    everyone = (np.arange(n),)
    for number in range(_JOINT):
        fresh = np.full(n, number == 0)
        key = jax.random.fold_in(jax.random.key(setting.seed), 2000 + number)
        halves = one_pass(setting, halves, everyone, key, fresh, low)
        score = float(halves.score.mean())
        setting.report("joint", number + 1, _JOINT, f"log likelihood ratio {score:.2f} an image")
        done.history.append({"phase": "joint", "epoch": number + 1, "score": score})
    return replace(done, halves=halves, joint=_JOINT)


def refine_found(setting: Setting, found: Found, options: SearchOptions) -> Found:
    """Refine poses that were found otherwise: passes of both half sets, then the joint map."""
    table = setting.data.table
    half = half_sets(len(setting.data), table.half_set, table.particle)
    rows = (np.flatnonzero(half == 0), np.flatnonzero(half == 1))
    sizes = np.asarray(table.pixel_size, np.float32)
    columns = (
        found.rotation,
        found.shift / sizes[:, None],
        np.zeros(len(sizes), np.int32),
        np.zeros(len(sizes), np.float32),
    )
    poses = Poses._make(np.repeat(np.asarray(c)[:, None], KEPT, axis=1) for c in columns)
    volumes = jnp.asarray(found.half_maps, jnp.float32)[:, None]
    halves = Halves(volumes, setting.image_power(), np.asarray(found.fsc), poses=poses)
    done = Progress(halves=halves, passes=_LEAST_PASSES)
    setting, done = _passes(setting, options, done, rows, lambda done: None)
    return conclude(setting, _joint(setting, done))
