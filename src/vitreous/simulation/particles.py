"""Write a particle set as a microscope and a picking program would leave it, with the truth."""

import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.files import atomic_path, write_text
from vitreous.imaging.ctf import CTFParameters
from vitreous.particles import ParticleTable, StackWriter, write_map
from vitreous.simulation.population import (
    ParticleOptions,
    Particles,
    draw_particles,
    particle_table,
)
from vitreous.simulation.rendering import measure_noise, particle_images
from vitreous.simulation.specimen import Specimen

logger = logging.getLogger(__name__)


def simulate_particles(
    specimen: Specimen,
    folder: str | Path,
    options: ParticleOptions | None = None,
    *,
    rotations: Float[np.ndarray, "n 3 3"] | None = None,
    shifts: Float[np.ndarray, "n 2"] | None = None,
    ctf: CTFParameters | None = None,
    overwrite: bool = False,
    progress: Callable[[int], object] = lambda images: None,
) -> ParticleTable:
    """Simulate a particle set and write it to a folder.

    **Arguments:** `specimen`: `MapStates` or `HingeMotion`, or anything alike. `rotations`
    (volume to image), `shifts` (Å), `ctf`: in place of drawn ones. `overwrite`: replace the set
    the folder holds. `progress`: called with the number of images written since its last call.

    **Returns:** the table, as read back from `particles.star`. Written are `particles.mrcs`,
    `particles.star` (RELION 3.1, white particles unless told otherwise), `truth.npz` (`labels`,
    `t`, `R`, `shift`, `vols`, `apix`, `noise`), `volumes/vol_000.mrc` … (one a state) and
    `simulation.yaml` (the options).

    **Raises:** `InputError` for options that make no sense or a folder that holds a set.

    ```python
    specimen = HingeMotion(hinge_phantom(), box=64, pixel_size=3.2)
    simulate_particles(specimen, "demo", ParticleOptions(count=2000, snr=0.1))
    ```
    """
    options = options or ParticleOptions()
    options.check(specimen)
    folder = Path(folder).absolute()
    if (folder / "particles.star").exists() and not overwrite:
        raise InputError(f"{folder}: holds a particle set; choose another folder or --overwrite")
    particles = draw_particles(specimen, options, rotations, shifts, ctf)
    deviation = measure_noise(specimen, particles, options)
    logger.info("noise of standard deviation %.6g", deviation)
    stack = folder / "particles.mrcs"
    with StackWriter(stack, options.count, specimen.box, specimen.pixel_size) as writer:
        for images in particle_images(specimen, particles, options, deviation):
            writer.write(images)
            progress(len(images))
    _write_truth(specimen, particles, deviation, folder)
    write_text(folder / "simulation.yaml", yaml.safe_dump(_plain(options), sort_keys=False))
    table = particle_table(specimen, particles, stack)
    table.to_star(folder / "particles.star")
    return table


def _write_truth(specimen: Specimen, particles: Particles, deviation: float, folder: Path) -> None:
    volumes = specimen.volumes()
    for state, volume in enumerate(volumes):
        write_map(folder / "volumes" / f"vol_{state:03d}.mrc", volume, specimen.pixel_size)
    fields: dict[str, Any] = {
        "labels": particles.state,
        "R": particles.rotation,
        "shift": particles.shift,
        "vols": volumes,
        "apix": np.float64(specimen.pixel_size),
        "noise": np.float64(deviation),
    }
    if particles.coordinate is not None:
        # A path with two ends: no value of the coordinate is a full turn.
        fields |= {"t": particles.coordinate, "period": np.float64("nan")}
    with atomic_path(folder / "truth.npz") as temporary:
        np.savez(temporary, **fields)


def _plain(options: ParticleOptions) -> dict[str, Any]:
    values = asdict(options)
    if options.optics is not None:
        values["optics"]["defocus"] = list(options.optics.defocus)
    return values
