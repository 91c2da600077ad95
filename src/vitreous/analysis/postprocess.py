"""What may be done to a decoded map before it is written: sample, filter, crop, flip, invert."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import scipy.fft
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.geometry.hand import mirror
from vitreous.geometry.resample import resample


@dataclass(frozen=True)
class VolumeOptions:
    """Say how maps are treated, in this order; the defaults change nothing.

    `downsample`: new box by Fourier cropping. `low_pass`: Å, a Gaussian filter
    that halves the amplitude at this resolution. `crop`: new box by cutting in real space, after
    downsampling. `flip`: mirror through the xy plane (the other hand). `invert`: negate.
    """

    downsample: int | None = None
    low_pass: float | None = None
    crop: int | None = None
    flip: bool = False
    invert: bool = False

    def check(self, box: int, voxel_size: float) -> None:
        """Refuse options that do not fit the maps, before any is decoded.

        **Raises:** `InputError`.
        """
        if self.downsample is not None and not 2 <= self.downsample <= box:
            raise InputError(f"--downsample {self.downsample}: the maps have a box of {box}")
        box_now = self.downsample or box
        if self.crop is not None and not 2 <= self.crop <= box_now:
            raise InputError(f"--crop {self.crop}: the maps have a box of {box_now}")
        finest = 2 * voxel_size * box / box_now
        if self.low_pass is not None and self.low_pass < finest:
            raise InputError(
                f"--low-pass {self.low_pass:g}: finer than the sampling ({finest:.4g} Å) can hold"
            )


def process_volume(
    volume: Float[np.ndarray, "n n n"], voxel_size: float, options: VolumeOptions
) -> tuple[Float[np.ndarray, "m m m"], float, tuple[float, float, float]]:
    """Treat one map.

    **Returns:** the map, its voxel size, and the origin (Å) that keeps it on the untreated one.
    """
    offset = 0.0
    if options.downsample is not None and options.downsample != len(volume):
        new = fourier_crop(volume, options.downsample)
        finer = voxel_size
        voxel_size = voxel_size * len(volume) / options.downsample
        offset += (len(volume) // 2) * finer - (len(new) // 2) * voxel_size
        volume = new
    if options.low_pass is not None:
        volume = low_pass(volume, voxel_size, options.low_pass)
    if options.crop is not None and options.crop != len(volume):
        start = len(volume) // 2 - options.crop // 2
        inner = slice(start, start + options.crop)
        volume = volume[inner, inner, inner]
        offset += start * voxel_size
    if options.flip:
        volume = mirror(volume)
    if options.invert:
        volume = -volume
    volume = np.ascontiguousarray(volume, np.float32)
    return volume, voxel_size, (offset, offset, offset)


def fourier_crop(volume: Float[np.ndarray, "n n n"], box: int) -> Float[np.ndarray, "m m m"]:
    """Resample a map to another box of the same width, on the host; see `geometry.resample`."""
    return np.asarray(resample(jnp.asarray(volume, jnp.float32), box, 3))


def low_pass(
    volume: Float[np.ndarray, "n n n"], voxel_size: float, resolution: float
) -> Float[np.ndarray, "n n n"]:
    """Filter with a Gaussian in Fourier space whose value at `1/resolution` is one half."""
    n = len(volume)
    full, half = np.fft.fftfreq(n, voxel_size), np.fft.rfftfreq(n, voxel_size)
    k2 = full[:, None, None] ** 2 + full[:, None] ** 2 + half**2
    gain = np.exp2(-k2 * resolution**2).astype(np.float32)
    return scipy.fft.irfftn(scipy.fft.rfftn(volume) * gain, s=volume.shape).astype(np.float32)
