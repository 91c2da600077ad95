"""Files of a landscape: components, traversals, states with their volumes and particles, plots."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int64

from vitreous.analysis.chimerax import write_series_script
from vitreous.analysis.latent_files import write_array
from vitreous.analysis.pictures import encode, montage
from vitreous.analysis.plots import INK, TEAL, cluster_color, new_figure, plot_points, save
from vitreous.analysis.postprocess import fourier_crop
from vitreous.analysis.rendering import render_surface
from vitreous.analysis.series import PICTURE_BOX
from vitreous.analysis.view import choose_view, surface_level
from vitreous.analysis.volume_space import VolumeSpace
from vitreous.files import atomic_path, write_text
from vitreous.maps import read_map, write_map
from vitreous.particles.peer_pickles import save_index_pickle
from vitreous.particles.pickles import save_pickles

if TYPE_CHECKING:
    from vitreous.analysis.landscape import Landscape


def write_space(
    folder: Path, space: VolumeSpace, scores: Float[np.ndarray, "m c"], voxel_size: float
) -> None:
    """Write `vol_pca.npz` (mask, mean, axes, variance, scores) and the peer's `vol_pca_K.pkl`."""
    with atomic_path(folder / "vol_pca.npz") as temporary:
        np.savez(
            temporary,
            mask=space.mask,
            mean=space.mean,
            axes=space.axes,
            variance=space.variance,
            total=space.total,
            scores=scores,
            voxel_size=voxel_size,
        )
    save_pickles(folder / f"vol_pca_{len(scores)}.pkl", scores.astype(np.float32))


def read_space(folder: Path) -> tuple[VolumeSpace, Float[np.ndarray, "m c"], float]:
    """Read `vol_pca.npz`: the space, the scores of the sketched volumes, and the voxel size."""
    with np.load(folder / "vol_pca.npz", allow_pickle=False) as a:
        space = VolumeSpace(a["mask"], a["mean"], a["axes"], a["variance"], float(a["total"]))
        return space, a["scores"], float(a["voxel_size"])


def write_traversals(
    folder: Path,
    space: VolumeSpace,
    scores: Float[np.ndarray, "m c"],
    voxel_size: float,
    count: int,
    steps: int,
) -> None:
    """Write volumes along the first components, the others at their mean: `vol_pcs/pc1/ …`."""
    for k in range(min(count, scores.shape[1])):
        low, high = np.percentile(scores[:, k], [5, 95])
        stops = np.linspace(low, high, steps)
        points = np.zeros((steps, scores.shape[1]))
        points[:, k] = stops
        volumes = space.inverse(points)
        where = folder / "vol_pcs" / f"pc{k + 1}"
        names = [f"vol_{i + 1:03d}.mrc" for i in range(steps)]
        for name, volume in zip(names, volumes, strict=True):
            write_map(where / name, volume, voxel_size)
        with atomic_path(where / "pc_values.txt") as temporary:
            np.savetxt(temporary, stops)
        write_series_script(
            where / "series.cxc", names, surface_level(list(volumes)), f"volume PC {k + 1}", True
        )


def write_states(
    folder: Path,
    found: "Landscape",
    files: list[Path],
    voxel_size: float,
    rows: Int64[np.ndarray, " n"],
) -> None:
    """Write each state's mean and standard deviation over particles, its members and particles.

    States are numbered from 1, as their folders; `state_labels.npy` is one a sketched volume,
    `particle_states.npy` one a particle.

    **Arguments:** `rows`: the number of each particle in the particle file.
    """
    weight = found.sketch.sizes.astype(np.float64)
    of_particle = found.particle_state
    write_array(folder / "state_labels.npy", found.state + 1)
    write_array(folder / "particle_states.npy", of_particle + 1)
    save_pickles(folder / "state_labels.pkl", found.state + 1)
    for k in range(int(found.state.max()) + 1):
        members = np.flatnonzero(found.state == k)
        mean = square = np.zeros((), np.float64)
        for m in members.tolist():
            data = read_map(files[m]).data.astype(np.float64)
            mean, square = mean + weight[m] * data, square + weight[m] * data**2
        mean, square = mean / weight[members].sum(), square / weight[members].sum()
        where = folder / f"state_{k + 1}"
        write_map(folder / f"state_{k + 1}_mean.mrc", mean, voxel_size)
        deviation = np.sqrt(np.maximum(square - mean**2, 0))
        write_map(folder / f"state_{k + 1}_std.mrc", deviation, voxel_size)
        write_text(where / "members.txt", "".join(f"{files[m].name}\n" for m in members.tolist()))
        mine = np.sort(rows[of_particle == k])
        save_index_pickle(where / "particle_ind.pkl", mine)
        write_text(where / "particle_ind.txt", "".join(f"{row}\n" for row in mine.tolist()))
    names = [f"state_{k + 1}_mean.mrc" for k in range(int(found.state.max()) + 1)]
    means = [read_map(folder / name).data for name in names]
    write_series_script(folder / "series.cxc", names, surface_level(means), "states", False)
    _draw_states(folder / "states.png", means)


def _draw_states(path: Path, means: list[np.ndarray]) -> None:
    small = [fourier_crop(m, PICTURE_BOX) if len(m) > PICTURE_BOX else m for m in means]
    view = choose_view(small)
    surfaces = [render_surface(volume, view, 200) for volume in small]
    with atomic_path(path) as temporary:
        columns = int(np.ceil(len(surfaces) ** 0.5 * 1.2))
        temporary.write_bytes(encode(montage(surfaces, columns)))


def draw_landscape(folder: Path, states: Path, found: "Landscape") -> None:
    """Draw the plane of the first components, what each explains, and the sizes of the states."""
    share = found.space.variance / max(found.space.total, 1e-30)
    figure, axes = new_figure(5.2, 3.4, xlabel="volume component", ylabel="share of the variance")
    axes.bar(np.arange(1, len(share) + 1), share, color=TEAL)
    save(figure, folder / "explained_variance.png")
    if found.scores.shape[1] > 1:
        labels = (f"volume PC1 ({share[0]:.0%})", f"volume PC2 ({share[1]:.0%})")
        centres = np.stack(
            [found.scores[found.state == k, :2].mean(0) for k in range(found.state.max() + 1)]
        )
        plot_points(
            states / "vol_pca.png", found.scores[:, :2], labels, centres, cluster=found.state
        )
    counts = np.bincount(found.particle_state)
    figure, axes = new_figure(5.2, 3.4, xlabel="state", ylabel="particles")
    axes.bar(
        np.arange(1, len(counts) + 1), counts, color=[cluster_color(k) for k in range(len(counts))]
    )
    axes.set_xticks(np.arange(1, len(counts) + 1))
    axes.tick_params(colors=INK)
    save(figure, states / "state_sizes.png")
