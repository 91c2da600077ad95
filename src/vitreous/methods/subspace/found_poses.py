"""A subspace for images whose poses were just found: what `abinit` asks of this method.

Called by name through `training.registry`, so that neither method knows the other.
"""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np

from vitreous.methods.subspace.config import SubspaceConfig
from vitreous.methods.subspace.estimate import first_noise
from vitreous.methods.subspace.fit import Progress, fit_subspace
from vitreous.methods.subspace.ground import lay_ground
from vitreous.methods.subspace.model import band_limited
from vitreous.methods.subspace.preparation import Prepared, image_passes, sets_of
from vitreous.particles.loader import PreparedImages
from vitreous.reconstruction.foundation import reconstruct_consensus
from vitreous.training.landscape import Landscape
from vitreous.training.run import Latents

_BATCH = 256


def fit_landscape(
    data: PreparedImages,
    zdim: int,
    diameter: float,
    pose_spread: tuple[float, float] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Landscape:
    """Fit mean and components to images with poses.

    **Arguments:** `zdim`: components. `diameter`: of the particle in Å. `pose_spread`: expected
    error of poses (degrees, Å), which are corrected; None leaves them.
    """
    config = SubspaceConfig(zdim=zdim, keep_all=True, particle_diameter=diameter, seed=seed)
    if pose_spread is not None:
        config = replace(config, refine_poses=True, pose_spread=pose_spread)
    half, groups = sets_of(data.table)
    passes = image_passes(data, config)
    ground = lay_ground(passes, half, first_noise(groups, passes.band), diameter)
    fit = fit_subspace(Prepared(passes, ground, "white"), config, progress=progress)
    rotation, shift = fit.data.poses()
    pixel_size = float(np.median(np.asarray(data.table.pixel_size)))
    consensus = jnp.asarray(reconstruct_consensus(fit.data, pixel_size, _BATCH).volume)
    consensus = consensus * ground.mask(data.box, data.box)
    found = jnp.asarray(fit.volumes)
    size = found.shape[-1]
    # The consensus keeps the detail beyond the band; within it the fit's own mean counts.
    mean = consensus + band_limited(found[0] - band_limited(consensus, size), data.box)
    volumes = jnp.concatenate([mean[None], band_limited(found[1:], data.box)])
    variance = np.diagonal(np.asarray(fit.seen.covariance), axis1=1, axis2=2)
    latents = Latents(
        np.asarray(fit.seen.mean, np.float32),
        np.log(np.maximum(variance, 1e-12)).astype(np.float32),
    )
    return Landscape(np.asarray(volumes), latents, rotation, shift)
