"""Volumes of any run by kernel regression: from its images and latents, not from its decoder."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vitreous.analysis.run_images import image_scale, prepare_run_images, share_run_images
from vitreous.errors import InputError
from vitreous.files import write_text
from vitreous.particles import write_map
from vitreous.reconstruction.foundation import particle_radius
from vitreous.reconstruction.fsc import resolution, shell_frequencies
from vitreous.reconstruction.half_sets import half_sets
from vitreous.reconstruction.kernel_regression import KernelRegression, Regression
from vitreous.reconstruction.local_resolution import local_resolution
from vitreous.reconstruction.masks import spherical_mask
from vitreous.reconstruction.rings import latent_distance
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
    run: Run,
    epoch: int | None = None,
    *,
    lazy: bool = False,
    shared: bool = True,
    datadir: str | os.PathLike | None = None,
    together: bool = False,
) -> RunRegression:
    """Prepare the images of a run for kernel regression, as the run prepared them.

    **Arguments:** `shared`: choose bandwidths at several points together first, which makes every
    later choice steadier. `datadir`: folder of the stacks, if they were moved. `together`: with
    all devices and processes, which then ask for the same points.

    **Raises:** `InputError` if the run has no latents or its particles are gone.
    """
    latent, covariance, contrast = uncertain_latents(run, epoch)
    table = run.table(datadir)
    prepare = share_run_images if together else prepare_run_images
    data = prepare(run, table, resident=False if lazy else None)
    halves = half_sets(len(table), table.half_set, table.particle)
    if table.particle is not None and len(latent) != len(table):
        # One latent a particle: every tilt image stands where its particle does.
        owner = np.unique(table.particle, return_inverse=True)[1]
        latent = latent[owner]
        covariance = None if covariance is None else covariance[owner]
        contrast = None if contrast is None else contrast[owner]
    kernel = KernelRegression(data, halves, None, contrast)
    everything = kernel(np.zeros(len(table)), np.full(kernel.shells, len(kernel.sizes) - 1))
    kernel.set_mask(support(run, everything.half_maps))
    if shared:
        order = np.argsort(latent[:, 0])
        places = order[np.linspace(0, len(order) - 1, _ANCHORS + 2).astype(int)[1:-1]]
        kernel.learn([latent_distance(latent, covariance, latent[i]) for i in places])
    return RunRegression(run, kernel, latent, covariance, image_scale(run))


class UncertainLatents(NamedTuple):
    """Hold the latents of a run with covariance and contrast of each, None where unknown."""

    mean: Float[np.ndarray, "n d"]
    covariance: Float[np.ndarray, "n d d"] | None
    contrast: Float[np.ndarray, " n"] | None


def uncertain_latents(run: Run, epoch: int | None = None) -> UncertainLatents:
    """Read the latents of a run and how sure each is.

    **Raises:** `InputError` if there are none, or one is not finite.
    """
    latents = run.latents(epoch)
    mean = np.asarray(latents.mean, np.float64)
    if not mean.shape[1]:
        raise InputError(f"{run.path}: has no latents: it is a run of one map")
    bad = np.flatnonzero(~np.isfinite(mean).all(axis=1))
    if len(bad):
        raise InputError(f"{run.path}: the latent of row {bad[0]} is not finite")
    return UncertainLatents(mean, *_uncertainty(run, latents, mean.shape))


def support(run: Run, half_maps: Float[np.ndarray, "2 n n n"]) -> Float[np.ndarray, "n n n"]:
    """Return a ball around the particle; half maps tell its radius where the run does not."""
    box = run.box
    pixels = run.config.get("particle_radius") or particle_radius(*half_maps)
    pixels = float(np.clip(pixels, 4.0, 0.5 * box - 1))
    return spherical_mask(box, pixels, soft_edge=max(3.0, 0.05 * box))


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


def regressions(
    regression: RunRegression, points: Iterable[Float[np.ndarray, " d"]]
) -> Iterator[tuple[Regression, dict[str, Any]]]:
    """Make the volume at each point, and tell which it is."""
    for point in points:
        place = np.asarray(point, np.float64)
        yield regression.at(place), {"z": place.tolist()}


def write_volumes(
    run: Run,
    made: Iterable[tuple[Regression, dict[str, Any]]],
    total: int,
    outdir: Path,
    progress: Progress | None = None,
) -> list[Path]:
    """Write volume, half maps, local resolution and FSC of each, as they are made.

    **Arguments:** `made`: each with what else is told of it. `total`: how many there will be.

    **Returns:** the volumes' paths, `vol_000.mrc`, …; beside them `…_half1.mrc`, `…_half2.mrc`,
    `…_resolution.mrc`, and `volumes.json` with images and FSC of each.
    """
    outdir.mkdir(parents=True, exist_ok=True)
    size, paths, facts = run.pixel_size, [], []
    frequency = shell_frequencies(run.box // 2, run.box, size)
    for number, (found, about) in enumerate(made):
        name = f"vol_{number:03d}"
        local = local_resolution(
            *(jnp.asarray(half) for half in found.half_maps), jnp.asarray(size, jnp.float32)
        )
        write_map(outdir / f"{name}.mrc", found.volume, size)
        for half in range(2):
            write_map(outdir / f"{name}_half{half + 1}.mrc", found.half_maps[half], size)
        write_map(outdir / f"{name}_resolution.mrc", np.asarray(local), size)
        paths.append(outdir / f"{name}.mrc")
        facts.append(
            {
                "volume": f"{name}.mrc",
                **about,
                "images": int(found.images.min()),
                "images_per_shell": found.images.tolist(),
                "resolution": resolution(found.fsc, size, box=run.box),
                "fsc": [round(float(x), 5) for x in found.fsc],
            }
        )
        if progress is not None:
            progress(number + 1, total)
    table = {"frequency": frequency.tolist(), "volumes": facts}
    write_text(outdir / "volumes.json", json.dumps(table, indent=1))
    return paths
