"""Files of a flexible run beside its checkpoints, under the names that RELION's users know."""

import jax.numpy as jnp
import numpy as np

from vitreous.files import write_text
from vitreous.maps import write_map
from vitreous.methods.flexible.gaussian_model import GaussianModel, draw_map_jitted
from vitreous.methods.flexible.model import FlexibleMethod
from vitreous.methods.flexible.state import FlexibleState, half_of
from vitreous.training.run import Run

FOLDER = "forward_deformations"


def write_models(run: Run, method: FlexibleMethod, state: FlexibleState, epoch: int) -> None:
    """Write each half's consensus as a map and as points.

    `forward_deformations/volumes/volume_half1_024.mrc` and
    `forward_deformations/graphs/points_half1_024.xyz`.
    """
    scale = np.float32(run.config["normalization"][1] * run.box)
    volumes, graphs = (run.path / FOLDER / name for name in ("volumes", "graphs"))
    for folder in (volumes, graphs):
        folder.mkdir(parents=True, exist_ok=True)
    for half in range(2):
        gaussians = half_of(state.model, half).gaussians
        rest = jnp.zeros_like(gaussians.positions)
        drawn = draw_map_jitted(gaussians, rest, run.box, run.pixel_size)
        name = f"half{half + 1}_{epoch:03d}"
        write_map(volumes / f"volume_{name}.mrc", np.asarray(drawn) * scale, run.pixel_size)
        write_text(graphs / f"points_{name}.xyz", points_text(gaussians))


def points_text(gaussians: GaussianModel) -> str:
    """List Gaussians as an XYZ file, Å from the box centre."""
    rows = np.asarray(gaussians.positions)
    lines = [f"C {x:.3f} {y:.3f} {z:.3f}" for x, y, z in rows]
    return "\n".join([str(len(rows)), "Gaussians, from the box centre in Angstrom", *lines, ""])
