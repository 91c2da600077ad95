"""Options of `optimize-deformations`, under the names DynaMight's users know."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import typer

_DEAD: dict[str, Any] = {"hidden": True}


@dataclass(frozen=True)
class ModelFlags:
    """What the molecule is made of, and what may move."""

    panel: ClassVar[str] = "Model"
    initial_model: Annotated[
        Path | None, typer.Option(help="Map to begin with [the consensus of the images].")
    ] = None
    atomic_model: Annotated[
        Path | None, typer.Option(help="Structure (.pdb, .cif) to begin with: beads and bonds.")
    ] = None
    initial_threshold: Annotated[
        float | None, typer.Option(help="Density that belongs to the particle [measured].")
    ] = None
    n_gaussians: Annotated[
        int | None, typer.Option(help="How many [as many as the resolution can tell apart].")
    ] = None
    mask_file: Annotated[Path | None, typer.Option(help="Nothing moves outside this mask.")] = None
    deformation_masks: Annotated[
        Path | None,
        typer.Option(
            "--deformation-masks",
            "--deformations-masks",
            help="Folder of masks: each body moves as one.",
        ),
    ] = None
    particle_diameter: Annotated[float | None, typer.Option(help="Å [measured].")] = None
    max_shell: Annotated[
        int | None, typer.Option(help="Outermost Fourier shell [where half maps stop agreeing].")
    ] = None


@dataclass(frozen=True)
class FieldFlags:
    """How a latent bends the molecule."""

    panel: ClassVar[str] = "Deformation"
    n_latent_dimensions: Annotated[
        int,
        typer.Option(
            "--n-latent-dimensions", "--n-latent-dims", help="Numbers that tell a conformation."
        ),
    ] = 6
    regularization_factor: Annotated[
        float, typer.Option(help="Pull of the springs, as a share of that of the images.")
    ] = 0.1
    kld_factor: Annotated[
        float, typer.Option(help="Strength of the latents' prior; 1 is that of a unit Gaussian.")
    ] = 1.0
    decoder: Annotated[
        Literal["factorised", "concatenated"],
        typer.Option(help="Modes mixed by the latent, or one network of point and latent."),
    ] = "factorised"
    n_modes: Annotated[int, typer.Option(help="Modes of the factorised decoder.")] = 32
    n_neurons_per_layer: Annotated[int, typer.Option(help="Of the decoder's networks.")] = 64
    n_linear_layers: Annotated[int, typer.Option(help="Hidden layers of the decoder.")] = 2
    initial_latents: Annotated[
        Path | None, typer.Option(help="Start from the latents of this run (train-subspace).")
    ] = None
    landscape: Annotated[
        bool | None,
        typer.Option(
            "--landscape/--no-landscape",
            help="Start from maps along a landscape [where motion is large].",
        ),
    ] = None
    encoder: Annotated[
        bool, typer.Option(help="Let a network tell first latents, from image, pose and CTF.")
    ] = True
    repulsion: Annotated[
        bool, typer.Option(help="Keep parts that meet apart, not only neighbours.")
    ] = True
    refine_poses: Annotated[bool, typer.Option(help="Correct small pose errors on the way.")] = (
        False
    )
    pretrain_poses: Annotated[int, typer.Option(min=0, help="Epochs before poses move.")] = 1
    pose_spread: Annotated[
        tuple[float, float], typer.Option(help="Errors expected: degrees (each axis) and Å.")
    ] = (2.0, 2.0)


@dataclass(frozen=True)
class CourseFlags:
    """How long, in what steps, and from where."""

    panel: ClassVar[str] = "Course"
    n_epochs: Annotated[int, typer.Option("-n", "--n-epochs", help="Passes over the images.")] = 30
    n_warmup_epochs: Annotated[int, typer.Option(help="Passes in which nothing moves.")] = 2
    batch_size: Annotated[int, typer.Option("-b", "--batch-size", help="Images a step.")] = 32
    learning_rate: Annotated[float, typer.Option("--lr", help="Of the decoder.")] = 0.005
    checkpoint_every: Annotated[
        int | None,
        typer.Option("--checkpoint", min=1, help="Epochs between checkpoints [half of all]."),
    ] = None
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")] = (
        False
    )
    checkpoint_file: Annotated[
        Path | None, typer.Option(help="The same: the run's folder, or anything in it.")
    ] = None
    overwrite: Annotated[bool, typer.Option(help="Replace a run in the folder.")] = False
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0
    lazy: Annotated[bool, typer.Option("--lazy", help="Stream images from disk.")] = False
    pipeline_control: Annotated[
        Path | None, typer.Option(help="Folder for RELION_JOB_EXIT_SUCCESS or _FAILURE.")
    ] = None
    analysis: Annotated[bool, typer.Option(help="Analyze at the end.")] = True


@dataclass(frozen=True)
class DeadFlags:
    """Options of DynaMight that decide nothing here; each is named when it is given."""

    panel: ClassVar[str] = "DynaMight"
    initial_resolution: Annotated[float | None, typer.Option(**_DEAD)] = None
    n_gaussian_widths: Annotated[int | None, typer.Option(**_DEAD)] = None
    n_positional_encoding_dimensions: Annotated[int | None, typer.Option(**_DEAD)] = None
    weight_decay: Annotated[float | None, typer.Option(**_DEAD)] = None
    consensus_update_rate: Annotated[float | None, typer.Option(**_DEAD)] = None
    consensus_update_decay: Annotated[float | None, typer.Option(**_DEAD)] = None
    consensus_update_pooled_particles: Annotated[int | None, typer.Option(**_DEAD)] = None
    apply_bfactor: Annotated[float | None, typer.Option(**_DEAD)] = None
    soft_edge_width: Annotated[float | None, typer.Option(**_DEAD)] = None
    gpu_id: Annotated[int | None, typer.Option(**_DEAD)] = None
    n_threads: Annotated[int | None, typer.Option(**_DEAD)] = None
    n_workers: Annotated[int | None, typer.Option(**_DEAD)] = None
    preload_images: Annotated[
        bool | None, typer.Option("--preload-images/--no-preload-images", **_DEAD)
    ] = None
    combine_resolution: Annotated[float | None, typer.Option(**_DEAD)] = None
    use_data_normalization: Annotated[
        bool | None, typer.Option("--use-data-normalization/--no-use-data-normalization", **_DEAD)
    ] = None

    def given(self) -> list[str]:
        """List those that were given, as flags."""
        names = [name for name, value in vars(self).items() if value is not None]
        return ["--" + name.replace("_", "-") for name in names]
