"""An estimate of mean and components for both half sets, and how one iteration improves it."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from vitreous.geometry.fourier import half_space, volume_from_half_space
from vitreous.imaging.fourier_grid import kernel_correction
from vitreous.methods.subspace.gauge import gram_of, mix, new_basis
from vitreous.methods.subspace.maximisation import (
    confine,
    normal_equations,
    shell_weight,
    solve,
)
from vitreous.methods.subspace.model import (
    Band,
    Noise,
    Subspace,
    grid_to_volumes,
    volumes_to_grid,
)
from vitreous.methods.subspace.passes import Passes
from vitreous.methods.subspace.prior import component_fsc, half_set_penalty
from vitreous.methods.subspace.sweep import Sums
from vitreous.reconstruction.fsc import fsc_shells
from vitreous.reconstruction.insertion import SliceSums
from vitreous.reconstruction.regularisation import shell_mean

# Power of the components EM starts from, relative to the mean map.
_START = 0.5
# Noise power of prepared pixels: 1 in the background, and what the window leaves of it.
_FIRST_NOISE = 0.7
# Correlations between half sets that are believed in.
_FLOOR, _SURE = 0.05, 0.999


class Estimate(NamedTuple):
    """Hold an estimate between two steps; both halves.

    **Fields:** `ahead`: the half maps' transforms, which stand for the mean on shells that are not
    in use yet. `fsc`: between the halves, of each volume; on shells to come that of the last one;
    0 where nothing is known.
    """

    subspace: Subspace
    ahead: Complex[Array, "2 n n h"]
    volumes: Float[Array, "2 k m m m"]
    fsc: Float[Array, "k shells"]
    noise: Noise


def first_noise(groups: np.ndarray, band: Band) -> Noise:
    """Guess the noise of all optics groups; the first pass measures it.

    **Arguments:** `groups`: of each image, from 0.
    """
    # NumPy here and below: JAX compiles the making of constants, a shape at a time.
    power = np.full((int(groups.max()) + 1, band.shells), _FIRST_NOISE, np.float32)
    group = jnp.asarray(groups, jnp.int32)
    return Noise(jnp.asarray(power), group, jnp.asarray(band.max_shell, jnp.int32))


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
    grid, ahead, volumes = _begin(jnp.asarray(mean), jnp.asarray(mask), jnp.asarray(random), band)
    subspace = Subspace(grid, jnp.asarray(half, jnp.int32))
    fsc = jnp.asarray(np.zeros((band.fields, band.shells), np.float32))
    return Estimate(subspace, ahead, volumes, fsc, noise)


def half_maps(
    passes: Passes, half: np.ndarray, noise: Noise
) -> tuple[Float[np.ndarray, "2 m m m"], Float[np.ndarray, " shells"]]:
    """Reconstruct both half sets on the band's grid, and correlate them.

    A pass that starts from nothing is a backprojection: what every image leaves unexplained is
    the image itself.
    """
    band = passes.band
    box = (band.size,) * 3
    none, everywhere = np.zeros((2, *box), np.float32), np.ones((band.fields, *box), np.float32)
    nothing = start(none, everywhere, half, noise, band, 0)
    sure = np.ones(nothing.fsc.shape, np.float32)
    nothing = passes.data.place(nothing._replace(fsc=jnp.asarray(sure)))
    sums, _ = passes.run(nothing.subspace, nothing.noise)
    equations = normal_equations(sums, nothing.subspace.grid, band)
    found, _, _ = improve(
        nothing, sums, equations, passes.data.place(jnp.asarray(everywhere)), _FLOOR, band
    )
    # One step leaves them dimmed by interpolation; later ones would take that back.
    bright = kernel_correction(band.size, band.size, "linear", keep_corners=False)
    return np.asarray(found.volumes)[:, 0] * bright, np.asarray(found.fsc)[0]


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
    grid = volumes_to_grid(volumes, band.size)
    return grid, grid[:, 0], volumes


@partial(jax.jit, static_argnames="band")
def _maximise(equations: SliceSums, grid, fsc, floor, mask, half, band: Band):
    """Take the M-step of one half set: both at once would use one core."""

    def of_half(array: Array) -> Array:
        return jax.lax.dynamic_slice_in_dim(array, half, 1)

    equations = SliceSums(*map(of_half, equations))
    # Signal relative to the noise of now: of another iteration's noise the two would oscillate.
    weight = shell_weight(equations, band)
    penalty = half_set_penalty(weight, jnp.where(fsc > 0, fsc, 0.5), floor)
    return confine(of_half(grid), solve(equations, penalty, band), mask, band)


@jax.jit
def _join(halves) -> tuple[Array, Array, Array]:
    grid, volumes = (jnp.concatenate(parts) for parts in zip(*halves, strict=True))
    return grid, volumes, gram_of(volumes)


@partial(jax.jit, static_argnames="band")
def _turn(grid, volumes, basis, ahead, believed, last_shell, band: Band):
    grid, volumes = mix(grid, basis), mix(volumes, basis)
    # A mean of 0 where the next stage begins to look would be taken for noise.
    beyond = (jnp.asarray(fsc_shells(band.size)) > last_shell)[None, None]
    waiting = jnp.zeros_like(grid).at[:, 0].set(ahead)
    grid = jnp.where(beyond, waiting, grid)
    fsc = component_fsc(volumes, band.shells)
    shell = jnp.arange(band.shells, dtype=jnp.int32)
    fsc = fsc[:, jnp.minimum(shell, last_shell)]
    # Half way only: a strong prior makes halves agree, which makes a weak one, and so on.
    fsc = jnp.where(believed > 0, 0.5 * (believed + fsc), fsc)
    return grid, volumes, fsc, gram_of(volumes)


def improve(
    estimate: Estimate, sums: Sums, equations: SliceSums, mask: Array, floor: float, band: Band
) -> tuple[Estimate, Float[np.ndarray, "2 2 k k"], Float[np.ndarray, "2 k k"]]:
    """Take the M-step of an estimate whose pass gave `sums`, and choose a good basis.

    **Returns:** the estimate, the inner products of its volumes, and the basis as `mix` took it.
    """
    given = (
        equations,
        estimate.subspace.grid,
        estimate.fsc,
        jnp.asarray(floor, jnp.float32),
        mask,
    )
    halves = [_maximise(*given, jnp.asarray(half, jnp.int32), band) for half in range(2)]
    grid, volumes, gram = _join(halves)
    moments = (np.asarray(x) for x in (gram, sums.first, sums.second, sums.particles))
    basis = new_basis(*moments)
    grid, volumes, fsc, gram = _turn(
        grid,
        volumes,
        jnp.asarray(basis),
        estimate.ahead,
        estimate.fsc,
        estimate.noise.last_shell,
        band,
    )
    updated = Estimate(
        estimate.subspace._replace(grid=grid),
        estimate.ahead,
        volumes,
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


@partial(jax.jit, static_argnames="band")
def together(estimate: Estimate, band: Band) -> Estimate:
    """Join both halves, which share a basis by now, into one estimate of all images.

    Each half was drawn to 0 as its own noise wants it, by its correlation `FSC` with the other;
    their mean deserves `2 FSC / (1 + FSC)`. The second half is idle from now on.
    """
    alone = jnp.clip(estimate.fsc, _FLOOR, _SURE)
    both = 2 * alone / (1 + alone)
    gain = (both / alone)[:, jnp.asarray(np.minimum(fsc_shells(band.size), band.max_shell))]
    volumes = grid_to_volumes(
        estimate.subspace.grid.mean(0) * gain.astype(jnp.complex64), band.size
    )
    # The gain leaves density in the corners, which saved volumes cannot give back: latents are
    # told by what is saved.
    grid = volumes_to_grid(volumes, band.size)

    def double(array: Array) -> Array:
        return jnp.stack([array, array])

    subspace = Subspace(double(grid), jnp.zeros_like(estimate.subspace.half))
    return estimate._replace(subspace=subspace, volumes=double(volumes), fsc=both)
