"""`train-vae`, `train-dec`, `train-nn`: flags → settings → `methods.latent.fit.train`."""

import logging
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from vitreous.cli.common import resume_command
from vitreous.cli.grouped import grouped
from vitreous.cli.network_flags import EncoderFlags
from vitreous.cli.particle_flags import Particles
from vitreous.cli.train_flags import PoseFlags, TrainFlags
from vitreous.errors import InputError

OutDir = Annotated[Path, typer.Option("-o", "--outdir", help="Folder of the run.")]
ZDim = Annotated[int, typer.Option("--zdim", help="Dimension of the latent.")]
InitLatents = Annotated[
    Path | None, typer.Option(help="Start from the latents of this run (train-subspace).")
]
NoAnalysis = Annotated[bool, typer.Option("--no-analysis", help="Do not analyze at the end.")]


@grouped
def train_vae(
    particles: Particles,
    outdir: OutDir,
    flags: TrainFlags,
    encoder: EncoderFlags,
    zdim: ZDim = 8,
    beta: Annotated[
        str | None, typer.Option(help="KL weight: a number, or schedule a, b, c, d [1/zdim].")
    ] = None,
    beta_control: Annotated[
        float | None, typer.Option(help="γ of a KL-controlled VAE; --beta is the KL to hold.")
    ] = None,
    poses: PoseFlags = PoseFlags(pretrain=1),
    init_latents: InitLatents = None,
    no_analysis: NoAnalysis = False,
) -> None:
    """Fit a landscape of volumes to particles with known poses: encoder and decoder.

    Poses and CTF come from the particle file unless --poses/--ctf are given; whether particles
    are dark or white is decided from their map unless it is said. Every epoch saves latents
    (`z.N.pkl`, `latents.npz`) and a checkpoint; at the end `analyze` writes volumes and
    `report.html`.

    Example: `vitreous train-vae particles.star --zdim 8 -n 20 -o run`
    """
    settings = {"kind": "vae", "zdim": zdim, "beta": _beta(beta), "beta_control": beta_control}
    settings |= encoder.settings() | poses.settings()
    mode = encoder.encode_mode
    is_tilt = (mode or "").startswith("tilt") and not flags.tilts.per_image
    chosen = {
        "encoder": _choice("--encode-mode", mode, "EncoderType"),
        "by_particle": True if is_tilt else None,
        "init_latents": None if init_latents is None else str(init_latents),
    }
    config = _config(settings, flags, chosen)
    _train(particles, outdir, config, flags, analysis=not no_analysis)


@grouped
def train_dec(
    particles: Particles,
    outdir: OutDir,
    flags: TrainFlags,
    poses: PoseFlags,
    zdim: ZDim = 8,
    beta: Annotated[
        str | None, typer.Option(help="Weight of the unit Gaussian prior on latents [1/zdim].")
    ] = None,
    z_lr: Annotated[
        float | None, typer.Option("--z-lr", help="Learning rate of the latents.")
    ] = None,
    init_latents: InitLatents = None,
    pretrain_z: Annotated[int, typer.Option(help="Epochs with frozen latents.")] = 0,
    no_analysis: NoAnalysis = False,
) -> None:
    """Fit a landscape of volumes with a free latent for every particle (no encoder).

    Example: `vitreous train-dec particles.star --zdim 4 -n 30 -o run`
    """
    settings = {"kind": "autodecoder", "zdim": zdim, "beta": _beta(beta)} | poses.settings()
    chosen = {
        "latent_rate": z_lr,
        "pretrain_latent": pretrain_z,
        "init_latents": None if init_latents is None else str(init_latents),
    }
    config = _config(settings, flags, chosen)
    _train(particles, outdir, config, flags, analysis=not no_analysis)


@grouped
def train_nn(
    particles: Particles,
    outdir: OutDir,
    flags: TrainFlags,
    poses: PoseFlags,
) -> None:
    """Fit one volume as a neural field to particles with known poses.

    Writes `reconstruct.N.mrc` at every checkpoint.

    Example: `vitreous train-nn particles.star -n 10 -o run`
    """
    settings = {"kind": "homogeneous", "zdim": 0, "consensus": False} | poses.settings()
    config = _config(settings, flags, {})
    _train(particles, outdir, config, flags, analysis=False)


