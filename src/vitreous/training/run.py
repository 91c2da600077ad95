"""A run as a folder: what was asked, what happened, and what it learned.

`config.yaml`, `run.log`, `metrics.jsonl`, `loss.png`, `tensorboard/`, `checkpoints/`,
`latents.npz`, `latents.N.npz`, `volumes/`, `analyze.N/`, `report.html`. Everything that looks
at a finished or running fit needs `Run.open(path)` and nothing of the training loop.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.files import atomic_path, is_writer, write_text
from vitreous.training.checkpoint import Checkpoints
from vitreous.training.distributed import wait_for_all
from vitreous.training.metrics_log import read_metrics
from vitreous.training.registry import decoder_loader

# What an older run left that a new one in its place would take for its own.
_CONTENTS = (
    "cache", "tensorboard", "checkpoints", "volumes", "figures", "run.log", "metrics.jsonl",
    "loss.png", "report.html", "latents.npz", "latents.*.npz", "poses.npz", "encoder_poses.npz",
    "maps.npz", "found.json", "z.*.pkl", "analyze.*", "landscape.*", "convergence.*",
    "benchmark.*.json", "columns", "agreement.npz", "body_starfiles",
)  # fmt: skip
# Arguments of `read_particles` that name files or folders.
_PATH_ARGUMENTS = ("path", "datadir", "poses", "ctf", "ind", "passthrough", "tomograms", "tilted")


class Latents(NamedTuple):
    """Latent coordinates of every particle; `log_variance` is None for point estimates."""

    mean: Float[np.ndarray, "n d"]
    log_variance: Float[np.ndarray, "n d"] | None = None


class Run:
    """A run folder; made by `Run.create`, found again by `Run.open`.

    `config` is plain YAML data. Keys that this class reads: `method` (name in the registry),
    `particles` (the arguments of `read_particles`), `images` (rows of the table), `box`,
    `pixel_size` (Å). Everything else belongs to the method and its command.
    """

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        self.path = path
        self.config = config
        self.checkpoints = Checkpoints(path / "checkpoints")
        self._decoders: dict[int, Callable] = {}

    @classmethod
    def create(
        cls, path: str | os.PathLike, config: dict[str, Any], overwrite: bool = False
    ) -> "Run":
        """Start a run folder.

        **Arguments:** `config`: data that YAML can hold; paths in `config["particles"]` are made
        absolute. `overwrite`: remove an older run in the same place; other files stay.

        **Raises:** `InputError` if the folder already holds a run.
        """
        cls.check_vacant(path, overwrite)
        path = Path(path).absolute()
        wait_for_all("before the run is made")  # Nobody may take the new run for an old one.
        if (path / "config.yaml").exists() and is_writer():
            cls._clear(path)
        config = dict(config)
        if "particles" in config:
            config["particles"] = _absolute_paths(config["particles"])
        config["folder"] = str(path)
        write_text(path / "config.yaml", yaml.safe_dump(_plain(config), sort_keys=False))
        wait_for_all("run made")
        return cls.open(path)

    @classmethod
    def open(cls, path: str | os.PathLike) -> "Run":
        """Open a run folder.

        **Raises:** `InputError` if it holds no run.
        """
        path = Path(path).absolute()
        file = path / "config.yaml"
        if not file.is_file():
            raise InputError(f"{path} is no run folder: it has no config.yaml")
        try:
            config = yaml.safe_load(file.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise InputError(f"{file}: not YAML ({str(error).splitlines()[0]})") from error
        if not isinstance(config, dict):
            raise InputError(f"{file}: not the configuration of a run")
        return cls(path, config)

    @staticmethod
    def check_vacant(path: str | os.PathLike, overwrite: bool = False) -> None:
        """Make sure that a run can be made here, before any work is done for it.

        **Raises:** `InputError` if the folder already holds a run, or is a file.
        """
        path = Path(path).absolute()
        if path.exists() and not path.is_dir():
            raise InputError(f"{path} is a file: give a folder for the run")
        if (path / "config.yaml").exists() and not overwrite:
            raise InputError(
                f"{path} already holds a run: continue it with --resume, replace it with "
                "--overwrite, or choose another folder"
            )

    @staticmethod
    def _clear(path: Path) -> None:
        for pattern in _CONTENTS:
            for found in path.glob(pattern):
                is_folder = found.is_dir() and not found.is_symlink()
                shutil.rmtree(found) if is_folder else found.unlink()
        # It goes last: until then the folder still shows that it holds a run.
        (path / "config.yaml").unlink(missing_ok=True)

    def update_config(self, **values: Any) -> None:
        """Change entries of the configuration, on disk too."""
        self.config.update(_plain(values))
        write_text(self.path / "config.yaml", yaml.safe_dump(self.config, sort_keys=False))

    @property
    def pixel_size(self) -> float:
        """Å per voxel of the volumes this run decodes."""
        return float(self._entry("pixel_size"))

    @property
    def box(self) -> int:
        """Side of the volumes this run decodes."""
        return int(self._entry("box"))

    @property
    def method(self) -> str:
        """Name of the method, as in the registry."""
        return str(self._entry("method"))

    def check_method(self, method: str) -> None:
        """Make sure that this is a run of a method. **Raises:** `InputError` if it is not."""
        if self.method != method:
            raise InputError(f"{self.path}: a run of the method {self.method}, not {method}")

    def check_images(self, count: int) -> None:
        """Make sure that this run was begun with so many images.

        **Raises:** `InputError` if it was not.
        """
        if self.config["images"] != count:
            raise InputError(
                f"{self.path}: was made from {self.config['images']} images, now there are {count}"
            )

    def _entry(self, name: str) -> Any:
        if name not in self.config:
            raise InputError(f"{self.path / 'config.yaml'}: has no {name}")
        return self.config[name]

    def particle_arguments(self) -> dict[str, Any]:
        """Return the arguments of `read_particles` that this run was made with.

        If run and particles were moved together, they are found by their relative place.
        """
        arguments = dict(self._entry("particles"))
        for name in _PATH_ARGUMENTS:
            value = arguments.get(name)
            if isinstance(value, str) and not Path(value).exists() and "folder" in self.config:
                moved = self.path / os.path.relpath(value, self.config["folder"])
                if moved.exists():
                    arguments[name] = str(moved.resolve())
        return arguments

    def table(self, datadir: str | os.PathLike | None = None):
        """Read the particle table of this run again, selection and overrides included.

        Its poses are those that the run found or refined, if it did.

        **Arguments:** `datadir`: folder of the stacks, if they were moved.

        **Raises:** `InputError` if the files are gone or hold another number of particles.
        """
        from vitreous.particles import read_particles

        arguments = self.particle_arguments()
        if datadir is not None:
            arguments["datadir"] = datadir
        table = read_particles(arguments.pop("path"), **arguments)
        if len(table) != self.config.get("images", len(table)):
            raise InputError(
                f"{self.config['particles']['path']}: holds {len(table)} particles, "
                f"the run was made from {self.config['images']}"
            )
        file = self.path / "poses.npz"
        if file.is_file():
            with np.load(file, allow_pickle=False) as found:
                table = table.replace(rotation=found["rotation"], shift=found["shift"])
        return table

    def epochs(self) -> list[int]:
        """List the completed epochs that have a checkpoint."""
        return self.checkpoints.epochs()

    def save_latents(self, latents: Latents, epoch: int) -> None:
        """Write `latents.N.npz` and make it the last, `latents.npz`."""
        arrays = {"mean": np.asarray(latents.mean, np.float32)}
        if latents.log_variance is not None:
            arrays["log_variance"] = np.asarray(latents.log_variance, np.float32)
        for name in (f"latents.{epoch}.npz", "latents.npz"):
            with atomic_path(self.path / name) as temporary:
                np.savez(temporary, **arrays)  # type: ignore[arg-type]

    def save_poses(
        self, rotation: Float[np.ndarray, "n 3 3"], shift: Float[np.ndarray, "n 2"]
    ) -> None:
        """Write `poses.npz`: poses that this run found, which `table` gives from then on."""
        with atomic_path(self.path / "poses.npz") as temporary:
            np.savez(
                temporary,
                rotation=np.asarray(rotation, np.float32),
                shift=np.asarray(shift, np.float32),
            )

    def latents(self, epoch: int | None = None) -> Latents:
        """Read the latents of an epoch, or the last ones.

        **Raises:** `InputError` if they were not saved.
        """
        file = self.path / ("latents.npz" if epoch is None else f"latents.{epoch}.npz")
        if not file.is_file():
            raise InputError(f"{file}: no latents were saved there")
        with np.load(file, allow_pickle=False) as arrays:
            log_variance = arrays.get("log_variance")
            return Latents(arrays["mean"], log_variance)

    def decode(
        self, z: Float[np.ndarray, "m d"], epoch: int | None = None, batch_size: int = 8
    ) -> Float[np.ndarray, "m n n n"]:
        """Decode volumes at latent coordinates with the weights of an epoch, or the last ones."""
        parts = list(self.decode_many(z, epoch, 0.0, batch_size))
        if not parts:
            return np.zeros((0, self.box, self.box, self.box), np.float32)
        return np.concatenate(parts)

    def decode_many(
        self,
        z: Float[np.ndarray, "m d"],
        epoch: int | None = None,
        tolerance: float = 0.01,
        batch_size: int = 8,
    ) -> Iterator[Float[np.ndarray, "b n n n"]]:
        """Yield the volumes of many latents, a few at a time.

        **Arguments:** `tolerance`: error of a volume, as a share of the deviation of all from
        their mean, that a method may trade for time; 0 decodes each by itself.
        """
        decoder = self._decoder(epoch)
        z = np.asarray(z, np.float32)
        if tolerance > 0 and hasattr(decoder, "many"):
            yield from decoder.many(z, tolerance)
            return
        for start in range(0, len(z), batch_size):
            yield np.asarray(decoder(z[start : start + batch_size]))

    def _decoder(self, epoch: int | None) -> Callable:
        if epoch is None:
            epoch = self.checkpoints.at_epoch().epoch
        if epoch not in self._decoders:
            self._decoders[epoch] = decoder_loader(self.method)(self, epoch)
        return self._decoders[epoch]

    def metrics(self) -> list[dict[str, Any]]:
        """Read `metrics.jsonl`: one entry a log interval, and one an epoch with `"epoch_mean"`."""
        return read_metrics(self.path / "metrics.jsonl")


def _absolute_paths(arguments: dict[str, Any]) -> dict[str, Any]:
    """Make the file arguments of `read_particles` independent of the working folder."""
    return {
        name: str(Path(value).absolute())
        if name in _PATH_ARGUMENTS and isinstance(value, str | os.PathLike)
        else value
        for name, value in arguments.items()
    }


def _plain(value: Any) -> Any:
    """Turn NumPy numbers, paths and tuples into what YAML holds."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value
