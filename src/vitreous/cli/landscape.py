"""Commands on the landscape of volumes of a run: its states, and all its particles in it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import typer

from vitreous.cli.analysis_flags import (
    Apix,
    Downsample,
    Epoch,
    FirstFile,
    Flip,
    Seed,
    VolumesFrom,
    WorkDir,
    open_run,
)
from vitreous.cli.common import start_jax
from vitreous.cli.grouped import grouped
from vitreous.cli.stages import Stages

if TYPE_CHECKING:
    from vitreous.analysis.landscape import Landscape, LandscapeOptions

Tolerance = Annotated[
    float,
    typer.Option(
        "--tolerance",
        help="Error a volume may have, of the deviation of all from their mean; 0 for none.",
    ),
]


@dataclass(frozen=True)
class SketchFlags:
    """Which volumes are made."""

    panel: ClassVar[str] = "Volumes"
    sketch_size: Annotated[int, typer.Option("-N", "--sketch-size", help="Volumes.")] = 1000
    vol_ind: Annotated[
        Path | None, typer.Option(help="Decode these latents (rows), in place of k-means.")
    ] = None
    skip_vol: Annotated[
        bool, typer.Option("--skip-vol", help="Take the volumes of an earlier call.")
    ] = False
    volumes_from: VolumesFrom = "decoder"
    tolerance: Tolerance = 0.01
    pixel_size: Apix = None
    flip: Flip = False
    downsample: Downsample = 128
    vol_start_index: FirstFile = 1
    seed: Seed = 0


@dataclass(frozen=True)
class StateFlags:
    """Where volumes are compared, and how they are cut into states."""

    panel: ClassVar[str] = "States"
    states: Annotated[int, typer.Option("-M", help="States of the clustering.")] = 10
    linkage: Annotated[
        Literal["average", "complete", "single", "ward"],
        typer.Option(help="Of the hierarchical clustering."),
    ] = "average"
    pc_dim: Annotated[int, typer.Option("--pc-dim", help="Volume components.")] = 20
    plot_dim: Annotated[
        int, typer.Option("--plot-dim", help="Components along which volumes are written.")
    ] = 5
    thresh: Annotated[
        float | None, typer.Option("--thresh", help="Density of the mask [mean of the volumes'].")
    ] = None
    dilate: Annotated[float, typer.Option("--dilate", help="Grow the mask by so many Å.")] = 5.0
    cosine_edge: Annotated[
        float, typer.Option("--cosine-edge", help="Soft edge of the mask in Å.")
    ] = 0.0
    mask: Annotated[Path | None, typer.Option(help="A mask (.mrc), in place of its own.")] = None


@grouped
def analyze_landscape(
    workdir: WorkDir,
    volumes: SketchFlags,
    cut: StateFlags,
    epoch: Epoch = "last",
    output: Annotated[
        Path | None, typer.Option("-o", "--outdir", help="In place of landscape.N in the run.")
    ] = None,
    skip_umap: Annotated[bool, typer.Option("--skip-umap", hidden=True)] = False,
    multigpu: Annotated[bool, typer.Option("--multigpu", hidden=True)] = False,
    device: Annotated[int | None, typer.Option("--device", hidden=True)] = None,
) -> None:
    """Cut a run into states by what its volumes look like.

    The latent is sketched by k-means; a volume is decoded at each centre. Inside the union of
    their masks they get principal components and a hierarchical tree, cut into states: mean and
    deviation of each, its particles, its volumes. Larger boxes are cropped to 128 (`-d`).

    Example: `vitreous analyze-landscape my_run -N 500 -M 8`
    """
    del skip_umap, multigpu, device
    start_jax()
    from vitreous.analysis.landscape import analyze_landscape as analyze

    run, number = open_run(workdir, epoch)
    options = _landscape_options(volumes, cut, run.box)
    with Stages() as tell:
        found = analyze(run, number, options, output, tell)
    _tell_states(found, cut.plot_dim)


def _landscape_options(volumes: SketchFlags, cut: StateFlags, box: int) -> "LandscapeOptions":
    from vitreous.analysis.landscape import LandscapeOptions
    from vitreous.analysis.postprocess import VolumeOptions
    from vitreous.particles.peer_pickles import read_index

    wanted = volumes.downsample
    smaller = wanted if wanted is not None and wanted < box else None
    return LandscapeOptions(
        sketch=volumes.sketch_size,
        states=cut.states,
        linkage=cut.linkage,
        components=cut.pc_dim,
        traversals=cut.plot_dim,
        source=volumes.volumes_from,
        tolerance=volumes.tolerance,
        pixel_size=volumes.pixel_size,
        treatment=VolumeOptions(downsample=smaller, flip=volumes.flip),
        threshold=cut.thresh,
        dilate=cut.dilate,
        soft_edge=cut.cosine_edge,
        mask=cut.mask,
        chosen=None if volumes.vol_ind is None else read_index(volumes.vol_ind),
        volumes_exist=volumes.skip_vol,
        first=volumes.vol_start_index,
        seed=volumes.seed,
    )


def _tell_states(found: "Landscape", components: int) -> None:
    import numpy as np

    share = found.space.variance / found.space.total
    typer.echo("volume components explain " + " ".join(f"{s:.1%}" for s in share[:components]))
    for k, count in enumerate(np.bincount(found.particle_state).tolist(), 1):
        typer.echo(f"state {k:<3d} {np.sum(found.state == k - 1):5d} volumes {count:9,d} particles")
    typer.echo(f"{found.folder}")


@dataclass(frozen=True)
class PeerFlags:
    """Options of the peer's network and devices: taken, and of no meaning here."""

    flip: Annotated[bool, typer.Option("--flip", hidden=True)] = False
    downsample: Annotated[int | None, typer.Option("-d", "--downsample", hidden=True)] = None
    batch_size: Annotated[int, typer.Option("--batch-size", hidden=True)] = 64
    test_batch_size: Annotated[int, typer.Option("--test-batch-size", hidden=True)] = 1000
    epochs: Annotated[int, typer.Option("--epochs", hidden=True)] = 200
    lr: Annotated[float, typer.Option("--lr", hidden=True)] = 1e-4
    dim: Annotated[int, typer.Option("--dim", hidden=True)] = 512
    layers: Annotated[int, typer.Option("--layers", hidden=True)] = 3
    device: Annotated[int | None, typer.Option("--device", hidden=True)] = None


