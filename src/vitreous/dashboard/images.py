"""Pictures of particles: as stored, with their phases put right, and as the run predicts them."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from PIL import Image

from vitreous.analysis.pictures import encode
from vitreous.dashboard.maps import Maps
from vitreous.dashboard.table_reader import TableReader
from vitreous.errors import InputError
from vitreous.geometry.fourier import image_from_half_plane
from vitreous.geometry.resample import resample
from vitreous.imaging.ctf import CTFParameters, evaluate_ctf
from vitreous.imaging.formation import shift_factor
from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.projection.project import project
from vitreous.imaging.volumes.voxel_volume import VoxelVolume
from vitreous.particles import ImageSource, ParticleTable
from vitreous.particles.stack_edits import phase_flip

_TILE = 128
_GAP = 2


def draw_particles(
    reader: TableReader,
    maps: Maps | None,
    z: Float[np.ndarray, "k d"],
    particles: np.ndarray,
    corrected: bool,
    invert: bool = False,
) -> tuple[bytes, int, int]:
    """Draw particles in a square, each between its own 1st and 99th percentile.

    **Arguments:** `maps`: draws beside each image the projection of the volume at its latent `z`,
    in its pose; None leaves them out. `corrected`: flip the phases that the CTF turned; else the
    projection is seen through the CTF too. `invert`: the particles are dark.

    **Returns:** a PNG, its columns, and the pixels a cell is wide.

    **Raises:** `InputError` if a stack is gone, saying which.
    """
    table = reader.rows_of(particles)
    images = ImageSource(table).read(np.arange(len(table))) * (-1 if invert else 1)
    if corrected:
        images = np.asarray(phase_flip(table)(images, np.arange(len(table))))
    cells = [_tile(image) for image in images]
    if maps is not None:
        if table.rotation is None:
            raise InputError(f"{table.path}: no poses are known, hence no matching projections")
        made = [_predicted(maps, table, row, point, corrected) for row, point in enumerate(z)]
        cells = [np.hstack([a, _tile(b)]) for a, b in zip(cells, made, strict=True)]
    return _sheet(cells)


def _predicted(
    maps: Maps, table: ParticleTable, row: int, z: np.ndarray, corrected: bool
) -> Float[np.ndarray, "n n"]:
    """Project the volume at a latent as a particle shows it."""
    assert table.rotation is not None
    size = np.float32(maps.run.pixel_size)
    ctf = None
    if not corrected and table.ctf is not None:
        ctf = CTFParameters(*(np.asarray(field[row : row + 1], np.float32) for field in table.ctf))
    rotation, shift = table.rotation[row : row + 1], table.shift[row : row + 1]
    volume = maps.decode(z)
    return np.asarray(_project(volume, np.asarray(rotation), np.asarray(shift), ctf, size)[0])


@jax.jit
def _project(
    density: Float[Array | np.ndarray, "n n n"],
    rotation: Float[Array | np.ndarray, "b 3 3"],
    shift: Float[Array | np.ndarray, "b 2"],
    ctf: CTFParameters | None,
    pixel_size: Float[Array | np.floating, ""],
) -> Float[Array, "b n n"]:
    grid = ImageGrid(density.shape[0], jnp.asarray(pixel_size))
    volume = VoxelVolume(jnp.asarray(density), jnp.asarray(pixel_size))
    half = project(volume, jnp.asarray(rotation), grid) * shift_factor(grid, jnp.asarray(shift))
    if ctf is not None:
        k = grid.frequencies().reshape(1, -1, 2)
        half = half * evaluate_ctf(k, ctf).reshape(half.shape).astype(half.dtype)
    return image_from_half_plane(half, grid.box)


def _tile(image: Float[np.ndarray, "n n"]) -> UInt8[np.ndarray, "t t"]:
    """Bring an image to the size of a tile and to grey values."""
    if len(image) > _TILE:
        image = np.asarray(resample(jnp.asarray(image), _TILE, 2))
    low, high = np.percentile(image, [1, 99])
    grey = np.rint(255 * np.clip((image - low) / max(float(high - low), 1e-12), 0, 1))
    # Rows grow with y: upwards, as in every picture of the project.
    shown = Image.fromarray(grey.astype(np.uint8)[::-1])
    return np.asarray(shown.resize((_TILE, _TILE), Image.Resampling.BICUBIC))


def _sheet(cells: list[UInt8[np.ndarray, "h w"]]) -> tuple[bytes, int, int]:
    height, width = cells[0].shape
    columns = max(1, round(np.sqrt(len(cells) * height / width)))
    lines = -(-len(cells) // columns)
    sheet = np.zeros((lines * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP), np.uint8)
    for number, cell in enumerate(cells):
        y, x = number // columns * (height + _GAP), number % columns * (width + _GAP)
        sheet[y : y + height, x : x + width] = cell
    return encode(sheet), columns, width + _GAP
