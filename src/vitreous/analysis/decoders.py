"""Something that decodes, from whatever a user points at: a run, a file in it, peers' weights."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.training.run import Run

VolumeSource = Literal["decoder", "regression"]


@dataclass(frozen=True)
class Decoder:
    """Decode latents to volumes.

    `decode`: `(m, d)` → `(m, n, n, n)`. `dimensions`: d, 0 for a homogeneous model, None if it
    cannot be told. `pixel_size`: Å per voxel, None if it is not known. `decode_many`: latents and
    a tolerance, see `Run.decode_many`; None where there is no faster way than `decode`.
    """

    decode: Callable[[np.ndarray], np.ndarray]
    dimensions: int | None
    pixel_size: float | None
    decode_many: Callable[[np.ndarray, float], Iterator[np.ndarray]] | None = None

    def many(
        self, z: Float[np.ndarray, "m d"], tolerance: float = 0.0, batch: int = 8
    ) -> Iterator[Float[np.ndarray, "b n n n"]]:
        """Yield the volumes of many latents, a few at a time."""
        if self.decode_many is not None:
            yield from self.decode_many(z, tolerance)
            return
        for start in range(0, len(z), batch):
            yield np.asarray(self.decode(z[start : start + batch]))


def open_decoder(weights: Path, config: Path | None = None, epoch: int | None = None) -> Decoder:
    """Find what decodes behind a path.

    **Arguments:** `weights`: a run folder, anything inside one, or cryoDRGN's `weights.N.pkl`.
    `config`: cryoDRGN's `config.yaml`, by default the one beside its weights. `epoch`: of a run;
    the last if None.

    **Raises:** `InputError` if there is nothing that decodes.
    """
    if not weights.exists():
        raise InputError(f"{weights}: no such file or folder; give a run or a weights file")
    if weights.is_file() and weights.suffix in (".pkl", ".pt", ".pth"):
        return _peer_decoder(weights, config)
    folder = next((p for p in (weights, *weights.parents) if (p / "config.yaml").is_file()), None)
    if folder is None or "method" not in Run.open(folder).config:
        raise InputError(f"{weights}: no vitreous run there, and no weights.N.pkl of cryoDRGN")
    return run_decoder(Run.open(folder), epoch)


def run_decoder(run: Run, epoch: int | None = None) -> Decoder:
    """Decode with the checkpoint of an epoch of a run, the last if None."""
    if epoch is not None and epoch not in run.epochs():
        has = ", ".join(map(str, run.epochs())) or "none"
        raise InputError(f"{run.path}: no checkpoint of epoch {epoch} (epochs with one: {has})")
    dimensions: int | None = run.config.get("zdim")
    if dimensions is None:
        try:
            dimensions = run.latents(epoch).mean.shape[1]
        except InputError:
            dimensions = None
    return Decoder(
        lambda z: run.decode(z, epoch=epoch),
        dimensions,
        run.pixel_size,
        lambda z, tolerance: run.decode_many(z, epoch, tolerance),
    )


def volumes_of(run: Run, epoch: int | None, source: VolumeSource) -> Decoder:
    """Make volumes with the decoder of a run, or of its images by kernel regression."""
    return run_decoder(run, epoch) if source == "decoder" else regression_decoder(run, epoch)


def regression_decoder(run: Run, epoch: int | None = None) -> Decoder:
    """Make volumes of the images whose latents lie near, with bandwidths chosen by half sets.

    What is not in the images is not in such a volume; see `reconstruction.kernel_regression`.
    """
    from vitreous.analysis.regression import open_regression

    regression = open_regression(run, epoch)

    def decode(z: np.ndarray) -> np.ndarray:
        return np.stack([regression.at(np.asarray(point, np.float64)).volume for point in z])

    return Decoder(decode, regression.latent.shape[1], run.pixel_size)


def _peer_decoder(weights: Path, config: Path | None) -> Decoder:
    from vitreous.methods.latent.peer import load_peer_checkpoint

    model = load_peer_checkpoint(weights, config)
    # Neither of the peer's files holds the size of a voxel.
    return Decoder(model.decode, model.zdim, None)
