"""What a latent fit does with tilt series: which images it reads, and which share a latent."""

from dataclasses import replace

import numpy as np

from vitreous.errors import InputError
from vitreous.methods.latent.config import LatentConfig
from vitreous.particles.order import Groups
from vitreous.particles.table import ParticleTable
from vitreous.particles.tilts import tilt_groups
from vitreous.training.inputs import DataOptions


def tilt_data(config: LatentConfig, data: DataOptions) -> DataOptions:
    """Read tilt series as the settings want them: by particle, and only the tilts in use."""
    return replace(
        data,
        ind_of="images" if config.by_particle is False else "particles",
        # Tilts drawn anew every epoch are drawn from all.
        tilts=None if config.random_tilts else config.tilts,
    )


def latents_of(config: LatentConfig, table: ParticleTable) -> str:
    """Say what has a latent of its own: `particles` of a tilt series, or `images`.

    **Raises:** `InputError` if the settings speak of tilts and the table has none.
    """
    is_series = table.particle is not None
    if not is_series and (config.by_particle or config.tilts is not None):
        raise InputError(
            f"{table.path}: no tilt series: images do not say which particle they show "
            "(_rlnGroupName, and doses or scale factors); leave out --encode-mode tilt and --ntilts"
        )
    return "particles" if is_series and config.by_particle is not False else "images"


def settled_tilts(config: LatentConfig, table: ParticleTable) -> LatentConfig:
    """Settle how many tilts an encoder of ordered tilts has places for: those of the table."""
    if not config.encoder.startswith("tilt") or config.tilts is not None or table.particle is None:
        return config
    return replace(config, tilts=int(np.bincount(table.particle).max()))


def group_tilts(config: LatentConfig, table: ParticleTable) -> Groups | None:
    """Gather the tilts that share a latent; None where every image has its own, or none has."""
    if config.kind == "homogeneous" or latents_of(config, table) == "images":
        return None
    return tilt_groups(table)
