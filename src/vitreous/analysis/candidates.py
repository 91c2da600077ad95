"""What a selection chooses from: the particles of a run or of a file, and what is known of them.

Columns by name: `z1 …`, `pc1 …`, `umap1`, `umap2`, `cluster` (1 is `vol_001.mrc`), `outlier`;
of a landscape `state`, `community` (from 1), `vpc1 …` (volume components);
`defocus` (µm), `rot`, `tilt`, `psi` (degrees), `shift` (Å), `half` (1, 2), `optics` (from 1),
`row`, `stack`, `image` (from 1), `pixel_size`, `dose`; every column of the particle file under
its own name; and files of one number a particle (`.npy`, `.txt`).
"""

import os
import re
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int64, Shaped

from vitreous.analysis.selections import load_selection
from vitreous.errors import InputError
from vitreous.geometry.rotations import matrix_to_euler
from vitreous.particles import read_particles
from vitreous.particles.cryosparc import CsData
from vitreous.particles.peer_pickles import read_index
from vitreous.particles.pickles import load_pickle
from vitreous.particles.relion_tomo import is_tomo_table
from vitreous.particles.star import StarFile
from vitreous.particles.table import ParticleTable
from vitreous.training.run import Run

_NUMBERED = re.compile(r"(z|pc|umap|vpc)(\d+)", re.IGNORECASE)
# Columns that a landscape gives, and where they lie in it.
_LANDSCAPE = {
    "state": "sketch_clustering_*/particle_states.npy",
    "community": "landscape_full/full_clustering/cluster_labels.npy",
    "vpc": "landscape_full/vol_pca_all.npy",
}
_OF_TABLE = (
    "defocus", "rot", "tilt", "psi", "shift", "half", "optics", "stack", "image", "pixel_size",
    "dose",
)  # fmt: skip


