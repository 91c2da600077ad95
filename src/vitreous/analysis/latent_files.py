"""Files of a latent analysis: safe formats, and the peer's names where its tools look for them."""

import warnings
import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import Float

from vitreous.analysis.clusters import Clusters
from vitreous.analysis.principal import PrincipalComponents
from vitreous.errors import InputError
from vitreous.files import atomic_path, write_text
from vitreous.particles.peer_pickles import read_latent_pickle
from vitreous.particles.pickles import save_pickles
from vitreous.training.run import Run


def write_components(
    path: Path, components: PrincipalComponents, scores: Float[np.ndarray, "n c"]
) -> None:
    """Write the components (`mean`, `axes`, `variance`) and each particle's `scores` as `.npz`."""
    with atomic_path(path) as temporary:
        np.savez(
            temporary,
            mean=components.mean,
            axes=components.axes,
            variance=components.variance,
            scores=scores,
        )


def write_umap(folder: Path, umap: Float[np.ndarray, "n 2"]) -> None:
    """Write `umap.npy`, and `umap.pkl` for the peer's tools."""
    write_array(folder / "umap.npy", umap)
    save_pickles(folder / "umap.pkl", umap)


def write_clusters(folder: Path, clusters: Clusters) -> None:
    """Write labels (0-based), centres and the particles that stand for them.

    Volume `vol_001.mrc` belongs to label 0.
    """
    write_array(folder / "labels.npy", clusters.labels)
    save_pickles(folder / "labels.pkl", clusters.labels)
    with atomic_path(folder / "centers.txt") as temporary:
        np.savetxt(temporary, clusters.centres)
    write_text(folder / "centers_ind.txt", "".join(f"{i}\n" for i in clusters.centre_index))


def write_array(path: Path, array: np.ndarray) -> None:
    """Write one array as `.npy` in one step."""
    with atomic_path(path) as temporary:
        np.save(temporary, array, allow_pickle=False)


def read_latents(path: Path) -> Float[np.ndarray, "n d"]:
    """Read latent means, whatever holds them: a run folder, `.npz`, `.npy`, `.pkl` or text.

    **Raises:** `InputError` if there are none, or they are not a table of finite numbers.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; give a run folder or a file of latents")
    if path.is_dir():
        z = Run.open(path).latents().mean
    elif path.suffix == ".pkl":
        z = read_latent_pickle(path)[0]
    else:
        z = _read_plain(path)
    if z.ndim == 1:
        z = z[:, None]
    if z.ndim != 2 or z.size == 0 or z.dtype.kind not in "fiu":
        raise InputError(f"{path}: no table of latents (rows of particles, shape {z.shape})")
    bad = np.flatnonzero(~np.isfinite(z).all(axis=1))
    if bad.size:
        raise InputError(f"{path}: row {bad[0]}: latents hold NaN ({bad.size} rows in all)")
    return z.astype(np.float32)


def _read_plain(path: Path) -> np.ndarray:
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                name = next((n for n in ("mean", "z") if n in arrays), arrays.files[0])
                return arrays[name]
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False)
        with warnings.catch_warnings():
            # An empty file is reported below, as every table without rows.
            warnings.simplefilter("ignore", UserWarning)
            return np.loadtxt(path, ndmin=2)
    except (ValueError, OSError, IndexError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: no table of numbers ({str(error).splitlines()[0]})") from None
