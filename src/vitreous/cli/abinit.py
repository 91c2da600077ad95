"""`abinit`: flags, or a CryoFIRE configuration → settings → `methods.abinitio.fit`."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitreous.cli.abinit_flags import ModelFlags, chosen
from vitreous.cli.fit_flags import ImageFlags, PlaceFlags
from vitreous.cli.grouped import grouped
from vitreous.cli.particle_flags import ContrastFlags, ParticleFlags
from vitreous.errors import InputError

if TYPE_CHECKING:
    from vitreous.training.run import Run


@grouped
def abinit(
    particles: Annotated[
        Path, typer.Argument(help="Particles (.star, .cs, .txt, .mrcs), or a CryoFIRE .json.")
    ],
    which: ParticleFlags,
    sign: ContrastFlags,
    images: ImageFlags,
    model: ModelFlags,
    place: PlaceFlags,
    outdir: Annotated[
        Path | None, typer.Option("-o", "--outdir", help="Folder of the run.")
    ] = None,
    no_analysis: Annotated[
        bool, typer.Option("--no-analysis", help="Do not analyze at the end.")
    ] = False,
) -> None:
    """Find the poses of particles from their images alone, and a map or a landscape of maps.

    Poses in the table are not looked at. Writes `particles.star` with the poses found, the map
    with its half maps and FSC, both hands, latents with --zdim, and `report.html`; it says
    whether the fit converged. `--load RUN` begins with what an earlier run found.

    Example: `vitreous abinit particles.star -o run`
    """
    from vitreous.cli.common import start_jax

    start_jax()
    from vitreous.cli.stages import Stages
    from vitreous.methods.abinitio.fit import train_abinitio
    from vitreous.training.inputs import DataOptions

    level = logging.INFO if place.verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s")
    arguments = which.arguments() | images.arguments()
    data = DataOptions(**arguments, contrast=sign.contrast(), tilts=model.ntilts)
    seed, load = None, place.load
    if particles.suffix == ".json":
        particles, outdir, seed, data = _seed_run(particles, outdir, data)
        load = load or seed.load
    if outdir is None:
        raise InputError("no folder for the run: give -o FOLDER")
    earlier = _other_run(load, outdir)
    config = _config(model, place, earlier) if seed is None else replace(seed, load=earlier)
    resume = place.resume or (load is not None and earlier is None)
    with Stages() as stages:
        run = train_abinitio(
            particles,
            outdir,
            config,
            data,
            overwrite=place.overwrite,
            resume=resume,
            progress=stages,
            resume_command=_resume_command(),
        )
    _tell(run)
    if not no_analysis:
        _analyze(run)


def _other_run(load: str | None, outdir: Path) -> str | None:
    """Return the run that `--load` names, or None if it is the one in `outdir`."""
    if load is None or load == "latest":
        return None
    target = Path(load).absolute()
    folders = [f for f in (target, *target.parents) if (f / "config.yaml").is_file()]
    if not folders:
        raise InputError(f"--load {load}: not in a run folder, which has a config.yaml")
    return None if folders[0] == outdir.absolute() else str(folders[0])


def _resume_command() -> str:
    from vitreous.cli.common import resume_command

    command = resume_command()
    return command if "--resume" in command.split() else f"{command} --resume"


def _config(model: ModelFlags, place: PlaceFlags, earlier: str | None) -> "AbinitioConfig":
    from vitreous.methods.abinitio.config import AbinitioConfig

    initial = None if model.initial_map is None else str(model.initial_map)
    return AbinitioConfig(
        strategy=model.strategy,
        zdim=model.zdim,
        symmetry=model.sym,
        restarts=model.restarts,
        passes=model.passes,
        batch_size=model.batch_size,
        seed=place.seed,
        **chosen(
            particle_diameter=model.particle_diameter,
            max_shift=0.0 if model.no_trans else model.max_shift,
            max_shell=model.max_shell,
            initial_map=initial,
            load=earlier,
            keep_map=model.keep_map,
            search_images=model.search_images,
        ),
    )


def _seed_run(
    file: Path, outdir: Path | None, data: "DataOptions"
) -> "tuple[Path, Path | None, AbinitioConfig, DataOptions]":
    """Read a CryoFIRE configuration: particles, folder, settings and how images are read."""
    from vitreous.methods.abinitio.amortised.seed_json import config_from_json
    from vitreous.methods.abinitio.config import AbinitioConfig

    amortised = config_from_json(file)
    files = amortised.files
    if files.particles is None:
        raise InputError(f"{file}: names no particles")
    if outdir is None and files.outdir is not None:
        outdir = Path(files.outdir)
    known = chosen(ctf=files.ctf, ind=files.ind, poses=files.pose, normalization=files.norm)
    data = replace(data, lazy=data.lazy or files.lazy, **known)
    config = AbinitioConfig(
        strategy="amortized",
        zdim=amortised.z_dim,
        seed=amortised.seed,
        amortised=amortised,
        load=files.load,
    )
    return Path(files.particles), outdir, config, data


def _tell(run: "Run") -> None:
    """Say what was found, how far to trust it, and that the hand is open."""
    from vitreous.analysis.pose_page import pose_summary

    found = pose_summary(run)
    if found is None:
        return
    typer.echo(found["verdict"])
    typer.echo(f"poses: {run.path / 'particles.star'}; map: {run.path / 'volumes/consensus.mrc'}")
    typer.echo("hand: undetermined; the other one: particles_mirrored.star, consensus_mirrored.mrc")


def _analyze(run: "Run") -> None:
    if run.config.get("zdim"):
        from vitreous.cli.stages import analyze_with_stages

        analyze_with_stages(run)
        return
    from vitreous.analysis.pose_page import write_pose_page

    typer.echo(f"report: {write_pose_page(run)}")
