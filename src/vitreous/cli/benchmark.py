"""`benchmark`: the scores of a run beside published ones."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitreous.cli.analysis_flags import Epoch, Seed, VolumesFrom, WorkDir, open_run
from vitreous.cli.common import start_jax
from vitreous.cli.stages import Stages

if TYPE_CHECKING:
    from vitreous.metrics.published import DataSet


def benchmark(
    workdir: WorkDir,
    truth: Annotated[Path, typer.Option("--truth", help="truth.npz of the simulated particles.")],
    epoch: Epoch = "last",
    images: Annotated[int, typer.Option("--images", help="Images of the per-image FSC.")] = 100,
    house: Annotated[
        bool,
        typer.Option(
            "--house", help="Rounded shells, signed FSC, area 1 at best: not CryoBench's."
        ),
    ] = False,
    mask: Annotated[Path | None, typer.Option(help="Multiply this (.mrc) on all volumes.")] = None,
    submitted: Annotated[
        int, typer.Option("--volumes", help="Volumes of the map-to-map comparison; 0 for none.")
    ] = 80,
    distance: Annotated[
        list[str] | None,
        typer.Option(
            "--distance",
            help="Of maps: l2 correlation bioem3d fsc resolution procrustes gromov zernike [the "
            "first five; the others take a tenth of a second for every two maps].",
        ),
    ] = None,
    skip_vol: Annotated[bool, typer.Option("--skip-vol", help="Score the latent only.")] = False,
    volumes_from: VolumesFrom = "decoder",
    data_set: Annotated[
        str | None,
        typer.Option(
            "--data-set",
            help="Print what others reached on this set of CryoBench: igg-1d, igg-rl, ribosembly, "
            "tomotwin-100 or spike-md.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Scores as JSON [benchmark.N.json].")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Score a run of simulated particles as the published benchmarks do.

    FSC per image and per conformation (CryoBench), latent neighbourhoods, information imbalance,
    pose errors of found poses; distances between maps and between populations (Flatiron).

    Example: `vitreous benchmark my_run --truth truth.npz --data-set igg-1d`
    """
    start_jax()
    from vitreous.analysis.benchmark import BenchmarkOptions, benchmark_run
    from vitreous.files import write_text
    from vitreous.metrics.map_to_map import QUICK_DISTANCES, check_distances
    from vitreous.metrics.published import check_data_set
    from vitreous.metrics.truth import read_truth

    beside = None if data_set is None else check_data_set(data_set)
    run, number = open_run(workdir, epoch)
    known = read_truth(truth)
    options = BenchmarkOptions(
        images=images,
        exact=not house,
        mask=mask,
        submitted=submitted,
        distances=check_distances(distance) if distance else QUICK_DISTANCES,
        volumes=not skip_vol,
        source=volumes_from,
        seed=seed,
    )
    with Stages() as tell:
        sections = benchmark_run(run, number, known, options, tell)
    _tell(sections)
    if beside is not None:
        _tell_published(beside)
    made = output or run.path / f"benchmark.{number}.json"
    write_text(made, json.dumps({"epoch": number, "scores": sections}, indent=1) + "\n")
    typer.echo(f"\n{made}")


def _tell(sections: dict[str, dict[str, float]]) -> None:
    for title, rows in sections.items():
        typer.echo(f"\n{title}")
        for name, value in rows.items():
            typer.echo(f"  {name:52s} {value:12.4f}")


def _tell_published(data_set: "DataSet") -> None:
    from vitreous.metrics.published import published_rows

    for measure in ("per image", "per conformation"):
        typer.echo(f"\npublished, {data_set}, {measure} AUC-FSC")
        for row in published_rows(data_set, measure):
            typer.echo(f"  {row.method:30s} {row.area:.3f}   {row.source}")
