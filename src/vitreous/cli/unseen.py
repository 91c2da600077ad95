"""`eval-images`, `generate-volumes`: ask a finished run about new images, and for volumes."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from vitreous.cli.grouped import grouped
from vitreous.cli.particle_flags import ParticleFlags, Particles
from vitreous.errors import InputError


@grouped
def eval_images(
    run: Annotated[
        Path,
        typer.Argument(
            help="Folder of a run of abinit, train-vae, train-subspace or optimize-deformations."
        ),
    ],
    particles: Particles,
    outdir: Annotated[Path, typer.Option("-o", "--outdir", help="Folder for the results.")],
    which: ParticleFlags,
    epoch: Annotated[int | None, typer.Option(help="Of the weights [last].")] = None,
    lazy: Annotated[bool, typer.Option(help="Stream images from disk.")] = False,
) -> None:
    """Say what a run makes of images that it has never seen.

    A run of `abinit` finds their poses (`particles.star`, `pose.pkl`), and their latents if it
    has some; one of `train-vae`, `train-dec` or `train-subspace` tells their latents at the poses
    they come with (`latents.npz`, `z.pkl`): a row a particle, where the run gave each a latent for
    all its tilts.
    They are read as the run read its own: sign, normalisation and window.

    Example: `vitreous eval-images run new.star -o evaluated`
    """
    from vitreous.cli.common import start_jax

    start_jax()
    from vitreous.training.inputs import DataOptions
    from vitreous.training.registry import evaluator
    from vitreous.training.run import Run
    from vitreous.training.unseen import write_unseen

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    opened = Run.open(run)
    evaluate = evaluator(opened.method)
    radius = opened.config.get("data", {}).get("window_radius", 0.85)
    data = DataOptions(**which.arguments(), lazy=lazy, window_radius=radius)
    unseen = evaluate(opened, particles, data, epoch)
    for file in write_unseen(outdir, unseen):
        typer.echo(f"{file}")


def generate_volumes(
    run: Annotated[Path, typer.Argument(help="Run folder, or the CryoFIRE .json it came from.")],
    outdir: Annotated[
        Path, typer.Option("-o", "--outdir", "--out-dir", help="Folder for the volumes.")
    ],
    z: Annotated[
        Path | None, typer.Option("--z", help="Latents, a row a volume: .pkl, .npy or text.")
    ] = None,
    resolution: Annotated[
        int | None, typer.Option("--resolution", help="Box of the volumes [the run's].")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Something in the run, in place of its folder.")
    ] = None,
) -> None:
    """Write the volume of a run, or those at given latents, as CryoFIRE's script does.

    `volume.mrc` without latents, else `volume.0.mrc …`. `eval-vol` can do more.

    Example: `vitreous generate-volumes run -o volumes --z z.pkl --resolution 64`
    """
    from vitreous.cli.common import start_jax

    start_jax()
    import numpy as np

    from vitreous.analysis.decoders import open_decoder
    from vitreous.analysis.latent_files import read_latents
    from vitreous.analysis.postprocess import VolumeOptions
    from vitreous.analysis.series import write_single

    decoder = open_decoder(weights or _run_of(run))
    if decoder.pixel_size is None:
        raise InputError(f"{weights or run}: weights of cryoDRGN; give them to vitreous eval-vol")
    dimensions = decoder.dimensions or 0
    points = np.zeros((1, dimensions), np.float32) if z is None else read_latents(z)
    if points.shape[1] != dimensions:
        raise InputError(
            f"{z}: latents of {points.shape[1]} numbers, those of the run have {dimensions}"
        )
    if resolution is not None and resolution < 2:
        raise InputError(f"--resolution {resolution}: a box has at least 2 voxels a side")
    options = VolumeOptions(downsample=resolution)
    for number in range(len(points)):
        name = "volume.mrc" if z is None else f"volume.{number}.mrc"
        place = points[number : number + 1]
        write_single(decoder.decode, place, outdir / name, decoder.pixel_size, options)
    typer.echo(f"{len(points)} volumes in {outdir}")


def _run_of(path: Path) -> Path:
    """Find the run that a CryoFIRE configuration led to."""
    if path.suffix != ".json":
        return path
    from vitreous.methods.abinitio.amortised.seed_json import config_from_json

    outdir = config_from_json(path).files.outdir
    if outdir is None:
        raise InputError(f"{path}: names no outdir; give the folder of the run")
    return Path(outdir)
