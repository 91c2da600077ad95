"""Ab initio by search: random starts, half sets of their own, passes until poses rest.

Phases, each left for a reason that is told: **starts** (a map of a few shells from nothing, the
best by images held out), **halves** (each half set climbs on its own from three shells), **passes**
(poses of all images against their half's map, until they stop moving and the half maps stop
agreeing better), **joint** (all images against the map of both halves).
"""

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vitreous.methods.abinitio.found import Found
from vitreous.methods.abinitio.halves import Halves, one_pass
from vitreous.methods.abinitio.low_resolution import (
    STARTS,
    Estimate,
    Stage,
    climb,
    held_out_evidence,
    random_start,
)
from vitreous.methods.abinitio.reference import (
    MapSums,
    low_passed,
    maps_by_fsc,
    maps_unfiltered,
)
from vitreous.methods.abinitio.setting import Setting
from vitreous.reconstruction.half_sets import half_sets
from vitreous.reconstruction.pose_refinement import Poses

logger = logging.getLogger(__name__)

# What both half sets share, and how each climbs from there.
_SHARED_SHELL = 3
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
# Half maps of noise agree in the shells they share, and no further.
_CREDIBLE = 0.143


@dataclass(frozen=True)
class SearchOptions:
    """Say how long a search goes on: random `restarts`, `passes` at most."""

    restarts: int = 3
    passes: int = 8


@dataclass(frozen=True, eq=False)
class Progress:
    """Hold where a search stands; what is resumed from.

    **Fields:** `starts`: done. `best`: estimate of the best of them, and its score. `halves`: see
    `Halves`, of two half sets, later of one joint set. `agreed`: the half maps' sums and FSC when
    they were last apart. `passes`, `joint`: done. `rests`: whether poses came to rest.
    """

    starts: int = 0
    best: Estimate | None = None
    score: float = -np.inf
    halves: Halves | None = None
    agreed: Halves | None = None
    passes: int = 0
    joint: int = 0
    rests: bool = False
    history: list[dict] = field(default_factory=list)


def search(
    setting: Setting,
    options: SearchOptions | None = None,
    initial: Float[Array, "k n n n"] | None = None,
    store: Path | None = None,
) -> Found:
    """Find poses and maps of images.

    **Arguments:** `initial`: maps to begin with, in the units of prepared pixels, instead of
    random starts. `store`: file that keeps what is done; an unfinished search there goes on.

    **Returns:** poses against the joint map, half maps of the passes before, and the verdict.
    """
    options = options or SearchOptions()
    done = Progress()
    halves = half_sets(len(setting.data), setting.data.table.half_set, setting.data.table.particle)
    rows = (np.flatnonzero(halves == 0), np.flatnonzero(halves == 1))
    done = _starts(setting, options, done, initial)
    done = _split(setting, done, rows)
    done = _passes(setting, options, done, rows)
    done = _joint(setting, done)
    return _found(setting, done)


def _starts(setting: Setting, options, done: Progress, initial) -> Progress:
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
    assert done.best is not None
    if options.restarts > 1:
        logger.info("going on with the start of highest evidence, %.2f", done.score)
    return done


def _split(setting: Setting, done: Progress, rows) -> Progress:
    assert done.best is not None
    shared = low_passed(done.best.volumes, max(_SHARED_SHELL, setting.shell(_SHARED_SHELL)))
    parts = []
    for half, mine in enumerate(rows):
        first = Estimate(shared, done.best.noise)
        seed = (setting.seed, 3, half)
        parts.append(climb(setting, first, mine, _CLIMB, seed, f"half set {half + 1}"))
    fsc = np.zeros(setting.pixels.max_shell + 1)
    fsc[: setting.shell(_GRID_SHELL) + 1] = 1
    noise = 0.5 * (parts[0].noise + parts[1].noise)
    halves = Halves(jnp.stack([part.volumes for part in parts]), noise, fsc)
    return replace(done, halves=halves)


def _passes(setting: Setting, options, done: Progress, rows) -> Progress:
    n = len(setting.data)
    low = setting.shell(_GRID_SHELL)
    best = None
    for number in range(done.passes, options.passes):
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
        done = replace(done, halves=halves, passes=number + 1, rests=rests)
        if rests:
            break
    assert best is not None
    return replace(done, halves=best[1], agreed=best[1])


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


def _found(setting: Setting, done: Progress) -> Found:
    halves, agreed = done.halves, done.agreed
    assert halves is not None
    assert agreed is not None
    assert halves.poses is not None
    assert halves.sums is not None
    assert agreed.sums is not None
    shells = setting.pixels.max_shell + 1
    mask = setting.mask
    plain = [
        np.asarray(maps_unfiltered(MapSums(*(part[h] for part in agreed.sums)), mask, shells))[0]
        for h in range(2)
    ]
    curve = np.clip(agreed.fsc, 0, 1)
    curve = jnp.asarray(2 * curve / (1 + curve), jnp.float32)
    whole = MapSums(*(part[0] for part in halves.sums))
    volumes = np.asarray(maps_by_fsc(whole, curve, mask, shells))
    sizes = np.asarray(setting.data.table.pixel_size, np.float32)
    poses: Poses = halves.poses
    converged, verdict = judge(setting, done)
    return Found(
        rotation=np.asarray(poses.rotation[:, 0]),
        shift=np.asarray(poses.shift[:, 0]) * sizes[:, None],
        volumes=volumes,
        half_maps=np.stack(plain),
        fsc=np.asarray(agreed.fsc),
        latents=None,
        score=np.asarray(poses.score[:, 0]),
        converged=converged,
        verdict=verdict,
        history=done.history,
    )


def judge(setting: Setting, done: Progress) -> tuple[bool, str]:
    """Say whether to believe what was found, and why."""
    assert done.agreed is not None
    fsc = done.agreed.fsc
    beyond = fsc[_SHARED_SHELL + 1 : _SHARED_SHELL + 4]
    if not (beyond > _CREDIBLE).all():
        return False, (
            "did not converge: half sets agree only on the shells they were started with; these "
            "images, or this many of them, do not say what the particle looks like"
        )
    below = np.flatnonzero(fsc[1:] < _CREDIBLE)
    last = int(below[0]) if len(below) else len(fsc) - 1
    if not done.rests:
        return False, f"did not converge: poses still move; half maps agree to shell {last}"
    return True, f"converged: poses rest, and half maps agree to shell {last}"
