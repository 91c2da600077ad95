"""Passes over a few particles, in one of several processes: `toy_passes.py FOLDER`."""

import sys
from pathlib import Path

import jax
import numpy as np

from vitreous.analysis.run_images import share_run_images
from vitreous.cli.common import start_jax
from vitreous.errors import InputError
from vitreous.geometry.rotations import random_rotations
from vitreous.imaging.ctf import CTFParameters
from vitreous.particles import ImageSource
from vitreous.particles.downsample import downsample_particles
from vitreous.particles.processes import gather_rows, own_share, together
from vitreous.particles.table import ParticleTable
from vitreous.reconstruction.backprojection import full_geometry
from vitreous.reconstruction.checks.sample import load_sample
from vitreous.reconstruction.deformed import FieldOnSupport, MovedImages, support_near
from vitreous.reconstruction.deformed.streaming import sum_moved
from vitreous.reconstruction.kernel_regression import KernelRegression
from vitreous.reconstruction.reconstruct import image_columns
from vitreous.simulation import MapStates
from vitreous.simulation.matching import MatchOptions, plan_search
from vitreous.simulation.matching.match import _make_target
from vitreous.simulation.matching.orientations import angles_to_rotations
from vitreous.simulation.matching.search import empty_maps
from vitreous.simulation.matching.workers import Workers
from vitreous.training.distributed import initialise, wait_for_end
from vitreous.training.run import Run

COUNT, BOX, PIXEL = 37, 16, 2.0


def particles(stack: Path) -> ParticleTable:
    """Describe images of noise in a stack, all columns different from row to row."""
    n, one = np.arange(COUNT), np.ones(COUNT, np.float32)
    ctf = CTFParameters(
        (1e4 + n).astype(np.float32), 1e4 * one, 0 * one, 300 * one, 2.7 * one,
        0.1 * one, 0 * one, 0 * one, one,
    )  # fmt: skip
    return ParticleTable(
        stacks=(str(stack),),
        stack_id=np.zeros(COUNT, np.int32),
        image_index=n,
        box=np.full(COUNT, BOX, np.int32),
        pixel_size=np.full(COUNT, PIXEL),
        rotation=np.asarray(random_rotations(jax.random.key(1), COUNT)),
        shift=np.stack([n, -n], 1).astype(np.float32) / 40,
        ctf=ctf,
        optics_group=np.zeros(COUNT, np.int32),
        row=n,
    )


def passes(folder: Path, stack: Path) -> dict[str, np.ndarray]:
    """Go over the particles in every way there is."""
    table = particles(stack)
    found = {}
    small = downsample_particles(table, 11, folder / "small.mrcs", batch=5)
    found["box"] = small.box
    sample = load_sample(table)
    found["looked at"], found["excess"] = np.asarray(sample.slices.pixels), sample.centre_excess
    found |= regressed(folder, table) | undone(table) | matched()
    return found


def regressed(folder: Path, table: ParticleTable) -> dict[str, np.ndarray]:
    """Sum images by their distance from a point."""
    config = {"method": "toy", "box": BOX, "pixel_size": PIXEL, "normalization": [5.0, 2.0]}
    run = Run.create(folder / "run", config)
    data = share_run_images(run, table, resident=True)
    kernel = KernelRegression(data, np.arange(COUNT) % 2, rings=2, batch_size=4)
    return {"sums": np.asarray(kernel.sums(np.linspace(0, 3, COUNT)).numerator)}


def stretch(points, z):
    """Displace points outwards."""
    return 0.02 * z[:, :1, None] * points[None]


def undone(table: ParticleTable) -> dict[str, np.ndarray]:
    """Sum what motion changes."""
    support = support_near(np.zeros((1, 3), np.float32), BOX, PIXEL, 6.0, 2.0)
    rows = np.arange(1, COUNT, 2)
    latents = np.linspace(-1, 1, len(rows), dtype=np.float32)[:, None]
    moved, geometry = MovedImages(rows, latents, stretch), full_geometry(BOX, PIXEL)
    field, columns = FieldOnSupport(moved, support), image_columns(table)
    sums = sum_moved(ImageSource(table), columns, moved, field, geometry, 4)
    return {"difference": sums.difference, "square": sums.square}


def matched() -> dict[str, np.ndarray]:
    """Look for a blob in noise at a few orientations; the maps, of which all else is made."""
    rng = np.random.default_rng(5)
    at = np.linspace(-2, 2, 8)
    blob = np.exp(-(at[:, None, None] ** 2 + at[None, :, None] ** 2 / 4 + at[None, None] ** 2))
    specimen = MapStates.of(blob[None].astype(np.float32), PIXEL, "linear")
    image = rng.normal(size=(32, 30)).astype(np.float32)
    angles = rng.uniform(0, 180, size=(43, 3))
    search = plan_search(image, specimen, None, MatchOptions(contrast="white"), angles)
    workers = Workers(empty_maps((32, 30)), _make_target(search, (32, 30)), specimen, 8, 1)
    rotations, done = angles_to_rotations(angles), 0
    while done < len(angles):
        done = workers.step(rotations, done)
    return {name: np.asarray(values) for name, values in workers.merged()._asdict().items()}


def fail_together() -> None:
    """Let the last process alone find something wrong."""

    def work() -> None:
        if jax.process_index() == jax.process_count() - 1:
            raise InputError("image 30 is broken")

    try:
        together(work)
    except InputError as error:
        print(f"told: {error}", flush=True)


if __name__ == "__main__":
    start_jax()
    initialise()
    folder = Path(sys.argv[1])
    found = passes(folder / "two", folder / "noise.mrcs")
    own = np.arange(COUNT)[own_share(COUNT)]
    found["rows"] = gather_rows(own.astype(np.int32), COUNT)
    found["devices"] = np.asarray([jax.process_count(), len(jax.local_devices()), len(own)])
    fail_together()
    np.savez(folder / f"found.{jax.process_index()}.npz", **found)
    # At the end JAX waits for the others, but not for long.
    wait_for_end()
