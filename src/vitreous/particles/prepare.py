"""From stored images to the normalised Fourier pixels that every fit compares with.

An image becomes `(I − mean) / std`, times −1 for dark particles, times a soft round window, then
its orthonormal half-plane transform (`rfft / box`): white noise of unit variance has
`E|F|² = 1` in every pixel. The images keep their own centre, CTF and contrast (white).
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

from vitreous.errors import InputError
from vitreous.geometry.fourier import coordinates, half_plane
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.imaging.ctf import CTFParameters
from vitreous.particles.source import check_finite
from vitreous.particles.table import ParticleTable

Storage = Literal["float32", "bfloat16", "float16"]


@runtime_checkable
class ImageReader(Protocol):
    """Anything that gives images by index, as `ImageSource` does."""

    @property
    def box(self) -> int: ...

    def __len__(self) -> int: ...

    def read(self, index: Any, /) -> np.ndarray: ...


class Batch(NamedTuple):
    """Hold one fixed-shape batch on the device.

    Fields: `pixels` complex64 `(b, p)`: orthonormal half-plane Fourier pixels of the normalised
    image, not centred, not CTF-corrected. `rotation` `(b, 3, 3)`, None if unknown. `shift`
    `(b, 2)` in Å. `pixel_size` `(b,)` in Å. `ctf` None if the images carry none. `dose` (e/Å²)
    that faded the images, None for single particles. `index`: row in the prepared set. `weight`:
    1, or 0 for the rows that only fill up the last batch.
    """

    pixels: Complex[Array, "b p"]
    rotation: Float[Array, "b 3 3"] | None
    shift: Float[Array, "b 2"]
    pixel_size: Float[Array, " b"]
    ctf: CTFParameters | None
    # Hides the tuple's own method, which nobody needs of a batch.
    index: Int[Array, " b"]  # type: ignore[assignment]
    weight: Float[Array, " b"]
    dose: Float[Array, " b"] | None = None


class Normalization(NamedTuple):
    """Hold the mean and standard deviation of the background, one pair for the whole set.

    They refer to the images as stored, before the sign flip.
    """

    mean: float
    std: float

    def fourier_scale(self, box: int) -> float:
        """Return the factor from `Batch.pixels` to the un-normalised transform of the images."""
        return self.std * box


@dataclass(frozen=True)
class Recipe:
    """Say how an image is prepared.

    **Arguments:** `pixels`: which Fourier pixels to keep. `window_radius`: where the soft window
    begins to fall, as a fraction of half the box; it reaches 0 at 0.99; None for no window.
    `invert`: the particles are dark, flip their sign. `storage`: precision in which the
    prepared pixels are kept.
    """

    pixels: FourierPixels
    window_radius: float | None = 0.85
    invert: bool = False
    storage: Storage = "float32"


def soft_window(box: int, radius: float) -> Float[np.ndarray, "n n"]:
    """Return the round window that falls linearly from 1 at `radius` to 0 at 0.99 half boxes.

    **Source:** the window of cryoDRGN 4.3, `clip(1 − (r − r_in) / (0.99 − r_in), 0, 1)`.
    """
    if not 0 < radius < 0.99:
        raise InputError(f"window radius {radius} is not between 0 and 0.99 of half the box")
    r = np.linalg.norm(coordinates(box, 2), axis=-1) * (2 / box)
    return np.clip(1 - (r - radius) / (0.99 - radius), 0, 1).astype(np.float32)


@partial(jax.jit, static_argnames="recipe")
def prepare_images(
    images: Float[Array, "b n n"],
    mean: Float[Array, ""],
    std: Float[Array, ""],
    recipe: Recipe,
) -> Float[Array, "b 2 p"]:
    """Turn stored images into planes: real and imaginary parts of their Fourier pixels.

    **Returns:** `(b, 2, p)` in the recipe's storage precision; `planes_to_pixels` joins them.
    """
    box = images.shape[-1]
    images = (images - mean) * ((-1 if recipe.invert else 1) / (std * box))
    if recipe.window_radius is not None:
        images = images * soft_window(box, recipe.window_radius)[None]
    pixels = recipe.pixels.gather(half_plane(images))
    return jnp.stack([pixels.real, pixels.imag], axis=-2).astype(recipe.storage)


def planes_to_pixels(planes: Float[Array, "b 2 p"]) -> Complex[Array, "b p"]:
    """Join stored real and imaginary planes into complex64 pixels."""
    planes = planes.astype(jnp.float32)
    return jax.lax.complex(planes[:, 0], planes[:, 1])


def name_images(table: ParticleTable, rows: np.ndarray, limit: int = 8) -> str:
    """Name images of a particle table in one line, as `5@stack.mrcs (index 7), …`.

    Images of a stack count from 1, as RELION does; the index is the one `--ind` takes, from 0.
    """
    rows = np.unique(rows)
    names = []
    for row in rows[:limit].tolist():
        stack = Path(table.stacks[int(table.stack_id[row])]).name
        names.append(f"{int(table.image_index[row]) + 1}@{stack} (index {int(table.row[row])})")
    more = len(rows) - len(names)
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")


def estimate_normalization(
    source: ImageReader,
    table: ParticleTable,
    particle_radius: float = 0.85,
    max_images: int = 1000,
) -> Normalization:
    """Measure the background's mean and standard deviation on images spread over the set.

    **Arguments:** `particle_radius`: pixels beyond this fraction of half the box count as
    background, if they are at least a tenth of the image; else all pixels are used.

    **Raises:** `InputError` for NaN pixels or images without contrast.
    """
    n, box = len(source), source.box
    if n == 0:
        raise InputError("the particle set is empty: nothing is left after the selection")
    chosen = np.unique(np.linspace(0, n - 1, min(n, max_images)).astype(np.int64))
    background = np.linalg.norm(coordinates(box, 2), axis=-1) > particle_radius * box / 2
    if background.mean() < 0.1:
        background[:] = True
    count, total, square = 0, 0.0, 0.0
    for start in range(0, len(chosen), 64):
        index = chosen[start : start + 64]
        images = np.asarray(source.read(index), np.float32)
        check_finite(images, index, table)
        values = images[:, background].astype(np.float64)
        count += values.size
        total += float(values.sum())
        square += float((values**2).sum())
    mean = total / count
    std = float(np.sqrt(max(square / count - mean**2, 0.0)))
    if std <= 1e-6 * abs(mean) or std == 0:
        raise InputError("the images are constant: no contrast to normalise by")
    return Normalization(mean, std)


def check_set(table: ParticleTable, source: ImageReader) -> None:
    """Make sure that images and their table can be fitted.

    **Raises:** `InputError` for an empty set, unequal boxes, a missing pixel size.
    """
    name = table.path or "the particle set"
    if len(table) == 0:
        raise InputError(f"{name}: no particles are left after the selection")
    if len(source) != len(table):
        raise InputError(f"{name}: {len(table)} rows but {len(source)} images")
    boxes = np.unique(table.box)
    if len(boxes) > 1:
        raise InputError(
            f"{name}: images of several boxes {boxes.tolist()}; bring them to one with "
            "vitreous downsample"
        )
    sizes = np.asarray(table.pixel_size)
    if not (np.isfinite(sizes) & (sizes > 0)).all():
        row = int(table.row[~(np.isfinite(sizes) & (sizes > 0))][0])
        raise InputError(f"{name}: row {row} has no pixel size; give one with --Apix")
