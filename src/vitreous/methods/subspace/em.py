"""Expectation–maximisation from a first map to components and coordinates.

Two half sets are fitted side by side, each from its own images only; what they have in common
sets the prior and the number of components. Then all images are fitted together.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from vitreous.geometry.fourier import half_space, volume_from_half_space
from vitreous.methods.subspace.components import Support, judge
from vitreous.methods.subspace.gauge import gram_of, half_set_correlation, mix, new_basis
from vitreous.methods.subspace.maximisation import (
    confine,
    normal_equations,
    shell_weight,
    solve,
)
from vitreous.methods.subspace.model import Band, Noise, Subspace, band_limited, volumes_to_grid
from vitreous.methods.subspace.passes import Passes
from vitreous.methods.subspace.prior import component_fsc, half_set_penalty
from vitreous.methods.subspace.sweep import Seen, Sums
from vitreous.particles.loader import PreparedImages
from vitreous.reconstruction.fsc import fsc_shells
from vitreous.reconstruction.insertion import SliceSums
from vitreous.reconstruction.regularisation import shell_mean

logger = logging.getLogger(__name__)

# Of the outermost shell: where EM begins, goes on, and ends; and the least half-set correlation
# believed in there. Low shells come first: they are cheap and have no local optima.
_STAGES = ((0.43, 0.3), (0.71, 0.2), (1.0, 0.05))
_JOINT = 1
# Power of the components EM starts from, relative to the mean map.
_START = 0.5


class Estimate(NamedTuple):
    """Hold an estimate between two steps; both halves.

    **Fields:** `ahead`: the half maps' transforms, which stand for the mean on shells that are not
    in use yet.
    """

    subspace: Subspace
    ahead: Complex[Array, "2 n n h"]
    volumes: Float[Array, "2 k m m m"]
    penalty: Float[Array, "2 k shells"]
    fsc: Float[Array, "k shells"]
    noise: Noise


class Step(NamedTuple):
    """Say what to do in one iteration: the last shell, and the least correlation believed in."""

    last_shell: int
    floor: float


@dataclass(frozen=True, eq=False)
class Fit:
    """Hold a finished fit.

    **Fields:** `volumes`: mean and the components of all images, on the band's grid. `halves`:
    those of the half sets, aligned. `fsc`: between halves per volume. `noise`: power per group
    and shell. `seen`: posterior of each image. `support`: see `Support`. `history`: log
    likelihood per image and iteration.
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


def compile_ahead(passes: Passes, groups: int) -> None:
    """Have a pass and an M-step compiled before the data are there; may run in another thread.

    **Arguments:** `groups`: of optics.
    """
    passes.compile_ahead(groups)
    band, images = passes.band, len(passes.data)
    noise = Noise(
        jnp.ones((groups, band.shells)),
        jnp.zeros(images, jnp.int32),
        jnp.asarray(band.max_shell, jnp.int32),
    )
    box, none = (band.size,) * 3, np.zeros(images, np.int32)
    maps = np.zeros((2, *box), np.float32), np.zeros((band.fields, *box), np.float32)
    estimate = passes.place(start(*maps, none, noise, band, 0))
    sums = passes.no_sums(groups)
    equations = normal_equations(sums, estimate.subspace.grid, band)
    improve(estimate, sums, equations, passes.place(jnp.asarray(maps[1])), 0.5, band)


def schedule(max_shell: int, iterations: int) -> list[Step]:
    """Plan the iterations on half sets: low shells first."""
    counts = (iterations, max(1, iterations - 1), iterations)
    return [
        Step(max(2, round(share * max_shell)), floor)
        for (share, floor), count in zip(_STAGES, counts, strict=True)
        for _ in range(count)
    ]


def start(
    mean: Float[np.ndarray, "2 m m m"],
    mask: Float[np.ndarray, "k m m m"],
    half: np.ndarray,
    noise: Noise,
    band: Band,
    seed: int,
) -> Estimate:
    """Begin with the half maps and random components of their spectrum, other ones each half."""
    rng = np.random.default_rng(seed)
    random = rng.standard_normal((2, band.components, *mean.shape[1:]), np.float32)
    grid, volumes = _begin(jnp.asarray(mean), jnp.asarray(mask), jnp.asarray(random), band)
    penalty = jnp.zeros((2, band.fields, band.shells))
    subspace = Subspace(grid, jnp.asarray(half, jnp.int32))
    fsc = jnp.zeros((band.fields, band.shells))
    return Estimate(subspace, grid[:, 0], volumes, penalty, fsc, noise)


