"""Commands on a flexible run: its rigid bodies as RELION takes them, and its latent space."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vitreous.cli.common import start_jax
from vitreous.cli.deformed_flags import PeerFlags, PipelineControl, RunFolder, WindowFlags
from vitreous.cli.grouped import grouped
from vitreous.cli.pipeline import relion_job
from vitreous.errors import InputError

if TYPE_CHECKING:
    from vitreous.analysis.exploring import Exploration
    from vitreous.training.run import Run

Checkpoint = Annotated[
    Path | None,
    typer.Option("--checkpoint-file", help="Checkpoint of the run, a file or folder [last]."),
]


@grouped
def compute_rigid_transforms(
    run: RunFolder,
    peer: PeerFlags,
    masks: Annotated[
        Path | None,
        typer.Option("--masks", "--mask", help="Folder of *mask*.mrc [the run's, or its masks/]."),
    ] = None,
    checkpoint_file: Checkpoint = None,
    batch_size: Annotated[int | None, typer.Option(hidden=True)] = None,
    rigid: Annotated[bool, typer.Option(hidden=True)] = False,
    pipeline_control: PipelineControl = None,
) -> None:
    """Write the particles as each rigid body sees them, for RELION.

    The rotation and shift nearest to a body's deformation go into the angles and origins of
    `body_starfiles/body_1.star`, …, one file a body.

    Example: `vitreous compute-rigid-transforms my_run --masks my_run/masks`
    """
    with relion_job(pipeline_control):
        opened, epoch = _open(run, checkpoint_file)
        peer.tell()
        from vitreous.methods.flexible.bodies.files import write_body_tables

        files, turned = write_body_tables(opened, masks, epoch)
        for file, angle in zip(files, turned, strict=True):
            typer.echo(f"{file}: turned by {angle:.1f}° (median)")


@grouped
def compute_masks_for_rigid_transforms(
    run: RunFolder,
    peer: PeerFlags,
    number_of_masks: Annotated[int, typer.Option(min=1, help="How many bodies.")] = 4,
    refinement_iterations: Annotated[
        int, typer.Option(min=0, help="Turns of fitting motions and choosing Gaussians.")
    ] = 2,
    mask_resolution: Annotated[
        float, typer.Option(min=0, help="Å; masks reach half of it beyond the Gaussians.")
    ] = 20.0,
    checkpoint_file: Checkpoint = None,
    batch_size: Annotated[int | None, typer.Option(hidden=True)] = None,
    seed: Annotated[int, typer.Option(help="Of every random choice.")] = 0,
    pipeline_control: PipelineControl = None,
) -> None:
    """Cut the molecule of a flexible run into bodies that move as rigidly as can be.

    Writes `masks/mask_body1.mrc`, … (0 or 1, disjoint) and `masks/smooth_mask_body1.mrc`, … (soft,
    adding up to 1).

    Example: `vitreous compute-masks-for-rigid-transforms my_run --number-of-masks 3`
    """
    with relion_job(pipeline_control):
        opened, epoch = _open(run, checkpoint_file)
        peer.tell()
        from vitreous.methods.flexible.bodies.files import write_masks

        files = write_masks(
            opened, number_of_masks, refinement_iterations, mask_resolution, epoch, seed
        )
        typer.echo(f"{len(files)} masks in {files[0].parent}")


@grouped
def explore_latent_space(
    run: RunFolder,
    peer: PeerFlags,
    window: WindowFlags,
    checkpoint_file: Checkpoint = None,
    half_set: Annotated[
        int, typer.Option(min=0, max=2, help="Particles of a half set; 0 for all of them.")
    ] = 0,
    dimensionality_reduction_method: Annotated[
        Literal["PCA", "UMAP", "TSNE", "ICA"],
        typer.Option("--dimensionality-reduction-method", help="What makes the plane of places."),
    ] = "PCA",
    reduce_by_deformation: Annotated[
        bool, typer.Option(help="Lay out displacements of Gaussians, not latents.")
    ] = False,
    cluster: Annotated[
        int, typer.Option(min=0, help="Cut the conformations into so many clusters.")
    ] = 0,
    columns: Annotated[
        bool, typer.Option("--columns", help="Write how particles move as columns of the run.")
    ] = False,
    gaussians: Annotated[
        Path | None, typer.Option(help="Write Gaussians, their motion and error to a .csv.")
    ] = None,
    region: Annotated[
        str | None, typer.Option(help="Polygon 'x,y x,y x,y', or a .json: count particles in it.")
    ] = None,
    star: Annotated[
        bool, typer.Option("--star", help="Write the particles in --region as a STAR file.")
    ] = False,
    click: Annotated[
        str | None, typer.Option(help="Write the map of the particle nearest to 'x,y'.")
    ] = None,
    trajectory: Annotated[
        str | None, typer.Option(help="Way 'x,y x,y …', or a .json: write its maps and a movie.")
    ] = None,
    frames: Annotated[int, typer.Option(min=2, help="Maps of each piece of a way.")] = 10,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="In place of maps/, movies/, subsets/.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the page.")] = 8000,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser here.")] = True,
    seed: Annotated[int, typer.Option(help="Of every random choice.")] = 0,
) -> None:
    """Ask a flexible run for regions, places and ways of its latent space; or open its page.

    Places are those of the plane that `--dimensionality-reduction-method` makes, which is kept as
    columns of the run, so that the page shows it too. Without any of the other options the page
    opens, coloured by what `--columns` writes.

    Example: `vitreous explore-latent-space my_run --region '0,0 2,0 2,2 0,2' --star`
    """
    places = _wanted(region, click, trajectory, star, output)
    asked = any(given is not None for given in places.values())
    opened, epoch = _open(run, checkpoint_file)
    peer.tell()
    window.tell()
    from vitreous.analysis.exploring import explore
    from vitreous.analysis.motion_columns import write_gaussians, write_motion_columns

    if columns or not (asked or gaussians or cluster):
        typer.echo(f"columns: {', '.join(write_motion_columns(opened, epoch))}")
    if gaussians is not None:
        typer.echo(f"{gaussians}: {write_gaussians(opened, gaussians, epoch)} Gaussians")
    if asked or cluster:
        kind = dimensionality_reduction_method
        found = explore(opened, half_set, kind, reduce_by_deformation, epoch, seed)  # type: ignore[arg-type]
        _keep_plane(found, f"{kind.lower()}_{'deformation' if reduce_by_deformation else 'latent'}")
        _answer(found, places, star, frames, output)
        if cluster:
            _keep_clusters(found, cluster, seed)
    if not (asked or columns or gaussians or cluster):
        from vitreous.cli.dashboard import dashboard

        dashboard(opened.path, port=port, epoch=epoch, browser=browser)


def _wanted(
    region: str | None, click: str | None, trajectory: str | None, star: bool, output: Path | None
) -> "dict[str, list[tuple[float, float]] | None]":
    """Read the places that options name, and make sure that the options go together."""
    if star and region is None:
        raise InputError("--star writes the particles of a region: give --region, too")
    places = {
        "--region": _places(region, "--region", 3),
        "--click": _places(click, "--click", 1),
        "--trajectory": _places(trajectory, "--trajectory", 2),
    }
    asked = sum(given is not None for given in places.values())
    if output is not None and (asked != 1 or (region is not None and not star)):
        raise InputError("-o is for one of --region with --star, --click and --trajectory")
    return places


def _answer(
    found: "Exploration",
    places: "dict[str, list[tuple[float, float]] | None]",
    star: bool,
    frames: int,
    output: Path | None,
) -> None:
    """Do what was asked, one line of answer each."""
    from vitreous.analysis.exploring import save_map, save_movie, save_subset

    if (polygon := places["--region"]) is not None:
        rows = found.inside(polygon)
        typer.echo(f"{len(rows):,} of {len(found.rows):,} particles in the region")
        if star:
            typer.echo(f"{save_subset(found, rows, output)}")
    if (place := places["--click"]) is not None:
        typer.echo(f"{save_map(found, found.latent_at(place[0]), output)}")
    if (way := places["--trajectory"]) is not None:
        series = save_movie(found, found.way(way, frames), output)
        typer.echo(f"{len(series.names)} maps and a movie in {series.folder}")


def _keep_plane(found: "Exploration", name: str) -> None:
    """Keep the plane as columns of the run, NaN for particles that were not laid out."""
    import numpy as np

    from vitreous.analysis.motion_columns import write_column

    for axis in range(2):
        values = np.full(int(found.run.config["images"]), np.nan, np.float32)
        values[found.rows] = found.plane[:, axis]
        write_column(found.run, f"{name}{axis + 1}", values)


def _keep_clusters(found: "Exploration", count: int, seed: int) -> None:
    import numpy as np

    from vitreous.analysis.motion_columns import write_column

    labels = found.clusters(count, seed)
    values = np.zeros(int(found.run.config["images"]), np.float32)
    values[found.rows] = labels
    write_column(found.run, "motion_cluster", values)
    sizes = ", ".join(str(int(size)) for size in np.bincount(labels, minlength=count + 1)[1:])
    typer.echo(f"clusters of {sizes} particles: column motion_cluster")


def _open(run: Path, checkpoint: Path | None) -> "tuple[Run, int | None]":
    """Open a run of the right method, at the epoch of a checkpoint if one is named."""
    start_jax()
    from vitreous.training.run import Run

    opened = Run.open(run)
    if opened.method != "flexible":
        raise InputError(
            f"{opened.path}: a run of method {opened.method}; this needs one of "
            "optimize-deformations"
        )
    from vitreous.methods.flexible.undoing.backproject import epoch_of_checkpoint

    return opened, epoch_of_checkpoint(opened, checkpoint)


def _places(text: str | None, option: str, fewest: int) -> "list[tuple[float, float]] | None":
    """Read places of the plane: `x,y x,y …`, or a JSON file of pairs.

    **Raises:** `InputError` if they are no pairs of numbers, or too few.
    """
    if text is None:
        return None
    try:
        if text.endswith(".json"):
            pairs = json.loads(Path(text).read_text(encoding="utf-8"))
        else:
            pairs = [pair.split(",") for pair in text.split()]
        found = [(float(x), float(y)) for x, y in pairs]
    except OSError as error:
        raise InputError(f"{option} {text}: no such file") from error
    except (ValueError, TypeError) as error:
        raise InputError(f"{option} {text!r}: not pairs 'x,y x,y …' of numbers") from error
    if len(found) < fewest or (fewest == 1 and len(found) != 1):
        raise InputError(f"{option} {text!r}: needs {fewest} places 'x,y', not {len(found)}")
    return found