@grouped
def analyze_landscape_full(
    workdir: WorkDir,
    peer: PeerFlags,
    epoch: Epoch = "last",
    landscape_dir: Annotated[
        Path | None, typer.Option("--landscape-dir", help="Of analyze-landscape [landscape.N].")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--outdir", help="In place of landscape_full in there.")
    ] = None,
    training_volumes: Annotated[
        int, typer.Option("-N", "--training-volumes", help="Particles whose volume is decoded.")
    ] = 10_000,
    tolerance: Tolerance = 0.01,
    num_neighbors: Annotated[
        int, typer.Option("--num-neighbors", help="In the graph of Leiden, and of UMAP.")
    ] = 50,
    resolution: Annotated[
        float, typer.Option("--resolution", help="Of Leiden; higher gives more communities.")
    ] = 1.5,
    skip_umap: Annotated[bool, typer.Option("--skip-umap", help="Leave UMAP out.")] = False,
    skip_vol: Annotated[
        bool, typer.Option("--skip-vol", help="Write no volumes of the communities.")
    ] = False,
    seed: Seed = 0,
) -> None:
    """Place every particle in the space of volumes, and cut it into communities.

    Needs `analyze-landscape` first. Volumes of some particles are decoded; a smooth map from the
    latent places the others, and says how well it predicts volumes that it was not shown.

    Example: `vitreous analyze-landscape-full my_run -N 2000`
    """
    del peer
    start_jax()
    import numpy as np

    from vitreous.analysis.landscape_full import FullOptions
    from vitreous.analysis.landscape_full import analyze_landscape_full as analyze

    run, number = open_run(workdir, epoch)
    options = FullOptions(
        decoded=training_volumes,
        neighbours=num_neighbors,
        resolution=resolution,
        umap=not skip_umap,
        volumes=not skip_vol,
        tolerance=tolerance,
        seed=seed,
    )
    with Stages() as tell:
        found = analyze(run, number, options, landscape_dir, output, tell)
    if found.r2 is not None:
        typer.echo("R² of volumes left out: " + " ".join(f"{r:.2f}" for r in found.r2[:5]))
    counts = np.bincount(found.community)
    typer.echo(f"{len(counts)} communities of {', '.join(map(str, counts.tolist()))} particles")
    typer.echo(f"{found.folder}")
