"""Commands on the landscape of volumes of a run: its states, all its particles, its convergence."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from vitreous.cli.analysis import Apix, Crop, Downsample, Flip, Invert, LowPass, read_epoch
from vitreous.cli.common import start_jax
from vitreous.cli.stages import Stages

WorkDir = Annotated[Path, typer.Argument(help="The run folder.")]
Epoch = Annotated[str, typer.Argument(help="Epoch; -1 or 'last' for the last one.")]


def analyze_landscape(
    workdir: WorkDir,
    epoch: Epoch = "last",
    output: Annotated[
        Path | None, typer.Option("-o", "--outdir", help="In place of landscape.N in the run.")
    ] = None,
    sketch_size: Annotated[int, typer.Option("-N", "--sketch-size", help="Volumes.")] = 1000,
    vol_ind: Annotated[
        Path | None, typer.Option(help="Decode these latents (rows), in place of k-means.")
    ] = None,
    skip_vol: Annotated[
        bool, typer.Option("--skip-vol", help="Take the volumes of an earlier call.")
    ] = False,
    volumes_from: Annotated[
        Literal["decoder", "regression"],
        typer.Option(help="What the run decodes, or averages of the images near each point."),
    ] = "decoder",
    states: Annotated[int, typer.Option("-M", help="States of the clustering.")] = 10,
    linkage: Annotated[
        Literal["average", "complete", "single", "ward"],
        typer.Option(help="Of the hierarchical clustering."),
    ] = "average",
    pc_dim: Annotated[int, typer.Option("--pc-dim", help="Volume components.")] = 20,
    plot_dim: Annotated[
        int, typer.Option("--plot-dim", help="Components along which volumes are written.")
    ] = 5,
    thresh: Annotated[
        float | None, typer.Option("--thresh", help="Density of the mask [mean of the volumes'].")
    ] = None,
    dilate: Annotated[float, typer.Option("--dilate", help="Grow the mask by so many Å.")] = 5.0,
    cosine_edge: Annotated[
        float, typer.Option("--cosine-edge", help="Soft edge of the mask in Å.")
    ] = 0.0,
    mask: Annotated[Path | None, typer.Option(help="A mask (.mrc), in place of its own.")] = None,
    pixel_size: Apix = None,
    flip: Flip = False,
    downsample: Downsample = 128,
    vol_start_index: Annotated[
        int, typer.Option("--vol-start-index", help="Number of the first file.")
    ] = 1,
    seed: Annotated[int, typer.Option("--seed", help="Of k-means.")] = 0,
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
    import numpy as np

    from vitreous.analysis.analyze import find_epoch
    from vitreous.analysis.landscape import LandscapeOptions
    from vitreous.analysis.landscape import analyze_landscape as analyze
    from vitreous.analysis.postprocess import VolumeOptions
    from vitreous.particles.peer_pickles import read_index
    from vitreous.training.run import Run

    run = Run.open(workdir)
    number = find_epoch(run, read_epoch(epoch))
    smaller = downsample if downsample is not None and downsample < run.box else None
    options = LandscapeOptions(
        sketch=sketch_size,
        states=states,
        linkage=linkage,
        components=pc_dim,
        traversals=plot_dim,
        source=volumes_from,
        pixel_size=pixel_size,
        treatment=VolumeOptions(downsample=smaller, flip=flip),
        threshold=thresh,
        dilate=dilate,
        soft_edge=cosine_edge,
        mask=mask,
        chosen=None if vol_ind is None else read_index(vol_ind),
        volumes_exist=skip_vol,
        first=vol_start_index,
        seed=seed,
    )
    with Stages() as tell:
        found = analyze(run, number, options, output, tell)
    share = found.space.variance / found.space.total
    typer.echo("volume components explain " + " ".join(f"{s:.1%}" for s in share[:plot_dim]))
    for k, count in enumerate(np.bincount(found.particle_state).tolist(), 1):
        typer.echo(f"state {k:<3d} {np.sum(found.state == k - 1):5d} volumes {count:9,d} particles")
    typer.echo(f"{found.folder}")


def analyze_landscape_full(
    workdir: WorkDir,
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
    seed: Annotated[int, typer.Option("--seed", help="Of every random choice.")] = 0,
    flip: Annotated[bool, typer.Option("--flip", hidden=True)] = False,
    downsample: Annotated[int | None, typer.Option("-d", "--downsample", hidden=True)] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", hidden=True)] = 64,
    test_batch_size: Annotated[int, typer.Option("--test-batch-size", hidden=True)] = 1000,
    epochs: Annotated[int, typer.Option("--epochs", hidden=True)] = 200,
    lr: Annotated[float, typer.Option("--lr", hidden=True)] = 1e-4,
    dim: Annotated[int, typer.Option("--dim", hidden=True)] = 512,
    layers: Annotated[int, typer.Option("--layers", hidden=True)] = 3,
    device: Annotated[int | None, typer.Option("--device", hidden=True)] = None,
) -> None:
    """Place every particle in the space of volumes, and cut it into communities.

    Needs `analyze-landscape` first. Volumes of some particles are decoded; a smooth map from the
    latent places the others, and says how well it predicts volumes that it was not shown.

    Example: `vitreous analyze-landscape-full my_run -N 2000`
    """
    del flip, downsample, batch_size, test_batch_size, epochs, lr, dim, layers, device
    start_jax()
    import numpy as np

    from vitreous.analysis.analyze import find_epoch
    from vitreous.analysis.landscape_full import FullOptions
    from vitreous.analysis.landscape_full import analyze_landscape_full as analyze
    from vitreous.training.run import Run

    run = Run.open(workdir)
    number = find_epoch(run, read_epoch(epoch))
    options = FullOptions(
        decoded=training_volumes,
        neighbours=num_neighbors,
        resolution=resolution,
        umap=not skip_umap,
        volumes=not skip_vol,
        seed=seed,
    )
    with Stages() as tell:
        found = analyze(run, number, options, landscape_dir, output, tell)
    if found.r2 is not None:
        typer.echo("R² of volumes left out: " + " ".join(f"{r:.2f}" for r in found.r2[:5]))
    counts = np.bincount(found.community)
    typer.echo(f"{len(counts)} communities of {', '.join(map(str, counts.tolist()))} particles")
    typer.echo(f"{found.folder}")


def analyze_convergence(
    workdir: WorkDir,
    epoch: Epoch = "last",
    output: Annotated[
        Path | None, typer.Option("-o", "--outdir", help="In place of convergence.N in the run.")
    ] = None,
    epoch_interval: Annotated[
        int, typer.Option("--epoch-interval", help="Epochs between two compared ones.")
    ] = 5,
    final_maxima: Annotated[
        int, typer.Option("--final-maxima", help="Particles whose volumes are followed.")
    ] = 10,
    neighbors: Annotated[
        int, typer.Option("--neighbors", help="Neighbours of each particle that are compared.")
    ] = 50,
    skip_volgen: Annotated[
        bool, typer.Option("--skip-volgen", help="Compare latents only.")
    ] = False,
    keep_volumes: Annotated[
        bool, typer.Option("--keep-volumes", help="Write the volumes of every epoch.")
    ] = False,
    pixel_size: Apix = None,
    flip: Flip = False,
    invert: Invert = False,
    downsample: Downsample = None,
    low_pass: LowPass = None,
    crop: Crop = None,
    seed: Annotated[int, typer.Option("--seed", "--random-seed", help="Of every choice.")] = 0,
) -> None:
    """Tell whether a fit has converged, from the epochs it saved.

    Compared with the epoch before: which neighbours each particle keeps in the latent space, and
    the volumes of the same particles by their FSC. Above 0.9 for both, a fit has settled.

    Example: `vitreous analyze-convergence my_run --epoch-interval 2`
    """
    start_jax()
    from vitreous.analysis.convergence import ConvergenceOptions
    from vitreous.analysis.convergence import analyze_convergence as analyze
    from vitreous.analysis.postprocess import VolumeOptions
    from vitreous.training.run import Run

    options = ConvergenceOptions(
        interval=epoch_interval,
        maxima=final_maxima,
        neighbours=neighbors,
        volumes=not skip_volgen,
        keep_volumes=keep_volumes,
        treatment=VolumeOptions(downsample, low_pass, crop, flip, invert),
        pixel_size=pixel_size,
        seed=seed,
    )
    number = read_epoch(epoch)
    with Stages() as tell:
        found = analyze(Run.open(workdir), None if number == -1 else number, options, output, tell)
    for i, later in enumerate(found.epochs[1:]):
        line = f"epoch {later:<4d} neighbours kept {found.neighbours[i]:.1%}"
        if found.volumes is not None:
            areas = found.volumes[i]
            line += f"   FSC area {areas.mean():.3f}, lowest {areas.min():.3f}"
        typer.echo(line)
    settled = found.is_settled(options.settled)
    typer.echo("settled" if settled else "not settled: volumes or neighbours still change")
    typer.echo(f"{found.folder}")