class Candidates:
    """Give columns and neighbours of the particles of a run folder or a particle file.

    `rows` numbers them as the particle file does; `of` says what it counts. Files are read when
    a column asks for them.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        epoch: int | None = None,
        clusters: int | None = None,
        datadir: str | os.PathLike | None = None,
    ) -> None:
        """Open a run folder (a running fit too) or a particle file.

        **Arguments:** `epoch`: of the latents, the last if None. `clusters`: which `kmeansK` of
        its analysis. `datadir`: folder of the stacks, if they were moved.

        **Raises:** `InputError` if it is neither.
        """
        self.path, self.epoch, self.clusters = Path(path), epoch, clusters
        self.datadir = datadir
        self.run: Run | None = None
        self.z: Float[np.ndarray, "n d"] | None = None
        self.of = "images"
        if self.path.is_dir():
            self.run = Run.open(self.path)
            self.z = self.run.latents(epoch).mean
            self.of = str(self.run.config.get("latents_of", "images"))

    @cached_property
    def particles(self) -> Path:
        """The particle file."""
        return self.path if self.run is None else Path(self.run.particle_arguments()["path"])

    @cached_property
    def table(self) -> ParticleTable:
        """The particle table: one row a candidate."""
        if self.run is None:
            return read_particles(self.path, datadir=self.datadir)
        table = self.run.table(self.datadir)
        if self.of == "particles" and table.particle is not None:
            table = table.select(np.unique(table.particle, return_index=True)[1])
        if self.z is not None and len(table) != len(self.z):
            raise InputError(f"{self.path}: {len(self.z)} latents, but {len(table)} particles")
        return table

    @cached_property
    def rows(self) -> Int64[np.ndarray, " n"]:
        """The number of each candidate in the particle file, counted from 0."""
        if self.run is None or self.z is None or self.of == "particles":
            table = self.table
            return table.particle if self.of == "particles" else table.row  # type: ignore[return-value]
        # Numbering needs no table: the particles may be elsewhere.
        arguments = self.run.particle_arguments()
        ind = arguments.get("ind")
        if ind is None:
            return np.arange(len(self.z))
        if arguments.get("ind_of") == "particles":
            return self.table.row
        return read_index(ind) if isinstance(ind, str) else np.asarray(ind, np.int64)

    def __len__(self) -> int:
        return len(self.rows) if self.z is None else len(self.z)

    def near(self, row: int, k: int) -> Bool[np.ndarray, " n"]:
        """Mark the `k` particles nearest in the latent space to a row of the file, itself too."""
        z = self._latent()
        place = np.flatnonzero(self.rows == row)
        if not place.size:
            raise InputError(f"near({row}, {k}): row {row} is no particle of {self.path}")
        if not 1 <= k <= len(z):
            raise InputError(f"near({row}, {k}): k must be 1 to {len(z)}")
        distance = np.sum((z - z[place[0]]) ** 2, axis=1)
        mask = np.zeros(len(z), bool)
        mask[np.argpartition(distance, k - 1)[:k]] = True
        return mask

    def listed(self, path: str) -> Bool[np.ndarray, " n"]:
        """Mark the rows that an index file lists."""
        return np.isin(self.rows, read_index(path))

    def saved(self, name: str) -> Bool[np.ndarray, " n"]:
        """Mark the rows of a selection saved in the run."""
        if self.run is None:
            raise InputError(f"saved({name!r}): {self.path} is no run, which keeps selections")
        selection = load_selection(self.run.path, name)
        if selection.of != self.of:
            raise InputError(f"saved({name!r}): is of {selection.of}, the run of {self.of}")
        return np.isin(self.rows, selection.rows)

    def column(self, name: str) -> Shaped[np.ndarray, " n"]:
        """Return one value a particle; names as in the description of this module.

        **Raises:** `InputError` naming the columns there are.
        """
        numbered = _NUMBERED.fullmatch(name)
        if numbered is not None:
            return self._coordinate(numbered[1].lower(), int(numbered[2]))
        if name == "row":
            return self.rows
        if name in ("state", "community"):
            # States are numbered from 1 in their file, communities from 0.
            return self._of_landscape(name) + (name == "community")
        if name in ("cluster", "outlier"):
            return self._cluster() if name == "cluster" else self._outlier()
        if name.endswith((".npy", ".txt")) and os.path.isfile(name):
            return self._from_file(name)
        if name in _OF_TABLE:
            return self._known(name)
        values = self._of_source(name.lstrip("_"))
        if values is None:
            raise InputError(f"no column {name!r}; there are {', '.join(self.names())}")
        return values

    def names_of_run(self) -> list[str]:
        """List the columns that the run itself knows, without its particle file."""
        names = ["row"]
        if self.z is not None and self.z.shape[1]:
            for kind in ("z", "pc"):
                names += [f"{kind}{k + 1}" for k in range(min(self.z.shape[1], len(self.z)))]
            if (self._analysis() / "umap.npy").is_file():
                names += ["umap1", "umap2"]
            if any(self._analysis().glob("kmeans*")):
                names.append("cluster")
            names.append("outlier")
            names += [name for name in ("state", "community") if self._landscape_files(name)]
            if found := self._landscape_files("vpc"):
                count = np.load(found[0], mmap_mode="r").shape[1]
                names += [f"vpc{k + 1}" for k in range(count)]
        return names

    def names(self) -> list[str]:
        """List the columns a rule can ask for."""
        names = self.names_of_run()
        source = self.table.source
        if isinstance(source, StarFile):
            own = list(source.main.columns) + list(source.optics.columns if source.optics else ())
        else:
            own = list(source.table.dtype.names or ()) if isinstance(source, CsData) else []
        return [*names, *_OF_TABLE, *dict.fromkeys(own)]

    def _latent(self) -> np.ndarray:
        if self.z is None or self.z.shape[1] == 0:
            raise InputError(f"{self.path}: has no latents to choose by")
        return self.z

    def _coordinate(self, kind: str, number: int) -> np.ndarray:
        z = self._latent()
        if kind == "pc":
            from vitreous.analysis.principal import fit_components

            z = fit_components(z).transform(z)
        elif kind == "vpc":
            z = self._of_landscape(kind)
        elif kind == "umap":
            file = self._analysis() / "umap.npy"
            if not file.is_file():
                raise InputError(f"{file}: no such file; make it with: vitreous analyze")
            z = np.load(file, allow_pickle=False)
        if not 1 <= number <= z.shape[1]:
            raise InputError(f"no column '{kind}{number}': there are {kind}1 to {kind}{z.shape[1]}")
        return self._one_each(z[:, number - 1], f"{kind}{number}")

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
        return self._one_each(np.asarray(labels), str(file)) + 1

    def _of_landscape(self, name: str) -> np.ndarray:
        """Read what the landscape of the epoch says of each particle."""
        found = self._landscape_files(name)
        if not found:
            command = "analyze-landscape" if name == "state" else "analyze-landscape-full"
            raise InputError(
                f"{self.path}: no {name} of particles; make it with: vitreous {command}"
            )
        if len(found) > 1:
            has = ", ".join(str(file.parent.relative_to(self.path)) for file in found)
            raise InputError(f"{self.path}: has {has}; move away all but one")
        return self._one_each(np.load(found[0], allow_pickle=False), str(found[0]))

    def _landscape_files(self, name: str) -> list[Path]:
        if self.run is None:
            return []
        return sorted((self.run.path / self._numbered("landscape")).glob(_LANDSCAPE[name]))

    def _outlier(self) -> np.ndarray:
        from vitreous.analysis.outliers import outlier_score

        return outlier_score(self._latent())

    def _analysis(self) -> Path:
        assert self.run is not None
        return self.run.path / self._numbered("analyze")

    def _numbered(self, kind: str) -> str:
        """Name the folder of the epoch, the last of its kind if none was said: `analyze.20`."""
        assert self.run is not None
        epoch = self.epoch
        if epoch is None:
            ends = [path.name[len(kind) + 1 :] for path in self.run.path.glob(f"{kind}.*")]
            epoch = max((int(end) for end in ends if end.isdigit()), default=None)
        return f"{kind}.{'N' if epoch is None else epoch}"

    def _known(self, name: str) -> np.ndarray:
        table = self.table
        if name in ("rot", "tilt", "psi"):
            if table.rotation is None:
                raise InputError(f"{self.particles}: has no poses, hence no {name}")
            angles = matrix_to_euler(table.rotation.astype(np.float64))
            return angles[:, ("rot", "tilt", "psi").index(name)]
        if name == "defocus":
            if table.ctf is None:
                raise InputError(f"{self.particles}: has no CTF, hence no defocus")
            return (np.asarray(table.ctf.defocus_u) + np.asarray(table.ctf.defocus_v)) / 2e4
        if name == "stack":
            return np.array(table.stacks)[table.stack_id]
        values = {
            "shift": np.linalg.norm(table.shift, axis=1),
            "half": None if table.half_set is None else table.half_set + 1,
            "optics": table.optics_group + 1,
            "image": table.image_index + 1,
            "pixel_size": table.pixel_size,
            "dose": table.dose,
        }[name]
        if values is None:
            raise InputError(f"{self.particles}: does not say the {name} of its particles")
        return values

    def _of_source(self, name: str) -> np.ndarray | None:
        """Look a column up in the particle file itself."""
        source, table = self.table.source, self.table
        if isinstance(source, CsData):
            field, _, place = name.partition("[")
            values = source.column(field)
            if values is None:
                return None
            values = values[table.row]
            if values.ndim > 1:
                if not place.rstrip("]").isdigit() or int(place.rstrip("]")) >= values.shape[1]:
                    raise InputError(f"{field} holds {values.shape[1]} numbers: ask for {field}[0]")
                values = values[:, int(place.rstrip("]"))]
            return values.astype(str) if values.dtype.kind == "S" else values
        if not isinstance(source, StarFile):
            return None
        if name in source.main.columns:
            rows = table.particle if is_tomo_table(source) else table.row
            return _numbers_or_text(source.main.text(name))[rows]
        if source.optics is not None and name in source.optics.columns:
            return _numbers_or_text(source.optics.text(name))[table.optics_group]
        return None

    def _from_file(self, name: str) -> np.ndarray:
        try:
            values = np.load(name, allow_pickle=False) if name.endswith("y") else np.loadtxt(name)
        except ValueError as error:
            raise InputError(f"{name}: not a list of numbers ({error})") from None
        return self._one_each(values.reshape(-1), name)

    def _one_each(self, values: np.ndarray, name: str) -> np.ndarray:
        if len(values) != len(self):
            raise InputError(f"{name}: {len(values)} values for {len(self)} particles")
        return values


def _numbers_or_text(cells: list[str]) -> np.ndarray:
    try:
        return np.fromiter(map(float, cells), np.float64, len(cells))
    except ValueError:
        return np.array(cells)
