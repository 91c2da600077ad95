"""The `vitreous` program: finds the command, imports only that one, and words its errors.

`COMMANDS` is the table of contents: name → (module, function, one line of help). Importing this
file costs milliseconds; a command imports JAX only when it runs.
"""

import importlib
import io
import os
import sys
from collections.abc import Callable
from typing import Any

import typer

from vitreous import __version__
from vitreous.cli.lists import spread_lists
from vitreous.cli.peer_names import ALIASES, REPLACED
from vitreous.errors import InputError, Interrupted

COMMANDS: dict[str, tuple[str, str, str]] = {
    "demo": ("demo", "demo", "Simulate a hinging molecule, fit it, and open the report."),
    "check": ("check", "check", "Look at particles before training: sign, units, CTF, half maps."),
    "simulate": ("simulate", "simulate", "Make particle images from atoms or a map."),
    "simulate-micrograph": (
        "simulate_micrograph",
        "simulate_micrograph",
        "Make whole micrographs: particles in ice, counted electrons.",
    ),
    "match-template": (
        "match_template",
        "match_template",
        "Find a molecule in micrographs by its views.",
    ),
    "downsample": ("downsample", "downsample", "Fourier-crop a particle stack or a volume."),
    "parse-pose-star": ("particles", "parse_pose_star", "RELION .star → poses.pkl."),
    "parse-pose-csparc": ("particles", "parse_pose_csparc", "cryoSPARC .cs → poses.pkl."),
    "parse-ctf-star": ("particles", "parse_ctf_star", "RELION .star → ctf.pkl."),
    "parse-ctf-csparc": ("particles", "parse_ctf_csparc", "cryoSPARC .cs → ctf.pkl."),
    "parse-relion": ("tomograms", "parse_relion", "RELION 5 tomogram particles → tilt images."),
    "view": ("stacks", "view", "Say what a file holds; draw its images or volume."),
    "convert": ("tables", "convert", "Particles in another program's format."),
    "concat": ("tables", "concat", "Particle tables or pickles, end to end."),
    "filter": ("tables", "filter_any", "Keep some rows of a table, stack or pickle."),
    "filter-star": ("tables", "filter_star", "Keep some rows of a RELION .star."),
    "filter-cs": ("tables", "filter_cs", "Keep some rows of a cryoSPARC .cs."),
    "add-psize": ("stacks", "add_psize", "Write a pixel size into a header."),
    "flip-hand": ("stacks", "flip_hand", "Mirror a map: the other hand."),
    "invert-contrast": ("stacks", "invert_contrast", "Negate a map or a stack."),
    "phase-flip": ("stacks", "phase_flip", "Multiply images by the sign of their CTF."),
    "translate": ("stacks", "translate", "Shift images by fractions of a pixel or more."),
    "backproject-voxel": (
        "reconstruction",
        "backproject_voxel",
        "Reconstruct a map, half maps, FSC.",
    ),
    "fsc": ("reconstruction", "fsc", "Fourier shell correlation of two maps."),
    "align": ("align", "align", "Lay a map onto another: rotation, shift, hand."),
    "gen-mask": ("reconstruction", "gen_mask", "Make a soft mask from a map."),
    "train-subspace": ("subspace", "train_subspace", "Fit a linear subspace of volumes by EM."),
    "train-vae": ("train", "train_vae", "Fit a landscape of volumes: encoder and decoder."),
    "train-dec": ("train", "train_dec", "Fit a landscape of volumes: free latents and decoder."),
    "train-nn": ("train", "train_nn", "Fit one volume as a neural field."),
    "abinit": ("abinit", "abinit", "Find poses, and a map or a landscape, from images alone."),
    "eval-images": ("unseen", "eval_images", "Poses or latents of images not seen before."),
    "generate-volumes": ("unseen", "generate_volumes", "Volumes of a run under CryoFIRE's names."),
    "regress": ("subspace", "regress", "Volumes from the images near a latent value."),
    "eval-vol": ("analysis", "eval_vol", "Decode volumes at latent values."),
    "analyze": ("analysis", "analyze", "PCA, UMAP, clusters, volumes, movies and a report."),
    "analyze-landscape": (
        "landscape",
        "analyze_landscape",
        "States of a run by what its volumes look like.",
    ),
    "analyze-landscape-full": (
        "landscape",
        "analyze_landscape_full",
        "All particles in the space of volumes.",
    ),
    "analyze-convergence": (
        "convergence",
        "analyze_convergence",
        "Whether a fit has converged.",
    ),
    "dashboard": ("dashboard", "dashboard", "A run in the browser."),
    "benchmark": ("benchmark", "benchmark", "Scores of a simulated set beside published ones."),
    "select": ("select", "select", "Choose particles of a run, and take them back."),
    "select-clusters": ("select", "select_clusters", "Rows of the clusters given."),
    "select-random": ("select", "select_random", "Rows chosen at random."),
    "pc-traversal": ("traversals", "pc_traversal", "Latent path along principal components."),
    "graph-traversal": ("traversals", "graph_traversal", "Latent path through nearest neighbours."),
    "direct-traversal": ("traversals", "direct_traversal", "Straight latent path between anchors."),
    "morph-train": ("morph", "morph_train", "Learn the flow that carries one map onto another."),
    "morph-predict": (
        "morph",
        "morph_predict",
        "Carry a map along a learned flow, frame by frame.",
    ),
    "optimize-deformations": (
        "flexible",
        "optimize_deformations",
        "Fit Gaussians that move: how every particle is bent.",
    ),
    "optimize-inverse-deformations": (
        "deformed",
        "optimize_inverse_deformations",
        "Invert a run's deformations; deform maps by them.",
    ),
    "deformable-backprojection": (
        "deformed",
        "deformable_backprojection",
        "A map of a run's particles, their motion undone.",
    ),
    "compute-rigid-transforms": (
        "flexible_bodies",
        "compute_rigid_transforms",
        "Particles as each rigid body of a run sees them, for RELION.",
    ),
    "compute-masks-for-rigid-transforms": (
        "flexible_bodies",
        "compute_masks_for_rigid_transforms",
        "Masks of the bodies that move as one.",
    ),
    "explore-latent-space": (
        "flexible_bodies",
        "explore_latent_space",
        "Regions, maps and movies of a flexible run's latents.",
    ),
    "doctor": ("doctor", "doctor", "What this machine offers a fit, and what to mend."),
    "launch": ("launch", "launch", "A command in several processes on this machine."),
    "slurm": ("launch", "slurm", "The batch script of a command for a SLURM cluster."),
}

