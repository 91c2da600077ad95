"""What a selection chooses from: the particles of a run or of a file, and what is known of them.

Columns by name: those of a run, see `run_columns`;
`defocus` (µm), `rot`, `tilt`, `psi` (degrees), `shift` (Å), `half` (1, 2), `optics` (from 1),
`row`, `stack`, `image` (from 1), `pixel_size`, `dose`; every column of the particle file under
its own name; and files of one number a particle (`.npy`, `.txt`).
"""

import os
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int64, Shaped

from vitreous.analysis.run_columns import RunColumns, is_of_run
from vitreous.analysis.selections import load_selection
from vitreous.analysis.source_columns import source_column, source_names
from vitreous.errors import InputError
from vitreous.geometry.rotations import matrix_to_euler
from vitreous.particles import read_particles
from vitreous.particles.peer_pickles import read_index
from vitreous.particles.relion_tomo import is_tomo_table
from vitreous.particles.star import StarFile
from vitreous.particles.table import ParticleTable
from vitreous.training.run import Run

OF_TABLE = (
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
        self.of_run: RunColumns | None = None
        self.of = "images"
        if self.path.is_dir():
            self.run = Run.open(self.path)
            self.z = _latents(self.run, epoch)
            # One map has no latent a particle: its images are what there is to choose.
            of = str(self.run.config.get("latents_of", "images"))
            self.of = of if self.z.shape[1] else "images"
            self.of_run = RunColumns(self.run, self.z, epoch, clusters)
        elif not self.path.exists():
            raise InputError(f"{self.path}: no such run folder or particle file")
        elif self.path.suffix.lower() == ".star":
            source = self._whole.source
            if isinstance(source, StarFile) and is_tomo_table(source):
                # Its rows are particles, each with all of its tilts.
                self.of = "particles"

    @cached_property
    def particles(self) -> Path:
        """The particle file."""
        return self.path if self.run is None else Path(self.run.particle_arguments()["path"])

    @cached_property
    def table(self) -> ParticleTable:
        """The particle table: one row a candidate."""
        table = self._whole if self.run is None else self.run.table(self.datadir)
        if self.of == "particles" and table.particle is not None:
            table = table.select(np.unique(table.particle, return_index=True)[1])
        if self.z is not None and len(table) != len(self.z):
            raise InputError(f"{self.path}: {len(self.z)} latents, but {len(table)} particles")
        return table

    @cached_property
    def _whole(self) -> ParticleTable:
        return read_particles(self.path, datadir=self.datadir)

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
        if self.of_run is None:
            raise InputError(f"{self.path}: has no latents to choose by")
        z = self.of_run.latent()
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
        if name == "row":
            return self.rows
        if self.of_run is not None:
            values = self.of_run.column(name)
            if values is not None:
                return values
        elif is_of_run(name):
            raise InputError(f"{self.path}: has no latents to choose by")
        if name.endswith((".npy", ".txt")) and os.path.isfile(name):
            return self._from_file(name)
        if name in OF_TABLE:
            return self._known(name)
        values = source_column(self.table, name.lstrip("_"))
        if values is None:
            raise InputError(f"no column {name!r}; there are {', '.join(self.names())}")
        return values

    def names(self) -> list[str]:
        """List the columns a rule can ask for."""
        of_run = [] if self.of_run is None else self.of_run.names()
        return ["row", *of_run, *OF_TABLE, *source_names(self.table)]

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


def _latents(run: Run, epoch: int | None) -> Float[np.ndarray, "n d"]:
    """Read the latents of a run; of no dimensions for a fit of one map, which writes none."""
    own = run.config.get(str(run.config.get("method")), {})
    zdim = run.config.get("zdim", own.get("zdim") if isinstance(own, dict) else None)
    is_one_map = zdim == 0 and not (run.path / "latents.npz").is_file()
    if is_one_map and "images" in run.config and run.checkpoints.positions():
        return np.zeros((int(run.config["images"]), 0), np.float32)
    return run.latents(epoch).mean
