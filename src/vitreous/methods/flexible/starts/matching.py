"""Which part of a density each point of a cloud belongs to: entropic optimal transport.

Mass may stay behind where carrying it costs too much, so that noise in one map and parts that are
missing from another do not pull at the rest.
"""

import numpy as np
from jaxtyping import Float

# Rescalings of rows and columns for one matching.
_ROUNDS = 30
# Dual potentials are taken into the kernel anew after so many, before numbers leave float64.
_ABSORB = 10


def match(
    points: Float[np.ndarray, "g 3"],
    mass: Float[np.ndarray, " g"],
    targets: Float[np.ndarray, "n 3"],
    weight: Float[np.ndarray, " n"],
    blur: float,
    reach: float,
) -> tuple[Float[np.ndarray, "g 3"], Float[np.ndarray, " g"]]:
    """Carry each point to the mean place of the density it is matched with.

    Entropy blurs a matching, which draws all points inwards; what it does to the cloud matched
    with itself is taken off again.

    **Arguments:** `mass`, `weight`: of points and targets, both adding up to 1. `blur` (Å): width
    of the matching. `reach` (Å): mass is rather left than carried farther.

    **Returns:** places (Å) and the share of each point's mass that found a place, 0 to 1.

    **Source:** Séjourné et al. (2019) arXiv:1910.12958, unbalanced Sinkhorn divergence.
    """
    plan = transport_plan(points, mass, targets, weight, blur, reach)
    own = transport_plan(points, mass, points, mass, blur, reach)
    carried, kept = plan.sum(axis=1), own.sum(axis=1)
    there = plan @ targets / np.maximum(carried, 1e-300)[:, None]
    here = own @ points / np.maximum(kept, 1e-300)[:, None]
    return points + there - here, np.clip(carried / mass, 0.0, 1.0)


def transport_plan(
    points: Float[np.ndarray, "g 3"],
    mass: Float[np.ndarray, " g"],
    targets: Float[np.ndarray, "n 3"],
    weight: Float[np.ndarray, " n"],
    blur: float,
    reach: float,
) -> Float[np.ndarray, "g n"]:
    """Find the blurred plan of least `Σ π |x − y|²`; see `match`."""
    epsilon = 2 * blur**2
    # How far a potential may lean on its marginal: 1 would keep all mass.
    lean = reach**2 / (reach**2 + epsilon)
    cost = np.sum(points**2, axis=1)[:, None] + np.sum(targets**2, axis=1)[None]
    cost = np.maximum(cost - 2 * points @ targets.T, 0) / epsilon
    log_mass, log_weight = np.log(mass), np.log(weight)
    f, g = cost.min(axis=1), np.zeros(len(targets))
    for _ in range(_ROUNDS // _ABSORB):
        kernel = np.exp(np.clip((f + log_mass)[:, None] + (g + log_weight)[None] - cost, -700, 80))
        across, along = np.ones(len(points)), np.ones(len(targets))
        for _ in range(_ABSORB):
            row = np.maximum(kernel @ along, 1e-280) / mass
            across = np.exp(-f * (1 - lean)) * row**-lean
            column = np.maximum(across @ kernel, 1e-280) / weight
            along = np.exp(-g * (1 - lean)) * column**-lean
        f = f + np.log(np.maximum(across, 1e-280))
        g = g + np.log(np.maximum(along, 1e-280))
    return kernel * across[:, None] * along[None]
