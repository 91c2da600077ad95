"""What an ab initio run leaves in its folder: poses, maps of both hands, latents, and a verdict.

Single images cannot tell a map from its mirror image. One hand is the run's; the other one is
written beside it, and every summary says that the choice is open, or what tilts say of it.
"""

import json
import logging

import numpy as np
from jaxtyping import Float

from vitreous.files import atomic_path, write_text
from vitreous.geometry.hand import mirror, mirror_rotations
from vitreous.maps import write_map
from vitreous.methods.abinitio.decode import MAPS_FILE
from vitreous.methods.abinitio.found import Found
from vitreous.methods.abinitio.live import LiveFigures
from vitreous.particles import ParticleTable
from vitreous.particles.peer_pickles import save_latent_pickle
from vitreous.reconstruction.curves import write_curves
from vitreous.reconstruction.fsc import resolution
from vitreous.training.pose_files import save_poses
from vitreous.training.position import Position
from vitreous.training.run import Run

logger = logging.getLogger(__name__)

HAND = (
    "undetermined: images alone cannot tell a map from its mirror image; compare "
    "volumes/consensus.mrc and volumes/consensus_mirrored.mrc (poses: particles_mirrored.star) "
    "with a known structure"
)


def write_found(run: Run, table: ParticleTable, found: Found, epoch: int | None = None) -> None:
    """Write all files of a finished fit; every later command then works on the run.

    **Arguments:** `table`: the particles of the run, all columns. `found`: its maps of the run's
    box, in the units of prepared pixels (the run's `normalization` makes them those of the
    images). `epoch`: that the files are counted by: by default that of the last checkpoint, or
    the length of the history if the fit left none.
    """
    epochs = run.epochs()
    if epoch is None:
        epoch = epochs[-1] if epochs else max(len(found.history), 1)
    if found.volumes.shape[-1] != run.box:
        raise ValueError(f"maps of box {found.volumes.shape[-1]} for a run of box {run.box}")
    run.update_config(zdim=len(found.volumes) - 1, converged=bool(found.converged))
    if found.is_dark:
        # Later commands invert the images as the fit did, which may have undone an inversion.
        was_dark = run.config.get("contrast") == "dark"
        run.update_config(contrast="white" if was_dark else "dark")
    scale = float(run.config["normalization"][1]) * run.box
    write_poses(run, table, found)
    write_maps(run, found.volumes[0] * scale, found.half_maps * scale, found.fsc)
    latents = None if found.latents is None else found.latents.mean
    with LiveFigures(run) as pictures:
        volume = found.volumes[0] * scale
        pictures.show(found.rotation, volume, found.fsc, found.history, latents, at_once=True)
    if found.latents is not None:
        run.save_latents(found.latents, epoch)
        file = run.path / f"z.{epoch}.pkl"
        save_latent_pickle(file, found.latents.mean, found.latents.log_variance)
    with atomic_path(run.path / "scores.npz") as temporary:
        np.savez(temporary, score=np.asarray(found.score, np.float32))
    volumes = np.asarray(found.volumes, np.float32)
    with atomic_path(run.path / MAPS_FILE) as temporary:
        np.savez(temporary, volumes=volumes)
    if epoch not in epochs:
        # A fit that is over in one go: this is what later commands count epochs by.
        run.checkpoints.save({"volumes": volumes}, Position(epoch, 0, 1, 0, 1, len(table)))
    write_text(run.path / "found.json", json.dumps(summary(run, found), indent=1) + "\n")
    logger.info("%s", found.verdict)
    logger.info("hand: %s", _hand(found))


def _hand(found: Found) -> str:
    if found.hand_margin is None:
        return HAND
    one, other = "volumes/consensus.mrc", "its mirror image"
    if found.hand_margin < 0:
        one, other = other, one
    return (
        f"told by the tilts: by {abs(found.hand_margin):.1f} in log likelihood a particle they "
        f"favour {one} over {other}, if the tilt angles have their true sign"
    )


def write_poses(run: Run, table: ParticleTable, found: Found) -> None:
    """Write `particles.star`, `pose.pkl`, `poses.npz`, and the poses of the other hand."""
    rotation = np.asarray(found.rotation, np.float32)
    shift = np.asarray(found.shift, np.float32)
    save_poses(run, table.replace(rotation=rotation, shift=shift))
    other = table.replace(rotation=mirror_rotations(rotation), shift=shift)
    other.to_star(run.path / "particles_mirrored.star")


def write_maps(
    run: Run,
    volume: Float[np.ndarray, "n n n"],
    half_maps: Float[np.ndarray, "2 n n n"],
    fsc: Float[np.ndarray, " shells"],
) -> None:
    """Write the map in both hands, its half maps, and their FSC as a table.

    **Arguments:** maps in the units of the images.
    """
    folder, size = run.path / "volumes", run.pixel_size
    folder.mkdir(exist_ok=True)
    write_map(folder / "consensus.mrc", volume, size)
    write_map(folder / "consensus_mirrored.mrc", mirror(volume), size)
    for name, half in zip("ab", half_maps, strict=True):
        write_map(folder / f"half_map_{name}.mrc", half, size)
    curves = {"fsc": np.asarray(fsc)[: run.box // 2]}
    write_curves(run.path / "fsc.txt", curves, run.box)


def summary(run: Run, found: Found) -> dict:
    """Say what was found, in plain numbers and words."""
    quantiles = np.quantile(found.score, [0.05, 0.5, 0.95])
    return {
        "converged": bool(found.converged),
        "verdict": found.verdict,
        "hand": _hand(found),
        "images": len(found.rotation),
        "resolution": resolution(np.asarray(found.fsc), run.pixel_size, box=run.box),
        "latent_dimensions": len(found.volumes) - 1,
        "score_quantiles": {
            name: float(value) for name, value in zip(("5%", "50%", "95%"), quantiles, strict=True)
        },
        "history": found.history,
    }
