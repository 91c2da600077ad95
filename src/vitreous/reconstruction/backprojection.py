"""CTF-weighted backprojection: images with known poses into sums on a Fourier grid.

Each image `Y` with transfer function `c` adds `w c Y` to the numerator and `w c²` to the weight
of the voxels around its central slice; their ratio is the least-squares map.
"""

from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.shift import phase_shift
from vitreous.imaging.ctf import Contrast, CTFParameters, evaluate_ctf
from vitreous.imaging.dose import dose_filter
from vitreous.imaging.fourier_grid import GridShape
from vitreous.imaging.slicing import rotated_frequencies
from vitreous.reconstruction.density import density_of_pixels, density_of_voxels, radial_density
from vitreous.reconstruction.insertion import SliceSums, insert_slices, read_sums

CTFMethod = Literal["multiply", "flip"]


class Slices(NamedTuple):
    """Hold a batch of images as Fourier pixels, with all that tells where they belong.

    **Fields:** `pixels`: transforms at the frequencies of a `FourierPixels`. `rotation`: volume
    to image. `shift`: where the particle lies (Å). `pixel_size` (Å). `ctf`: or `None`, a perfect
    lens. `group`: which half map, from 0. `weight`: of the whole image; 0 for padding. `dose`:
    e/Å² received before and during the image, or `None`.
    """

    pixels: Complex[Array, "b p"]
    rotation: Float[Array, "b 3 3"]
    shift: Float[Array, "b 2"]
    pixel_size: Float[Array, " b"]
    ctf: CTFParameters | None
    group: Int[Array, " b"]
    weight: Float[Array, " b"]
    dose: Float[Array, " b"] | None = None


class Geometry(NamedTuple):
    """Say what is reconstructed (hashable, so a static argument of jitted functions).

    **Fields:** `box`: side of images and map. `max_shell`: outermost shell used. `voxel_size` of
    the map (Å). `ctf_method`: multiply by the CTF and divide by its square, or only flip signs.
    `contrast` of the images.
    """

    box: int
    max_shell: int
    voxel_size: float
    ctf_method: CTFMethod = "multiply"
    contrast: Contrast = "white"

    @property
    def pixels(self) -> FourierPixels:
        """The Fourier pixels an image is reduced to."""
        return FourierPixels(self.box, self.max_shell)

    @property
    def grid(self) -> GridShape:
        """Layout of the table that images are inserted into."""
        return GridShape(self.box, 0)


def full_geometry(
    box: int,
    voxel_size: float,
    ctf_method: CTFMethod = "multiply",
    contrast: Contrast = "white",
) -> Geometry:
    """Use every whole shell of a box."""
    return Geometry(box, (box - 1) // 2, voxel_size, ctf_method, contrast)


def transfer(
    frequency: Float[Array, "b p 2"],
    ctf: CTFParameters | None,
    dose: Float[Array, " b"] | None,
    geometry: Geometry,
) -> Float[Array, "b p"]:
    """Evaluate what the microscope multiplied each pixel with: CTF, dose, sign of the data.

    **Arguments:** `frequency`: `(kx, ky)` in cycles/Å.
    """
    if ctf is None:
        c = jnp.full(frequency.shape[:-1], 1.0 if geometry.contrast == "white" else -1.0)
    else:
        c = evaluate_ctf(frequency, ctf, geometry.contrast)
    if geometry.ctf_method == "flip":
        c = jnp.sign(c)
    if dose is not None:
        voltage = jnp.asarray(300.0 if ctf is None else ctf.voltage, dose.dtype)
        c = c * dose_filter(frequency, dose, jnp.broadcast_to(voltage, dose.shape))
    return c


def expected_density(
    pixel_size: Float[Array, " s"],
    ctf: CTFParameters | None,
    dose: Float[Array, " s"] | None,
    geometry: Geometry,
    count: int | None = None,
) -> Float[Array, " radii"]:
    """Estimate the radial density of weight from a sample of the images.

    **Arguments:** as in `Slices`, for some `s` images; `count`: number of leading pixels in use.
    """
    pixels = geometry.pixels
    k = jnp.asarray(pixels.frequency[:count])
    frequency = k[None] / (geometry.box * pixel_size[:, None, None])
    return radial_density(transfer(frequency, ctf, dose, geometry), pixels)


def centred_pixels(
    slices: Slices, geometry: Geometry
) -> tuple[Float[Array, "b p"], Complex[Array, "b p"]]:
    """Bring images to the box centre.

    **Returns:** what the microscope multiplied each pixel with, and the pixels, shifts undone.
    """
    count = slices.pixels.shape[-1]
    k = jnp.asarray(geometry.pixels.frequency[:count])
    frequency = k[None] / (geometry.box * slices.pixel_size[:, None, None])
    c = transfer(frequency, slices.ctf, slices.dose, geometry)
    return c, slices.pixels * phase_shift(frequency, -slices.shift)


def insert_images(
    table: Float[Array, "rows channels"],
    slices: Slices,
    density: Float[Array, " radii"],
    geometry: Geometry,
) -> Float[Array, "rows channels"]:
    """Add images to a table made by `empty_table(geometry.grid, groups)`.

    The pixels may be a leading part of `geometry.pixels`: shells come in order, so a band is a
    slice. Images whose pixel size differs from the map's land at their true frequencies.

    **Arguments:** `density`: `expected_density` of the whole set, which `image_sums` puts back.
    """
    listed = geometry.pixels
    count = slices.pixels.shape[-1]
    k = jnp.asarray(listed.frequency[:count])
    c, centred = centred_pixels(slices, geometry)
    # A pixel and its mate count once between them; column kx = 0 lists both.
    mates = jnp.asarray(listed.weight[:count] / np.float32(2))
    share = (mates / density_of_pixels(density, listed, count))[None] * slices.weight[:, None]
    sampling = slices.pixel_size[:, None, None]
    coordinates = rotated_frequencies(slices.rotation, k) * (geometry.voxel_size / sampling)
    return insert_slices(
        table,
        coordinates,
        ((share * c).astype(centred.dtype) * centred)[..., None],
        (share * c * c)[..., None],
        slices.group,
        geometry.grid,
    )


def image_sums(
    table: Float[Array, "rows channels"], density: Float[Array, " radii"], geometry: Geometry
) -> SliceSums:
    """Read a table of `insert_images`; weights come in units of samples a voxel."""
    sums = read_sums(table, geometry.grid)
    counts = density_of_voxels(density, geometry.box)[None, None]
    return SliceSums(sums.numerator * counts.astype(sums.numerator.dtype), sums.weight * counts)
