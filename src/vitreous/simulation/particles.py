"""Write a particle set as a microscope and a picking program would leave it, with the truth.

The stack files of a set may be written by several programs and at several times; what is random in
a particle belongs to its number alone. Whoever finds all stacks there writes the table.
"""

import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.files import atomic_path
from vitreous.imaging.ctf import CTFParameters
from vitreous.particles import ParticleTable, write_map
from vitreous.particles.star import read_star
from vitreous.simulation.fingerprint import fingerprint
from vitreous.simulation.layout import Shard, cut_into_parts, is_part, parts_of_shard
from vitreous.simulation.population import (
    ParticleOptions,
    Particles,
    draw_particles,
    particle_table,
)
from vitreous.simulation.rendering import Exposure, Renderer, plan_exposure
from vitreous.simulation.set_folder import check_folder, describe_folder
from vitreous.simulation.specimen import Specimen
from vitreous.simulation.stack_files import write_stacks

logger = logging.getLogger(__name__)


def simulate_particles(
    specimen: Specimen,
    folder: str | Path,
    options: ParticleOptions | None = None,
    *,
    rotations: Float[np.ndarray, "n 3 3"] | None = None,
    shifts: Float[np.ndarray, "n 2"] | None = None,
    ctf: CTFParameters | None = None,
    images_per_file: int | None = None,
    shard: Shard | None = None,
    overwrite: bool = False,
    progress: Callable[[int], object] = lambda images: None,
) -> ParticleTable:
    """Simulate a particle set, or a shard of it, and write it to a folder.

    **Arguments:** `specimen`: `MapStates` or `HingeMotion`, or anything alike. `rotations`
    (volume to image), `shifts` (Å), `ctf`: in place of drawn ones. `images_per_file`: None for
    one stack file, or one a shard. `shard`: write only its stack files; when the last of them is
    there the table follows. `overwrite`: replace the set the folder holds. `progress`: called with
    the number of images since its last call.

    **Returns:** the table of the whole set, as read back from `particles.star`. Written are
    `particles.mrcs` (or `particles_0001.mrcs` …), `particles.star` (RELION 3.1, white particles
    unless told otherwise), `truth.npz` (`labels`, `t`, `R`, `shift`, `half_set`, `ctf`, `vols`,
    `apix`, `noise`), `volumes/vol_000.mrc` … (one a state) and `simulation.yaml` (the options).
    A call that was killed goes on when it is repeated; the files come out the same.

    **Raises:** `InputError` for options that make no sense, or a folder that holds another set.

    ```python
    specimen = HingeMotion(hinge_phantom(), box=64, pixel_size=3.2)
    simulate_particles(specimen, "demo", ParticleOptions(count=2000, snr=0.1))
    ```
    """
    options, shard = options or ParticleOptions(), shard or Shard()
    options.check(specimen)
    if images_per_file is not None and images_per_file < 1:
        raise InputError(f"--images-per-file {images_per_file}: one image a file is the least")
    if overwrite and shard.total > 1:
        raise InputError("--overwrite with --shard: shards would remove each other's files")
    folder = Path(folder).absolute()
    if (folder / "particles.star").exists() and not overwrite:
        raise InputError(f"{folder}: holds a particle set; choose another folder or --overwrite")
    parts = cut_into_parts(options.count, images_per_file, shard.total)
    particles = draw_particles(specimen, options, rotations, shifts, ctf)
    word = fingerprint(specimen, asdict(options), particles, [part.name for part in parts])
    if not overwrite:
        check_folder(folder, word)
    exposure = plan_exposure(specimen, particles, options)
    logger.info("noise of standard deviation %.6g", exposure.deviation)
    if overwrite:
        _remove_set(folder)
    describe_folder(folder, asdict(options), word)
    renderer = Renderer(specimen, particles, options, exposure)
    mine = parts_of_shard(parts, shard)
    write_stacks(folder, mine, renderer, specimen.box, specimen.pixel_size, progress)
    table = particle_table(specimen, particles, parts, folder)
    if all((folder / part.name).exists() for part in parts):
        _write_truth(specimen, particles, exposure, folder)
        _write_table(table, particles, folder / "particles.star")
    return table


def missing_parts(folder: str | Path, table: ParticleTable) -> list[str]:
    """Name the stack files of a set that other shards have yet to write."""
    return [Path(s).name for s in table.stacks if not (Path(folder) / Path(s).name).exists()]


def _remove_set(folder: Path) -> None:
    """Remove what a set consists of, the table first, so that no reader finds half of it."""
    (folder / "particles.star").unlink(missing_ok=True)
    for path in folder.glob("*particles*.mrcs*"):
        if is_part(path.name):
            path.unlink()


def _write_table(table: ParticleTable, particles: Particles, path: Path) -> None:
    with atomic_path(path) as temporary:
        table.to_star(temporary)
        star = read_star(temporary)
        state = {"rlnClassNumber": (particles.state + 1).astype(str).tolist()}
        star.replace_blocks(star.main.replace_columns(state)).write(temporary)


def _write_truth(
    specimen: Specimen, particles: Particles, exposure: Exposure, folder: Path
) -> None:
    volumes = specimen.volumes()
    for state, volume in enumerate(volumes):
        write_map(folder / "volumes" / f"vol_{state:03d}.mrc", volume, specimen.pixel_size)
    fields: dict[str, Any] = {
        "labels": particles.state,
        "R": particles.rotation,
        "shift": particles.shift,
        "half_set": particles.half_set,
        "vols": volumes,
        "apix": np.float64(specimen.pixel_size),
        "noise": np.float64(exposure.deviation),
    }
    if particles.ctf is not None:
        # The columns of `CTFParameters`, in its order.
        fields["ctf"] = np.stack([np.asarray(column) for column in particles.ctf], axis=1)
    if particles.coordinate is not None:
        # A path with two ends: no value of the coordinate is a full turn.
        fields |= {"t": particles.coordinate, "period": np.float64("nan")}
    with atomic_path(folder / "truth.npz") as temporary:
        np.savez(temporary, **fields)
