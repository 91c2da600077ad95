"""Commands that look at a fit: `eval-vol` and `analyze`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitreous.cli.analysis_flags import (
    Epoch,
    FirstFile,
    Seed,
    VolumeFlags,
    VolumesFrom,
    WorkDir,
    read_epoch,
)
from vitreous.cli.common import start_jax
from vitreous.cli.grouped import grouped
from vitreous.cli.stages import Stages
from vitreous.errors import InputError

if TYPE_CHECKING:
    import numpy as np


@grouped
def eval_vol(
    weights: Annotated[
        Path, typer.Argument(help="A run folder, or weights.N.pkl of cryoDRGN (with --config).")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder; or an .mrc file for a single z.")
    ],
    volumes: VolumeFlags,
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help="config.yaml of cryoDRGN's weights.")
    ] = None,
    epoch: Annotated[
        int | None, typer.Option("--epoch", help="Epoch of a run; the last by default.")
    ] = None,
    z: Annotated[
        list[float] | None, typer.Option("-z", help="One latent, all its numbers.")
    ] = None,
    z_start: Annotated[
        list[float] | None, typer.Option("--z-start", help="First latent of a straight path.")
    ] = None,
    z_end: Annotated[
        list[float] | None, typer.Option("--z-end", help="Last latent of a straight path.")
    ] = None,
    count: Annotated[int, typer.Option("-n", help="Volumes on the straight path.")] = 10,
    zfile: Annotated[
        Path | None, typer.Option("--zfile", help="Latents, a row a volume: text, .npy or .pkl.")
    ] = None,
    prefix: Annotated[str, typer.Option("--prefix", help="Of the file names.")] = "vol_",
    vol_start_index: FirstFile = 1,
) -> None:
    """Decode volumes at latent values.

    Writes `vol_001.mrc …`, `z_values.txt` and `series.cxc` (for ChimeraX).

    Example: `vitreous eval-vol my_run -o path --zfile z-path.txt --low-pass 8`
    """
    start_jax()
    from vitreous.analysis.decoders import open_decoder
    from vitreous.analysis.series import write_series, write_single

    decoder = open_decoder(weights, config, epoch)
    points = _latents_to_decode(z, z_start, z_end, count, zfile, decoder.dimensions)
    size = volumes.pixel_size if volumes.pixel_size is not None else decoder.pixel_size
    if size is None or size <= 0:
        raise InputError(f"{weights}: the size of a voxel is not known there; give --Apix in Å")
    treatment = volumes.options()
    if output.suffix == ".mrc":
        if len(points) != 1:
            raise InputError(f"{output}: {len(points)} volumes do not fit one file; give a folder")
        write_single(decoder.decode, points, output, size, treatment)
        typer.echo(f"{output}")
        return
    with Stages() as tell:
        series = write_series(
            decoder.decode, points, output, size, treatment, prefix, vol_start_index,
            title=str(output), progress=lambda done, total: tell("volumes", done, total),
        )  # fmt: skip
    typer.echo(f"{len(series.names)} volumes in {output}")


@grouped
def analyze(
    workdir: WorkDir,
    treatment: VolumeFlags,
    epoch: Epoch = "last",
    output: Annotated[
        Path | None, typer.Option("-o", "--outdir", help="In place of analyze.N in the run.")
    ] = None,
    skip_vol: Annotated[bool, typer.Option("--skip-vol", help="Decode no volumes.")] = False,
    skip_umap: Annotated[bool, typer.Option("--skip-umap", help="Leave UMAP out.")] = False,
    volumes_from: VolumesFrom = "decoder",
    pc: Annotated[int, typer.Option("--pc", help="Principal components to walk along.")] = 2,
    n_per_pc: Annotated[int, typer.Option("--n-per-pc", help="Volumes along each.")] = 10,
    ksample: Annotated[int, typer.Option("--ksample", help="Clusters of k-means.")] = 20,
    vol_start_index: FirstFile = 1,
    truth: Annotated[
        Path | None, typer.Option("--truth", help="truth.npz of simulated particles, for scores.")
    ] = None,
    truth_images: Annotated[
        int, typer.Option("--truth-images", help="Images the per-image FSC is averaged over.")
    ] = 20,
    seed: Seed = 0,
) -> None:
    """Cut a latent space into components and clusters, decode volumes, and write a report.

    Makes `analyze.N/` in the run (PCA, UMAP, k-means, volumes at the centres and along the
    components, plots, movies) and one self-contained `report.html`.

    With `--volumes-from regression` no decoder is asked: every volume is an average of the images
    whose latents lie near, with the bandwidth of each shell chosen by half sets.

    Example: `vitreous analyze my_run --ksample 20 --pc 3`
    """
    start_jax()
    from vitreous.analysis.analyze import AnalyzeOptions
    from vitreous.analysis.analyze import analyze as analyze_run
    from vitreous.metrics.truth import read_truth
    from vitreous.training.run import Run

    options = AnalyzeOptions(
        volumes=not skip_vol,
        umap=not skip_umap,
        source=volumes_from,
        components=pc,
        steps=n_per_pc,
        clusters=ksample,
        pixel_size=treatment.pixel_size,
        treatment=treatment.options(),
        first=vol_start_index,
        truth_images=truth_images,
        seed=seed,
    )
    run = Run.open(workdir)
    known = read_truth(truth) if truth is not None else None
    with Stages() as tell:
        found = analyze_run(run, read_epoch(epoch), options, output, known, tell)
    for name, value in found.scores.items():
        typer.echo(f"{name:45s} {value:.4f}")
    typer.echo(f"report: {found.report}")


def _latents_to_decode(
    z: list[float] | None,
    start: list[float] | None,
    end: list[float] | None,
    count: int,
    zfile: Path | None,
    dimensions: int | None,
) -> "np.ndarray":
    """Collect the latents asked for in one of three ways, and see that they fit the model."""
    import numpy as np

    from vitreous.analysis.latent_files import read_latents
    from vitreous.analysis.paths import direct_path

    ways = [bool(z), bool(start) or bool(end), zfile is not None]
    if not any(ways) and not dimensions:
        return np.zeros((1, 0), np.float32)
    if sum(ways) != 1:
        raise InputError("say where to decode: one of -z, --z-start with --z-end, or --zfile")
    if zfile is not None:
        points = read_latents(zfile)
    elif z:
        points = np.asarray([z], np.float32)
    else:
        if not start or not end or len(start) != len(end):
            raise InputError("--z-start and --z-end go together and have as many numbers")
        points = direct_path(np.asarray([start, end], np.float32), count)
    if dimensions is not None and points.shape[1] != dimensions:
        raise InputError(
            f"the latent has {dimensions} dimensions, {points.shape[1]} numbers were given"
        )
    return points
