"""What kind of space a latent is: its dimension, and whether it knows pose and defocus.

Heterogeneity has nothing to do with how a particle was looked at. A latent that predicts views
or defocus better than chance has learnt them: poses or CTF are wrong, or the model is.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vitreous.metrics.information_imbalance import (
    euclidean_distances,
    mean_rank,
    neighbour_ranks,
    rotation_distances,
    view_distances,
)
from vitreous.metrics.intrinsic_dimension import intrinsic_dimension
from vitreous.particles.table import ParticleTable

# Points that are compared with each other.
_COMPARED = 2000


class Leak(NamedTuple):
    """Say how much a latent tells of a property it should not know.

    `imbalance`: `Δ(z → property)`, 1 where it tells nothing; `back`: `Δ(property → z)`. `chance`:
    mean and deviation of the former for the same values in random order.
    """

    imbalance: float
    back: float
    chance: tuple[float, float]

    @property
    def significance(self) -> float:
        """How many deviations below chance; 4 and more is knowledge."""
        return (self.chance[0] - self.imbalance) / max(self.chance[1], 1e-12)


class LatentStructure(NamedTuple):
    """Hold the intrinsic dimension of a latent, and its leaks by the name of the property."""

    dimension: float
    leaks: dict[str, Leak]

    def facts(self) -> list[tuple[str, str]]:
        """List what a reader should know, as pairs of name and value."""
        lines = [("intrinsic dimension", f"{self.dimension:.1f}")]
        for name, leak in self.leaks.items():
            word = "knows the" if leak.significance > 4 else "is blind to the"
            value = f"Δ(z → {name}) {leak.imbalance:.2f}, chance {leak.chance[0]:.2f}"
            lines.append((f"latent {word} {name}", value))
        return lines

    def as_dict(self) -> dict[str, object]:
        """Return plain data for JSON."""
        known = np.isfinite(self.dimension)
        return {
            "intrinsic_dimension": round(self.dimension, 3) if known else None,
            "information_imbalance": {
                name: {
                    "z_to_property": leak.imbalance,
                    "property_to_z": leak.back,
                    "chance": list(leak.chance),
                    "deviations_below_chance": leak.significance,
                }
                for name, leak in self.leaks.items()
            },
        }


def latent_structure(
    z: Float[np.ndarray, "n d"],
    table: ParticleTable | None,
    seed: int = 0,
    compared: int = _COMPARED,
    shuffles: int = 50,
) -> LatentStructure:
    """Measure a latent space.

    **Arguments:** `table`: one row a latent; None leaves the leaks out. `compared`: particles, a
    random choice, whose distances are compared. `shuffles`: random orders that chance is told by.
    """
    generator = np.random.default_rng(seed)
    dimension = intrinsic_dimension(z.astype(np.float64))
    leaks: dict[str, Leak] = {}
    if table is None or len(z) < 10:
        return LatentStructure(dimension, leaks)
    rows = np.sort(generator.permutation(len(z))[:compared])
    own, part = euclidean_distances(z[rows].astype(np.float64)), table.select(rows)
    properties: dict[str, np.ndarray] = {}
    if part.rotation is not None:
        properties["view"] = view_distances(part.rotation)
        properties["pose"] = rotation_distances(part.rotation)
    if part.ctf is not None and np.ptp(part.ctf.defocus_u) > 0:
        defocus = np.stack([part.ctf.defocus_u, part.ctf.defocus_v], axis=1)
        properties["defocus"] = euclidean_distances(defocus.astype(np.float64))
    mine = neighbour_ranks(own)
    for name, distance in properties.items():
        theirs = neighbour_ranks(distance)
        forward, chance = mean_rank(mine, theirs, shuffles=shuffles, seed=seed)
        back, _ = mean_rank(theirs, mine)
        leaks[name] = Leak(forward, back, (float(chance.mean()), float(chance.std(ddof=1))))
    return LatentStructure(dimension, leaks)
