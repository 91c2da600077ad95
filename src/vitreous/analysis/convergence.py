"""Has a fit converged? Latents and volumes of its saved epochs, compared with each other.

Three questions, each a curve over epochs: does the loss still fall, do particles still change
their neighbours, do the volumes of the same particles still change.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float

from vitreous.analysis.decoders import run_decoder
from vitreous.analysis.epochs import checked_latents
from vitreous.analysis.facts import learning_curves
from vitreous.analysis.plots import RUST, TEAL, new_figure, save
from vitreous.analysis.postprocess import VolumeOptions, process_volume
from vitreous.analysis.sketch import sketch_latent
from vitreous.errors import InputError
from vitreous.files import write_text
from vitreous.maps import write_map
from vitreous.metrics.neighbours import neighbourhood_similarity
from vitreous.metrics.volume_fsc import cryobench_fsc, fsc_area
from vitreous.training.run import Run

Progress = Callable[[str, int, int], None]
_COMPARED = 20_000


@dataclass(frozen=True)
class ConvergenceOptions:
    """Say what is compared.

    `interval`: of the epochs; those that saved latents and a checkpoint are taken. `maxima`:
    particles whose volumes are followed, spread over the last latent. `neighbours`: of each
    particle. `volumes`: whether to decode any. `settled`: the FSC area and share of neighbours
    from which on a fit counts as settled.
    """

    interval: int = 5
    maxima: int = 10
    neighbours: int = 50
    volumes: bool = True
    keep_volumes: bool = False
    treatment: VolumeOptions = field(default_factory=VolumeOptions)
    pixel_size: float | None = None
    settled: float = 0.9
    seed: int = 0


@dataclass(frozen=True)
class Convergence:
    """What was found at `epochs`: `neighbours`, the share of each particle's neighbours that it
    keeps since the epoch before; `volumes`, the area under the FSC of the same particles' volumes
    with those of the epoch before (rows: epochs but the first; columns: particles)."""

    epochs: list[int]
    neighbours: Float[np.ndarray, " e"]
    volumes: Float[np.ndarray, "e k"] | None
    loss: dict[int, float]
    folder: Path

    def is_settled(self, least: float) -> bool:
        """Whether the last two compared epochs agree."""
        agree = float(self.neighbours[-1]) >= least
        return agree if self.volumes is None else agree and float(self.volumes[-1].mean()) >= least


def analyze_convergence(
    run: Run,
    epoch: int | None = None,
    options: ConvergenceOptions | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Convergence:
    """Compare the saved epochs of a run up to one, write `convergence.N/`.

    **Raises:** `InputError` if fewer than two epochs are there to compare.
    """
    options = options or ConvergenceOptions()
    tell = progress or (lambda stage, done, total: None)
    epochs = comparable_epochs(run, epoch, options.interval)
    folder = run.path / f"convergence.{epochs[-1]}" if folder is None else folder
    latents = [np.asarray(checked_latents(run, e).mean, np.float32) for e in epochs]
    rows = np.arange(len(latents[0]))
    if len(rows) > _COMPARED:
        rows = np.sort(np.random.default_rng(options.seed).permutation(len(rows))[:_COMPARED])
    k = min(options.neighbours, len(rows) - 1)
    kept = []
    for i in range(1, len(epochs)):
        tell("neighbours", i - 1, len(epochs) - 1)
        kept.append(neighbourhood_similarity(latents[i - 1][rows], latents[i][rows], k))
    tell("neighbours", len(epochs) - 1, len(epochs) - 1)
    volumes = None
    if options.volumes:
        size = options.pixel_size or run.pixel_size
        options.treatment.check(run.box, size)
        chosen = sketch_latent(latents[-1], options.maxima, options.seed).centre_index
        volumes = _followed(run, epochs, latents, chosen, options, folder, size, tell)
    found_epochs, curves = learning_curves(run.metrics(), epochs[-1])
    loss = dict(zip(found_epochs, curves.get("loss", np.zeros(0)).tolist(), strict=False))
    found = Convergence(epochs, np.array(kept), volumes, loss, folder)
    _write(found, options)
    return found


def comparable_epochs(run: Run, epoch: int | None, interval: int) -> list[int]:
    """List epochs with latents and a checkpoint, every `interval`-th and the last.

    **Raises:** `InputError` if fewer than two are there.
    """
    if interval < 1:
        raise InputError(f"--epoch-interval {interval}: must be at least 1")
    saved = [e for e in run.epochs() if (run.path / f"latents.{e}.npz").is_file()]
    if epoch is not None and epoch not in saved:
        has = ", ".join(map(str, saved)) or "none"
        raise InputError(f"{run.path}: epoch {epoch} was not saved (saved: {has})")
    saved = [e for e in saved if epoch is None or e <= epoch]
    if len(saved) < 2:
        raise InputError(
            f"{run.path}: has {len(saved)} saved epochs; two or more are compared (--checkpoint 1 "
            "saves each)"
        )
    return _every(saved, interval)


def _every(saved: list[int], interval: int) -> list[int]:
    """Step through saved epochs by at least `interval`, the first and the last among them."""
    chosen = [saved[0]]
    for e in saved[1:-1]:
        if e - chosen[-1] >= interval and saved[-1] - e >= interval:
            chosen.append(e)
    return [*chosen, saved[-1]]


def _followed(
    run: Run,
    epochs: list[int],
    latents: list[np.ndarray],
    chosen: np.ndarray,
    options: ConvergenceOptions,
    folder: Path,
    size: float,
    tell: Progress,
) -> Float[np.ndarray, "e k"]:
    """Decode the same particles at every epoch, and correlate with the epoch before."""
    before: list[np.ndarray] | None = None
    areas = np.empty((len(epochs) - 1, len(chosen)))
    for i, (epoch, z) in enumerate(zip(epochs, latents, strict=True)):
        tell("volumes", i, len(epochs))
        decoded = run_decoder(run, epoch).decode(z[chosen])
        treated = [process_volume(v, size, options.treatment) for v in decoded]
        if options.keep_volumes:
            for j, (volume, voxel, origin) in enumerate(treated, 1):
                write_map(folder / f"vols.{epoch}" / f"vol_{j:03d}.mrc", volume, voxel, origin)
        now = [volume for volume, _, _ in treated]
        if before is not None:
            pairs = zip(before, now, strict=True)
            areas[i - 1] = [fsc_area(cryobench_fsc(a, b)) for a, b in pairs]
        before = now
    tell("volumes", len(epochs), len(epochs))
    return areas


def _write(found: Convergence, options: ConvergenceOptions) -> None:
    summary = {
        "epochs": found.epochs,
        "neighbours_kept": found.neighbours.tolist(),
        "fsc_area_mean": None if found.volumes is None else found.volumes.mean(axis=1).tolist(),
        "fsc_area_lowest": None if found.volumes is None else found.volumes.min(axis=1).tolist(),
        "loss": found.loss,
        "is_settled": found.is_settled(options.settled),
    }
    write_text(found.folder / "convergence.json", json.dumps(summary, indent=1) + "\n")
    later = found.epochs[1:]
    figure, axes = new_figure(
        5.2, 3.6, xlabel="epoch", ylabel="agreement with the epoch before", ylim=(0, 1.02)
    )
    axes.plot(later, found.neighbours, "o-", color=TEAL, label="neighbours kept")
    if found.volumes is not None:
        low, high = found.volumes.min(axis=1), found.volumes.max(axis=1)
        axes.plot(later, found.volumes.mean(axis=1), "s-", color=RUST, label="FSC area of volumes")
        axes.fill_between(later, low, high, color=RUST, alpha=0.15, linewidth=0)
    axes.axhline(options.settled, color="#9aa5ab", lw=0.8, ls="--")
    axes.legend(frameon=False, fontsize=8)
    save(figure, found.folder / "convergence.png")
    if found.loss:
        figure, axes = new_figure(5.2, 3.6, xlabel="epoch", ylabel="loss")
        axes.plot(list(found.loss), list(found.loss.values()), "o-", color=TEAL, ms=3)
        save(figure, found.folder / "loss.png")
