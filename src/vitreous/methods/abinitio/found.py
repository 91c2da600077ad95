"""What an ab initio strategy finds: poses, maps of both half sets, and whether to believe them."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from vitreous.training.run import Latents


@dataclass(frozen=True, eq=False)
class Found:
    """Hold the poses and maps that a strategy ended with.

    **Fields:** `rotation`: volume to image. `shift`: Å, where each particle lies in its image.
    `volumes`: map of all images, then, for a heterogeneous model, the components that latents
    multiply: `V(z) = volumes[0] + Σ z_k volumes[k]`. `half_maps`: of two half sets aligned
    independently beyond the first shells. `fsc`: between them, by shell. `latents`: of every
    image, or None. `score`: log likelihood ratio of each image against noise. `converged`:
    whether poses stopped moving and the half maps agree; `verdict`: that in one line. `history`:
    one entry an epoch, plain numbers and names. `is_dark`: the images had to be inverted.
    `start`: what a search began with after its random starts, a map of a few shells.
    `hand_margin`: by how much the other images of tilt series favour this hand (log likelihood a
    particle); None of single images, which cannot tell.
    """

    rotation: Float[np.ndarray, "n 3 3"]
    shift: Float[np.ndarray, "n 2"]
    volumes: Float[np.ndarray, "k b b b"]
    half_maps: Float[np.ndarray, "2 b b b"]
    fsc: Float[np.ndarray, " shells"]
    latents: Latents | None
    score: Float[np.ndarray, " n"]
    converged: bool
    verdict: str
    history: list[dict] = field(default_factory=list)
    is_dark: bool = False
    start: Float[np.ndarray, "k b b b"] | None = None
    hand_margin: float | None = None


def typical_maps(
    volumes: Float[np.ndarray, "k b b b"], z: Float[np.ndarray, "n d"] | None, count: int
) -> tuple[Float[np.ndarray, "c b b b"], Int[np.ndarray, " n"]]:
    """Choose maps of a landscape: those at latents evenly spread over the main component.

    **Returns:** at most `count` maps, one without latents; and which is nearest to each latent.
    """
    if z is None or len(volumes) == 1:
        return volumes[:1], np.zeros(0 if z is None else len(z), np.int32)
    z = np.asarray(z, np.float32)
    _, _, axes = np.linalg.svd(z - z.mean(axis=0), full_matrices=False)
    along = z @ axes[0]
    order = np.argsort(along)
    places = order[((np.arange(count) + 0.5) / count * len(z)).astype(int)]
    shown = volumes[0] + np.einsum("cd,dxyz->cxyz", z[places], volumes[1:])
    nearest = np.argmin(np.abs(along[:, None] - along[places]), axis=1)
    return shown.astype(np.float32), nearest.astype(np.int32)
