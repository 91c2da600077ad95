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


@partial(jax.jit, static_argnames=("max_shell", "mean_count"))
def finish_halves(sums: SliceSums, max_shell: int, mean_count: float | None = None) -> Consensus:
    """Make half maps and their FSC, then the map of both.

    **Arguments:** `sums`: of two groups. `mean_count`: regularise all maps with this multiple of
    the mean weight, as cryoDRGN does; by default the map of all images is Wiener-filtered by the
    half maps' FSC.
    """
    shells = max_shell + 1
    numerator, weight = sums.numerator[:, 0], sums.weight[:, 0]

    def half(numerator, weight):
        if mean_count is not None:
            return finish_mean_count(numerator, weight, shells, mean_count)
        penalty = half_map_penalty(weight, shells)
        # The floor lowers a voxel of mean weight by a known factor, taken back here.
        return map_from_transform(divide(numerator, weight, penalty)) * (1 + HALF_MAP_FLOOR)

    halves = jnp.stack([half(numerator[i], weight[i]) for i in range(2)])
    fsc = fourier_shell_correlation(halves[0], halves[1])
    both, total = numerator.sum(0), weight.sum(0)
    if mean_count is not None:
        volume = finish_mean_count(both, total, shells, mean_count)
    else:
        volume = map_from_transform(divide(both, total, wiener_penalty(total, fsc, shells)))
    return Consensus(volume, halves, fsc)


@partial(jax.jit, static_argnames=("max_shell", "mean_count"))
def finish_whole(sums: SliceSums, max_shell: int, mean_count: float = 1.0) -> Float[Array, "n n n"]:
    """Make one map of all groups, without half maps: the mean weight regularises."""
    numerator, weight = sums.numerator[:, 0].sum(0), sums.weight[:, 0].sum(0)
    return finish_mean_count(numerator, weight, max_shell + 1, mean_count)


def finish_mean_count(numerator, weight, shells: int, share: float) -> Float[Array, "n n n"]:
    """Divide by the weights plus a constant."""
    penalty = mean_count_penalty(weight, shells, share)
    return map_from_transform(divide(numerator, weight, penalty))
