"""What an analysis found, gathered for its report."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from vitreous.analysis.clusters import Clusters
from vitreous.analysis.facts import learning_curves, resolution_curves
from vitreous.analysis.latent_structure import LatentStructure
from vitreous.analysis.motion import motion_facts, motion_variables
from vitreous.analysis.outliers import outlier_score
from vitreous.analysis.portraits import Portraits
from vitreous.analysis.pose_page import pose_section
from vitreous.analysis.principal import PrincipalComponents
from vitreous.analysis.report import Report
from vitreous.analysis.variables import (
    Variable,
    latent_rows,
    latent_variables,
    table_variables,
    truth_variables,
)
from vitreous.metrics.truth import Truth
from vitreous.particles.table import ParticleTable
from vitreous.training.run import Run

# Particles up to which each gets an outlier score in the report; `select` gives it to any number.
_SCORED = 200_000


@dataclass(frozen=True)
class LatentParts:
    """Hold a latent space as it was cut: components and scores, clusters, embedding.

    `ways`: paths along the first components.
    """

    z: Float[np.ndarray, "n d"]
    components: PrincipalComponents
    scores: Float[np.ndarray, "n c"]
    clusters: Clusters
    umap: Float[np.ndarray, "n 2"] | None
    ways: list[Float[np.ndarray, "steps d"]]


def build_report(
    run: Run,
    epoch: int,
    parts: LatentParts,
    table: ParticleTable | None,
    truth: Truth | None,
    structure: LatentStructure,
    portraits: Portraits,
    scores: dict[str, float],
    facts: list[tuple[str, str]],
    folder: Path,
) -> Report:
    """Gather the page of a run: variables of its particles, curves, pictures, facts."""
    z = parts.z
    variables = latent_variables(parts.scores, z, parts.umap, parts.clusters)
    if len(z) <= _SCORED:
        variables.append(Variable("outlier score", outlier_score(z)))
    variables += motion_variables(run, len(z))
    variables += table_variables(table) if table is not None else []
    variables += truth_variables(truth) if truth is not None else []
    epochs, curves = learning_curves(run.metrics(), epoch)
    return Report(
        title=run.path.name,
        facts=[*facts, *motion_facts(run), *structure.facts()],
        variables=variables,
        presets=_presets([v.name for v in variables]),
        clusters=parts.clusters,
        row=latent_rows(run, table, len(z)),
        volumes=portraits.volumes,
        paths=portraits.paths,
        epochs=epochs,
        curves=curves,
        fsc=resolution_curves(run),
        scores=scores,
        folder=str(folder),
        poses=pose_section(run),
    )


def _presets(names: list[str]) -> list[tuple[str, str, str]]:
    """Choose the planes a report offers: components, UMAP, and what 1-D latents need."""
    presets = []
    if "PC2" in names:
        presets.append(("PC1 – PC2", "PC1", "PC2"))
    elif "spread (random)" in names:
        presets.append(("z", "z1", "spread (random)"))
    else:
        presets.append(("PC1", "PC1", "PC1"))
    if "PC4" in names:
        presets.append(("PC3 – PC4", "PC3", "PC4"))
    if "UMAP1" in names:
        presets.append(("UMAP", "UMAP1", "UMAP2"))
    truth = next((n for n in names if n.startswith("truth: ") and n != "truth: state"), None)
    if truth is not None:
        presets.append(("PC1 – truth", truth, "PC1"))
    return presets