# Commands that share their work between processes; of all others the first process runs alone.
SHARED = {
    "abinit",
    "backproject-voxel",
    "check",
    "deformable-backprojection",
    "doctor",
    "downsample",
    "eval-images",
    "match-template",
    "optimize-deformations",
    "regress",
    "train-dec",
    "train-nn",
    "train-subspace",
    "train-vae",
}

# Variables of which one is set in every process of a launched run; see training/distributed.py.
_LAUNCHED = {"VITREOUS_PROCESSES", "SLURM_PROCID", "OMPI_COMM_WORLD_SIZE"}
# Variables that may leave JAX without any device.
_DEVICES = ("JAX_PLATFORMS", "CUDA_VISIBLE_DEVICES", "JAX_NUM_CPU_DEVICES")
# Exit status after Ctrl-C: 128 + SIGINT, as shells count.
_STOPPED = 130
# What every complaint about a command line is; Typer gives this class no public name.
_UsageError: Any = typer.BadParameter.__bases__[0]


def with_hyphens(argument: str) -> str:
    """Accept underscores in the name of a long option: `--enc_dim=8` → `--enc-dim=8`."""
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    return name.replace("_", "-") + equals + value


def find_command(name: str) -> Callable:
    """Import the function of a command."""
    module, function, _ = COMMANDS[name]
    return getattr(importlib.import_module(f"vitreous.cli.{module}"), function)


