"""What a run itself knows of each particle: its latents, what analyses of them left, their density.

Columns by name: `z1 …`, `pc1 …`, `umap1`, `umap2`, `cluster` (1 is `vol_001.mrc`), `outlier`;
`density` and `energy` (kT) on the plane of the first two components; `uncertainty` of the latent;
`spread` (a random axis for latents of one dimension); of a landscape `state`, `community` (from
1), `vpc1 …` (volume components); and what a method left in `columns/NAME.npy`.
"""

import re
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped

from vitreous.analysis.density import log_density
from vitreous.analysis.principal import PrincipalComponents, fit_components
from vitreous.errors import InputError
from vitreous.particles.pickles import load_pickle
from vitreous.training.run import Run

_NUMBERED = re.compile(r"(z|pc|umap|vpc)(\d+)", re.IGNORECASE)
# Columns that a landscape gives, and where they lie in it.
_LANDSCAPE = {
    "state": "sketch_clustering_*/particle_states.npy",
    "community": "landscape_full/full_clustering/cluster_labels.npy",
    "vpc": "landscape_full/vol_pca_all.npy",
}


class RunColumns:
    """Give the columns of a run, one value a latent; files are read when a column asks for them.

    **Arguments:** `z`: latents of `epoch`, the last if None. `clusters`: which `kmeansK` of its
    analysis.
    """

    def __init__(
        self,
        run: Run,
        z: Float[np.ndarray, "n d"],
        epoch: int | None = None,
        clusters: int | None = None,
    ) -> None:
        self.run, self.z, self.epoch, self.clusters = run, z, epoch, clusters

    def names(self) -> list[str]:
        """List the columns there are."""
        n, dimensions = self.z.shape
        if not dimensions:
            return self._left()
        names = [f"{kind}{k + 1}" for kind in ("z", "pc") for k in range(min(dimensions, n))]
        if (self._analysis() / "umap.npy").is_file():
            names += ["umap1", "umap2"]
        if any(self._analysis().glob("kmeans*")):
            names.append("cluster")
        names += ["spread"] if dimensions == 1 else []
        names += ["density", "energy", "outlier"]
        if self._log_variance() is not None:
            names.append("uncertainty")
        names += [name for name in ("state", "community") if self._landscape_files(name)]
        if found := self._landscape_files("vpc"):
            count = np.load(found[0], mmap_mode="r").shape[1]
            names += [f"vpc{k + 1}" for k in range(count)]
        return names + self._left()

    def column(self, name: str) -> Shaped[np.ndarray, " n"] | None:
        """Return a column, None if no run has one of that name.

        **Raises:** `InputError` if this run has not, or not yet.
        """
        numbered = _NUMBERED.fullmatch(name)
        if numbered is not None:
            return self._coordinate(numbered[1].lower(), int(numbered[2]))
        if name in ("state", "community"):
            # States are numbered from 1 in their file, communities from 0.
            return self._of_landscape(name) + (name == "community")
        if name == "cluster":
            return self._cluster()
        if name == "outlier":
            from vitreous.analysis.outliers import outlier_score

            return outlier_score(self.latent())
        if name in ("density", "energy"):
            found = log_density(self._projected[1][:, :2])
            return np.exp(found) if name == "density" else -found
        if name == "spread":
            return np.random.default_rng(0).random(len(self.latent()), np.float32)
        if name == "uncertainty" and (log_variance := self._log_variance()) is not None:
            return np.sqrt(np.exp(log_variance.astype(np.float32)).mean(axis=1))
        if name in self._left():
            file = self.run.path / "columns" / f"{name}.npy"
            values = np.load(file, mmap_mode="r", allow_pickle=False)
            return self.one_each(values.reshape(-1), str(file))
        return None

    def latent(self) -> Float[np.ndarray, "n d"]:
        """Return the latents. **Raises:** `InputError` if the run is of one map."""
        if self.z.shape[1] == 0:
            raise InputError(f"{self.run.path}: has no latents to choose by")
        return self.z

    def one_each(self, values: np.ndarray, name: str) -> np.ndarray:
        """Make sure that there is a value for every particle."""
        if len(values) != len(self.z):
            raise InputError(f"{name}: {len(values)} values for {len(self.z)} particles")
        return values

    @property
    def components(self) -> PrincipalComponents:
        """The principal components of the latents."""
        return self._projected[0]

    @cached_property
    def _projected(self) -> tuple[PrincipalComponents, np.ndarray]:
        bad = np.flatnonzero(~np.isfinite(self.latent()).all(axis=1))
        if bad.size:
            raise InputError(
                f"{self.run.path}: the latents hold NaN (first in row {bad[0]}, {bad.size} rows "
                "in all): no components, density or outliers; look at an earlier epoch"
            )
        components = fit_components(self.latent())
        return components, components.transform(self.z)

    def _log_variance(self) -> np.ndarray | None:
        try:
            return self.run.latents(self.epoch).log_variance
        except InputError:
            return None

    def _left(self) -> list[str]:
        return sorted(file.stem for file in (self.run.path / "columns").glob("*.npy"))

    def _coordinate(self, kind: str, number: int) -> np.ndarray:
        z = self.latent()
        if kind == "pc":
            z = self._projected[1]
        elif kind == "vpc":
            z = self._of_landscape(kind)
        elif kind == "umap":
            file = self._analysis() / "umap.npy"
            if not file.is_file():
                raise InputError(f"{file}: no such file; make it with: vitreous analyze")
            z = np.load(file, allow_pickle=False)
        if not 1 <= number <= z.shape[1]:
            raise InputError(f"no column '{kind}{number}': there are {kind}1 to {kind}{z.shape[1]}")
        return self.one_each(z[:, number - 1], f"{kind}{number}")

    def _cluster(self) -> np.ndarray:
        wanted = "*" if self.clusters is None else str(self.clusters)
        found = sorted(self._analysis().glob(f"kmeans{wanted}/labels.*"))
        folders = sorted({file.parent for file in found})
        if not folders:
            raise InputError(
                f"{self._analysis()}: no kmeans{wanted.replace('*', 'K')} there; make it with: "
                "vitreous analyze --ksample K"
            )
        if len(folders) > 1:
            has = ", ".join(folder.name for folder in folders)
            raise InputError(f"{self._analysis()}: has {has}; say which with --kmeans K")
        file = next(f for f in found if f.suffix in (".npy", ".pkl"))
        labels = load_pickle(file) if file.suffix == ".pkl" else np.load(file, allow_pickle=False)
        return self.one_each(np.asarray(labels), str(file)) + 1

    def _of_landscape(self, name: str) -> np.ndarray:
        """Read what the landscape of the epoch says of each particle."""
        found = self._landscape_files(name)
        if not found:
            command = "analyze-landscape" if name == "state" else "analyze-landscape-full"
            raise InputError(
                f"{self.run.path}: no {name} of particles; make it with: vitreous {command}"
            )
        if len(found) > 1:
            has = ", ".join(str(file.parent.relative_to(self.run.path)) for file in found)
            raise InputError(f"{self.run.path}: has {has}; move away all but one")
        return self.one_each(np.load(found[0], allow_pickle=False), str(found[0]))

    def _landscape_files(self, name: str) -> list[Path]:
        return sorted((self.run.path / self.numbered("landscape")).glob(_LANDSCAPE[name]))

    def _analysis(self) -> Path:
        return self.run.path / self.numbered("analyze")

    def numbered(self, kind: str) -> str:
        """Name the folder of the epoch, the last of its kind if none was said: `analyze.20`."""
        epoch = self.epoch
        if epoch is None:
            ends = [path.name[len(kind) + 1 :] for path in self.run.path.glob(f"{kind}.*")]
            epoch = max((int(end) for end in ends if end.isdigit()), default=None)
        return f"{kind}.{'N' if epoch is None else epoch}"


def is_of_run(name: str) -> bool:
    """Whether only a run can have a column of this name."""
    return name in (*_LANDSCAPE, "cluster", "outlier") or _NUMBERED.fullmatch(name) is not None