@partial(jax.jit, static_argnames="band")
def _begin(mean, mask, random, band: Band):
    """Give noise the spectrum of the mean maps, and join them."""
    power = shell_mean(jnp.abs(half_space(mean)) ** 2, band.shells).mean(0)
    shell = np.minimum(fsc_shells(band.size), band.max_shell)
    amplitude = jnp.sqrt(_START * power / band.size**3)[jnp.asarray(shell)]
    transform = half_space(random)
    transform = transform * amplitude.astype(transform.dtype)[None, None]
    random = volume_from_half_space(transform, band.size)
    volumes = jnp.concatenate([mean[:, None], random], axis=1) * mask[None]
    return volumes_to_grid(volumes, band.size), volumes


@partial(jax.jit, static_argnames="band")
def _maximise(equations: SliceSums, grid, penalty, mask, band: Band):
    weight = shell_weight(equations, band)
    # Shells that were not in use yet have no prior: that of a correlation of one half.
    penalty = jnp.where(penalty > 0, penalty, jnp.maximum(weight, 1e-12))
    grid, volumes = confine(grid, solve(equations, penalty, band), mask, band)
    return grid, volumes, gram_of(volumes), weight


@partial(jax.jit, static_argnames="band")
def _turn(grid, volumes, basis, weight, floor, ahead, last_shell, band: Band):
    grid, volumes = mix(grid, basis), mix(volumes, basis)
    # A mean of 0 where the next stage begins to look would be taken for noise.
    beyond = (jnp.asarray(fsc_shells(band.size)) > last_shell)[None, None]
    waiting = jnp.zeros_like(grid).at[:, 0].set(ahead)
    grid = jnp.where(beyond, waiting, grid)
    fsc = component_fsc(volumes, band.shells)
    return grid, volumes, fsc, half_set_penalty(weight, fsc, floor), gram_of(volumes)


def improve(
    estimate: Estimate, sums: Sums, equations: SliceSums, mask: Array, floor: float, band: Band
) -> tuple[Estimate, Float[np.ndarray, "2 2 k k"], Float[np.ndarray, "2 k k"]]:
    """Take the M-step of an estimate whose pass gave `sums`, and choose a good basis.

    **Returns:** the estimate, the inner products of its volumes, and the basis as `mix` took it.
    """
    grid, volumes, gram, weight = _maximise(
        equations, estimate.subspace.grid, estimate.penalty, mask, band
    )
    moments = (np.asarray(x) for x in (gram, sums.first, sums.second, sums.images))
    basis = new_basis(*moments)
    grid, volumes, fsc, penalty, gram = _turn(
        grid,
        volumes,
        jnp.asarray(basis),
        weight,
        jnp.asarray(floor, jnp.float32),
        estimate.ahead,
        estimate.noise.last_shell,
        band,
    )
    updated = Estimate(
        estimate.subspace._replace(grid=grid),
        estimate.ahead,
        volumes,
        penalty,
        fsc,
        new_noise(estimate, sums),
    )
    return updated, np.asarray(gram), basis


def new_noise(estimate: Estimate, sums: Sums) -> Noise:
    """Set the noise of every group to the residual power it left."""
    noise = estimate.noise
    measured = np.asarray(sums.power) / np.maximum(np.asarray(sums.pixels), 1)
    known = np.asarray(sums.pixels) > 0
    power = np.where(known, np.maximum(measured, 1e-6), np.asarray(noise.power))
    return noise._replace(power=jnp.asarray(power, jnp.float32))


