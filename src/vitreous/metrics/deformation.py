"""How far one map must be bent to become another: the deformation distance of Zernike3D.

The field that bends is a polynomial in each coordinate. Zernike polynomials up to a degree span all
polynomials up to it, so these are fitted, and the best field is the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import gaussian_filter, map_coordinates

from vitreous.geometry.resample import resample

# Maps are cut to this box first: bending shows at low resolution.
_COARSE = 24
# Smoothing (voxels) and the gain at which each stage ends. The first finds the way; the last has
# none, as a map that is smoothed and then bent is not one that is bent and then smoothed.
_STAGES = ((1.0, 1e-3), (0.0, 1e-4))


def deformation_distance(
    moving: Float[np.ndarray, "n n n"],
    fixed: Float[np.ndarray, "n n n"],
    voxel_size: float = 1.0,
    degree: int = 3,
    rounds: int = 20,
) -> float:
    """Return the root-mean-square displacement (Å) over the density that carries a map to another.

    `g` and the number `a` minimise `Σ |a moving(r + g(r)) − fixed(r)|²` over polynomials of the
    degree, by Levenberg's method; displacements are weighted by the density of `fixed`. What slides
    along even density does not show: of all fields that explain the map, the distance is near the
    least.

    **Source:** Herreros et al. (2021) IUCrJ 8, 992: Zernike3D, there with spherical harmonics.
    """
    (moving, fixed), voxel_size = _coarse([moving, fixed], voxel_size)
    n = len(fixed)
    centre = n // 2
    places = np.stack(np.meshgrid(*[np.arange(n) - centre] * 3, indexing="ij"), -1).reshape(-1, 3)
    inside = np.linalg.norm(places, axis=1) < centre - 1
    basis = polynomials(places[inside] / centre, degree)
    grid = (places[inside] + centre).T.astype(np.float64)
    found = np.append(np.zeros(3 * basis.shape[1]), 1.0)
    for sigma, enough in _STAGES:
        first, second = (gaussian_filter(m, sigma) if sigma else m for m in (moving, fixed))
        found = _Bending(first, second, basis, grid, inside).fit(found, rounds, enough)
    moved = np.sum((basis @ found[:-1].reshape(3, -1).T) ** 2, axis=1)
    return float(np.sqrt(np.average(moved, weights=fixed.reshape(-1)[inside] + 1e-12)) * voxel_size)


@dataclass(frozen=True, eq=False)
class _Bending:
    """Bend one map towards another at the places inside a sphere; `grid` are their indices.

    Unknowns are a weight for each axis and function of the basis, and last a scale: maps have none
    of their own, and one of a molecule that swells has another deviation, too.
    """

    moving: Float[np.ndarray, "n n n"]
    fixed: Float[np.ndarray, "n n n"]
    basis: Float[np.ndarray, "p f"]
    grid: Float[np.ndarray, "3 p"]
    inside: Bool[np.ndarray, " v"]

    def fit(
        self, start: Float[np.ndarray, " u"], rounds: int, enough: float
    ) -> Float[np.ndarray, " u"]:
        """Lower the squared difference until a step gains less than the share `enough`."""
        target, slopes = self.fixed.reshape(-1)[self.inside], np.gradient(self.moving)
        trial, best, damping, error = start, start, 1e-2, np.inf
        for _ in range(rounds):
            at = self.grid + (self.basis @ trial[:-1].reshape(3, -1).T).T
            value = map_coordinates(self.moving, at, order=3, mode="nearest")
            residual = trial[-1] * value - target
            now = float(residual @ residual)
            if now < error:
                gain, error, best, damping = 1 - now / error, now, trial, damping / 4
                if gain < enough or now < 1e-12 * float(target @ target):
                    break
                jacobian = self._jacobian(slopes, at, value, float(trial[-1]))
                gram, pull = jacobian.T @ jacobian, jacobian.T @ residual
            else:
                damping *= 8
            damped = gram + damping * np.diag(np.diag(gram) + 1e-9 * np.trace(gram) + 1e-30)
            trial = best - np.linalg.solve(damped, pull)
        return best

    def _jacobian(
        self,
        slopes: Sequence[Float[np.ndarray, "n n n"]],
        at: Float[np.ndarray, "3 p"],
        value: Float[np.ndarray, " p"],
        a: float,
    ) -> Float[np.ndarray, "p u"]:
        steep = [a * map_coordinates(s, at, order=1, mode="nearest") for s in slopes]
        return np.concatenate([s[:, None] * self.basis for s in steep] + [value[:, None]], axis=1)


def polynomials(places: Float[np.ndarray, "p 3"], degree: int) -> Float[np.ndarray, "p f"]:
    """Give an orthonormal basis, over the places, of all polynomials up to a degree."""
    powers = [k for k in product(range(degree + 1), repeat=3) if sum(k) <= degree]
    columns = np.stack([np.prod(places**k, axis=1) for k in map(np.array, powers)], axis=1)
    return np.linalg.qr(columns)[0] * np.sqrt(len(places))


def _coarse(maps: list[np.ndarray], voxel_size: float) -> tuple[list[np.ndarray], float]:
    """Cut maps to a small box and leave what is above 0, at a deviation of 1."""
    box = len(maps[0])
    if box > _COARSE:
        maps = [np.asarray(resample(jnp.asarray(m, jnp.float32), _COARSE, 3)) for m in maps]
        voxel_size = voxel_size * box / _COARSE
    positive = [np.maximum(m, 0).astype(np.float64) for m in maps]
    return [m / max(float(m.std()), 1e-30) for m in positive], voxel_size
