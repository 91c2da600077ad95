"""The standard test pair: two lumps of pseudo-atoms, the upper one turned about a hinge."""

import jax.numpy as jnp
import numpy as np

from vitreous.geometry.rotations import rotation_vector_to_matrix
from vitreous.imaging.gaussians import GaussianAtoms, gaussian_map
from vitreous.maps import Map


def two_domains(
    box: int = 32, angle: float = 25.0, sigma: float = 1.1, seed: int = 2
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Place 120 atoms below and 80 above a hinge; `angle` in degrees, lengths in voxels at 32.

    **Returns:** atoms `(200, 3)` from the box centre before and after, in voxels of a box of 32;
    and which of them turn.
    """
    rng = np.random.default_rng(seed)

    def ellipsoid(count, centre, axes):
        points = rng.normal(size=(count, 3))
        points *= (rng.random((count, 1)) ** (1 / 3)) / np.linalg.norm(
            points, axis=1, keepdims=True
        )
        return points * axes + centre

    lower = ellipsoid(120, (0.0, 0.0, -4.5), (4.3, 4.0, 4.0))
    upper = ellipsoid(80, (0.5, 0.0, 5.3), (3.6, 3.4, 4.4))
    hinge = np.array([0.0, 0.0, 0.0])
    turn = rotation_vector_to_matrix(np.array([0.0, angle, 0.0]))
    before = np.concatenate([lower, upper])
    after = np.concatenate([lower, (upper - hinge) @ turn.T + hinge])
    return before, after, np.arange(200) >= 120


def density(atoms: np.ndarray, box: int = 32, sigma: float = 1.1) -> np.ndarray:
    """Lay atoms onto a grid; `sigma` in voxels of a box of 32."""
    scale = box / 32
    molecule = GaussianAtoms(
        (atoms * scale).astype(np.float32),
        np.ones((len(atoms), 1), np.float32),
        np.full((len(atoms), 1), (sigma * scale) ** 2, np.float32),
    )
    return np.asarray(gaussian_map(molecule, box, 1.0, "point")).astype(np.float32)


def lay(
    atoms: np.ndarray,
    shape: tuple[int, int, int],
    voxel: float = 1.0,
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    sigma: float = 1.1,
) -> Map:
    """Lay atoms, in Å of the laboratory, onto any grid: `shape` (z, y, x), `sigma` in Å."""
    lines = [
        np.exp(-((np.arange(n) * voxel + first - atoms[:, [i]]) ** 2) / (2 * sigma**2))
        for i, (n, first) in enumerate(zip(shape[::-1], origin, strict=True))
    ]
    return Map(np.einsum("ax,ay,az->zyx", *lines).astype(np.float32), voxel, origin)


def above(volume: np.ndarray, share: float = 0.15) -> np.ndarray:
    """Cut a map hard at a share of its maximum."""
    return np.where(volume >= share * volume.max(), volume, 0).astype(np.float32)


__all__ = ["above", "density", "jnp", "lay", "two_domains"]
