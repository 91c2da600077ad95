"""Where a fit starts: the scale of lifted features, and first latents from their components.

Lifted images live in the molecule's frame, so the leading principal components of many of them
are already coordinates of its motion. The autodecoder starts there instead of at random.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from sklearn.decomposition import PCA

from vitreous.errors import InputError
from vitreous.imaging.fourier_grid import volume_to_grid
from vitreous.methods.latent.encoder_input import lifted_residual
from vitreous.methods.latent.model import LatentMethod
from vitreous.methods.latent.state import Start
from vitreous.particles.device_data import fetch
from vitreous.particles.loader import PreparedImages
from vitreous.particles.prepare import Batch
from vitreous.reconstruction.foundation import centred_pixels, known_rotation, transfer_of
from vitreous.training.networks.lifting import Lifting
from vitreous.training.run import Run

# Components are found on so many images at most; all images are then projected on them.
_PCA_IMAGES = 5000
_BATCH = 64
# Tilt series that the scale of features is measured on: the same for any number of devices.
_SERIES = 16


def measure_start(method: LatentMethod, data: PreparedImages) -> Start:
    """Measure on the images what a fit needs before its first step."""
    config, start = method.config, Start()
    if config.init_latents is not None:
        latents = borrowed_latents(config.init_latents, method.particles, config.zdim)
        start = start._replace(latents=latents)
    elif config.kind == "autodecoder" and method.foundation.consensus is not None:
        start = start._replace(latents=component_latents(method, data, config.zdim))
    if config.kind == "vae" and config.encoder in ("lift", "tilt"):
        first = next(iter(data.in_order(max(_BATCH, _SERIES * method.tilts), method.shown())))
        spread = float(np.std(fetch(_features(method)(first))))
        start = start._replace(feature_scale=1 / max(spread, 1e-12))
    return start


def borrowed_latents(folder: str, particles: int, count: int) -> Float[np.ndarray, "n d"]:
    """Return the latents of another run of the same particles, the widest axis of unit variance.

    Axes that the other run does not have stay 0; those beyond `count` are left out.

    **Raises:** `InputError` if that run has other particles, or no latents.
    """
    z = np.asarray(Run.open(folder).latents().mean, np.float64)
    if len(z) != particles:
        raise InputError(f"{folder}: latents of {len(z)} particles, this fit has {particles}")
    z = z - z.mean(axis=0)
    z = z[:, np.argsort(-z.var(axis=0), kind="stable")[:count]]
    latents = np.zeros((particles, count), np.float32)
    latents[:, : z.shape[1]] = z / max(float(z[:, 0].std()), 1e-12)
    return latents


def component_latents(
    method: LatentMethod, data: PreparedImages, count: int
) -> Float[np.ndarray, "n d"]:
    """Return the leading principal components of the lifted images, the first of unit variance.

    Components beyond what the images can tell stay 0.
    """
    features, shown = _features(method), method.shown()
    kept: list[np.ndarray] = []
    for batch in data.in_order(_BATCH, shown):
        if sum(map(len, kept)) >= _PCA_IMAGES:
            break
        found = np.asarray(fetch(features(batch)))
        is_real = np.asarray(fetch(batch.weight)).reshape(len(found), -1).max(axis=1) > 0
        kept.append(found[is_real])
    sample = np.concatenate(kept)
    axes = min(count, *sample.shape)
    pca = PCA(axes, svd_solver="randomized", random_state=method.config.seed).fit(sample)
    basis, mean = jnp.asarray(pca.components_.T), jnp.asarray(pca.mean_)
    project = jax.jit(lambda batch: (features(batch) - mean[None]) @ basis)
    rows = [fetch(project(batch)) for batch in data.in_order(_BATCH, shown)]
    z = np.concatenate(rows)[: method.particles]
    latents = np.zeros((method.particles, count), np.float32)
    latents[:, :axes] = z / max(float(z[:, 0].std()), 1e-12)
    return latents


def _features(method: LatentMethod):
    """Return the jitted function from a batch to the lifted residual of each particle."""
    lifting = Lifting(method.pixels.box, method.band, method.foundation.radius)
    consensus = method.foundation.consensus
    grid = None if consensus is None else volume_to_grid(jnp.asarray(consensus))
    q = method.band_pixels

    @jax.jit
    def features(batch: Batch) -> Float[Array, "g v"]:
        centred = centred_pixels(batch, method.pixels, batch.shift)[:, :q]
        ctf = transfer_of(batch, method.pixels)[:, :q]
        seen = method.encoder_input(grid, centred, ctf, known_rotation(batch), batch.weight)
        return lifted_residual(lifting, seen)

    return features
