"""`vitreous demo`: the whole way on a molecule made up on the spot, scored against its truth."""

import time
from pathlib import Path
from typing import Annotated

import typer

# What the demo must reach: |Spearman| of the recovered path with the true hinge angle.
HINGE_GOAL = 0.95


def demo(
    outdir: Annotated[Path, typer.Option("-o", "--outdir", help="Folder of the demo.")] = Path(
        "demo"
    ),
    images: Annotated[int, typer.Option("-n", "--images", help="Particles to simulate.")] = 2000,
    epochs: Annotated[int, typer.Option(help="Passes over the images.")] = 8,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    open_report: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the report in a browser at the end.")
    ] = False,
) -> None:
    """Simulate a hinging molecule, look at the particles, fit them, and score what was found.

    Makes `OUTDIR/particles` (a RELION-style set with its truth), `OUTDIR/first` (a linear first
    landscape), `OUTDIR/run` and a report in which the molecule moves. Takes a few minutes on two
    cores; nothing is downloaded.

    Example: `vitreous demo -o demo`
    """
    from vitreous.cli.common import start_jax

    start_jax()
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    began = time.monotonic()

    def step(title: str, command: str) -> None:
        console.print(f"\n[bold]{title}[/bold]  [dim]$ vitreous {command}[/dim]", soft_wrap=True)

    particles, run = outdir / "particles", outdir / "run"
    step("1  Simulate", f"simulate --phantom hinge -n {images} -D 64 -o {particles}")
    simulate_hinge(particles, images, seed)
    star = particles / "particles.star"
    step("2  Check", f"check {star}")
    look_at(star, outdir / "check")
    first = outdir / "first"
    step("3  First landscape, without a network", f"train-subspace {star} -o {first} --no-analysis")
    told = look_first(star, first, particles / "truth.npz", seed)
    console.print(told, highlight=False)
    step("4  Fit", f"train-vae {star} --zdim 4 -n {epochs} -o {run}")
    fit_hinge(star, run, epochs, seed)
    step("5  Analyze", f"analyze {run} --truth {particles / 'truth.npz'}")
    scores, report = analyze_hinge(run, particles / "truth.npz")
    minutes = (time.monotonic() - began) / 60
    console.print(f"\nDone in {minutes:.1f} min. Against the truth:")
    for name, value in scores.items():
        console.print(f"  {name:44s} {value:.3f}")
    found = max((v for k, v in scores.items() if k.startswith("|Spearman|")), default=0.0)
    verdict = "recovered" if found >= HINGE_GOAL else "not recovered"
    typer.echo(f"hinge angle {verdict}: |Spearman| {found:.3f} (goal {HINGE_GOAL})")
    typer.echo(f"report: {report.resolve()}")
    if open_report:
        typer.launch(report.resolve().as_uri())
    if found < HINGE_GOAL:
        raise typer.Exit(1)


def simulate_hinge(folder: Path, images: int, seed: int) -> None:
    """Write the particle set: 64² images of the hinge between 0° and 60° at SNR 0.1."""
    from vitreous.cli.progress import image_bar
    from vitreous.simulation.particles import ParticleOptions, simulate_particles
    from vitreous.simulation.phantom import hinge_phantom
    from vitreous.simulation.specimen import HingeMotion

    specimen = HingeMotion(hinge_phantom(), box=64, pixel_size=3.2)
    options = ParticleOptions(count=images, snr=0.1, max_shift=8.0, seed=seed)
    with image_bar("Simulating", images) as advance:
        simulate_particles(specimen, folder, options, overwrite=True, progress=advance)


def look_at(star: Path, folder: Path) -> None:
    """Run the checks and print what they found."""
    from vitreous.cli.check import show_report
    from vitreous.reconstruction.checks import check_particles

    show_report(check_particles(star, folder=folder))


def look_first(star: Path, folder: Path, truth: Path, seed: int) -> str:
    """Fit a linear subspace as `train-subspace` does, and say what it found and how soon."""
    from vitreous.cli.stages import Stages
    from vitreous.methods.subspace.config import SubspaceConfig
    from vitreous.methods.subspace.fit import train_subspace
    from vitreous.metrics.truth import read_truth, score_latent

    began = time.monotonic()
    with Stages() as stages:
        run = train_subspace(
            star, folder, SubspaceConfig(seed=seed), overwrite=True, progress=stages
        )
    seconds = time.monotonic() - began
    scores = score_latent(run.latents().mean, read_truth(truth))
    found = max(value for name, value in scores.items() if name.startswith("|Spearman|"))
    return f"{run.config['zdim']} components in {seconds:.0f} s: |Spearman| {found:.3f}"


def fit_hinge(star: Path, folder: Path, epochs: int, seed: int) -> None:
    """Fit the VAE as `train-vae` does."""
    from vitreous.methods.latent.config import LatentConfig
    from vitreous.methods.latent.fit import train
    from vitreous.training.fit import FitOptions

    config = LatentConfig(zdim=4, epochs=epochs, seed=seed)
    options = FitOptions(checkpoint_every=epochs, log_every=32)
    train(star, folder, config, options=options, overwrite=True)


def analyze_hinge(folder: Path, truth: Path) -> tuple[dict[str, float], Path]:
    """Analyse the run and score it; returns the scores and the report's path."""
    from vitreous.analysis.analyze import AnalyzeOptions, analyze
    from vitreous.cli.stages import Stages
    from vitreous.metrics.truth import read_truth
    from vitreous.training.run import Run

    options = AnalyzeOptions(clusters=10)
    with Stages() as stages:
        analysis = analyze(
            Run.open(folder), None, options, truth=read_truth(truth), progress=stages
        )
    return analysis.scores, analysis.report