def build_app(requested: str | None) -> typer.Typer:
    """Assemble the Typer application with the requested command real and the others named."""
    app = typer.Typer(
        name="vitreous",
        help="Cryo-EM particle images into moving molecules.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    def show_version(value: bool) -> bool:
        if value:
            typer.echo(f"vitreous {__version__}")
            raise typer.Exit
        return value

    @app.callback()
    def _root(
        version: bool = typer.Option(
            False, "--version", callback=show_version, is_eager=True, help="Print the version."
        ),
    ) -> None:
        pass

    for name, (_, _, summary) in COMMANDS.items():
        if name == requested:
            app.command(name)(find_command(name))
        else:
            app.command(name, help=summary)(lambda: None)
    return app


def main(arguments: list[str] | None = None) -> None:
    """Run the program; exit 0 done, 1 internal fault, 2 input the user must mend, 130 Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not _LAUNCHED.intersection(os.environ):
        _run(words)
        return
    from vitreous.training.distributed import leave, wait_for_end

    try:
        _run(words)
        wait_for_end()
    except BaseException as error:
        leave(error)
        raise


def _join(requested: str | None) -> None:
    """Join the other processes of a launched run, or leave them what only one can do."""
    from vitreous.training.distributed import find_place, initialise

    place = find_place(os.environ)
    if requested in SHARED:
        initialise()
        if place is not None and place.process > 0:
            # What a command says it says once; what goes wrong, wherever it does.
            sys.stdout = io.StringIO()
        return
    if place is not None and place.process > 0:
        sys.exit(0)


def _finds_no_device(error: BaseException) -> bool:
    """Whether it was raised where JAX looks for devices."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return place is not None and place.tb_frame.f_code.co_filename.endswith("xla_bridge.py")


def _run(words: list[str]) -> None:
    requested = None
    if words and not words[0].startswith("-"):
        words[0] = words[0].replace("_", "-")
        if words[0] in REPLACED:
            typer.echo(f"vitreous: {words[0]}: here vitreous {REPLACED[words[0]]}", err=True)
            sys.exit(2)
        words[0] = requested = ALIASES.get(words[0], words[0])
    # What follows -- belongs to another program.
    end = words.index("--") if "--" in words else len(words)
    own, rest = [with_hyphens(word) for word in words[:end]], words[end:]
    if requested in COMMANDS:
        own = spread_lists(own, find_command(requested))
    words = own + rest
    try:
        if _LAUNCHED.intersection(os.environ):
            _join(requested)
        app = build_app(requested)
        code = app(words or ["--help"], prog_name="vitreous", standalone_mode=False)
    except InputError as error:
        typer.echo(f"vitreous: {error}", err=True)
        sys.exit(2)
    except _UsageError as error:
        subject = f"vitreous {requested}" if requested in COMMANDS else "vitreous"
        message = " ".join(error.format_message().split())
        typer.echo(f"vitreous: {message.rstrip('.')}; see {subject} --help", err=True)
        sys.exit(2)
    except Interrupted as notice:
        typer.echo(f"vitreous: {notice}", err=True)
        sys.exit(0)
    except (RuntimeError, AssertionError) as error:
        if not _finds_no_device(error):
            raise
        named = [name for name in _DEVICES if name in os.environ]
        mend = f"; unset {' and '.join(named)}" if named else ": see vitreous doctor"
        typer.echo(f"vitreous: JAX finds no device to work on{mend}", err=True)
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        code = _STOPPED
    if code == _STOPPED:
        typer.echo("vitreous: stopped by Ctrl-C", err=True)
    if isinstance(code, int):
        if code != _STOPPED and _LAUNCHED.intersection(os.environ):
            from vitreous.training.distributed import wait_for_end

            # A verdict, not a failure: the others may still be writing it down.
            wait_for_end()
        sys.exit(code)


if __name__ == "__main__":
    main()