def _config(settings: dict[str, Any], flags: TrainFlags, chosen: dict[str, Any]) -> Any:
    """Merge the settings: plain ones, then a preset's, then what was chosen by a flag.

    **Arguments:** `chosen`: settings that win over a preset where they are not None.
    """
    from vitreous.cli.common import start_jax

    start_jax()
    import jax

    from vitreous.methods.latent.config import LatentConfig, peer_settings, with_choices

    optimiser, decoder = flags.optimiser, flags.decoder
    config = LatentConfig(
        **settings,
        decoder_layers=decoder.dec_layers,
        decoder_width=decoder.dec_dim,
        encoding=_choice("--pe-type", decoder.pe_type, "EncodingType"),
        encoding_size=decoder.pe_dim,
        feature_sigma=decoder.feat_sigma,
        domain=_choice("--domain", decoder.domain, "Domain"),
        activation=_choice("--activation", decoder.activation, "Activation"),
        particle_diameter=decoder.particle_diameter,
        max_shell=decoder.max_shell,
        epochs=optimiser.num_epochs,
        batch_size=optimiser.batch_size or (16 if jax.default_backend() == "cpu" else 64),
        weight_decay=optimiser.wd,
        sampled_pixels=optimiser.sampled_pixels,
        seed=flags.place.seed,
        **flags.tilts.settings(),
    )
    if optimiser.preset == "cryodrgn":
        config = peer_settings(config)
    elif optimiser.preset is not None:
        raise InputError(f"--preset {optimiser.preset}: the only preset is 'cryodrgn'")
    return with_choices(
        config,
        learning_rate=optimiser.lr,
        warmup=optimiser.warmup,
        decay=_choice("--lr-schedule", optimiser.lr_schedule, "Decay"),
        consensus=decoder.consensus,
        # These switches only turn off, whatever the preset says.
        support=False if not decoder.support else None,
        whiten=False if not decoder.whiten else None,
        sample=False if optimiser.all_pixels else None,
        **chosen,
    )


def _train(
    particles: Path, outdir: Path, config: Any, flags: TrainFlags, *, analysis: bool
) -> None:
    from vitreous.methods.latent.fit import DataOptions, train
    from vitreous.training.fit import FitOptions

    images, place, optimiser = flags.images, flags.place, flags.optimiser
    level = logging.DEBUG if place.verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s")
    data = DataOptions(
        **flags.which.arguments(),
        **flags.tilts.arguments(),
        **images.arguments(),
        contrast=flags.sign.contrast(),
        cache=None if images.cache is False else str(outdir.absolute() / "cache"),
        cache_always=images.cache is True,
    )
    options = FitOptions(
        checkpoint_every=place.checkpoint,
        log_every=max(1, place.log_interval // config.batch_size),
        precision="float32" if optimiser.no_amp else optimiser.precision,  # type: ignore[arg-type]
        shuffle_chunk=config.batch_size if images.shuffler_size else 1,
        shuffle_buffer=images.shuffler_size or FitOptions.shuffle_buffer,
        threads=images.max_threads,
        resume_command=resume_command(),
    )
    resume = place.goes_on(outdir)
    run = train(particles, outdir, config, data, options, resume=resume, overwrite=place.overwrite)
    if analysis:
        from vitreous.cli.stages import analyze_with_stages

        analyze_with_stages(run)


def _choice(flag: str, value: str | None, literal: str) -> Any:
    """Check a word against the values its setting may take."""
    from vitreous.methods.latent import config

    allowed = get_args(getattr(config, literal))
    if value is not None and value not in allowed:
        raise InputError(f"{flag} {value}: choose one of {', '.join(allowed)}")
    return value


def _beta(text: str | None) -> float | str | None:
    if text is None or text in ("a", "b", "c", "d"):
        return text
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--beta {text}: a number or one of a, b, c, d") from None
