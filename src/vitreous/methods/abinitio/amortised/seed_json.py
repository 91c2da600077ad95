"""Read CryoFIRE's configuration files: JSON with its keys, dashes or underscores alike."""

import json
import logging
import os
from pathlib import Path
from typing import Any

from vitreous.errors import InputError
from vitreous.methods.abinitio.amortised.config import AmortisedConfig, SeedFiles

logger = logging.getLogger(__name__)

# Keys that did nothing in CryoFIRE, or that another of our commands serves.
_DEAD = {
    "loss_scale": "never had an effect",
    "input_mask": "never had an effect",
    "test_particles": "pose other images with vitreous eval-images",
    "test_ctf": "pose other images with vitreous eval-images",
    "test_pose": "pose other images with vitreous eval-images",
    "test_colors": "pose other images with vitreous eval-images",
    "colors": "colour figures with vitreous analyze",
    "verbose_time": "rates are always recorded",
    "sym_loss_factor": "",
    "pe_type": "",
    "hypervolume_domain": "",
}
# Keys of which there is one value only, and what may be written for it.
_ONLY: dict[str, tuple[Any, ...]] = {
    "sym_loss_factor": (2,),
    "pe_type": ("gaussian",),
    "hypervolume_domain": ("hartley",),
}
_SILENT_DEFAULTS: dict[str, tuple[Any, ...]] = {
    "loss_scale": (1, 1.0),
    "input_mask": ("none", None),
    "verbose_time": (False, None),
}
_IMAGE_COUNTS = ("pose_only_phase", "add_one_frequency_every")


def config_from_json(path: str | os.PathLike) -> AmortisedConfig:
    """Read a CryoFIRE configuration: the same networks and loss, trained by gradients.

    `pose_only_phase` and `add_one_frequency_every` count image presentations there, and do here.
    A setting of ours (`scheme`, `heads`, …) may stand beside CryoFIRE's. `seed` below 0 means
    any: it becomes 0, so that the run can be repeated.

    **Raises:** `InputError` if the file is no JSON object, or has a key or a value that neither
    CryoFIRE nor this method knows.
    """
    path = Path(path)
    values = _read_object(path)
    settings, files = AmortisedConfig.__dataclass_fields__, SeedFiles.__dataclass_fields__
    known = (set(settings) | set(files) | set(_DEAD)) - {"files"}
    unknown = sorted(set(values) - known)
    if unknown:
        raise InputError(f"{path}: unknown key {', '.join(unknown)}")
    for key, allowed in _ONLY.items():
        if key in values and values[key] not in allowed:
            raise InputError(f"{path}: {key} can only be {allowed[0]!r}, not {values[key]!r}")
    dead = [
        f"{key} ({reason})"
        for key, reason in _DEAD.items()
        if reason and values.get(key) is not None and not _is_silent(key, values[key])
    ]
    if dead:
        logger.warning("%s: keys without effect: %s", path, ", ".join(dead))
    chosen = {"scheme": "gradient", "encoder": "cnn"} | {
        key: value for key, value in values.items() if key in settings
    }
    for key in _IMAGE_COUNTS:
        if isinstance(chosen.get(key), int | float):
            chosen[key] = f"{int(chosen[key])} images"
    chosen["seed"] = max(int(chosen.get("seed", 0)), 0)
    named = {key: value for key, value in values.items() if key in files}
    norm = named.get("norm")
    if norm is not None:
        if not isinstance(norm, list) or len(norm) != 2:
            raise InputError(f"{path}: norm must be [shift, scale], not {norm!r}")
        named["norm"] = (float(norm[0]), float(norm[1]))
    try:
        return AmortisedConfig(**chosen, files=SeedFiles(**named))
    except TypeError as error:
        raise InputError(f"{path}: {error}") from error


def _is_silent(key: str, value: Any) -> bool:
    return key in _SILENT_DEFAULTS and value in _SILENT_DEFAULTS[key]


def _read_object(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path}: no JSON ({error})") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: holds no object of keys and values")
    return {key.replace("-", "_"): value for key, value in values.items()}
