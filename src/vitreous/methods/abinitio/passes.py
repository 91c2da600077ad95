"""Passes of a search over all images: half sets until poses rest, a doubt, then the joint map."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vitreous.methods.abinitio.centring import centred
from vitreous.methods.abinitio.halves import Halves, agreement, one_pass
from vitreous.methods.abinitio.progress import Progress
from vitreous.methods.abinitio.reference import MapSums, low_passed, maps_by_fsc
from vitreous.methods.abinitio.setting import Setting
from vitreous.methods.abinitio.splitting import GRID_SHELL
from vitreous.methods.abinitio.verdict import SHARED_SHELL, is_credible

logger = logging.getLogger(__name__)

# Told rotations, map, FSC and history after a pass.
Watch = Callable[
    [
        Float[np.ndarray, "n 3 3"],
        Float[np.ndarray, "b b b"],
        Float[np.ndarray, " shells"],
        list[dict],
    ],
    None,
]
Rows = tuple[np.ndarray, ...]

# Passes at least; share of images looked at anew in later ones.
LEAST_PASSES, _ANEW = 2, 0.25
# Poses rest when this share of them moves less than so many degrees, and the sum of the FSC over
# shells gains less than this.
_RESTING, _STILL, _GAIN = 0.8, 2.5, 0.1
_JOINT = 3
# Share of images near the largest shift that widens it, and how far it goes, in boxes.
_PRESSED, _WIDEST = 0.08, 0.3


def until_rest(
    setting: Setting,
    most: int,
    done: Progress,
    rows: Rows,
    keep: Callable[[Progress], None],
    watch: Watch | None = None,
) -> tuple[Setting, Progress]:
    """Pose all images against their half's map, again and again.

    **Arguments:** `most`: passes. `rows`: images of each half. `keep`: given the state after
    every pass.

    **Returns:** the setting, whose shifts may have been widened, and the half maps that agreed
    best.
    """
    best = None
    if done.agreed is not None:
        best = (_shells_agreeing(done.agreed), done.agreed)
    for number in range(done.passes, done.passes if done.rests else most):
        assert done.halves is not None
        halves, rate = _half_pass(setting, done.halves, rows, number)
        agreeing = _shells_agreeing(halves)
        resting = 0.0 if halves.moved is None else float((halves.moved < _STILL).mean())
        words = f"half maps agree on {agreeing:.2f} shells"
        if halves.moved is not None:
            words += f", {resting:.0%} of poses rest"
        setting.report("passes", number + 1, most, words)
        logger.info("pass %d: %s", number + 1, words)
        entry = {"phase": "passes", "epoch": number + 1, "agreement": agreeing}
        entry |= {"resting": resting, "score": float(halves.score.mean())}
        done.history.append(entry | {"images_per_second": rate})
        gain = agreeing - (best[0] if best else -np.inf)
        if best is None or gain > 0:
            best = (agreeing, halves)
        rests = resting >= _RESTING and gain < _GAIN
        if halves.edge >= _PRESSED and halves is best[1]:
            halves = centred(setting, halves)
            best = (agreeing, halves)
        setting = _widened(setting, halves.edge)
        done = replace(
            done,
            halves=halves,
            agreed=best[1],
            passes=number + 1,
            rests=done.rests or rests,
            reach=setting.reach,
        )
        keep(done)
        if watch is not None:
            assert halves.poses is not None
            shown = np.asarray(halves.volumes).mean(axis=(0, 1))
            watch(np.asarray(halves.poses.rotation[:, 0]), shown, halves.fsc, done.history)
        if rests:
            break
    return setting, replace(done, halves=done.agreed)


def _half_pass(setting: Setting, halves: Halves, rows: Rows, number: int) -> tuple[Halves, float]:
    n = len(setting.data)
    rng = np.random.default_rng((setting.seed, 4, number))
    fresh = np.ones(n, bool) if number < LEAST_PASSES else rng.random(n) < _ANEW
    key = jax.random.fold_in(jax.random.key(setting.seed), 1000 + number)
    return timed_pass(setting, halves, rows, key, fresh)


def timed_pass(
    setting: Setting, halves: Halves, rows: Rows, key: jax.Array, fresh: np.ndarray
) -> tuple[Halves, float]:
    """Return what `one_pass` does, and images a second (the first of a kind is compiled, too)."""
    start = time.perf_counter()
    after = one_pass(setting, halves, rows, key, fresh, setting.shell(GRID_SHELL))
    return after, sum(map(len, rows)) / (time.perf_counter() - start)


def _shells_agreeing(halves: Halves) -> float:
    return float(np.clip(halves.fsc[1:], 0, 1).sum())


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


def tested(setting: Setting, done: Progress, rows: Rows) -> Progress:
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


def joint(setting: Setting, done: Progress) -> Progress:
    """Align all images to the map of both halves; what the halves agreed on stays on record."""
    assert done.halves is not None
    assert done.halves.sums is not None
    n = len(setting.data)
    sums = MapSums(*(part.sum(axis=0) for part in done.halves.sums))
    curve = np.clip(done.halves.fsc, 0, 1)
    curve = jnp.asarray(2 * curve / (1 + curve), jnp.float32)
    volumes = maps_by_fsc(sums, curve, setting.mask, setting.pixels.max_shell + 1)
    halves = replace(done.halves, volumes=volumes[None])
    everyone = (np.arange(n),)
    for number in range(_JOINT):
        fresh = np.full(n, number == 0)
        key = jax.random.fold_in(jax.random.key(setting.seed), 2000 + number)
        halves, rate = timed_pass(setting, halves, everyone, key, fresh)
        score = float(halves.score.mean())
        setting.report("joint", number + 1, _JOINT, f"log likelihood ratio {score:.2f} an image")
        entry = {"phase": "joint", "epoch": number + 1, "score": score}
        done.history.append(entry | {"images_per_second": rate})
    return replace(done, halves=halves, joint=_JOINT)
