"""Distances between every true and every submitted map, as the Flatiron challenge compares them.

Maps are `(maps, n, n, n)`, aligned and at one scale; `normalise` makes them comparable.
"""

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from vitreous.errors import InputError
from vitreous.geometry.fourier import half_space
from vitreous.metrics.deformation import deformation_distance
from vitreous.metrics.point_clouds import (
    gromov_wasserstein,
    point_cloud,
    procrustes_wasserstein,
)
from vitreous.reconstruction.fsc import correlate_half_spaces, resolution

Maps = Float[np.ndarray, "m n n n"]
TrueMaps = Float[np.ndarray, "t n n n"]
SubmittedMaps = Float[np.ndarray, "s n n n"]
MapDistance = Literal[
    "l2", "correlation", "bioem3d", "fsc", "resolution", "procrustes", "gromov", "zernike"
]
# Those that take seconds for a hundred maps; the others take a tenth of a second a pair.
QUICK_DISTANCES: tuple[MapDistance, ...] = ("l2", "correlation", "bioem3d", "fsc", "resolution")
MAP_DISTANCES: tuple[MapDistance, ...] = (*QUICK_DISTANCES, "procrustes", "gromov", "zernike")


def check_distances(names: Sequence[str]) -> tuple[MapDistance, ...]:
    """Read names of distances.

    **Raises:** `InputError` naming those there are.
    """
    unknown = [name for name in names if name not in MAP_DISTANCES]
    if unknown:
        raise InputError(f"distance {unknown[0]!r}: there are {', '.join(MAP_DISTANCES)}")
    return tuple(kind for kind in MAP_DISTANCES if kind in names)


def normalise(maps: Maps, mask: Float[np.ndarray, "n n n"] | None = None) -> Maps:
    """Give every map the median 0 and the standard deviation 1, then multiply a mask on."""
    flat = maps.reshape(len(maps), -1).astype(np.float64)
    flat = flat - np.median(flat, axis=1, keepdims=True)
    flat /= np.maximum(flat.std(axis=1, keepdims=True), 1e-30)
    made = flat.reshape(maps.shape)
    return (made if mask is None else made * mask).astype(np.float32)


def map_distances(
    truth: TrueMaps, submitted: SubmittedMaps, kind: MapDistance, voxel_size: float = 1.0
) -> Float[np.ndarray, "t s"]:
    """Compare every true map with every submitted one; smaller is always nearer.

    **Arguments:** `kind`: `"l2"` `‖a − b‖²`; `"correlation"` `−⟨a, b⟩`; `"bioem3d"` minus the log
    evidence of a as b plus white noise, scale, offset and noise level integrated out; `"fsc"` one
    minus the mean FSC over rounded shells without DC; `"resolution"` Å where the FSC falls below
    0.5. In Å too: `"procrustes"`, `"gromov"`, see `point_clouds`, that ask for no common frame;
    `"zernike"`, see `deformation`.

    **Source:** Astore et al. (2025), inaugural Flatiron heterogeneity challenge; evidence of
    Cossio & Hummer (2013) J. Struct. Biol. 184, 427, eq. 10.
    """
    if kind in ("procrustes", "gromov"):
        compare = procrustes_wasserstein if kind == "procrustes" else gromov_wasserstein
        clouds = [[point_cloud(m, voxel_size) for m in maps] for maps in (truth, submitted)]
        return np.array([[compare(one, two) for two in clouds[1]] for one in clouds[0]])
    if kind == "zernike":
        return np.array(
            [[deformation_distance(t, s, voxel_size) for s in submitted] for t in truth]
        )
    a, b = (m.reshape(len(m), -1).astype(np.float64) for m in (truth, submitted))
    if kind == "l2":
        squares = np.sum(a**2, axis=1)[:, None] + np.sum(b**2, axis=1)[None]
        return np.maximum(squares - 2 * a @ b.T, 0)
    if kind == "correlation":
        return -(a @ b.T)
    if kind == "bioem3d":
        return -_log_evidence(a, b)
    transforms = jax.lax.map(half_space, jnp.asarray(submitted, jnp.float32))
    curves = np.stack([np.asarray(_curves(jnp.asarray(t, jnp.float32), transforms)) for t in truth])
    if kind == "fsc":
        return 1 - curves[..., 1:].mean(axis=-1).astype(np.float64)
    n = truth.shape[-1]
    return np.array([[resolution(c, voxel_size, 0.5, n) for c in row] for row in curves])


@jax.jit
def _curves(
    first: Float[Array, "n n n"], transforms: Complex[Array, "m n n h"]
) -> Float[Array, "m shells"]:
    """Correlate one map with many, whose transforms are given."""
    own = half_space(first)
    return jax.lax.map(lambda other: correlate_half_spaces(own, other), transforms)


def _log_evidence(
    observed: Float[np.ndarray, "t v"], model: Float[np.ndarray, "s v"]
) -> Float[np.ndarray, "t s"]:
    """Return log ∫ p(observed | N · model + μ + noise σ) dN dμ dσ, flat priors, up to a constant.

    Least squares leaves the residual `R = Q / D` with `D = n Σm² − (Σm)²`; N and μ give
    `σ² D^(−½)`, σ the power `R^(−(n−3)/2)`.
    """
    n = observed.shape[1]
    so, sm = observed.sum(axis=1)[:, None], model.sum(axis=1)[None]
    soo, smm = np.sum(observed**2, axis=1)[:, None], np.sum(model**2, axis=1)[None]
    som = observed @ model.T
    spread = n * smm - sm**2
    residual = n * (soo * smm - som**2) + 2 * so * sm * som - smm * so**2 - soo * sm**2
    # A map compared with itself has no residual but rounding.
    residual = np.maximum(residual, 1e-12 * soo * spread)
    return 0.5 * (3 - n) * np.log(residual) + (0.5 * n - 2) * np.log(spread)


def captured_variance(
    truth: TrueMaps, submitted: SubmittedMaps, rank: int = 5
) -> tuple[float, float]:
    """Tell how much of each set's variation the leading directions of the other set span.

    With `U S` the left singular vectors and values of the centred true maps and `V` those of the
    submitted ones: `‖Vᵀ U S‖ / ‖Uᵀ U S‖` over `rank` directions, and the same the other way; the
    challenge takes their mean, of maps that `b_factor.subspace_maps` made comparable.

    **Returns:** share of the truth that the submission spans, and of the submission that the
    truth spans; 1 at best.
    """
    sides = []
    for maps in (truth, submitted):
        flat = maps.reshape(len(maps), -1).astype(np.float64)
        u, s, _ = np.linalg.svd((flat - flat.mean(axis=0)).T, full_matrices=False)
        sides.append((u[:, :rank], s[:rank]))
    (u, s), (v, t) = sides
    overlap = v.T @ u

    def share(part: np.ndarray, whole: np.ndarray) -> float:
        return float(np.linalg.norm(part)) / max(float(np.linalg.norm(whole)), 1e-30)

    return share(overlap * s, s), share(overlap.T * t, t)
