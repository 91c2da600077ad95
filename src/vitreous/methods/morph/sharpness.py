"""How much blurrier one map is than another: the Gaussian between their radial spectra.

Conformations of one molecule share their spherically averaged power spectrum, so that the ratio of
two maps' spectra tells of their resolutions and not of the motion between them.
"""

import numpy as np
import scipy.fft
import scipy.ndimage
from jaxtyping import Float

from vitreous.maps import Map


def radial_amplitude(
    density: Float[np.ndarray, "z y x"], voxel_size: float, width: float
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Average the power of a map over shells of a width in cycles/Å, up to Nyquist.

    **Returns:** the frequency of each shell (cycles/Å) and the root of its mean power.
    """
    power = np.abs(scipy.fft.rfftn(density)) ** 2
    nz, ny, nx = density.shape
    z, y = np.fft.fftfreq(nz, voxel_size), np.fft.fftfreq(ny, voxel_size)
    x = np.fft.rfftfreq(nx, voxel_size)
    radius = np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2)
    shell = np.rint(radius / width).astype(int).ravel()
    weight = np.full(len(x), 2.0)
    weight[0] = 1
    weights = np.broadcast_to(weight, power.shape).ravel()
    count = int(0.5 / voxel_size / width) + 1
    total = np.bincount(shell, power.ravel() * weights, count)[:count]
    number = np.bincount(shell, weights, count)[:count]
    return np.arange(count) * width, np.sqrt(total / np.maximum(number, 1))


def relative_blur(sharp: Map, blurred: Map) -> float:
    """Estimate the Gaussian (σ in Å) that makes the first map as blurred as the second.

    **Arguments:** both on lattices of one voxel size, cut to the molecule.

    **Returns:** 0 where the second map is not clearly blurrier.
    """
    voxel = sharp.voxel_size
    side = max(*sharp.data.shape, *blurred.data.shape) * voxel
    width = 1.0 / side
    k, first = radial_amplitude(sharp.data, voxel, width)
    _, second = radial_amplitude(blurred.data, voxel, width)
    # The floor of noise, or of the hard cut, is what is left at the far end.
    floor = [np.median(a[-max(3, len(a) // 6) :]) for a in (first, second)]
    usable = (first > 3 * floor[0]) & (second > 3 * floor[1])
    usable[:2] = False
    end = len(usable)
    gaps = np.flatnonzero(~usable[2:])
    if len(gaps):
        end = 2 + int(gaps[0])
    if end < 6:
        return 0.0
    ratio = np.log(second[2:end] / first[2:end])
    slope = np.polyfit(k[2:end] ** 2, ratio, 1)[0]
    variance = -slope / (2 * np.pi**2)
    return float(np.sqrt(variance)) if variance > (0.7 * voxel) ** 2 else 0.0


def blur(a_map: Map, sigma: float) -> Map:
    """Convolve a map with a Gaussian of σ in Å, zero outside the box."""
    if sigma <= 0:
        return a_map
    data = scipy.ndimage.gaussian_filter(a_map.data, sigma / a_map.voxel_size, mode="constant")
    return Map(data, a_map.voxel_size, a_map.origin)
