"""What one method makes for another: maps along latents, and the poses they go with."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vitreous.training.run import Latents


class Landscape(NamedTuple):
    """Hold a linear landscape `V(z) = volumes[0] + Σ z_k volumes[k]`, in prepared pixels' units.

    **Fields:** `rotation`, `shift` (Å): poses, corrected if that was asked for.
    """

    volumes: Float[np.ndarray, "k b b b"]
    latents: Latents
    rotation: Float[np.ndarray, "n 3 3"]
    shift: Float[np.ndarray, "n 2"]

    def decode(self, z: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m b b b"]:
        """Return the maps at some latents."""
        change = np.einsum("md,dxyz->mxyz", z, self.volumes[1:])
        return (self.volumes[0] + change).astype(np.float32)
