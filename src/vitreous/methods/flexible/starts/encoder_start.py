"""What an encoder begins with: components of lifted images, and the latents that these tell.

Lifted images live in the molecule's frame, so the leading components of many of them are already
coordinates of its motion.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from sklearn.decomposition import PCA

from vitreous.methods.flexible.encoder import COMPONENTS, EncoderStart, Encoding
from vitreous.methods.flexible.start import Start
from vitreous.particles.loader import PreparedImages
from vitreous.particles.order import Groups
from vitreous.particles.prepare import Batch
from vitreous.training.evaluate import map_images

# Components are found on so many images at most, spread over the set.
_MOST, _BATCH = 5000, 64
# Ridge of the fit to latents that are given, as a share of the components' variance an image.
_RIDGE = 1e-2


def measure_encoder(encoding: Encoding, start: Start, data: PreparedImages) -> EncoderStart:
    """Find components of the lifted images, and what they say of latents.

    Without latents to begin with these are the leading components themselves, the first of unit
    variance; with them, they are fitted by the components.
    """
    noise = jnp.asarray(start.noise)
    gaussians = jax.tree.map(jnp.asarray, start.gaussians)

    def lifted(given, batch: Batch):
        gaussians, noise, volumes = given
        found = encoding.lifted(gaussians, encoding.images.see(batch, noise))
        return found if volumes is None else found @ volumes

    rows = np.unique(np.linspace(0, len(data) - 1, min(_MOST, len(data))).astype(np.int32))
    some = Groups(rows[:, None], np.ones((len(rows), 1), np.float32))
    sample = map_images(lifted, (gaussians, noise, None), data, _BATCH, some)
    count = min(COMPONENTS, *sample.shape)
    pca = PCA(count, svd_solver="randomized", random_state=encoding.config.seed).fit(sample)
    spread = float(np.sqrt(pca.explained_variance_[0]))
    volumes = np.zeros((sample.shape[1], min(COMPONENTS, sample.shape[1])), np.float32)
    volumes[:, :count] = pca.components_.T / spread
    parts = map_images(lifted, (gaussians, noise, jnp.asarray(volumes)), data, _BATCH)
    middle = parts.mean(axis=0)
    offset = np.zeros(encoding.config.zdim, np.float32)
    if start.latents is not None:
        offset = start.latents.mean(axis=0)
    straight = _straight(parts - middle, start.latents, encoding.config.zdim)
    return EncoderStart(volumes, middle, straight, offset, (parts - middle) @ straight + offset)


def _straight(
    parts: Float[np.ndarray, "n c"], latents: Float[np.ndarray, "n d"] | None, zdim: int
) -> Float[np.ndarray, "c d"]:
    c = parts.shape[1]
    if latents is None:
        return np.eye(c, zdim, dtype=np.float32)
    ridge = _RIDGE * len(parts) * np.diag(parts.var(axis=0) + 1e-9)
    return np.linalg.solve(parts.T @ parts + ridge, parts.T @ (latents - latents.mean(0))).astype(
        np.float32
    )
