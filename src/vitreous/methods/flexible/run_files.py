"""What a flexible run keeps: the start of its fit in `start.npz`, models in its checkpoints."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from vitreous.errors import InputError
from vitreous.files import atomic_path
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.methods.flexible.bodies.rigid_bodies import BodyPlan
from vitreous.methods.flexible.config import config_from_dict
from vitreous.methods.flexible.deformation import Deformation
from vitreous.methods.flexible.gaussian_model import GaussianModel
from vitreous.methods.flexible.model import FlexibleMethod
from vitreous.methods.flexible.start import Start
from vitreous.methods.flexible.state import FlexibleState, half_of
from vitreous.training.checkpoint import fill_leaves
from vitreous.training.run import Run

START_FILE = "start.npz"


class HalfModel(NamedTuple):
    """Hold what a half set learned.

    **Fields:** `gaussians`: the consensus. `deformation`: how any point moves. `images`: rows of
    the particle table it was learned from. `latents`: of these, in this model's own frame.
    """

    gaussians: GaussianModel
    deformation: Deformation
    images: Int[np.ndarray, " m"]
    latents: Float[np.ndarray, "m d"]


class FlexibleModel(NamedTuple):
    """Hold both halves' models. `box`, `pixel_size` (Å): of the images.

    **Fields:** `noise`: power of each optics group on each shell. `poses`: corrections of all
    poses (degrees, Å), or None.
    """

    halves: tuple[HalfModel, HalfModel]
    box: int
    pixel_size: float
    noise: Float[np.ndarray, "o shells"]
    poses: Float[np.ndarray, "n 5"] | None


def write_start(
    run: Run, start: Start, half: Int[np.ndarray, " n"], group: Int[np.ndarray, " n"]
) -> None:
    """Keep the start of a fit with its run."""
    arrays = {
        "positions": start.gaussians.positions,
        "log_amplitude": start.gaussians.log_amplitude,
        "log_width": start.gaussians.log_width,
        **{name: getattr(start, name) for name in ("edges", "noise", "shell", "radius", "reach")},
        "half": half,
        "group": group,
        "voxel_size": start.voxel_size,
    }
    for name in ("latents", "mask", "modes"):
        if getattr(start, name) is not None:
            arrays[name] = getattr(start, name)
    if start.bodies is not None:
        arrays |= {f"bodies_{name}": x for name, x in start.bodies._asdict().items()}
    with atomic_path(run.path / START_FILE) as temporary:
        np.savez(temporary, **{name: np.asarray(x) for name, x in arrays.items()})  # type: ignore[arg-type]


def read_start(
    run: Run,
) -> tuple[Start, Int[np.ndarray, " n"], Int[np.ndarray, " n"]] | None:
    """Read the start of a run with half and optics group of its images; None if it has none."""
    path = run.path / START_FILE
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as stored:
        fields = ("positions", "log_amplitude", "log_width")
        start = Start(
            GaussianModel(*(jnp.asarray(stored[name]) for name in fields)),
            stored["edges"],
            stored["noise"],
            int(stored["shell"]),
            float(stored["radius"]),
            float(stored["reach"]),
            stored.get("latents"),
            _stored_bodies(stored),
            stored.get("mask"),
            float(stored["voxel_size"]),
            stored.get("modes"),
        )
        return start, stored["half"], stored["group"]


def _stored_bodies(stored: Mapping[str, np.ndarray]) -> BodyPlan | None:
    if "bodies_shares" not in stored:
        return None
    fields: dict[str, Any] = {name: stored[f"bodies_{name}"] for name in BodyPlan._fields}
    fields["voxel_size"] = float(fields["voxel_size"])
    return BodyPlan(**fields)


def load_method(run: Run) -> FlexibleMethod:
    """Rebuild the method of a run from its folder.

    **Raises:** `InputError` if the run is of another method, or stopped before its start.
    """
    if run.method != "flexible":
        raise InputError(
            f"{run.path}: a run of method {run.method}; this needs one of optimize-deformations"
        )
    kept = read_start(run)
    if kept is None:
        raise InputError(f"{run.path}: has no {START_FILE}: the run stopped before it began")
    config = config_from_dict(run.config["flexible"])
    pixels = FourierPixels(run.box, (run.box - 1) // 2)
    start, half, group = kept
    return FlexibleMethod(config, start, pixels, run.pixel_size, half, group)


def load_state(run: Run, epoch: int | None = None) -> tuple[FlexibleMethod, FlexibleState]:
    """Read a checkpoint of a run.

    **Raises:** `InputError` if it is of another run or model.
    """
    method = load_method(run)
    shapes = eqx.filter_eval_shape(method.init, jax.random.key(0))
    arrays = run.checkpoints.load(run.checkpoints.at_epoch(epoch))
    return method, fill_leaves(shapes, arrays)


def load_flexible(run: Run, epoch: int | None = None) -> FlexibleModel:
    """Read the models of a run.

    **Arguments:** `epoch`: of the checkpoint; None takes the last.

    **Raises:** `InputError` if the run is of another method, or has no such checkpoint.
    """
    return models_of(*load_state(run, epoch))


def models_of(method: FlexibleMethod, state: FlexibleState) -> FlexibleModel:
    """Take the models out of a state."""
    latents = np.asarray(state.latents)
    halves = []
    for number in range(2):
        model = half_of(state.model, number)
        images = np.flatnonzero(method.half == number)
        halves.append(HalfModel(model.gaussians, model.deformation, images, latents[images]))
    poses = None if state.poses is None else np.asarray(state.poses.values)[: len(method.half)]
    return FlexibleModel(
        (halves[0], halves[1]),
        method.pixels.box,
        method.pixel_size,
        np.asarray(state.noise),
        poses,
    )
