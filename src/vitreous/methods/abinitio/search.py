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
from vitreous.methods.abinitio.halves import Halves
from vitreous.methods.abinitio.low_resolution import (
    STARTS,
    Estimate,
    climb,
    held_out_evidence,
    random_start,
)
from vitreous.methods.abinitio.passes import LEAST_PASSES, Watch, joint, tested, until_rest
from vitreous.methods.abinitio.progress import Progress, load_progress, save_progress
from vitreous.methods.abinitio.setting import Setting
from vitreous.methods.abinitio.splitting import split
from vitreous.methods.abinitio.verdict import conclude
from vitreous.reconstruction.half_sets import half_sets
from vitreous.reconstruction.pose_refinement import Poses

logger = logging.getLogger(__name__)

Keep = Callable[[Progress], None]
# Images that tell the sign of a map that is given.
_JUDGES = 200


@dataclass(frozen=True)
class SearchOptions:
    """Say how long a search goes on, and what it may do.

    **Fields:** `restarts`: random starts. `passes`: at most. `may_invert`: images whose map comes
    out dark are inverted. `joint`: poses go on to the map of all images; what comes after may need
    neither.
    """

    restarts: int = 3
    passes: int = 8
    may_invert: bool = True
    joint: bool = True


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

    **Returns:** poses against the joint map (without one: each half's), half maps of the passes
    before, and the verdict.
    """
    options = options or SearchOptions()
    done, keep = _kept(store)
    rows = rows_of_halves(setting)
    if done.is_dark:
        setting = setting.inverted()
    if done.reach is not None:
        setting = replace(setting, reach=done.reach)
    if done.halves is None:
        done = _starts(setting, options, done, initial, keep)
        assert done.best is not None
        if options.may_invert and not done.is_dark:
            setting, done = _with_white_particles(setting, done, is_given=initial is not None)
        assert done.best is not None
        done = replace(done, halves=split(setting, done.best, rows))
        keep(done)
    if not done.joint:
        setting, done = until_rest(setting, options.passes, done, rows, keep, watch)
        done = tested(setting, done, rows)
        if options.joint:
            done = joint(setting, done)
        keep(done)
    return conclude(setting, done)


def _with_white_particles(
    setting: Setting, done: Progress, is_given: bool
) -> tuple[Setting, Progress]:
    """Invert the images if their particles are dark, and maps that are."""
    best = done.best
    assert best is not None
    is_map_dark = shows_dark(best.volumes)
    # A map that was given need not have the sign of the images.
    is_dark = is_map_dark != (is_given and fits_inverted(setting, best.volumes))
    if is_map_dark:
        best = best._replace(volumes=-best.volumes)
    if is_dark:
        logger.warning("the particles are dark: inverting them (as --uninvert-data does)")
        setting = setting.inverted()
    return setting, replace(done, is_dark=is_dark, best=best)


def fits_inverted(setting: Setting, volumes: Float[Array, "k n n n"]) -> bool:
    """Tell whether images show a map better with their sign changed."""
    rows = np.arange(len(setting.data))[:: max(1, len(setting.data) // _JUDGES)][:_JUDGES]
    shell = setting.shell(STARTS[-1].shell)
    power = setting.image_power()
    scores = [
        held_out_evidence(setting, Estimate(sign * volumes, power), rows, shell, setting.seed)
        for sign in (1.0, -1.0)
    ]
    return scores[1] > scores[0]


def _kept(store: Path | None) -> tuple[Progress, Keep]:
    """Read what is done, and say how to keep more."""

    def keep(done: Progress) -> None:
        if store is not None:
            save_progress(store, done)

    exists = store is not None and store.is_file()
    return load_progress(store) if store is not None and exists else Progress(), keep


def rows_of_halves(setting: Setting) -> tuple[np.ndarray, np.ndarray]:
    """Return the images of each half set."""
    table = setting.data.table
    halves = half_sets(len(setting.data), table.half_set, table.particle)
    return np.flatnonzero(halves == 0), np.flatnonzero(halves == 1)


def shows_dark(volumes: Float[Array, "k n n n"]) -> bool:
    """Tell whether the strong features of maps are negative: their third moment is."""
    maps = np.asarray(volumes, np.float64)
    return float(((maps - maps.mean()) ** 3).sum()) < 0


def _starts(
    setting: Setting, options: SearchOptions, done: Progress, initial: Array | None, keep: Keep
) -> Progress:
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


def refine_found(
    setting: Setting, found: Found, options: SearchOptions, watch: Watch | None = None
) -> Found:
    """Refine poses that were found otherwise: passes of both half sets, then the joint map."""
    rows = rows_of_halves(setting)
    sizes = np.asarray(setting.data.table.pixel_size, np.float32)
    columns = (
        found.rotation,
        found.shift / sizes[:, None],
        np.zeros(len(sizes), np.int32),
        np.zeros(len(sizes), np.float32),
    )
    poses = Poses._make(np.repeat(np.asarray(c)[:, None], KEPT, axis=1) for c in columns)
    volumes = jnp.asarray(found.half_maps, jnp.float32)[:, None]
    halves = Halves(volumes, setting.image_power(), np.asarray(found.fsc), poses=poses)
    done = Progress(halves=halves, passes=LEAST_PASSES, history=list(found.history))
    most = max(options.passes, LEAST_PASSES + 1)
    setting, done = until_rest(setting, most, done, rows, lambda done: None, watch)
    return conclude(setting, joint(setting, done))
