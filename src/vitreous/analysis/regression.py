"""Volumes of any run by kernel regression: from its images and latents, not from its decoder."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vitreous.analysis.run_images import image_scale, prepare_run_images
from vitreous.errors import InputError
from vitreous.files import write_text
from vitreous.particles import write_map
from vitreous.reconstruction.finish import Consensus
from vitreous.reconstruction.foundation import particle_radius
from vitreous.reconstruction.fsc import resolution, shell_frequencies
from vitreous.reconstruction.half_sets import half_sets
from vitreous.reconstruction.kernel_regression import KernelRegression, Regression, latent_distance
from vitreous.reconstruction.local_resolution import local_resolution
from vitreous.reconstruction.masks import spherical_mask
from vitreous.training.run import Run

Progress = Callable[[int, int], None]
# Points, spread over the latents, that choose bandwidths together.
_ANCHORS = 8


@dataclass(frozen=True, eq=False)
class RunRegression:
    """Kernel regression set up for a run; made by `open_regression`.

    `latent` `(n, d)`; `covariance` of each, or None; `scale`: from prepared pixels to the units
    of the images.
    """

    run: Run
    kernel: KernelRegression
    latent: Float[np.ndarray, "n d"]
    covariance: Float[np.ndarray, "n d d"] | None
    scale: float

    def at(self, point: Float[np.ndarray, " d"]) -> Regression:
        """Make the volume at a point, in the units of the images (white density positive)."""
        if point.shape != (self.latent.shape[1],):
            raise InputError(
                f"a point of {point.shape[0]} numbers, the latents of {self.run.path} have "
                f"{self.latent.shape[1]}"
            )
        made = self.kernel(latent_distance(self.latent, self.covariance, point))
        return made._replace(volume=made.volume * self.scale, half_maps=made.half_maps * self.scale)


def open_regression(
    run: Run, epoch: int | None = None, *, lazy: bool = False, shared: bool = True
) -> RunRegression:
    """Prepare the images of a run for kernel regression, as the run prepared them.

    **Arguments:** `shared`: choose bandwidths at several points together first, which makes every
    later choice steadier.

    **Raises:** `InputError` if the run has no latents or its particles are gone.
    """
    latents = run.latents(epoch)
    latent = np.asarray(latents.mean, np.float64)
    bad = np.flatnonzero(~np.isfinite(latent).all(axis=1))
    if len(bad):
        raise InputError(f"{run.path}: the latent of row {bad[0]} is not finite")
    table = run.table()
    box = run.box
    data = prepare_run_images(run, table, resident=False if lazy else None)
    halves = half_sets(len(table), table.half_set, table.particle)
    covariance, contrast = _uncertainty(run, latents, latent.shape)
    if table.particle is not None and len(latent) != len(table):
        # One latent a particle: every tilt image stands where its particle does.
        owner = np.unique(table.particle, return_inverse=True)[1]
        latent = latent[owner]
        covariance = None if covariance is None else covariance[owner]
        contrast = None if contrast is None else contrast[owner]
    kernel = KernelRegression(data, halves, None, contrast)
    everything = kernel(np.zeros(len(table)), np.full(kernel.shells, len(kernel.sizes) - 1))
    consensus = Consensus(*(jnp.asarray(x) for x in everything[:3]))
    pixels = run.config.get("particle_radius") or particle_radius(*np.asarray(consensus.half_maps))
    pixels = float(np.clip(pixels, 4.0, 0.5 * box - 1))
    kernel.set_mask(spherical_mask(box, pixels, soft_edge=max(3.0, 0.05 * box)))
    if shared:
        order = np.argsort(latent[:, 0])
        places = order[np.linspace(0, len(order) - 1, _ANCHORS + 2).astype(int)[1:-1]]
        kernel.learn([latent_distance(latent, covariance, latent[i]) for i in places])
    return RunRegression(run, kernel, latent, covariance, image_scale(run))


def _uncertainty(run: Run, latents, shape) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return covariance and contrast of each image, as far as the run knows them."""
    file = run.path / "posterior.npz"
    if file.is_file():
        with np.load(file, allow_pickle=False) as stored:
            covariance, contrast = stored["covariance"], stored["contrast"]
        if covariance.shape == (*shape, shape[1]):
            varies = np.ptp(contrast) > 1e-6
            return covariance, contrast if varies else None
    if latents.log_variance is None:
        return None, None
    variance = np.exp(np.asarray(latents.log_variance, np.float64))
    # A network is often too sure of single images; a floor keeps one from owning a place.
    variance = np.maximum(variance, 1e-3 * np.var(latents.mean, axis=0))
    return variance[:, :, None] * np.eye(shape[1])[None], None


def write_regression(
    regression: RunRegression,
    points: Float[np.ndarray, "m d"],
    outdir: Path,
    progress: Progress | None = None,
) -> list[Path]:
    """Write volume, half maps, local resolution and FSC for every point.

    **Returns:** the volumes' paths, `vol_000.mrc`, …; beside them `…_half1.mrc`, `…_half2.mrc`,
    `…_resolution.mrc`, and `volumes.json` with images and FSC of each.
    """
    outdir.mkdir(parents=True, exist_ok=True)
    size, paths, facts = regression.run.pixel_size, [], []
    frequency = shell_frequencies(regression.run.box // 2, regression.run.box, size)
    for number, point in enumerate(points):
        made = regression.at(np.asarray(point, np.float64))
        name = f"vol_{number:03d}"
        local = local_resolution(
            *(jnp.asarray(half) for half in made.half_maps), jnp.asarray(size, jnp.float32)
        )
        write_map(outdir / f"{name}.mrc", made.volume, size)
        for half in range(2):
            write_map(outdir / f"{name}_half{half + 1}.mrc", made.half_maps[half], size)
        write_map(outdir / f"{name}_resolution.mrc", np.asarray(local), size)
        paths.append(outdir / f"{name}.mrc")
        facts.append(
            {
                "volume": f"{name}.mrc",
                "z": [float(x) for x in point],
                "images": int(made.images.min()),
                "images_per_shell": made.images.tolist(),
                "resolution": resolution(made.fsc, size, box=regression.run.box),
                "fsc": [round(float(x), 5) for x in made.fsc],
            }
        )
        if progress is not None:
            progress(number + 1, len(points))
    table = {"frequency": frequency.tolist(), "volumes": facts}
    write_text(outdir / "volumes.json", json.dumps(table, indent=1))
    return paths
