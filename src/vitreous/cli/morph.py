"""Commands that carry one map onto another: `morph-train` and `morph-predict`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitreous.cli.common import start_jax
from vitreous.cli.grouped import grouped
from vitreous.cli.morph_flags import (
    Device,
    Directory,
    FitFlags,
    FlowFlags,
    FrameFlags,
    LossFlags,
    MapFlags,
    PixelSize,
)
from vitreous.errors import InputError

if TYPE_CHECKING:
    from vitreous.methods.morph.config import MorphConfig


@grouped
def morph_train(
    initial_map: Annotated[Path, typer.Option("-i0", "--initial-map", help="Sharp map to carry.")],
    directory: Directory,
    maps: MapFlags,
    flow: FlowFlags,
    loss: LossFlags,
    fit: FitFlags,
    gpu: Device = 0,
    report: Annotated[bool, typer.Option(help="Write report.html and the movie.")] = True,
) -> None:
    """Learn the flow that carries a sharp map onto one or more others.

    Writes `net.pt` (and one weight file each report), `loss.log`, `report.json`, a movie and
    `report.html`.

    Example: `vitreous morph-train -i0 sharp.mrc -i1 blurred.mrc -d output`
    """
    config = _config(maps, flow, loss, fit)
    inputs = maps.inputs(initial_map, fit.weight)
    start_jax()
    _use_device(gpu)
    from vitreous.methods.morph.train import train_morph

    outcome = train_morph(inputs, config, directory, _report_printer())
    typer.echo(_summary(outcome.figures))
    if outcome.figures["volume_least"] <= 0:
        typer.echo("note: the flow turns some volume inside out; raise --mu-mesh", err=True)
    if report:
        from vitreous.analysis.morph_page import write_morph_page

        for written in write_morph_page(directory, outcome, initial_map.name):
            typer.echo(f"wrote {written}")


@grouped
def morph_predict(
    initial_map: Annotated[Path, typer.Option("-i", "--initial-map", help="Map to carry.")],
    directory: Directory,
    weight: Annotated[Path, typer.Option("-w", "--weight", help="Weights of the flow (net.pt).")],
    frames: FrameFlags,
    initial_threshold: Annotated[
        float | None,
        typer.Option(
            "-t",
            "--initial-threshold",
            help="Density that moves; default: chosen, and 0 for weights of CryoTRANS.",
        ),
    ] = None,
    gpu: Device = 0,
    depth: Annotated[
        int | None, typer.Option(help="Layers the weights must have; the file says.")
    ] = None,
    width: Annotated[int | None, typer.Option(help="Width they must have; the file says.")] = None,
    pixel_size: PixelSize = None,
) -> None:
    """Carry a map along a learned flow and write it frame by frame.

    Example: `vitreous morph-predict -i sharp.mrc -d output -w output/net.pt --model sharp.cif`
    """
    start_jax()
    _use_device(gpu)
    from vitreous.methods.morph.frames import predict_morph

    written = predict_morph(
        initial_map, weight, directory, threshold=initial_threshold, depth=depth, width=width,
        voxel_size=pixel_size, **frames.arguments(),
    )  # fmt: skip
    if frames.movie:
        from vitreous.analysis.morph_page import write_movie

        written += write_movie(directory / frames.prefix, written)
    typer.echo(f"wrote {len(written)} files: {written[0].name} … {written[-1].name} in {directory}")


def _config(maps: MapFlags, flow: FlowFlags, loss: LossFlags, fit: FitFlags) -> "MorphConfig":
    from vitreous.methods.morph.config import MorphConfig, peer_settings

    config = MorphConfig(
        velocity=flow.velocity.value, depth=flow.depth, width=flow.width,
        control_points=flow.control_points, is_time_dependent=flow.time_dependent,
        symmetry=flow.symmetry, w2_eps=loss.w2_eps, w2_iter=loss.w2_iter, use_l2=loss.l2,
        mu_mesh=loss.mu_mesh, iterations=fit.n_steps, period=fit.period, learning_rate=fit.lr,
        binning=maps.binning, match_resolution=maps.match_resolution, patience=fit.patience,
        seed=fit.seed, is_peer=fit.compat,
    )  # fmt: skip
    return peer_settings(config) if fit.compat else config


def _use_device(index: int) -> None:
    """Compute on one device, counted as JAX lists them."""
    import jax

    devices = jax.devices()
    if not 0 <= index < len(devices):
        raise InputError(f"-g {index}: there are {len(devices)} devices ({devices[0].platform})")
    jax.config.update("jax_default_device", devices[index])


def _summary(figures: dict[str, Any]) -> str:
    return (
        f"correlation {figures['correlation_before']:.4f} → {figures['correlation']:.4f}, "
        f"FSC 0.5 {figures['resolution_fsc_0.5_before']:.1f} → "
        f"{figures['resolution_fsc_0.5']:.1f} Å, moved {figures['displacement_rms']:.2f} Å "
        f"(rms), det F {figures['volume_least']:.2f} … {figures['volume_most']:.2f}"
    )


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
