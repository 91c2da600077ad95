"""`train-vae`, `train-dec`, `train-nn`: flags → settings → `methods.latent.fit.train`."""

import logging
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from vitreous.errors import InputError

Particles = Annotated[Path, typer.Argument(help="Particles: .star, .cs, .txt or .mrcs.")]
OutDir = Annotated[Path, typer.Option("-o", "--outdir", help="Folder of the run.")]
Poses = Annotated[
    Path | None, typer.Option(help="poses.pkl, in place of the poses in the particle file.")
]
CTF = Annotated[Path | None, typer.Option(help="ctf.pkl, in place of the CTF in the file.")]
Load = Annotated[
    str | None,
    typer.Option("--load", help="Go on with the run in --outdir: 'latest' or a path inside it."),
]
Resume = Annotated[bool, typer.Option("--resume", help="The same as --load latest.")]
Overwrite = Annotated[bool, typer.Option(help="Replace a run that --outdir already holds.")]
Checkpoint = Annotated[int, typer.Option(help="Save every so many epochs.")]
LogInterval = Annotated[int, typer.Option(help="Report about every so many images.")]
Seed = Annotated[int, typer.Option(help="Of everything random.")]
Ind = Annotated[Path | None, typer.Option(help="Rows to use, from 0 (.pkl, .npy, .txt).")]
Datadir = Annotated[Path | None, typer.Option(help="Folder of the stacks a table names.")]
Apix = Annotated[float | None, typer.Option("--Apix", help="Å/pixel, where no file says it.")]
Uninvert = Annotated[
    bool, typer.Option("--uninvert-data", help="Particles are dark [decided from them].")
]
Invert = Annotated[
    bool, typer.Option("--invert-data", help="Particles are white [decided from them].")
]
Window = Annotated[bool, typer.Option("--window/--no-window", help="Soft round window.")]
WindowRadius = Annotated[
    float, typer.Option("--window-r", help="Where the window begins to fall (of half a box).")
]
Lazy = Annotated[bool, typer.Option(help="Stream images from disk even if they would fit.")]
ShufflerSize = Annotated[
    int,
    typer.Option(help="With --lazy: read runs of neighbouring images (faster on spinning disks)."),
]
Epochs = Annotated[int, typer.Option("-n", "--num-epochs", help="Passes over the images.")]
BatchSize = Annotated[
    int | None, typer.Option("-b", "--batch-size", help="Images a step [16 on CPU, 64 on GPU].")
]
WeightDecay = Annotated[float, typer.Option("--wd", help="Weight decay.")]
LearningRate = Annotated[float | None, typer.Option("--lr", help="Peak learning rate [0.002].")]
Warmup = Annotated[float | None, typer.Option(help="Share of the training to warm up in [0.05].")]
Schedule = Annotated[
    str | None, typer.Option("--lr-schedule", help="cosine, linear or constant [cosine].")
]
Norm = Annotated[
    tuple[float, float] | None,
    typer.Option("--norm", help="Mean and standard deviation of the images [measured]."),
]
MaxThreads = Annotated[int, typer.Option("--max-threads", help="Threads that read images.")]
Precision = Annotated[
    str, typer.Option(help="Of matrix products: auto, float32, tensorfloat32 or bfloat16.")
]
Storage = Annotated[
    str, typer.Option(help="Of images held on the device: float32, bfloat16 or float16.")
]
NoAmp = Annotated[bool, typer.Option("--no-amp", help="The same as --precision float32.")]
PoseSGD = Annotated[bool, typer.Option("--do-pose-sgd", help="Refine poses on the way.")]
PoseRate = Annotated[float, typer.Option("--pose-lr", help="Step of poses: degrees and Å.")]
PretrainPose = Annotated[int, typer.Option("--pretrain", help="Epochs before poses move.")]
DecoderLayers = Annotated[
    int, typer.Option("--dec-layers", "--players", "--layers", help="Hidden layers, decoder.")
]
DecoderWidth = Annotated[
    int, typer.Option("--dec-dim", "--pdim", "--dim", help="Nodes a layer, decoder.")
]
PEType = Annotated[str, typer.Option("--pe-type", help="Positional encoding; see the docs.")]
PEDim = Annotated[int | None, typer.Option("--pe-dim", help="Frequencies an axis [D/2].")]
FeatSigma = Annotated[float, typer.Option("--feat-sigma", help="Scale of gaussian encoding.")]
DomainOption = Annotated[str, typer.Option("--domain", help="fourier or hartley.")]
ActivationOption = Annotated[str, typer.Option("--activation", help="relu or leaky_relu.")]
ConsensusOption = Annotated[
    bool,
    typer.Option("--consensus/--no-consensus", help="Model the change from a consensus map."),
]
Diameter = Annotated[
    float | None,
    typer.Option("--particle-diameter", help="Å; density beyond is 0 [measured]."),
]
Support = Annotated[
    bool, typer.Option("--support/--no-support", help="Set the solvent of volumes to 0.")
]
Whiten = Annotated[bool, typer.Option("--whiten/--no-whiten", help="Divide by the noise spectrum.")]
MaxShell = Annotated[int | None, typer.Option(help="Outermost Fourier shell used [all].")]
SampledPixels = Annotated[
    int | None,
    typer.Option(help="High-resolution pixels a step, drawn anew each time [1/8 of them]."),
]
AllPixels = Annotated[bool, typer.Option("--all-pixels", help="Use every pixel in every step.")]
Preset = Annotated[
    str | None,
    typer.Option("--preset", help="'cryodrgn': that program's settings for everything not given."),
]
NoAnalysis = Annotated[bool, typer.Option("--no-analysis", help="Do not analyze at the end.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="More lines in the log.")]
Hidden: dict[str, Any] = {"hidden": True}
MultiGPU = Annotated[bool, typer.Option("--multigpu", **Hidden)]
NumWorkers = Annotated[int | None, typer.Option("--num-workers", **Hidden)]
ShuffleSeed = Annotated[int | None, typer.Option("--shuffle-seed", **Hidden)]
EmbType = Annotated[str | None, typer.Option("--emb-type", **Hidden)]
Tilt = Annotated[Path | None, typer.Option("--tilt", **Hidden)]
TiltDegrees = Annotated[float | None, typer.Option("--tilt-deg", **Hidden)]
Relion31 = Annotated[bool, typer.Option("--relion31", **Hidden)]


def train_vae(
    particles: Particles,
    outdir: OutDir,
    zdim: Annotated[int, typer.Option("--zdim", help="Dimension of the latent.")] = 8,
    poses: Poses = None,
    ctf: CTF = None,
    load: Load = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    checkpoint: Checkpoint = 1,
    log_interval: LogInterval = 1000,
    seed: Seed = 0,
    ind: Ind = None,
    datadir: Datadir = None,
    pixel_size: Apix = None,
    uninvert_data: Uninvert = False,
    invert_data: Invert = False,
    window: Window = True,
    window_radius: WindowRadius = 0.85,
    lazy: Lazy = False,
    shuffler_size: ShufflerSize = 0,
    num_epochs: Epochs = 20,
    batch_size: BatchSize = None,
    wd: WeightDecay = 0.0,
    lr: LearningRate = None,
    warmup: Warmup = None,
    lr_schedule: Schedule = None,
    norm: Norm = None,
    max_threads: MaxThreads = 4,
    precision: Precision = "auto",
    storage: Storage = "float32",
    no_amp: NoAmp = False,
    beta: Annotated[
        str | None, typer.Option(help="KL weight: a number, or schedule a, b, c, d [1/zdim].")
    ] = None,
    beta_control: Annotated[
        float | None, typer.Option(help="γ of a KL-controlled VAE; --beta is the KL to hold.")
    ] = None,
    do_pose_sgd: PoseSGD = False,
    pretrain: PretrainPose = 1,
    pose_lr: PoseRate = 0.1,
    encode_mode: Annotated[
        str, typer.Option("--encode-mode", help="lift, resid, mlp or conv.")
    ] = "",
    enc_layers: Annotated[
        int, typer.Option("--enc-layers", "--qlayers", help="Hidden layers, encoder.")
    ] = 3,
    enc_dim: Annotated[
        int, typer.Option("--enc-dim", "--qdim", help="Nodes a layer, encoder.")
    ] = 256,
    enc_mask: Annotated[
        int | None,
        typer.Option("--enc-mask", help="Outermost shell the encoder sees, -1 for all [14]."),
    ] = None,
    use_real: Annotated[bool, typer.Option("--use-real", **Hidden)] = False,
    dec_layers: DecoderLayers = 3,
    dec_dim: DecoderWidth = 256,
    pe_type: PEType = "gaussian",
    pe_dim: PEDim = None,
    feat_sigma: FeatSigma = 0.5,
    domain: DomainOption = "fourier",
    activation: ActivationOption = "relu",
    consensus: ConsensusOption = True,
    particle_diameter: Diameter = None,
    support: Support = True,
    whiten: Whiten = True,
    max_shell: MaxShell = None,
    sampled_pixels: SampledPixels = None,
    all_pixels: AllPixels = False,
    preset: Preset = None,
    no_analysis: NoAnalysis = False,
    verbose: Verbose = False,
    multigpu: MultiGPU = False,
    num_workers: NumWorkers = None,
    shuffle_seed: ShuffleSeed = None,
    emb_type: EmbType = None,
    tilt: Tilt = None,
    tilt_deg: TiltDegrees = None,
    relion31: Relion31 = False,
) -> None:
    """Fit a landscape of volumes to particles with known poses: encoder and decoder.

    Poses and CTF come from the particle file unless --poses/--ctf are given. Every epoch saves
    latents (`z.N.pkl`, `latents.npz`) and a checkpoint; at the end `analyze` writes volumes and
    `report.html`.

    Example: `vitreous train-vae particles.star --zdim 8 -n 20 -o run`
    """
    del use_real, multigpu, num_workers, shuffle_seed, emb_type, relion31
    _refuse_tilt_pairs(tilt, tilt_deg)
    given = dict(locals())
    _run("vae", given, encoder=encode_mode or None)


def train_dec(
    particles: Particles,
    outdir: OutDir,
    zdim: Annotated[int, typer.Option("--zdim", help="Dimension of the latent.")] = 8,
    poses: Poses = None,
    ctf: CTF = None,
    load: Load = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    checkpoint: Checkpoint = 1,
    log_interval: LogInterval = 1000,
    seed: Seed = 0,
    ind: Ind = None,
    datadir: Datadir = None,
    pixel_size: Apix = None,
    uninvert_data: Uninvert = False,
    invert_data: Invert = False,
    window: Window = True,
    window_radius: WindowRadius = 0.85,
    lazy: Lazy = False,
    shuffler_size: ShufflerSize = 0,
    num_epochs: Epochs = 20,
    batch_size: BatchSize = None,
    wd: WeightDecay = 0.0,
    lr: LearningRate = None,
    warmup: Warmup = None,
    lr_schedule: Schedule = None,
    norm: Norm = None,
    max_threads: MaxThreads = 4,
    precision: Precision = "auto",
    storage: Storage = "float32",
    no_amp: NoAmp = False,
    beta: Annotated[
        str | None, typer.Option(help="Weight of the unit Gaussian prior on latents [1/zdim].")
    ] = None,
    z_lr: Annotated[
        float | None, typer.Option("--z-lr", help="Learning rate of the latents.")
    ] = None,
    init_latents: Annotated[
        Path | None, typer.Option(help="Start from the latents of this run (train-subspace).")
    ] = None,
    pretrain_z: Annotated[int, typer.Option(help="Epochs with frozen latents.")] = 0,
    do_pose_sgd: PoseSGD = False,
    pretrain: Annotated[
        int, typer.Option("--pretrain-pose", "--pretrain", help="Epochs before poses move.")
    ] = 5,
    pose_lr: PoseRate = 0.1,
    dec_layers: DecoderLayers = 3,
    dec_dim: DecoderWidth = 256,
    pe_type: PEType = "gaussian",
    pe_dim: PEDim = None,
    feat_sigma: FeatSigma = 0.5,
    domain: DomainOption = "fourier",
    activation: ActivationOption = "relu",
    consensus: ConsensusOption = True,
    particle_diameter: Diameter = None,
    support: Support = True,
    whiten: Whiten = True,
    max_shell: MaxShell = None,
    sampled_pixels: SampledPixels = None,
    all_pixels: AllPixels = False,
    preset: Preset = None,
    no_analysis: NoAnalysis = False,
    verbose: Verbose = False,
    multigpu: MultiGPU = False,
    num_workers: NumWorkers = None,
    shuffle_seed: ShuffleSeed = None,
    emb_type: EmbType = None,
) -> None:
    """Fit a landscape of volumes with a free latent for every particle (no encoder).

    Example: `vitreous train-dec particles.star --zdim 4 -n 30 -o run`
    """
    del multigpu, num_workers, shuffle_seed, emb_type
    given = dict(locals())
    _run(
        "autodecoder",
        given,
        latent_rate=z_lr,
        pretrain_latent=pretrain_z,
        init_latents=_text(init_latents),
    )


def train_nn(
    particles: Particles,
    outdir: OutDir,
    poses: Poses = None,
    ctf: CTF = None,
    load: Load = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    checkpoint: Checkpoint = 1,
    log_interval: LogInterval = 1000,
    seed: Seed = 0,
    ind: Ind = None,
    datadir: Datadir = None,
    pixel_size: Apix = None,
    uninvert_data: Uninvert = False,
    invert_data: Invert = False,
    window: Window = True,
    window_radius: WindowRadius = 0.85,
    lazy: Lazy = False,
    shuffler_size: ShufflerSize = 0,
    num_epochs: Epochs = 20,
    batch_size: BatchSize = None,
    wd: WeightDecay = 0.0,
    lr: LearningRate = None,
    warmup: Warmup = None,
    lr_schedule: Schedule = None,
    norm: Norm = None,
    max_threads: MaxThreads = 4,
    precision: Precision = "auto",
    storage: Storage = "float32",
    no_amp: NoAmp = False,
    do_pose_sgd: PoseSGD = False,
    pretrain: PretrainPose = 5,
    pose_lr: PoseRate = 0.1,
    dec_layers: DecoderLayers = 3,
    dec_dim: DecoderWidth = 256,
    l_extent: Annotated[float | None, typer.Option("--l-extent", **Hidden)] = None,
    pe_type: PEType = "gaussian",
    pe_dim: PEDim = None,
    feat_sigma: FeatSigma = 0.5,
    domain: DomainOption = "fourier",
    activation: ActivationOption = "relu",
    consensus: ConsensusOption = False,
    particle_diameter: Diameter = None,
    support: Support = True,
    whiten: Whiten = True,
    max_shell: MaxShell = None,
    sampled_pixels: SampledPixels = None,
    all_pixels: AllPixels = False,
    preset: Preset = None,
    verbose: Verbose = False,
    multigpu: MultiGPU = False,
    num_workers: NumWorkers = None,
    shuffle_seed: ShuffleSeed = None,
    emb_type: EmbType = None,
) -> None:
    """Fit one volume as a neural field to particles with known poses.

    Writes `reconstruct.N.mrc` at every checkpoint.

    Example: `vitreous train-nn particles.star -n 10 -o run`
    """
    del multigpu, num_workers, shuffle_seed, emb_type, l_extent
    given = dict(locals())
    given |= {"zdim": 0, "no_analysis": True, "beta": None}
    _run("homogeneous", given)


def _refuse_tilt_pairs(tilt: Path | None, tilt_deg: float | None) -> None:
    if tilt is not None or tilt_deg is not None:
        raise InputError(
            "--tilt/--tilt-deg: tilt pairs are not fitted; give all images as one table"
        )


def _run(kind: str, given: dict[str, Any], **method: Any) -> None:
    """Turn a command's flags into settings and call `train`."""
    from vitreous.cli.common import start_jax

    start_jax()
    import jax

    from vitreous.methods.latent.config import LatentConfig, peer_settings
    from vitreous.methods.latent.fit import DataOptions, train
    from vitreous.training.fit import FitOptions

    logging.basicConfig(
        level=logging.DEBUG if given["verbose"] else logging.WARNING, format="%(message)s"
    )
    settings: dict[str, Any] = {
        "kind": kind,
        "zdim": given["zdim"],
        "decoder_layers": given["dec_layers"],
        "decoder_width": given["dec_dim"],
        "encoding": _choice("--pe-type", given["pe_type"], "EncodingType"),
        "encoding_size": given["pe_dim"],
        "feature_sigma": given["feat_sigma"],
        "domain": _choice("--domain", given["domain"], "Domain"),
        "activation": _choice("--activation", given["activation"], "Activation"),
        "particle_diameter": given["particle_diameter"],
        "max_shell": given["max_shell"],
        "beta": _beta(given["beta"]),
        "beta_control": given.get("beta_control"),
        "epochs": given["num_epochs"],
        "batch_size": given["batch_size"] or (16 if jax.default_backend() == "cpu" else 64),
        "weight_decay": given["wd"],
        "sampled_pixels": given["sampled_pixels"],
        "refine_poses": given["do_pose_sgd"],
        "pretrain_pose": given["pretrain"],
        "pose_rate": given["pose_lr"],
        "seed": given["seed"],
    }
    if kind == "vae":
        settings |= {
            "encoder_layers": given["enc_layers"],
            "encoder_width": given["enc_dim"],
            "encoder_band": given["enc_mask"],
        }
    config = LatentConfig(**settings)
    if given["preset"] == "cryodrgn":
        config = peer_settings(config)
    elif given["preset"] is not None:
        raise InputError(f"--preset {given['preset']}: the only preset is 'cryodrgn'")
    import dataclasses

    chosen: dict[str, Any] = {
        "encoder": _choice("--encode-mode", method.pop("encoder", None), "EncoderType"),
        "learning_rate": given["lr"],
        "warmup": given["warmup"],
        "decay": _choice("--lr-schedule", given["lr_schedule"], "Decay"),
        **method,
    }
    # Switches act when they are turned away from their default, whatever the preset says.
    default_consensus = kind != "homogeneous"
    if given["consensus"] != default_consensus or given["preset"] is None:
        chosen["consensus"] = given["consensus"]
    for name in ("support", "whiten"):
        if not given[name]:
            chosen[name] = False
    if given["all_pixels"]:
        chosen["sample"] = False
    config = dataclasses.replace(config, **{k: v for k, v in chosen.items() if v is not None})

    data = DataOptions(
        poses=_text(given["poses"]),
        ctf=_text(given["ctf"]),
        ind=_text(given["ind"]),
        datadir=_text(given["datadir"]),
        pixel_size=given["pixel_size"],
        contrast=_contrast(given["uninvert_data"], given["invert_data"]),
        window_radius=given["window_radius"] if given["window"] else None,
        lazy=given["lazy"],
        storage=given["storage"],
        normalization=given["norm"],
    )
    options = FitOptions(
        checkpoint_every=given["checkpoint"],
        log_every=max(1, given["log_interval"] // config.batch_size),
        precision="float32" if given["no_amp"] else given["precision"],
        shuffle_chunk=config.batch_size if given["shuffler_size"] else 1,
        shuffle_buffer=given["shuffler_size"] or FitOptions.shuffle_buffer,
        threads=given["max_threads"],
        resume_command=_resume_command(),
    )
    outdir: Path = given["outdir"]
    resume = given["resume"] or given["load"] is not None
    if given["load"] not in (None, "latest"):
        target = Path(given["load"]).resolve()
        if outdir.resolve() not in (target, *target.parents):
            raise InputError(f"--load {given['load']}: not inside --outdir {outdir}")
    run = train(
        given["particles"],
        outdir,
        config,
        data,
        options,
        resume=resume,
        overwrite=given["overwrite"],
    )
    if not given["no_analysis"]:
        from vitreous.analysis.analyze import analyze
        from vitreous.cli.stages import Stages

        with Stages() as stages:
            analysis = analyze(run, progress=stages)
        typer.echo(f"report: {analysis.report}")


def _resume_command() -> str:
    """Word the command that goes on with this one."""
    import shlex
    import sys

    words = ["vitreous", *sys.argv[1:]]
    words = [w for w in words if w != "--overwrite"]
    if "--resume" not in words and "--load" not in words:
        words.append("--resume")
    return shlex.join(words)


def _choice(flag: str, value: str | None, literal: str) -> str | None:
    """Check a word against the values its setting may take."""
    from typing import get_args

    from vitreous.methods.latent import config

    allowed = get_args(getattr(config, literal))
    if value is not None and value not in allowed:
        raise InputError(f"{flag} {value}: choose one of {', '.join(allowed)}")
    return value


def _contrast(uninvert: bool, invert: bool) -> Literal["auto", "white", "dark"]:
    if uninvert and invert:
        raise InputError("--uninvert-data and --invert-data: the particles are dark or white")
    return "dark" if uninvert else "white" if invert else "auto"


def _beta(text: str | None) -> float | str | None:
    if text is None or text in ("a", "b", "c", "d"):
        return text
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--beta {text}: a number or one of a, b, c, d") from None


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
