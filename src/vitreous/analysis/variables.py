"""Numbers of each particle that a latent space can be plotted against and coloured by."""

import logging
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int, Shaped

from vitreous.analysis.clusters import Clusters
from vitreous.errors import InputError
from vitreous.geometry.rotations import matrix_to_euler
from vitreous.metrics.truth import Truth
from vitreous.particles.table import ParticleTable
from vitreous.training.run import Run

logger = logging.getLogger(__name__)

Kind = Literal["number", "angle", "category"]


@dataclass(frozen=True)
class Variable:
    """One value a particle.

    `kind`: a number, an angle (degrees, [0, 360)) or a category (0-based codes into `names`).
    """

    name: str
    values: Shaped[np.ndarray, " n"]
    kind: Kind = "number"
    names: tuple[str, ...] = ()


def particle_table(run: Run, count: int) -> ParticleTable | None:
    """Read the table behind a run, one row a latent; None if its files are gone."""
    try:
        table = run.table()
    except (InputError, OSError) as error:
        logger.warning("plots without defocus, half sets and poses: %s", error)
        return None
    if table.particle is not None and len(table) != count:
        _, first = np.unique(table.particle, return_index=True)
        table = table.select(first)
    if len(table) != count:
        logger.warning("plots without defocus: %d latents, %d particles", count, len(table))
        return None
    return table


def latent_rows(run: Run, table: ParticleTable | None, count: int) -> Int[np.ndarray, " n"]:
    """Number the latents as `--ind` selects them: rows of the file, or particles of tilt series.

    **Arguments:** `table`: one row a latent, as `particle_table` gives it; None counts from 0.
    """
    if table is None:
        return np.arange(count)
    if run.config.get("latents_of") == "particles" and table.particle is not None:
        return table.particle
    return table.row


def table_variables(table: ParticleTable) -> list[Variable]:
    """List what the table tells of each particle and what a latent ought not to depend on."""
    found = []
    if table.ctf is not None:
        defocus = (np.asarray(table.ctf.defocus_u) + np.asarray(table.ctf.defocus_v)) / 2e4
        found.append(Variable("defocus (µm)", defocus.astype(np.float32)))
    if table.rotation is not None:
        rot, tilt, _ = matrix_to_euler(table.rotation.astype(np.float64)).T
        found.append(Variable("view: rot (°)", np.mod(rot, 360).astype(np.float32), "angle"))
        found.append(Variable("view: tilt (°)", tilt.astype(np.float32)))
    found.append(Variable("shift (Å)", np.linalg.norm(table.shift, axis=1).astype(np.float32)))
    if table.half_set is not None:
        found.append(category("half set", table.half_set, ("1", "2")))
    if len(np.unique(table.optics_group)) > 1:
        found.append(category("optics group", table.optics_group))
    if len(table.stacks) > 1:
        found.append(Variable("stack", table.stack_id.astype(np.float32)))
    return [v for v in found if v.kind == "category" or np.ptp(v.values) > 0]


def truth_variables(truth: Truth) -> list[Variable]:
    """List what is known to be true of each particle."""
    found = []
    if truth.coordinate is not None:
        if truth.period is None:
            found.append(Variable("truth: t", truth.coordinate.astype(np.float32)))
        else:
            angle = np.mod(360 * truth.coordinate / truth.period, 360).astype(np.float32)
            found.append(Variable("truth: angle (°)", angle, "angle"))
    if truth.labels is not None:
        found.append(category("truth: state", truth.labels))
    return found


def latent_variables(
    scores: Float[np.ndarray, "n c"],
    z: Float[np.ndarray, "n d"],
    umap: Float[np.ndarray, "n 2"] | None,
    clusters: Clusters,
    most: int = 10,
) -> list[Variable]:
    """List the coordinates of the latent itself: components, UMAP, raw dimensions, cluster."""
    shown = min(scores.shape[1], most)
    found = [Variable(f"PC{i + 1}", scores[:, i]) for i in range(shown)]
    if umap is not None:
        found += [Variable(f"UMAP{i + 1}", umap[:, i]) for i in range(2)]
    if z.shape[1] == 1:
        # One dimension makes no picture: spread the points at random over the other axis.
        spread = np.random.default_rng(0).random(len(z)).astype(np.float32)
        found.append(Variable("spread (random)", spread))
    found += [Variable(f"z{i + 1}", z[:, i]) for i in range(min(z.shape[1], most))]
    found.append(category("cluster", clusters.labels, tuple(map(str, range(1, len(clusters) + 1)))))
    return found


def category(
    name: str, codes: Int[np.ndarray, " n"], names: tuple[str, ...] | None = None
) -> Variable:
    """Make a category of whole numbers; their values become the names unless given."""
    if names is not None:
        return Variable(name, codes.astype(np.int64), "category", names)
    values, found = np.unique(codes, return_inverse=True)
    return Variable(name, found.astype(np.int64), "category", tuple(map(str, values)))
