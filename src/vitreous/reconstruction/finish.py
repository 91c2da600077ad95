"""Sums of slices into maps: half maps, their FSC, and the regularised map of all images."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vitreous.reconstruction.fsc import fourier_shell_correlation
from vitreous.reconstruction.insertion import SliceSums
from vitreous.reconstruction.regularisation import (
    HALF_MAP_FLOOR,
    divide,
    half_map_penalty,
    map_from_transform,
    mean_count_penalty,
    wiener_penalty,
)


class Consensus(NamedTuple):
    """Hold a map of all images and what its halves say about it.

    **Fields:** `volume`: the map, in the units of the pixels it was made from. `half_maps`: two
    maps without Wiener filter. `fsc`: of the half maps.
    """

    volume: Float[Array, "n n n"]
    half_maps: Float[Array, "2 n n n"]
    fsc: Float[Array, " shells"]


def finish_halves(sums: SliceSums, max_shell: int, mean_count: float | None = None) -> Consensus:
    """Make half maps and their FSC, then the map of both.

    Each map is made by itself, so that at large boxes the grids of one map at a time are held.

    **Arguments:** `sums`: of two groups. `mean_count`: regularise all maps with this multiple of
    the mean weight, as cryoDRGN does; by default the map of all images is Wiener-filtered by the
    half maps' FSC.
    """
    halves = jnp.stack([_half(sums, i, max_shell, mean_count) for i in range(2)])
    fsc = _correlate(halves)
    return Consensus(_both(sums, fsc, max_shell, mean_count), halves, fsc)


@partial(jax.jit, static_argnames=("group", "max_shell", "mean_count"))
def _half(
    sums: SliceSums, group: int, max_shell: int, mean_count: float | None
) -> Float[Array, "n n n"]:
    numerator, weight = sums.numerator[group, 0], sums.weight[group, 0]
    if mean_count is not None:
        return finish_mean_count(numerator, weight, max_shell + 1, mean_count)
    penalty = half_map_penalty(weight, max_shell + 1)
    # The floor lowers a voxel of mean weight by a known factor, taken back here.
    return map_from_transform(divide(numerator, weight, penalty)) * (1 + HALF_MAP_FLOOR)


@jax.jit
def _correlate(halves: Float[Array, "2 n n n"]) -> Float[Array, " shells"]:
    return fourier_shell_correlation(halves[0], halves[1])


@partial(jax.jit, static_argnames=("max_shell", "mean_count"))
def _both(
    sums: SliceSums, fsc: Float[Array, " shells"], max_shell: int, mean_count: float | None
) -> Float[Array, "n n n"]:
    shells = max_shell + 1
    both, total = sums.numerator[:, 0].sum(0), sums.weight[:, 0].sum(0)
    if mean_count is not None:
        return finish_mean_count(both, total, shells, mean_count)
    return map_from_transform(divide(both, total, wiener_penalty(total, fsc, shells)))


@partial(jax.jit, static_argnames=("max_shell", "mean_count"))
def finish_whole(sums: SliceSums, max_shell: int, mean_count: float = 1.0) -> Float[Array, "n n n"]:
    """Make one map of all groups, without half maps: the mean weight regularises."""
    numerator, weight = sums.numerator[:, 0].sum(0), sums.weight[:, 0].sum(0)
    return finish_mean_count(numerator, weight, max_shell + 1, mean_count)


def finish_mean_count(numerator, weight, shells: int, share: float) -> Float[Array, "n n n"]:
    """Divide by the weights plus a constant."""
    penalty = mean_count_penalty(weight, shells, share)
    return map_from_transform(divide(numerator, weight, penalty))
