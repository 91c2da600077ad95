"""Principal components of a latent space, in the latent's own units."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class PrincipalComponents:
    """Hold the mean, the axes (rows, orthonormal) and the variance along each, largest first."""

    mean: Float[np.ndarray, " d"]
    axes: Float[np.ndarray, "c d"]
    variance: Float[np.ndarray, " c"]

    @property
    def explained(self) -> Float[np.ndarray, " c"]:
        """Give each component's share of the variance; they add up to 1."""
        return self.variance / max(float(self.variance.sum()), 1e-300)

    def transform(self, z: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n c"]:
        """Express points by their components."""
        return ((z - self.mean) @ self.axes.T).astype(np.float32)

    def inverse(self, scores: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n d"]:
        """Return to the latent space."""
        return (scores @ self.axes + self.mean).astype(np.float32)


def fit_components(z: Float[np.ndarray, "n d"]) -> PrincipalComponents:
    """Find the principal components.

    The sign of each axis is fixed by a rule: its entry of largest size is positive.

    **Returns:** `min(n, d)` components; variances with divisor `n − 1`.
    """
    z = z.astype(np.float64)
    mean = z.mean(axis=0)
    centred = z - mean
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    largest = np.argmax(np.abs(axes), axis=1)
    axes = axes * np.sign(axes[np.arange(len(axes)), largest])[:, None]
    return PrincipalComponents(mean, axes, singular**2 / max(len(z) - 1, 1))
