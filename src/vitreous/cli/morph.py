"""Commands that carry one map onto another: `morph-train` and `morph-predict`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vitreous.cli.common import start_jax
from vitreous.errors import InputError


class Field(StrEnum):
    """Kinds of velocity fields."""

    mlp = "mlp"
    spline = "spline"


class Mode(StrEnum):
    """Kinds of predictions."""

    push = "push"
    pull = "pull"
    both = "both"


def _use_device(index: int) -> None:
    """Compute on one device, counted as JAX lists them."""
    import jax

    devices = jax.devices()
    if not 0 <= index < len(devices):
        raise InputError(f"-g {index}: there are {len(devices)} devices ({devices[0].platform})")
    jax.config.update("jax_default_device", devices[index])


def morph_train(
    initial_map: Annotated[Path, typer.Option("-i0", "--initial-map", help="Sharp map to carry.")],
    directory: Annotated[Path, typer.Option("-d", "--directory", help="Folder to write into.")],
    target_map: Annotated[
        list[Path] | None,
        typer.Option("-i1", "--target-map", help="Map to reach; several are reached in turn."),
    ] = None,
    initial_threshold: Annotated[
        float | None,
        typer.Option("-t0", "--initial-threshold", help="Density that counts; default: chosen."),
    ] = None,
    target_threshold: Annotated[
        list[float] | None,
        typer.Option("-t1", "--target-threshold", help="The same of each target."),
    ] = None,
    initial_mask: Annotated[
        Path | None, typer.Option("-m0", "--initial-mask", help="Mask for the initial map.")
    ] = None,
    target_mask: Annotated[
        Path | None, typer.Option("-m1", "--target-mask", help="Mask for the targets.")
    ] = None,
    half1: Annotated[
        Path | None, typer.Option("--half1", help="Half map of the target to fit.")
    ] = None,
    half2: Annotated[
        Path | None, typer.Option("--half2", help="The other, which says when to stop.")
    ] = None,
    weight: Annotated[
        Path | None, typer.Option("-w", "--weight", help="Weights to go on from (net.pt).")
    ] = None,
    n_steps: Annotated[int, typer.Option("-n", "--n-steps", help="Iterations.")] = 300,
    period: Annotated[int, typer.Option("-p", "--period", help="Iterations to a report.")] = 50,
    binning: Annotated[int, typer.Option("-b", "--binning", help="Average blocks first.")] = 1,
    gpu: Annotated[int, typer.Option("-g", "--gpu", help="Which device.")] = 0,
    velocity: Annotated[Field, typer.Option(help="Perceptron or coarse cubic spline.")] = Field.mlp,
    depth: Annotated[int, typer.Option(help="Linear layers.")] = 3,
    width: Annotated[int, typer.Option(help="Hidden width.")] = 100,
    control_points: Annotated[int, typer.Option(help="Spline control points a side.")] = 10,
    time_dependent: Annotated[
        bool, typer.Option("--time-dependent", help="Let the field change on the way.")
    ] = False,
    symmetry: Annotated[str, typer.Option("--sym", help="Point group: C4, D2, T, O, I.")] = "C1",
    w2_eps: Annotated[
        float | None,
        typer.Option(help="Least ε of the transport in squares of the box; default: from voxels."),
    ] = None,
    w2_iter: Annotated[int, typer.Option(help="Sinkhorn iterations (--compat: 5).")] = 3,
    l2: Annotated[bool, typer.Option("--l2", help="Squared difference instead.")] = False,
    lr: Annotated[float | None, typer.Option(help="Learning rate; default 3e-3, falling.")] = None,
    mu_mesh: Annotated[
        float | None,
        typer.Option(help="Weight of strain, Å² (--compat: the peer's); default: from voxels."),
    ] = None,
    match_resolution: Annotated[
        bool, typer.Option(help="Blur the initial map like the target while fitting.")
    ] = True,
    patience: Annotated[int, typer.Option(help="Reports without a better half-map FSC.")] = 3,
    pixel_size: Annotated[float | None, typer.Option("--Apix", help="Å per voxel.")] = None,
    compat: Annotated[
        bool, typer.Option("--compat", help="Fit as CryoTRANS does, and write its net.pt.")
    ] = False,
    report: Annotated[bool, typer.Option(help="Write report.html and the movie.")] = True,
    seed: Annotated[int, typer.Option(help="Seed of the first weights.")] = 0,
) -> None:
    """Learn the flow that carries a sharp map onto one or more others.

    Writes `net.pt` (and one weight file each report), `loss.log`, `report.json`, a movie and
    `report.html`.

    Example: `vitreous morph-train -i0 sharp.mrc -i1 blurred.mrc -d output`
    """
    if (half1 is None) != (half2 is None):
        raise InputError("--half1 and --half2 come together")
    from vitreous.methods.morph.config import MorphConfig, peer_settings

    config = MorphConfig(
        velocity=velocity.value, depth=depth, width=width, control_points=control_points,
        is_time_dependent=time_dependent, symmetry=symmetry, w2_eps=w2_eps, w2_iter=w2_iter,
        use_l2=l2, mu_mesh=mu_mesh, iterations=n_steps, period=period, learning_rate=lr,
        binning=binning, match_resolution=match_resolution, patience=patience, seed=seed,
        is_peer=compat,
    )  # fmt: skip
    if compat:
        config = peer_settings(config)
    start_jax()
    _use_device(gpu)
    from vitreous.methods.morph.train import MorphInputs, train_morph

    halves = (half1, half2) if half1 is not None and half2 is not None else None
    inputs = MorphInputs(
        initial_map, tuple(target_map or ()), initial_threshold, tuple(target_threshold or ()),
        initial_mask, target_mask, halves, weight, pixel_size,
    )  # fmt: skip
    outcome = train_morph(inputs, config, directory, _report_printer())
    figures = outcome.figures
    typer.echo(
        f"correlation {figures['correlation_before']:.4f} → {figures['correlation']:.4f}, "
        f"FSC 0.5 {figures['resolution_fsc_0.5_before']:.1f} → "
        f"{figures['resolution_fsc_0.5']:.1f} Å, moved {figures['displacement_rms']:.2f} Å "
        f"(rms), det F {figures['volume_least']:.2f} … {figures['volume_most']:.2f}"
    )
    if figures["volume_least"] <= 0:
        typer.echo("note: the flow turns some volume inside out; raise --mu-mesh", err=True)
    if report:
        from vitreous.analysis.morph_page import write_morph_page

        for written in write_morph_page(directory, outcome, initial_map.name):
            typer.echo(f"wrote {written}")


def _report_printer():
    """Return what prints a row for each report, and the head of the table before the first."""
    head = ["    iter           loss     voxel    seconds   half map"]

    def tell(report, seconds: float) -> None:
        while head:
            typer.echo(head.pop())
        score = "" if report.score is None else f"{report.score:10.4f}"
        loss = f"{report.losses[-1]:14.6e}" if report.losses else " " * 14
        row = f"{report.iteration:8d} {loss} {report.voxel:7.2f} Å {seconds:8.1f} s {score}"
        typer.echo(row)

    return tell


def morph_predict(
    initial_map: Annotated[Path, typer.Option("-i", "--initial-map", help="Map to carry.")],
    directory: Annotated[Path, typer.Option("-d", "--directory", help="Folder to write into.")],
    weight: Annotated[Path, typer.Option("-w", "--weight", help="Weights of the flow (net.pt).")],
    initial_threshold: Annotated[
        float | None,
        typer.Option(
            "-t",
            "--initial-threshold",
            help="Density that moves; default: chosen, and 0 for weights of CryoTRANS.",
        ),
    ] = None,
    prefix: Annotated[str, typer.Option("-p", "--prefix", help="Name of the frames.")] = "frame",
    gpu: Annotated[int, typer.Option("-g", "--gpu", help="Which device.")] = 0,
    depth: Annotated[
        int | None, typer.Option(help="Layers the weights must have; the file says.")
    ] = None,
    width: Annotated[int | None, typer.Option(help="Width they must have; the file says.")] = None,
    mode: Annotated[
        Mode, typer.Option(help="Conserve mass (push) or values (pull); both writes both.")
    ] = Mode.push,
    n_frames: Annotated[int, typer.Option(min=1, help="Frames, both ends included.")] = 11,
    motion: Annotated[
        bool, typer.Option("--motion", help="Write displacement and det F maps.")
    ] = False,
    model: Annotated[
        Path | None, typer.Option("--model", help="Atoms (.cif, .pdb) to carry along.")
    ] = None,
    movie: Annotated[bool, typer.Option("--movie", help="Write a movie of the frames.")] = False,
    pixel_size: Annotated[float | None, typer.Option("--Apix", help="Å per voxel.")] = None,
) -> None:
    """Carry a map along a learned flow and write it frame by frame.

    Example: `vitreous morph-predict -i sharp.mrc -d output -w output/net.pt --model sharp.cif`
    """
    start_jax()
    _use_device(gpu)
    from vitreous.methods.morph.frames import predict_morph

    written = predict_morph(
        initial_map, weight, directory, threshold=initial_threshold, prefix=prefix, depth=depth,
        width=width, mode=mode.value, frames=n_frames, with_motion=motion, model=model,
        voxel_size=pixel_size,
    )  # fmt: skip
    if movie:
        from vitreous.analysis.morph_page import write_movie

        written += write_movie(directory / prefix, written)
    typer.echo(f"wrote {len(written)} files: {written[0].name} … {written[-1].name} in {directory}")
