"""The still plots of a latent analysis, under the names the peer gives them."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from vitreous.analysis.clusters import Clusters
from vitreous.analysis.plots import plot_density, plot_histogram, plot_points
from vitreous.analysis.principal import PrincipalComponents


def draw_latent(
    folder: Path,
    centres: Path,
    z: Float[np.ndarray, "n d"],
    components: PrincipalComponents,
    scores: Float[np.ndarray, "n c"],
    umap: Float[np.ndarray, "n 2"] | None,
    clusters: Clusters,
) -> None:
    """Draw the plane of the first two components and of UMAP: points, density, clusters.

    A latent of one dimension becomes a histogram.
    """
    if scores.shape[1] < 2:
        plot_histogram(folder / "z_hist.png", z[:, 0], clusters.centres[:, 0])
        return
    share = components.explained
    planes = {"z_pca": (scores[:, :2], tuple(f"PC{i + 1} ({share[i]:.0%})" for i in range(2)))}
    if umap is not None:
        planes["umap"] = (umap, ("UMAP1", "UMAP2"))
    for name, (points, labels) in planes.items():
        plot_points(folder / f"{name}.png", points, (labels[0], labels[1]))
        plot_density(folder / f"{name}_hexbin.png", points, (labels[0], labels[1]))
        plot_points(
            centres / f"{name}.png",
            points,
            (labels[0], labels[1]),
            points[clusters.centre_index],
            clusters.labels,
        )