def fit_em(
    passes: Passes,
    estimate: Estimate,
    mask: Float[np.ndarray, "k m m m"],
    steps: list[Step],
    *,
    explore: Callable[[Estimate], PreparedImages] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Fit:
    """Run EM: half sets first, then all images.

    **Arguments:** `mask`: of mean and components, real space. `explore`: given the joint
    estimate, returns the data with better poses. `progress`: called with iterations done and all.
    """
    band, data = passes.band, passes.data
    joint = _JOINT if explore is None else 2 * _JOINT
    total = len(steps) + 2 + joint
    half = estimate.subspace.half
    masks, history, gram = passes.place(jnp.asarray(mask)), [], np.zeros(0)

    def tell(done: int, sums: Sums) -> None:
        images = float(np.asarray(sums.images).sum())
        evidence = float(np.asarray(sums.evidence)[:, -1].sum()) / images
        history.append(evidence)
        logger.info("EM iteration %d of %d: log evidence %.6g per image", done, total, evidence)
        if progress is not None:
            progress(done, total)

    for number, step in enumerate(steps, 1):
        last = jnp.asarray(step.last_shell, jnp.int32)
        estimate = estimate._replace(noise=estimate.noise._replace(last_shell=last))
        estimate = passes.place(estimate)
        sums, _ = passes.run(estimate.subspace, estimate.noise, data)
        equations = normal_equations(sums, estimate.subspace.grid, band)
        estimate, gram, _ = improve(estimate, sums, equations, masks, step.floor, band)
        tell(number, sums)

    # Each half is judged by the images of the other.
    estimate = passes.place(estimate)
    crossed = estimate.subspace._replace(half=passes.place(1 - half))
    sums, _ = passes.run(crossed, estimate.noise, data, collect=False)
    own = np.diagonal(gram[0, 0])
    support = judge(np.asarray(sums.evidence), half_set_correlation(gram), own[1:] / own[0])
    tell(len(steps) + 1, sums)
    halves, fsc = np.asarray(estimate.volumes), estimate.fsc

    estimate = _together(estimate, band)
    for number in range(1, joint + 1):
        if explore is not None:
            data = explore(estimate)
        estimate = passes.place(estimate)
        sums, _ = passes.run(estimate.subspace, estimate.noise, data)
        equations = normal_equations(sums, estimate.subspace.grid, band)
        estimate, _, _ = improve(estimate, sums, equations, masks, 0.05, band)
        penalty = _joint_penalty(equations, fsc, band)
        estimate = estimate._replace(penalty=penalty)
        tell(len(steps) + 1 + number, sums)
    estimate = passes.place(estimate)
    sums, seen = passes.run(estimate.subspace, estimate.noise, data, collect=False)
    tell(total, sums)
    return Fit(
        band,
        np.asarray(estimate.volumes[0]),
        halves,
        np.asarray(fsc),
        np.asarray(estimate.noise.power),
        seen,
        support,
        history,
        data,
    )


def _together(estimate: Estimate, band: Band) -> Estimate:
    """Begin the fit of all images at the mean of both halves; the second half stays idle."""
    grid = jnp.repeat(estimate.subspace.grid.mean(0, keepdims=True), 2, axis=0)
    volumes = jnp.repeat(estimate.volumes.mean(0, keepdims=True), 2, axis=0)
    half = jnp.zeros_like(estimate.subspace.half)
    both = 2 * estimate.fsc / (1 + estimate.fsc)
    penalty = estimate.penalty.sum(0, keepdims=True)
    believed = jnp.clip(estimate.fsc, 0.05, 0.999)
    # Twice the images, half the noise: from the FSC of halves to that of the whole.
    ratio = (1 - jnp.clip(both, 0.05, 0.999)) / jnp.clip(both, 0.05, 0.999)
    penalty = penalty * (ratio * believed / (1 - believed))[None]
    return estimate._replace(
        subspace=Subspace(grid, half), volumes=volumes, penalty=jnp.repeat(penalty, 2, axis=0)
    )


@partial(jax.jit, static_argnames="band")
def _joint_penalty(equations: SliceSums, fsc: Array, band: Band) -> Array:
    weight = shell_weight(equations, band)
    both = jnp.clip(2 * fsc / (1 + fsc), 0.05, 0.999)
    penalty = half_set_penalty(weight, both, 0.05)
    # The idle half has no weight of its own.
    return jnp.repeat(penalty[:1], 2, axis=0)


def band_mean(volume: Float[np.ndarray, "*batch n n n"], band: Band) -> np.ndarray:
    """Bring maps to the band's grid."""
    return np.asarray(_band_limited(jnp.asarray(volume, jnp.float32), band.size))


_band_limited = partial(jax.jit, static_argnums=1)(band_limited)
