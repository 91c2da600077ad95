"""Expectation–maximisation from a first map to components and coordinates.

Two half sets are fitted side by side, each from its own images only; what they have in common
sets the prior and the number of components. Then both become one estimate.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vitreous.methods.subspace.components import Support, judge
from vitreous.methods.subspace.estimate import (
    Estimate,
    first_noise,
    improve,
    start,
    together,
)
from vitreous.methods.subspace.gauge import half_set_correlation
from vitreous.methods.subspace.maximisation import normal_equations
from vitreous.methods.subspace.model import Band, Noise, log_density
from vitreous.methods.subspace.passes import Passes, no_sums
from vitreous.methods.subspace.schedule import Step
from vitreous.methods.subspace.sweep import Seen, Sums
from vitreous.particles.loader import PreparedImages

logger = logging.getLogger(__name__)

# Iterations on all images, where poses are refined.
_JOINT = 4
_JOINT_FLOOR = 0.05


class Kept(NamedTuple):
    """Hold all that EM needs to go on: iterations done on half sets, and where they led.

    **Fields:** `history`: see `Fit`.
    """

    done: int
    estimate: Estimate
    history: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Fit:
    """Hold a finished fit.

    **Fields:** `volumes`: mean and the components of all images, on the band's grid. `halves`:
    those of the half sets, aligned. `fsc`: between halves per volume. `noise`: power per group
    and shell. `seen`: posterior of each particle. `support`: see `Support`. `history`: log
    likelihood per image before each M-step, with the noise of that iteration.
    """

    band: Band
    volumes: Float[np.ndarray, "k m m m"]
    halves: Float[np.ndarray, "2 k m m m"]
    fsc: Float[np.ndarray, "k shells"]
    noise: Float[np.ndarray, "groups shells"]
    seen: Seen
    support: Support
    history: list[float]
    data: PreparedImages


def compile_steps(band: Band, images: int, groups: int, place: Callable[[Any], Any]) -> None:
    """Have what lies between two passes compiled before there are images.

    **Arguments:** `groups`: of optics. `place`: puts arrays where `Passes.place` will.
    """
    box, none = (band.size,) * 3, np.zeros(images, np.int32)
    noise = first_noise(np.append(none[1:], groups - 1), band)
    maps = np.zeros((2, *box), np.float32), np.zeros((band.fields, *box), np.float32)
    estimate = place(start(*maps, none, noise, band, 0))
    sums = place(no_sums(band, groups))
    equations = normal_equations(sums, estimate.subspace.grid, band)
    estimate, _, _ = improve(estimate, sums, equations, place(jnp.asarray(maps[1])), 0.5, band)
    together(place(estimate), band)


def fit_em(
    passes: Passes,
    estimate: Estimate,
    mask: Float[np.ndarray, "k m m m"],
    steps: Sequence[Step],
    *,
    explore: Callable[[Estimate], PreparedImages] | None = None,
    progress: Callable[[int, int], None] | None = None,
    keep: Callable[[Kept], None] | None = None,
    kept: Kept | None = None,
) -> Fit:
    """Run EM: half sets first, then all images.

    **Arguments:** `mask`: of mean and components, real space. `explore`: given the joint
    estimate, returns the data with better poses. `progress`: called with iterations done and all.
    `keep`: called between iterations with what `kept`, of an earlier call, goes on from.
    """
    band, data = passes.band, passes.data
    joint = 0 if explore is None else _JOINT
    total = len(steps) + 2 + joint
    half = estimate.subspace.half
    masks, gram = passes.data.place(jnp.asarray(mask)), np.zeros(0)
    history: list[float] = []
    if kept is not None:
        estimate, history = kept.estimate, list(kept.history)

    def tell(sums: Sums, noise: Noise) -> None:
        evidence = float(np.asarray(sums.evidence, np.float64)[:, -1].sum())
        evidence = (evidence + log_density(noise, band)) / len(data)
        history.append(evidence)
        done = len(history)
        logger.info("EM iteration %d of %d: log evidence %.6g per image", done, total, evidence)
        if progress is not None:
            progress(done, total)

    def iterate(estimate: Estimate, floor: float):
        estimate = passes.data.place(estimate)
        sums, _ = passes.run(estimate.subspace, estimate.noise, data)
        tell(sums, estimate.noise)
        equations = normal_equations(sums, estimate.subspace.grid, band)
        return improve(estimate, sums, equations, masks, floor, band)

    for number in range(len(history), len(steps)):
        if keep is not None and number:
            keep(Kept(number, estimate, tuple(history)))
        last = jnp.asarray(steps[number].last_shell, jnp.int32)
        estimate = estimate._replace(noise=estimate.noise._replace(last_shell=last))
        estimate, gram, _ = iterate(estimate, steps[number].floor)

    # Each half is judged by the images of the other.
    estimate = passes.data.place(estimate)
    crossed = estimate.subspace._replace(half=passes.data.place(jnp.asarray(1 - np.asarray(half))))
    sums, _ = passes.run(crossed, estimate.noise, data, collect=False)
    own = np.diagonal(gram[0, 0])
    support = judge(np.asarray(sums.evidence), half_set_correlation(gram), own[1:] / own[0])
    tell(sums, estimate.noise)
    halves, fsc = np.asarray(estimate.volumes), estimate.fsc

    estimate = together(estimate, band)
    for _ in range(joint):
        assert explore is not None
        data = explore(estimate)
        improved, _, _ = iterate(estimate, _JOINT_FLOOR)
        # The halves have nothing to say of it any more.
        estimate = improved._replace(fsc=estimate.fsc)
    estimate = passes.data.place(estimate)
    sums, seen = passes.run(estimate.subspace, estimate.noise, data, collect=False)
    tell(sums, estimate.noise)
    return Fit(
        band,
        np.asarray(estimate.volumes)[0],
        halves,
        np.asarray(fsc),
        np.asarray(estimate.noise.power),
        seen,
        support,
        history,
        data,
    )
