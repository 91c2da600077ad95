"""How far one map must be bent to become another: the deformation distance of Zernike3D.

The field that bends is a polynomial in each coordinate. Zernike polynomials up to a degree span all
polynomials up to it, so these are fitted, and the best field is the same.
"""

from itertools import product

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter, map_coordinates

from vitreous.geometry.resample import resample

# Maps are cut to this box first: bending shows at low resolution.
_COARSE = 24


def deformation_distance(
    moving: Float[np.ndarray, "n n n"],
    fixed: Float[np.ndarray, "n n n"],
    voxel_size: float = 1.0,
    degree: int = 3,
    rounds: int = 20,
) -> float:
    """Return the root-mean-square displacement (Å) over the density that carries a map to another.

    `g` minimises `Σ |moving(r + g(r)) − fixed(r)|²` over polynomials of the degree, by
    Levenberg's method; displacements are weighted by the density of `fixed`.

    **Source:** Herreros et al. (2021) IUCrJ 8, 992: Zernike3D, there with spherical harmonics.
    """
    (moving, fixed), voxel_size = _coarse([moving, fixed], voxel_size)
    n = len(fixed)
    centre = n // 2
    places = np.stack(np.meshgrid(*[np.arange(n) - centre] * 3, indexing="ij"), -1).reshape(-1, 3)
    inside = np.linalg.norm(places, axis=1) < centre - 1
    basis = polynomials(places[inside] / centre, degree)
    target = fixed.reshape(-1)[inside]
    slopes = np.gradient(moving)
    weights = np.zeros((3, basis.shape[1]))
    damping, error = 1e-2, np.inf
    best = weights
    for _ in range(rounds):
        at = (places[inside] + centre + basis @ weights.T).T
        residual = map_coordinates(moving, at, order=1, mode="nearest") - target
        now = float(residual @ residual)
        if now < error:
            gain, error, best, damping = 1 - now / error, now, weights, damping / 4
            jacobian = np.concatenate(
                [map_coordinates(s, at, order=1, mode="nearest")[:, None] * basis for s in slopes],
                axis=1,
            )
            gram, pull = jacobian.T @ jacobian, jacobian.T @ residual
            if gain < 1e-5:
                break
        else:
            damping *= 8
        damped = gram + damping * np.diag(np.diag(gram) + 1e-9 * np.trace(gram) + 1e-30)
        weights = best - np.linalg.solve(damped, pull).reshape(3, -1)
    moved = np.sum((basis @ best.T) ** 2, axis=1)
    density = np.maximum(target, 0)
    return float(np.sqrt(np.average(moved, weights=density + 1e-12)) * voxel_size)


def polynomials(places: Float[np.ndarray, "p 3"], degree: int) -> Float[np.ndarray, "p f"]:
    """Give an orthonormal basis, over the places, of all polynomials up to a degree."""
    powers = [k for k in product(range(degree + 1), repeat=3) if sum(k) <= degree]
    columns = np.stack([np.prod(places**k, axis=1) for k in map(np.array, powers)], axis=1)
    return np.linalg.qr(columns)[0] * np.sqrt(len(places))


def _coarse(maps: list[np.ndarray], voxel_size: float) -> tuple[list[np.ndarray], float]:
    """Cut maps to a small box, smooth them, and bring them to one scale."""
    box = len(maps[0])
    if box > _COARSE:
        maps = [np.asarray(resample(jnp.asarray(m, jnp.float32), _COARSE, 3)) for m in maps]
        voxel_size = voxel_size * box / _COARSE
    smooth = [gaussian_filter(np.maximum(m, 0).astype(np.float64), 1.0) for m in maps]
    return [m / max(float(m.std()), 1e-30) for m in smooth], voxel_size
