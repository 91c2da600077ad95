"""The map of some images of a run: kernel regression whose kernel is 1 on them and 0 elsewhere."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool

from vitreous.analysis.run_images import image_scale, prepare_run_images
from vitreous.errors import InputError
from vitreous.particles.table import ParticleTable
from vitreous.reconstruction.foundation import particle_radius
from vitreous.reconstruction.half_sets import half_sets
from vitreous.reconstruction.kernel_regression import KernelRegression, Regression
from vitreous.reconstruction.masks import spherical_mask
from vitreous.training.run import Run

# Fewer leave half maps that say nothing.
FEWEST = 8


def map_of_selection(run: Run, table: ParticleTable, mask: Bool[np.ndarray, " n"]) -> Regression:
    """Reconstruct the images of some particles of a run, half sets apart.

    Only these images are read. Every one counts the same, so nothing is borrowed from beyond the
    selection; see `analysis.regression` for volumes at a point.

    **Arguments:** `table`: of the run, all its images. `mask`: one entry a latent.

    **Raises:** `InputError` if there are too few, or a stack is gone.
    """
    if table.particle is not None and len(mask) != len(table):
        # One latent a particle: all tilt images of a chosen one.
        mask = mask[np.unique(table.particle, return_inverse=True)[1]]
    chosen = table.select(mask)
    if len(chosen) < FEWEST:
        raise InputError(
            f"{len(chosen)} images are too few for a map with half sets: choose {FEWEST} or more"
        )
    # Streamed: batches of one shape, compiled once for selections of any size.
    data = prepare_run_images(run, chosen, resident=False)
    halves = half_sets(len(chosen), chosen.half_set, chosen.particle)
    if len(np.unique(halves)) < 2:
        halves = half_sets(len(chosen), None, chosen.particle)
    # Two rings are the fewest there are; the outer one takes in every image.
    kernel = KernelRegression(data, halves, rings=2)
    everything = np.full(kernel.shells, len(kernel.sizes) - 1)
    radius = run.config.get("particle_radius")
    if radius is None:
        made = kernel(np.zeros(len(chosen)), everything)
        radius = particle_radius(*np.asarray(made.half_maps))
    radius = float(np.clip(radius, 4.0, 0.5 * run.box - 1))
    kernel.set_mask(spherical_mask(run.box, radius, soft_edge=max(3.0, 0.05 * run.box)))
    made = kernel(np.zeros(len(chosen)), everything)
    scale = image_scale(run)
    return made._replace(
        volume=np.asarray(jnp.asarray(made.volume) * scale), half_maps=made.half_maps * scale
    )
