"""From coarse to fine: what a fit sees at each voxel size, and for how many steps.

A coarse grid finds large motions cheaply, a fine one places them. The finest is no finer than
helps: forty thousand points determine a smooth field, whatever the box.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.maps import Map
from vitreous.methods.morph.cloud import cloud_of
from vitreous.methods.morph.config import MorphConfig
from vitreous.methods.morph.lattice import bin_map
from vitreous.methods.morph.velocity import Triple

MOST_POINTS = 40_000
FEWEST_POINTS = 400
# Final blur σ = √(ε/2) in voxels of a level; half a voxel is what trilinear splats resolve.
FINAL_BLUR = 0.5
# Reach of transport at all but the coarsest level, in voxels: what is left is nearer.
FINE_REACH = 8


@dataclass(frozen=True)
class Level:
    """Hold one resolution of a fit.

    Fields: `points` (Å) and `mass` of the source; `targets` `(k, z, y, x)`; the grid's `voxel`
    and `origin` (Å); `epsilon` (Å²) at the start and the end; `reach` of transport in voxels;
    `steps` of the optimiser.
    """

    points: Float[np.ndarray, "m 3"]
    mass: Float[np.ndarray, " m"]
    targets: Float[np.ndarray, "k z y x"]
    voxel: float
    origin: Triple
    epsilon: tuple[float, float]
    reach: int | None
    steps: int


def build_levels(
    source: Map, targets: Sequence[Map], config: MorphConfig, box_side: float
) -> list[Level]:
    """Make the levels of a fit from cut densities on one lattice, coarsest first.

    Both densities have unit mass on every level.

    **Arguments:** `box_side`: Å, of the box that `w2_eps` counts in.
    """
    finest = 1
    while np.count_nonzero(bin_map(source, finest).data) > MOST_POINTS:
        finest += 1
    factors = [finest]
    while np.count_nonzero(bin_map(source, 2 * factors[-1]).data) >= FEWEST_POINTS:
        factors.append(2 * factors[-1])
    factors.reverse()
    shares = _shares(len(factors))
    steps = [round(config.iterations * s) for s in shares]
    steps[0] += config.iterations - sum(steps)
    levels = []
    for i, (factor, count) in enumerate(zip(factors, steps, strict=True)):
        binned = bin_map(source, factor)
        voxel = binned.voxel_size
        points, mass = cloud_of(binned.data, voxel, binned.origin)
        stack = np.stack([bin_map(t, factor).data for t in targets])
        stack /= stack.sum(axis=(1, 2, 3), keepdims=True)
        last = 2 * (FINAL_BLUR * voxel) ** 2
        if config.w2_eps is not None:
            # Asked for in squares of the box: no level goes below it.
            last = max(last, config.w2_eps * box_side**2)
        first = max(last, 2 * (2 * FINAL_BLUR * voxel) ** 2) if i == 0 else last
        reach = FINE_REACH if i > 0 else None
        levels.append(
            Level(
                points, mass / mass.sum(), stack, voxel, binned.origin, (first, last), reach, count
            )
        )
    return levels


def _shares(count: int) -> list[float]:
    """Give each level its share of the steps: most to the coarse ones, which cost least."""
    weights = 0.5 ** np.arange(count)
    return list(weights / weights.sum())


def peer_level(source: Map, target: Map, config: MorphConfig) -> Level:
    """Make the one level of the peer: the whole box, masses equal but not one.

    **Raises:** `InputError` if the binning does not divide the box.
    """
    if len(source.data) % config.binning:
        raise InputError(
            f"-b {config.binning}: does not divide the box of {len(source.data)}; "
            "the peer's binning must"
        )
    # Normalised before it is binned, as the peer does.
    scaled = source.data / source.data.max()
    other = target.data * (scaled.sum() / target.data.sum())
    first, second = (
        bin_map(replace(source, data=d.astype(np.float32)), config.binning) for d in (scaled, other)
    )
    points, mass = cloud_of(first.data, first.voxel_size, first.origin)
    epsilon = config.w2_eps or 1e-4
    return Level(
        points, mass, second.data[None], first.voxel_size, first.origin,
        (epsilon, epsilon), None, config.iterations,
    )  # fmt: skip
