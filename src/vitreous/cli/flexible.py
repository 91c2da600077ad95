"""`optimize-deformations`: flags → settings → `methods.flexible.fit.optimize_deformations`."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitreous.cli.flexible_flags import CourseFlags, DeadFlags, FieldFlags, ModelFlags
from vitreous.cli.grouped import grouped
from vitreous.cli.particle_flags import ContrastFlags, ParticleFlags
from vitreous.errors import InputError
from vitreous.files import is_writer

if TYPE_CHECKING:
    from vitreous.methods.flexible.config import FlexibleConfig


@grouped
def optimize_deformations(
    which: ParticleFlags,
    sign: ContrastFlags,
    model: ModelFlags,
    field: FieldFlags,
    course: CourseFlags,
    dead: DeadFlags,
    particles: Annotated[
        Path | None, typer.Argument(help="Particles with poses: .star, .cs, .txt.")
    ] = None,
    outdir: Annotated[Path | None, typer.Argument(help="Folder of the run.")] = None,
    refinement_star_file: Annotated[
        Path | None, typer.Option(help="The particles, if not given as an argument.")
    ] = None,
    output_directory: Annotated[
        Path | None, typer.Option("-o", "--output-directory", help="The folder, likewise.")
    ] = None,
) -> None:
    """Fit Gaussians that move: how every particle's molecule is bent.

    Two half sets learn their own Gaussians and motion; `agreement.npz` says how far they agree on
    images neither was made from. `deformable-backprojection` then undoes the motion in the map.

    Particles and folder may also be given as --refinement-star-file and --output-directory.

    Example: `vitreous optimize-deformations run_data.star run --initial-model map.mrc`
    """
    from vitreous.cli.pipeline import relion_job

    with relion_job(course.pipeline_control):
        table = _one_of("particles", "--refinement-star-file", particles, refinement_star_file)
        folder = _one_of("a folder", "--output-directory", outdir, output_directory)
        resume = _goes_on(course, folder)
        if dead.given():
            typer.echo(f"without effect here: {', '.join(dead.given())}", err=True)
        _fit(table, folder, which, sign, model, field, course, resume)


def _fit(
    particles: Path,
    folder: Path,
    which: ParticleFlags,
    sign: ContrastFlags,
    model: ModelFlags,
    field: FieldFlags,
    course: CourseFlags,
    resume: bool,
) -> None:
    from vitreous.cli.common import resume_command, start_jax

    start_jax()
    import numpy as np

    from vitreous.methods.flexible.agreement import AGREEMENT_FILE
    from vitreous.methods.flexible.fit import optimize_deformations as optimize
    from vitreous.training.fit import FitOptions
    from vitreous.training.inputs import DataOptions

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    data = DataOptions(**which.arguments(), contrast=sign.contrast(), lazy=course.lazy)
    every = course.checkpoint_every or max(1, -(-course.n_epochs // 2))
    options = FitOptions(checkpoint_every=every, resume_command=resume_command())
    run = optimize(
        particles,
        folder,
        _settings(model, field, course),
        data,
        options,
        resume=resume,
        overwrite=course.overwrite,
    )
    with np.load(run.path / AGREEMENT_FILE) as found:
        typer.echo(
            f"motion of {float(found['motion']):.2f} Å; the half sets agree by "
            f"{float(found['correlation']):.3f} (correlation), to {float(found['error']):.2f} Å"
        )
    if is_writer():
        from vitreous.analysis.motion_columns import write_motion_columns

        write_motion_columns(run)
    if course.analysis:
        from vitreous.cli.stages import analyze_with_stages

        analyze_with_stages(run)


def _settings(model: ModelFlags, field: FieldFlags, course: CourseFlags) -> "FlexibleConfig":
    from vitreous.methods.flexible.config import FlexibleConfig

    def text(path: Path | None) -> str | None:
        return None if path is None else str(path.absolute())

    return FlexibleConfig(
        gaussians=model.n_gaussians,
        initial_model=text(model.initial_model),
        atomic_model=text(model.atomic_model),
        initial_threshold=model.initial_threshold,
        mask_file=text(model.mask_file),
        deformation_masks=text(model.deformation_masks),
        particle_diameter=model.particle_diameter,
        max_shell=model.max_shell,
        zdim=field.n_latent_dimensions,
        decoder=field.decoder,
        modes=field.n_modes,
        width=field.n_neurons_per_layer,
        depth=field.n_linear_layers,
        regularization=field.regularization_factor,
        kld=field.kld_factor,
        initial_latents=text(field.initial_latents),
        landscape=field.landscape,
        encoder=field.encoder,
        repulsion=field.repulsion,
        refine_poses=field.refine_poses,
        pretrain_poses=field.pretrain_poses,
        pose_spread=field.pose_spread,
        epochs=course.n_epochs,
        warmup=course.n_warmup_epochs,
        batch_size=course.batch_size,
        learning_rate=course.learning_rate,
        seed=course.seed,
    )


def _one_of(what: str, flag: str, argument: Path | None, option: Path | None) -> Path:
    """Take the argument or the option."""
    if argument is not None and option is not None and argument != option:
        raise InputError(f"{argument} and {flag} {option}: {what} are given twice")
    given = argument or option
    if given is None:
        raise InputError(f"no {what.removeprefix('a ')} given: as an argument or by {flag}")
    return given


def _goes_on(course: CourseFlags, folder: Path) -> bool:
    """Say whether an earlier run is gone on with.

    **Raises:** `InputError` if `--checkpoint-file` is of another run.
    """
    if course.checkpoint_file is None:
        return course.resume
    target = course.checkpoint_file.resolve()
    if folder.resolve() not in (target, *target.parents):
        raise InputError(
            f"--checkpoint-file {course.checkpoint_file}: of another run than that in {folder}"
        )
    return True
