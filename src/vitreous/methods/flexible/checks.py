"""What is wrong with the files of a flexible fit, found before any work."""

from pathlib import Path

import numpy as np

from vitreous.errors import InputError
from vitreous.maps import read_map
from vitreous.methods.flexible.bodies.masks import read_body_masks
from vitreous.methods.flexible.config import FlexibleConfig
from vitreous.training.run import Run


def check_options(config: FlexibleConfig) -> None:
    """Look at every file that the settings name.

    **Raises:** `InputError` for one that is missing or cannot be used.
    """
    for flag, name in (
        ("--initial-model", config.initial_model),
        ("--atomic-model", config.atomic_model),
        ("--mask-file", config.mask_file),
    ):
        if name is not None and not Path(name).is_file():
            raise InputError(f"{flag} {name}: no such file")
    if config.initial_model is not None:
        volume = read_map(config.initial_model).data
        if len(set(volume.shape)) != 1:
            raise InputError(f"{config.initial_model}: a map of {volume.shape} voxels, not a cube")
        if config.gaussians is not None and config.initial_threshold is not None:
            above = int(np.sum(volume > config.initial_threshold))
            if above < config.gaussians:
                raise InputError(
                    f"{config.initial_model}: {above} voxels lie above {config.initial_threshold:g}"
                    f" (highest {volume.max():.4g}), fewer than the {config.gaussians} Gaussians "
                    "asked for: lower --initial-threshold or --n-gaussians"
                )
    if config.deformation_masks is not None:
        folder = Path(config.deformation_masks)
        if not folder.is_dir():
            raise InputError(f"--deformation-masks {folder}: no such folder")
    if config.initial_latents is not None:
        Run.open(config.initial_latents).latents()


def check_masks(config: FlexibleConfig, box: int, pixel_size: float) -> None:
    """Look at masks as soon as the particles are known, before an older run makes way.

    **Arguments:** `pixel_size`: of the particles, Å.

    **Raises:** `InputError` for masks that are of another box, empty, or overlap.
    """
    if config.deformation_masks is not None:
        read_body_masks(config.deformation_masks, box, pixel_size)
    if config.mask_file is not None:
        found = read_map(config.mask_file).data
        if len(set(found.shape)) != 1:
            raise InputError(f"{config.mask_file}: a mask of {found.shape} voxels, not a cube")
        if not (found > 0.5).any():
            raise InputError(f"{config.mask_file}: no voxel is above 0.5: the mask is empty")
